#include "core/packet.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "codec/flat.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::core {
namespace {

constexpr size_t control_descriptors_max = 64;

std::vector<Fd> take_descriptors(msghdr& message) {
  std::vector<Fd> taken;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      taken.emplace_back(fd);
    }
  }
  return taken;
}

enum class Sent { Whole, Later, Broken };

Sent try_send(const Fd& socket, std::string_view bytes, std::span<const int> descriptors) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(control_descriptors_max * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  while (true) {
    const ssize_t sent = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return Sent::Whole;
    if (errno == EINTR) continue;
    // ETOOMANYREFS: too many descriptors of ours are on their way; some will arrive.
    const bool full = errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS;
    return full ? Sent::Later : Sent::Broken;
  }
}

Result<std::string> read_sealed(const Fd& file, uint64_t length) {
  const auto damaged = [] { return fail(Kind::Invalid, "packet: its memory is not as announced"); };
  constexpr int seals = F_SEAL_SHRINK | F_SEAL_WRITE;
  const int found = ::fcntl(file.get(), F_GET_SEALS);
  if (found < 0 || (found & seals) != seals) return damaged();
  struct stat status{};
  if (::fstat(file.get(), &status) < 0 || static_cast<uint64_t>(status.st_size) != length) {
    return damaged();
  }
  std::string bytes(length, '\0');
  size_t have = 0;
  while (have < length) {
    const ssize_t got =
        ::pread(file.get(), bytes.data() + have, length - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return damaged();
    have += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace

Result<std::optional<RawPacket>> receive_raw(const Fd& socket, size_t bytes_max,
                                             size_t descriptors_max_here) {
  // One buffer for the process, which has one thread; packets are copied at their own size.
  static std::string buffer;
  buffer.resize(std::max(buffer.size(), bytes_max));
  iovec part{buffer.data(), bytes_max};
  alignas(cmsghdr) char control[CMSG_SPACE(control_descriptors_max * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = -1;
  do {
    got = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return std::nullopt;
  if (got < 0) return fail(Kind::Unavailable, cat("recvmsg: ", ::strerror(errno)));
  RawPacket raw;
  raw.descriptors = take_descriptors(message);
  if (got == 0) return fail(Kind::Unavailable, "the connection has ended");
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    return fail(Kind::Invalid, "packet: longer than there may be");
  }
  if (raw.descriptors.size() > descriptors_max_here) {
    raw.refused = Error(Kind::Invalid, "packet: with more descriptors than there may be");
  } else if ((message.msg_flags & MSG_CTRUNC) != 0) {
    // The kernel puts as many into our table as fit.
    raw.refused = Error::from_errno(EMFILE, "packet: receiving its descriptors");
  }
  raw.bytes.assign(buffer, 0, static_cast<size_t>(got));
  return raw;
}

Result<Packet> parse_packet(RawPacket raw, uint64_t& request) {
  request = 0;
  Packet packet;
  if (raw.bytes.size() < sizeof(Header)) return fail(Kind::Invalid, "packet: no header");
  std::memcpy(&packet.header, raw.bytes.data(), sizeof(Header));
  const Header& header = packet.header;
  if (header.magic != Header::magic_value) return fail(Kind::Invalid, "packet: not one of ours");
  request = header.request;
  if (header.version != Header::version_value) {
    return fail(Kind::Unsupported, cat("packet: version ", header.version, " of the protocol, ",
                                       Header::version_value, " is spoken here"));
  }
  if (raw.refused) return std::unexpected(*std::move(raw.refused));
  const size_t inline_bytes = raw.bytes.size() - sizeof(Header);
  if (header.length > payload_bytes_max) {
    return fail(Kind::Exhausted,
                cat("packet: ", header.length, " bytes, ", payload_bytes_max, " is the most"));
  }
  if (header.length > inline_bytes_max) {
    if (inline_bytes != 0 || raw.descriptors.empty()) {
      return fail(Kind::Invalid, "packet: a long payload comes in a memfd");
    }
    packet.payload = TRY(read_sealed(raw.descriptors.front(), header.length));
    raw.descriptors.erase(raw.descriptors.begin());
  } else {
    if (inline_bytes != header.length) {
      return fail(Kind::Invalid, "packet: not as long as announced");
    }
    packet.payload.assign(raw.bytes, sizeof(Header), inline_bytes);
  }
  if (raw.descriptors.size() > descriptors_max) {
    return fail(Kind::Invalid, "packet: too many descriptors");
  }
  packet.descriptors = std::move(raw.descriptors);
  return packet;
}

ErrorReply to_reply(const Error& error) {
  return {static_cast<uint8_t>(error.kind()), error.message()};
}

Error from_reply(const ErrorReply& reply) {
  const bool known = reply.kind <= static_cast<uint8_t>(Kind::Internal);
  return Error(known ? static_cast<Kind>(reply.kind) : Kind::Internal, reply.message);
}

Result<> Outbox::send(std::string_view bytes, std::span<const int> descriptors) {
  if (failed_) return fail(Kind::Unavailable, "the connection has ended");
  if (!queue_.empty()) return enqueue(bytes, descriptors);
  switch (try_send(*socket_, bytes, descriptors)) {
    case Sent::Whole: return {};
    case Sent::Later: return enqueue(bytes, descriptors);
    case Sent::Broken: break;
  }
  failed_ = true;
  return fail(Kind::Unavailable, "the connection has ended");
}

Result<> Outbox::send_packet(PacketKind kind, uint8_t code, uint64_t request,
                             std::string_view payload, std::span<const int> descriptors) {
  if (payload.size() > payload_bytes_max || descriptors.size() > descriptors_max) {
    return fail(Kind::Exhausted, "packet: too long, or with too many descriptors");
  }
  Header header;
  header.kind = static_cast<uint8_t>(kind);
  header.code = code;
  header.request = request;
  header.length = payload.size();
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  if (payload.size() <= inline_bytes_max) {
    bytes += payload;
    return send(bytes, descriptors);
  }
  const Fd memory = TRY(sys::make_sealed_memory_file("nacelle-packet", payload, false));
  std::vector<int> with_memory{memory.get()};
  with_memory.insert(with_memory.end(), descriptors.begin(), descriptors.end());
  return send(bytes, with_memory);
}

Result<> Outbox::enqueue(std::string_view bytes, std::span<const int> descriptors) {
  if (queue_.size() >= queued_packets_max || queued_bytes_ + bytes.size() > queued_bytes_max) {
    // Who does not read for that long is not there: the receiving side sees the end.
    failed_ = true;
    ::shutdown(socket_->get(), SHUT_RDWR);
    return fail(Kind::Exhausted, "the other side does not read");
  }
  Waiting waiting{std::string(bytes), {}};
  for (const int fd : descriptors) {
    Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!copy) return fail_errno(errno, "fcntl F_DUPFD_CLOEXEC");
    waiting.descriptors.push_back(std::move(copy));
  }
  queued_bytes_ += bytes.size();
  queue_.push_back(std::move(waiting));
  if (!pumping_) {
    pumping_ = true;
    scope_.start(pump(shared_from_this()));
  }
  return {};
}

ring::Task<> Outbox::pump(std::shared_ptr<Outbox> self) {
  struct Stop {
    Outbox& outbox;
    ~Stop() { outbox.pumping_ = false; }
  } stop{*self};
  while (!self->queue_.empty() && !self->failed_) {
    co_await ring::poll(self->loop_, *self->socket_, POLLOUT);
    const Waiting& first = self->queue_.front();
    std::vector<int> numbers;
    for (const Fd& fd : first.descriptors) numbers.push_back(fd.get());
    const Sent sent = try_send(*self->socket_, first.bytes, numbers);
    if (sent == Sent::Later) {
      // Room for a packet may be there without room for this one.
      co_await ring::sleep_for(self->loop_, std::chrono::milliseconds(1));
      continue;
    }
    if (sent == Sent::Broken) {
      self->failed_ = true;
      break;
    }
    self->queued_bytes_ -= first.bytes.size();
    self->queue_.pop_front();
  }
  if (self->failed_) self->queue_.clear();
}

namespace {
Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return fail_errno(ENAMETOOLONG, cat("socket '", path, "'"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}
}  // namespace

Result<Fd> listen_packets(const std::string& path) {
  const sockaddr_un address = TRY(address_of(path));
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno(errno, "socket");
  ::unlink(path.c_str());
  // The mode of a socket's file is made from that of the socket: nobody can connect in between.
  if (::fchmod(socket.get(), 0600) < 0) return fail_errno(errno, cat("fchmod '", path, "'"));
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return fail_errno(errno, cat("bind '", path, "'"));
  }
  if (::chmod(path.c_str(), 0600) < 0) return fail_errno(errno, cat("chmod '", path, "'"));
  if (::listen(socket.get(), 16) < 0) return fail_errno(errno, cat("listen '", path, "'"));
  return socket;
}

Result<Fd> connect_packets(const std::string& path) {
  const sockaddr_un address = TRY(address_of(path));
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    return fail_errno(errno, cat("connect '", path, "'"));
  }
  return socket;
}

Result<> check_peer(const Fd& socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
    return fail_errno(errno, "SO_PEERCRED");
  }
  if (peer.uid != 0) return fail(Kind::Denied, "the other side is not root's");
  return {};
}

}  // namespace nacelle::core
