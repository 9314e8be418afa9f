#include "engine/disk_usage.h"

namespace nacelle::engine {

ring::Task<std::vector<ContainerUsage>> container_usage(Engine& engine) {
  co_await engine.containers->all_loaded();
  std::vector<ContainerUsage> all;
  for (const Container* each : engine.containers->all()) all.push_back({each->id, 0, 0});
  for (ContainerUsage& each : all) {
    const auto sizes = co_await ring::as_result(engine.containers->sizes(each.id));
    if (!sizes) continue;
    each.written = sizes->first;
    each.with_image = sizes->second;
  }
  co_return all;
}

ring::Task<std::vector<VolumeUsage>> volume_usage(Engine& engine) {
  co_await engine.containers->all_loaded();
  std::vector<VolumeUsage> all;
  for (Volume& each : engine.volumes->list()) all.push_back({std::move(each), 0, 0});
  for (VolumeUsage& each : all) {
    const auto bytes = co_await ring::as_result(engine.volumes->size(each.volume.name));
    each.bytes = bytes.value_or(0);
    each.holders = engine.volumes->holders(each.volume.name).size();
  }
  co_return all;
}

}  // namespace nacelle::engine
