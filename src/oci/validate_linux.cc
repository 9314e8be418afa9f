#include <algorithm>
#include <set>

#include "oci/names.h"
#include "oci/validate.h"
#include "oci/validate_parts.h"

namespace nacelle::oci {
namespace {

constexpr size_t mappings_max = 340;  // the kernel's UID_GID_MAP_MAX_EXTENTS
constexpr uint32_t nanoseconds_per_second = 1'000'000'000;
// MPOL_* and MPOL_F_* as the kernel numbers them.
constexpr int mpol_default = 0, mpol_preferred = 1, mpol_local = 4;
constexpr unsigned mpol_static_and_relative = 1u << 15 | 1u << 14;

Result<> validate_no_overlap(std::vector<std::pair<uint64_t, uint64_t>> ranges,
                             std::string_view path) {
  std::ranges::sort(ranges);
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) {
      return wrong(path, cat("two mappings contain id ", ranges[i].first));
    }
  }
  return {};
}

Result<> validate_user_namespace(const Linux& linux_) {
  TRY(validate_mappings(linux_.uid_mappings, "linux.uidMappings"));
  TRY(validate_mappings(linux_.gid_mappings, "linux.gidMappings"));
  const Isolation user = isolation(linux_, NamespaceType::User);
  for (const auto& [mappings, path] : {std::pair(&linux_.uid_mappings, "linux.uidMappings"),
                                       std::pair(&linux_.gid_mappings, "linux.gidMappings")}) {
    if (user == Isolation::Host && !mappings->empty()) {
      return wrong(path, "needs a user namespace");
    }
    if (user == Isolation::New && mappings->empty()) {
      return wrong(path, "missing: a new user namespace needs mappings");
    }
  }
  return {};
}

Result<> validate_time_offsets(const Linux& linux_) {
  if (linux_.time_offsets.empty()) return {};
  if (isolation(linux_, NamespaceType::Time) != Isolation::New) {
    return wrong("linux.timeOffsets", "needs a new time namespace");
  }
  for (const auto& [clock, offset] : linux_.time_offsets) {
    const auto at = [&] { return cat("linux.timeOffsets", codec::json::path_step(clock)); };
    if (clock != "monotonic" && clock != "boottime") {
      return wrong(at(), "unknown clock: 'monotonic' and 'boottime' can be set off");
    }
    if (offset.nanosecs >= nanoseconds_per_second) {
      return wrong(at() + ".nanosecs", cat(offset.nanosecs, ": out of range 0..999999999"));
    }
  }
  return {};
}

Result<> validate_device(const Device& device, const std::string& path) {
  if (!device.path.starts_with('/')) return wrong(path + ".path", "must be absolute");
  if (device.path.ends_with('/')) return wrong(path + ".path", "must not end in '/'");
  if (device.major < 0 || device.major > device_major_max) {
    return wrong(path + ".major", cat(device.major, ": out of range 0..", device_major_max));
  }
  if (device.minor < 0 || device.minor > device_minor_max) {
    return wrong(path + ".minor", cat(device.minor, ": out of range 0..", device_minor_max));
  }
  // Some callers leave the file type in the mode.
  if (device.file_mode && *device.file_mode > 0177777) {
    return wrong(path + ".fileMode", cat(*device.file_mode, ": out of range 0..65535"));
  }
  if (device.uid == id_invalid) return wrong(path + ".uid", "4294967295 is no id");
  if (device.gid == id_invalid) return wrong(path + ".gid", "4294967295 is no id");
  return {};
}

Result<> validate_devices(const std::vector<Device>& devices) {
  std::set<std::string_view> paths;
  for (size_t i = 0; i < devices.size(); ++i) {
    TRY(validate_device(devices[i], element("linux.devices", i)));
    if (!paths.insert(devices[i].path).second) {
      return wrong(element("linux.devices", i, ".path"),
                   cat(codec::json::in_quotes(devices[i].path), ": given twice"));
    }
  }
  return {};
}

Result<> validate_net_devices(const Linux& linux_) {
  if (linux_.net_devices.empty()) return {};
  if (!has_namespace(linux_, NamespaceType::Network)) {
    return wrong("linux.netDevices", "needs a network namespace");
  }
  constexpr std::string_view complaint = "not a name a network interface can have";
  std::set<std::string_view> inside;
  for (const auto& [host_name, device] : linux_.net_devices) {
    const auto at = [&] { return cat("linux.netDevices", codec::json::path_step(host_name)); };
    if (!is_interface_name(host_name)) return wrong(at(), complaint);
    if (!device.name.empty() && !is_interface_name(device.name)) {
      return wrong(at() + ".name", complaint);
    }
    const std::string_view name = device.name.empty() ? host_name : device.name;
    // The kernel numbers a template such as eth%d itself.
    if (!name.contains("%d") && !inside.insert(name).second) {
      return wrong(at() + ".name", cat(codec::json::in_quotes(name), ": given twice"));
    }
  }
  return {};
}

Result<> validate_cgroups_path(std::string_view path) {
  if (path.contains('\n')) return wrong("linux.cgroupsPath", "must not contain a line break");
  while (!path.empty()) {
    if (take_until(path, '/') == "..") return wrong("linux.cgroupsPath", "must not contain '..'");
  }
  return {};
}

