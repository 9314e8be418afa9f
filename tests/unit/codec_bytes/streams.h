// What the tests of compressed streams share: whole streams through the coders in steps of a chosen
// size, and gzip members written field by field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "codec/compression.h"
#include "nacelle/result.h"

namespace nacelle::codec::testing {

inline constexpr size_t all_at_once = SIZE_MAX;

std::string compress(Compression compression, std::string_view bytes, size_t step = all_at_once,
                     int level = 0);

// Feeds `input_step` bytes at a time into `output_step` bytes of room, and checks that each step
// keeps what compression.h promises. Output above `output_max` is Exhausted.
struct Steps {
  size_t input = all_at_once;
  size_t output = 64 << 10;
  size_t output_max = 64 << 20;
};
Result<std::string> decompress(Compression compression, std::string_view stream, Steps steps);
inline Result<std::string> decompress(Compression compression, std::string_view stream) {
  return decompress(compression, stream, Steps());
}

// A gzip member around a raw deflate stream that zlib made of `bytes`.
struct Member {
  std::string bytes;
  uint8_t flags = 0;
  std::string fields = {};  // between the fixed part of the header and the deflate stream
  uint32_t crc_change = 0;
  uint32_t size_change = 0;
  std::string text() const;
};
// The header checksum of RFC 1952 over `header`, as two bytes.
std::string header_checksum(std::string_view header);

// Bytes that compress to about a third, and the same ones every time.
std::string mixed_bytes(size_t size);

}  // namespace nacelle::codec::testing
