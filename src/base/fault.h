// Named places at which a test can end the process, to see what a crash or a power cut there leaves
// behind. Without the environment variable NACELLE_FAULT they are one comparison each.
//   NACELLE_FAULT=list:/path   appends the name of each place passed to that file
//   NACELLE_FAULT=kill:N       SIGKILL at the Nth place passed, counted from 1
//   NACELLE_FAULT=kill:NAME    SIGKILL at the first place of that name
// nacelle-worker reads NACELLE_WORKER_FAULT instead.
#pragma once

namespace nacelle {

// Reads `variable` and arms what it says. Once, early in main.
void arm_faults(const char* variable = "NACELLE_FAULT");

namespace detail {
extern bool faults_armed;
void pass_fault_point(const char* name);
}  // namespace detail

inline void fault_point(const char* name) {
  if (detail::faults_armed) [[unlikely]]
    detail::pass_fault_point(name);
}

}  // namespace nacelle
