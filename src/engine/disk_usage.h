// What there is and how many bytes of disk it takes. Trees are walked by workers; the loop goes on.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "nacelle/task.h"

namespace nacelle::engine {

struct ContainerUsage {
  std::string id;
  uint64_t written = 0, with_image = 0;
};
struct VolumeUsage {
  Volume volume;
  uint64_t bytes = 0;
  size_t holders = 0;
};

// One that goes, or cannot be measured, counts as nothing.
ring::Task<std::vector<ContainerUsage>> container_usage(Engine& engine);
ring::Task<std::vector<VolumeUsage>> volume_usage(Engine& engine);

}  // namespace nacelle::engine
