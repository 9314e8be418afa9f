#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "api/route.h"
#include "api/volume_json.h"
#include "base/text.h"
#include "codec/json_writer.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Volume;

const std::vector<std::string>& values_of(const Filters& filters, const std::string& name) {
  static const std::vector<std::string> none;
  const auto found = filters.find(name);
  return found == filters.end() ? none : found->second;
}

// A name matches whatever it is a part of, as in Docker.
bool matches(const Filters& filters, const engine::Volumes& volumes, const Volume& volume,
             std::optional<bool> dangling) {
  const auto any = [&](const std::string& filter, const auto& is_it) {
    const auto& values = values_of(filters, filter);
    return values.empty() || std::ranges::any_of(values, is_it);
  };
  if (!any("name", [&](const std::string& each) { return volume.name.contains(each); })) {
    return false;
  }
  if (!any("driver", [&](const std::string& each) { return volume.driver == each; })) return false;
  if (!label_filters_match(values_of(filters, "label"), volume.labels)) return false;
  return !dangling || *dangling == volumes.holders(volume.name).empty();
}

ring::Task<> list(Call& call) {
  const Filters filters =
      co_await read_filters(call.http.query("filters"), {"dangling", "name", "driver", "label"});
  std::optional<bool> dangling;
  if (filters.contains("dangling")) dangling = co_await bool_filter(filters, "dangling", false);
  Writer json;
  json.begin_object().key("Volumes").begin_array();
  const engine::Volumes& volumes = *call.engine.volumes;
  for (const Volume& each : volumes.list()) {
    if (matches(filters, volumes, each, dangling)) write_volume(json, each);
  }
  json.end_array().key("Warnings").null().end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> inspect(Call& call) {
  const Volume volume = co_await call.engine.volumes->find(call.variables[0]);
  Writer json;
  write_volume(json, volume);
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> create(Call& call) {
  const std::string body = co_await read_json_body(call, true);
  VolumeCreateRequest request = co_await read_volume_create(body);
  const Volume volume = co_await call.engine.volumes->create(
      std::move(request.name), std::move(request.driver), std::move(request.labels),
      std::move(request.options), false);
  Writer json;
  write_volume(json, volume);
  co_await reply_json(call, 201, std::move(json).take());
}

ring::Task<> remove(Call& call) {
  co_await call.engine.volumes->remove(call.variables[0], call.flag("force"));
  co_await call.http.reply(204, "", "");
}

ring::Task<> prune(Call& call) {
  Filters filters = co_await read_filters(call.http.query("filters"), {"label", "label!", "all"});
  // Before 1.42 there was no difference between volumes with and without a name.
  const bool all = call.version < 42 || co_await bool_filter(filters, "all", false);
  // Whether a container uses a volume is known when its record has been read.
  co_await call.engine.containers->all_loaded();
  const auto chosen = [filters](const Volume& volume) {
    const auto& without = values_of(filters, "label!");
    return label_filters_match(values_of(filters, "label"), volume.labels) &&
           (without.empty() || !label_filters_match(without, volume.labels));
  };
  const engine::Volumes::Pruned pruned = co_await call.engine.volumes->prune(all, chosen);
  Writer json;
  json.begin_object().key("VolumesDeleted").values(pruned.names);
  json.member("SpaceReclaimed", pruned.bytes).end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

}  // namespace

std::vector<Route> volume_routes() {
  return {
      {"GET", "/volumes", list},
      {"POST", "/volumes/create", create},
      {"POST", "/volumes/prune", prune},
      {"GET", "/volumes/{name...}", inspect},
      {"DELETE", "/volumes/{name...}", remove},
  };
}

}  // namespace nacelle::api
