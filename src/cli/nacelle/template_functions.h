// What templates can do to values: Go's own functions and those Docker adds.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/nacelle/datum.h"
#include "nacelle/result.h"

namespace nacelle::cli {

bool is_template_function(std::string_view name);
Result<Datum> call_template_function(std::string_view name, const std::vector<Datum>& arguments);

// A value as Go prints it: `[a b]`, `map[k:v]`, `<nil>` for nothing.
std::string go_text(const Datum& value);

}  // namespace nacelle::cli
