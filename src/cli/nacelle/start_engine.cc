// The engine where none runs: `nacelled` beside our own program, in a session of its own, so that
// it outlives us and our terminal.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <string>

#include "base/text.h"
#include "cli/nacelle/session.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

constexpr const char* run_directory = "/run/nacelle";
constexpr const char* log_path = "/run/nacelle/nacelled.log";
constexpr const char* idle_exit_seconds = "300";
constexpr std::chrono::seconds patience{10};
constexpr std::chrono::milliseconds between_looks{2};

Result<std::string> engine_program() {
  std::string path = TRY(sys::read_link_at(sys::working_directory, "/proc/self/exe"));
  path.resize(path.rfind('/') + 1);
  path += "nacelled";
  if (::access(path.c_str(), X_OK) != 0) {
    return fail(Kind::NotFound, cat("no engine answers, and there is no ", path, " to start"));
  }
  return path;
}

[[noreturn]] void become_engine(const char* program, const char* host, const Fd& log) {
  ::setsid();
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(log.get(), STDOUT_FILENO);
  ::dup2(log.get(), STDERR_FILENO);
  ::close_range(3, UINT_MAX, 0);
  if (::chdir("/") != 0) ::_exit(126);
  const char* arguments[] = {program, "--host", host, "--idle-exit", idle_exit_seconds, nullptr};
  ::execv(program, const_cast<char* const*>(arguments));
  ::_exit(127);
}

// What an engine that has ended said last.
std::string last_words(off_t log_from) {
  constexpr size_t bytes_max = 64u << 10;
  const auto text = sys::read_file_at(sys::working_directory, log_path, bytes_max);
  if (!text) return {};
  std::string_view said = *text;
  said.remove_prefix(std::min(static_cast<size_t>(log_from), said.size()));
  while (said.ends_with('\n')) said.remove_suffix(1);
  const size_t line = said.rfind('\n');
  return std::string(line == std::string_view::npos ? said : said.substr(line + 1));
}

}  // namespace

Result<> start_engine(const std::string& host) {
  const std::string program = TRY(engine_program());
  if (::mkdir(run_directory, 0700) != 0 && errno != EEXIST) {
    return fail_errno(errno, cat("mkdir ", run_directory));
  }
  const Fd log =
      TRY(sys::open_at(sys::working_directory, log_path, O_WRONLY | O_CREAT | O_APPEND, 0600));
  const off_t log_from = ::lseek(log.get(), 0, SEEK_END);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(errno, "fork");
  if (child == 0) become_engine(program.c_str(), host.c_str(), log);

  const auto until = std::chrono::steady_clock::now() + patience;
  bool ended = false;
  for (;;) {
    Api api(host);
    if (api.send({.target = Target("/_ping")})) return {};
    // Another client's engine may have been quicker, and then ours ends: one more look decides.
    if (ended) {
      const std::string words = last_words(log_from);
      return fail(Kind::Unavailable, cat("the engine did not start", words.empty() ? "" : ": ",
                                         words, " (", log_path, ")"));
    }
    int status = 0;
    ended = ::waitpid(child, &status, WNOHANG) == child;
    if (std::chrono::steady_clock::now() > until) {
      return fail(Kind::Unavailable, cat("the engine does not answer; see ", log_path));
    }
    ::poll(nullptr, 0, static_cast<int>(between_looks.count()));
  }
}

}  // namespace nacelle::cli
