#include "image/job_stream.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/text.h"
#include "sys/file.h"

namespace nacelle::image {

using codec::Compression;

Result<> check_expansion(const ExpansionLimits& limits, uint64_t raw_bytes,
                         uint64_t decoded_bytes) {
  if (decoded_bytes <= limits.free_bytes || decoded_bytes / limits.factor <= raw_bytes) return {};
  return fail(Kind::Exhausted, cat("a compressed stream that grows to more than ", limits.factor,
                                   " times its size"));
}

StreamInput::StreamInput(const Fd& input, ExpansionLimits limits)
    : input_(&input), limits_(limits), buffer_(stream_buffer_bytes, '\0') {}

Result<std::string_view> StreamInput::next_raw() {
  size_t used = 0;
  while (!ended_ && used < buffer_.size()) {
    const ssize_t got = ::read(input_->get(), buffer_.data() + used, buffer_.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "reading the input");
    ended_ = got == 0;
    used += static_cast<size_t>(got);
  }
  const auto bytes = std::string_view(buffer_).substr(0, used);
  raw_bytes_ += used;
  if (started_) return bytes;
  started_ = true;
  compression_ = codec::detect_compression(bytes);
  if (compression_ != Compression::None) {
    decompressor_ = TRY(codec::Decompressor::make(compression_));
    decoded_.resize(stream_buffer_bytes);
  }
  return bytes;
}

Result<std::string_view> StreamInput::decode(std::string_view& raw) {
  if (compression_ == Compression::None) return std::exchange(raw, {});
  const codec::CodingStep step = TRY(decompressor_->step(raw, decoded_));
  raw.remove_prefix(step.consumed);
  decoded_bytes_ += step.produced;
  TRY(check_expansion(limits_, raw_bytes_, decoded_bytes_));
  if (step.produced == 0 && !raw.empty() && step.consumed == 0) {
    return fail(Kind::Invalid, "bytes after the end of a compressed stream");
  }
  return std::string_view(decoded_).substr(0, step.produced);
}

Result<std::string_view> StreamInput::next() {
  while (true) {
    if (pending_.empty() && !ended_) pending_ = TRY(next_raw());
    const std::string_view bytes = TRY(decode(pending_));
    if (!bytes.empty()) return bytes;
    if (!pending_.empty() || !ended_) continue;
    if (decompressor_ && !std::exchange(finished_, true)) TRY(decompressor_->finish());
    return std::string_view();
  }
}

namespace {

// Members lose what they could have referred to in the one before: below 1 % at this size.
constexpr size_t gzip_piece_bytes = 1u << 20;
constexpr size_t zstd_piece_bytes = 2u << 20;  // the window of its default level
constexpr size_t plain_piece_bytes = 1u << 20;
constexpr size_t thread_stack_bytes = 512u << 10;

size_t piece_bytes(Compression compression) {
  if (compression == Compression::Gzip) return gzip_piece_bytes;
  if (compression == Compression::Zstd) return zstd_piece_bytes;
  return plain_piece_bytes;
}

Result<> compress_whole(Compression compression, int level, std::string_view input,
                        std::string& output) {
  auto compressor = TRY(codec::Compressor::make(compression, level));
  // What does not compress grows by a few bytes per 16 KiB and a header.
  output.resize(input.size() + input.size() / 64 + 1024);
  size_t used = 0;
  while (true) {
    const auto room = std::span<char>(output).subspan(used);
    const codec::CodingStep step = TRY(compressor.step(input, room, true));
    input.remove_prefix(step.consumed);
    used += step.produced;
    if (step.ended) break;
    if (used == output.size()) output.resize(output.size() * 2);
  }
  output.resize(used);
  return {};
}

}  // namespace

StreamOutput::StreamOutput(const Fd& output, Compression compression, int level)
    : output_(&output), compression_(compression), level_(level) {}

Result<std::unique_ptr<StreamOutput>> StreamOutput::open(const Fd& output, Compression compression,
                                                         int level) {
  std::unique_ptr<StreamOutput> self(new StreamOutput(output, compression, level));
  self->at(0).input.resize(piece_bytes(compression));
  if (compression == Compression::None) return self;
  self->start_threads();
  return self;
}

// Without threads (a limit, a filter) it works as well, only slower. Their stacks count against the
// worker's memory, and compressors need little of one.
void StreamOutput::start_threads() {
  pthread_attr_t attributes;
  if (::pthread_attr_init(&attributes) != 0) return;
  ::pthread_attr_setstacksize(&attributes, thread_stack_bytes);
  while (thread_count_ < threads_max &&
         ::pthread_create(&threads_[thread_count_], &attributes, compress_pieces, this) == 0) {
    ++thread_count_;
  }
  ::pthread_attr_destroy(&attributes);
}

StreamOutput::~StreamOutput() {
  ::pthread_mutex_lock(&mutex_);
  stopping_ = true;
  ::pthread_cond_broadcast(&work_came_);
  ::pthread_mutex_unlock(&mutex_);
  for (size_t each = 0; each < thread_count_; ++each) ::pthread_join(threads_[each], nullptr);
}

void StreamOutput::make(Piece& piece) const {
  piece.made = compress_whole(compression_, level_,
                              std::string_view(piece.input).substr(0, piece.used), piece.output);
}

void* StreamOutput::compress_pieces(void* self) {
  auto& stream = *static_cast<StreamOutput*>(self);
  ::pthread_mutex_lock(&stream.mutex_);
  while (true) {
    while (!stream.stopping_ && stream.claimed_ == stream.submitted_) {
      ::pthread_cond_wait(&stream.work_came_, &stream.mutex_);
    }
    if (stream.stopping_) break;
    Piece& piece = stream.at(stream.claimed_++);
    ::pthread_mutex_unlock(&stream.mutex_);
    stream.make(piece);
    ::pthread_mutex_lock(&stream.mutex_);
    piece.done = true;
    ::pthread_cond_signal(&stream.piece_made_);
  }
  ::pthread_mutex_unlock(&stream.mutex_);
  return nullptr;
}

Result<> StreamOutput::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::span<char> free = TRY(room());
    const size_t count = std::min(free.size(), bytes.size());
    std::memcpy(free.data(), bytes.data(), count);
    advance(count);
    bytes.remove_prefix(count);
  }
  return {};
}

