// What the engine tells of a pull, push or load while it goes on, shown to a person.
#pragma once

#include <string>
#include <string_view>

#include "cli/nacelle/datum.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/session.h"
#include "nacelle/result.h"

namespace nacelle::cli {

// Where progress is shown: `run` keeps standard output for the container.
enum class Shown : uint8_t { Output, Errors, Nowhere };

struct TransferOutcome {
  std::string id;  // what `aux` said last: of an image that was loaded or made
};
// One message of the engine's: nothing is shown where it has no `status`.
void show_status(ProgressDisplay& display, const Datum& line);

Result<TransferOutcome> show_transfer(Api& api, const Api::Request& request, Shown where);

// `name` as it was typed, its tag added. With the user's credentials for its registry.
Result<> pull_by_engine(Api& api, std::string_view name, std::string_view platform, Shown where);

// The value of X-Registry-Auth for the registry of `name`.
std::string registry_auth(const oci::Reference& name, bool push);

}  // namespace nacelle::cli
