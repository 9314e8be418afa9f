// The operations of the ring, as things to co_await: `Fd file = co_await open_at(...)`. A failure
// ends the coroutine that awaits, with an error that names the call.
// What is passed by reference or pointer (descriptors, paths, buffers) belongs to the kernel until
// the await has ended. An empty Fd as directory goes with an absolute path. Not for files inside a
// container's mounts: a request in flight keeps such a mount busy beyond our death.
#pragma once

#include <fcntl.h>
#include <liburing.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"
#include "ring/core.h"

namespace nacelle::ring {

namespace detail {

// A failed request as an error: "openat '/x': No such file or directory".
Error operation_error(const char* name, const char* subject, int error_number);

template <class Prepare, class Finish, bool looks_at_errors>
class OpAwaiter final : public Completion {
 public:
  using Value = std::invoke_result_t<Finish&, int>;

  OpAwaiter(Core& core, const char* name, const char* subject, bool cancellable, Prepare prepare,
            Finish finish)
      : Completion(core),
        name_(name),
        subject_(subject),
        cancellable_(cancellable),
        prepare_(std::move(prepare)),
        finish_(std::move(finish)) {}

  bool await_ready() { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    frame_ = &handle.promise();
    if (cancellable_) {
      if (frame_->group->cancelled()) return completed(-ECANCELED, false);
      frame_->group->add(*this);
    }
    core().start(*this);
  }
  auto await_resume() {
    if constexpr (!looks_at_errors) {
      return finish_(result_);
    } else {
      if (result_ < 0) return Result<Value>(std::unexpected(error()));
      if constexpr (std::is_void_v<Value>) {
        finish_(result_);
        return Result<>();
      } else {
        return Result<Value>(finish_(result_));
      }
    }
  }

 private:
  void prepare(io_uring_sqe* sqe) override { prepare_(sqe); }
  void completed(int result, bool) override {
    result_ = result;
    // A worker thread that sat in a system call is interrupted: that is how it looks from here.
    if (result == -EINTR && frame_->group->cancelled()) result_ = -ECANCELED;
    if (result_ >= 0 || looks_at_errors) return frame_->wake();
    frame_->fail(error());
  }
  Error error() const { return operation_error(name_, subject_, -result_); }

  const char* name_;
  const char* subject_;
  bool cancellable_;
  Prepare prepare_;
  Finish finish_;
  Frame* frame_ = nullptr;
  int result_ = 0;
};

}  // namespace detail

// One request: how to fill it in, and what its non-negative result means.
template <class Prepare, class Finish>
struct Op {
  Loop& loop;
  const char* name;
  Prepare prepare;
  Finish finish;
  const char* subject = nullptr;  // a path, for the error
  bool cancellable = true;

