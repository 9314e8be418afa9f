// Which containers a list is of.
#pragma once

#include <vector>

#include "api/route.h"
#include "engine/containers.h"
#include "nacelle/task.h"

namespace nacelle::api {

// Those that GET /containers/json asks for, newest first.
ring::Task<std::vector<engine::Container*>> chosen_containers(Call& call);

}  // namespace nacelle::api
