// The pieces validate.h is made of, one for each part of a configuration. Private to this floor.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/text.h"
#include "codec/json.h"
#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::oci {

// (uid_t)-1 means "leave alone" to the kernel, never a user.
inline constexpr uint32_t id_invalid = 0xffffffff;
// What fits in the kernel's dev_t.
inline constexpr int64_t device_major_max = (1 << 12) - 1;
inline constexpr int64_t device_minor_max = (1 << 20) - 1;

inline std::unexpected<Error> wrong(std::string_view path, std::string_view complaint) {
  return fail(Kind::Invalid, cat(path, ": ", complaint));
}
inline std::string element(std::string_view array, size_t index, std::string_view member = {}) {
  return cat(array, '[', index, ']', member);
}

// How a configuration names a namespace: not at all, a new one, or an existing one.
enum class Isolation { Host, New, Joined };
Isolation isolation(const Linux& linux_, NamespaceType type);
inline bool has_namespace(const Linux& linux_, NamespaceType type) {
  return isolation(linux_, type) != Isolation::Host;
}

// Whether `list` is a list of processors or memory nodes: `0-3,7`.
bool is_number_list(std::string_view list);
bool is_interface_name(std::string_view name);

Result<> validate_environment(const std::vector<std::string>& env, std::string_view path);
Result<> validate_mappings(const std::vector<IdMapping>& mappings, std::string_view path);
Result<> validate_hooks(const Hooks& hooks);
Result<> validate_mounts(const std::vector<Mount>& mounts, const Linux& linux_);
Result<> validate_namespaces(const Linux& linux_);
Result<> validate_sysctl(const Spec& spec, const Linux& linux_);
Result<> validate_linux(const Spec& spec, const Linux& linux_);

}  // namespace nacelle::oci
