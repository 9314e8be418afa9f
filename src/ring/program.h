// A program that is run to its end, and what it had to say.
#pragma once

#include <string>

#include "nacelle/loop.h"
#include "nacelle/task.h"
#include "sys/process.h"

namespace nacelle::ring {

struct Ended {
  int status = 0;     // a wait status
  std::string words;  // the beginning of its standard error, without the last newlines
};
// Its standard error is ours to read; all else is as `options` say. One that is not done in time is
// killed: Unavailable, naming `attempt`.
Task<Ended> run_program(Loop& loop, sys::SpawnOptions options, Duration patience,
                        std::string attempt);

}  // namespace nacelle::ring
