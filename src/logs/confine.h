// What the log worker locks itself into before the first byte of a container: no capabilities, no
// new privileges, a list of system calls. It stays user 0, who owns the logs and their directories.
#pragma once

#include "nacelle/result.h"

namespace nacelle::logs {

Result<> confine();

}  // namespace nacelle::logs
