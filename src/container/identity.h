// Which process a number means: pids are used again, so a process that is to be found later is
// remembered with what no other has.
#pragma once

#include <cstdint>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::container {

// A process, named so that a reused pid is never mistaken for it.
struct ProcessIdentity {
  int pid = 0;
  uint64_t pidfd_inode = 0;  // unique until reboot where there is pidfs (6.9); else 0
  uint64_t start_time = 0;   // field 22 of /proc/PID/stat, where there is no pidfs
};
Result<ProcessIdentity> identify(int pid, const Fd& pidfd);
// A pidfd of that very process, or NotFound when it is gone or another has its pid.
Result<Fd> open_process(const ProcessIdentity& identity);

}  // namespace nacelle::container
