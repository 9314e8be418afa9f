// What verbs that take several names share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/nacelle/session.h"
#include "nacelle/result.h"

namespace nacelle::cli {

// Does it to each; a failure is told and does not keep the others from it. 1 where there was one.
Result<int> for_each(Session& session, const std::vector<std::string>& names,
                     const std::function<Result<>(Api&, const std::string&)>& act);

// `--filter KEY=VALUE`, any number of them, as the `filters` parameter of the API; "" for none.
Result<std::string> filters_json(const std::vector<std::string>& filters);

// "y" or "Y", asked on the terminal.
bool confirmed(const char* question);

}  // namespace nacelle::cli
