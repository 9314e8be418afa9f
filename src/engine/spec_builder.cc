#include "engine/spec_builder.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "base/text.h"
#include "codec/json.h"
#include "container/cgroup_wire.h"
#include "container/compile.h"
#include "container/plan.h"
#include "container/seccomp.h"
#include "container/seccomp_cache.h"
#include "engine/spec_parts.h"
#include "engine/spec_seccomp.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

constexpr std::string_view search_path =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
// Core brings the root as a mount without a place; a plan has to name one.
constexpr std::string_view bundle_placeholder = "/run/nacelle";
constexpr std::string_view root_placeholder = "/run/nacelle/root";
constexpr const char* init_destination = "/sbin/docker-init";
// Filters and profiles kept; most containers share one.
constexpr size_t filters_max = 64;
constexpr size_t short_id_bytes = 12;

std::string_view name_of_variable(std::string_view entry) {
  return entry.substr(0, entry.find('='));
}

// What the request sets takes the place of what every container gets; a name alone unsets.
std::vector<std::string> make_environment(const CreateRequest& request,
                                          const std::string& hostname) {
  std::vector<std::string> env = {std::string(search_path), cat("HOSTNAME=", hostname)};
  if (request.config.tty) env.emplace_back("TERM=xterm");
  const size_t defaults = env.size();
  for (const std::string& entry : request.config.env) {
    const auto end = env.begin() + static_cast<std::ptrdiff_t>(defaults);
    const auto same = std::find_if(env.begin(), end, [&](const std::string& have) {
      return !have.empty() && name_of_variable(have) == name_of_variable(entry);
    });
    if (!entry.contains('=')) {
      if (same != end) same->clear();
    } else if (same != end) {
      *same = entry;
    } else {
      env.push_back(entry);
    }
  }
  std::erase(env, std::string());
  std::ranges::copy(request.secret_env, std::back_inserter(env));
  return env;
}

oci::Capabilities capability_sets(uint64_t bits) {
  return {.bounding = bits,
          .effective = bits,
          .inheritable = 0,
          .permitted = bits,
          .ambient = 0,
          .unknown = {}};
}

// Mounts ----------------------------------------------------------------------------------------

std::vector<oci::Mount> default_mounts(const HostConfig& host) {
  using Options = std::vector<std::string>;
  std::vector<oci::Mount> mounts;
  const auto add = [&](const char* destination, const char* type, const char* source,
                       Options options) {
    mounts.push_back({destination, type, source, std::move(options), {}, {}});
  };
  add("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"});
  add("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"});
  add("/dev/pts", "devpts", "devpts",
      {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"});
  add("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"});
  add("/sys/fs/cgroup", "cgroup", "cgroup", {"ro", "nosuid", "noexec", "nodev"});
  add("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"});
  if (is_host(host.ipc_mode)) {
    add("/dev/shm", "bind", "/dev/shm", {"rbind", "rprivate"});
  } else if (host.ipc_mode != "none") {
    add("/dev/shm", "tmpfs", "shm",
        {"nosuid", "noexec", "nodev", "mode=1777", cat("size=", host.shm_size)});
  }
  return mounts;
}

void clear_read_only(std::vector<oci::Mount>& mounts, std::string_view destination) {
  for (oci::Mount& mount : mounts) {
    if (mount.destination == destination) std::erase(mount.options, "ro");
  }
}

size_t depth_of(const oci::Mount& mount) {
  return static_cast<size_t>(std::ranges::count(mount.destination, '/'));
}

// The files of its own that a container sees in /etc.
void add_own_files(const SpecInput& input, std::vector<oci::Mount>& mounts) {
  for (const char* name : {"resolv.conf", "hostname", "hosts"}) {
    oci::Mount mount{cat("/etc/", name),    "bind", cat(input.directory, "/", name),
                     {"rbind", "rprivate"}, {},     {}};
    if (input.request->host.readonly_rootfs) mount.options.insert(mount.options.begin() + 1, "ro");
    const bool taken = contains(mounts, mount.destination, &oci::Mount::destination);
    if (!taken) mounts.push_back(std::move(mount));
  }
}

