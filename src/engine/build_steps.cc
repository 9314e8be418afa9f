// What every step begins and ends with, and WORKDIR.
#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/build_state.h"
#include "engine/moment.h"
#include "image/messages.h"
#include "sys/file.h"
#include "sys/mount_api.h"

namespace nacelle::engine {
namespace {

constexpr int64_t ns_per_s = 1'000'000'000;

}  // namespace

codec::Digest step_key(const std::vector<std::string>& parts) {
  codec::Hasher hasher;
  for (const std::string& part : parts) {
    hasher.update(cat(part.size(), ':'));
    hasher.update(part);
  }
  return hasher.finish();
}

StageConfig Build::config_of(const BuildStage& stage) const {
  return {.run = stage.record.config.run,
          .author = stage.record.config.author,
          .has_command = stage.has_command};
}

Build::Step Build::step_of(const BuildStage& stage, StageConfig config, std::string history,
                           std::vector<std::string> parts) const {
  // All that lies below, configuration and layers both, is in the id of what is there so far.
  std::vector<std::string> all{"nacelle build step 2", stage.record.id().text(),
                               stage.record.descriptor.digest.text(),
                               stage.has_command ? "has a command" : ""};
  if (source_date_epoch_) all.push_back(cat("source date epoch ", *source_date_epoch_));
  std::ranges::move(parts, std::back_inserter(all));
  return {.key = step_key(all), .history = std::move(history), .config = std::move(config)};
}

ring::Task<bool> Build::take_cached(BuildStage& stage, const Step& step) {
  if (request_.no_cache) co_return false;
  const image::BuildCache cache(store());
  std::optional<image::CachedStep> known = cache.find(step.key);
  if (!known) co_return co_await take_from_image(stage, step);
  // Protected first, looked at again then: a collection may have come between.
  std::vector<codec::Digest> digests = oci::chain_ids(known->record.config.diff_ids);
  for (const oci::Descriptor& layer : known->record.manifest.layers) {
    digests.push_back(layer.digest);
  }
  co_await lease_.protect(engine_.loop, std::move(digests));
  known = cache.find(step.key);
  if (!known) co_return false;
  stage.record = std::move(known->record);
  stage.has_command = step.config.has_command;
  stage.name.reset();
  stage.listener->text(" ---> Using cache\n");
  stage.listener->step_is_cached();
  co_return true;
}

std::string Build::created_text() const {
  return source_date_epoch_ ? moment_text_seconds(*source_date_epoch_ * ns_per_s)
                            : moment_text(now_ns());
}

ring::Task<> Build::finish(BuildStage& stage, Step step,
                           std::optional<image::Images::NewLayer> layer) {
  oci::ImageConfig config = stage.record.config;
  std::vector<oci::Descriptor> layers = stage.record.manifest.layers;
  const uint64_t bytes = layer ? layer->blob.size : 0;
  config.run = std::move(step.config.run);
  config.author = std::move(step.config.author);
  config.created = created_text();
  config.history.push_back({.created = config.created,
                            .created_by = step.history,
                            .author = config.author,
                            .comment = "",
                            .empty_layer = !layer});
  if (layer) {
    config.diff_ids.push_back(layer->diff_id);
    layers.push_back(std::move(layer->blob));
  }
  stage.record = image::Images::draft(std::move(layers), std::move(config));
  stage.has_command = step.config.has_command;
  stage.name.reset();
  co_await lease_.protect(engine_.loop, oci::chain_ids(stage.record.config.diff_ids));
  if (bytes > 0) co_await engine_.images->unpack(stage.record);
  image::CachedStep done;
  done.key = step.key;
  done.record = stage.record;
  done.description = std::move(step.history);
  done.created_s = ::time(nullptr);
  done.bytes = bytes;
  co_await image::BuildCache(store()).put(engine_.loop, std::move(done));
}

ring::Task<Build::Scratch> Build::make_scratch(const BuildStage& stage) {
  const int parent = workspace_.directory().get();
  const std::string upper = cat("upper-", scratches_), work = cat("work-", scratches_);
  ++scratches_;
  co_await sys::make_directory_at(parent, upper.c_str(), 0755);
  co_await sys::make_directory_at(parent, work.c_str(), 0700);
  Scratch scratch;
  scratch.upper = co_await sys::open_at(parent, upper.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  scratch.work = co_await sys::open_at(parent, work.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (stage.record.config.diff_ids.empty()) {
    // Nothing lies below: what is written is the layer.
    scratch.root = co_await sys::clone_mount(scratch.upper);
  } else {
    image::Images::MountOptions options;
    options.upper = &scratch.upper;
    options.work = &scratch.work;
    options.is_volatile = true;
    scratch.root = co_await engine_.images->mount(stage.record, options);
  }
  co_return scratch;
}

ring::Task<> Build::make_workdir(BuildStage& stage, const build::Instruction& instruction) {
  StageConfig config = config_of(stage);
  const std::string text = co_await apply_instruction(instruction, config);
  const std::string path = config.run.working_directory;
  std::string history = history_text(stage.run(), text);
  Step step = step_of(stage, std::move(config), std::move(history), {"WORKDIR", path});
  step.history_says_all = true;
  if (co_await take_cached(stage, step)) co_return;
  // The user's, as BuildKit has it, and root's where nobody is called that.
  auto owner = co_await ring::as_result(owner_of(stage, stage.run().user));
  if (!owner && owner.error().kind() == Kind::Invalid) owner = std::pair(0u, 0u);
  const auto [uid, gid] = co_await std::move(owner);
  Scratch scratch = co_await make_scratch(stage);
  co_await ask_files(engine_.loop, scratch.root, FilesRoot::Writable,
                     image::MakeDirectoryRequest{.path = path, .uid = uid, .gid = gid}, nullptr);
  scratch.root = Fd();
  auto layer = co_await engine_.images->pack_layer(scratch.upper, lease_, source_date_epoch_);
  co_await finish(stage, std::move(step), std::move(layer));
}

ring::Task<Fd> Build::open_source(const BuildStage& stage, const Origin* from) {
  if (from == nullptr) {
    co_await need_context();
    co_return co_await open_tree_of(context_);
  }
  const BuildSource* const source = from->stage ? nullptr : find_source(from->image);
  if (source != nullptr && source->image.empty()) {
    co_return co_await open_files(from->image, *source);
  }
  image::ImageRecord record;
  if (from->stage) {
    record = stages_.at(*from->stage).record;
  } else if (source != nullptr || !from->is_scratch()) {
    const std::string& image = source != nullptr ? source->image : from->image;
    const WantedImage wanted{
        .name = image, .platform = request_.platform, .platform_counts = request_.platform_counts};
    record = (co_await find_image(stage, wanted)).record;
    co_await lease_.protect(engine_.loop, {record.descriptor.digest});
  }
  if (!record.config.diff_ids.empty()) co_return co_await engine_.images->mount(record, {});
  co_return co_await open_empty();
}

// A directory without anything, as a mount.
ring::Task<Fd> Build::open_empty() {
  const int parent = workspace_.directory().get();
  constexpr const char* empty = "empty";
  auto made = sys::make_directory_at(parent, empty, 0755);
  if (!made && made.error().error_number() != EEXIST) co_await std::move(made);
  const Fd directory = co_await sys::open_at(parent, empty, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  co_return co_await sys::clone_mount(directory);
}

}  // namespace nacelle::engine
