// What a build adds to its base, as one layer: its layers are unpacked one over the other into a
// writable root on top of the base, and what that holds then is packed. The steps stay in the
// history, as dockerd's builder has it, and in the cache, where each still has a layer of its own.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/build_state.h"
#include "image/messages.h"

namespace nacelle::engine {
namespace {

std::string squash_comment(const image::ImageRecord& squashed, const image::ImageRecord& base) {
  const std::string id = squashed.id().text();
  if (base.config.diff_ids.empty()) return cat("create new from ", id);
  return cat("merge ", id, " to ", base.id().text());
}

}  // namespace

ring::Task<> Build::squash(BuildStage& stage) {
  const image::ImageRecord& base = stage.base;
  const size_t below = base.config.diff_ids.size();
  if (stage.record.config.history.size() == base.config.history.size()) co_return;
  BuildStage foundation;
  foundation.record = base;
  Scratch scratch = co_await make_scratch(foundation);
  oci::ImageConfig config = stage.record.config;
  std::vector<oci::Descriptor> layers = stage.record.manifest.layers;
  for (size_t at = below; at < layers.size(); ++at) {
    const Fd blob = co_await store().open_blob(layers[at].digest);
    image::WritePathRequest request;
    request.path = "/";
    request.is_layer = true;
    co_await ask_files(engine_.loop, scratch.root, FilesRoot::Writable, std::move(request), &blob);
  }
  scratch.root = Fd();
  auto layer = co_await engine_.images->pack_layer(scratch.upper, lease_, source_date_epoch_);
  layers.resize(below);
  config.diff_ids.resize(below);
  for (size_t at = base.config.history.size(); at < config.history.size(); ++at) {
    config.history[at].empty_layer = true;
  }
  config.created = created_text();
  config.history.push_back({.created = config.created,
                            .created_by = "",
                            .author = "",
                            .comment = squash_comment(stage.record, base),
                            .empty_layer = !layer});
  if (layer) {
    config.diff_ids.push_back(layer->diff_id);
    layers.push_back(std::move(layer->blob));
  }
  stage.record = image::Images::draft(std::move(layers), std::move(config));
  stage.name.reset();
  co_await lease_.protect(engine_.loop, oci::chain_ids(stage.record.config.diff_ids));
  co_await engine_.images->unpack(stage.record);
}

}  // namespace nacelle::engine
