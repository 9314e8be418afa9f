// From a registry to unpacked layers.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "image/images_state.h"
#include "image/registry_config.h"

namespace nacelle::image {

namespace {

// One connection to the registry: a worker of its own, started when there is something to fetch.
class RegistryLane final : public BlobSource {
 public:
  RegistryLane(ring::Loop& loop, const RegistryOpenRequest& open) : loop_(loop), open_(open) {}

  ring::Task<> connect() {
    if (worker_) co_return;
    worker_ = co_await Worker::start(loop_, {.kind = WorkerKind::Registry});
    co_await worker_->call(open_);
  }

  template <class Request>
  ring::Task<typename Request::Reply> call(Request request) {
    co_await connect();
    co_return co_await worker_->call(std::move(request));
  }

  ring::Task<> fetch(oci::Descriptor blob, const Fd& file, const Fd* pipe,
                     ProgressHandler on_progress) override {
    co_await connect();
    std::vector<const Fd*> descriptors{&file};
    if (pipe != nullptr) descriptors.push_back(pipe);
    // Out of the member: a call that fails, or is cancelled, takes its worker with it, and whoever
    // tries again connects anew.
    Worker worker = *std::exchange(worker_, std::nullopt);
    co_await worker.call(FetchBlobRequest{.digest = blob.digest, .size = blob.size},
                         std::move(descriptors), std::move(on_progress));
    worker_ = std::move(worker);
  }

 private:
  ring::Loop& loop_;
  const RegistryOpenRequest& open_;
  std::optional<Worker> worker_;
};

// What a name stands for at the registry, down to the configuration.
struct Resolved {
  oci::Descriptor named;  // an index, or the manifest itself
  std::string manifest_bytes;
  std::string config_bytes;
  ImageRecord record;
};

// The worker has read what a stranger sent. That the bytes are those that were asked for is found
// here; `wanted` is empty for a tag.
Result<> check_bytes(const FetchManifestRequest::Reply& found, const Digest& wanted) {
  const Digest& said = found.descriptor.digest;
  if (!wanted.empty() && said != wanted) {
    return fail(Kind::Invalid, cat("asked for ", wanted.text(), " and given ", said.text()));
  }
  if (said.empty() || codec::digest_of(found.bytes, said.algorithm()) != said ||
      found.descriptor.size != found.bytes.size()) {
    return fail(Kind::Invalid, cat("the manifest's bytes are not those of ", said.text()));
  }
  return {};
}

ring::Task<Resolved> resolve(RegistryLane& registry, const oci::Reference& name,
                             const oci::Platform& platform) {
  const Digest pinned = name.digest.empty() ? Digest() : co_await codec::Digest::parse(name.digest);
  FetchManifestRequest::Reply found = co_await registry.call(
      FetchManifestRequest{.reference = pinned.empty() ? name.tag : pinned.text()});
  co_await check_bytes(found, pinned);
  Resolved resolved;
  resolved.named = found.descriptor;
  if (found.index) {
    const oci::Descriptor chosen =
        co_await oci::choose_platform(*found.index, platform).context([&] {
          return name.familiar();
        });
    found = co_await registry.call(FetchManifestRequest{.reference = chosen.digest.text()});
    co_await check_bytes(found, chosen.digest);
  }
  if (!found.manifest) {
    co_await fail(Kind::Invalid,
                  cat(name.familiar(), ": an index within an index is not supported"));
  }
  resolved.manifest_bytes = std::move(found.bytes);
  resolved.record.descriptor = std::move(found.descriptor);
  FetchConfigRequest::Reply config =
      co_await registry.call(FetchConfigRequest{.descriptor = found.manifest->config});
  resolved.config_bytes = std::move(config.bytes);
  co_return resolved;
}

}  // namespace

ring::Task<PullOutcome> Images::pull(oci::Reference name, oci::Platform platform,
                                     Observer& observer, Login login) {
  State& state = *state_;
  const RegistryOpenRequest open = co_await registry_open_request(
      name, RegistryUse::Pull, state.options.registries, login ? &*login : nullptr);
  std::vector<std::unique_ptr<RegistryLane>> lanes;
  for (size_t each = 0; each < state.options.transfers_max; ++each) {
    lanes.push_back(std::make_unique<RegistryLane>(state.loop, open));
  }
  Resolved resolved = co_await resolve(*lanes.front(), name, platform);
  fault_point("pull.resolved");

  Lease lease = co_await Lease::take(state.loop, state.store);
  // What the documents say is read by a worker that has never spoken with the registry: the record
  // it makes is believed for as long as the image is here.
  resolved.record = co_await state.read_documents(std::move(resolved.record.descriptor),
                                                  resolved.manifest_bytes, resolved.config_bytes);
  const ImageRecord& record = resolved.record;
  co_await lease.protect(state.loop, all_digests(record));
  fault_point("pull.leased");
  StackBuilder builder(state.loop, state.store, state.layers, record, observer);
  const bool all_there =
      builder.complete() && std::ranges::all_of(record.manifest.layers, [&](const auto& layer) {
        return state.store.has_blob(layer);
      });
  // What the name meant here before decides what is said in the end.
  bool was_there = false;
  if (all_there) {
    const Result<Image> before = state.store.find(name.text());
    was_there = before && before->manifest.digest == record.descriptor.digest;
  } else {
    std::vector<BlobSource*> sources;
    for (const auto& lane : lanes) sources.push_back(lane.get());
    co_await builder.build(std::move(sources));
  }
  fault_point("pull.unpacked");

  PullOutcome outcome;
  outcome.digest = resolved.named.digest;
  outcome.was_there = was_there;
  const std::string repo_digest = cat(name.name(), '@', resolved.named.digest.text());
  // An image that is pulled by its digest has that for a name and no other.
  std::string tagged = name.digest.empty() ? name.text() : std::string();
  outcome.image =
      co_await state.publish(std::move(resolved.record), std::move(resolved.manifest_bytes),
                             std::move(resolved.config_bytes), std::move(tagged), repo_digest);
  co_return outcome;
}

ring::Task<RemoteImage> Images::look_up(oci::Reference name, Login login) {
  const RegistryOpenRequest open = co_await registry_open_request(
      name, RegistryUse::Pull, state_->options.registries, login ? &*login : nullptr);
  const Digest pinned = name.digest.empty() ? Digest() : co_await codec::Digest::parse(name.digest);
  RegistryLane registry(state_->loop, open);
  FetchManifestRequest::Reply found = co_await registry.call(
      FetchManifestRequest{.reference = pinned.empty() ? name.tag : pinned.text()});
  co_await check_bytes(found, pinned);
  RemoteImage remote;
  remote.descriptor = std::move(found.descriptor);
  if (found.index) {
    for (oci::Descriptor& each : found.index->manifests) {
      if (each.platform) remote.platforms.push_back(*std::move(each.platform));
    }
  } else if (found.manifest) {
    FetchConfigRequest::Reply config =
        co_await registry.call(FetchConfigRequest{.descriptor = found.manifest->config});
    remote.platforms.push_back(std::move(config.config.platform));
  }
  co_return remote;
}

ring::Task<> Images::check_login(std::string registry, Credentials credentials) {
  oci::Reference place;
  place.registry = std::move(registry);
  // A worker is one repository's client. Nothing of this one is asked for.
  place.repository = "library/login";
  const RegistryOpenRequest open = co_await registry_open_request(
      place, RegistryUse::Push, state_->options.registries, &credentials);
  RegistryLane lane(state_->loop, open);
  co_await lane.call(CheckLoginRequest{});
}

}  // namespace nacelle::image
