// RegistryJob: one repository of one registry, with its mirrors. Reads documents and blobs here;
// what is written is in job_registry_push.cc.
#include <signal.h>

#include <algorithm>
#include <array>

#include "base/fault.h"
#include "base/text.h"
#include "codec/json.h"
#include "image/job_registry_blob.h"
#include "image/job_registry_client.h"
#include "image/job_registry_push.h"
#include "image/job_registry_reply.h"
#include "image/jobs.h"

namespace nacelle::image {

namespace {

constexpr size_t endpoints_max = 16;
constexpr size_t mount_from_max = 64;
// A blob that gains so much between two interruptions may be interrupted again.
constexpr uint64_t progress_bytes_min = 1u << 20;

constexpr std::array manifest_types{oci::media::oci_manifest, oci::media::docker_manifest,
                                    oci::media::oci_index, oci::media::docker_index};

const auto no_tick = [] {};

// `type; charset=utf-8` without what follows the type.
std::string media_type_of(const http::Response& response) {
  std::string_view rest = response.header("content-type");
  std::string_view type = take_until(rest, ';');
  while (type.ends_with(' ')) type.remove_suffix(1);
  return std::string(type);
}

class Job final : public RegistryJob {
 public:
  Job(RegistryOpenRequest request, RegistryPatience patience)
      : request_(std::move(request)), patience_(patience) {}
  Result<> connect();

  Result<FetchManifestRequest::Reply> fetch(const FetchManifestRequest& request) override;
  Result<FetchConfigRequest::Reply> fetch(const FetchConfigRequest& request) override;
  Result<FetchBlobRequest::Reply> fetch(const FetchBlobRequest& request, const Fd& file,
                                        const Fd& pipe, Asker& asker) override;
  Result<PushBlobRequest::Reply> push(const PushBlobRequest& request, const Fd& file,
                                      Asker& asker) override;
  Result<PushManifestRequest::Reply> push(const PushManifestRequest& request) override;
  Result<CheckLoginRequest::Reply> check_login() override;

 private:
  using Clock = std::chrono::steady_clock;
  using Attempt = std::function<Result<>(RegistryEndpoint&)>;
  struct Rounds {
    std::function<void()> tick = no_tick;
    std::function<uint64_t()> progress;  // empty: there is none between attempts
    bool registry_only = false;
  };

  // Whether an endpoint is out of the question: its twin of the other scheme is the one that
  // answers, or it has given us wrong bytes while others are left.
  bool passed_over(size_t index) const;
  bool is_registry(size_t index) const;
  bool others_after(size_t index) const;
  Result<> try_endpoints(const Attempt& attempt, const Rounds& rounds);
  Result<> try_until_hopeless(size_t index, const Attempt& attempt, const Rounds& rounds,
                              Result<> done);
  Result<FetchManifestRequest::Reply> read_manifest(RegistryEndpoint& endpoint,
                                                    const FetchManifestRequest& request) const;
  Result<http::Response> get_document(RegistryEndpoint& endpoint, http::Request request,
                                      std::string_view what) const;

