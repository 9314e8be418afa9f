// Images that a person has mounted somewhere: each is a directory under containers/, as a container
// is, so that gc leaves its layers alone:
//   containers/mount-<hash of the mount point>/image    the chains, a digest a line
//                                              /base     the manifest's digest
//                                              /mount    which mount it is
//                                              /upper, /work    of a writable one
#pragma once

#include <string>
#include <vector>

#include "codec/digest.h"
#include "image/images.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::image {

struct MountedImage {
  codec::Digest manifest;
  Fd upper;  // empty when it is read-only
};

// Conflict when an image is mounted at `target` already.
ring::Task<> mount_at(ring::Loop& loop, Images& images, std::string name, std::string target,
                      bool writable);
// What mount_at() mounted there: NotFound when it did not.
Result<MountedImage> find_mounted(const Store& store, const std::string& target);
// Unmounts it, and removes what was written to it. Conflict when something is mounted on top of it.
// What was unmounted by others, or never came to be, is cleared away.
ring::Task<> unmount_at(ring::Loop& loop, const Store& store, std::string target);

// Of which images something is mounted, or a container lives.
Result<std::vector<codec::Digest>> manifests_in_use(const Store& store);

}  // namespace nacelle::image
