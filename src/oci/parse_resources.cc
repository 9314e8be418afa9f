#include "oci/spec_read.h"

namespace nacelle::oci {

Result<> read_json(const Value& value, DeviceRule& rule) {
  const Object json = TRY(value.object());
  TRY(json.need("allow", rule.allow));
  if (const auto type_value = json.find("type")) {
    std::string scratch;
    const std::string_view type = TRY(type_value->text(scratch));
    // An unset type, which some callers write as "", means all.
    if (!type.empty() && (type.size() != 1 || !std::string_view("acb").contains(type))) {
      return type_value->invalid(cat("unknown device type ", codec::json::in_quotes(type)));
    }
    if (!type.empty()) rule.type = type.front();
  }
  TRY(json.maybe("major", rule.major));
  TRY(json.maybe("minor", rule.minor));
  // cgroup v1's own word for "any", which older callers still write as -1.
  if (rule.major == -1) rule.major.reset();
  if (rule.minor == -1) rule.minor.reset();
  TRY(json.maybe("access", rule.access));
  if (rule.access.empty()) rule.access = "rwm";
  if (rule.access.find_first_not_of("rwm") != std::string::npos) {
    return json.invalid("access", cat("unknown access ", codec::json::in_quotes(rule.access)));
  }
  return {};
}

Result<> read_json(const Value& value, Memory& memory) {
  const Object json = TRY(value.object());
  TRY(json.maybe("limit", memory.limit));
  TRY(json.maybe("reservation", memory.reservation));
  TRY(json.maybe("swap", memory.swap));
  TRY(json.maybe("kernel", memory.kernel));
  TRY(json.maybe("kernelTCP", memory.kernel_tcp));
  TRY(json.maybe("swappiness", memory.swappiness));
  TRY(json.maybe("disableOOMKiller", memory.disable_oom_killer));
  TRY(json.maybe("useHierarchy", memory.use_hierarchy));
  TRY(json.maybe("checkBeforeUpdate", memory.check_before_update));
  return {};
}

Result<> read_json(const Value& value, Cpu& cpu) {
  const Object json = TRY(value.object());
  TRY(json.maybe("shares", cpu.shares));
  TRY(json.maybe("quota", cpu.quota_us));
  TRY(json.maybe("burst", cpu.burst_us));
  TRY(json.maybe("period", cpu.period_us));
  TRY(json.maybe("realtimeRuntime", cpu.realtime_runtime_us));
  TRY(json.maybe("realtimePeriod", cpu.realtime_period_us));
  TRY(json.maybe("cpus", cpu.cpus));
  TRY(json.maybe("mems", cpu.mems));
  TRY(json.maybe("idle", cpu.idle));
  return {};
}

Result<> read_json(const Value& value, WeightDevice& device) {
  const Object json = TRY(value.object());
  TRY(json.need("major", device.major));
  TRY(json.need("minor", device.minor));
  TRY(json.maybe("weight", device.weight));
  TRY(json.maybe("leafWeight", device.leaf_weight));
  return {};
}

Result<> read_json(const Value& value, ThrottleDevice& device) {
  const Object json = TRY(value.object());
  TRY(json.need("major", device.major));
  TRY(json.need("minor", device.minor));
  TRY(json.need("rate", device.rate));
  return {};
}

Result<> read_json(const Value& value, BlockIo& block_io) {
  const Object json = TRY(value.object());
  TRY(json.maybe("weight", block_io.weight));
  TRY(json.maybe("leafWeight", block_io.leaf_weight));
  TRY(json.maybe("weightDevice", block_io.weight_device));
  TRY(json.maybe("throttleReadBpsDevice", block_io.throttle_read_bps));
  TRY(json.maybe("throttleWriteBpsDevice", block_io.throttle_write_bps));
  TRY(json.maybe("throttleReadIOPSDevice", block_io.throttle_read_iops));
  TRY(json.maybe("throttleWriteIOPSDevice", block_io.throttle_write_iops));
  return {};
}

Result<> read_json(const Value& value, HugepageLimit& limit) {
  const Object json = TRY(value.object());
  TRY(json.need("pageSize", limit.page_size));
  TRY(json.need("limit", limit.limit));
  return {};
}

Result<> read_json(const Value& value, NetworkPriority& priority) {
  const Object json = TRY(value.object());
  TRY(json.need("name", priority.name));
  TRY(json.need("priority", priority.priority));
  return {};
}

Result<> read_json(const Value& value, Network& network) {
  const Object json = TRY(value.object());
  TRY(json.maybe("classID", network.class_id));
  TRY(json.maybe("priorities", network.priorities));
  return {};
}

Result<> read_json(const Value& value, Rdma& rdma) {
  const Object json = TRY(value.object());
  TRY(json.maybe("hcaHandles", rdma.hca_handles));
  TRY(json.maybe("hcaObjects", rdma.hca_objects));
  return {};
}

Result<> read_json(const Value& value, Resources& resources) {
  const Object json = TRY(value.object());
  TRY(json.maybe("devices", resources.devices));
  TRY(json.maybe("memory", resources.memory));
  TRY(json.maybe("cpu", resources.cpu));
  if (const auto pids = json.find("pids")) {
    const Object limits = TRY(pids->object());
    TRY(limits.maybe("limit", resources.pids_limit));
  }
  TRY(json.maybe("blockIO", resources.block_io));
  TRY(json.maybe("hugepageLimits", resources.hugepage_limits));
  TRY(json.maybe("network", resources.network));
  TRY(json.maybe("rdma", resources.rdma));
  TRY(json.maybe("unified", resources.unified));
  return {};
}

}  // namespace nacelle::oci
