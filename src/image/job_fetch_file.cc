// Files from servers that are no registries, and what comes out of them.
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "base/text.h"
#include "codec/digest.h"
#include "http/client.h"
#include "http/date.h"
#include "image/jobs.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr size_t piece_bytes = 256u << 10;

Kind kind_of(int status) {
  if (status == 401 || status == 403) return Kind::Denied;
  if (status == 404 || status == 410) return Kind::NotFound;
  const bool passes = status == 408 || status == 429 || status >= 500;
  return passes ? Kind::Unavailable : Kind::Invalid;
}

class FileDownload {
 public:
  FileDownload(const FetchFileRequest& request, const Fd& file, Asker& asker)
      : request_(request), file_(file), asker_(asker) {}

  Result<FetchFileRequest::Reply> run() {
    http::Request get;
    get.url = TRY(http::parse_url(request_.url));
    http::Client client = TRY(http::Client::make({.home = get.url,
                                                  .ca_pem = request_.system_ca_pem,
                                                  .http_proxy = request_.http_proxy,
                                                  .https_proxy = request_.https_proxy,
                                                  .no_proxy = request_.no_proxy,
                                                  .user_agent = request_.user_agent}));
    // What a server compresses on the way would come out as other bytes.
    get.headers.push_back({"Accept-Encoding", "identity"});
    get.on_head = [this](const http::Response& response) { return check_head(response); };
    get.sink = [this](std::string_view bytes) { return take(bytes); };
    get.on_tick = [this](uint64_t) -> Result<> {
      asker_.progress(done_);
      return {};
    };
    const http::Response response = TRY(client.perform(get));
    if (!response.ok()) {
      return fail(kind_of(response.status),
                  cat("invalid response status ", response.status, " of ", response.url.text));
    }
    return FetchFileRequest::Reply{
        .size = done_,
        .modified_s = http::parse_date(response.header("last-modified")).value_or(0)};
  }

 private:
  std::unexpected<Error> too_long() const {
    return fail(Kind::Exhausted, cat("more than ", request_.bytes_max, " bytes"));
  }

  Result<> check_head(const http::Response& response) {
    if (response.status == 206) {
      return fail(Kind::Invalid, "the server sends a part where the whole was asked for");
    }
    const auto length = parse_number<uint64_t>(response.header("content-length"));
    return length && *length > request_.bytes_max ? Result<>(too_long()) : Result<>();
  }

  Result<> take(std::string_view bytes) {
    if (bytes.size() > request_.bytes_max - done_) return too_long();
    TRY(sys::write_all(file_, bytes, "the file"));
    done_ += bytes.size();
    asker_.progress(done_);
    return {};
  }

  const FetchFileRequest& request_;
  const Fd& file_;
  Asker& asker_;
  uint64_t done_ = 0;
};

}  // namespace

Result<FetchFileRequest::Reply> fetch_file(const FetchFileRequest& request, const Fd& file,
                                           Asker& asker) {
  return FileDownload(request, file, asker).run();
}

Result<HashFileRequest::Reply> hash_file(const HashFileRequest& request, const Fd& file,
                                         Asker& asker) {
  codec::Hasher hasher(request.algorithm);
  std::string buffer(piece_bytes, '\0');
  for (uint64_t at = 0;;) {
    const ssize_t got = ::pread(file.get(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "reading the file");
    if (got == 0) break;
    hasher.update(std::string_view(buffer).substr(0, static_cast<size_t>(got)));
    asker.progress(at += static_cast<uint64_t>(got));
  }
  return HashFileRequest::Reply{.digest = hasher.finish()};
}

}  // namespace nacelle::image
