// Hostile compressed streams, in steps whose sizes the input chooses too: no crash, no step that
// stands still, and the same answer however the bytes are cut. Deflate streams go through both of
// our decoders: what zlib takes, ISA-L takes and reads the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "codec/compression.h"
#include "codec/compression_gzip.h"

using namespace nacelle;

namespace {

constexpr size_t output_bytes_max = 4 << 20;

// The contents, or nothing for what is refused or too large.
struct Outcome {
  bool whole = false;
  bool too_large = false;
  std::string bytes;
};

Outcome decompress(codec::Compression compression, std::string_view stream, size_t input_step,
                   size_t output_step) {
  Outcome outcome;
  codec::Decompressor decompressor = *codec::Decompressor::make(compression);
  std::vector<char> room(output_step);
  while (!stream.empty()) {
    std::string_view piece = stream.substr(0, input_step);
    stream.remove_prefix(piece.size());
    for (size_t produced = room.size(); produced == room.size();) {
      const auto done = decompressor.step(piece, room);
      if (!done) return outcome;
      CHECK(done->consumed <= piece.size() && done->produced <= room.size());
      piece.remove_prefix(done->consumed);
      produced = done->produced;
      outcome.bytes.append(room.data(), produced);
      if (outcome.bytes.size() > output_bytes_max) {
        outcome.too_large = true;
        return outcome;
      }
    }
    CHECK(piece.empty());
  }
  outcome.whole = decompressor.finish().has_value();
  return outcome;
}

void check_steps(codec::Compression compression, std::string_view stream, size_t input_step,
                 size_t output_step) {
  const Outcome whole = decompress(compression, stream, stream.size() + 1, 64 << 10);
  const Outcome cut = decompress(compression, stream, input_step, output_step);
  if (whole.too_large || cut.too_large) return;
  CHECK(whole.whole == cut.whole);
  if (whole.whole) CHECK(whole.bytes == cut.bytes);
}

#ifdef NACELLE_ISAL
struct Inflated {
  bool damaged = false;
  bool ended = false;
  size_t used = 0;
  uint32_t crc = 0;
  std::string bytes;
};

template <class Decoder>
std::optional<Inflated> inflate(std::string_view stream, size_t input_step, size_t output_step) {
  Inflated all;
  Decoder decoder;
  decoder.start();
  std::vector<char> room(output_step);
  while (!all.ended) {
    const std::string_view piece = stream.substr(all.used, input_step);
    const codec::gzip::InflateStep step = decoder.step(piece, room);
    all.used += step.consumed;
    all.bytes.append(room.data(), step.produced);
    if (all.bytes.size() > output_bytes_max) return std::nullopt;
    all.damaged = step.damaged;
    all.ended = step.ended;
    if (all.damaged || (step.consumed == 0 && step.produced == 0)) break;
  }
  if (all.ended) {
    all.used -= decoder.read_ahead().size();
    all.crc = decoder.crc();
  }
  return all;
}

void check_decoders(std::string_view stream, size_t input_step, size_t output_step) {
  const auto fast = inflate<codec::gzip::IsalInflate>(stream, input_step, output_step);
  const auto plain = inflate<codec::gzip::ZlibInflate>(stream, stream.size() + 1, 64 << 10);
  if (!fast || !plain) return;
  // ISA-L takes incomplete sets of codes, which zlib refuses: what they decode to is not ambiguous,
  // and stands under the checksum all the same. Nothing else may be taken by one alone.
  if (plain->damaged) return;
  CHECK(fast->ended == plain->ended);
  if (!fast->ended) return;
  CHECK(fast->bytes == plain->bytes);
  CHECK(fast->used == plain->used);
  CHECK(fast->crc == plain->crc);
}
#endif

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 4, size - 4);
  const size_t input_step = data[1] + 1;
  const size_t output_step = (data[2] | data[3] << 8) + 1;
  switch (data[0] % 5) {
    case 0: check_steps(codec::Compression::Gzip, stream, input_step, output_step); break;
    case 1: check_steps(codec::Compression::Zstd, stream, input_step, output_step); break;
    case 3: check_steps(codec::Compression::Bzip2, stream, input_step, output_step); break;
    case 4: check_steps(codec::Compression::Xz, stream, input_step, output_step); break;
    default:
#ifdef NACELLE_ISAL
      check_decoders(stream, input_step, output_step);
#endif
      break;
  }
  return 0;
}
