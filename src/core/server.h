// nacelle-core's whole life: the one process that starts containers, owns them and hears of their
// end. It serves one engine at a time on <run directory>/core.sock, and goes on without one.
// State lies in <run directory>/core/, on a tmpfs, a small file per container, written before the
// start is answered: a successor finds every process again by it.
#pragma once

#include <string>

namespace nacelle::core {

struct ServerOptions {
  std::string run_directory = "/run/nacelle";
  std::string worker;                   // nacelle-worker
  std::string cgroup_root = "nacelle";  // below the root of the cgroup v2 tree
  int state_fd = -1;                    // after a re-exec: the predecessor's state
  bool check_state = false;             // only look whether that can be understood
  // Returns once the socket is there; the process that serves is another one, in a session and a
  // cgroup of its own, and writes what it has to say to <run directory>/core.log.
  bool background = false;
};

// Returns the program's exit code.
int serve(const ServerOptions& options);

}  // namespace nacelle::core
