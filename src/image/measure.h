// How much lies in a directory.
#pragma once

#include <cstdint>

#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::image {

// Bytes of all that is not a directory, each inode once, on the directory's own file system.
// Counted by a worker: the tree may be a user's, of any size and on a slow disk. `directory` is
// borrowed.
ring::Task<uint64_t> measure_tree(ring::Loop& loop, const Fd& directory);

}  // namespace nacelle::image