  template <bool looks_at_errors>
  detail::OpAwaiter<Prepare, Finish, looks_at_errors> awaiter() && {
    return {loop.core(), name, subject, cancellable, std::move(prepare), std::move(finish)};
  }
};

namespace detail {
inline constexpr auto to_nothing = [](int) {};
inline constexpr auto to_size = [](int bytes) { return static_cast<size_t>(bytes); };
inline constexpr auto to_fd = [](int fd) { return Fd(fd); };
// The offset that means "where the file stands", and the only one for pipes and sockets.
inline constexpr uint64_t here = ~uint64_t{0};
}  // namespace detail

[[nodiscard]] inline auto nop(Loop& loop) {
  return Op{loop, "nop", [](io_uring_sqe* sqe) { io_uring_prep_nop(sqe); }, detail::to_nothing};
}

// Files. ---------------------------------------------------------------------------------------

[[nodiscard]] inline auto read_at(Loop& loop, const Fd& file, std::span<char> into,
                                  uint64_t offset) {
  auto prepare = [=, fd = file.get()](io_uring_sqe* sqe) {
    io_uring_prep_read(sqe, fd, into.data(), static_cast<unsigned>(into.size()), offset);
  };
  return Op{loop, "read", prepare, detail::to_size};
}

[[nodiscard]] inline auto write_at(Loop& loop, const Fd& file, std::string_view bytes,
                                   uint64_t offset) {
  auto prepare = [=, fd = file.get()](io_uring_sqe* sqe) {
    io_uring_prep_write(sqe, fd, bytes.data(), static_cast<unsigned>(bytes.size()), offset);
  };
  return Op{loop, "write", prepare, detail::to_size};
}

// CLOEXEC is added. With O_CREAT or O_TRUNC a worker thread does it.
[[nodiscard]] inline auto open_at(Loop& loop, const Fd& directory, const char* path, int flags,
                                  mode_t mode = 0) {
  auto prepare = [=, fd = directory.get()](io_uring_sqe* sqe) {
    io_uring_prep_openat(sqe, fd, path, flags | O_CLOEXEC, mode);
  };
  return Op{loop, "openat", prepare, detail::to_fd, path};
}

// For descriptors whose close may block (the last one of a socket that lingers, of a file on a slow
// disk). It is not cancelled: a close that was begun must happen.
[[nodiscard]] inline auto close(Loop& loop, Fd file) {
  auto prepare = [file = std::move(file)](io_uring_sqe* sqe) mutable {
    io_uring_prep_close(sqe, std::move(file).release());
  };
  return Op{.loop = loop,
            .name = "close",
            .prepare = std::move(prepare),
            .finish = detail::to_nothing,
            .subject = nullptr,
            .cancellable = false};
}

// The same on one of the ring's own threads, for what the kernel waits for inside of close(2)
// itself: the last descriptor of a mount namespace takes its mounts apart.
[[nodiscard]] inline auto close_aside(Loop& loop, Fd file) {
  auto prepare = [file = std::move(file)](io_uring_sqe* sqe) mutable {
    io_uring_prep_close(sqe, std::move(file).release());
    sqe->flags |= IOSQE_ASYNC;
  };
  return Op{.loop = loop,
            .name = "close",
            .prepare = std::move(prepare),
            .finish = detail::to_nothing,
            .subject = nullptr,
            .cancellable = false};
}

[[nodiscard]] inline auto statx_at(Loop& loop, const Fd& directory, const char* path, int flags,
                                   unsigned mask, struct statx& into) {
  auto prepare = [=, fd = directory.get(), &into](io_uring_sqe* sqe) {
    io_uring_prep_statx(sqe, fd, path, flags, mask, &into);
  };
  return Op{loop, "statx", prepare, detail::to_nothing, path};
}

[[nodiscard]] inline auto mkdir_at(Loop& loop, const Fd& directory, const char* path, mode_t mode) {
  auto prepare = [=, fd = directory.get()](io_uring_sqe* sqe) {
    io_uring_prep_mkdirat(sqe, fd, path, mode);
  };
  return Op{loop, "mkdirat", prepare, detail::to_nothing, path};
}

[[nodiscard]] inline auto unlink_at(Loop& loop, const Fd& directory, const char* path,
                                    int flags = 0) {
  auto prepare = [=, fd = directory.get()](io_uring_sqe* sqe) {
    io_uring_prep_unlinkat(sqe, fd, path, flags);
  };
  return Op{loop, "unlinkat", prepare, detail::to_nothing, path};
}

[[nodiscard]] inline auto rename_at(Loop& loop, const Fd& from_directory, const char* from,
                                    const Fd& to_directory, const char* to, unsigned flags = 0) {
  auto prepare = [=, from_fd = from_directory.get(),
                  to_fd = to_directory.get()](io_uring_sqe* sqe) {
    io_uring_prep_renameat(sqe, from_fd, from, to_fd, to, flags);
  };
  return Op{loop, "renameat", prepare, detail::to_nothing, from};
}

[[nodiscard]] inline auto fsync(Loop& loop, const Fd& file) {
  auto prepare = [fd = file.get()](io_uring_sqe* sqe) { io_uring_prep_fsync(sqe, fd, 0); };
  return Op{loop, "fsync", prepare, detail::to_nothing};
}

// Moves bytes between a pipe and something else. A worker thread does it, and sits there as long as
// it has to wait: await readable() first.
[[nodiscard]] inline auto splice(Loop& loop, const Fd& from, const Fd& to, size_t bytes_max) {
  auto prepare = [=, in = from.get(), out = to.get()](io_uring_sqe* sqe) {
    io_uring_prep_splice(sqe, in, -1, out, -1, static_cast<unsigned>(bytes_max), 0);
  };
  return Op{loop, "splice", prepare, detail::to_size};
}

// What waits. ----------------------------------------------------------------------------------

// The poll(2) events that have come.
[[nodiscard]] inline auto poll(Loop& loop, const Fd& file, unsigned events) {
  auto prepare = [=, fd = file.get()](io_uring_sqe* sqe) {
    io_uring_prep_poll_add(sqe, fd, events);
  };
  return Op{loop, "poll", prepare, [](int came) { return static_cast<unsigned>(came); }};
}

// The kernel's own timer. sleep_for() is for everyone; this is for comparing the two.
// Its only success is ETIME, so look at the result.
[[nodiscard]] inline auto kernel_timeout(Loop& loop, __kernel_timespec& duration) {
  auto prepare = [&duration](io_uring_sqe* sqe) { io_uring_prep_timeout(sqe, &duration, 0, 0); };
  return Op{loop, "timeout", prepare, detail::to_nothing};
}

// Two ways of waiting for a child; wait_process() takes the first where the kernel has it.
Task<int> wait_process_by_waitid(Loop& loop, const Fd& pidfd);  // Linux 6.7
// REMOVE when 6.7 is the floor: WAITID does both steps.
Task<int> wait_process_by_poll(Loop& loop, const Fd& pidfd);

// Sockets. -------------------------------------------------------------------------------------

[[nodiscard]] inline auto socket(Loop& loop, int domain, int type, int protocol = 0) {
  auto prepare = [=](io_uring_sqe* sqe) {
    io_uring_prep_socket(sqe, domain, type | SOCK_CLOEXEC, protocol, 0);
  };
  return Op{loop, "socket", prepare, detail::to_fd};
}

[[nodiscard]] inline auto connect(Loop& loop, const Fd& file, const sockaddr* address,
                                  socklen_t length) {
  auto prepare = [=, fd = file.get()](io_uring_sqe* sqe) {
    io_uring_prep_connect(sqe, fd, address, length);
  };
  return Op{loop, "connect", prepare, detail::to_nothing};
}

// One connection; a listener that serves many has an Acceptor.
[[nodiscard]] inline auto accept(Loop& loop, const Fd& listener) {
  auto prepare = [fd = listener.get()](io_uring_sqe* sqe) {
    io_uring_prep_accept(sqe, fd, nullptr, nullptr, SOCK_CLOEXEC);
  };
  return Op{loop, "accept", prepare, detail::to_fd};
}

// A peer that is gone is EPIPE, not SIGPIPE.
[[nodiscard]] inline auto send(Loop& loop, const Fd& file, std::string_view bytes, int flags = 0) {
  auto prepare = [=, fd = file.get()](io_uring_sqe* sqe) {
    io_uring_prep_send(sqe, fd, bytes.data(), bytes.size(), flags | MSG_NOSIGNAL);
  };
  return Op{loop, "send", prepare, detail::to_size};
}

[[nodiscard]] inline auto receive(Loop& loop, const Fd& file, std::span<char> into, int flags = 0) {
  auto prepare = [=, fd = file.get()](io_uring_sqe* sqe) {
    io_uring_prep_recv(sqe, fd, into.data(), into.size(), flags);
  };
  return Op{loop, "recv", prepare, detail::to_size};
}

[[nodiscard]] inline auto sendmsg(Loop& loop, const Fd& file, const msghdr& message) {
  auto prepare = [&message, fd = file.get()](io_uring_sqe* sqe) {
    io_uring_prep_sendmsg(sqe, fd, &message, MSG_NOSIGNAL);
  };
  return Op{loop, "sendmsg", prepare, detail::to_size};
}

[[nodiscard]] inline auto recvmsg(Loop& loop, const Fd& file, msghdr& message) {
  auto prepare = [&message, fd = file.get()](io_uring_sqe* sqe) {
    io_uring_prep_recvmsg(sqe, fd, &message, MSG_CMSG_CLOEXEC);
  };
  return Op{loop, "recvmsg", prepare, detail::to_size};
}

// Bytes with descriptors (SCM_RIGHTS) over a unix socket. The borrowed descriptors stay ours; the
// other side gets its own.
inline constexpr size_t descriptors_per_message_max = 253;  // the kernel's SCM_MAX_FD
struct Message {
  size_t bytes = 0;
  std::vector<Fd> descriptors;
};
Task<> send_message(Loop& loop, const Fd& file, std::string_view bytes,
                    std::span<const Fd* const> descriptors);
// More bytes than `into` holds, or more descriptors than `descriptors_max`, is an error, and what
// came with them is closed.
Task<Message> receive_message(Loop& loop, const Fd& file, std::span<char> into,
                              size_t descriptors_max = 16);

// Takes connections from a listener with one request that stays armed. Its owner stops it, and
// waits for that, before it goes.
class Acceptor final : private detail::Completion {
 public:
  static constexpr size_t waiting_max = 64;

  // `listener` outlives the acceptor.
  Acceptor(Loop& loop, const Fd& listener) : Completion(loop.core()), listener_(listener) {}

  // The next connection. One caller at a time; a cancelled wait loses none.
  Task<Fd> next();
  // Ends when the kernel has let go. Connections that nobody took are closed.
  Task<> stop();

 private:
  struct Wait;
  class WaitAwaiter;

  void prepare(io_uring_sqe* sqe) override;
  void completed(int result, bool more) override;

  const Fd& listener_;
  std::deque<Fd> connections_;
  int error_number_ = 0;
  bool stopping_ = false;
  WaitAwaiter* waiting_ = nullptr;
};

}  // namespace nacelle::ring
