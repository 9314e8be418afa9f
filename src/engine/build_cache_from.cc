// --cache-from: an image that begins as what is being built does, and whose history goes on with
// the step that is due, has that step's layer.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/build_state.h"

namespace nacelle::engine {
namespace {

// Whether the image begins so, and goes on.
bool continues(const oci::ImageConfig& image, const oci::ImageConfig& beginning) {
  const auto begins = [](const auto& all, const auto& first) {
    return all.size() >= first.size() && std::equal(first.begin(), first.end(), all.begin());
  };
  return image.history.size() > beginning.history.size() &&
         begins(image.history, beginning.history) && begins(image.diff_ids, beginning.diff_ids);
}

}  // namespace

ring::Task<> Build::find_cache_sources() {
  image::NobodyWatches nobody;
  for (const std::string& name : request_.cache_from) {
    auto found = co_await ring::as_result(engine_.images->inspect(name));
    if (!found && found.error().kind() == Kind::NotFound && request_.pulls_cache_from) {
      const oci::Reference reference = co_await oci::parse_reference(name);
      const auto pulled =
          co_await ring::as_result(pull_image(reference, request_.platform, nobody));
      if (!pulled && pulled.error().kind() == Kind::Cancelled)
        co_await std::unexpected(pulled.error());
      if (pulled) found = co_await ring::as_result(engine_.images->inspect(name));
    }
    if (!found && found.error().kind() == Kind::Cancelled) co_await std::move(found);
    if (!found) {
      listener_.text(
          cat("[Warning] no cache is taken from ", name, ": ", found.error().message(), '\n'));
      continue;
    }
    co_await lease_.protect(engine_.loop, {found->image.manifest.digest});
    cache_sources_.push_back(std::move(found->record));
  }
}

ring::Task<bool> Build::take_from_image(BuildStage& stage, const Step& step) {
  if (!step.history_says_all) co_return false;
  const oci::ImageConfig& config = stage.record.config;
  const size_t at = config.history.size();
  const auto source = std::ranges::find_if(cache_sources_, [&](const image::ImageRecord& each) {
    return continues(each.config, config) && each.config.history[at].created_by == step.history;
  });
  if (source == cache_sources_.end()) co_return false;
  oci::ImageConfig next = config;
  std::vector<oci::Descriptor> layers = stage.record.manifest.layers;
  const oci::History& known = source->config.history[at];
  const size_t layer = config.diff_ids.size();
  if (!known.empty_layer) {
    if (layer >= source->config.diff_ids.size()) co_return false;
    next.diff_ids.push_back(source->config.diff_ids[layer]);
    layers.push_back(source->manifest.layers[layer]);
  }
  next.run = step.config.run;
  next.author = step.config.author;
  next.created = known.created;
  next.history.push_back(known);
  stage.record = image::Images::draft(std::move(layers), std::move(next));
  stage.has_command = step.config.has_command;
  stage.name.reset();
  co_await lease_.protect(engine_.loop, oci::chain_ids(stage.record.config.diff_ids));
  if (!known.empty_layer) co_await engine_.images->unpack(stage.record);
  stage.listener->text(" ---> Using cache\n");
  stage.listener->step_is_cached();
  co_return true;
}

}  // namespace nacelle::engine
