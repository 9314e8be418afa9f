// Streams as jobs see them: an input that may be compressed, and an output that is hashed on its
// way and may be compressed by helper threads. No job holds more of either than a few buffers.
#pragma once

#include <pthread.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "codec/compression.h"
#include "codec/digest.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

inline constexpr size_t stream_buffer_bytes = 256u << 10;

// A compressed stream may come to `free_bytes` whatever it was made from, and beyond that to
// `factor` times what was read: what grows more is a bomb.
struct ExpansionLimits {
  uint64_t free_bytes = 4ull << 30;
  uint64_t factor = 200;
};
Result<> check_expansion(const ExpansionLimits& limits, uint64_t raw_bytes, uint64_t decoded_bytes);

// What comes in, as it is and decompressed. Reads fill whole buffers, so a first one says what the
// stream is made of.
class StreamInput {
 public:
  // `input` is borrowed. Nothing is read yet.
  explicit StreamInput(const Fd& input, ExpansionLimits limits = {});

  // The next bytes as they came; empty at the end. Valid until the next call.
  Result<std::string_view> next_raw();
  // Decompresses what next_raw() gave: call until it says nothing more. The end of the input, told
  // by an empty `raw`, must be where a stream ends.
  Result<std::string_view> decode(std::string_view& raw);
  // Both: the next decompressed bytes, empty at the end.
  Result<std::string_view> next();

  codec::Compression compression() const { return compression_; }
  uint64_t raw_bytes() const { return raw_bytes_; }

 private:
  const Fd* input_;
  ExpansionLimits limits_;
  codec::Compression compression_ = codec::Compression::None;
  std::optional<codec::Decompressor> decompressor_;
  std::string buffer_, decoded_;
  std::string_view pending_;
  uint64_t raw_bytes_ = 0, decoded_bytes_ = 0;
  bool started_ = false, ended_ = false, finished_ = false;
};

// An archive on its way out. Compression is done piece by piece, each a gzip member or zstd frame
// of its own, by up to two threads: the bytes are the same whatever the number of threads is, and
// any decoder of gzip or zstd takes members and frames that follow each other.
class StreamOutput {
 public:
  struct Totals {
    codec::Digest blob;     // of what was written
    codec::Digest diff_id;  // of what was appended
    uint64_t blob_bytes = 0;
    uint64_t archive_bytes = 0;
  };

  // `output` is borrowed. `level`: codec::Compressor's.
  static Result<std::unique_ptr<StreamOutput>> open(const Fd& output,
                                                    codec::Compression compression, int level = 0);
  ~StreamOutput();
  StreamOutput(StreamOutput&&) = delete;

  Result<> append(std::string_view bytes);
  // Room for bytes to be put in place, never empty; then advance() says how many came.
  Result<std::span<char>> room();
  void advance(size_t bytes);
  Result<Totals> finish();  // once

 private:
  struct Piece {
    std::string input, output;
    size_t used = 0;
    bool done = false;
    Result<> made;
  };
  static constexpr size_t threads_max = 2;
  static constexpr size_t pieces = threads_max + 2;  // one being filled, one being written

  StreamOutput(const Fd& output, codec::Compression compression, int level);
  void start_threads();
  static void* compress_pieces(void* self);
  void make(Piece& piece) const;
  Result<> submit();
  Result<> collect_oldest();
  Piece& at(uint64_t number) { return pieces_[number % pieces]; }

  const Fd* output_;
  codec::Compression compression_;
  int level_;
  codec::Hasher blob_hasher_, diff_hasher_;
  Totals totals_;
  std::array<Piece, pieces> pieces_;
  // Pieces are numbered: those below `collected_` are written, those below `claimed_` are being
  // made or were, those below `submitted_` are full, and that one is being filled.
  uint64_t submitted_ = 0, claimed_ = 0, collected_ = 0;
  bool stopping_ = false;
  std::array<pthread_t, threads_max> threads_{};
  size_t thread_count_ = 0;
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t work_came_ = PTHREAD_COND_INITIALIZER;
  pthread_cond_t piece_made_ = PTHREAD_COND_INITIALIZER;
};

}  // namespace nacelle::image
