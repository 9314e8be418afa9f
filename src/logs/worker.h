// The log worker's whole life: serves `control` (messages.h) until core closes it. One thread, one
// ring. It confines itself first: no capabilities but what writing log files owned by root takes,
// a list of allowed system calls, no new privileges.
#pragma once

#include "nacelle/fd.h"

namespace nacelle::logs {

// Returns the program's exit code.
int serve(Fd control);

}  // namespace nacelle::logs
