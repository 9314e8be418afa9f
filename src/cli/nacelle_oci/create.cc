// create: everything but the program itself.
#include "base/text.h"
#include "cli/nacelle_oci/create_options.h"

namespace nacelle::oci_cli {

std::vector<Option> create_option_list(CreateOptions& options, std::vector<Option> more) {
  std::vector<Option> list = {
      {"bundle", 'b', "DIR", "the bundle (default the working directory)", into(options.bundle)},
      {"console-socket", 0, "PATH", "socket to which the terminal's master is sent",
       into(options.console_socket)},
      {"pidfd-socket", 0, "PATH", "socket to which a pidfd of the process is sent",
       into(options.pidfd_socket)},
      {"pid-file", 0, "FILE", "write the process id there", into(options.pid_file)},
      {"no-pivot", 0, nullptr, "change the root without pivot_root, as on a ramdisk",
       into(options.no_pivot)},
      {"no-new-keyring", 0, nullptr, "stay in the caller's session keyring",
       into(options.no_new_keyring)},
      {"preserve-fds", 0, "N", "pass on N descriptors from 3 on", into(options.preserve_fds)},
  };
  for (Option& option : more) list.push_back(std::move(option));
  return list;
}

Result<Prepared> prepare_start(const Context& context, const CreateOptions& options, bool stays) {
  LoadOptions load;
  load.no_pivot = options.no_pivot;
  load.new_keyring = !options.no_new_keyring;
  IoOptions io;
  io.preserved_fds = TRY(count_passed_descriptors(options.preserve_fds, load.extra_env));
  Runtime runtime = TRY(context.open_runtime());
  Bundle bundle = TRY(runtime.load(options.bundle, load));
  for (const std::string& warning : bundle.warnings()) context.log.warning(warning);
  Console console = TRY(Console::prepare(bundle.terminal(), stays, options.console_socket));
  io.console_socket = console.descriptor();
  return Prepared{std::move(runtime), std::move(bundle), std::move(console), io};
}

Result<> announce(const CreateOptions& options, const Process& process) {
  TRY(send_descriptor(options.pidfd_socket, process.pidfd));
  return write_pid_file(options.pid_file, process.pid);
}

Result<int> run_create(const Context& context) {
  CreateOptions options;
  const auto operands = TRY(parse_options(context.arguments, create_option_list(options)));
  const std::string id = TRY(only_operand(operands, "create", "container-id"));
  Prepared prepared = TRY(prepare_start(context, options, false));
  const Process process = TRY(prepared.runtime.create(id, prepared.bundle, prepared.io));
  if (Result<> told = announce(options, process); !told) {
    (void)prepared.runtime.remove(id, true);
    return std::unexpected(told.error());
  }
  return exit_ok;
}

}  // namespace nacelle::oci_cli
