// What running containers use, read from their cgroups and network interfaces: one pass for all of
// them, shared by all who watch. What the kernel does not offer is absent, never zero.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/groups.h"
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
// How long some, or all, of its tasks have waited: microseconds.
struct Pressure {
  std::optional<uint64_t> some_us, full_us;
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
  std::optional<std::vector<BlockIoEntry>> io_bytes, io_operations;
  std::optional<std::map<std::string, NetworkCounters>> networks;  // by interface in the container

  // Of a pass alone.
  std::optional<uint64_t> memory_peak, swap_usage, memory_limit_hits, oom_kills;
  std::optional<Pressure> cpu_pressure, memory_pressure, io_pressure;
  uint64_t group = 0;                             // the number of its cgroup
  std::optional<nacelle_group_counters> traffic;  // of its sockets, whatever network it is on
};

// All that ran at one time. Values: it is read by threads.
struct Pass {
  struct One {
    std::string id, name, image;
    std::string created, started_at;  // RFC 3339
    bool host_network = false;
    bool joined_network = false;  // another container's: counted there
    Sample sample;
  };
  int64_t time_ns = 0;    // since 1970
  ring::Duration took{};  // all of it, and the traffic of all
  ring::Duration traffic_took{};
  std::string traffic_trouble;  // why there is none
  std::vector<One> containers;  // in the order of their ids
};

class Stats {
 public:
  explicit Stats(Engine& engine);
  ~Stats();
  // Now, on the loop: some 50 us.
  Result<Sample> sample(const Container& container);
  // Everything of all that run, read on a thread. Who asks while a pass is under way, or within
  // `pass_age_max` of the last one, shares it.
  ring::Task<std::shared_ptr<const Pass>> pass();
  static constexpr ring::Duration pass_age_max = std::chrono::milliseconds(50);
  // With whom a running container has spoken, as far as it is remembered; and the whole.
  struct Conversations {
    nacelle_group_counters total{};
    std::vector<bpf::Groups::Peer> peers;
  };
  Result<Conversations> conversations(const Container& container) const;

  // Held by an answer that goes on. They wake at the same moments (next_tick), and where they are
  // more than a few, one pass serves them all.
  class Watcher {
   public:
    explicit Watcher(Stats& stats);
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;
    ~Watcher();
    // Empty (time_ns 0) for one that does not run.
    ring::Task<Sample> sample(std::string id);
    // The next whole second of the loop's clock that is not too near to tell a rate.
    ring::TimePoint next_tick() const;

   private:
    Stats& stats_;
  };

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::engine
