// A layer as one EROFS image instead of a directory: <layer>/layer.erofs, made by mkfs.erofs from
// the tree and mounted from the file (Linux 6.12; before that only block devices could be).
// Optional: the tree stays, and is what is used where there is no such file.
#pragma once

#include "codec/digest.h"
#include "image/store.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::image {

// Makes it, if it is not there. Unsupported without the program.
ring::Task<> make_erofs(ring::Loop& loop, const Store& store, Digest chain);

// A detached read-only mount, whose root serves as a lower directory of mount_overlay(). NotFound
// when the layer has no such form; Unsupported on older kernels.
Result<Fd> mount_erofs(const Store& store, const Digest& chain);

}  // namespace nacelle::image
