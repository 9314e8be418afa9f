#include "cli/nacelle/streams.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/text.h"
#include "cli/nacelle/terminal.h"

namespace nacelle::cli {

namespace {

constexpr size_t buffer_bytes = 64u << 10;

// Those a container is told of: not what the kernel tells us of our children, our terminal and our
// own faults.
bool is_passed_on(int signal) {
  switch (signal) {
    case SIGCHLD:
    case SIGPIPE:
    case SIGURG:
    case SIGWINCH:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGABRT:
    case SIGTRAP:
    case SIGSYS: return false;
    default: return true;
  }
}

// The two directions of one connection.
class Streams {
 public:
  Streams(http::StreamClient::Taken connection, const StreamOptions& options)
      : options_(options),
        socket_(std::move(connection.socket)),
        early_(std::move(connection.early_bytes)),
        filter_(options.tty ? options.detach_keys : std::string()),
        demultiplexer_([this](int stream, std::string_view bytes) { return out(stream, bytes); }) {}

  Result<StreamEnd> run() {
    const int flags = ::fcntl(socket_.get(), F_GETFL);
    ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK);
    input_open_ = options_.wants_input;
    if (!input_open_) end_input();
    TRY(received(early_));
    while (!ended_ && !detached_) TRY(turn());
    return detached_ ? StreamEnd::Detached : StreamEnd::Ended;
  }

 private:
  Result<> turn() {
    pollfd files[] = {
        {.fd = socket_.get(),
         .events = static_cast<short>(POLLIN | (waiting_.empty() ? 0 : POLLOUT)),
         .revents = 0},
        // One piece of input at a time: what is not taken is not read.
        {.fd = input_open_ && waiting_.empty() ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0},
        {.fd = options_.signals == nullptr ? -1 : options_.signals->file().get(),
         .events = POLLIN,
         .revents = 0},
    };
    if (::poll(files, std::size(files), -1) < 0) {
      return errno == EINTR ? Result<>() : fail_errno(errno, "poll");
    }
    if (files[2].revents != 0) {
      signalfd_siginfo info{};
      if (::read(options_.signals->file().get(), &info, sizeof info) == sizeof info) {
        if (options_.on_signal) options_.on_signal(static_cast<int>(info.ssi_signo));
      }
    }
    if ((files[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) TRY(receive());
    if (!ended_ && (files[0].revents & POLLOUT) != 0) TRY(send());
    if (!ended_ && files[1].revents != 0) TRY(take_input());
    return {};
  }

  Result<> receive() {
    char bytes[buffer_bytes];
    const ssize_t length = ::recv(socket_.get(), bytes, sizeof bytes, 0);
    if (length < 0) {
      if (errno == EAGAIN || errno == EINTR) return {};
      if (errno != ECONNRESET) return fail_errno(errno, "recv");
    }
    if (length <= 0) {
      ended_ = true;
      return {};
    }
    return received({bytes, static_cast<size_t>(length)});
  }

  Result<> received(std::string_view bytes) {
    return options_.tty ? out(1, bytes) : demultiplexer_.feed(bytes);
  }

  Result<> out(int stream, std::string_view bytes) {
    if (stream == 2 ? !options_.wants_errors : !options_.wants_output) return {};
    return write_out(stream == 2 ? STDERR_FILENO : STDOUT_FILENO, bytes);
  }

  Result<> take_input() {
    char bytes[buffer_bytes];
    const ssize_t length = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (length < 0 && (errno == EINTR || errno == EAGAIN)) return {};
    // Input that cannot be read is input that has ended; the container goes on.
    if (length <= 0) {
      input_open_ = false;
      end_input();
      return {};
    }
    waiting_ = filter_.feed({bytes, static_cast<size_t>(length)}, detached_);
    return send();
  }

  Result<> send() {
    while (!waiting_.empty()) {
      const ssize_t length = ::send(socket_.get(), waiting_.data(), waiting_.size(), MSG_NOSIGNAL);
      if (length < 0) {
        if (errno == EAGAIN || errno == EINTR) return {};
        // Nobody reads on the other side; there may still be output.
        waiting_.clear();
        input_open_ = false;
        return {};
      }
      waiting_.erase(0, static_cast<size_t>(length));
    }
    return {};
  }

  void end_input() { ::shutdown(socket_.get(), SHUT_WR); }

  const StreamOptions& options_;
  Fd socket_;
  std::string early_, waiting_;
  DetachFilter filter_;
  Demultiplexer demultiplexer_;
  bool input_open_ = false, ended_ = false, detached_ = false;
};

}  // namespace

Result<Signals> Signals::open(bool all) {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGWINCH);
  for (int each = 1; all && each <= SIGRTMAX; ++each) {
    if (is_passed_on(each) && (each < 32 || each >= SIGRTMIN)) ::sigaddset(&set, each);
  }
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  Signals signals;
  signals.file_ = Fd();
  const int fd = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return fail_errno(errno, "signalfd");
  signals.file_ = Fd(fd);
  return signals;
}

int Signals::take() {
  signalfd_siginfo info{};
  return ::read(file_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo)
                                                                : 0;
}

Result<StreamEnd> run_streams(http::StreamClient::Taken connection, const StreamOptions& options) {
  return Streams(std::move(connection), options).run();
}

Result<> Demultiplexer::feed(std::string_view bytes) {
  constexpr size_t head_bytes = 8;
  while (!bytes.empty()) {
    if (left_ == 0) {
      const size_t taken = std::min(head_bytes - head_.size(), bytes.size());
      head_ += bytes.substr(0, taken);
      bytes.remove_prefix(taken);
      if (head_.size() < head_bytes) return {};
      stream_ = head_[0];
      if (stream_ < 0 || stream_ > 3) {
        return fail(Kind::Invalid, cat("unrecognized stream: ", stream_));
      }
      for (size_t each = 4; each < head_bytes; ++each) {
        left_ = left_ << 8 | static_cast<unsigned char>(head_[each]);
      }
      head_.clear();
      continue;
    }
    const std::string_view piece = bytes.substr(0, left_);
    bytes.remove_prefix(piece.size());
    left_ -= piece.size();
    if (stream_ == 3) {
      constexpr size_t complaint_bytes_max = 4096;
      complaint_ +=
          piece.substr(0, complaint_bytes_max - std::min(complaint_.size(), complaint_bytes_max));
      if (left_ == 0) return fail(Kind::Internal, cat("error from daemon in stream: ", complaint_));
    } else {
      TRY(sink_(stream_, piece));
    }
  }
  return {};
}

Result<> write_out(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t length = ::write(fd, bytes.data(), bytes.size());
    if (length >= 0) {
      bytes.remove_prefix(static_cast<size_t>(length));
    } else if (errno == EAGAIN) {
      pollfd file{.fd = fd, .events = POLLOUT, .revents = 0};
      ::poll(&file, 1, -1);
    } else if (errno != EINTR) {
      return fail_errno(errno, "write");
    }
  }
  return {};
}

int signal_number(std::string_view text) {
  if (const auto number = parse_number<int>(text))
    return *number > 0 && *number <= SIGRTMAX ? *number : 0;
  std::string name(text);
  for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (int each = 1; each < 32; ++each) {
    const char* abbreviation = ::sigabbrev_np(each);
    if (abbreviation != nullptr && name == abbreviation) return each;
  }
  return 0;
}

std::string signal_name(int number) {
  const char* abbreviation = number < 32 ? ::sigabbrev_np(number) : nullptr;
  return abbreviation == nullptr ? cat(number) : std::string(abbreviation);
}

}  // namespace nacelle::cli
