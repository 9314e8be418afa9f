#include "cli/nacelle/lifecycle.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <utility>
#include <vector>

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
  TRY(connection.call({.method = "POST", .target = target, .upgrade = "tcp"}));
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

namespace {

struct PhaseText {
  std::string_view name, text;
};
constexpr PhaseText phase_texts[] = {
    {"root", "mount the image's layers"},
    {"plan", "compile the start"},
    {"core", "hand it to nacelle-core"},
    {"network", "take a network namespace"},
    {"cgroup", "make the control group"},
    {"clone", "clone the process"},
    {"namespaces", "join and name namespaces"},
    {"mounts", "mount everything"},
    {"pivot", "change the root"},
    {"process", "limits, user, rights"},
    {"seccomp", "load the filter"},
    {"exec", "execute the program"},
    {"record", "write it down"},
    {"reply", "back in the engine"},
};

std::string_view text_of_phase(std::string_view name) {
  const auto* found = std::ranges::find(phase_texts, name, &PhaseText::name);
  return found == std::end(phase_texts) ? std::string_view() : found->text;
}

}  // namespace

Result<> print_phases(std::string_view header) {
  std::vector<std::pair<std::string_view, double>> phases;
  while (!header.empty()) {
    std::string_view end = take_until(header, ',');
    const std::string_view name = take_until(end, '=');
    const auto ns = parse_number<uint64_t>(end);
    if (!ns) return fail(Kind::Invalid, "the engine's phases of the start make no sense");
    phases.emplace_back(name, static_cast<double>(*ns) / 1000);
  }
  if (phases.empty()) return fail(Kind::Invalid, "the engine told no phases of the start");
  constexpr int columns = 26;
  const double whole = std::max(phases.back().second, 1.0);
  const auto column_of = [&](double at) {
    return std::clamp(static_cast<int>(at / whole * columns), 0, columns);
  };
  std::string text = cat("the start, in microseconds since the engine was asked:\n");
  double before = 0;
  for (const auto& [name, end] : phases) {
    const int from = std::min(column_of(before), columns - 1);
    const int to = std::max(column_of(end), from + 1);
    char line[128];
    std::snprintf(line, sizeof line, "  %-10.*s %8.0f  |%*s%.*s%*s|", static_cast<int>(name.size()),
                  name.data(), end - before, from, "", to - from, "##########################",
                  columns - to, "");
    const std::string_view said = text_of_phase(name);
    text += cat(line, said.empty() ? "" : "  ", said, "\n");
    before = end;
  }
  char line[64];
  std::snprintf(line, sizeof line, "  %-10s %8.0f\n", "sum", whole);
  text += line;
  std::fputs(text.c_str(), stderr);
  return {};
}

}  // namespace nacelle::cli
