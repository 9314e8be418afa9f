#include "cli/nacelle_oci/foreground.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/text.h"
#include "sys/file.h"
#include "sys/unix_socket.h"

namespace nacelle::oci_cli {
namespace {

// The caller's terminal handed through unchanged, and put back at the end.
class RawTerminal {
 public:
  RawTerminal() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios raw = before_;
    ::cfmakeraw(&raw);
    changed_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal() {
    if (changed_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }

 private:
  termios before_{};
  bool changed_ = false;
};

void copy_window_size(const Fd& master) {
  winsize size{};
  if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) ::ioctl(master.get(), TIOCSWINSZ, &size);
}

// Moves what is there; false at the end of the stream.
bool relay(int from, int to) {
  char bytes[16 << 10];
  const ssize_t got = ::read(from, bytes, sizeof bytes);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  if (got == 0) return false;
  std::string_view left(bytes, static_cast<size_t>(got));
  while (!left.empty()) {
    const ssize_t put = ::write(to, left.data(), left.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    left.remove_prefix(static_cast<size_t>(put));
  }
  return true;
}

void pass_on(const Process& process, const Signals& signals, const Console& console) {
  signalfd_siginfo info;
  if (::read(signals.descriptor().get(), &info, sizeof info) != sizeof info) return;
  const int signal = static_cast<int>(info.ssi_signo);
  if (signal == SIGCHLD || signal == SIGPIPE) return;
  if (signal == SIGWINCH && console.master()) {
    copy_window_size(console.master());
    return;
  }
  ::syscall(SYS_pidfd_send_signal, process.pidfd.get(), signal, nullptr, 0);
}

}  // namespace

Result<Console> Console::prepare(bool wanted, bool stays, const std::string& socket_path) {
  Console console;
  if (!socket_path.empty()) {
    if (!wanted)
      return fail(Kind::Invalid, "cannot use console socket if the process has no terminal");
    console.to_child_ = TRY(sys::connect_unix(socket_path).context("--console-socket"));
    return console;
  }
  if (!wanted) return console;
  if (!stays)
    return fail(Kind::Invalid,
                "cannot allocate tty if it will detach without setting console socket");
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(errno, "socketpair");
  console.to_child_ = Fd(ends[0]);
  console.from_child_ = Fd(ends[1]);
  return console;
}

Result<> Console::receive() {
  if (!from_child_) return {};
  to_child_ = Fd();
  master_ = TRY(sys::receive_fd(from_child_).context("receiving the terminal"));
  return {};
}

Result<Signals> Signals::hold() {
  sigset_t every;
  ::sigfillset(&every);
  ::sigprocmask(SIG_BLOCK, &every, nullptr);
  Signals signals;
  const int raw = ::signalfd(-1, &every, SFD_CLOEXEC);
  if (raw < 0) return fail_errno(errno, "signalfd");
  signals.fd_ = Fd(raw);
  return signals;
}

Result<ExitStatus> watch(const Process& process, const Signals& signals, const Console& console) {
  std::optional<RawTerminal> raw;
  if (console.master()) {
    copy_window_size(console.master());
    raw.emplace();
  }
  // A negative descriptor is skipped by poll(2).
  const int master = console.master() ? console.master().get() : -1;
  pollfd waiting[4] = {{process.pidfd.get(), POLLIN, 0},
                       {signals.descriptor().get(), POLLIN, 0},
                       {master, POLLIN, 0},
                       {master < 0 ? -1 : STDIN_FILENO, POLLIN, 0}};
  while (true) {
    if (::poll(waiting, 4, -1) < 0 && errno != EINTR) return fail_errno(errno, "poll");
    if (waiting[1].revents != 0) pass_on(process, signals, console);
    if (waiting[3].revents != 0 && !relay(STDIN_FILENO, master)) waiting[3].fd = -1;
    if (waiting[2].revents != 0 && !relay(master, STDOUT_FILENO)) waiting[2].fd = -1;
    // What the process wrote before its end is still passed on.
    if (waiting[0].revents != 0 && (waiting[2].fd < 0 || waiting[2].revents == 0)) break;
  }
  return wait(process);
}

Result<> write_pid_file(const std::string& path, pid_t pid) {
  if (path.empty()) return {};
  return sys::replace_file_at(sys::working_directory, path.c_str(), cat(pid), 0644)
      .context("--pid-file");
}

Result<> send_descriptor(const std::string& path, const Fd& fd) {
  if (path.empty()) return {};
  const Fd socket = TRY(sys::connect_unix(path).context("--pidfd-socket"));
  return sys::send_fd(socket, fd, "pidfd").context("--pidfd-socket");
}

Result<uint32_t> count_passed_descriptors(uint32_t preserve_fds, std::vector<std::string>& env) {
  constexpr uint32_t passed_max = 1024;
  uint32_t listen_fds = 0;
  const char* count = std::getenv("LISTEN_FDS");
  const char* pid = std::getenv("LISTEN_PID");
  const bool ours = pid == nullptr || parse_number<pid_t>(pid) == ::getpid();
  if (count != nullptr && ours) {
    listen_fds = parse_number<uint32_t>(count).value_or(0);
    if (listen_fds > 0) {
      env.push_back(cat("LISTEN_FDS=", listen_fds));
      env.emplace_back("LISTEN_PID=1");
    }
  }
  const uint64_t total = uint64_t{preserve_fds} + listen_fds;
  if (total > passed_max)
    return fail(Kind::Invalid, cat("--preserve-fds: more than ", passed_max, " descriptors"));
  for (uint32_t fd = 3; fd < 3 + total; ++fd) {
    if (::fcntl(static_cast<int>(fd), F_GETFD) < 0) {
      return fail(Kind::Invalid, cat("--preserve-fds: descriptor ", fd, " is not open"));
    }
  }
  return static_cast<uint32_t>(total);
}

}  // namespace nacelle::oci_cli
