// Starting another program of ours with nothing but what is listed here: no descriptor, no variable
// and no signal handler of the caller gets into it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::sys {

struct SpawnOptions {
  const Fd* program = nullptr;           // executed by descriptor, whatever its name is by then
  std::vector<std::string> arguments;    // the first is its name
  std::vector<std::string> environment;  // `NAME=value`
  std::vector<const Fd*> descriptors;    // become 3, 4, ...; standard ones are /dev/null
  const Fd* standard_error = nullptr;    // but this one, where it is given
  uint64_t namespaces = 0;               // CLONE_NEW*
};

// The pidfd of a child that has executed the program; a failed execve is an error here. The child
// is killed when the calling thread ends, and begins with all signals blocked.
Result<Fd> spawn(const SpawnOptions& options);

// Waits for the child's end; the value is a wait status, for WIFEXITED and its kin.
Result<int> reap(const Fd& pidfd);

Result<> kill_process(const Fd& pidfd, int signal);

// For a process that sleeps until it is asked for something, answers, and sleeps again: it goes on
// as soon as it is woken, before those that always have something to do. Its children do not
// inherit that. Nothing changes where it may not, or where somebody has chosen how it runs.
void run_promptly();
// For one that moves what others make: it wakes without taking the processor from anybody.
void run_in_batches();

}  // namespace nacelle::sys
