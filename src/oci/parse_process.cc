#include <algorithm>

#include "oci/spec_read.h"

namespace nacelle::oci {
namespace {

Result<uint64_t> read_capability_set(const Object& json, std::string_view key,
                                     std::vector<std::string>& unknown) {
  uint64_t set = 0;
  const auto list = json.find(key);
  if (!list) return set;
  std::string scratch;
  for (const Value each : TRY(list->array())) {
    const std::string_view name = TRY(each.text(scratch));
    if (const auto number = find_capability(name)) {
      set |= uint64_t{1} << *number;
    } else if (std::ranges::find(unknown, name) == unknown.end()) {
      unknown.emplace_back(name);
    }
  }
  return set;
}

}  // namespace

Result<> read_json(const Value& value, ConsoleSize& size) {
  const Object json = TRY(value.object());
  TRY(json.need("height", size.height));
  TRY(json.need("width", size.width));
  return {};
}

Result<> read_json(const Value& value, User& user) {
  const Object json = TRY(value.object());
  TRY(json.need("uid", user.uid));
  TRY(json.need("gid", user.gid));
  TRY(json.maybe("umask", user.umask));
  TRY(json.maybe("additionalGids", user.additional_gids));
  TRY(json.maybe("username", user.username));
  return {};
}

Result<> read_json(const Value& value, Capabilities& capabilities) {
  const Object json = TRY(value.object());
  auto& unknown = capabilities.unknown;
  capabilities.bounding = TRY(read_capability_set(json, "bounding", unknown));
  capabilities.effective = TRY(read_capability_set(json, "effective", unknown));
  capabilities.inheritable = TRY(read_capability_set(json, "inheritable", unknown));
  capabilities.permitted = TRY(read_capability_set(json, "permitted", unknown));
  capabilities.ambient = TRY(read_capability_set(json, "ambient", unknown));
  return {};
}

Result<> read_json(const Value& value, Rlimit& rlimit) {
  const Object json = TRY(value.object());
  rlimit.resource = TRY(read_name(json, "type", rlimit_names(), "resource limit"));
  TRY(json.need("hard", rlimit.hard));
  TRY(json.need("soft", rlimit.soft));
  return {};
}

Result<> read_json(const Value& value, Scheduler& scheduler) {
  const Object json = TRY(value.object());
  scheduler.policy = TRY(read_name(json, "policy", scheduler_policy_names(), "policy"));
  TRY(json.maybe("nice", scheduler.nice));
  int32_t priority = 0;
  TRY(json.maybe("priority", priority));
  if (priority < 0) return json.invalid("priority", "must not be negative");
  scheduler.priority = static_cast<uint32_t>(priority);
  scheduler.flags = TRY(read_flags(json, "flags", scheduler_flag_names(), "flag"));
  TRY(json.maybe("runtime", scheduler.runtime_ns));
  TRY(json.maybe("deadline", scheduler.deadline_ns));
  TRY(json.maybe("period", scheduler.period_ns));
  return {};
}

Result<> read_json(const Value& value, IoPriority& priority) {
  const Object json = TRY(value.object());
  priority.klass = TRY(read_name(json, "class", io_priority_class_names(), "class"));
  TRY(json.need("priority", priority.priority));
  return {};
}

Result<> read_json(const Value& value, ExecCpuAffinity& affinity) {
  const Object json = TRY(value.object());
  TRY(json.maybe("initial", affinity.initial));
  TRY(json.maybe("final", affinity.final_));
  return {};
}

Result<> read_json(const Value& value, Process& process) {
  const Object json = TRY(value.object());
  TRY(json.maybe("terminal", process.terminal));
  // config.md: consoleSize must be ignored when there is no terminal.
  if (process.terminal) TRY(json.maybe("consoleSize", process.console_size));
  TRY(json.need("cwd", process.cwd));
  TRY(json.maybe("env", process.env));
  TRY(json.need("args", process.args));
  TRY(json.maybe("user", process.user));
  TRY(json.maybe("capabilities", process.capabilities));
  TRY(json.maybe("rlimits", process.rlimits));
  TRY(json.maybe("noNewPrivileges", process.no_new_privileges));
  TRY(json.maybe("apparmorProfile", process.apparmor_profile));
  TRY(json.maybe("selinuxLabel", process.selinux_label));
  TRY(json.maybe("oomScoreAdj", process.oom_score_adj));
  TRY(json.maybe("scheduler", process.scheduler));
  TRY(json.maybe("ioPriority", process.io_priority));
  TRY(json.maybe("execCPUAffinity", process.exec_cpu_affinity));
  return {};
}

}  // namespace nacelle::oci
