#include "engine/container_text.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <utility>

#include "base/text.h"

namespace nacelle::engine {

namespace {

constexpr int64_t ns_per_s = 1'000'000'000;
// The C library keeps two signals for itself and moves its SIGRTMIN; the kernel's is this.
constexpr int rt_min = 34, rt_max = 64;
constexpr int exit_code_unknown = 255;

constexpr std::pair<std::string_view, int> signals[] = {
    {"ABRT", SIGABRT}, {"ALRM", SIGALRM}, {"BUS", SIGBUS},       {"CHLD", SIGCHLD},
    {"CLD", SIGCHLD},  {"CONT", SIGCONT}, {"FPE", SIGFPE},       {"HUP", SIGHUP},
    {"ILL", SIGILL},   {"INT", SIGINT},   {"IO", SIGIO},         {"IOT", SIGIOT},
    {"KILL", SIGKILL}, {"PIPE", SIGPIPE}, {"POLL", SIGPOLL},     {"PROF", SIGPROF},
    {"PWR", SIGPWR},   {"QUIT", SIGQUIT}, {"SEGV", SIGSEGV},     {"STKFLT", 16},
    {"STOP", SIGSTOP}, {"SYS", SIGSYS},   {"TERM", SIGTERM},     {"TRAP", SIGTRAP},
    {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},
    {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"VTALRM", SIGVTALRM}, {"WINCH", SIGWINCH},
    {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
};

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

std::optional<int> real_time_signal(std::string_view name) {
  int base = 0;
  bool up = true;
  if (name.starts_with("RTMIN")) {
    base = rt_min;
  } else if (name.starts_with("RTMAX")) {
    base = rt_max;
    up = false;
  } else {
    return std::nullopt;
  }
  name.remove_prefix(5);
  if (name.empty()) return base;
  if (name[0] != (up ? '+' : '-')) return std::nullopt;
  const auto distance = parse_number<unsigned>(name.substr(1));
  if (!distance || *distance > rt_max - rt_min) return std::nullopt;
  return up ? base + static_cast<int>(*distance) : base - static_cast<int>(*distance);
}

}  // namespace

std::optional<int64_t> parse_time(std::string_view text) {
  const auto number = [&](size_t at, size_t size) {
    return parse_number<int>(text.substr(at, size));
  };
  if (text.size() < 20 || text.back() != 'Z' || text[10] != 'T') return std::nullopt;
  tm parts{};
  const auto year = number(0, 4), month = number(5, 2), day = number(8, 2), hour = number(11, 2),
             minute = number(14, 2), second = number(17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  parts.tm_year = *year - 1900;
  parts.tm_mon = *month - 1;
  parts.tm_mday = *day;
  parts.tm_hour = *hour;
  parts.tm_min = *minute;
  parts.tm_sec = *second;
  int64_t ns = static_cast<int64_t>(::timegm(&parts)) * ns_per_s;
  std::string_view fraction = text.substr(19, text.size() - 20);
  if (fraction.empty()) return ns;
  if (fraction[0] != '.' || fraction.size() < 2 || fraction.size() > 10) return std::nullopt;
  std::string digits(fraction.substr(1));
  digits.resize(9, '0');
  const auto rest = parse_number<uint32_t>(digits);
  if (!rest) return std::nullopt;
  return ns + *rest;
}

Result<int> parse_signal(std::string_view text) {
  const auto invalid = [&] { return fail(Kind::Invalid, cat("invalid signal: ", text)); };
  if (const auto number = parse_number<int>(text)) {
    if (*number <= 0 || *number > rt_max) return invalid();
    return *number;
  }
  const std::string whole = upper(text);
  std::string_view name = whole;
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (const auto& [known, number] : signals) {
    if (known == name) return number;
  }
  if (const auto number = real_time_signal(name)) return *number;
  return invalid();
}

Result<std::string> parse_detach_keys(std::string_view text) {
  if (text.empty()) text = "ctrl-p,ctrl-q";
  std::string bytes;
  const std::string whole(text);
  while (!text.empty()) {
    const std::string_view key = take_until(text, ',');
    if (key.size() == 1) {
      bytes += key;
      continue;
    }
    const char c = key.size() == 6 && key.starts_with("ctrl-") ? key[5] : '\0';
    if (c >= 'a' && c <= 'z') {
      bytes += static_cast<char>(c - 'a' + 1);
    } else if (c == '@') {
      bytes += '\0';
    } else if (c >= '[' && c <= '_') {
      bytes += static_cast<char>(c - '[' + 27);
    } else {
      return fail(Kind::Invalid, cat("Invalid detach keys (", whole,
                                     ") provided: Unknown character: '", key, "'"));
    }
  }
  return bytes;
}

int exit_code_of(int32_t wait_status, bool known) {
  if (!known) return exit_code_unknown;
  if (WIFSIGNALED(wait_status)) return 128 + WTERMSIG(wait_status);
  return WEXITSTATUS(wait_status);
}

}  // namespace nacelle::engine
