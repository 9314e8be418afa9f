// Compressed streams in and out, without descriptors: gzip (RFC 1952, several members), zstd
// (RFC 8878, several frames) and plain bytes behind one interface; bzip2 and xz are read, too.
// Memory is bounded: a zstd window above window_bytes_max is refused, as is what xz would need
// beyond xz_memory_bytes_max.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::codec {

enum class Compression : uint8_t { None, Gzip, Zstd, Bzip2, Xz };

std::string_view to_string(Compression compression);  // "none", "gzip", "zstd", "bzip2"

// What the first bytes of a stream say (six are enough). Everything that is not known is None.
Compression detect_compression(std::string_view first_bytes);

struct CodingStep {
  size_t consumed = 0;  // of the input
  size_t produced = 0;  // in the output
  bool ended = false;   // a compressor has nothing more to give; a decompressor never says so
};

inline constexpr size_t window_bytes_max = 8u << 20;      // zstd's own recommendation for decoders
inline constexpr size_t xz_memory_bytes_max = 66u << 20;  // `xz -9` has a dictionary of 64 MiB

class Decompressor {
 public:
  static Result<Decompressor> make(Compression compression);
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;

  // Takes what it can of `input` and fills what it can of `output`: where output is not filled, all
  // input is taken and more of it is wanted. Members and frames that follow each other are one
  // stream, so only the end of the input, finish(), is its end; padding of zeros after the last is
  // taken and ignored. A damaged stream is Invalid. After an error the decompressor is spent.
  Result<CodingStep> step(std::string_view input, std::span<char> output);
  // The input has ended: Invalid ("ends in the middle") unless the stream is whole.
  Result<> finish();

 private:
  struct State;
  explicit Decompressor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class Compressor {
 public:
  // Of gzip, zstd or none. `level`: 0 means the default (gzip 6 as Docker's, zstd 3). Output is the
  // same for the same input: no time stamp, no name in the gzip header.
  static Result<Compressor> make(Compression compression, int level = 0);
  ~Compressor();
  Compressor(Compressor&&) noexcept;
  Compressor& operator=(Compressor&&) noexcept;

  // `last`: no input comes after this; call until `ended`.
  Result<CodingStep> step(std::string_view input, std::span<char> output, bool last);

 private:
  struct State;
  explicit Compressor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::codec
