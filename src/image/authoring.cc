// Images of one's own making: import, commit, and export, which takes one apart.
#include <fcntl.h>
#include <time.h>

#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "image/config_changes.h"
#include "image/images_state.h"
#include "sys/file.h"

namespace nacelle::image {

namespace {

constexpr std::chrono::hours archive_silence_max{24};
constexpr const char* layer_file = "layer";

// Now, as RFC 3339 has it.
std::string now_text() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  char text[40];
  const size_t length = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  const std::string nanoseconds = cat(1'000'000'000 + now.tv_nsec);
  return cat(std::string_view(text, length), '.', std::string_view(nanoseconds).substr(1), 'Z');
}

std::string media_type_of(codec::Compression compression) {
  switch (compression) {
    case codec::Compression::None: return std::string(oci::media::oci_layer);
    case codec::Compression::Gzip: return std::string(oci::media::oci_layer_gzip);
    case codec::Compression::Zstd: return std::string(oci::media::oci_layer_zstd);
    case codec::Compression::Bzip2:
    case codec::Compression::Xz: break;  // no layer is made so
  }
  return {};
}

struct PackedLayer {
  Images::NewLayer made;
  uint64_t entries = 0;
};

ring::Task<PackedLayer> pack_diff(Images::State& state, const Fd& upper, Lease& lease,
                                  std::optional<int64_t> times_at_most) {
  const Workspace workspace = co_await state.store.make_workspace();
  const Fd output =
      co_await sys::open_at(workspace.directory().get(), layer_file, O_RDWR | O_CREAT, 0600);
  Worker worker = co_await Worker::start(
      state.loop, {.kind = WorkerKind::Pack, .root = &upper, .silence_max = archive_silence_max});
  const PackRequest::Reply layer =
      co_await worker.call(PackRequest{.form = PackRequest::Form::Diff,
                                       .compression = codec::Compression::Gzip,
                                       .times_at_most = times_at_most},
                           {&output});
  co_await worker.stop();
  fault_point("commit.packed");
  co_await lease.protect(state.loop, {layer.blob});
  if (!state.store.has_blob(layer.blob, layer.blob_bytes)) {
    co_await state.store.adopt_blob(state.loop, workspace, layer_file, layer.blob,
                                    layer.blob_bytes);
  }
  fault_point("commit.adopted");
  PackedLayer packed;
  packed.made.blob.media_type = media_type_of(codec::Compression::Gzip);
  packed.made.blob.digest = layer.blob;
  packed.made.blob.size = layer.blob_bytes;
  packed.made.diff_id = layer.diff_id;
  packed.entries = layer.entries;
  co_return packed;
}

}  // namespace

ring::Task<std::optional<Images::NewLayer>> Images::pack_layer(
    const Fd& upper, Lease& lease, std::optional<int64_t> times_at_most) {
  PackedLayer packed = co_await pack_diff(*state_, upper, lease, times_at_most);
  // One is the root itself.
  if (packed.entries <= 1) co_return std::nullopt;
  co_return std::move(packed.made);
}

ring::Task<Image> Images::import(const Fd& input, ImportOptions options) {
  State& state = *state_;
  oci::ImageConfig config;
  co_await apply_changes(config.run, options.changes);
  const Workspace workspace = co_await state.store.make_workspace();
  const Fd output =
      co_await sys::open_at(workspace.directory().get(), layer_file, O_RDWR | O_CREAT, 0600);
  Worker worker = co_await Worker::start(
      state.loop, {.kind = WorkerKind::Bytes, .silence_max = archive_silence_max});
  const CopyLayerRequest::Reply layer = co_await worker.call(
      CopyLayerRequest{.compression = codec::Compression::Gzip}, {&input, &output});
  co_await worker.stop();
  fault_point("import.copied");

  Lease lease = co_await Lease::take(state.loop, state.store);
  co_await lease.protect(state.loop, {layer.blob});
  if (!state.store.has_blob(layer.blob, layer.size)) {
    co_await state.store.adopt_blob(state.loop, workspace, layer_file, layer.blob, layer.size);
  }
  fault_point("import.adopted");
  config.created = now_text();
  config.platform = options.platform;
  config.diff_ids = {layer.diff_id};
  config.history = {{.created = config.created,
                     .created_by = "",
                     .author = "",
                     .comment = options.message.empty() ? "Imported from -" : options.message,
                     .empty_layer = false}};
  std::vector<oci::Descriptor> layers{
      {.media_type = media_type_of(layer.compression), .digest = layer.blob, .size = layer.size}};
  co_return co_await state.make_image(std::move(layers), std::move(config),
                                      options.name ? options.name->text() : std::string());
}

ring::Task<Image> Images::commit(const Fd& upper, CommitOptions options) {
  State& state = *state_;
  const Details base = co_await inspect(options.base);
  oci::ImageConfig config = base.record.config;
  if (options.run) config.run = *std::move(options.run);
  co_await apply_changes(config.run, options.changes);
  Lease lease = co_await Lease::take(state.loop, state.store);
  co_await lease.protect(state.loop, all_digests(base.record));

  const PackedLayer layer = co_await pack_diff(state, upper, lease, {});
  config.created = now_text();
  config.author = options.author;
  config.diff_ids.push_back(layer.made.diff_id);
  config.history.push_back({.created = config.created,
                            .created_by = options.created_by,
                            .author = options.author,
                            .comment = options.message,
                            .empty_layer = false});
  std::vector<oci::Descriptor> layers = base.record.manifest.layers;
  layers.push_back(layer.made.blob);
  co_return co_await state.make_image(std::move(layers), std::move(config),
                                      options.name ? options.name->text() : std::string());
}

ring::Task<> Images::export_tree(std::string name, const Fd& output) {
  const Details details = co_await state_->find(name);
  Lease lease = co_await Lease::take(state_->loop, state_->store);
  co_await lease.protect(state_->loop, all_digests(details.record));
  co_await export_tree(details.record, {}, output);
}

ring::Task<> Images::export_tree(ImageRecord record, std::optional<int64_t> times_at_most,
                                 const Fd& output) {
  Fd tree;
  WorkerOptions options;
  options.kind = WorkerKind::Pack;
  options.silence_max = archive_silence_max;
  if (!record.config.diff_ids.empty()) {
    tree = co_await mount(std::move(record), {});
    options.root = &tree;
  }
  Worker worker = co_await Worker::start(state_->loop, options);
  PackRequest request;
  request.form = PackRequest::Form::Tree;
  request.times_at_most = times_at_most;
  co_await worker.call(std::move(request), {&output});
  // The mount is in its namespace too: gone before the caller hears of the end.
  co_await worker.stop();
}

}  // namespace nacelle::image
