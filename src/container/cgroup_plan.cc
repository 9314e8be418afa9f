#include "container/cgroup_plan.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string_view>

#include "base/text.h"
#include "container/device_policy.h"

namespace nacelle::container {
namespace {

constexpr std::string_view resources_path = "linux.resources.";
constexpr uint16_t block_io_weight_min = 10;
constexpr uint16_t block_io_weight_max = 1000;
constexpr uint64_t cpu_period_us_default = 100000;
// The kernel's own bounds (kernel/sched/core.c), checked here so that the complaint has a path.
constexpr uint64_t cpu_period_us_min = 1000;
constexpr uint64_t cpu_period_us_max = 1000000;
constexpr int64_t cpu_quota_us_min = 1000;
constexpr int64_t device_number_max = std::numeric_limits<uint32_t>::max();

template <class... Parts>
std::unexpected<Error> refuse(std::string_view where, const Parts&... why) {
  return fail(Kind::Invalid, cat(resources_path, where, ": ", why...));
}
std::unexpected<Error> not_on_v2(std::string_view where, std::string_view advice) {
  return fail(Kind::Unsupported,
              cat(resources_path, where, ": cgroup v2 has no such limit: ", advice));
}

// A control file is named after its controller up to the first dot.
std::string_view controller_of(std::string_view file) { return file.substr(0, file.find('.')); }

// Where the controller is absent nothing is limited, so lifting a limit needs no file.
IfAbsent skip_if(bool is_lifted) { return is_lifted ? IfAbsent::Skip : IfAbsent::Refuse; }

class Planner {
 public:
  explicit Planner(CgroupPlan& plan) : plan_(plan) {}

  Result<> memory(const oci::Memory& memory);
  Result<> cpu(const oci::Cpu& cpu);
  Result<> pids(int64_t limit);
  Result<> block_io(const oci::BlockIo& block_io);
  Result<> hugepages(const std::vector<oci::HugepageLimit>& limits);
  Result<> network(const oci::Network& network);
  Result<> rdma(const std::map<std::string, oci::Rdma>& devices);
  Result<> unified(const std::map<std::string, std::string>& files);

 private:
  void need(std::string_view controller, const std::string& source) {
    const auto known = std::ranges::find(plan_.controllers, controller, &NeededController::name);
    if (known == plan_.controllers.end()) {
      plan_.controllers.push_back({std::string(controller), source});
    }
  }
  void write(std::string file, std::string value, std::string_view where,
             IfAbsent if_absent = IfAbsent::Refuse) {
    std::string source = cat(resources_path, where);
    // What may be skipped is asked for only where the controller is on anyway.
    if (if_absent != IfAbsent::Skip) need(controller_of(file), source);
    plan_.writes.push_back({std::move(file), std::move(value), std::move(source), if_absent});
  }

  Result<> swap(const oci::Memory& memory);
  Result<> cpuset(const std::string& list, const char* file, std::string_view where);
  Result<> weight_device(const oci::WeightDevice& device, const std::string& where);
  Result<> throttle(const std::vector<oci::ThrottleDevice>& devices, std::string_view key,
                    std::string_view where);

