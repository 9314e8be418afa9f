#include <algorithm>

#include "oci/validate_parts.h"

namespace nacelle::oci {
namespace {

// Kernel parameters that an ipc namespace has a copy of.
constexpr std::string_view ipc_names[] = {
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
    "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
};

// Names become paths below /proc/sys, and other programs have read more into them than that
// (CVE-2022-0811: `kernel.shm_rmid_forced=1+kernel.core_pattern=...`): words between dots, no more.
bool is_plain_name(std::string_view name) {
  if (name.empty() || name.starts_with('.') || name.ends_with('.') || name.contains("..")) {
    return false;
  }
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

// Why `name` must not be set in this container, or nothing. An allowlist: a parameter that no
// namespace of the container's own holds would change the host.
std::string_view objection(std::string_view name, const Spec& spec, const Linux& linux_) {
  if (!is_plain_name(name)) return "not the name of a kernel parameter";
  if (std::ranges::find(ipc_names, name) != std::end(ipc_names) || name.starts_with("fs.mqueue.")) {
    return has_namespace(linux_, NamespaceType::Ipc) ? "" : "needs an ipc namespace";
  }
  if (name.starts_with("net.")) {
    return has_namespace(linux_, NamespaceType::Network) ? "" : "needs a network namespace";
  }
  if (name == "kernel.hostname") return "set 'hostname' instead";
  if (name == "kernel.domainname") {
    if (!has_namespace(linux_, NamespaceType::Uts)) return "needs a uts namespace";
    return spec.domainname.empty() ? "" : "contradicts 'domainname'";
  }
  return "belongs to the host: no namespace has one of its own";
}

}  // namespace

Result<> validate_sysctl(const Spec& spec, const Linux& linux_) {
  for (const auto& [name, value] : linux_.sysctl) {
    const auto at = [&] { return cat("linux.sysctl", codec::json::path_step(name)); };
    const std::string_view why_not = objection(name, spec, linux_);
    if (!why_not.empty()) return wrong(at(), why_not);
    if (value.contains('\n')) return wrong(at(), "the value must not contain a line break");
  }
  return {};
}

}  // namespace nacelle::oci
