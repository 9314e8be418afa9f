// One blob on its way into a file, and into a pipe at the same time: over as many connections as
// it takes, hashed once as it comes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "codec/digest.h"
#include "image/job_registry_client.h"
#include "image/jobs.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::image {

struct DownloadSurroundings {
  const RegistryPatience& patience;
  Asker& asker;
};

class BlobDownload {
 public:
  // All are borrowed.
  BlobDownload(const FetchBlobRequest& request, const Fd& file, const Fd& pipe,
               const DownloadSurroundings& around)
      : request_(request),
        file_(file),
        pipe_(pipe),
        patience_(around.patience),
        asker_(around.asker),
        hasher_(request.digest.algorithm()) {}

  // Takes what the file holds already into the hash and the pipe.
  Result<> begin();
  bool complete() const { return done_ == request_.size; }
  // Fetches the rest from `endpoint`. Unavailable: it was cut off and can go on from done().
  Result<> attempt(RegistryEndpoint& endpoint);
  // Once complete: false when the digest is another. The file is truncated then.
  Result<bool> verify();
  // From the first byte again. Not possible when a pipe has seen them.
  bool may_restart() const { return !pipe_; }
  void restart();

  uint64_t done() const { return done_; }
  uint64_t downloaded() const { return downloaded_; }
  // Of downloaded(), what came at a tolerable pace.
  uint64_t progress() const { return downloaded_ - slow_bytes_; }
  void tick() { asker_.progress(done_); }

 private:
  using Clock = std::chrono::steady_clock;
  void begin_window();
  Result<> check_pace();
  Result<> check_head(const http::Response& response);
  Result<> take(std::string_view bytes);
  Result<> keep(std::string_view bytes);
  Result<> feed(std::string_view bytes);

  const FetchBlobRequest& request_;
  const Fd& file_;
  const Fd& pipe_;
  const RegistryPatience& patience_;
  Asker& asker_;
  codec::Hasher hasher_;
  uint64_t done_ = 0;  // in the file, the hash and the pipe
  uint64_t downloaded_ = 0;
  uint64_t skip_ = 0;  // of the answer: a server without ranges begins at the beginning
  uint64_t next_fault_ = 0;
  // The pace: since when, and what had been downloaded then. Time in which the pipe was full is not
  // the server's.
  const RegistryEndpoint* source_ = nullptr;
  Clock::time_point window_begin_;
  uint64_t window_bytes_ = 0;
  uint64_t slow_bytes_ = 0;
  size_t attempts_ = 0;
};

}  // namespace nacelle::image