// Everything but the default mounts, outer places first.
Result<std::vector<oci::Mount>> own_mounts(const SpecInput& input) {
  std::vector<oci::Mount> mounts;
  for (const MountPlan& plan : input.mounts) {
    const MountPoint& point = plan.point;
    if (point.type == "tmpfs") {
      mounts.push_back({point.destination, "tmpfs", "tmpfs", plan.options, {}, {}});
      continue;
    }
    if (!plan.file_system.empty()) {
      mounts.push_back({point.destination, plan.file_system, point.source, plan.options, {}, {}});
      continue;
    }
    if (!point.source.starts_with('/')) {
      return fail(Kind::Internal, cat("mount of '", point.destination, "': no source"));
    }
    mounts.push_back({point.destination, "bind", point.source, plan.options, {}, {}});
  }
  for (const auto& [target, data] : input.request->host.tmpfs) {
    const std::string destination = container::clean_path(target);
    if (contains(mounts, destination, &oci::Mount::destination)) continue;
    mounts.push_back({destination, "tmpfs", "tmpfs", TRY(tmpfs_options(data)), {}, {}});
  }
  if (!input.directory.empty()) add_own_files(input, mounts);
  std::ranges::sort(mounts, {}, [](const oci::Mount& mount) {
    return std::pair(depth_of(mount), std::string_view(mount.destination));
  });
  return mounts;
}

Result<std::vector<oci::Mount>> make_mounts(const SpecInput& input) {
  const HostConfig& host = input.request->host;
  std::vector<oci::Mount> own = TRY(own_mounts(input));
  const auto is_taken = [&](std::string_view destination) {
    return contains(own, destination, &oci::Mount::destination);
  };
  std::vector<oci::Mount> mounts = default_mounts(host);
  const bool whole_dev = is_taken("/dev");
  std::erase_if(mounts, [&](const oci::Mount& mount) {
    return is_taken(mount.destination) || (whole_dev && mount.destination.starts_with("/dev/"));
  });
  if (host.readonly_rootfs) {
    constexpr std::array writable = {"/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"};
    for (oci::Mount& mount : mounts) {
      if (!contains(writable, mount.destination) && !contains(mount.options, "ro")) {
        mount.options.emplace_back("ro");
      }
    }
  }
  const auto security = TRY(parse_security_options(host.security_opt));
  if (host.privileged && !host.readonly_rootfs) clear_read_only(mounts, "/sys");
  if (host.privileged || security.writable_cgroups) clear_read_only(mounts, "/sys/fs/cgroup");
  for (oci::Mount& mount : own) mounts.push_back(std::move(mount));
  return mounts;
}

oci::Propagation root_propagation(const std::vector<MountPlan>& mounts) {
  oci::Propagation propagation = oci::Propagation::Unset;
  for (const MountPlan& plan : mounts) {
    const std::string_view word = plan.point.propagation;
    if (word == "shared" || word == "rshared") return oci::Propagation::Shared;
    if (word == "slave" || word == "rslave") propagation = oci::Propagation::Slave;
  }
  return propagation;
}

// Namespaces ------------------------------------------------------------------------------------

std::vector<oci::Namespace> make_namespaces(const SpecInput& input) {
  const HostConfig& host = input.request->host;
  std::vector<oci::Namespace> namespaces;
  const auto add = [&](oci::NamespaceType type, bool wanted) {
    if (wanted) namespaces.push_back({type, {}});
  };
  const auto own = [](std::string_view mode) { return !is_host(mode) && !is_container(mode); };
  add(oci::NamespaceType::Mount, true);
  add(oci::NamespaceType::Network, input.own_network && !is_host(host.network_mode));
  add(oci::NamespaceType::Uts, !is_host(host.uts_mode));
  add(oci::NamespaceType::Pid, own(host.pid_mode));
  add(oci::NamespaceType::Ipc, own(host.ipc_mode));
  add(oci::NamespaceType::Cgroup, !is_host(host.cgroupns_mode));
  return namespaces;
}

std::vector<std::pair<std::string, std::string>> make_sysctls(const HostConfig& host) {
  std::map<std::string, std::string> sysctls;
  if (!is_host(host.network_mode)) {
    sysctls["net.ipv4.ip_unprivileged_port_start"] = "0";
    sysctls["net.ipv4.ping_group_range"] = "0 2147483647";
  }
  for (const auto& [name, value] : host.sysctls) sysctls[name] = value;
  return {sysctls.begin(), sysctls.end()};
}

