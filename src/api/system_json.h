// What the engine says of itself and of the machine: GET /info and /version.
#pragma once

#include <cstddef>
#include <string>

#include "engine/engine.h"
#include "engine/host_info.h"

namespace nacelle::api {

struct InfoCounts {
  size_t running = 0, paused = 0, stopped = 0, images = 0;
};
std::string info_json(const engine::Engine& engine, const engine::HostInfo& host,
                      const InfoCounts& counts);
std::string version_json(const engine::HostInfo& host);

}  // namespace nacelle::api
