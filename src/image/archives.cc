// save and load: images as tar archives, in the form that Docker (since 25), skopeo, podman and
// containerd all read: an OCI layout with Docker's manifest.json beside it.
#include <algorithm>
#include <map>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "image/images_state.h"
#include "sys/file.h"

namespace nacelle::image {

namespace {

// A pipe that nobody feeds, or reads, is the caller's matter: a person may be typing at its other
// end.
constexpr std::chrono::hours archive_silence_max{24};

// The documents that stand around the blobs of an archive.
class ArchiveDocuments {
 public:
  // `names` are those the image was asked for by; none for an id.
  void add(const ImageRecord& record, const std::vector<oci::Reference>& names) {
    add_to_index(record, names);
    docker_.begin_object().member("Config", oci::blob_path(record.manifest.config.digest));
    docker_.key("RepoTags");
    if (names.empty()) {
      docker_.null();
    } else {
      docker_.begin_array();
      for (const oci::Reference& name : names) docker_.value(name.familiar());
      docker_.end_array();
    }
    docker_.key("Layers").begin_array();
    for (const oci::Descriptor& layer : record.manifest.layers) {
      docker_.value(oci::blob_path(layer.digest));
    }
    docker_.end_array().end_object();
    add_blob(record.descriptor.digest);
    add_blob(record.manifest.config.digest);
    for (const oci::Descriptor& layer : record.manifest.layers) add_blob(layer.digest);
  }

  // A document that is not in the store.
  void add_text(const Digest& digest, std::string text) { texts_[digest] = std::move(text); }

  ArchiveRequest take(Images::ArchiveForm form) && {
    ArchiveRequest request;
    request.entries.push_back({.name = "oci-layout", .text = R"({"imageLayoutVersion":"1.0.0"})"});
    request.entries.push_back({.name = "index.json", .text = oci::write_index(index_)});
    if (form == Images::ArchiveForm::Docker) {
      request.entries.push_back(
          {.name = "manifest.json", .text = std::move(docker_.end_array()).take()});
    }
    request.entries.push_back({.name = "blobs/"});
    request.entries.push_back({.name = "blobs/sha256/"});
    for (Digest& blob : blobs_) {
      std::string path = oci::blob_path(blob);
      if (const auto text = texts_.find(blob); text != texts_.end()) {
        request.entries.push_back({.name = std::move(path), .text = std::move(text->second)});
      } else {
        request.entries.push_back({.name = std::move(path), .blob = std::move(blob)});
      }
    }
    return request;
  }

 private:
  void add_to_index(const ImageRecord& record, const std::vector<oci::Reference>& names) {
    oci::Descriptor entry = record.descriptor;
    entry.platform = record.config.platform;
    entry.annotations.clear();
    if (names.empty()) index_.manifests.push_back(entry);
    for (const oci::Reference& name : names) {
      entry.annotations = {{"io.containerd.image.name", name.text()},
                           {"org.opencontainers.image.ref.name", name.tag}};
      index_.manifests.push_back(entry);
    }
  }
  void add_blob(const Digest& digest) {
    if (!contains(blobs_, digest)) blobs_.push_back(digest);
  }

  oci::Index index_{.media_type = std::string(oci::media::oci_index)};
  codec::json::Writer docker_ = [] {
    codec::json::Writer writer;
    writer.begin_array();
    return writer;
  }();
  std::vector<Digest> blobs_;
  std::map<Digest, std::string> texts_;
};

ring::Task<> write_archive(Images::State& state, ArchiveRequest request, const Fd& output) {
  Worker worker = co_await Worker::start(state.loop, {.kind = WorkerKind::Bytes,
                                                      .root = &state.store.content_directory(),
                                                      .read_only_root = true,
                                                      .silence_max = archive_silence_max});
  co_await worker.call(std::move(request), {&output});
}

// What one image was asked for by: names with a tag are saved with it, ids without.
struct Chosen {
  ImageRecord record;
  std::vector<oci::Reference> names;
};

}  // namespace

ring::Task<> Images::save(std::vector<std::string> names, const Fd& output) {
  State& state = *state_;
  Lease lease = co_await Lease::take(state.loop, state.store);
  std::map<Digest, Chosen> chosen;
  for (const std::string& name : names) {
    Details details = co_await state.find(name);
    Chosen& one = chosen[details.image.manifest.digest];
    one.record = std::move(details.record);
    const Result<oci::Reference> typed = oci::parse_reference(name);
    if (typed && typed->digest.empty() && contains(details.image.names, typed->text()) &&
        !contains(one.names, *typed)) {
      one.names.push_back(*typed);
    }
  }
  ArchiveDocuments documents;
  for (const auto& [digest, one] : chosen) {
    co_await lease.protect(state.loop, all_digests(one.record));
    documents.add(one.record, one.names);
  }
  co_await write_archive(state, std::move(documents).take(ArchiveForm::Docker), output);
}

ring::Task<> Images::save(ImageRecord record, std::vector<oci::Reference> names, ArchiveForm form,
                          const Fd& output) {
  State& state = *state_;
  ArchiveDocuments documents;
  documents.add(record, names);
  // Those of a build that nobody has published are nowhere yet.
  if (!state.store.has_blob(record.descriptor.digest, record.descriptor.size)) {
    documents.add_text(record.descriptor.digest, oci::write_manifest(record.manifest));
  }
  const oci::Descriptor& config = record.manifest.config;
  if (!state.store.has_blob(config.digest, config.size)) {
    documents.add_text(config.digest, oci::write_image_config(record.config));
  }
  co_await write_archive(state, std::move(documents).take(form), output);
}

ring::Task<std::vector<Image>> Images::load(const Fd& input, Observer& observer) {
  State& state = *state_;
  const Workspace workspace = co_await state.store.make_workspace();
  Worker worker = co_await Worker::start(state.loop, {.kind = WorkerKind::Bytes,
                                                      .root = &workspace.directory(),
                                                      .silence_max = archive_silence_max});
  const LoadRequest::Reply loaded = co_await worker.call(LoadRequest{}, {&input});
  co_await worker.stop();
  fault_point("load.read");

  Lease lease = co_await Lease::take(state.loop, state.store);
  std::vector<Digest> blobs;
  for (const LoadRequest::Blob& blob : loaded.blobs) blobs.push_back(blob.digest);
  co_await lease.protect(state.loop, std::move(blobs));
  for (const LoadRequest::Blob& blob : loaded.blobs) {
    if (state.store.has_blob(blob.digest, blob.size)) continue;
    co_await state.store.adopt_blob(state.loop, workspace, std::string(blob.digest.hex()),
                                    blob.digest, blob.size);
    fault_point("load.blob.adopted");
  }
  std::vector<Image> images;
  for (const LoadRequest::Image& image : loaded.images) {
    const ImageRecord record = co_await state.describe(image.manifest);
    co_await lease.protect(state.loop, all_digests(record));
    co_await state.unpack(record, observer);
    fault_point("load.unpacked");
    if (image.names.empty()) {
      co_await state.store.tag(state.loop, {image.manifest, {}, {}});
      observer.say(cat("Loaded image ID: ", record.id().text()));
    }
    for (const std::string& name : image.names) {
      const oci::Reference reference = co_await oci::parse_reference(name);
      co_await state.store.tag(state.loop, {image.manifest, reference.text(), {}});
      observer.say(cat("Loaded image: ", reference.familiar()));
      fault_point("load.tagged");
    }
    images.push_back(co_await state.store.find(image.manifest.digest));
  }
  co_return images;
}

}  // namespace nacelle::image
