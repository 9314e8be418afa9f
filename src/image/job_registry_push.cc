#include "image/job_registry_push.h"

#include <algorithm>

#include "base/fault.h"
#include "base/text.h"
#include "image/job_registry_reply.h"

namespace nacelle::image {

namespace {

constexpr size_t mount_attempts_max = 4;
constexpr size_t answer_bytes_max = 64u << 10;
constexpr uint64_t fault_distance = 4u << 20;

class BlobUpload {
 public:
  BlobUpload(RegistryEndpoint& endpoint, const PushBlobRequest& request, const Fd& file,
             const PushSurroundings& around)
      : endpoint_(endpoint),
        request_(request),
        file_(file),
        around_(around),
        what_(cat("blob ", request.digest.text())) {}

  Result<PushBlobRequest::Reply> run() {
    fault_point("registry.push.begin");
    using How = PushBlobRequest::Reply::How;
    if (TRY(exists())) return PushBlobRequest::Reply{.how = How::Existed};
    const std::string mounted = TRY(mount());
    if (!mounted.empty()) {
      return PushBlobRequest::Reply{.how = How::Mounted, .mounted_from = mounted};
    }
    if (!session_) TRY(open_session());
    TRY(send());
    return PushBlobRequest::Reply{.how = How::Uploaded};
  }

 private:
  http::Request bare(std::string method, http::Url url) {
    http::Request request;
    request.method = std::move(method);
    request.url = std::move(url);
    request.body_bytes_max = answer_bytes_max;
    request.total_max = around_.patience.document;
    request.on_tick = [this](uint64_t) -> Result<> {
      around_.asker.progress(0);
      return {};
    };
    return request;
  }

  Result<bool> exists() {
    http::Url url = TRY(endpoint_.url(cat("blobs/", request_.digest.text())));
    const http::Response response = TRY(endpoint_.ask(bare("HEAD", std::move(url))).context(what_));
    if (response.status == 404) return false;
    if (!response.ok()) return std::unexpected(registry_error(response, what_));
    // Another length is another blob, or a half of it: sending it settles that.
    const auto length = parse_number<uint64_t>(response.header("content-length"));
    return !length || *length == request_.size;
  }

  // The repository whose blob is ours now as well; empty: none.
  Result<std::string> mount() {
    const size_t attempts = std::min(around_.mount_from.size(), mount_attempts_max);
    for (size_t each = 0; each < attempts; ++each) {
      const std::string& from = around_.mount_from[each];
      http::Url url = TRY(endpoint_.url("blobs/uploads/"));
      url = http::with_query(std::move(url), "mount", request_.digest.text());
      url = http::with_query(std::move(url), "from", from);
      http::Request post = bare("POST", std::move(url));
      post.has_body = true;
      const http::Response response = TRY(endpoint_.ask(std::move(post)).context(what_));
      if (response.status == 201) {
        abandon_session();
        return from;
      }
      // 202: not mounted, but an upload has begun. Other refusals are no more than that.
      if (response.status == 202) {
        abandon_session();
        TRY(take_session(response));
      } else if (response.status >= 500 || response.status == 429) {
        return std::unexpected(registry_error(response, what_));
      }
    }
    return std::string();
  }

  Result<> open_session() {
    http::Request post = bare("POST", TRY(endpoint_.url("blobs/uploads/")));
    post.has_body = true;
    const http::Response response = TRY(endpoint_.ask(std::move(post)).context(what_));
    if (!response.ok()) return std::unexpected(registry_error(response, what_));
    return take_session(response);
  }

  Result<> take_session(const http::Response& response) {
    const std::string_view location = response.header("location");
    if (location.empty()) {
      return fail(Kind::Invalid, cat(what_, ": the registry does not say where to send it"));
    }
    http::Url url = TRY(http::join_url(response.url, location).context(what_));
    if ((response.url.secure() || endpoint_.home().secure()) && !url.secure()) {
      return fail(Kind::Denied, cat(what_, ": the registry wants it sent without TLS, to ",
                                    url.origin(), ": refused"));
    }
    session_ = std::move(url);
    return {};
  }