Result<> validate_intel_rdt(const IntelRdt& rdt) {
  constexpr std::string_view complaint = "must not contain a line break";
  // closID names a directory of resctrl, "/" its root.
  const std::string_view id = rdt.clos_id;
  if (id != "/" && (id.contains('/') || id == "." || id == ".." || id.contains('\n'))) {
    return wrong("linux.intelRdt.closID", "not a name a directory can have");
  }
  if (rdt.l3_cache_schema.contains('\n')) return wrong("linux.intelRdt.l3CacheSchema", complaint);
  if (rdt.mem_bw_schema.contains('\n')) return wrong("linux.intelRdt.memBwSchema", complaint);
  if (!rdt.mem_bw_schema.empty() && !rdt.mem_bw_schema.starts_with("MB:")) {
    return wrong("linux.intelRdt.memBwSchema", "must begin with 'MB:'");
  }
  for (size_t i = 0; i < rdt.schemata.size(); ++i) {
    if (rdt.schemata[i].contains('\n')) {
      return wrong(element("linux.intelRdt.schemata", i), complaint);
    }
  }
  return {};
}

Result<> validate_memory_policy(const MemoryPolicy& policy) {
  if (!policy.nodes.empty() && !is_number_list(policy.nodes)) {
    return wrong("linux.memoryPolicy.nodes", "not a list of nodes such as '0-3,7'");
  }
  const bool takes_none = policy.mode == mpol_default || policy.mode == mpol_local;
  if (takes_none && !policy.nodes.empty()) {
    return wrong("linux.memoryPolicy.nodes", "this mode takes none");
  }
  if (!takes_none && policy.mode != mpol_preferred && policy.nodes.empty()) {
    return wrong("linux.memoryPolicy.nodes", "missing: this mode needs them");
  }
  if ((policy.flags & mpol_static_and_relative) == mpol_static_and_relative) {
    return wrong("linux.memoryPolicy.flags",
                 "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES contradict each other");
  }
  return {};
}

Result<> validate_hidden_paths(const Linux& linux_) {
  for (const auto& [paths, name] : {std::pair(&linux_.masked_paths, "linux.maskedPaths"),
                                    std::pair(&linux_.readonly_paths, "linux.readonlyPaths")}) {
    if (!paths->empty() && !has_namespace(linux_, NamespaceType::Mount)) {
      return wrong(name, "needs a mount namespace");
    }
    for (size_t i = 0; i < paths->size(); ++i) {
      if (!(*paths)[i].starts_with('/')) return wrong(element(name, i), "must be absolute");
    }
  }
  return {};
}

}  // namespace

Result<> validate_mappings(const std::vector<IdMapping>& mappings, std::string_view path) {
  if (mappings.empty()) return {};
  if (mappings.size() > mappings_max) {
    return wrong(path, cat("more than ", mappings_max, " mappings"));
  }
  std::vector<std::pair<uint64_t, uint64_t>> inside, outside;
  for (size_t i = 0; i < mappings.size(); ++i) {
    const IdMapping& mapping = mappings[i];
    const uint64_t size = mapping.size;
    if (size == 0) return wrong(element(path, i, ".size"), "must not be zero");
    if (mapping.container_id + size > id_invalid) {
      return wrong(element(path, i, ".containerID"), "the range goes past the last id");
    }
    if (mapping.host_id + size > id_invalid) {
      return wrong(element(path, i, ".hostID"), "the range goes past the last id");
    }
    inside.emplace_back(mapping.container_id, mapping.container_id + size);
    outside.emplace_back(mapping.host_id, mapping.host_id + size);
  }
  TRY(validate_no_overlap(std::move(inside), cat(path, "[].containerID")));
  return validate_no_overlap(std::move(outside), cat(path, "[].hostID"));
}

Result<> validate_namespaces(const Linux& linux_) {
  unsigned seen = 0;
  for (size_t i = 0; i < linux_.namespaces.size(); ++i) {
    const Namespace& each = linux_.namespaces[i];
    const unsigned bit = 1u << static_cast<unsigned>(each.type);
    if (seen & bit) return wrong(element("linux.namespaces", i, ".type"), "given twice");
    seen |= bit;
    if (!each.path.empty() && !each.path.starts_with('/')) {
      return wrong(element("linux.namespaces", i, ".path"), "must be absolute");
    }
  }
  return {};
}

Result<> validate_linux(const Spec& spec, const Linux& linux_) {
  TRY(validate_user_namespace(linux_));
  TRY(validate_time_offsets(linux_));
  TRY(validate_devices(linux_.devices));
  TRY(validate_net_devices(linux_));
  TRY(validate_cgroups_path(linux_.cgroups_path));
  TRY(validate(linux_.resources));
  if (linux_.intel_rdt) TRY(validate_intel_rdt(*linux_.intel_rdt));
  if (linux_.memory_policy) TRY(validate_memory_policy(*linux_.memory_policy));
  TRY(validate_sysctl(spec, linux_));
  return validate_hidden_paths(linux_);
}

}  // namespace nacelle::oci
