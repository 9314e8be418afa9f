#include "ring/ops.h"

#include <poll.h>
#include <sys/wait.h>

#include <array>
#include <cstring>

#include "base/check.h"
#include "base/text.h"
#include "ring/kernel_missing.h"

namespace nacelle::ring {
namespace detail {

Error operation_error(const char* name, const char* subject, int error_number) {
  if (subject == nullptr) return Error::from_errno(error_number, name);
  return Error::from_errno(error_number, cat(name, " '", subject, "'"));
}

}  // namespace detail

Task<> readable(Loop& loop, const Fd& file) { co_await poll(loop, file, POLLIN); }

Task<size_t> read_some(Loop& loop, const Fd& file, std::span<char> into) {
  co_return co_await read_at(loop, file, into, detail::here);
}

Task<> write_all(Loop& loop, const Fd& file, std::string_view bytes) {
  while (!bytes.empty()) {
    bytes.remove_prefix(co_await write_at(loop, file, bytes, detail::here));
  }
}

// Children. --------------------------------------------------------------------------------------

static int wait_status(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return info.si_status | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0);
}

Task<int> wait_process_by_waitid(Loop& loop, const Fd& pidfd) {
  siginfo_t info{};
  auto prepare = [&info, fd = pidfd.get()](io_uring_sqe* sqe) {
    kernel::prep_waitid(sqe, P_PIDFD, static_cast<id_t>(fd), &info, WEXITED);
  };
  co_await Op{loop, "waitid", prepare, detail::to_nothing};
  co_return wait_status(info);
}

Task<int> wait_process_by_poll(Loop& loop, const Fd& pidfd) {
  co_await poll(loop, pidfd, POLLIN);
  siginfo_t info{};
  // Does not block: the poll said that the child is a zombie.
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG) < 0) {
    co_return fail_errno(errno, "waitid");
  }
  if (info.si_pid == 0) co_return fail(Kind::Internal, "waitid: a readable pidfd has not exited");
  co_return wait_status(info);
}

Task<int> wait_process(Loop& loop, const Fd& pidfd) {
  if (loop.core().supports(kernel::op_waitid)) return wait_process_by_waitid(loop, pidfd);
  return wait_process_by_poll(loop, pidfd);
}

// Messages with descriptors.
// -----------------------------------------------------------------------

static void add_descriptors(msghdr& message, std::vector<char>& control,
                            std::span<const Fd* const> descriptors) {
  const size_t length = descriptors.size() * sizeof(int);
  control.resize(CMSG_SPACE(length));
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(length);
  unsigned char* at = CMSG_DATA(header);
  for (const Fd* descriptor : descriptors) {
    const int fd = descriptor->get();
    std::memcpy(at, &fd, sizeof fd);
    at += sizeof fd;
  }
}

Task<> send_message(Loop& loop, const Fd& file, std::string_view bytes,
                    std::span<const Fd* const> descriptors) {
  if (descriptors.size() > descriptors_per_message_max) {
    co_await fail(Kind::Invalid, cat("sendmsg: ", descriptors.size(), " descriptors, at most ",
                                     descriptors_per_message_max, " fit one message"));
  }
  // The kernel attaches descriptors to bytes: without one they would silently stay here.
  if (bytes.empty()) co_await fail(Kind::Invalid, "sendmsg: a message has at least one byte");
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<char> control;
  if (!descriptors.empty()) add_descriptors(message, control, descriptors);
  const size_t sent = co_await sendmsg(loop, file, message);
  // On a stream socket the rest goes alone: the descriptors went with the first byte.
  bytes.remove_prefix(sent);
  while (!bytes.empty()) bytes.remove_prefix(co_await send(loop, file, bytes));
}

