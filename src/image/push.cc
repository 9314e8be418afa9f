// From the store to a registry.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "image/images_state.h"
#include "image/registry_config.h"
#include "sys/file.h"

namespace nacelle::image {

namespace {

// The blobs of one image on their way up, several side by side.
class Upload {
 public:
  Upload(Images::State& state, const RegistryOpenRequest& open, const ImageRecord& record,
         Observer& observer)
      : state_(state), open_(open), observer_(observer) {
    // One that stands twice in the manifest goes up once.
    for (const oci::Descriptor& layer : record.manifest.layers) {
      if (!contains(blobs_, layer.digest, &oci::Descriptor::digest)) {
        blobs_.push_back(layer);
      }
    }
  }

  ring::Task<> run() {
    for (const oci::Descriptor& blob : blobs_) show(blob, Progress::Step::Preparing, 0);
    std::vector<ring::Task<>> lanes;
    const size_t count = std::min(state_.options.transfers_max, blobs_.size());
    for (size_t each = 0; each < count; ++each) lanes.push_back(lane());
    co_await all_of(state_.loop, std::move(lanes));
  }

 private:
  ring::Task<> lane() {
    std::optional<Worker> worker;
    while (next_ < blobs_.size()) {
      const oci::Descriptor& blob = blobs_[next_++];
      if (!worker) {
        worker = co_await Worker::start(state_.loop, {.kind = WorkerKind::Registry});
        co_await worker->call(open_);
      }
      const Fd file = co_await state_.store.open_blob(blob.digest);
      const PushBlobRequest::Reply reply = co_await worker->call(
          PushBlobRequest{.digest = blob.digest, .size = blob.size}, {&file},
          [this, &blob](uint64_t done) { show(blob, Progress::Step::Pushing, done); });
      using How = PushBlobRequest::Reply::How;
      show(blob,
           reply.how == How::Existed   ? Progress::Step::PushExists
           : reply.how == How::Mounted ? Progress::Step::Mounted
                                       : Progress::Step::Pushed,
           blob.size);
      fault_point("push.blob");
    }
  }

  void show(const oci::Descriptor& blob, Progress::Step step, uint64_t done) {
    observer_.layer({std::string(blob.digest.hex().substr(0, 12)), step, done, blob.size});
  }

  Images::State& state_;
  const RegistryOpenRequest& open_;
  Observer& observer_;
  std::vector<oci::Descriptor> blobs_;
  size_t next_ = 0;
};

// Repositories of the same registry that may have the image's blobs: those it came from.
std::vector<std::string> sources_at(const oci::Reference& target, const Image& image) {
  std::vector<std::string> repositories;
  const auto add = [&](const std::string& text) {
    const Result<oci::Reference> other = oci::parse_reference(text);
    if (other && other->registry == target.registry && other->repository != target.repository &&
        !contains(repositories, other->repository)) {
      repositories.push_back(other->repository);
    }
  };
  for (const std::string& each : image.repo_digests) add(each);
  for (const std::string& each : image.names) add(each);
  return repositories;
}

}  // namespace

ring::Task<oci::Descriptor> Images::push(oci::Reference name, Observer& observer, Login login) {
  State& state = *state_;
  Result<Details> found = co_await ring::as_result(state.find(name.text()));
  if (!found) {
    if (found.error().kind() != Kind::NotFound) co_await std::move(found);
    co_await fail(Kind::NotFound,
                  cat("An image does not exist locally with the tag: ", name.familiar_name()));
  }
  const ImageRecord& record = found->record;
  Lease lease = co_await Lease::take(state.loop, state.store);
  co_await lease.protect(state.loop, all_digests(record));
  for (const oci::Descriptor& layer : record.manifest.layers) {
    if (state.store.has_blob(layer)) continue;
    co_await fail(Kind::NotFound,
                  cat("layer ", layer.digest.text(), " is not in the store: pull the image again"));
  }
  RegistryOpenRequest open = co_await registry_open_request(
      name, RegistryUse::Push, state.options.registries, login ? &*login : nullptr);
  open.mount_from = sources_at(name, found->image);
  Upload upload(state, open, record, observer);
  co_await upload.run();
  fault_point("push.blobs");

  // The configuration and the manifest follow what they speak of.
  Worker worker = co_await Worker::start(state.loop, {.kind = WorkerKind::Registry});
  co_await worker.call(open);
  const Fd config = co_await state.store.open_blob(record.manifest.config.digest);
  co_await worker.call(
      PushBlobRequest{.digest = record.manifest.config.digest, .size = record.manifest.config.size},
      {&config});
  fault_point("push.config");
  const Fd document = co_await state.store.open_blob(record.descriptor.digest);
  PushManifestRequest request{
      .reference = name.tag,
      .media_type = record.descriptor.media_type,
      .bytes = co_await sys::read_all(document, oci::manifest_bytes_max, "the manifest")};
  const PushManifestRequest::Reply reply = co_await worker.call(std::move(request));
  if (reply.digest != record.descriptor.digest) {
    co_await fail(Kind::Internal, cat("the registry made ", reply.digest.text(), " of manifest ",
                                      record.descriptor.digest.text()));
  }
  fault_point("push.manifest");
  // No name: the one it was pushed by may mean something newer by now.
  const Result<> noted = co_await ring::as_result(state.store.tag(
      state.loop, {.manifest = record.descriptor,
                   .repo_digest = cat(name.name(), '@', record.descriptor.digest.text()),
                   .must_exist = true}));
  if (!noted && noted.error().kind() != Kind::NotFound) co_await noted;
  co_return record.descriptor;
}

}  // namespace nacelle::image
