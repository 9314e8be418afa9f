#include "image/remote_file.h"

#include <utility>

#include "base/text.h"
#include "codec/json.h"
#include "http/message.h"
#include "http/url.h"
#include "image/registry_config.h"
#include "image/worker.h"

namespace nacelle::image {
namespace {

constexpr size_t name_bytes_max = 255;  // of every file system

}  // namespace

Result<std::string> remote_file_name(const std::string& url) {
  const http::Url parsed = TRY(http::parse_url(url));
  std::string name = TRY(http::percent_decode(parsed.path, false));
  while (name.ends_with('/')) name.pop_back();
  name.erase(0, name.rfind('/') + 1);
  if (name.empty()) return std::string("__unnamed__");
  if (name == "." || name == ".." || name.contains('\0') || name.size() > name_bytes_max) {
    return fail(Kind::Invalid, cat("the end of ", parsed.text, " is no file's name"));
  }
  return name;
}

ring::Task<RemoteFile> fetch_remote_file(ring::Loop& loop, std::string url, const Fd& file,
                                         codec::DigestAlgorithm algorithm) {
  FetchFileRequest request = co_await fetch_file_request(std::move(url));
  request.bytes_max = remote_file_bytes_max;
  Worker fetching = co_await Worker::start(loop, {.kind = WorkerKind::Registry});
  const FetchFileRequest::Reply fetched = co_await fetching.call(std::move(request), {&file});
  co_await fetching.stop();
  Worker hashing = co_await Worker::start(loop, {.kind = WorkerKind::Bytes});
  HashFileRequest::Reply hashed =
      co_await hashing.call(HashFileRequest{.algorithm = algorithm}, {&file});
  co_await hashing.stop();
  co_return RemoteFile{.digest = std::move(hashed.digest), .modified_s = fetched.modified_s};
}

}  // namespace nacelle::image
