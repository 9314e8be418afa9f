// The clock that only goes forward, which all processes of a machine share.
#pragma once

#include <time.h>

#include <cstdint>

namespace nacelle::sys {

inline uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace nacelle::sys
