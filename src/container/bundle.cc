// Bundle: config.json to what a start needs, once.
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "container/intel_rdt.h"
#include "container/plan.h"
#include "container/runtime_impl.h"
#include "container/seccomp.h"
#include "container/seccomp_cache.h"
#include "oci/spec_parse.h"
#include "sys/file.h"

namespace nacelle {
namespace {

using container::PlanHeader;

constexpr const char* config_file = "config.json";

// As runc takes it: relative to the working directory, links left as they are.
Result<std::string> absolute_directory(const std::string& directory) {
  if (directory.starts_with('/')) return container::clean_path(directory);
  char here[4096];
  if (::getcwd(here, sizeof here) == nullptr) return fail_errno(errno, "getcwd");
  return container::clean_path(cat(std::string_view(here), "/", directory));
}

bool file_says_yes(const char* path) {
  const auto text = sys::read_file_at(sys::working_directory, path, 64);
  return text && text->starts_with('Y');
}

// What the config asks of the host that is no question of its own sense: labels of security modules
// that are not there would silently protect nothing.
Result<> check_host(const oci::Spec& spec) {
  if (spec.process && !spec.process->apparmor_profile.empty() &&
      !file_says_yes("/sys/module/apparmor/parameters/enabled")) {
    return fail(Kind::Unsupported, "process.apparmorProfile: AppArmor is not enabled on this host");
  }
  if (spec.process && !spec.process->selinux_label.empty() &&
      ::access("/sys/fs/selinux/enforce", F_OK) != 0) {
    return fail(Kind::Unsupported, "process.selinuxLabel: SELinux is not enabled on this host");
  }
  if (spec.linux_ && spec.linux_->intel_rdt) {
    TRY(container::open_resctrl().context("linux.intelRdt"));
  }
  return {};
}

uint64_t namespaces_of(const container::PlanView& plan) {
  uint64_t namespaces = plan.header().new_namespaces;
  for (const container::JoinStep& join : plan.items(plan.header().joins)) namespaces |= join.type;
  return namespaces;
}

// config-linux.md "Cgroup ownership": only with a cgroup namespace of its own and a writable mount.
std::optional<uid_t> delegate_to(const oci::Spec& spec, const container::PlanView& plan) {
  const PlanHeader& header = plan.header();
  const bool delegated = (header.flags & container::plan_cgroup_writable) != 0 &&
                         (header.new_namespaces & CLONE_NEWCGROUP) != 0 && spec.linux_ &&
                         spec.process;
  if (!delegated || (header.flags & container::plan_user_namespace) == 0) return std::nullopt;
  const uint32_t uid = spec.process->user.uid;
  for (const oci::IdMapping& map : spec.linux_->uid_mappings) {
    if (uid >= map.container_id && uid - map.container_id < map.size)
      return map.host_id + (uid - map.container_id);
  }
  return std::nullopt;
}

void warn_of_unknown_capabilities(const oci::Spec& spec, std::vector<std::string>& warnings) {
  if (!spec.process || !spec.process->capabilities) return;
  for (const std::string& name : spec.process->capabilities->unknown) {
    warnings.push_back(cat("process.capabilities: ignoring unknown capability ", name));
  }
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

std::span<const container::FilterInstruction> as_filter(
    const std::vector<codec::CbpfInstruction>& program) {
  static_assert(sizeof(container::FilterInstruction) == sizeof(codec::CbpfInstruction));
  return {reinterpret_cast<const container::FilterInstruction*>(program.data()), program.size()};
}

// The compiled filter and what of the profile a start needs besides.
struct Filter {
  container::SeccompProgram program;
  std::string listener_path;
  std::string listener_metadata;
};

Result<Filter> make_filter(const std::string& seccomp_json, const container::Store& store) {
  Filter filter;
  const Fd cache = TRY(container::open_seccomp_cache(
      cat(store.path(), "/", container::Store::filter_cache_name).c_str()));
  filter.program =
      TRY(container::load_or_compile(cache, {.profile_json = seccomp_json, .kernel_release = {}},
                                     container::SeccompTarget::of_this_build()));
  if (filter.program.has_notify) {
    const oci::Seccomp profile = TRY(oci::parse_seccomp(seccomp_json));
    if (profile.listener_path.empty()) {
      return fail(Kind::Invalid,
                  "linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY needs it");
    }
    filter.listener_path = profile.listener_path;
    filter.listener_metadata = profile.listener_metadata;
  }
  return filter;
}

Result<std::unique_ptr<Bundle::Impl>> compile(std::string directory, const oci::Spec& spec,
                                              const container::Store& store,
                                              const LoadOptions& options) {
  auto bundle = std::make_unique<Bundle::Impl>();
  bundle->directory = std::move(directory);
  bundle->oci_version = spec.oci_version;
  bundle->annotations = spec.annotations;
  if (!spec.process) return fail(Kind::Invalid, "process: missing");
  TRY(check_host(spec));

  container::PlanOptions plan_options;
  plan_options.bundle = bundle->directory;
  plan_options.no_pivot = options.no_pivot;
  plan_options.new_keyring = options.new_keyring;
  plan_options.extra_env = options.extra_env;
  Filter filter;
  if (spec.linux_ && !spec.linux_->seccomp_json.empty()) {
    filter = TRY(make_filter(spec.linux_->seccomp_json, store));
    plan_options.seccomp = {.instructions = as_filter(filter.program.instructions),
                            .flags = filter.program.filter_flags,
                            .notifies = filter.program.has_notify,
                            .listener_path = filter.listener_path,
                            .listener_metadata = filter.listener_metadata};
    bundle->warnings = std::move(filter.program.warnings);
  }
  warn_of_unknown_capabilities(spec, bundle->warnings);
  bundle->plan_bytes = TRY(container::plan_container(spec, plan_options));
  bundle->plan = TRY(container::PlanView::check(bundle->plan_bytes));
  bundle->rootfs = bundle->plan.view(bundle->plan.header().root);
  bundle->namespaces = namespaces_of(bundle->plan);
  bundle->delegate_to = delegate_to(spec, bundle->plan);
  if (spec.linux_) {
    bundle->cgroups_path = spec.linux_->cgroups_path;
    bundle->intel_rdt = spec.linux_->intel_rdt;
  }
  bundle->cgroup = TRY(container::plan_cgroup(resources_of(spec)));
  return bundle;
}

}  // namespace

Bundle::Bundle(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Bundle::Bundle(Bundle&&) noexcept = default;
Bundle& Bundle::operator=(Bundle&&) noexcept = default;
Bundle::~Bundle() = default;

bool Bundle::terminal() const {
  return (impl_->plan.header().process.flags & container::process_terminal) != 0;
}

const std::vector<std::string>& Bundle::warnings() const { return impl_->warnings; }

Result<Bundle> Runtime::load(const std::string& directory, const LoadOptions& options) {
  std::string bundle = TRY(absolute_directory(directory));
  const auto where = [&] { return cat(bundle, "/", config_file); };
  const Fd opened = TRY(sys::open_at(sys::working_directory, bundle.c_str(), O_PATH | O_DIRECTORY));
  // A fifo must not hold the start up: without a writer it reads as empty.
  const Fd file =
      TRY(sys::open_at(opened.get(), config_file, O_RDONLY | O_NONBLOCK).context(where));
  const std::string json =
      TRY(sys::read_all(file, oci::config_bytes_max, config_file).context(where));
  const oci::Spec spec = TRY(oci::parse_spec(json).context(where));
  auto impl = TRY(compile(bundle, spec, impl_->store(), options).context(where));
  return Bundle(std::move(impl));
}

}  // namespace nacelle
