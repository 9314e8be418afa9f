// One message on a SOCK_SEQPACKET connection, in both directions: bytes with descriptors, bounded,
// checked, and never waited for in the kernel, so that nothing is half received when a loop stops.
// A payload above inline_bytes_max is in a sealed memfd, the first of the descriptors.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/messages.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"

namespace nacelle::core {

inline constexpr size_t packet_bytes_max = sizeof(Header) + inline_bytes_max;

struct RawPacket {
  std::string bytes;
  std::vector<Fd> descriptors;
  // Why its descriptors are not what was sent: too many, or no room for them here. Its bytes are
  // whole, so that whoever asked can be told.
  std::optional<Error> refused = {};
};
// What is there now; nothing: it would have to be waited for. The end of the connection is
// Unavailable. A packet that is too long is Invalid, and is gone.
Result<std::optional<RawPacket>> receive_raw(const Fd& socket, size_t bytes_max,
                                             size_t descriptors_max_here);

struct Packet {
  Header header;
  std::string payload;
  std::vector<Fd> descriptors;  // without the payload's own
};
// `request`, where it can be read, is for the answer to a packet that is refused.
Result<Packet> parse_packet(RawPacket raw, uint64_t& request);

// What failed, to the one who asked.
struct ErrorReply {
  uint8_t kind = 0;  // nacelle::Kind
  std::string message;
  template <class Visit>
  void fields(Visit& visit) {
    visit(kind, message);
  }
};
ErrorReply to_reply(const Error& error);
Error from_reply(const ErrorReply& reply);

// The sending side of a socket. What the socket does not take now is sent when it does, in order,
// by a task of the scope. Once something failed everything fails, and the receiving side sees the
// end.
class Outbox : public std::enable_shared_from_this<Outbox> {
 public:
  static constexpr size_t queued_bytes_max = 16u << 20;
  static constexpr size_t queued_packets_max = 16u << 10;

  // The scope is joined before the loop goes. The socket is shared with who receives.
  Outbox(ring::Loop& loop, ring::Scope& scope, std::shared_ptr<const Fd> socket)
      : loop_(loop), scope_(scope), socket_(std::move(socket)) {}

  // Descriptors are borrowed for the call.
  Result<> send(std::string_view bytes, std::span<const int> descriptors = {});
  Result<> send_packet(PacketKind kind, uint8_t code, uint64_t request, std::string_view payload,
                       std::span<const int> descriptors = {});
  bool empty() const { return queue_.empty(); }

 private:
  struct Waiting {
    std::string bytes;
    std::vector<Fd> descriptors;
  };
  Result<> enqueue(std::string_view bytes, std::span<const int> descriptors);
  static ring::Task<> pump(std::shared_ptr<Outbox> self);

  ring::Loop& loop_;
  ring::Scope& scope_;
  std::shared_ptr<const Fd> socket_;
  std::deque<Waiting> queue_;
  size_t queued_bytes_ = 0;
  bool pumping_ = false;
  bool failed_ = false;
};

// A listening socket at `path`, for root alone; what was there is replaced.
Result<Fd> listen_packets(const std::string& path);
Result<Fd> connect_packets(const std::string& path);
// Whether the other end is root's.
Result<> check_peer(const Fd& socket);

}  // namespace nacelle::core
