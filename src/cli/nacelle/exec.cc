// exec.
#include <unistd.h>

#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/lifecycle.h"
#include "cli/nacelle/run_values.h"
#include "cli/nacelle/terminal.h"
#include "codec/json_fields.h"
#include "engine/model.h"

namespace nacelle::cli {

namespace {

struct ExecOptions {
  engine::ExecConfig config;
  bool detach = false, interactive = false;
};

Result<int> run_in(Api& api, const std::string& container, ExecOptions& chosen) {
  engine::ExecConfig& config = chosen.config;
  if (!chosen.detach) {
    config.attach_stdout = config.attach_stderr = true;
    config.attach_stdin = chosen.interactive;
  }
  if (config.tty && chosen.interactive && !chosen.detach && !is_terminal(STDIN_FILENO)) {
    return fail(Kind::Invalid, "the input device is not a TTY");
  }
  if (config.tty && !chosen.detach) {
    const TerminalSize size = terminal_size(STDOUT_FILENO);
    if (size.rows != 0) config.console_size = {size.rows, size.columns};
  }
  codec::json::Writer body;
  codec::json::write_fields(body, config);
  const Datum made =
      TRY(api.post(Target("/containers/", container, "/exec"), std::move(body).take()));
  const std::string id = made["Id"].text();
  if (id.empty()) return fail(Kind::Internal, "exec ID empty");

  Datum start = Datum::object();
  start.set("Detach", Datum(chosen.detach)).set("Tty", Datum(config.tty));
  if (!config.console_size.empty()) {
    Datum size = Datum::array();
    for (const uint32_t each : config.console_size) size.push(Datum(int64_t{each}));
    start.set("ConsoleSize", std::move(size));
  }
  const Target target("/exec/", id, "/start");
  if (chosen.detach) {
    TRY(api.send({.method = "POST", .target = target, .body = start.json()}));
    return 0;
  }
  const Signals signals = TRY(Signals::open(false));
  Api connection = api.another();
  TRY(connection.call(
      {.method = "POST", .target = target, .body = start.json(), .headers = {}, .upgrade = "tcp"}));
  const AttachedStreams streams{.input = config.attach_stdin,
                                .output = true,
                                .errors = true,
                                .tty = config.tty,
                                .signal_proxy = false,
                                .logs = false,
                                .detach_keys = config.detach_keys};
  if (config.tty) send_size(api, id, {.is_exec = true});
  TRY(run_attached(api, id, connection.take_over(), streams, signals, {.is_exec = true}));
  const Datum ended = TRY(api.get(Target("/exec/", id, "/json")));
  return static_cast<int>(ended["ExitCode"].integer());
}

}  // namespace

Result<int> run_exec(Session& session, const Arguments& arguments) {
  ExecOptions chosen;
  engine::ExecConfig& config = chosen.config;
  std::vector<std::string> env_files, env;
  Options options("exec [OPTIONS] CONTAINER COMMAND [ARG...]",
                  "Runs a command in a running container.");
  options.flag("detach", 'd', chosen.detach, "Run it in the background")
      .value("detach-keys", 0, config.detach_keys, "KEYS", "What detaches from it (ctrl-p,ctrl-q)")
      .list("env", 'e', env, "NAME[=VALUE]", "Set an environment variable")
      .list("env-file", 0, env_files, "FILE", "Read environment variables from a file")
      .flag("interactive", 'i', chosen.interactive, "Keep standard input open")
      .flag("privileged", 0, config.privileged, "Give it all that root has on this machine")
      .flag("tty", 't', config.tty, "Give it a terminal")
      .value("user", 'u', config.user, "USER[:GROUP]", "Names or numbers")
      .value("workdir", 'w', config.working_dir, "DIR", "Working directory inside the container")
      .operands(2, any_number)
      .stop_at_operand();
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  for (const std::string& file : env_files) {
    for (std::string& line : TRY(read_variables(file, true))) config.env.push_back(std::move(line));
  }
  for (const std::string& each : env) config.env.push_back(with_environment(each));
  config.cmd.assign(parsed.operands.begin() + 1, parsed.operands.end());
  const Result<int> code = run_in(*TRY(session.api()), parsed.operands[0], chosen);
  if (code) return *code;
  // 126 and 127 where the program was at fault; else what any request's failure is.
  const int start = exit_code_of_start(code.error());
  return complain(code.error(), start == exit_usage ? 1 : start);
}

}  // namespace nacelle::cli
