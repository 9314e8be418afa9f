// A process of a container and the terminal or streams of the caller, until the process ends.
#pragma once

#include <string>

#include "nacelle/container.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::oci_cli {

// Where a new terminal's master goes: to --console-socket, or to ourselves when we stay.
class Console {
 public:
  // `wanted`: the process has a terminal; `stays`: we stay in the foreground.
  static Result<Console> prepare(bool wanted, bool stays, const std::string& socket_path);
  int descriptor() const { return to_child_.get(); }  // for IoOptions::console_socket
  // After the start: takes the master that the process's side sent, if it came to us.
  Result<> receive();
  const Fd& master() const { return master_; }

 private:
  Fd to_child_;
  Fd from_child_;
  Fd master_;
};

// From here on signals wait until watch() passes them on; made before the process is.
class Signals {
 public:
  static Result<Signals> hold();
  const Fd& descriptor() const { return fd_; }

 private:
  Fd fd_;
};

// Passes on signals and, with a terminal, bytes both ways and changes of the window's size; returns
// how the process ended.
Result<ExitStatus> watch(const Process& process, const Signals& signals, const Console& console);

// Writes the pid as callers expect it: whole, or not there.
Result<> write_pid_file(const std::string& path, pid_t pid);

// Sends a descriptor over a unix socket at `path` (--pidfd-socket).
Result<> send_descriptor(const std::string& path, const Fd& fd);

// How many descriptors from 3 on the program gets: --preserve-fds plus systemd's LISTEN_FDS, whose
// variables are added to `env`. Each must be open, or the runtime's own could take its place.
Result<uint32_t> count_passed_descriptors(uint32_t preserve_fds, std::vector<std::string>& env);

}  // namespace nacelle::oci_cli
