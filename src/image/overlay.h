// Layers put on top of each other: a detached mount, to be attached by descriptor (move_mount) or
// dropped. Layers are given one at a time (fsconfig "lowerdir+"), so no limit on the length of
// options applies; before Linux 6.8 one page of options holds all, with names of two letters.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::image {

struct OverlayOptions {
  std::vector<const Fd*> lower;  // trees, lowest first; at most oci::layers_max
  const Fd* upper = nullptr;     // both or neither: without them the mount is read-only
  const Fd* work = nullptr;      // on the file system of `upper`
  // Nothing is synced, ever: for what is thrown away anyway. After a crash the kernel refuses such
  // an upper directory, and so do we, by name.
  bool is_volatile = false;
  // Which way to the kernel; tests and benchmarks choose.
  enum class Way : uint8_t {
    Best,
    ByDescriptor,  // 6.13
    ByName,        // 6.8
    OnePage,       // any: REMOVE when 6.8 is the floor
  };
  Way way = Way::Best;
};

// A volatile mount has ended in order (it is unmounted, and the machine has not gone down since):
// its upper directory may be mounted again. The kernel leaves that to us.
Result<> end_volatile(const Fd& work);

// Exhausted above the kernel's number of layers; Conflict for an upper that a crash spoilt.
Result<Fd> mount_overlay(const OverlayOptions& options);

}  // namespace nacelle::image