  // A courtesy: registries end forgotten uploads themselves. Elsewhere nothing is deleted on a
  // registry's word.
  void abandon_session() {
    if (!session_) return;
    if (!http::same_origin(*session_, endpoint_.home())) {
      session_.reset();
      return;
    }
    (void)endpoint_.ask(bare("DELETE", std::move(*session_)));
    session_.reset();
  }

  Result<> send() {
    http::Request put =
        bare("PUT", http::with_query(std::move(*session_), "digest", request_.digest.text()));
    put.headers.push_back({"Content-Type", "application/octet-stream"});
    put.has_body = true;
    put.file = &file_;
    put.file_size = request_.size;
    put.total_max = {};
    put.stall_max = around_.patience.commit_stall;
    uint64_t next_fault = 0;
    put.on_tick = [&](uint64_t sent) -> Result<> {
      if (sent >= next_fault) {
        next_fault = sent + fault_distance;
        fault_point("registry.push.data");
      }
      around_.asker.progress(sent);
      return {};
    };
    const http::Response response = TRY(endpoint_.ask(std::move(put)).context(what_));
    if (response.status == 404) {
      // The upload, not the blob: it may have been cleaned away, and another can be begun.
      return fail(Kind::Unavailable, cat(what_, ": the registry has forgotten the upload"));
    }
    if (!response.ok()) return std::unexpected(registry_error(response, what_));
    fault_point("registry.push.commit");
    if (response.status != 201) {
      return fail(Kind::Invalid, cat(what_, ": the registry answers with status ", response.status,
                                     " where it should have created it"));
    }
    const std::string_view digest = response.header("docker-content-digest");
    if (digest.empty()) return {};
    const codec::Digest said = TRY(codec::Digest::parse(digest).context("Docker-Content-Digest"));
    if (said.algorithm() == request_.digest.algorithm() && said != request_.digest) {
      return fail(Kind::Invalid, cat(what_, ": the registry says it received ", said.text()));
    }
    return {};
  }

  RegistryEndpoint& endpoint_;
  const PushBlobRequest& request_;
  const Fd& file_;
  const PushSurroundings& around_;
  const std::string what_;
  std::optional<http::Url> session_;  // where to send it
};

}  // namespace

Result<> check_content_digest(const http::Response& response, std::string_view bytes) {
  const std::string_view text = response.header("docker-content-digest");
  if (text.empty()) return {};
  const codec::Digest said = TRY(codec::Digest::parse(text).context("Docker-Content-Digest"));
  if (codec::digest_of(bytes, said.algorithm()) == said) return {};
  return fail(Kind::Invalid,
              cat("Docker-Content-Digest says ", said.text(), ", which the bytes do not have"));
}

Result<PushBlobRequest::Reply> push_blob(RegistryEndpoint& endpoint, const PushBlobRequest& request,
                                         const Fd& file, const PushSurroundings& around) {
  return BlobUpload(endpoint, request, file, around).run();
}

Result<PushManifestRequest::Reply> push_manifest(RegistryEndpoint& endpoint,
                                                 const PushManifestRequest& request,
                                                 const RegistryPatience& patience) {
  const std::string what = cat("manifest ", request.reference);
  if (!is_tag(request.reference)) {
    const codec::Digest named =
        TRY(codec::Digest::parse(request.reference).context("neither a tag nor a digest"));
    if (codec::digest_of(request.bytes, named.algorithm()) != named) {
      return fail(Kind::Invalid, cat(what, ": its bytes have another digest"));
    }
  }
  http::Request put;
  put.method = "PUT";
  put.url = TRY(endpoint.url(cat("manifests/", request.reference)));
  put.headers.push_back({"Content-Type", request.media_type});
  put.has_body = true;
  put.body = request.bytes;
  put.body_bytes_max = answer_bytes_max;
  put.total_max = patience.document;
  fault_point("registry.manifest.put");
  const http::Response response = TRY(endpoint.ask(std::move(put)).context(what));
  if (!response.ok()) return std::unexpected(registry_error(response, what));
  TRY(check_content_digest(response, request.bytes).context(what));
  return PushManifestRequest::Reply{codec::digest_of(request.bytes)};
}

}  // namespace nacelle::image
