// One reading of a container's resources as GET stats shows it. What the kernel does not count on
// this host is left out, or 0 where dockerd has no way to leave it out.
#pragma once

#include <string>

#include "engine/stats.h"

namespace nacelle::api {

// `before`: the reading that rates are computed against. Empty samples (time_ns 0) are of a
// container that does not run.
std::string stats_json(const std::string& name, const std::string& id, const engine::Sample& now,
                       const engine::Sample& before);

}  // namespace nacelle::api
