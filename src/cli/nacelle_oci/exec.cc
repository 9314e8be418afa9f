// exec: another process in a running container.
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/nacelle_oci/command.h"
#include "cli/nacelle_oci/foreground.h"
#include "oci/spec_parse.h"
#include "sys/file.h"

namespace nacelle::oci_cli {
namespace {

struct ExecOptions {
  ExecRequest request;
  std::string process_file;
  std::string console_socket;
  std::string pidfd_socket;
  std::string pid_file;
  std::vector<std::string> additional_gids;
  bool detach = false;
  uint32_t preserve_fds = 0;
};

std::vector<Option> option_list(ExecOptions& options) {
  ExecRequest& request = options.request;
  return {
      {"console-socket", 0, "PATH", "socket to which the terminal's master is sent",
       into(options.console_socket)},
      {"pidfd-socket", 0, "PATH", "socket to which a pidfd of the process is sent",
       into(options.pidfd_socket)},
      {"cwd", 0, "DIR", "working directory of the process", into(request.cwd)},
      {"env", 'e', "NAME=VALUE", "set a variable", onto(request.env)},
      {"tty", 't', nullptr, "give it a terminal", into(request.terminal)},
      {"user", 'u', "UID[:GID]", "run as that user", into(request.user)},
      {"additional-gids", 'g', "GID", "a further group", onto(options.additional_gids)},
      {"process", 'p', "FILE", "the whole process, as JSON", into(options.process_file)},
      {"detach", 'd', nullptr, "return as soon as the program runs", into(options.detach)},
      {"pid-file", 0, "FILE", "write the process id there", into(options.pid_file)},
      {"process-label", 0, "LABEL", "SELinux label of the process", into(request.selinux_label)},
      {"apparmor", 0, "PROFILE", "AppArmor profile of the process", into(request.apparmor_profile)},
      {"no-new-privs", 0, nullptr, "never gain privileges", into(request.no_new_privileges)},
      {"cap", 'c', "CAPABILITY", "a further capability", onto(request.capabilities)},
      {"preserve-fds", 0, "N", "pass on N descriptors from 3 on", into(options.preserve_fds)},
      {"cgroup", 0, "PATH", "run in that group below the container's", into(request.sub_cgroup)},
      {"ignore-paused", 0, nullptr, "exec in a paused container, too", into(request.ignore_paused)},
      {"no-subreaper", 0, nullptr, "accepted; there is none", ignored()},
  };
}

Result<> read_process_file(ExecOptions& options) {
  if (options.process_file.empty()) return {};
  options.request.process_json = TRY(
      sys::read_file_at(sys::working_directory, options.process_file.c_str(), oci::config_bytes_max)
          .context("--process"));
  return {};
}

// Whether the process will have a terminal: told on the command line or in the file.
Result<bool> wants_terminal(const ExecOptions& options) {
  if (options.request.process_json.empty()) return options.request.terminal;
  const oci::Process process =
      TRY(oci::parse_process(options.request.process_json).context(options.process_file));
  return process.terminal || options.request.terminal;
}

}  // namespace

Result<int> run_exec(const Context& context) {
  ExecOptions options;
  auto operands = TRY(parse_options(context.arguments, option_list(options), true));
  if (operands.empty()) return fail(Kind::Invalid, "exec: requires container-id");
  const std::string id = operands[0];
  operands.erase(operands.begin());
  if (!operands.empty() && operands[0] == "--") operands.erase(operands.begin());
  if (operands.empty() && options.process_file.empty())
    return fail(Kind::Invalid, "exec: process args cannot be empty");
  options.request.args = std::move(operands);
  for (const std::string& text : options.additional_gids) {
    const auto gid = parse_number<uint32_t>(text);
    if (!gid)
      return fail(Kind::Invalid, cat("exec: --additional-gids: '", text, "': must be a number"));
    options.request.additional_gids.push_back(*gid);
  }
  TRY(read_process_file(options));
  IoOptions io;
  io.preserved_fds = TRY(count_passed_descriptors(options.preserve_fds, options.request.extra_env));
  const bool terminal = TRY(wants_terminal(options));
  Console console = TRY(Console::prepare(terminal, !options.detach, options.console_socket));
  io.console_socket = console.descriptor();

  Runtime runtime = TRY(context.open_runtime());
  Signals signals;
  if (!options.detach) signals = TRY(Signals::hold());
  const Process process = TRY(runtime.exec(id, options.request, io));
  Result<> told = send_descriptor(options.pidfd_socket, process.pidfd);
  if (told) told = write_pid_file(options.pid_file, process.pid);
  if (told && !options.detach) told = console.receive();
  if (!told) {
    // Nobody would know of it.
    ::syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0);
    return std::unexpected(told.error());
  }
  if (options.detach) return exit_ok;
  return TRY(watch(process, signals, console)).code();
}

}  // namespace nacelle::oci_cli
