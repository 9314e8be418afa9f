// The options that `create` and `run` share, and the start they lead to.
#pragma once

#include <string>
#include <vector>

#include "cli/nacelle_oci/command.h"
#include "cli/nacelle_oci/foreground.h"

namespace nacelle::oci_cli {

struct CreateOptions {
  std::string bundle = ".";
  std::string console_socket;
  std::string pidfd_socket;
  std::string pid_file;
  bool no_pivot = false;
  bool no_new_keyring = false;
  uint32_t preserve_fds = 0;
};

// The options' entries for parse_options(); `more` follow them.
std::vector<Option> create_option_list(CreateOptions& options, std::vector<Option> more = {});

struct Prepared {
  Runtime runtime;
  Bundle bundle;
  Console console;
  IoOptions io;
};

// Everything before the start itself; warnings are logged. `stays`: the caller waits for the end.
Result<Prepared> prepare_start(const Context& context, const CreateOptions& options, bool stays);

// What callers are told once the process is there.
Result<> announce(const CreateOptions& options, const Process& process);

}  // namespace nacelle::oci_cli