  CgroupPlan& plan_;
};

// 0 leaves a memory limit alone, as in runc; -1 lifts it.
std::string memory_value(int64_t bytes) { return bytes == -1 ? "max" : cat(bytes); }

Result<> check_bytes(const std::optional<int64_t>& bytes, std::string_view where) {
  if (bytes && *bytes < -1) return refuse(where, *bytes, " is neither a size nor -1 (no limit)");
  return {};
}

Result<> Planner::memory(const oci::Memory& memory) {
  TRY(check_bytes(memory.limit, "memory.limit"));
  TRY(check_bytes(memory.reservation, "memory.reservation"));
  TRY(check_bytes(memory.swap, "memory.swap"));
  TRY(check_bytes(memory.kernel, "memory.kernel"));
  TRY(check_bytes(memory.kernel_tcp, "memory.kernelTCP"));
  // runc drops the next four in silence, crun refuses them: a limit that is not there must be
  // known. 0 and -1 ask for nothing; useHierarchy is how v2 always works.
  if (memory.kernel.value_or(0) > 0) {
    return not_on_v2("memory.kernel", "kernel memory counts towards memory.limit");
  }
  if (memory.kernel_tcp.value_or(0) > 0) {
    return not_on_v2("memory.kernelTCP", "socket memory counts towards memory.limit");
  }
  if (memory.swappiness) {
    return not_on_v2("memory.swappiness", "leave it out, or set vm.swappiness for the host");
  }
  if (memory.disable_oom_killer.value_or(false)) {
    return not_on_v2("memory.disableOOMKiller",
                     "leave it out, or lower process.oomScoreAdj instead");
  }

  TRY(swap(memory));
  const int64_t limit = memory.limit.value_or(0);
  if (limit != 0) {
    write("memory.max", memory_value(limit), "memory.limit", skip_if(limit == -1));
  }
  if (const int64_t reservation = memory.reservation.value_or(0); reservation != 0) {
    write("memory.low", memory_value(reservation), "memory.reservation",
          skip_if(reservation == -1));
  }
  if (memory.check_before_update) {
    plan_.check_before_update.memory = limit > 0 ? static_cast<uint64_t>(limit) : 0;
    const int64_t total = memory.swap.value_or(0);
    plan_.check_before_update.memory_and_swap = total > 0 ? static_cast<uint64_t>(total) : 0;
  }
  return {};
}

// The spec counts memory and swap together, cgroup v2 swap alone. Comes before memory.max, so that
// a shrinking limit cannot push the excess into swap.
Result<> Planner::swap(const oci::Memory& memory) {
  constexpr std::string_view where = "memory.swap";
  const int64_t limit = memory.limit.value_or(0);
  const int64_t total = memory.swap.value_or(0);
  // Without swap accounting the file is absent, and "no limit" and "no swap" hold anyway.
  if (total == -1 || (total == 0 && limit == -1)) {
    write("memory.swap.max", "max", total == 0 ? "memory.limit" : where, IfAbsent::Skip);
    return {};
  }
  if (total == 0) return {};
  if (limit == 0) {
    return refuse(where, "counts memory and swap together, so it needs a memory.limit");
  }
  if (limit > total) {
    return refuse(where, total, " is less than memory.limit (", limit, "), which it includes");
  }
  const int64_t swap_only = limit == -1 ? total : total - limit;
  write("memory.swap.max", cat(swap_only), where, skip_if(swap_only == 0));
  return {};
}

Result<> Planner::cpu(const oci::Cpu& cpu) {
  if (cpu.realtime_runtime_us.value_or(0) != 0) {
    return not_on_v2("cpu.realtimeRuntime", "leave it out");
  }
  if (cpu.realtime_period_us.value_or(0) != 0) {
    return not_on_v2("cpu.realtimePeriod", "leave it out");
  }
  if (cpu.idle && *cpu.idle != 0 && *cpu.idle != 1) {
    return refuse("cpu.idle", *cpu.idle, " is neither 0 nor 1");
  }
  const int64_t quota = cpu.quota_us.value_or(0);
  const uint64_t period = cpu.period_us.value_or(0);
  if (quota < -1 || (quota > 0 && quota < cpu_quota_us_min)) {
    return refuse("cpu.quota", quota, " is neither -1 (no limit) nor at least ", cpu_quota_us_min,
                  " microseconds");
  }
  if (period != 0 && (period < cpu_period_us_min || period > cpu_period_us_max)) {
    return refuse("cpu.period", period, " is not between ", cpu_period_us_min, " and ",
                  cpu_period_us_max, " microseconds");
  }

  // An idle group takes no weight: leave idle before setting one, become idle after.
  if (cpu.idle == 0) write("cpu.idle", "0", "cpu.idle");
  if (const uint64_t shares = cpu.shares.value_or(0); shares != 0) {
    write("cpu.weight", cat(weight_of_cpu_shares(shares)), "cpu.shares");
  }
  if (cpu.idle == 1) write("cpu.idle", "1", "cpu.idle");

  const bool has_bandwidth = quota != 0 || period != 0;
  const bool has_burst = cpu.burst_us.has_value();
  // An old burst above the new quota would make the kernel refuse the quota.
  if (has_burst && has_bandwidth) write("cpu.max.burst", "0", "cpu.burst");
  if (has_bandwidth) {
    write("cpu.max",
          cat(quota > 0 ? cat(quota) : "max", " ", period != 0 ? period : cpu_period_us_default),
          quota != 0 ? "cpu.quota" : "cpu.period", skip_if(quota <= 0));
  }
  if (has_burst && (!has_bandwidth || *cpu.burst_us != 0)) {
    write("cpu.max.burst", cat(*cpu.burst_us), "cpu.burst");
  }
  TRY(cpuset(cpu.cpus, "cpuset.cpus", "cpu.cpus"));
  return cpuset(cpu.mems, "cpuset.mems", "cpu.mems");
}

Result<> Planner::cpuset(const std::string& list, const char* file, std::string_view where) {
  if (list.empty()) return {};
  if (list.find_first_not_of("0123456789,-:/ ") != list.npos) {
    return refuse(where, "'", list, "' is not a list such as \"0-3,7\"");
  }
  write(file, list, where);
  return {};
}

Result<> Planner::pids(int64_t limit) {
  if (limit < -1) return refuse("pids.limit", limit, " is neither a count nor -1 (no limit)");
  // 0 is taken for the least that can run, as runc 1.4 does.
  write("pids.max", limit == -1 ? "max" : cat(std::max<int64_t>(limit, 1)), "pids.limit",
        skip_if(limit == -1));
  return {};
}

Result<> check_device(int64_t major, int64_t minor, std::string_view where) {
  if (major < 0 || major > device_number_max || minor < 0 || minor > device_number_max) {
    return refuse(where, major, ":", minor, " is not a device number");
  }
  return {};
}

Result<> check_weight(uint16_t weight, std::string_view where) {
  if (weight < block_io_weight_min || weight > block_io_weight_max) {
    return refuse(where, weight, " is not between ", block_io_weight_min, " and ",
                  block_io_weight_max);
  }
  return {};
}

Result<> Planner::weight_device(const oci::WeightDevice& device, const std::string& where) {
  if (device.leaf_weight.value_or(0) != 0) {
    return not_on_v2(cat(where, ".leafWeight"), "leave it out");
  }
  TRY(check_device(device.major, device.minor, where));
  const uint16_t weight = device.weight.value_or(0);
  if (weight == 0) return {};
  TRY(check_weight(weight, cat(where, ".weight")));
  const std::string number = cat(device.major, ":", device.minor, " ");
  write("io.bfq.weight", cat(number, weight), where, IfAbsent::Next);
  write("io.weight", cat(number, io_weight_of_block_io_weight(weight)), where);
  return {};
}

Result<> Planner::throttle(const std::vector<oci::ThrottleDevice>& devices, std::string_view key,
                           std::string_view where) {
  for (size_t i = 0; i < devices.size(); ++i) {
    const oci::ThrottleDevice& device = devices[i];
    const std::string path = cat("blockIO.", where, "[", i, "]");
    TRY(check_device(device.major, device.minor, path));
    // A rate of 0 lifts the limit, which is what it did on cgroup v1; v2 refuses the number.
    write("io.max",
          cat(device.major, ":", device.minor, " ", key, "=",
              device.rate == 0 ? std::string("max") : cat(device.rate)),
          path);
  }
  return {};
}

Result<> Planner::block_io(const oci::BlockIo& block_io) {
  if (block_io.leaf_weight.value_or(0) != 0) return not_on_v2("blockIO.leafWeight", "leave it out");
  if (const uint16_t weight = block_io.weight.value_or(0); weight != 0) {
    TRY(check_weight(weight, "blockIO.weight"));
    // The file of the BFQ scheduler takes the old scale; it exists where BFQ is loaded.
    write("io.bfq.weight", cat(weight), "blockIO.weight", IfAbsent::Next);
    write("io.weight", cat(io_weight_of_block_io_weight(weight)), "blockIO.weight");
  }
  for (size_t i = 0; i < block_io.weight_device.size(); ++i) {
    TRY(weight_device(block_io.weight_device[i], cat("blockIO.weightDevice[", i, "]")));
  }
  TRY(throttle(block_io.throttle_read_bps, "rbps", "throttleReadBpsDevice"));
  TRY(throttle(block_io.throttle_write_bps, "wbps", "throttleWriteBpsDevice"));
  TRY(throttle(block_io.throttle_read_iops, "riops", "throttleReadIOPSDevice"));
  return throttle(block_io.throttle_write_iops, "wiops", "throttleWriteIOPSDevice");
}

// "64KB", "2MB", "1GB": the spec's form and the kernel's.
bool is_page_size(std::string_view text) {
  if (text.size() < 3 || text.back() != 'B') return false;
  const char unit = text[text.size() - 2];
  if (unit != 'K' && unit != 'M' && unit != 'G') return false;
  const auto number = parse_number<uint32_t>(text.substr(0, text.size() - 2));
  return number.value_or(0) != 0 && text.front() != '0';
}

Result<> Planner::hugepages(const std::vector<oci::HugepageLimit>& limits) {
  for (size_t i = 0; i < limits.size(); ++i) {
    const oci::HugepageLimit& limit = limits[i];
    const std::string where = cat("hugepageLimits[", i, "]");
    if (!is_page_size(limit.page_size)) {
      return refuse(cat(where, ".pageSize"), "'", limit.page_size,
                    "' is not a size such as \"2MB\"");
    }
    const std::string file = cat("hugetlb.", limit.page_size);
    write(cat(file, ".max"), cat(limit.limit), where);
    // Reservations have a limit of their own since 5.7; without it they cannot exceed max.
    write(cat(file, ".rsvd.max"), cat(limit.limit), where, IfAbsent::Skip);
  }
  return {};
}

Result<> Planner::network(const oci::Network& network) {
  constexpr std::string_view advice = "leave it out and mark or shape packets by cgroup path";
  if (network.class_id.value_or(0) != 0) return not_on_v2("network.classID", advice);
  if (!network.priorities.empty()) return not_on_v2("network.priorities", advice);
  return {};
}

Result<> Planner::rdma(const std::map<std::string, oci::Rdma>& devices) {
  for (const auto& [device, limit] : devices) {
    const std::string where = cat("rdma.", device);
    if (device.empty() || device.find_first_of(" \n=") != device.npos) {
      return refuse("rdma", "'", device, "' is not the name of a device");
    }
    std::string line = device;
    if (limit.hca_handles) line += cat(" hca_handle=", *limit.hca_handles);
    if (limit.hca_objects) line += cat(" hca_object=", *limit.hca_objects);
    if (line.size() != device.size()) write("rdma.max", std::move(line), where);
  }
  return {};
}

// Of the core's own files only those that limit; the others move, kill or stop processes or turn
// the group into something else, which is this runtime's to do.
bool is_core_limit(std::string_view file) {
  return file == "cgroup.max.depth" || file == "cgroup.max.descendants" ||
         file == "cgroup.pressure";
}

Result<> check_unified(const std::string& file) {
  const auto refuse_file = [&](std::string_view why) {
    return refuse("unified", "'", file, "' ", why);
  };
  if (file.find('/') != file.npos || file == "." || file == "..") {
    return refuse_file("is not a plain file name");
  }
  for (const char c : file) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte == 0x7f)
      return refuse("unified", "a file name holds a control character or space");
  }
  const size_t dot = file.find('.');
  if (dot == 0 || dot == file.npos || dot + 1 == file.size()) {
    return refuse_file("is not of the form controller.parameter");
  }
  if (file.starts_with("cgroup.") && !is_core_limit(file)) {
    return refuse_file("is not a limit and cannot be set from a configuration");
  }
  return {};
}

