// One reading of one container's control files and network interfaces, and of the host's use. Plain
// blocking reads of files in memory, some 10 us each: one container's can be read on the loop,
// those of all are read on a thread (stats.h).
#pragma once

#include <cstdint>
#include <string>

#include "engine/stats.h"
#include "nacelle/result.h"

namespace nacelle::engine {

struct HostUse {
  uint64_t cpu_ns = 0;
  uint32_t processors = 0;
  uint64_t memory_bytes = 0;
};
// `memory_bytes`: as it was read before, or 0.
HostUse read_host_use(uint64_t memory_bytes);

struct SampleSource {
  std::string cgroup;  // absolute
  int pid = 0;         // whose interfaces are read; 0: of nobody
  bool host_network = false;
};
enum class Depth : uint8_t { Docker, Everything };
// An error where the group has gone.
Result<Sample> read_sample(const SampleSource& source, const HostUse& host, Depth depth);

}  // namespace nacelle::engine
