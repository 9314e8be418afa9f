#include "image/unpack_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/text.h"

namespace nacelle::image {
namespace {

constexpr size_t raw_bytes_max = 256u << 10;       // of one read
constexpr size_t thread_stack_bytes = 512u << 10;  // counts against the worker's address space
constexpr int stop_poll_ms = 100;                  // how often a waiting read looks up
constexpr auto patience = std::chrono::seconds(1);

codec::DigestAlgorithm algorithm_of(const Digest& digest) {
  return digest.empty() ? codec::DigestAlgorithm::Sha256 : digest.algorithm();
}

}  // namespace

LayerStream::LayerStream(const Fd& input, const UnpackRequest& request, ExpansionLimits limits)
    : input_(input),
      request_(request),
      limits_(limits),
      blob_hasher_(algorithm_of(request.blob)),
      archive_hasher_(algorithm_of(request.diff_id)) {}

Result<std::unique_ptr<LayerStream>> LayerStream::start(const Fd& input,
                                                        const UnpackRequest& request,
                                                        ExpansionLimits limits) {
  std::unique_ptr<LayerStream> stream(new LayerStream(input, request, limits));
  struct stat status;
  stream->may_wait_ = ::fstat(input.get(), &status) < 0 || !S_ISREG(status.st_mode);
  if (!stream->may_wait_) ::posix_fadvise(input.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  for (Slot& slot : stream->ring_) slot.bytes.reset(new char[slot_bytes]);
  TRY(stream->start_threads());
  return stream;
}

Result<> LayerStream::start_threads() {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, thread_stack_bytes);
  void* (*const jobs[])(void*) = {[](void* stream) -> void* {
                                    static_cast<LayerStream*>(stream)->produce();
                                    return nullptr;
                                  },
                                  [](void* stream) -> void* {
                                    static_cast<LayerStream*>(stream)->hash();
                                    return nullptr;
                                  }};
  int error = 0;
  for (auto* job : jobs) {
    error = ::pthread_create(&threads_[running_], &attributes, job, this);
    if (error != 0) break;
    ++running_;
  }
  ::pthread_attr_destroy(&attributes);
  if (error != 0) return fail_errno(error, "pthread_create");
  return {};
}

LayerStream::~LayerStream() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (int i = 0; i < running_; ++i) ::pthread_join(threads_[i], nullptr);
}

// The caller's side. --------------------------------------------------------------------------

Result<std::optional<std::string_view>> LayerStream::next() {
  std::unique_lock lock(mutex_);
  if (handed_out_) {
    ++consumed_;
    handed_out_ = false;
    changed_.notify_all();
  }
  const auto has_news = [this] { return produced_ > consumed_ || ended_; };
  if (!changed_.wait_for(lock, patience, has_news)) return std::optional<std::string_view>();
  if (produced_ > consumed_) {
    handed_out_ = true;
    const Slot& slot = ring_[consumed_ % slots];
    return std::optional(std::string_view(slot.bytes.get(), slot.used));
  }
  if (error_) return std::unexpected(*error_);
  return std::optional(std::string_view());
}

Result<LayerStream::Digests> LayerStream::finish() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ && hashed_ == produced_; });
  }
  Digests found;
  found.diff_id = archive_hasher_.finish();
  found.blob = hashes_blob_ ? blob_hasher_.finish() : found.diff_id;
  const uint64_t bytes = blob_bytes();
  if (request_.size != 0 && bytes != request_.size) {
    return fail(Kind::Invalid, cat("the blob has ", bytes, " bytes instead of ", request_.size));
  }
  if (!request_.blob.empty() && found.blob != request_.blob) {
    return fail(Kind::Invalid, cat("the blob's digest is ", found.blob.text(), " instead of ",
                                   request_.blob.text()));
  }
  if (!request_.diff_id.empty() && found.diff_id != request_.diff_id) {
    return fail(Kind::Invalid, cat("the archive's digest is ", found.diff_id.text(),
                                   " instead of the diff id ", request_.diff_id.text()));
  }
  return found;
}

// The threads. --------------------------------------------------------------------------------

void LayerStream::hash() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || ended_ || produced_ > hashed_; });
    if (stop_) return;
    if (produced_ == hashed_) return;  // the end
    const Slot& slot = ring_[hashed_ % slots];
    lock.unlock();
    archive_hasher_.update(std::string_view(slot.bytes.get(), slot.used));
    lock.lock();
    ++hashed_;
    changed_.notify_all();
  }
}

void LayerStream::produce() {
  const Result<> done = produce_all();
  const std::lock_guard lock(mutex_);
  if (!done) error_ = done.error();
  ended_ = true;
  changed_.notify_all();
}

