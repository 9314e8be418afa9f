#include "tests/support/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::test {
namespace {

std::string read_from_start(const Fd& file) {
  std::string text;
  char part[16'384];
  off_t at = 0;
  for (;;) {
    const ssize_t got = ::pread(file.get(), part, sizeof part, at);
    if (got <= 0) return text;
    text.append(part, static_cast<size_t>(got));
    at += got;
  }
}

Fd memory_file(const char* name) {
  Fd file(::memfd_create(name, MFD_CLOEXEC));
  CHECK(file);
  // Two writers share one offset through dup, but a reopened one must not overwrite the other.
  CHECK(::fcntl(file.get(), F_SETFL, O_APPEND) == 0);
  return file;
}

[[noreturn]] void become(const std::vector<std::string>& arguments, const CommandOptions& options,
                         const Fd& in, const Fd& out, const Fd& err) {
  ::setpgid(0, 0);
  if (::dup2(in.get(), 0) < 0 || ::dup2(out.get(), 1) < 0 || ::dup2(err.get(), 2) < 0) ::_exit(126);
  ::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
  for (const int fd : options.keep) ::fcntl(fd, F_SETFD, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(126);
  for (const std::string& setting : options.environment) {
    ::putenv(const_cast<char*>(setting.c_str()));
  }
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  const std::string complaint = cat("cannot run ", arguments[0], ": ", strerror(errno), '\n');
  [[maybe_unused]] const ssize_t written = ::write(2, complaint.data(), complaint.size());
  ::_exit(127);
}

}  // namespace

std::string CommandResult::out_now() const { return read_from_start(out_file); }
std::string CommandResult::err_now() const { return read_from_start(err_file); }

std::string CommandResult::text() const {
  std::string end = cat("exit ", exit_code);
  if (signal != 0) end = cat("signal ", signal);
  if (timed_out) end = "deadline passed";
  return cat('[', end, "]\nstdout: ", out, "\nstderr: ", err);
}

RunningCommand::RunningCommand(const std::vector<std::string>& arguments,
                               const CommandOptions& options)
    : out_(memory_file("stdout")),
      err_(memory_file("stderr")),
      deadline_(std::chrono::steady_clock::now() + options.deadline) {
  CHECK(!arguments.empty());
  Fd in = memory_file("stdin");
  CHECK(::write(in.get(), options.input.data(), options.input.size()) ==
        static_cast<ssize_t>(options.input.size()));
  CHECK(::lseek(in.get(), 0, SEEK_SET) == 0);
  pid_ = ::fork();
  CHECK(pid_ >= 0);
  if (pid_ == 0) become(arguments, options, in, out_, err_);
  ::setpgid(pid_, pid_);
  pidfd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  CHECK(pidfd_);
}

RunningCommand::~RunningCommand() {
  if (pid_ < 0) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::string RunningCommand::out_now() const { return read_from_start(out_); }
std::string RunningCommand::err_now() const { return read_from_start(err_); }

CommandResult RunningCommand::wait() {
  CHECK(pid_ > 0);
  CommandResult result;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline_ - std::chrono::steady_clock::now());
    pollfd waiting{pidfd_.get(), POLLIN, 0};
    const int ready =
        ::poll(&waiting, 1, static_cast<int>(std::max(left.count(), std::int64_t{0})));
    if (ready > 0) break;
    if (ready < 0 && errno == EINTR) continue;
    result.timed_out = true;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    break;
  }
  int status = 0;
  CHECK(::waitpid(pid_, &status, 0) == pid_);
  pid_ = -1;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.out = read_from_start(out_);
  result.err = read_from_start(err_);
  result.out_file = std::move(out_);
  result.err_file = std::move(err_);
  return result;
}

CommandResult run(const std::vector<std::string>& arguments, const CommandOptions& options) {
  return RunningCommand(arguments, options).wait();
}

std::string read_file(const std::string& path) {
  std::string text;
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return text;
  char part[16'384];
  ssize_t got = 0;
  while ((got = ::read(file.get(), part, sizeof part)) > 0) {
    text.append(part, static_cast<size_t>(got));
  }
  return text;
}

bool write_file(const std::string& path, std::string_view text, unsigned mode) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file) return false;
  while (!text.empty()) {
    const ssize_t put = ::write(file.get(), text.data(), text.size());
    if (put <= 0) return false;
    text.remove_prefix(static_cast<size_t>(put));
  }
  return true;
}

}  // namespace nacelle::test
