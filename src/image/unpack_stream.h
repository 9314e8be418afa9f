// A layer's bytes on their way from a file or pipe to the one who writes the tree: one thread
// reads, checks and decompresses, another finds the digest of the archive, and the caller takes
// buffers. Memory is a fixed ring of buffers, whatever comes in, and what grows beyond the limits
// of job_stream.h is refused.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "codec/compression.h"
#include "codec/digest.h"
#include "image/job_stream.h"
#include "image/messages.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

class LayerStream {
 public:
  // `input` and `request` are borrowed for the stream's life.
  static Result<std::unique_ptr<LayerStream>> start(const Fd& input, const UnpackRequest& request,
                                                    ExpansionLimits limits = {});
  ~LayerStream();  // stops and joins the threads, wherever they are
  LayerStream(const LayerStream&) = delete;
  LayerStream& operator=(const LayerStream&) = delete;

  // The next bytes of the archive, valid until the next call; empty at the end; nothing when a
  // second has passed without any, so that the caller can show that it lives.
  Result<std::optional<std::string_view>> next();
  uint64_t blob_bytes() const { return blob_bytes_.load(std::memory_order_relaxed); }

  struct Digests {
    Digest blob;
    Digest diff_id;
  };
  // After the end: both digests, which are those that were expected.
  Result<Digests> finish();

 private:
  static constexpr size_t slots = 8;
  static constexpr size_t slot_bytes = 256u << 10;
  struct Slot {
    std::unique_ptr<char[]> bytes;
    size_t used = 0;
  };

  LayerStream(const Fd& input, const UnpackRequest& request, ExpansionLimits limits);
  Result<> start_threads();
  void produce();
  void hash();

  Result<> produce_all();
  Result<> produce_plain(std::string_view first);
  Result<> produce_decompressed(codec::Compression compression, std::string_view first);
  Result<size_t> read_input(char* into, size_t size);
  Result<> take_raw(std::string_view bytes);  // counts and hashes
  Slot* claim();                              // a free one; none when we are to stop
  void publish(size_t used);

  const Fd& input_;
  const UnpackRequest& request_;
  ExpansionLimits limits_;
  bool may_wait_ = false;  // the input is no plain file
  bool hashes_blob_ = true;
  codec::Hasher blob_hasher_;
  codec::Hasher archive_hasher_;
  std::atomic<uint64_t> blob_bytes_ = 0;
  Slot ring_[slots];

  std::mutex mutex_;
  std::condition_variable changed_;
  // Numbers of buffers so far; the buffer n is in slot n % slots.
  uint64_t produced_ = 0, hashed_ = 0, consumed_ = 0;
  bool handed_out_ = false;  // the buffer `consumed_` is in use by the caller
  bool ended_ = false, stop_ = false;
  std::optional<Error> error_;
  pthread_t threads_[2] = {};
  int running_ = 0;
};

}  // namespace nacelle::image
