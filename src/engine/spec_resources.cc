// Limits, as the runtime takes them.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "base/text.h"
#include "engine/spec_parts.h"
#include "oci/names.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

constexpr uint64_t cpu_period_default_us = 100'000;
constexpr int64_t nano_per_cpu = 1'000'000'000;
// systemd's value for services: high enough for servers, low enough for programs that walk up to
// the limit.
constexpr uint64_t open_files_soft = 1024;
constexpr uint64_t open_files_hard = 524'288;

void add_memory(const HostConfig& host, oci::Resources& resources) {
  oci::Memory memory;
  if (host.memory > 0) memory.limit = host.memory;
  if (host.memory_reservation > 0) memory.reservation = host.memory_reservation;
  // Without a limit "unlimited swap" is what there is anyway.
  if (host.memory_swap > 0 || (host.memory_swap == -1 && host.memory > 0)) {
    memory.swap = host.memory_swap;
  }
  if (memory.limit || memory.reservation || memory.swap) resources.memory = memory;
}

Result<> add_cpu(const HostConfig& host, oci::Resources& resources) {
  oci::Cpu cpu;
  if (host.cpu_shares < 0) return fail(Kind::Invalid, "shares: invalid argument");
  if (host.cpu_shares > 0) cpu.shares = static_cast<uint64_t>(host.cpu_shares);
  cpu.cpus = host.cpuset_cpus;
  cpu.mems = host.cpuset_mems;
  if (host.nano_cpus > 0) {
    const auto period = static_cast<int64_t>(cpu_period_default_us);
    cpu.period_us = cpu_period_default_us;
    // In two steps, so that no product overflows.
    cpu.quota_us = host.nano_cpus / nano_per_cpu * period +
                   host.nano_cpus % nano_per_cpu * period / nano_per_cpu;
  }
  if (host.cpu_period != 0) cpu.period_us = static_cast<uint64_t>(host.cpu_period);
  if (host.cpu_quota != 0) cpu.quota_us = host.cpu_quota;
  if (cpu.shares || cpu.period_us || cpu.quota_us || !cpu.cpus.empty() || !cpu.mems.empty()) {
    resources.cpu = cpu;
  }
  return {};
}

Result<> add_throttles(const std::vector<ThrottleDevice>& from,
                       std::vector<oci::ThrottleDevice>& to) {
  for (const ThrottleDevice& each : from) {
    const auto [major, minor] = TRY(device_numbers(each.path));
    to.push_back({major, minor, each.rate});
  }
  return {};
}

Result<> add_block_io(const HostConfig& host, oci::Resources& resources) {
  oci::BlockIo io;
  if (host.blkio_weight > 0) io.weight = host.blkio_weight;
  for (const WeightDevice& each : host.blkio_weight_device) {
    const auto [major, minor] = TRY(device_numbers(each.path));
    io.weight_device.push_back({major, minor, each.weight, std::nullopt});
  }
  TRY(add_throttles(host.blkio_device_read_bps, io.throttle_read_bps));
  TRY(add_throttles(host.blkio_device_write_bps, io.throttle_write_bps));
  TRY(add_throttles(host.blkio_device_read_iops, io.throttle_read_iops));
  TRY(add_throttles(host.blkio_device_write_iops, io.throttle_write_iops));
  const bool any = io.weight || !io.weight_device.empty() || !io.throttle_read_bps.empty() ||
                   !io.throttle_write_bps.empty() || !io.throttle_read_iops.empty() ||
                   !io.throttle_write_iops.empty();
  if (any) resources.block_io = std::move(io);
  return {};
}

}  // namespace

Result<std::pair<int64_t, int64_t>> device_numbers(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) return fail_errno(errno, cat("stat ", path));
  if (!S_ISBLK(status.st_mode) && !S_ISCHR(status.st_mode)) {
    return fail(Kind::Invalid, cat(path, ": not a device node"));
  }
  return std::pair<int64_t, int64_t>(major(status.st_rdev), minor(status.st_rdev));
}

Result<> add_resources(const HostConfig& host, oci::Resources& resources) {
  add_memory(host, resources);
  TRY(add_cpu(host, resources));
  TRY(add_block_io(host, resources));
  // 0 and below are how the API unsets it.
  if (host.pids_limit) resources.pids_limit = *host.pids_limit > 0 ? *host.pids_limit : -1;
  return {};
}

Result<std::vector<oci::Rlimit>> plan_rlimits(const std::vector<Ulimit>& ulimits) {
  std::vector<oci::Rlimit> limits;
  const auto open_files = oci::find_named(oci::rlimit_names(), "RLIMIT_NOFILE");
  limits.push_back({*open_files, open_files_soft, open_files_hard});
  for (const Ulimit& each : ulimits) {
    std::string name = "RLIMIT_";
    for (const char c : each.name) {
      name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    const auto resource = oci::find_named(oci::rlimit_names(), name);
    if (!resource) return fail(Kind::Invalid, cat("invalid ulimit type: ", each.name));
    const auto soft = static_cast<uint64_t>(each.soft);  // -1: the kernel's "unlimited"
    const auto hard = static_cast<uint64_t>(each.hard);
    if (each.soft < -1 || each.hard < -1 || soft > hard) {
      return fail(Kind::Invalid, cat("ulimit soft limit must be less than or equal to hard limit: ",
                                     each.soft, " > ", each.hard));
    }
    const auto same = std::ranges::find(limits, *resource, &oci::Rlimit::resource);
    if (same != limits.end()) {
      *same = {*resource, soft, hard};
    } else {
      limits.push_back({*resource, soft, hard});
    }
  }
  return limits;
}

}  // namespace nacelle::engine
