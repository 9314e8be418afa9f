#include "sys/netlink.h"

#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>

#include "base/text.h"
#include "sys/call.h"

namespace nacelle::sys {
namespace {

constexpr size_t request_bytes_max = 4096;
// The kernel fills at most 32 KiB of a dump at once (NLMSG_GOODSIZE and netlink_dump()).
constexpr size_t receive_bytes_max = 64u << 10;
constexpr size_t answer_messages_max = 16384;
constexpr int dump_tries_max = 8;
constexpr time_t answer_s_max = 10;
constexpr int socket_type = SOCK_RAW | SOCK_CLOEXEC;

// Calls `take(type, value)` for each attribute in `bytes`, until it answers false.
template <class Take>
void walk_attributes(std::string_view bytes, Take take) {
  while (bytes.size() >= sizeof(nlattr)) {
    nlattr head;
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.nla_len < sizeof head || head.nla_len > bytes.size()) return;
    const auto type = static_cast<uint16_t>(head.nla_type & NLA_TYPE_MASK);
    if (!take(type, bytes.substr(sizeof head, head.nla_len - sizeof head))) return;
    const size_t step = NLA_ALIGN(head.nla_len);
    bytes.remove_prefix(step < bytes.size() ? step : bytes.size());
  }
}

// An nlmsgerr with a reason: the errno, and what the kernel says besides.
std::unexpected<Error> refused(std::string_view message, const nlmsghdr& header,
                               std::string_view doing) {
  nlmsgerr answer;
  std::memcpy(&answer, message.data() + sizeof header, sizeof answer);
  Error error = Error::from_errno(-answer.error, doing);
  size_t skip = sizeof header + sizeof answer;
  // Without NLM_F_CAPPED the request is repeated first.
  if ((header.nlmsg_flags & NLM_F_CAPPED) == 0 && answer.msg.nlmsg_len >= sizeof(nlmsghdr)) {
    skip += NLMSG_ALIGN(answer.msg.nlmsg_len) - sizeof(nlmsghdr);
  }
  std::string_view words;
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) != 0 && skip < message.size()) {
    walk_attributes(message.substr(skip), [&](uint16_t type, std::string_view value) {
      if (type == NLMSGERR_ATTR_MSG) words = netlink_name(value);
      return words.empty();
    });
  }
  if (words.empty()) return std::unexpected(std::move(error));
  return fail_errno(-answer.error, cat(doing, " (", words, ")"));
}

struct SocketThere {
  int place;
  long result;
};

// Runs in the caller's memory and with its descriptors, in a task of its own that then ends: what
// it enters, only it enters.
int make_socket_there(void* argument) {
  auto& there = *static_cast<SocketThere*>(argument);
  there.result = call(SYS_setns, there.place, CLONE_NEWNET);
  if (there.result == 0) {
    there.result = call(SYS_socket, AF_NETLINK, socket_type, NETLINK_ROUTE);
  }
  return 0;
}

// No handler of the caller may run in a task that shares its memory.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    const uint64_t every = ~uint64_t{0};
    call(SYS_rt_sigprocmask, SIG_SETMASK, &every, &before_, sizeof before_);
  }
  ~AllSignalsBlocked() { call(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_); }

 private:
  uint64_t before_ = 0;
};

}  // namespace

std::string netlink_attribute(uint16_t type, std::string_view value) {
  nlattr head{};
  head.nla_type = type;
  head.nla_len = static_cast<uint16_t>(sizeof head + value.size());
  std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
  bytes += value;
  bytes.resize(NLA_ALIGN(bytes.size()));
  return bytes;
}

NetlinkRequest& NetlinkRequest::put(uint16_t attribute, std::string_view value) {
  bytes_ += netlink_attribute(attribute, value);
  return *this;
}

NetlinkRequest& NetlinkRequest::put_name(uint16_t attribute, std::string_view name) {
  std::string with_end(name);
  with_end += '\0';
  return put(attribute, with_end);
}

uint16_t NetlinkMessage::type() const {
  nlmsghdr header;
  std::memcpy(&header, bytes_.data(), sizeof header);
  return header.nlmsg_type;
}

std::string_view NetlinkMessage::attribute(size_t fixed_bytes, uint16_t type) const {
  const size_t skip = sizeof(nlmsghdr) + NLMSG_ALIGN(fixed_bytes);
  std::string_view found;
  if (skip >= bytes_.size()) return found;
  walk_attributes(std::string_view(bytes_).substr(skip),
                  [&](uint16_t have, std::string_view value) {
                    if (have == type) found = value;
                    return have != type;
                  });
  return found;
}

Result<NetlinkSocket> NetlinkSocket::set_up(Fd socket) {
  const auto option = [&](int level, int name, const auto& value) -> Result<> {
    if (::setsockopt(socket.get(), level, name, &value, sizeof value) == 0) return {};
    return fail_errno(errno, "setsockopt of a netlink socket");
  };
  const int on = 1;
  TRY(option(SOL_NETLINK, NETLINK_EXT_ACK, on));         // the kernel's words with an errno
  TRY(option(SOL_NETLINK, NETLINK_CAP_ACK, on));         // without the request repeated
  TRY(option(SOL_NETLINK, NETLINK_GET_STRICT_CHK, on));  // dumps are filtered as asked
  const timeval patience{.tv_sec = answer_s_max, .tv_usec = 0};
  TRY(option(SOL_SOCKET, SO_RCVTIMEO, patience));
  return NetlinkSocket(std::move(socket));
}

