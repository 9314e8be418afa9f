#include "cli/nacelle/lifecycle.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/terminal.h"

namespace nacelle::cli {

int exit_code_of_start(const Error& error) {
  std::string text = error.message();
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (text.contains("executable file not found") || text.contains("no such file or directory")) {
    return 127;
  }
  if (text.contains("permission denied") || text.contains("is a directory") ||
      text.contains("exec format error")) {
    return 126;
  }
  return exit_usage;
}

int complain(const Error& error, int code) {
  std::fprintf(stderr, "nacelle: %s\n", error.message().c_str());
  return code;
}

Result<Waiting> Waiting::begin(const Api& api, const std::string& id, std::string_view condition) {
  Waiting waiting(api.another());
  TRY(waiting.api_.call(
      {.method = "POST",
       .target = Target("/containers/", id, "/wait").with("condition", condition)}));
  return waiting;
}

Result<int> Waiting::exit_code() {
  const Datum answer = TRY(api_.rest_as_json());
  if (const std::string& message = answer["Error"]["Message"].text(); !message.empty()) {
    return fail(Kind::Internal, message);
  }
  return static_cast<int>(answer["StatusCode"].integer());
}

Result<http::StreamClient::Taken> attach_streams(const Api& api, const std::string& id,
                                                 const AttachedStreams& streams) {
  Target target("/containers/", id, "/attach");
  target.flag("stream", true)
      .flag("stdin", streams.input)
      .flag("stdout", streams.output)
      .flag("stderr", streams.errors)
      .flag("logs", streams.logs)
      .maybe("detachKeys", streams.detach_keys);
  Api connection = api.another();
  TRY(connection.call({.method = "POST", .target = target, .upgrade = true}));
  return connection.take_over();
}

void send_size(Api& api, const std::string& id, SignalsOf kind) {
  const TerminalSize size = terminal_size(STDOUT_FILENO);
  if (size.rows == 0 && size.columns == 0) return;
  Target target(kind.is_exec ? "/exec/" : "/containers/", id, "/resize");
  target.with("h", cat(size.rows)).with("w", cat(size.columns));
  // It may have ended already, and then has no terminal.
  (void)api.send({.method = "POST", .target = target});
}

Result<StreamEnd> run_attached(Api& api, const std::string& id,
                               http::StreamClient::Taken connection, const AttachedStreams& streams,
                               const Signals& signals, SignalsOf kind) {
  const bool raw = streams.tty && streams.input && is_terminal(STDIN_FILENO);
  StreamOptions options;
  options.tty = streams.tty;
  options.wants_input = streams.input;
  options.wants_output = streams.output || streams.tty;
  options.wants_errors = streams.errors;
  options.signals = &signals;
  if (raw) {
    options.detach_keys = TRY(
        parse_detach_keys(streams.detach_keys.empty() ? default_detach_keys : streams.detach_keys));
  }
  options.on_signal = [&](int signal) {
    if (signal == SIGWINCH) {
      if (streams.tty) send_size(api, id, kind);
    } else if (!kind.is_exec) {
      const Target target = Target("/containers/", id, "/kill").with("signal", signal_name(signal));
      (void)api.send({.method = "POST", .target = target});
    }
  };
  StreamEnd end = StreamEnd::Ended;
  {
    std::optional<RawTerminal> terminal;
    if (raw) terminal.emplace(STDIN_FILENO);
    end = TRY(run_streams(std::move(connection), options));
  }
  if (end == StreamEnd::Detached) std::fputs("read escape sequence\n", stderr);
  return end;
}

void print_phases(const Datum& container) {
  const std::vector<Datum>& phases = container["Nacelle"]["Phases"].items();
  if (phases.empty()) {
    std::fputs("nacelle: the engine recorded no phases of this start\n", stderr);
    return;
  }
  const auto name_of = [](const Datum& phase) {
    return phase["Name"].is_null() ? phase["name"].text() : phase["Name"].text();
  };
  const auto ns_of = [](const Datum& phase) {
    return phase["Ns"].is_null() ? phase["ns"].number() : phase["Ns"].number();
  };
  constexpr int bar_columns = 40;
  const double whole = std::max(ns_of(phases.back()), 1.0);
  size_t width = 5;
  for (const Datum& phase : phases) width = std::max(width, name_of(phase).size());
  double before = 0;
  for (const Datum& phase : phases) {
    const double now = ns_of(phase);
    const int from = static_cast<int>(before / whole * bar_columns);
    const int to = std::max(static_cast<int>(now / whole * bar_columns), from + 1);
    const std::string bar =
        cat(std::string(static_cast<size_t>(from), ' '),
            std::string(static_cast<size_t>(to - from), '#'),
            std::string(static_cast<size_t>(std::max(bar_columns - to, 0)), ' '));
    std::fprintf(stderr, "%-*s  %9.1f us  |%s|\n", static_cast<int>(width), name_of(phase).c_str(),
                 (now - before) / 1000, bar.c_str());
    before = now;
  }
  std::fprintf(stderr, "%-*s  %9.1f us\n", static_cast<int>(width), "total", whole / 1000);
}

}  // namespace nacelle::cli