Result<std::span<char>> StreamOutput::room() {
  if (at(submitted_).used == at(submitted_).input.size()) TRY(submit());
  Piece& piece = at(submitted_);
  return std::span<char>(piece.input).subspan(piece.used);
}

void StreamOutput::advance(size_t bytes) {
  Piece& piece = at(submitted_);
  DCHECK(bytes <= piece.input.size() - piece.used);
  piece.used += bytes;
}

// Hands the piece that was filled to whoever compresses it, and has another one to fill.
Result<> StreamOutput::submit() {
  Piece& full = at(submitted_);
  const auto bytes = std::string_view(full.input).substr(0, full.used);
  diff_hasher_.update(bytes);
  totals_.archive_bytes += bytes.size();
  if (compression_ == Compression::None) {
    TRY(sys::write_all(*output_, bytes, "the archive"));
    full.used = 0;
    return {};
  }
  if (thread_count_ == 0) make(full);
  ::pthread_mutex_lock(&mutex_);
  full.done = thread_count_ == 0;
  ++submitted_;
  ::pthread_cond_signal(&work_came_);
  ::pthread_mutex_unlock(&mutex_);
  if (submitted_ - collected_ == pieces) TRY(collect_oldest());
  Piece& next = at(submitted_);
  next.input.resize(piece_bytes(compression_));
  next.used = 0;
  return {};
}

Result<> StreamOutput::collect_oldest() {
  Piece& piece = at(collected_);
  ::pthread_mutex_lock(&mutex_);
  while (!piece.done) ::pthread_cond_wait(&piece_made_, &mutex_);
  ::pthread_mutex_unlock(&mutex_);
  ++collected_;
  TRY(std::move(piece.made));
  blob_hasher_.update(piece.output);
  totals_.blob_bytes += piece.output.size();
  return sys::write_all(*output_, piece.output, "the archive");
}

Result<StreamOutput::Totals> StreamOutput::finish() {
  // An empty stream is still a stream of its format.
  if (at(submitted_).used > 0 || submitted_ == 0) TRY(submit());
  while (collected_ < submitted_) TRY(collect_oldest());
  totals_.diff_id = diff_hasher_.finish();
  if (compression_ == Compression::None) {
    totals_.blob = totals_.diff_id;
    totals_.blob_bytes = totals_.archive_bytes;
  } else {
    totals_.blob = blob_hasher_.finish();
  }
  return totals_;
}

}  // namespace nacelle::image
