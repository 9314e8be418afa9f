// Bundle: config.json to what a start needs, once.
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "container/compile.h"
#include "container/runtime_impl.h"
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

Result<std::unique_ptr<Bundle::Impl>> compile(std::string directory, const oci::Spec& spec,
                                              const container::Store& store,
                                              const LoadOptions& options) {
  auto bundle = std::make_unique<Bundle::Impl>();
  bundle->directory = std::move(directory);
  bundle->oci_version = spec.oci_version;
  bundle->annotations = spec.annotations;
  container::CompileOptions compile_options;
  compile_options.plan.bundle = bundle->directory;
  compile_options.plan.no_pivot = options.no_pivot;
  compile_options.plan.new_keyring = options.new_keyring;
  compile_options.plan.extra_env = options.extra_env;
  container::SeccompProgram filter;
  if (spec.linux_ && !spec.linux_->seccomp_json.empty()) {
    const Fd cache = TRY(container::open_seccomp_cache(
        cat(store.path(), "/", container::Store::filter_cache_name).c_str()));
    filter = TRY(container::load_or_compile(
        cache, {.profile_json = spec.linux_->seccomp_json, .kernel_release = {}},
        container::SeccompTarget::of_this_build()));
    compile_options.filter = &filter;
  }
  auto compiled = TRY(container::compile_spec(spec, std::move(compile_options)));
  bundle->warnings = std::move(compiled.warnings);
  bundle->plan_bytes = std::move(compiled.plan_bytes);
  bundle->cgroup = std::move(compiled.cgroup);
  bundle->plan = TRY(container::PlanView::check(bundle->plan_bytes));
  bundle->rootfs = bundle->plan.view(bundle->plan.header().root);
  bundle->namespaces = namespaces_of(bundle->plan);
  bundle->delegate_to = delegate_to(spec, bundle->plan);
  if (spec.linux_) {
    bundle->cgroups_path = spec.linux_->cgroups_path;
    bundle->intel_rdt = spec.linux_->intel_rdt;
  }
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
