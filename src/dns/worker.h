// The names worker's whole life: answers what containers ask of 127.0.0.11, by the table that core
// tells it (messages.h), until core closes the connection. One thread, one epoll, for all
// containers. It confines itself before the first question: nobody's user, no capabilities, a list
// of system calls, a bound on its memory, a network namespace of its own with nothing in it; what
// it reaches it reaches by sockets that it was given.
#pragma once

#include "nacelle/fd.h"

namespace nacelle::dns {

// Returns the program's exit code.
int serve(Fd control);

}  // namespace nacelle::dns