oci::ConsoleSize console_size(const std::vector<uint32_t>& size) {
  const auto bounded = [](uint32_t n) { return static_cast<uint16_t>(std::min(n, 65535u)); };
  if (size.size() != 2) return {};
  return {.height = bounded(size[0]), .width = bounded(size[1])};
}

// In a pid namespace of others it would be the first process of nothing.
bool wants_init(const HostConfig& host) {
  return host.init.value_or(false) && !is_host(host.pid_mode) && !is_container(host.pid_mode);
}

std::vector<std::string> make_arguments(const SpecInput& input) {
  const ContainerConfig& config = input.request->config;
  std::vector<std::string> args;
  if (wants_init(input.request->host)) args = {init_destination, "--"};
  args.insert(args.end(), config.entrypoint.words.begin(), config.entrypoint.words.end());
  args.insert(args.end(), config.cmd.words.begin(), config.cmd.words.end());
  return args;
}

bool apparmor_is_enabled() {
  const auto text =
      sys::read_file_at(sys::working_directory, "/sys/module/apparmor/parameters/enabled", 64);
  return text && text->starts_with('Y');
}

// Profiles that mean "the engine's own" are none: we have none to load.
Result<std::string> apparmor_profile(const std::string& asked_for) {
  if (asked_for.empty() || asked_for == "unconfined" || asked_for == "docker-default") {
    return std::string();
  }
  if (!apparmor_is_enabled()) {
    return fail(Kind::Invalid, cat("AppArmor is not enabled on this host: cannot apply profile ",
                                   codec::json::in_quotes(asked_for)));
  }
  return asked_for;
}

// What a start answers with when a container cannot be made from what was accepted at its creation:
// no mistake of this request, and dockerd calls it an error of the server.
template <class T>
Result<T> as_start_error(Result<T> result) {
  if (result || result.error().kind() != Kind::Invalid) return result;
  return fail(Kind::Internal, result.error().message());
}

}  // namespace

struct SpecBuilder::State {
  Fd filter_directory;
  std::map<uint64_t, std::string> default_profiles;  // by capabilities that matter
  std::unordered_map<std::string, container::SeccompProgram> filters;  // by linux.seccomp

  const std::string& default_profile(uint64_t capabilities);
  Result<std::string> profile_of(const HostConfig& host, const SecurityOptions& security,
                                 uint64_t capabilities);
  Result<const container::SeccompProgram*> filter_of(const std::string& json);
  Result<oci::Process> make_process(const SpecInput& input, const Fd& root,
                                    const std::string& hostname);
  Result<oci::Spec> build(const SpecInput& input, const Fd& root);
};

const std::string& SpecBuilder::State::default_profile(uint64_t capabilities) {
  const uint64_t key = capabilities & seccomp_default_capabilities();
  const auto found = default_profiles.find(key);
  if (found != default_profiles.end()) return found->second;
  if (default_profiles.size() >= filters_max) default_profiles.clear();
  return default_profiles[key] = default_seccomp(seccomp_host(capabilities));
}

Result<std::string> SpecBuilder::State::profile_of(const HostConfig& host,
                                                   const SecurityOptions& security,
                                                   uint64_t capabilities) {
  const std::string& asked_for = security.seccomp;
  if (asked_for == "unconfined" || (host.privileged && asked_for.empty())) return std::string();
  if (asked_for.empty() || asked_for == "builtin") return default_profile(capabilities);
  return read_seccomp_profile(asked_for, seccomp_host(capabilities));
}

Result<const container::SeccompProgram*> SpecBuilder::State::filter_of(const std::string& json) {
  const auto found = filters.find(json);
  if (found != filters.end()) return &found->second;
  container::SeccompProgram program =
      TRY(container::load_or_compile(filter_directory, {.profile_json = json, .kernel_release = {}},
                                     container::SeccompTarget::of_this_build()));
  if (filters.size() >= filters_max) filters.clear();
  return &filters.emplace(json, std::move(program)).first->second;
}