Result<NetlinkSocket> NetlinkSocket::open(int family) {
  Fd socket(::socket(AF_NETLINK, socket_type, family));
  if (!socket) return fail_errno(errno, "socket of netlink");
  return set_up(std::move(socket));
}

Result<NetlinkSocket> NetlinkSocket::open_in(const Fd& place) {
  SocketThere there{place.get(), 0};
  std::vector<char> stack(64u << 10);
  const AllSignalsBlocked blocked;
  // With CLONE_VFORK we wait until it has ended; no exit signal, so it is nobody's SIGCHLD.
  const int pid = ::clone(make_socket_there, stack.data() + stack.size(),
                          CLONE_VM | CLONE_VFORK | CLONE_FILES, &there);
  if (pid < 0) return fail_errno(errno, "clone");
  while (::waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
  if (there.result < 0) {
    return fail_errno(static_cast<int>(-there.result), "rtnetlink in another network namespace");
  }
  return set_up(Fd(static_cast<int>(there.result)));
}

Result<Fd> NetlinkSocket::open_namespace() const {
  const int fd = ::ioctl(socket_.get(), SIOCGSKNS);  // close-on-exec since it exists
  if (fd < 0) return fail_errno(errno, "opening the network namespace of a socket");
  return Fd(fd);
}

Result<> NetlinkSocket::send(NetlinkRequest& request, uint16_t flags, std::string_view doing) {
  if (request.bytes_.size() > request_bytes_max) {
    return fail(Kind::Exhausted,
                cat(doing, ": a request of more than ", request_bytes_max, " bytes"));
  }
  nlmsghdr header;
  std::memcpy(&header, request.bytes_.data(), sizeof header);
  header.nlmsg_len = static_cast<uint32_t>(request.bytes_.size());
  header.nlmsg_flags |= static_cast<uint16_t>(NLM_F_REQUEST | flags);
  header.nlmsg_seq = ++sequence_;
  std::memcpy(request.bytes_.data(), &header, sizeof header);
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  while (::sendto(socket_.get(), request.bytes_.data(), request.bytes_.size(), 0,
                  reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) < 0) {
    if (errno != EINTR) return fail_errno(errno, cat(doing, ": sendto"));
  }
  return {};
}

Result<bool> NetlinkSocket::receive(std::vector<NetlinkMessage>& messages, std::string_view doing) {
  std::string buffer(receive_bytes_max, '\0');
  bool whole = true;
  while (true) {
    // MSG_TRUNC: the true length, so that a cut message is seen.
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_TRUNC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, cat(doing, ": recv"));
    if (static_cast<size_t>(got) > buffer.size()) {
      return fail(Kind::Exhausted, cat(doing, ": an answer of ", got, " bytes"));
    }
    std::string_view rest(buffer.data(), static_cast<size_t>(got));
    while (rest.size() >= sizeof(nlmsghdr)) {
      nlmsghdr header;
      std::memcpy(&header, rest.data(), sizeof header);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) {
        return fail(Kind::Internal, cat(doing, ": an answer that is no message"));
      }
      const std::string_view message = rest.substr(0, header.nlmsg_len);
      const size_t step = NLMSG_ALIGN(header.nlmsg_len);
      rest.remove_prefix(step < rest.size() ? step : rest.size());
      if (header.nlmsg_seq != sequence_) continue;  // what an earlier request left unread
      if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) whole = false;
      if (header.nlmsg_type == NLMSG_ERROR) {
        if (message.size() < sizeof header + sizeof(nlmsgerr)) {
          return fail(Kind::Internal, cat(doing, ": an answer cut short"));
        }
        int reason = 0;
        std::memcpy(&reason, message.data() + sizeof header, sizeof reason);
        if (reason != 0) return refused(message, header, doing);
        return whole;
      }
      if (header.nlmsg_type == NLMSG_DONE) {
        const int reason = netlink_number<int>(message.substr(sizeof header));
        if (reason < 0) return fail_errno(-reason, doing);
        return whole;
      }
      if (messages.size() == answer_messages_max) {
        return fail(Kind::Exhausted, cat(doing, ": more than ", answer_messages_max, " answers"));
      }
      messages.push_back(NetlinkMessage(std::string(message)));
    }
  }
}

Result<> NetlinkSocket::change(NetlinkRequest request, std::string_view doing) {
  TRY(send(request, NLM_F_ACK, doing));
  std::vector<NetlinkMessage> unexpected;
  TRY(receive(unexpected, doing));
  return {};
}

Result<NetlinkMessage> NetlinkSocket::get(NetlinkRequest request, std::string_view doing) {
  // The acknowledgement ends the answer.
  TRY(send(request, NLM_F_ACK, doing));
  std::vector<NetlinkMessage> messages;
  TRY(receive(messages, doing));
  if (messages.size() != 1) {
    return fail(Kind::Internal, cat(doing, ": ", messages.size(), " answers instead of one"));
  }
  return std::move(messages.front());
}

Result<std::vector<NetlinkMessage>> NetlinkSocket::dump(NetlinkRequest request,
                                                        std::string_view doing) {
  for (int tried = 0; tried < dump_tries_max; ++tried) {
    TRY(send(request, NLM_F_DUMP, doing));
    std::vector<NetlinkMessage> messages;
    if (TRY(receive(messages, doing))) return messages;
  }
  return fail(Kind::Unavailable,
              cat(doing, ": it changed while it was read, ", dump_tries_max, " times"));
}

}  // namespace nacelle::sys
