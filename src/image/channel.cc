#include "image/channel.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "codec/flat.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr int payload_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

// A memfd that can no longer change, of exactly this length. Anything else that a peer might send
// (a pipe, a file on a slow mount, a device) knows no seals.
Result<std::string> read_payload(const Fd& memory, uint64_t length) {
  const int seals = ::fcntl(memory.get(), F_GET_SEALS);
  if (seals < 0 || (seals & payload_seals) != payload_seals) {
    return fail(Kind::Internal, "a payload is not a sealed memory file");
  }
  const struct stat status = TRY(sys::stat_fd(memory));
  if (static_cast<uint64_t>(status.st_size) != length) {
    return fail(Kind::Internal, cat("a payload of ", length, " bytes has ", status.st_size));
  }
  std::string payload(length, '\0');
  size_t used = 0;
  while (used < payload.size()) {
    const ssize_t got = ::pread(memory.get(), payload.data() + used, payload.size() - used,
                                static_cast<off_t>(used));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail_errno(got < 0 ? errno : EIO, "pread of a payload");
    used += static_cast<size_t>(got);
  }
  return payload;
}

}  // namespace

std::string encode_error(const Error& error) {
  WireError wire{.kind = static_cast<uint8_t>(error.kind()), .text = error.message()};
  if (wire.text.size() > error_text_bytes_max) wire.text.resize(error_text_bytes_max);
  return codec::flat::encode(wire);
}

Error decode_error(std::string_view payload) {
  auto wire = codec::flat::decode<WireError>(payload, "an error");
  if (!wire || wire->kind > static_cast<uint8_t>(Kind::Internal) ||
      wire->text.size() > error_text_bytes_max) {
    return Error(Kind::Internal, "an error that is none");
  }
  // It may quote foreign bytes: nothing in it may steer a terminal.
  for (char& c : wire->text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return Error(static_cast<Kind>(wire->kind), std::move(wire->text));
}

Result<Envelope> seal_packet(PacketKind kind, uint8_t code, std::string_view payload) {
  if (payload.size() > payload_bytes_max) {
    return fail(Kind::Exhausted, cat("a message of ", payload.size(), " bytes; at most ",
                                     payload_bytes_max, " are sent"));
  }
  PacketHeader header;
  header.kind = kind;
  header.code = code;
  header.length = payload.size();
  Envelope envelope;
  envelope.bytes.assign(reinterpret_cast<const char*>(&header), sizeof header);
  if (payload.size() <= inline_bytes_max) {
    envelope.bytes += payload;
  } else {
    envelope.memory = TRY(sys::make_sealed_memory_file("nacelle-payload", payload, false));
  }
  return envelope;
}

Result<Packet> open_packet(std::string_view bytes, std::vector<Fd> descriptors) {
  PacketHeader header;
  if (bytes.size() < sizeof header) return fail(Kind::Internal, "a message without a header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != PacketHeader::magic_value || header.version != PacketHeader::version_value) {
    return fail(Kind::Internal, "a message of another protocol");
  }
  if (header.kind < PacketKind::Request || header.kind > PacketKind::Answer) {
    return fail(Kind::Internal, "a message of an unknown kind");
  }
  if (header.length > payload_bytes_max) {
    return fail(Kind::Internal, cat("a message of ", header.length, " bytes; at most ",
                                    payload_bytes_max, " are taken"));
  }
  bytes.remove_prefix(sizeof header);
  Packet packet{.kind = header.kind, .code = header.code, .payload = {}, .descriptors = {}};
  const bool is_inline = header.length <= inline_bytes_max;
  if (bytes.size() != (is_inline ? header.length : 0)) {
    return fail(Kind::Internal, "a message whose length is not what it says");
  }
  if (is_inline) {
    packet.payload = bytes;
  } else {
    if (descriptors.empty()) return fail(Kind::Internal, "a message without its payload");
    packet.payload = TRY(read_payload(descriptors.front(), header.length));
    descriptors.erase(descriptors.begin());
  }
  if (descriptors.size() > descriptors_max) {
    return fail(Kind::Internal, cat("a message with ", descriptors.size(), " descriptors"));
  }
  packet.descriptors = std::move(descriptors);
  return packet;
}

Result<> send_packet(const Fd& socket, PacketKind kind, uint8_t code, std::string_view payload,
                     std::span<const Fd* const> descriptors, bool wait) {
  const Envelope envelope = TRY(seal_packet(kind, code, payload));
  iovec part{.iov_base = const_cast<char*>(envelope.bytes.data()),
             .iov_len = envelope.bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(packet_descriptors_max * sizeof(int))] = {};
  int numbers[packet_descriptors_max];
  size_t count = 0;
  if (envelope.memory) numbers[count++] = envelope.memory.get();
  for (const Fd* each : descriptors) {
    if (count == packet_descriptors_max) {
      return fail(Kind::Internal, "more descriptors than one message takes");
    }
    numbers[count++] = each->get();
  }
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(rights), numbers, count * sizeof(int));
  }
  const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
  while (::sendmsg(socket.get(), &message, flags) < 0) {
    if (errno != EINTR) return fail_errno(errno, "sendmsg");
  }
  return {};
}

Result<std::optional<Packet>> receive_packet(const Fd& socket) {
  std::string bytes(packet_bytes_max, '\0');
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(packet_descriptors_max * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = -1;
  do {
    got = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno(errno, "recvmsg");
  std::vector<Fd> descriptors;
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr;
       each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; i < (each->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(each) + i * sizeof(int), sizeof number);
      descriptors.emplace_back(number);
    }
  }
  if (got == 0) return std::optional<Packet>();
  if ((message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0) {
    return fail(Kind::Internal, "a message that is too long");
  }
  bytes.resize(static_cast<size_t>(got));
  return std::optional<Packet>(TRY(open_packet(bytes, std::move(descriptors))));
}

}  // namespace nacelle::image
