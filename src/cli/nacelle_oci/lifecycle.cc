// start, kill, delete, pause, resume: one call each on the container that is named.
#include <signal.h>

#include <cstring>

#include "base/text.h"
#include "cli/nacelle_oci/command.h"

namespace nacelle::oci_cli {
namespace {

// "TERM", "SIGTERM" or "15"; real-time signals as "RTMIN+3".
Result<int> parse_signal(std::string_view text) {
  const auto invalid = [&] { return fail(Kind::Invalid, cat("unknown signal \"", text, "\"")); };
  if (const auto number = parse_number<int>(text)) {
    if (*number < 1 || *number > 64) return invalid();
    return *number;
  }
  std::string name;
  for (const char c : text) name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  if (name.starts_with("SIG")) name.erase(0, 3);
  // The kernel's range, not what libc leaves of it.
  constexpr int realtime_min = 34;
  constexpr int realtime_max = 64;
  if (name.starts_with("RTMIN") || name.starts_with("RTMAX")) {
    const int base = name.starts_with("RTMIN") ? realtime_min : realtime_max;
    const std::string_view rest = std::string_view(name).substr(5);
    if (rest.empty()) return base;
    const auto offset = parse_number<int>(rest.substr(1));
    const int sign = rest[0] == '+' ? 1 : rest[0] == '-' ? -1 : 0;
    const int signal = base + sign * offset.value_or(realtime_max);
    if (!offset || sign == 0 || signal < realtime_min || signal > realtime_max) return invalid();
    return signal;
  }
  for (int signal = 1; signal < realtime_min; ++signal) {
    const char* known = ::sigabbrev_np(signal);
    if (known != nullptr && name == known) return signal;
  }
  if (name == "IOT") return SIGABRT;
  if (name == "CLD") return SIGCHLD;
  return invalid();
}

Result<std::string> id_operand(const Context& context, std::string_view verb) {
  return only_operand(TRY(parse_options(context.arguments, {})), verb, "container-id");
}

}  // namespace

Result<int> run_start(const Context& context) {
  const std::string id = TRY(id_operand(context, "start"));
  TRY(TRY(context.open_runtime()).start(id));
  return exit_ok;
}

Result<int> run_kill(const Context& context) {
  bool all = false;
  const Option options[] = {{"all", 'a', nullptr, "every process of the container", into(all)}};
  const auto operands = TRY(parse_options(context.arguments, options));
  if (operands.empty() || operands.size() > 2) {
    return fail(Kind::Invalid, "kill: requires container-id and at most one signal");
  }
  const int signal = operands.size() == 2 ? TRY(parse_signal(operands[1])) : SIGTERM;
  TRY(TRY(context.open_runtime()).kill(operands[0], signal, all));
  return exit_ok;
}

Result<int> run_delete(const Context& context) {
  bool force = false;
  const Option options[] = {{"force", 'f', nullptr, "kill it if it still runs", into(force)}};
  const auto operands = TRY(parse_options(context.arguments, options));
  const std::string id = TRY(only_operand(operands, "delete", "container-id"));
  TRY(TRY(context.open_runtime()).remove(id, force));
  return exit_ok;
}

Result<int> run_pause(const Context& context) {
  const std::string id = TRY(id_operand(context, "pause"));
  TRY(TRY(context.open_runtime()).pause(id));
  return exit_ok;
}

Result<int> run_resume(const Context& context) {
  const std::string id = TRY(id_operand(context, "resume"));
  TRY(TRY(context.open_runtime()).resume(id));
  return exit_ok;
}

}  // namespace nacelle::oci_cli