Result<oci::Process> SpecBuilder::State::make_process(const SpecInput& input, const Fd& root,
                                                      const std::string& hostname) {
  const CreateRequest& request = *input.request;
  const HostConfig& host = request.host;
  oci::Process process;
  process.terminal = request.config.tty;
  if (process.terminal) process.console_size = console_size(host.console_size);
  process.cwd = request.config.working_dir.empty() ? "/" : request.config.working_dir;
  process.env = make_environment(request, hostname);
  process.args = make_arguments(input);
  if (process.args.empty()) return fail(Kind::Invalid, "no command specified");
  ResolvedUser user = TRY(resolve_user(request.config.user, host.group_add, root));
  process.user.uid = user.uid;
  process.user.gid = user.gid;
  process.user.additional_gids = std::move(user.additional_gids);
  process.capabilities = capability_sets(TRY(choose_capabilities(host)));
  process.rlimits = TRY(plan_rlimits(host.ulimits));
  process.oom_score_adj = host.oom_score_adj;
  const SecurityOptions security = TRY(parse_security_options(host.security_opt));
  process.no_new_privileges = security.no_new_privileges;
  process.apparmor_profile = TRY(apparmor_profile(security.apparmor));
  return process;
}

Result<oci::Spec> SpecBuilder::State::build(const SpecInput& input, const Fd& root) {
  const CreateRequest& request = *input.request;
  const HostConfig& host = request.host;
  oci::Spec spec;
  spec.oci_version = "1.3.0";
  const std::string hostname = request.config.hostname.empty() ? input.id.substr(0, short_id_bytes)
                                                               : request.config.hostname;
  if (!is_host(host.uts_mode)) {
    spec.hostname = hostname;
    spec.domainname = request.config.domainname;
  }
  spec.process = TRY(make_process(input, root, hostname));
  spec.root = oci::Root{.path = std::string(root_placeholder), .readonly = host.readonly_rootfs};
  spec.mounts = TRY(make_mounts(input));
  if (wants_init(host)) {
    if (input.init_program.empty()) return fail(Kind::Internal, "no init program is installed");
    spec.mounts.push_back(
        {init_destination, "bind", input.init_program, {"bind", "ro", "nosuid"}, {}, {}});
  }
  spec.annotations = host.annotations;

  oci::Linux linux_;
  linux_.namespaces = make_namespaces(input);
  linux_.sysctl = make_sysctls(host);
  linux_.cgroups_path = cat("/", input.cgroup_path);
  linux_.rootfs_propagation = root_propagation(input.mounts);
  TRY(add_resources(host, linux_.resources));
  TRY(add_devices(host, linux_));
  const SecurityOptions security = TRY(parse_security_options(host.security_opt));
  linux_.seccomp_json = TRY(profile_of(host, security, spec.process->capabilities->bounding));
  if (!host.privileged) {
    linux_.masked_paths = host.masked_paths.value_or(default_masked_paths());
    linux_.readonly_paths = host.readonly_paths.value_or(default_readonly_paths());
  }
  spec.linux_ = std::move(linux_);
  return spec;
}

SpecBuilder::SpecBuilder(std::unique_ptr<State> state) : state_(std::move(state)) {}
SpecBuilder::~SpecBuilder() = default;

Result<std::unique_ptr<SpecBuilder>> SpecBuilder::open(std::string cache_directory) {
  auto state = std::make_unique<State>();
  state->filter_directory = TRY(container::open_seccomp_cache(cache_directory.c_str()));
  return std::unique_ptr<SpecBuilder>(new SpecBuilder(std::move(state)));
}

Result<oci::Spec> SpecBuilder::build(const SpecInput& input, const Fd& root) {
  return as_start_error(state_->build(input, root));
}

Result<Compiled> SpecBuilder::compile(const oci::Spec& spec) {
  container::CompileOptions options;
  options.plan.bundle = bundle_placeholder;
  if (spec.linux_ && !spec.linux_->seccomp_json.empty()) {
    options.filter = TRY(as_start_error(state_->filter_of(spec.linux_->seccomp_json)));
  }
  auto made = TRY(as_start_error(container::compile_spec(spec, std::move(options))));
  Compiled compiled;
  compiled.plan = std::move(made.plan_bytes);
  compiled.cgroup_plan = container::encode_cgroup_plan(made.cgroup);
  compiled.warnings = std::move(made.warnings);
  compiled.uid = spec.process->user.uid;
  compiled.gid = spec.process->user.gid;
  return compiled;
}

Result<std::string> SpecBuilder::compile_update(const HostConfig& host) {
  TRY(check_resources(host, /*update=*/true));
  oci::Resources resources;
  TRY(add_resources(host, resources));
  container::CgroupPlan plan = TRY(container::plan_cgroup(resources));
  plan.device_program.clear();  // which devices it may use stays as it is
  return container::encode_cgroup_plan(plan);
}

}  // namespace nacelle::engine
