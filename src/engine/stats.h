// What running containers use, read from their cgroups and network interfaces: one pass for all of
// them, shared by all who watch. What the kernel does not offer is absent, never zero.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/containers.h"
#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::engine {

struct NetworkCounters {
  uint64_t rx_bytes = 0, rx_packets = 0, rx_errors = 0, rx_dropped = 0;
  uint64_t tx_bytes = 0, tx_packets = 0, tx_errors = 0, tx_dropped = 0;
};
struct BlockIoEntry {
  uint64_t major = 0, minor = 0;
  std::string op;  // "read" "write"
  uint64_t value = 0;
};
struct Sample {
  int64_t time_ns = 0;  // since 1970
  // nanoseconds
  std::optional<uint64_t> cpu_total, cpu_user, cpu_kernel;
  uint64_t system_cpu = 0;
  uint32_t online_cpus = 0;
  std::optional<uint64_t> throttled_periods, periods, throttled_ns;
  std::optional<uint64_t> memory_usage, memory_limit;
  std::map<std::string, uint64_t> memory_stat;
  std::optional<uint64_t> pids, pids_limit;
  std::optional<std::vector<BlockIoEntry>> io_bytes;
  std::optional<std::map<std::string, NetworkCounters>> networks;  // by interface in the container
};

class Stats {
 public:
  explicit Stats(Engine& engine);
  ~Stats();
  // Now.
  Result<Sample> sample(const Container& container);

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::engine