Result<> Planner::unified(const std::map<std::string, std::string>& files) {
  for (const auto& [file, content] : files) {
    TRY(check_unified(file));
    const std::string source = cat(resources_path, "unified[\"", file, "\"]");
    const std::string_view controller = controller_of(file);
    // The pressure files belong to no controller.
    if (controller != "cgroup" && !file.ends_with(".pressure")) need(controller, source);
    // io.max and its like take one line a write.
    std::string_view rest = content;
    do {
      const std::string_view line = take_until(rest, '\n');
      if (!line.empty() || rest.empty()) {
        plan_.writes.push_back({file, std::string(line), source, IfAbsent::Refuse});
      }
    } while (!rest.empty());
  }
  return {};
}

}  // namespace

uint64_t weight_of_cpu_shares(uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  // The quadratic through (2, 1), (1024, 100) and (262144, 10000) on logarithmic scales.
  const double l = std::log2(static_cast<double>(shares));
  const double exponent = (l * l + 125 * l) / 612.0 - 7.0 / 34.0;
  return static_cast<uint64_t>(std::ceil(std::pow(10, exponent)));
}

uint64_t io_weight_of_block_io_weight(uint16_t weight) {
  return 1 + (uint64_t{weight} - block_io_weight_min) * 9999 / 990;
}

Result<CgroupPlan> plan_cgroup(const oci::Resources& resources) {
  CgroupPlan plan;
  Planner planner(plan);
  if (resources.memory) TRY(planner.memory(*resources.memory));
  if (resources.cpu) TRY(planner.cpu(*resources.cpu));
  if (resources.pids_limit) TRY(planner.pids(*resources.pids_limit));
  if (resources.block_io) TRY(planner.block_io(*resources.block_io));
  TRY(planner.hugepages(resources.hugepage_limits));
  if (resources.network) TRY(planner.network(*resources.network));
  TRY(planner.rdma(resources.rdma));
  TRY(planner.unified(resources.unified));
  const auto rules = TRY(plan_device_rules(resources.devices));
  if (!allows_everything(rules)) plan.device_program = compile_device_program(rules);
  return plan;
}

}  // namespace nacelle::container
