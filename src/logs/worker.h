// The log worker's whole life: serves `control` (messages.h) until core closes it. One thread, one
// epoll (what it does is short plain system calls, and splice(2) through a ring is handed to
// another thread). It confines itself first: no capabilities, a list of allowed system calls, no
// new privileges. As a program it has the work pipe (messages.h) as descriptors 4 and 5.
#pragma once

#include "nacelle/fd.h"

namespace nacelle::logs {

// Returns the program's exit code.
int serve(Fd control);

}  // namespace nacelle::logs