LayerStream::Slot* LayerStream::claim() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stop_ || std::min(hashed_, consumed_) + slots > produced_; });
  return stop_ ? nullptr : &ring_[produced_ % slots];
}

void LayerStream::publish(size_t used) {
  const std::lock_guard lock(mutex_);
  ring_[produced_ % slots].used = used;
  ++produced_;
  changed_.notify_all();
}

// Fills `into` unless the input ends first. A stop ends it early: then nobody looks at the bytes.
Result<size_t> LayerStream::read_input(char* into, size_t size) {
  size_t used = 0;
  while (used < size) {
    if (may_wait_) {
      pollfd waiting{.fd = input_.get(), .events = POLLIN, .revents = 0};
      const int ready = ::poll(&waiting, 1, stop_poll_ms);
      if (ready == 0) {
        const std::lock_guard lock(mutex_);
        if (stop_) return used;
        continue;
      }
    }
    const ssize_t got = ::read(input_.get(), into + used, size - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "reading the blob");
    if (got == 0) break;
    used += static_cast<size_t>(got);
    // What a download has brought by now can be worked on; a file has all of it.
    if (may_wait_ && used >= 4096) break;
  }
  return used;
}

Result<> LayerStream::take_raw(std::string_view bytes) {
  const uint64_t now = blob_bytes() + bytes.size();
  blob_bytes_.store(now, std::memory_order_relaxed);
  if (request_.size != 0 && now > request_.size) {
    return fail(Kind::Invalid, cat("the blob is longer than its ", request_.size, " bytes"));
  }
  if (hashes_blob_) blob_hasher_.update(bytes);
  return {};
}

Result<> LayerStream::produce_all() {
  const std::unique_ptr<char[]> first(new char[raw_bytes_max]);
  const size_t size = TRY(read_input(first.get(), raw_bytes_max));
  const std::string_view bytes(first.get(), size);
  const codec::Compression compression = codec::detect_compression(bytes);
  // One digest for both, when they are of the same bytes.
  hashes_blob_ = compression != codec::Compression::None ||
                 algorithm_of(request_.blob) != algorithm_of(request_.diff_id);
  TRY(take_raw(bytes));
  if (compression == codec::Compression::None) return produce_plain(bytes);
  return produce_decompressed(compression, bytes);
}

Result<> LayerStream::produce_plain(std::string_view first) {
  Slot* slot = claim();
  if (slot == nullptr) return {};
  std::copy(first.begin(), first.end(), slot->bytes.get());
  size_t used = first.size();
  while (used != 0) {
    publish(used);
    slot = claim();
    if (slot == nullptr) return {};
    used = TRY(read_input(slot->bytes.get(), slot_bytes));
    TRY(take_raw(std::string_view(slot->bytes.get(), used)));
  }
  return {};
}

Result<> LayerStream::produce_decompressed(codec::Compression compression, std::string_view first) {
  codec::Decompressor decompressor = TRY(codec::Decompressor::make(compression));
  const std::unique_ptr<char[]> raw(new char[raw_bytes_max]);
  std::string_view input = first;
  Slot* slot = claim();
  size_t used = 0;
  uint64_t decoded_bytes = 0;
  while (slot != nullptr) {
    const codec::CodingStep step =
        TRY(decompressor.step(input, std::span<char>(slot->bytes.get() + used, slot_bytes - used)));
    input.remove_prefix(step.consumed);
    used += step.produced;
    decoded_bytes += step.produced;
    TRY(check_expansion(limits_, blob_bytes(), decoded_bytes));
    if (used == slot_bytes) {
      publish(used);
      slot = claim();
      used = 0;
      continue;
    }
    // Room is left in the output, so what is left of the input begins something new, or is nothing.
    if (!input.empty() && (step.consumed != 0 || step.produced != 0)) continue;
    if (!input.empty()) return fail(Kind::Invalid, "the compressed stream does not go on");
    // A buffer that is filled slowly, by a download, is handed on as it is.
    if (may_wait_ && used > 0) {
      publish(used);
      slot = claim();
      used = 0;
      if (slot == nullptr) return {};
    }
    const size_t size = TRY(read_input(raw.get(), raw_bytes_max));
    input = std::string_view(raw.get(), size);
    TRY(take_raw(input));
    if (input.empty()) {
      {
        const std::lock_guard lock(mutex_);
        if (stop_) return {};
      }
      TRY(decompressor.finish());
      if (used > 0) publish(used);
      return {};
    }
  }
  return {};
}

}  // namespace nacelle::image
