#include "logs/client.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <utility>

namespace nacelle::logs {
namespace {

constexpr size_t receive_bytes = 32u << 10;
// A client that takes nothing for so long when its container has ended is left alone...
constexpr auto slow_client_limit = std::chrono::seconds(30);
// ...and so long it may take to close its side when it has everything.
constexpr auto close_limit = std::chrono::seconds(1);

std::array<char, 8> frame_head(Stream stream, size_t bytes) {
  return {static_cast<char>(stream),
          0,
          0,
          0,
          static_cast<char>(bytes >> 24),
          static_cast<char>(bytes >> 16),
          static_cast<char>(bytes >> 8),
          static_cast<char>(bytes)};
}

}  // namespace

bool KeyScanner::scan(std::string_view input, std::string& out) {
  if (keys_.empty()) {
    out += input;
    return false;
  }
  for (const char c : input) {
    // A broken sequence may contain the beginning of another: ^P^P^Q.
    while (matched_ > 0 && c != keys_[matched_]) {
      size_t kept = matched_ - 1;
      while (kept > 0 && keys_.compare(0, kept, keys_, matched_ - kept, kept) != 0) --kept;
      out.append(keys_, 0, matched_ - kept);
      matched_ = kept;
    }
    if (c != keys_[matched_]) {
      out += c;
      continue;
    }
    if (++matched_ == keys_.size()) {
      matched_ = 0;
      return true;
    }
  }
  return false;
}

Client::Client(Fd socket, AttachClient how)
    : socket_(std::move(socket)), how_(std::move(how)), keys_(how_.detach_keys) {}

bool Client::send(Stream stream, std::string_view bytes) {
  if (is_gone_ || bytes.empty()) return !is_gone_;
  const auto head = frame_head(stream, bytes.size());
  const size_t head_bytes = how_.multiplexed ? head.size() : 0;
  size_t sent = 0;
  if (queued_bytes() == 0) {
    iovec parts[2] = {{.iov_base = const_cast<char*>(head.data()), .iov_len = head_bytes},
                      {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    const ssize_t taken = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0 && errno != EAGAIN && errno != EINTR) {
      is_gone_ = true;
      return false;
    }
    sent = taken > 0 ? static_cast<size_t>(taken) : 0;
  }
  if (sent < head_bytes) queue_.append(head.data() + sent, head_bytes - sent);
  if (sent < head_bytes + bytes.size())
    queue_ += bytes.substr(sent > head_bytes ? sent - head_bytes : 0);
  return true;
}

bool Client::flush() {
  while (!is_gone_ && queued_bytes() > 0) {
    const ssize_t taken = ::send(socket_.get(), queue_.data() + queue_at_, queued_bytes(),
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0) {
      if (errno == EAGAIN) return true;
      is_gone_ = true;
      break;
    }
    queue_at_ += static_cast<size_t>(taken);
    has_progressed = true;
  }
  // The memory goes too: most clients are never slow again.
  std::string().swap(queue_);
  queue_at_ = 0;
  return !is_gone_;
}

Client::Input Client::receive(std::string& out) {
  if (!how_.early_bytes.empty()) {
    const std::string early = std::exchange(how_.early_bytes, {});
    if (how_.wants_stdin && keys_.scan(early, out)) return Input::Detached;
    return Input::Again;
  }
  if (is_gone_) return Input::Gone;
  if (input_is_over_) return Input::Nothing;
  char bytes[receive_bytes];
  const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return Input::Nothing;
    is_gone_ = true;
    return Input::Gone;
  }
  if (got == 0) {
    input_is_over_ = true;
    return Input::Ended;
  }
  if (!how_.wants_stdin || is_leaving_) return Input::Again;
  return keys_.scan({bytes, static_cast<size_t>(got)}, out) ? Input::Detached : Input::Again;
}

bool Client::has_left(Clock::time_point now) {
  if (!flush()) return true;
  if (queued_bytes() > 0) {
    if (leave_until_ == Clock::time_point() || std::exchange(has_progressed, false))
      leave_until_ = now + slow_client_limit;
    return now >= leave_until_;
  }
  if (!is_shut_) {
    // Closing a socket in which something is unread would make the other side lose what is on its
    // way: its end is waited for.
    ::shutdown(socket_.get(), SHUT_WR);
    is_shut_ = true;
    leave_until_ = now + close_limit;
  }
  std::string nowhere;
  Input input = Input::Again;
  for (int turn = 0; turn < 64 && input == Input::Again; ++turn) input = receive(nowhere);
  return input_is_over_ || input == Input::Gone || now >= leave_until_;
}

}  // namespace nacelle::logs
