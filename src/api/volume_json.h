// Volumes in the API's words.
#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "codec/json_writer.h"
#include "engine/volumes.h"
#include "nacelle/result.h"

namespace nacelle::api {

// What `docker system df` adds: bytes, and how many containers hold it.
using VolumeUsage = std::optional<std::pair<int64_t, int64_t>>;
void write_volume(codec::json::Writer& json, const engine::Volume& volume,
                  const VolumeUsage& usage = {});

// POST /volumes/create.
struct VolumeCreateRequest {
  std::string name, driver;
  engine::Labels labels, options;
};
Result<VolumeCreateRequest> read_volume_create(std::string_view body);

}  // namespace nacelle::api
