#include <map>

#include "oci/spec_read.h"

namespace nacelle::oci {
namespace {

Result<uint32_t> read_personality(const Value& value) {
  const Object json = TRY(value.object());
  const Value domain = TRY(json.need("domain"));
  if (const auto flags = json.find("flags")) {
    for (const Value each : TRY(flags->array())) {
      std::string scratch;
      const std::string_view name = TRY(each.text(scratch));
      return each.invalid(cat("unknown flag ", codec::json::in_quotes(name)));
    }
  }
  return read_name(domain, personality_names(), "domain");
}

}  // namespace

Result<> read_json(const Value& value, Namespace& entry) {
  const Object json = TRY(value.object());
  entry.type = TRY(read_name(json, "type", namespace_names(), "namespace"));
  TRY(json.maybe("path", entry.path));
  return {};
}

Result<> read_json(const Value& value, TimeOffset& offset) {
  const Object json = TRY(value.object());
  TRY(json.maybe("secs", offset.secs));
  TRY(json.maybe("nanosecs", offset.nanosecs));
  return {};
}

Result<> read_json(const Value& value, Device& device) {
  const Object json = TRY(value.object());
  const Value type_value = TRY(json.need("type"));
  std::string scratch;
  const std::string_view type = TRY(type_value.text(scratch));
  if (type.size() != 1 || !std::string_view("cubp").contains(type)) {
    return type_value.invalid(cat("unknown device type ", codec::json::in_quotes(type)));
  }
  device.type = type.front();
  TRY(json.need("path", device.path));
  if (device.type == 'p') {
    TRY(json.maybe("major", device.major));
    TRY(json.maybe("minor", device.minor));
  } else {
    TRY(json.need("major", device.major));
    TRY(json.need("minor", device.minor));
  }
  TRY(json.maybe("fileMode", device.file_mode));
  TRY(json.maybe("uid", device.uid));
  TRY(json.maybe("gid", device.gid));
  return {};
}

Result<> read_json(const Value& value, NetDevice& device) {
  return TRY(value.object()).maybe("name", device.name);
}

Result<> read_json(const Value& value, IntelRdt& rdt) {
  const Object json = TRY(value.object());
  TRY(json.maybe("closID", rdt.clos_id));
  TRY(json.maybe("l3CacheSchema", rdt.l3_cache_schema));
  TRY(json.maybe("memBwSchema", rdt.mem_bw_schema));
  TRY(json.maybe("schemata", rdt.schemata));
  TRY(json.maybe("enableMonitoring", rdt.enable_monitoring));
  return {};
}

Result<> read_json(const Value& value, MemoryPolicy& policy) {
  const Object json = TRY(value.object());
  policy.mode = TRY(read_name(json, "mode", memory_policy_names(), "mode"));
  TRY(json.maybe("nodes", policy.nodes));
  policy.flags = TRY(read_flags(json, "flags", memory_policy_flag_names(), "flag"));
  return {};
}

Result<> read_json(const Value& value, Linux& linux_) {
  const Object json = TRY(value.object());
  TRY(json.maybe("namespaces", linux_.namespaces));
  TRY(json.maybe("uidMappings", linux_.uid_mappings));
  TRY(json.maybe("gidMappings", linux_.gid_mappings));
  TRY(json.maybe("timeOffsets", linux_.time_offsets));
  TRY(json.maybe("devices", linux_.devices));
  TRY(json.maybe("netDevices", linux_.net_devices));
  TRY(json.maybe("cgroupsPath", linux_.cgroups_path));
  TRY(json.maybe("resources", linux_.resources));
  TRY(json.maybe("intelRdt", linux_.intel_rdt));
  TRY(json.maybe("memoryPolicy", linux_.memory_policy));
  std::map<std::string, std::string> sysctl;
  TRY(json.maybe("sysctl", sysctl));
  linux_.sysctl.assign(sysctl.begin(), sysctl.end());
  if (const auto seccomp = json.find("seccomp")) {
    TRY(seccomp->object());
    linux_.seccomp_json = seccomp->raw();
  }
  if (const auto propagation = json.find("rootfsPropagation")) {
    linux_.rootfs_propagation = TRY(read_name(*propagation, propagation_names(), "propagation"));
  }
  TRY(json.maybe("maskedPaths", linux_.masked_paths));
  TRY(json.maybe("readonlyPaths", linux_.readonly_paths));
  TRY(json.maybe("mountLabel", linux_.mount_label));
  if (const auto personality = json.find("personality")) {
    linux_.personality_domain = TRY(read_personality(*personality));
  }
  return {};
}

}  // namespace nacelle::oci
