#include "container/compile.h"

#include <unistd.h>

#include <utility>

#include "base/text.h"
#include "container/intel_rdt.h"
#include "oci/spec_parse.h"
#include "sys/file.h"

namespace nacelle::container {
namespace {

bool file_says_yes(const char* path) {
  const auto text = sys::read_file_at(sys::working_directory, path, 64);
  return text && text->starts_with('Y');
}

// What the config asks of the host that is no question of its own sense.
Result<> check_host(const oci::Spec& spec) {
  if (!spec.process->apparmor_profile.empty() &&
      !file_says_yes("/sys/module/apparmor/parameters/enabled")) {
    return fail(Kind::Unsupported, "process.apparmorProfile: AppArmor is not enabled on this host");
  }
  if (!spec.process->selinux_label.empty() && ::access("/sys/fs/selinux/enforce", F_OK) != 0) {
    return fail(Kind::Unsupported, "process.selinuxLabel: SELinux is not enabled on this host");
  }
  if (spec.linux_ && spec.linux_->intel_rdt) {
    TRY(open_resctrl().context("linux.intelRdt"));
  }
  return {};
}

void warn_of_unknown_capabilities(const oci::Spec& spec, std::vector<std::string>& warnings) {
  if (!spec.process->capabilities) return;
  for (const std::string& name : spec.process->capabilities->unknown) {
    warnings.push_back(cat("process.capabilities: ignoring unknown capability ", name));
  }
}

std::span<const FilterInstruction> as_filter(const std::vector<codec::CbpfInstruction>& program) {
  static_assert(sizeof(FilterInstruction) == sizeof(codec::CbpfInstruction));
  return {reinterpret_cast<const FilterInstruction*>(program.data()), program.size()};
}

// Where a listener gets its descriptor; views into `profile`.
Result<> plan_listener(const oci::Seccomp& profile, SeccompPart& part) {
  if (profile.listener_path.empty()) {
    return fail(Kind::Invalid, "linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY needs it");
  }
  part.listener_path = profile.listener_path;
  part.listener_metadata = profile.listener_metadata;
  return {};
}

// Before 1.3 pids.limit could not be left out, and engines wrote 0 for "none" (Podman 4 does). What
// 0 means since is cgroup_plan's to say.
oci::Resources resources_of(const oci::Spec& spec) {
  oci::Resources resources = spec.linux_ ? spec.linux_->resources : oci::Resources{};
  const std::string_view version = spec.oci_version;
  const bool had_to_say =
      version.starts_with("1.0.") || version.starts_with("1.1.") || version.starts_with("1.2.");
  if (had_to_say && resources.pids_limit == 0) resources.pids_limit.reset();
  return resources;
}

}  // namespace

Result<CompiledSpec> compile_spec(const oci::Spec& spec, CompileOptions options) {
  if (!spec.process) return fail(Kind::Invalid, "process: missing");
  TRY(check_host(spec));
  CompiledSpec compiled;
  oci::Seccomp profile;
  if (options.filter != nullptr) {
    const SeccompProgram& filter = *options.filter;
    options.plan.seccomp = {.instructions = as_filter(filter.instructions),
                            .flags = filter.filter_flags,
                            .notifies = filter.has_notify,
                            .listener_path = {},
                            .listener_metadata = {}};
    compiled.warnings = filter.warnings;
    if (filter.has_notify) {
      profile = TRY(oci::parse_seccomp(spec.linux_->seccomp_json));
      TRY(plan_listener(profile, options.plan.seccomp));
    }
  } else if (spec.linux_ && !spec.linux_->seccomp_json.empty()) {
    return fail(Kind::Internal, "linux.seccomp: no filter was compiled");
  }
  warn_of_unknown_capabilities(spec, compiled.warnings);
  compiled.plan_bytes = TRY(plan_container(spec, options.plan));
  compiled.cgroup = TRY(plan_cgroup(resources_of(spec)));
  return compiled;
}

}  // namespace nacelle::container