  RegistryOpenRequest request_;
  RegistryPatience patience_;
  std::vector<RegistryEndpoint> endpoints_;
  std::vector<bool> wrong_bytes_;  // per endpoint
  size_t last_asked_ = 0;
  Clock::time_point documents_end_;  // of those being asked for now
};

Result<> Job::connect() {
  if (request_.endpoints.empty() || request_.endpoints.size() > endpoints_max) {
    return fail(Kind::Invalid, cat("a registry with ", request_.endpoints.size(), " endpoints"));
  }
  if (!is_repository(request_.repository)) {
    return fail(Kind::Invalid,
                cat("repository ", codec::json::in_quotes(request_.repository), ": no such name"));
  }
  if (request_.mount_from.size() > mount_from_max) request_.mount_from.resize(mount_from_max);
  for (const std::string& from : request_.mount_from) {
    if (!is_repository(from)) {
      return fail(Kind::Invalid,
                  cat("repository ", codec::json::in_quotes(from), ": no such name"));
    }
  }
  for (size_t index = 0; index < request_.endpoints.size(); ++index) {
    endpoints_.push_back(TRY(RegistryEndpoint::make(request_, index, patience_)));
  }
  wrong_bytes_.assign(endpoints_.size(), false);
  return {};
}

bool Job::is_registry(size_t index) const {
  return endpoints_[index].home().authority() == endpoints_.back().home().authority();
}

bool Job::passed_over(size_t index) const {
  if (wrong_bytes_[index]) return true;
  if (endpoints_[index].answered()) return false;
  const std::string authority = endpoints_[index].home().authority();
  return std::ranges::any_of(endpoints_, [&](const RegistryEndpoint& other) {
    return other.answered() && other.home().authority() == authority;
  });
}

bool Job::others_after(size_t index) const {
  for (size_t next = index + 1; next < endpoints_.size(); ++next) {
    if (!passed_over(next)) return true;
  }
  return false;
}

// Mirrors are asked once: whatever is wrong with one, the next may be right. The last one is asked
// again for as long as that may help, and its error is the one that counts.
Result<> Job::try_endpoints(const Attempt& attempt, const Rounds& rounds) {
  std::string before;
  using std::chrono::milliseconds;
  documents_end_ = Clock::now() + patience_.documents;
  for (size_t index = 0; index < endpoints_.size(); ++index) {
    if (passed_over(index) || (rounds.registry_only && !is_registry(index))) continue;
    // A mirror that says nothing must leave time for the registry itself.
    const auto left = std::chrono::duration_cast<milliseconds>(documents_end_ - Clock::now());
    const bool last = !others_after(index);
    const auto most =
        last ? patience_.document : std::min(patience_.mirror, left - patience_.document);
    if (!last && !rounds.progress && most <= milliseconds(0)) continue;
    last_asked_ = index;
    endpoints_[index].allow(rounds.progress && !last ? patience_.mirror : most);
    Result<> done = attempt(endpoints_[index]);
    if (done) return done;
    // Whoever asked has gone, or has no room: no other endpoint changes that.
    const Kind kind = done.error().kind();
    if (kind == Kind::Cancelled || done.error().error_number() != 0) return done;
    if (others_after(index)) {
      before = cat(" (before that: ", done.error().message(), ")");
      continue;
    }
    if (is_passing(done.error()))
      done = try_until_hopeless(index, attempt, rounds, std::move(done));
    if (!done && is_passing(done.error()) && !before.empty()) {
      return fail(Kind::Unavailable, cat(done.error().message(), before));
    }
    return done;
  }
  return fail(Kind::Unavailable, "no endpoint of the registry is left to be asked");
}

Result<> Job::try_until_hopeless(size_t index, const Attempt& attempt, const Rounds& rounds,
                                 Result<> done) {
  Backoff backoff(patience_);
  uint64_t progress = rounds.progress ? rounds.progress() : 0;
  const auto begin = std::chrono::steady_clock::now();
  while (backoff.wait(endpoints_[index].retry_after(), rounds.tick)) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(documents_end_ - Clock::now());
    if (!rounds.progress && left.count() <= 0) break;
    endpoints_[index].allow(rounds.progress ? patience_.document
                                            : std::min(patience_.document, left));
    done = attempt(endpoints_[index]);
    if (done || !is_passing(done.error())) return done;
    if (!rounds.progress && std::chrono::steady_clock::now() - begin > patience_.documents / 8)
      break;
    if (rounds.progress && rounds.progress() - progress >= progress_bytes_min) {
      progress = rounds.progress();
      backoff.reset();
    }
  }
  return done;
}

Result<http::Response> Job::get_document(RegistryEndpoint& endpoint, http::Request request,
                                         std::string_view what) const {
  request.headers.push_back({"Accept-Encoding", "identity"});
  request.total_max = patience_.document;
  http::Response response = TRY(endpoint.ask(std::move(request)).context(what));
  if (!response.ok()) return std::unexpected(registry_error(response, what));
  return response;
}

// Manifests --------------------------------------------------------------------------------------

Result<FetchManifestRequest::Reply> Job::fetch(const FetchManifestRequest& request) {
  if (!is_tag(request.reference)) {
    TRY(codec::Digest::parse(request.reference).context("neither a tag nor a digest"));
  }
  fault_point("registry.manifest");
  FetchManifestRequest::Reply reply;
  TRY(try_endpoints(
      [&](RegistryEndpoint& endpoint) -> Result<> {
        reply = TRY(read_manifest(endpoint, request));
        return {};
      },
      {}));
  return reply;
}

Result<FetchManifestRequest::Reply> Job::read_manifest(RegistryEndpoint& endpoint,
                                                       const FetchManifestRequest& request) const {
  const bool by_tag = is_tag(request.reference);
  const std::string what =
      cat("manifest for ", request_.repository, by_tag ? ":" : "@", request.reference);
  http::Request get;
  get.url = TRY(endpoint.url(cat("manifests/", request.reference)));
  get.body_bytes_max = oci::manifest_bytes_max;
  for (const std::string_view type : manifest_types) {
    get.headers.push_back({"Accept", std::string(type)});
  }
  http::Response response = TRY(get_document(endpoint, std::move(get), what));

  FetchManifestRequest::Reply reply;
  reply.bytes = std::move(response.body);
  const codec::Digest wanted =
      by_tag ? codec::Digest() : TRY(codec::Digest::parse(request.reference));
  reply.descriptor.digest =
      codec::digest_of(reply.bytes, by_tag ? codec::DigestAlgorithm::Sha256 : wanted.algorithm());
  reply.descriptor.size = reply.bytes.size();
  if (!by_tag && reply.descriptor.digest != wanted) {
    return fail(Kind::Invalid, cat(what, ": the registry's bytes have the digest ",
                                   reply.descriptor.digest.text()));
  }
  TRY(check_content_digest(response, reply.bytes).context(what));

  reply.descriptor.media_type = media_type_of(response);
  const std::string& type = reply.descriptor.media_type;
  if (oci::is_index_type(type)) {
    reply.index = TRY(oci::parse_index(reply.bytes, type).context(what));
  } else if (oci::is_manifest_type(type)) {
    reply.manifest = TRY(oci::parse_manifest(reply.bytes, type).context(what));
  } else if (type.starts_with("application/vnd.docker.distribution.manifest.v1")) {
    return fail(Kind::Unsupported, cat(what, " is of Docker's schema 1, which is out of use"));
  } else {
    return fail(Kind::Invalid, cat(what, ": the registry calls it ", codec::json::in_quotes(type),
                                   ", which is neither a manifest nor an index"));
  }
  return reply;
}

Result<FetchConfigRequest::Reply> Job::fetch(const FetchConfigRequest& request) {
  const oci::Descriptor& descriptor = request.descriptor;
  const std::string what = cat("configuration ", descriptor.digest.text());
  if (descriptor.digest.empty()) return fail(Kind::Invalid, "a configuration without a digest");
  if (descriptor.size > oci::config_bytes_max) {
    return fail(Kind::Exhausted,
                cat(what, ": ", descriptor.size, " bytes are more than ", oci::config_bytes_max));
  }
  FetchConfigRequest::Reply reply;
  const Attempt attempt = [&](RegistryEndpoint& endpoint) -> Result<> {
    http::Request get;
    get.url = TRY(endpoint.url(cat("blobs/", descriptor.digest.text())));
    get.body_bytes_max = descriptor.size;
    reply.bytes = TRY(get_document(endpoint, std::move(get), what)).body;
    if (codec::digest_of(reply.bytes, descriptor.digest.algorithm()) != descriptor.digest) {
      return fail(Kind::Invalid,
                  cat(what, ": the registry's ", reply.bytes.size(), " bytes have another digest"));
    }
    if (reply.bytes.size() != descriptor.size) {
      return fail(Kind::Invalid, cat(what, ": ", reply.bytes.size(), " bytes, where ",
                                     descriptor.size, " were said"));
    }
    reply.config = TRY(oci::parse_image_config(reply.bytes).context(what));
    return {};
  };
  TRY(try_endpoints(attempt, {}));
  return reply;
}

// Blobs ------------------------------------------------------------------------------------------

Result<FetchBlobRequest::Reply> Job::fetch(const FetchBlobRequest& request, const Fd& file,
                                           const Fd& pipe, Asker& asker) {
  if (request.digest.empty()) return fail(Kind::Invalid, "a blob without a digest");
  if (request.size > oci::layer_bytes_max) {
    return fail(Kind::Exhausted, cat("blob ", request.digest.text(), ": ", request.size,
                                     " bytes are more than ", oci::layer_bytes_max));
  }
  BlobDownload download(request, file, pipe, {patience_, asker});
  TRY(download.begin());
  const Attempt attempt = [&](RegistryEndpoint& endpoint) -> Result<> {
    return download.complete() ? Result<>() : download.attempt(endpoint);
  };
  const Rounds rounds{.tick = [&] { download.tick(); },
                      .progress = [&] { return download.progress(); }};
  // Twice: the beginning that was there may be what is wrong, or one of several endpoints.
  for (bool again = false;; again = true) {
    const uint64_t before = download.downloaded();
    if (!download.complete()) TRY(try_endpoints(attempt, rounds));
    if (TRY(download.verify())) return FetchBlobRequest::Reply{download.downloaded()};
    if (again || !download.may_restart()) {
      return fail(Kind::Invalid,
                  cat("blob ", request.digest.text(), ": the bytes have another digest"));
    }
    if (download.downloaded() != before && others_after(last_asked_)) {
      wrong_bytes_[last_asked_] = true;
    }
    download.restart();
  }
}

Result<PushBlobRequest::Reply> Job::push(const PushBlobRequest& request, const Fd& file,
                                         Asker& asker) {
  if (request.digest.empty()) return fail(Kind::Invalid, "a blob without a digest");
  PushBlobRequest::Reply reply;
  const Attempt attempt = [&](RegistryEndpoint& endpoint) -> Result<> {
    reply = TRY(push_blob(endpoint, request, file, {request_.mount_from, patience_, asker}));
    return {};
  };
  TRY(try_endpoints(attempt, {.tick = [&] { asker.progress(0); },
                              .progress = [] { return 0ull; },
                              .registry_only = true}));
  return reply;
}

Result<PushManifestRequest::Reply> Job::push(const PushManifestRequest& request) {
  PushManifestRequest::Reply reply;
  const Attempt attempt = [&](RegistryEndpoint& endpoint) -> Result<> {
    reply = TRY(push_manifest(endpoint, request, patience_));
    return {};
  };
  TRY(try_endpoints(attempt, {.registry_only = true}));
  return reply;
}

Result<CheckLoginRequest::Reply> Job::check_login() {
  const Attempt attempt = [&](RegistryEndpoint& endpoint) -> Result<> {
    http::Request get;
    get.url = TRY(endpoint.base_url());
    get.body_bytes_max = oci::manifest_bytes_max;
    TRY(get_document(endpoint, std::move(get), "logging in"));
    return {};
  };
  TRY(try_endpoints(attempt, {.registry_only = true}));
  return CheckLoginRequest::Reply{};
}

}  // namespace

Result<std::unique_ptr<RegistryJob>> open_registry(RegistryOpenRequest request,
                                                   RegistryPatience patience) {
  // A connection or pipe whose other end is gone is an error to report, not our end.
  ::signal(SIGPIPE, SIG_IGN);
  auto job = std::make_unique<Job>(std::move(request), patience);
  TRY(job->connect());
  return job;
}

Result<std::unique_ptr<RegistryJob>> RegistryJob::open(RegistryOpenRequest request) {
  return open_registry(std::move(request), RegistryPatience());
}

}  // namespace nacelle::image
