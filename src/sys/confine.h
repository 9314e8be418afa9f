// What a worker that reads foreign bytes locks itself into, once it has all it needs: no
// capabilities, no new privileges, no core dumps, and a list of system calls. There is no way out
// of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::sys {

struct Confinement {
  std::span<const int> calls;           // SCMP_SYS(...), allowed with any arguments
  std::span<const int> fcntl_commands;  // fcntl(2) with these
  std::span<const uint64_t> ioctls;     // ioctl(2) with these
};

// Memory that can be executed cannot be had either. Network, ipc and host name are its own from
// here on, where that is possible.
Result<> confine(const Confinement& confinement);

}  // namespace nacelle::sys
