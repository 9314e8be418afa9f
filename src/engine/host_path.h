// Paths of the host that a user has named. They may lie on a file system whose server has gone:
// then it is the kernel's workers who wait for it and not our loop, and whoever asked is told.
#pragma once

#include <string>

#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::engine {

// `background` is where the question goes on when nobody waits for its answer any more.
// Unavailable: none came.
ring::Task<bool> host_path_exists(ring::Loop& loop, ring::Scope& background, std::string path);

// The directory and those above it, where they are missing: as `-v /path:...` does.
ring::Task<> make_host_directory(ring::Loop& loop, ring::Scope& background, std::string path);

}  // namespace nacelle::engine
