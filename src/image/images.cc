// What is there: found, described, named, mounted, removed.
#include "image/images.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "image/erofs.h"
#include "image/gc.h"
#include "image/images_state.h"
#include "image/mounts.h"
#include "image/overlay.h"
#include "sys/file.h"

namespace nacelle::image {

namespace {

// A document as something a worker can read from its beginning.
Result<Fd> as_file(const std::string& bytes) {
  Fd file = TRY(sys::make_sealed_memory_file("document", bytes, false));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return fail_errno(errno, "lseek");
  return file;
}

}  // namespace

Images::Images(std::unique_ptr<State> state) : state_(std::move(state)) {}
Images::~Images() = default;

Result<std::unique_ptr<Images>> Images::open(ring::Loop& loop, ImagesOptions options) {
  Store store = TRY(Store::open(options.data_root));
  auto state = std::make_unique<State>(loop, std::move(options), std::move(store));
  return std::unique_ptr<Images>(new Images(std::move(state)));
}

Store& Images::store() { return state_->store; }

std::vector<Digest> all_digests(const ImageRecord& record) {
  std::vector<Digest> digests{record.descriptor.digest, record.manifest.config.digest};
  for (const oci::Descriptor& layer : record.manifest.layers) digests.push_back(layer.digest);
  for (Digest& chain : oci::chain_ids(record.config.diff_ids)) digests.push_back(std::move(chain));
  return digests;
}

ring::Task<ImageRecord> Images::State::describe(oci::Descriptor manifest) {
  if (std::optional<ImageRecord> known = store.find_record(manifest.digest)) {
    co_return *std::move(known);
  }
  const Fd document = co_await store.open_blob(manifest.digest);
  Worker worker = co_await Worker::start(loop, {.kind = WorkerKind::Bytes});
  ImageRecord record = co_await parse_manifest(worker, std::move(manifest), document);
  const Fd config = co_await store.open_blob(record.manifest.config.digest);
  co_await parse_config(worker, record, config);
  // A cache: on a full or read-only disk the document is read again the next time.
  (void)store.put_record(record);
  co_return record;
}

ring::Task<ImageRecord> Images::State::read_documents(oci::Descriptor manifest,
                                                      const std::string& manifest_bytes,
                                                      const std::string& config_bytes) {
  if (std::optional<ImageRecord> known = store.find_record(manifest.digest)) {
    co_return *std::move(known);
  }
  const Fd document = co_await as_file(manifest_bytes);
  const Fd config = co_await as_file(config_bytes);
  Worker worker = co_await Worker::start(loop, {.kind = WorkerKind::Bytes});
  ImageRecord record = co_await parse_manifest(worker, std::move(manifest), document);
  co_await parse_config(worker, record, config);
  co_return record;
}

ring::Task<ImageRecord> Images::State::parse_manifest(Worker& worker, oci::Descriptor manifest,
                                                      const Fd& document) {
  ParseRequest::Reply read = co_await worker.call(
      ParseRequest{
          .is_config = false, .media_type = manifest.media_type, .digest = manifest.digest},
      {&document});
  if (!read.manifest) {
    co_await fail(Kind::Invalid, cat(manifest.digest.text(), ": is an index, not an image"));
  }
  ImageRecord record;
  record.descriptor = std::move(manifest);
  record.manifest = *std::move(read.manifest);
  co_return record;
}

ring::Task<> Images::State::parse_config(Worker& worker, ImageRecord& record, const Fd& document) {
  const oci::Descriptor& config = record.manifest.config;
  ParseRequest::Reply read = co_await worker.call(
      ParseRequest{.is_config = true, .media_type = config.media_type, .digest = config.digest},
      {&document});
  if (!read.config) {
    co_await fail(Kind::Internal, "nacelle-worker answered without a configuration");
  }
  record.config = *std::move(read.config);
  co_await oci::check_config_fits(record.manifest, record.config);
}

ring::Task<Details> Images::State::find(std::string name) {
  Image image = co_await store.find(name);
  ImageRecord record = co_await describe(image.manifest);
  co_return Details{std::move(image), std::move(record)};
}

ring::Task<> Images::State::unpack(const ImageRecord& record, Observer& observer) {
  StackBuilder builder(loop, store, layers, record, observer);
  if (builder.complete()) co_return;
  co_await builder.build(StackBuilder::lanes_without_source());
}

ring::Task<Image> Images::State::publish(ImageRecord record, std::string manifest_bytes,
                                         std::string config_bytes, std::string name,
                                         std::string repo_digest) {
  const Digest digest = record.descriptor.digest;
  co_await store.put_blob(loop, std::move(config_bytes), record.manifest.config.digest);
  fault_point("publish.config");
  co_await store.put_blob(loop, std::move(manifest_bytes), digest);
  fault_point("publish.manifest");
  (void)store.put_record(record);  // a cache
  fault_point("publish.record");
  co_await store.tag(loop, {record.descriptor, std::move(name), std::move(repo_digest)});
  fault_point("publish.tag");
  co_return co_await store.find(digest);
}

ImageRecord Images::draft(std::vector<oci::Descriptor> layers, oci::ImageConfig config) {
  const std::string config_bytes = oci::write_image_config(config);
  oci::Manifest manifest{.media_type = std::string(oci::media::oci_manifest),
                         .config = {.media_type = std::string(oci::media::oci_config),
                                    .digest = codec::digest_of(config_bytes),
                                    .size = config_bytes.size()},
                         .layers = std::move(layers)};
  const std::string manifest_bytes = oci::write_manifest(manifest);
  return {.descriptor = {.media_type = manifest.media_type,
                         .digest = codec::digest_of(manifest_bytes),
                         .size = manifest_bytes.size()},
          .manifest = std::move(manifest),
          .config = std::move(config)};
}

ring::Task<Image> Images::State::make_image(std::vector<oci::Descriptor> layers_below,
                                            oci::ImageConfig config, std::string name) {
  ImageRecord record = draft(std::move(layers_below), std::move(config));
  Lease lease = co_await Lease::take(loop, store);
  co_await lease.protect(loop, all_digests(record));
  NobodyWatches nobody;
  co_await unpack(record, nobody);
  std::string manifest_bytes = oci::write_manifest(record.manifest);
  std::string config_bytes = oci::write_image_config(record.config);
  co_return co_await publish(std::move(record), std::move(manifest_bytes), std::move(config_bytes),
                             std::move(name), {});
}

ring::Task<> Images::unpack(ImageRecord record) {
  NobodyWatches nobody;
  co_await state_->unpack(record, nobody);
}

ring::Task<Image> Images::publish(ImageRecord record, std::optional<oci::Reference> name) {
  co_return co_await state_->make_image(std::move(record.manifest.layers), std::move(record.config),
                                        name ? name->text() : std::string());
}

ring::Task<std::vector<Details>> Images::list() {
  std::vector<Details> all;
  for (Image& image : co_await state_->store.images()) {
    // One image that cannot be read does not hide the others.
    Result<ImageRecord> record = co_await ring::as_result(state_->describe(image.manifest));
    ImageRecord shown;
    shown.descriptor = image.manifest;
    if (record) shown = *std::move(record);
    all.push_back({std::move(image), std::move(shown)});
  }
  co_return all;
}

ring::Task<Details> Images::inspect(std::string name) { return state_->find(std::move(name)); }

ring::Task<Details> Images::inspect(Digest manifest) {
  Image image = co_await state_->store.find(manifest);
  ImageRecord record = co_await state_->describe(image.manifest);
  co_return Details{std::move(image), std::move(record)};
}

std::vector<uint64_t> Images::layer_sizes(const Details& details) const {
  std::vector<uint64_t> sizes;
  for (const Digest& chain : oci::chain_ids(details.record.config.diff_ids)) {
    const std::optional<LayerRecord> layer = state_->layers.find_record(chain);
    sizes.push_back(layer ? layer->tree_bytes : 0);
  }
  return sizes;
}

uint64_t Images::size(const Details& details) const {
  uint64_t bytes = 0;
  for (const uint64_t layer : layer_sizes(details)) bytes += layer;
  return bytes;
}

ring::Task<> Images::tag(std::string name, oci::Reference as) {
  if (!as.digest.empty()) {
    co_await fail(Kind::Invalid, "refusing to create a tag with a digest reference");
  }
  const Image image = co_await state_->store.find(name);
  co_await state_->store.tag(state_->loop,
                             {.manifest = image.manifest, .name = as.text(), .must_exist = true});
}

ring::Task<Described> Images::State::look_into(oci::Descriptor manifest) {
  const Fd document = co_await store.open_blob(manifest.digest);
  Worker worker = co_await Worker::start(loop, {.kind = WorkerKind::Bytes});
  ParseRequest::Reply read = co_await worker.call(
      ParseRequest{
          .is_config = false, .media_type = manifest.media_type, .digest = manifest.digest},
      {&document});
  Described described;
  if (read.index) {
    described.manifests = std::move(read.index->manifests);
    co_return described;
  }
  if (!read.manifest) {
    co_await fail(Kind::Internal, "nacelle-worker answered with neither an index nor a manifest");
  }
  // Not by way of describe(), which would start another worker and read the manifest again.
  ImageRecord& record = described.image.emplace();
  record.descriptor = std::move(manifest);
  record.manifest = *std::move(read.manifest);
  const Fd config = co_await store.open_blob(record.manifest.config.digest);
  co_await parse_config(worker, record, config);
  (void)store.put_record(record);  // a cache
  co_return described;
}

ring::Task<Removed> Images::State::collect_garbage() {
  CollectOptions how;
  how.describe = [this](oci::Descriptor manifest) { return look_into(std::move(manifest)); };
  Collected collected = co_await collect(loop, store, std::move(how));
  Removed removed;
  removed.deleted = std::move(collected.layer_chains);
  removed.bytes = collected.blob_bytes + collected.layer_bytes + collected.ingest_bytes;
  removed.kept_all_because = std::move(collected.kept_all_because);
  co_return removed;
}

namespace {

std::vector<std::string> familiar(const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  for (const std::string& each : names) {
    shown.push_back(oci::familiar_name(each));
  }
  return shown;
}

}  // namespace

ring::Task<Removed> Images::remove(std::string name, bool force) {
  State& state = *state_;
  // Not described first: what nobody can read must be removable all the same.
  const Image image = co_await state.store.find(name);
  const std::optional<ImageRecord> record = state.store.find_record(image.manifest.digest);
  const Digest& id = record ? record->id() : image.manifest.digest;
  const bool is_digest = codec::Digest::parse(name).has_value();
  const Result<oci::Reference> typed = oci::parse_reference(name);
  Removed removed;
  // A name that was typed takes that name away; an id takes the image away.
  const bool by_name =
      !is_digest && typed && typed->digest.empty() && contains(image.names, typed->text());
  const std::string repo_digest =
      !is_digest && typed && !typed->digest.empty() ? cat(typed->name(), '@', typed->digest) : "";
  const bool by_digest = !repo_digest.empty() && contains(image.repo_digests, repo_digest);
  if (by_digest && !image.names.empty()) {
    co_await state.store.forget_digest(state.loop, repo_digest);
    removed.untagged = {typed->familiar()};
    co_return removed;
  }
  if (by_name && image.names.size() > 1) {
    co_await state.store.untag(state.loop, typed->text());
    removed.untagged = {typed->familiar()};
    co_return removed;
  }
  if (!by_name && image.names.size() > 1 && !force) {
    co_await fail(Kind::Conflict, cat("unable to delete ", id.hex().substr(0, 12),
                                      " (must be forced): image is referenced by several names"));
  }
  if (!force && contains(co_await manifests_in_use(state.store), image.manifest.digest)) {
    co_await fail(Kind::Conflict, cat("unable to delete ", id.hex().substr(0, 12),
                                      " (must be forced): the image is mounted"));
  }
  if (by_name) {
    co_await state.store.untag(state.loop, typed->text());
  } else {
    co_await state.store.remove(state.loop, image.manifest.digest, image.names);
  }
  fault_point("remove.index");
  Removed garbage = co_await state.collect_garbage();
  removed = std::move(garbage);
  removed.untagged = familiar(image.names);
  removed.deleted.insert(removed.deleted.begin(), id);
  co_return removed;
}

ring::Task<Removed> Images::collect_garbage() { return state_->collect_garbage(); }
ring::Task<> Images::collect_half_done() {
  return image::collect_half_done(state_->loop, state_->store);
}

ring::Task<Removed> Images::prune(bool all) {
  State& state = *state_;
  // On a full disk what is garbage already makes the room for writing down what else is.
  Removed removed = co_await state.collect_garbage();
  const std::vector<Digest> in_use = co_await manifests_in_use(state.store);
  bool again = false;
  for (const Image& each : co_await state.store.images()) {
    if ((!each.names.empty() && !all) || contains(in_use, each.manifest.digest)) continue;
    const std::optional<ImageRecord> record = state.store.find_record(each.manifest.digest);
    const Result<> gone =
        co_await ring::as_result(state.store.remove(state.loop, each.manifest.digest, each.names));
    // Somebody else removed it, or gave it a name that is to stay.
    const bool overtaken =
        !gone && (gone.error().kind() == Kind::NotFound || gone.error().kind() == Kind::Conflict);
    if (overtaken) continue;
    co_await gone;
    again = true;
    for (std::string& name : familiar(each.names)) removed.untagged.push_back(std::move(name));
    removed.deleted.push_back(record ? record->id() : each.manifest.digest);
  }
  if (!again) co_return removed;
  Removed garbage = co_await state.collect_garbage();
  removed.deleted.insert(removed.deleted.end(), garbage.deleted.begin(), garbage.deleted.end());
  removed.bytes += garbage.bytes;
  removed.kept_all_because = std::move(garbage.kept_all_because);
  co_return removed;
}

ring::Task<std::vector<Fd>> Images::State::open_layers(const ImageRecord& record) {
  const std::vector<Digest> chains = oci::chain_ids(record.config.diff_ids);
  if (options.layer_form == LayerForm::Directories) co_return layers.open_all(chains);
  std::vector<Fd> mounts;
  for (const Digest& chain : chains) {
    co_await make_erofs(loop, store, chain);
    mounts.push_back(co_await mount_erofs(store, chain));
  }
  co_return mounts;
}

ring::Task<Fd> Images::mount(Digest manifest, MountOptions options) {
  Details details = co_await inspect(std::move(manifest));
  co_return co_await mount(std::move(details.record), options);
}

ring::Task<Fd> Images::mount(ImageRecord record, MountOptions options) {
  State& state = *state_;
  Lease lease = co_await Lease::take(state.loop, state.store);
  co_await lease.protect(state.loop, all_digests(record));
  NobodyWatches nobody;
  co_await state.unpack(record, nobody);
  const std::vector<Fd> trees = co_await state.open_layers(record);
  OverlayOptions overlay;
  for (const Fd& tree : trees) overlay.lower.push_back(&tree);
  overlay.upper = options.upper;
  overlay.work = options.work;
  overlay.is_volatile = options.is_volatile;
  co_return co_await mount_overlay(overlay);
}

}  // namespace nacelle::image