static std::vector<Fd> take_descriptors(msghdr& message) {
  std::vector<Fd> descriptors;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const unsigned char* at = CMSG_DATA(header);
    for (size_t left = header->cmsg_len - CMSG_LEN(0); left >= sizeof(int); left -= sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, at, sizeof fd);
      descriptors.emplace_back(fd);
      at += sizeof fd;
    }
  }
  return descriptors;
}

Task<Message> receive_message(Loop& loop, const Fd& file, std::span<char> into,
                              size_t descriptors_max) {
  iovec part{.iov_base = into.data(), .iov_len = into.size()};
  std::vector<char> control(CMSG_SPACE(descriptors_max * sizeof(int)));
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  Message message;
  message.bytes = co_await recvmsg(loop, file, header);
  message.descriptors = take_descriptors(header);
  if ((header.msg_flags & MSG_CTRUNC) != 0) {
    co_return fail(Kind::Exhausted, cat("recvmsg: descriptors were lost: more than ",
                                        descriptors_max, " came, or none is free here"));
  }
  // The control buffer is padded to the alignment of a header: one more than asked for may fit.
  if (message.descriptors.size() > descriptors_max) {
    co_return fail(Kind::Exhausted,
                   cat("recvmsg: ", message.descriptors.size(), " descriptors came, at most ",
                       descriptors_max, " are taken"));
  }
  if ((header.msg_flags & MSG_TRUNC) != 0) {
    co_return fail(Kind::Exhausted,
                   cat("recvmsg: the message is longer than ", into.size(), " bytes"));
  }
  co_return message;
}

// Acceptor.
// ----------------------------------------------------------------------------------------

// One frame that waits for the acceptor to have news.
class Acceptor::WaitAwaiter final : public detail::Waiter {
 public:
  WaitAwaiter(Acceptor& acceptor, bool cancellable)
      : acceptor_(acceptor), cancellable_(cancellable) {}

  bool await_ready() { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    CHECK(acceptor_.waiting_ == nullptr);
    frame_ = &handle.promise();
    acceptor_.waiting_ = this;
    if (!cancellable_) return;
    if (frame_->group->cancelled()) return cancel();
    frame_->group->add(*this);
  }
  void await_resume() {}

  void wake() {
    unlink();
    acceptor_.waiting_ = nullptr;
    frame_->wake();
  }
  void cancel() override {
    unlink();
    acceptor_.waiting_ = nullptr;
    frame_->fail(Error::from_errno(ECANCELED, "accept"));
  }

 private:
  Acceptor& acceptor_;
  bool cancellable_;
  detail::Frame* frame_ = nullptr;
};

struct Acceptor::Wait {
  Acceptor& acceptor;
  bool cancellable;
  template <bool looks_at_errors>
  WaitAwaiter awaiter() && {
    return {acceptor, cancellable};
  }
};

void Acceptor::prepare(io_uring_sqe* sqe) {
  io_uring_prep_multishot_accept(sqe, listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
}

void Acceptor::completed(int result, bool) {
  if (result >= 0) {
    connections_.emplace_back(result);
    // Enough: the rest waits in the listener's own queue, whose length its owner chose.
    if (connections_.size() >= waiting_max) cancel();
  } else if (result != -ECANCELED && result != -EINTR) {
    error_number_ = -result;
  }
  if (waiting_ != nullptr) waiting_->wake();
}

Task<Fd> Acceptor::next() {
  for (;;) {
    if (!connections_.empty()) {
      Fd connection = std::move(connections_.front());
      connections_.pop_front();
      co_return connection;
    }
    if (stopping_) co_return fail(Kind::Cancelled, "accept: the acceptor is stopped");
    if (error_number_ != 0) co_return fail_errno(std::exchange(error_number_, 0), "accept");
    if (!in_flight()) core().start(*this);
    co_await Wait{*this, true};
  }
}

Task<> Acceptor::stop() {
  stopping_ = true;
  cancel();
  while (in_flight()) co_await Wait{*this, false};
  connections_.clear();
}

}  // namespace nacelle::ring
