#include <algorithm>

#include "oci/names.h"
#include "oci/validate.h"
#include "oci/validate_parts.h"

namespace nacelle::oci {
namespace {

constexpr uint32_t errno_max = 4095;        // the kernel's MAX_ERRNO
constexpr uint32_t trace_data_max = 65535;  // SECCOMP_RET_DATA
constexpr uint32_t argument_index_max = 5;

Result<> validate_errno(SeccompAction action, const std::optional<uint32_t>& value,
                        std::string_view path) {
  if (!value) return {};
  if (action != SeccompAction::Errno && action != SeccompAction::Trace) {
    return wrong(path, "the action takes no errno");
  }
  const uint32_t max = action == SeccompAction::Errno ? errno_max : trace_data_max;
  if (*value > max) return wrong(path, cat(*value, ": out of range 0..", max));
  return {};
}

Result<> validate_rule(const SeccompRule& rule, const std::string& path) {
  if (rule.names.empty()) return wrong(path + ".names", "must not be empty");
  for (size_t i = 0; i < rule.names.size(); ++i) {
    if (rule.names[i].empty()) return wrong(element(path + ".names", i), "must not be empty");
  }
  TRY(validate_errno(rule.action, rule.errno_ret, path + ".errnoRet"));
  for (size_t i = 0; i < rule.args.size(); ++i) {
    if (rule.args[i].index > argument_index_max) {
      return wrong(element(path + ".args", i, ".index"),
                   cat(rule.args[i].index, ": out of range 0..", argument_index_max));
    }
  }
  return {};
}

Result<> validate_listener(const Seccomp& seccomp) {
  if (!seccomp.listener_path.empty() && !seccomp.listener_path.starts_with('/')) {
    return wrong("linux.seccomp.listenerPath", "must be absolute");
  }
  if (!seccomp.listener_path.empty()) return {};
  if (!seccomp.listener_metadata.empty()) {
    return wrong("linux.seccomp.listenerMetadata", "needs listenerPath");
  }
  const bool notifies = std::ranges::any_of(
      seccomp.rules, [](const SeccompRule& rule) { return rule.action == SeccompAction::Notify; });
  if (notifies) return wrong("linux.seccomp.listenerPath", "missing: SCMP_ACT_NOTIFY needs it");
  return {};
}

}  // namespace

Result<> validate(const Seccomp& seccomp) {
  if (seccomp.default_action == SeccompAction::Notify) {
    // Every system call of the launch itself would wait for a listener that it has yet to reach.
    return wrong("linux.seccomp.defaultAction", "'SCMP_ACT_NOTIFY' cannot be the default");
  }
  TRY(validate_errno(seccomp.default_action, seccomp.default_errno_ret,
                     "linux.seccomp.defaultErrnoRet"));
  const auto known = seccomp_flag_names();
  for (size_t i = 0; i < seccomp.flags.size(); ++i) {
    if (std::ranges::find(known, seccomp.flags[i]) == known.end()) {
      return wrong(element("linux.seccomp.flags", i),
                   cat("unknown flag ", codec::json::in_quotes(seccomp.flags[i])));
    }
  }
  for (size_t i = 0; i < seccomp.rules.size(); ++i) {
    TRY(validate_rule(seccomp.rules[i], element("linux.seccomp.syscalls", i)));
  }
  return validate_listener(seccomp);
}

}  // namespace nacelle::oci
