#include "streams.h"

#include <algorithm>
#include <vector>

#include <bzlib.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <zlib.h>

#include "base/check.h"

namespace nacelle::codec::testing {

namespace {

// Nothing of ours writes these.
std::string compress_foreign(Compression compression, std::string_view bytes) {
  std::string out(bytes.size() + bytes.size() / 50 + 1024, '\0');
  if (compression == Compression::Bzip2) {
    auto size = static_cast<unsigned>(out.size());
    CHECK(BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(bytes.data()),
                                   static_cast<unsigned>(bytes.size()), 9, 0, 0) == BZ_OK);
    out.resize(size);
    return out;
  }
  size_t used = 0;
  CHECK(lzma_easy_buffer_encode(
            6, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()),
            bytes.size(), reinterpret_cast<uint8_t*>(out.data()), &used, out.size()) == LZMA_OK);
  out.resize(used);
  return out;
}

}  // namespace

std::string compress(Compression compression, std::string_view bytes, size_t step, int level) {
  if (compression == Compression::Bzip2 || compression == Compression::Xz) {
    return compress_foreign(compression, bytes);
  }
  Compressor compressor = *Compressor::make(compression, level);
  std::string out;
  std::vector<char> room(std::min<size_t>(step, 64 << 10));
  for (bool ended = false; !ended;) {
    const std::string_view piece = bytes.substr(0, step);
    const auto done = compressor.step(piece, room, piece.size() == bytes.size());
    CHECK(done.has_value());
    out.append(room.data(), done->produced);
    bytes.remove_prefix(done->consumed);
    ended = done->ended;
  }
  return out;
}

Result<std::string> decompress(Compression compression, std::string_view stream, Steps steps) {
  Decompressor decompressor = TRY(Decompressor::make(compression));
  std::string out;
  std::vector<char> room(steps.output);
  while (!stream.empty()) {
    std::string_view piece = stream.substr(0, steps.input);
    stream.remove_prefix(piece.size());
    for (size_t produced = room.size(); produced == room.size();) {
      const CodingStep done = TRY(decompressor.step(piece, room));
      EXPECT_FALSE(done.ended);
      EXPECT_LE(done.consumed, piece.size());
      EXPECT_LE(done.produced, room.size());
      piece.remove_prefix(done.consumed);
      produced = done.produced;
      out.append(room.data(), produced);
      if (out.size() > steps.output_max) return fail(Kind::Exhausted, "too much");
    }
    EXPECT_TRUE(piece.empty()) << "room was left, and input too";
  }
  TRY(decompressor.finish());
  return out;
}

std::string Member::text() const {
  z_stream zlib{};
  CHECK(deflateInit2(&zlib, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string body(deflateBound(&zlib, bytes.size()), '\0');
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  zlib.avail_in = static_cast<uInt>(bytes.size());
  zlib.next_out = reinterpret_cast<Bytef*>(body.data());
  zlib.avail_out = static_cast<uInt>(body.size());
  CHECK(deflate(&zlib, Z_FINISH) == Z_STREAM_END);
  body.resize(zlib.total_out);
  deflateEnd(&zlib);

  std::string out = "\x1f\x8b\x08";
  out += static_cast<char>(flags);
  out += std::string(4, '\0');  // no time
  out += "\x02\x03";
  out += fields + body;
  const auto number = [&](uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift);
  };
  const auto crc =
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
  number(static_cast<uint32_t>(crc) + crc_change);
  number(static_cast<uint32_t>(bytes.size()) + size_change);
  return out;
}

std::string header_checksum(std::string_view header) {
  const auto crc =
      crc32(0, reinterpret_cast<const Bytef*>(header.data()), static_cast<uInt>(header.size()));
  return {static_cast<char>(crc), static_cast<char>(crc >> 8)};
}

std::string mixed_bytes(size_t size) {
  std::string out(size, '\0');
  uint32_t state = 1;
  for (size_t at = 0; at < size; ++at) {
    state = state * 1664525 + 1013904223;
    const uint32_t random = state >> 16;
    // Runs, repeats from far back, and noise.
    if (random % 97 == 0 && at > 0) {
      const size_t back = 1 + state % std::min<size_t>(at, 40000);
      for (size_t run = 10 + random % 200; run > 0 && at < size - 1; --run, ++at) {
        out[at] = out[at - back];
      }
    }
    out[at] = static_cast<char>(random % 61);
  }
  return out;
}

}  // namespace nacelle::codec::testing
