// Packets between a process and its nacelle-worker, over a SOCK_SEQPACKET pair: a header, then a
// payload (codec/flat.h), which travels as a sealed memfd when it is above inline_bytes_max.
// Both sides check everything: the worker may have been taken over by what it reads, and a program
// that is no worker may answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

enum class PacketKind : uint8_t {
  Request = 1,  // to the worker; the code is the request's
  Reply,        // from the worker: the job is done
  Error,        // from the worker: the job failed; a WireError
  Progress,     // from the worker; WireProgress
  Opaque,       // from the worker: a directory that is to be marked; no payload
  Answer,       // to the worker: what became of that; a WireError, without text if it was done
};

struct PacketHeader {
  static constexpr uint32_t magic_value = 0x4b57434e;  // "NCWK"
  static constexpr uint16_t version_value = 1;
  uint32_t magic = magic_value;
  uint16_t version = version_value;
  PacketKind kind = PacketKind::Request;
  uint8_t code = 0;
  uint64_t length = 0;  // of the payload, wherever it is
};
static_assert(sizeof(PacketHeader) == 16);

inline constexpr size_t inline_bytes_max = 64u << 10;
inline constexpr uint64_t payload_bytes_max = 32u << 20;
inline constexpr size_t packet_bytes_max = sizeof(PacketHeader) + inline_bytes_max;
inline constexpr size_t descriptors_max = 4;                           // of a request
inline constexpr size_t packet_descriptors_max = descriptors_max + 1;  // and the memfd
inline constexpr size_t error_text_bytes_max = 16u << 10;

struct WireError {
  uint8_t kind = 0;
  std::string text;
  template <class Visit>
  void fields(Visit& visit) {
    visit(kind, text);
  }
};
struct WireProgress {
  uint64_t done = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(done);
  }
};

std::string encode_error(const Error& error);
// The error that was encoded, or one that says that it was not.
Error decode_error(std::string_view payload);

// A packet as it was received and checked.
struct Packet {
  PacketKind kind = PacketKind::Request;
  uint8_t code = 0;
  std::string payload;
  std::vector<Fd> descriptors;  // without the payload's
};

// A packet as it is sent: bytes, and the payload's descriptor when it has one, which goes first.
struct Envelope {
  std::string bytes;
  Fd memory;
};
Result<Envelope> seal_packet(PacketKind kind, uint8_t code, std::string_view payload);
Result<Packet> open_packet(std::string_view bytes, std::vector<Fd> descriptors);

// The worker's side, which blocks. `wait`: whether to wait for room (else: Unavailable).
Result<> send_packet(const Fd& socket, PacketKind kind, uint8_t code, std::string_view payload,
                     std::span<const Fd* const> descriptors = {}, bool wait = true);
// Nothing: the other side has closed its end.
Result<std::optional<Packet>> receive_packet(const Fd& socket);

}  // namespace nacelle::image
