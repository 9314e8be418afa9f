#include "image/job_registry_blob.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "base/fault.h"
#include "base/text.h"
#include "image/job_registry_reply.h"
#include "sys/file.h"

namespace nacelle::image {

namespace {

constexpr size_t reading_bytes = 1u << 20;
constexpr int pipe_bytes = 1 << 20;  // what an unprivileged process may have
constexpr uint64_t fault_distance = 4u << 20;
constexpr int pipe_wait_ms = 1000;  // between two signs of life while the pipe is full

}  // namespace

Result<> BlobDownload::begin() {
  fault_point("registry.blob.begin");
  if (pipe_) {
    ::fcntl(pipe_.get(), F_SETPIPE_SZ, pipe_bytes);  // fewer wake-ups; its failure is no harm
    // A full pipe must not keep us from saying that we are alive.
    const int flags = ::fcntl(pipe_.get(), F_GETFL);
    if (flags < 0 || ::fcntl(pipe_.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
      return fail_errno(errno, "making the blob's pipe non-blocking");
    }
  }
  const struct stat status = TRY(sys::stat_fd(file_));
  const auto there = static_cast<uint64_t>(status.st_size);
  if (there == 0) return {};
  if (there > request_.size) {
    if (::ftruncate(file_.get(), 0) < 0) return fail_errno(errno, "ftruncate of a blob's file");
    return {};
  }
  const auto buffer = std::make_unique_for_overwrite<char[]>(reading_bytes);
  while (done_ < there) {
    const size_t wanted = std::min<uint64_t>(reading_bytes, there - done_);
    const ssize_t size = ::pread(file_.get(), buffer.get(), wanted, static_cast<off_t>(done_));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno(errno, "reading the beginning of a blob");
    if (size == 0) break;  // someone cut it meanwhile: go on from here
    const std::string_view bytes(buffer.get(), static_cast<size_t>(size));
    hasher_.update(bytes);
    TRY(feed(bytes));
    done_ += bytes.size();
    tick();
  }
  return {};
}

Result<> BlobDownload::attempt(RegistryEndpoint& endpoint) {
  const std::string what = cat("blob ", request_.digest.text());
  if (++attempts_ > patience_.attempts_per_blob) {
    return fail(Kind::Exhausted, cat(what, ": given up after ", patience_.attempts_per_blob,
                                     " attempts, with ", done_, " of ", request_.size, " bytes"));
  }
  if (source_ != &endpoint) begin_window();
  source_ = &endpoint;
  http::Request request;
  request.url = TRY(endpoint.url(cat("blobs/", request_.digest.text())));
  // A server that compresses on the way would make other bytes of them.
  request.headers.push_back({"Accept-Encoding", "identity"});
  if (done_ > 0) request.headers.push_back({"Range", cat("bytes=", done_, "-")});
  request.on_head = [this](const http::Response& response) { return check_head(response); };
  request.sink = [this](std::string_view bytes) { return take(bytes); };
  request.on_tick = [this](uint64_t) -> Result<> {
    tick();
    return check_pace();
  };
  const http::Response response = TRY(endpoint.ask(std::move(request)).context(what));
  if (response.status == 416) {
    return fail(Kind::Invalid, cat(what, ": the registry has less than the ", request_.size,
                                   " bytes its descriptor says"));
  }
  if (!response.ok()) return std::unexpected(registry_error(response, what));
  if (!complete()) {
    return fail(Kind::Unavailable,
                cat(what, ": cut off after ", done_, " of ", request_.size, " bytes"));
  }
  return {};
}

void BlobDownload::begin_window() {
  window_begin_ = Clock::now();
  window_bytes_ = downloaded_;
}

Result<> BlobDownload::check_pace() {
  const auto time = Clock::now() - window_begin_;
  if (time < patience_.floor_time) return {};
  const uint64_t bytes = downloaded_ - window_bytes_;
  const auto seconds = static_cast<uint64_t>(patience_.floor_time.count());
  begin_window();
  if (bytes >= patience_.floor_bytes_per_second * seconds) return {};
  slow_bytes_ += bytes;
  return fail(Kind::Unavailable, cat("too slow: ", bytes, " bytes in ", seconds, " s"));
}

// What the head promises is held against the descriptor before a byte of the body is kept.
Result<> BlobDownload::check_head(const http::Response& response) {
  const std::string_view length = response.header("content-length");
  const auto promised = parse_number<uint64_t>(length);
  const auto wrong = [&](std::string_view why) {
    return fail(Kind::Invalid, cat("the registry answers ", why, ", where the descriptor says ",
                                   request_.size, " bytes"));
  };
  if (response.status == 200) {
    skip_ = done_;
    if (promised && *promised != request_.size) return wrong(cat("with ", *promised, " bytes"));
    return {};
  }
  if (response.status != 206) return wrong(cat("with status ", response.status));
  skip_ = 0;
  if (done_ == 0) return wrong("with a part that nobody asked for");
  const ContentRange range = TRY(parse_content_range(response.header("content-range")));
  const bool right = range.first == done_ && range.last < request_.size &&
                     range.total.value_or(request_.size) == request_.size &&
                     (!promised || *promised == range.last - range.first + 1);
  if (!right) return wrong("with another part than was asked for");
  return {};
}

Result<> BlobDownload::take(std::string_view bytes) {
  const size_t skipped = std::min<uint64_t>(skip_, bytes.size());
  skip_ -= skipped;
  bytes.remove_prefix(skipped);
  if (bytes.empty()) return {};
  if (bytes.size() > request_.size - done_) {
    return fail(Kind::Invalid, cat("the registry sends more than the ", request_.size,
                                   " bytes its descriptor says"));
  }
  if (downloaded_ >= next_fault_) {
    next_fault_ = downloaded_ + fault_distance;
    fault_point("registry.blob.data");
  }
  TRY(keep(bytes));
  hasher_.update(bytes);
  TRY(feed(bytes));
  done_ += bytes.size();
  downloaded_ += bytes.size();
  tick();
  return {};
}

Result<> BlobDownload::keep(std::string_view bytes) {
  for (uint64_t at = done_; !bytes.empty();) {
    const ssize_t size = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail_errno(errno, "writing a blob's file");
    bytes.remove_prefix(static_cast<size_t>(size));
    at += static_cast<uint64_t>(size);
  }
  return {};
}

Result<> BlobDownload::feed(std::string_view bytes) {
  if (!pipe_) return {};
  while (!bytes.empty()) {
    const ssize_t size = ::write(pipe_.get(), bytes.data(), bytes.size());
    if (size >= 0) {
      bytes.remove_prefix(static_cast<size_t>(size));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EPIPE) {
      return fail(Kind::Cancelled, "whoever read the blob as it came has gone");
    }
    if (errno != EAGAIN) return fail_errno(errno, "writing a blob's pipe");
    pollfd one{pipe_.get(), POLLOUT, 0};
    const auto begin = Clock::now();
    ::poll(&one, 1, pipe_wait_ms);
    window_begin_ += Clock::now() - begin;
    tick();
  }
  return {};
}

Result<bool> BlobDownload::verify() {
  fault_point("registry.blob.verify");
  if (hasher_.finish() == request_.digest) return true;
  if (::ftruncate(file_.get(), 0) < 0) return fail_errno(errno, "ftruncate of a blob's file");
  return false;
}

void BlobDownload::restart() {
  hasher_ = codec::Hasher(request_.digest.algorithm());
  done_ = 0;
}

}  // namespace nacelle::image
