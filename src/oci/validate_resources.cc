#include <algorithm>
#include <set>

#include "oci/validate.h"
#include "oci/validate_parts.h"

namespace nacelle::oci {
namespace {

constexpr int64_t quota_us_min = 1000;
constexpr uint64_t period_us_min = 1000, period_us_max = 1'000'000;
constexpr uint16_t weight_min = 10, weight_max = 1000;

std::string in(std::string_view path) { return cat("linux.resources.", path); }

// -1 is "no limit"; below it there is nothing.
Result<> validate_limit(const std::optional<int64_t>& limit, std::string_view path) {
  if (limit && *limit < -1) return wrong(in(path), cat(*limit, ": out of range, -1 is no limit"));
  return {};
}

Result<> validate_device_rules(const std::vector<DeviceRule>& rules) {
  const auto is_bad = [](const std::optional<int64_t>& number) {
    return number && (*number < 0 || *number > 0xffffffff);
  };
  for (size_t i = 0; i < rules.size(); ++i) {
    const std::string_view which = is_bad(rules[i].major)   ? ".major"
                                   : is_bad(rules[i].minor) ? ".minor"
                                                            : "";
    if (!which.empty()) return wrong(element(in("devices"), i, which), "out of range");
  }
  return {};
}

Result<> validate_memory(const Memory& memory) {
  TRY(validate_limit(memory.limit, "memory.limit"));
  TRY(validate_limit(memory.reservation, "memory.reservation"));
  TRY(validate_limit(memory.swap, "memory.swap"));
  TRY(validate_limit(memory.kernel, "memory.kernel"));
  TRY(validate_limit(memory.kernel_tcp, "memory.kernelTCP"));
  // swap counts memory and swap together, and 0 is "not set" to the callers of runc.
  if (memory.swap.value_or(0) > 0) {
    if (memory.limit.value_or(0) <= 0) return wrong(in("memory.swap"), "needs memory.limit");
    if (*memory.swap < *memory.limit) return wrong(in("memory.swap"), "less than memory.limit");
  }
  if (memory.swappiness.value_or(0) > 100) {
    return wrong(in("memory.swappiness"), cat(*memory.swappiness, ": out of range 0..100"));
  }
  return {};
}

Result<> validate_cpu(const Cpu& cpu) {
  const int64_t quota = cpu.quota_us.value_or(0);
  const uint64_t period = cpu.period_us.value_or(0);
  TRY(validate_limit(cpu.quota_us, "cpu.quota"));
  TRY(validate_limit(cpu.realtime_runtime_us, "cpu.realtimeRuntime"));
  if (quota > 0 && quota < quota_us_min) {
    return wrong(in("cpu.quota"), cat(quota, ": less than ", quota_us_min));
  }
  if (period != 0 && (period < period_us_min || period > period_us_max)) {
    return wrong(in("cpu.period"),
                 cat(period, ": out of range ", period_us_min, "..", period_us_max));
  }
  if (quota > 0 && cpu.burst_us.value_or(0) > static_cast<uint64_t>(quota)) {
    return wrong(in("cpu.burst"), "greater than cpu.quota");
  }
  if (cpu.idle && *cpu.idle != 0 && *cpu.idle != 1) {
    return wrong(in("cpu.idle"), cat(*cpu.idle, ": must be 0 or 1"));
  }
  if (!cpu.cpus.empty() && !is_number_list(cpu.cpus)) {
    return wrong(in("cpu.cpus"), "not a list of processors such as '0-3,7'");
  }
  if (!cpu.mems.empty() && !is_number_list(cpu.mems)) {
    return wrong(in("cpu.mems"), "not a list of nodes such as '0-3,7'");
  }
  return {};
}

Result<> validate_weight(const std::optional<uint16_t>& weight, std::string_view path) {
  // 0 is "not set" to the callers of runc.
  if (weight.value_or(0) != 0 && (*weight < weight_min || *weight > weight_max)) {
    return wrong(path, cat(*weight, ": out of range ", weight_min, "..", weight_max));
  }
  return {};
}

template <class Entry>
Result<> validate_disk(const Entry& device, const std::string& path) {
  if (device.major < 0 || device.major > device_major_max) {
    return wrong(path + ".major", cat(device.major, ": out of range 0..", device_major_max));
  }
  if (device.minor < 0 || device.minor > device_minor_max) {
    return wrong(path + ".minor", cat(device.minor, ": out of range 0..", device_minor_max));
  }
  return {};
}

Result<> validate_throttle(const std::vector<ThrottleDevice>& devices, std::string_view name) {
  for (size_t i = 0; i < devices.size(); ++i) {
    TRY(validate_disk(devices[i], element(in(name), i)));
  }
  return {};
}

Result<> validate_block_io(const BlockIo& block_io) {
  TRY(validate_weight(block_io.weight, in("blockIO.weight")));
  TRY(validate_weight(block_io.leaf_weight, in("blockIO.leafWeight")));
  for (size_t i = 0; i < block_io.weight_device.size(); ++i) {
    const WeightDevice& device = block_io.weight_device[i];
    const std::string path = element(in("blockIO.weightDevice"), i);
    TRY(validate_disk(device, path));
    if (!device.weight && !device.leaf_weight) return wrong(path, "has no weight");
    TRY(validate_weight(device.weight, path + ".weight"));
    TRY(validate_weight(device.leaf_weight, path + ".leafWeight"));
  }
  TRY(validate_throttle(block_io.throttle_read_bps, "blockIO.throttleReadBpsDevice"));
  TRY(validate_throttle(block_io.throttle_write_bps, "blockIO.throttleWriteBpsDevice"));
  TRY(validate_throttle(block_io.throttle_read_iops, "blockIO.throttleReadIOPSDevice"));
  TRY(validate_throttle(block_io.throttle_write_iops, "blockIO.throttleWriteIOPSDevice"));
  return {};
}

// `64KB`, `2MB`, `1GB`: part of the name of a file.
bool is_page_size(std::string_view size) {
  if (size.size() < 3 || !size.ends_with('B')) return false;
  size.remove_suffix(1);
  if (!std::string_view("KMG").contains(size.back())) return false;
  size.remove_suffix(1);
  return parse_number<uint32_t>(size).has_value() && !size.starts_with('0');
}

Result<> validate_hugepages(const std::vector<HugepageLimit>& limits) {
  std::set<std::string_view> sizes;
  for (size_t i = 0; i < limits.size(); ++i) {
    const auto at = [&] { return element(in("hugepageLimits"), i, ".pageSize"); };
    if (!is_page_size(limits[i].page_size)) return wrong(at(), "not a page size such as '2MB'");
    if (!sizes.insert(limits[i].page_size).second) return wrong(at(), "given twice");
  }
  return {};
}

Result<> validate_rdma(const std::map<std::string, Rdma>& rdma) {
  for (const auto& [device, limits] : rdma) {
    const auto at = [&] { return cat(in("rdma"), codec::json::path_step(device)); };
    if (device.empty() || device.find_first_of(" \t\n/=") != std::string::npos) {
      return wrong(at(), "not the name of a device");
    }
    if (!limits.hca_handles && !limits.hca_objects) return wrong(at(), "has no limit");
  }
  return {};
}

// A key is a file of the container's group. Those that steer the group itself are the runtime's
// own: `cgroup.procs` would pull any process of the host into the container's limits.
Result<> validate_unified(const std::map<std::string, std::string>& unified) {
  constexpr std::string_view ours[] = {
      "cgroup.procs", "cgroup.threads", "cgroup.subtree_control",
      "cgroup.type",  "cgroup.freeze",  "cgroup.kill",
  };
  for (const auto& [file, content] : unified) {
    const auto at = [&] { return cat(in("unified"), codec::json::path_step(file)); };
    const bool plain = std::ranges::all_of(file, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '.' || c == '_' || c == '-';
    });
    const size_t dot = file.find('.');
    if (!plain || dot == 0 || dot == std::string::npos) {
      return wrong(at(), "not the name of a file of a control group");
    }
    if (std::ranges::find(ours, file) != std::end(ours)) return wrong(at(), "must not be set");
  }
  return {};
}

}  // namespace

Result<> validate(const Resources& resources) {
  TRY(validate_device_rules(resources.devices));
  if (resources.memory) TRY(validate_memory(*resources.memory));
  if (resources.cpu) TRY(validate_cpu(*resources.cpu));
  TRY(validate_limit(resources.pids_limit, "pids.limit"));
  if (resources.block_io) TRY(validate_block_io(*resources.block_io));
  TRY(validate_hugepages(resources.hugepage_limits));
  if (resources.network) {
    const auto& priorities = resources.network->priorities;
    for (size_t i = 0; i < priorities.size(); ++i) {
      if (!is_interface_name(priorities[i].name)) {
        return wrong(element(in("network.priorities"), i, ".name"),
                     "not a name a network interface can have");
      }
    }
  }
  TRY(validate_rdma(resources.rdma));
  return validate_unified(resources.unified);
}

}  // namespace nacelle::oci
