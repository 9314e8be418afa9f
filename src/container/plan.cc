#include "container/plan.h"

#include <linux/mount.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/check.h"
#include "base/text.h"
#include "container/mount_plan.h"
#include "sys/kernel.h"

namespace nacelle::container {
namespace {

uint64_t clone_flag(oci::NamespaceType type) {
  switch (type) {
    case oci::NamespaceType::Pid: return CLONE_NEWPID;
    case oci::NamespaceType::Network: return CLONE_NEWNET;
    case oci::NamespaceType::Mount: return CLONE_NEWNS;
    case oci::NamespaceType::Ipc: return CLONE_NEWIPC;
    case oci::NamespaceType::Uts: return CLONE_NEWUTS;
    case oci::NamespaceType::User: return CLONE_NEWUSER;
    case oci::NamespaceType::Cgroup: return CLONE_NEWCGROUP;
    case oci::NamespaceType::Time: return CLONE_NEWTIME;
  }
  return 0;
}

uint64_t propagation_flag(oci::Propagation propagation) {
  switch (propagation) {
    case oci::Propagation::Unset: return 0;
    case oci::Propagation::Shared: return MS_SHARED;
    case oci::Propagation::Slave: return MS_SLAVE;
    case oci::Propagation::Private: return MS_PRIVATE;
    case oci::Propagation::Unbindable: return MS_UNBINDABLE;
  }
  return 0;
}

// The nodes every container has (config-linux.md "Default Devices").
struct DefaultDevice {
  std::string_view path;
  uint32_t major;
  uint32_t minor;
};
constexpr DefaultDevice default_devices[] = {
    {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

constexpr uint32_t default_umask = 0022;

// Puts one Spec into a writer, part by part; holds what the parts share.
class ContainerPlanner {
 public:
  ContainerPlanner(const oci::Spec& spec, const PlanOptions& options)
      : spec_(spec), linux_(spec.linux_ ? *spec.linux_ : no_linux_), options_(options) {}

  Result<std::string> plan() {
    plan_namespaces();
    TRY(plan_root());
    TRY(plan_mounts());
    plan_devices();
    plan_paths_and_sysctls();
    plan_net_devices();
    plan_hooks();
    if (spec_.process) TRY(plan_process());
    return std::move(writer_).finish(header_);
  }

 private:
  bool has(uint64_t type) const { return ((header_.new_namespaces | joined_) & type) != 0; }

  void plan_namespaces() {
    std::vector<JoinStep> joins;
    for (const oci::Namespace& one : linux_.namespaces) {
      const uint64_t type = clone_flag(one.type);
      if (one.path.empty()) {
        header_.new_namespaces |= type;
      } else {
        joined_ |= type;
        joins.push_back({type, writer_.text(one.path)});
      }
    }
    header_.joins = writer_.array(std::span<const JoinStep>(joins));
    if (has(CLONE_NEWUSER)) header_.flags |= plan_user_namespace;
    if (has(CLONE_NEWNS)) header_.flags |= plan_own_mounts;
    if ((header_.new_namespaces & CLONE_NEWUSER) != 0) {
      header_.uid_map = writer_.text(mapping_lines(linux_.uid_mappings));
      header_.gid_map = writer_.text(mapping_lines(linux_.gid_mappings));
    }
    if (!linux_.time_offsets.empty()) {
      std::string lines;
      for (const auto& [clock, offset] : linux_.time_offsets) {
        lines += cat(clock, ' ', offset.secs, ' ', offset.nanosecs, '\n');
      }
      header_.time_offsets = writer_.text(lines);
    }
    if (!spec_.hostname.empty()) header_.hostname = writer_.text(spec_.hostname);
    if (!spec_.domainname.empty()) header_.domainname = writer_.text(spec_.domainname);
  }

  Result<> plan_root() {
    if (!spec_.root) return fail(Kind::Invalid, "root: missing");
    const std::string& path = spec_.root->path;
    header_.root = writer_.text(path.starts_with('/') ? path : cat(options_.bundle, "/", path));
    if (spec_.root->readonly) header_.flags |= plan_root_readonly;
    if (options_.no_pivot) header_.flags |= plan_no_pivot;
    const bool needs_mounts = spec_.root->readonly || !spec_.mounts.empty() ||
                              !linux_.masked_paths.empty() || !linux_.readonly_paths.empty();
    if (!has(CLONE_NEWNS) && needs_mounts) {
      return fail(
          Kind::Unsupported,
          "linux.namespaces: without a mount namespace, mounts, a read-only root, masked and "
          "read-only paths would change the host");
    }
    if (!linux_.mount_label.empty()) header_.mount_label = writer_.text(linux_.mount_label);
    // Unset is rslave, as in runc: the host's mounts come in, ours do not go out but through binds
    // that are shared. A shared root must start from slave too; it becomes a peer group of its own
    // at the end.
    const uint64_t wanted = propagation_flag(linux_.rootfs_propagation);
    header_.start_propagation = (wanted == MS_PRIVATE ? MS_PRIVATE : MS_SLAVE) | MS_REC;
    header_.root_propagation = static_cast<uint32_t>(wanted);
    return {};
  }

  Result<> plan_mounts() {
    const MountContext context{
        .has_cgroup_namespace = has(CLONE_NEWCGROUP),
        .bundle = options_.bundle,
        .mount_label = linux_.mount_label,
        .uid_mappings = &linux_.uid_mappings,
        .gid_mappings = &linux_.gid_mappings,
    };
    std::vector<MountStep> steps;
    std::vector<IdmapStep> idmaps;
    bool device_directory_is_bound = false;
    for (size_t i = 0; i < spec_.mounts.size(); ++i) {
      const oci::Mount& mount = spec_.mounts[i];
      steps.push_back(TRY(plan_mount(writer_, mount, i, context, idmaps)));
      const MountStep& step = steps.back();
      const bool bound = step.kind == MountKind::Bind || step.kind == MountKind::BindTree;
      const std::string destination = clean_path(mount.destination);
      device_directory_is_bound |= bound && destination == "/dev";
      if (destination == "/sys/fs/cgroup" && !bound &&
          (step.attributes_set & MOUNT_ATTR_RDONLY) == 0) {
        header_.flags |= plan_cgroup_writable;
      }
    }
    header_.mounts = writer_.array(std::span<const MountStep>(steps));
    header_.idmaps = writer_.array(std::span<const IdmapStep>(idmaps));
    // A /dev bound from the host is the host's to fill, and without a mount namespace nothing is
    // ours.
    if (has(CLONE_NEWNS) && !device_directory_is_bound) header_.flags |= plan_make_devices;
    if (has(CLONE_NEWUSER)) header_.flags |= plan_bind_devices;
    return {};
  }

  void plan_devices() {
    if ((header_.flags & plan_make_devices) == 0) return;
    std::vector<DeviceStep> steps;
    for (const DefaultDevice& one : default_devices) {
      const bool overridden = std::ranges::any_of(linux_.devices, [&](const oci::Device& device) {
        return clean_path(device.path) == one.path;
      });
      if (overridden) continue;
      DeviceStep step{.path = writer_.text(one.path), .mode = S_IFCHR | 0666};
      step.major = one.major;
      step.minor = one.minor;
      step.is_default = 1;
      steps.push_back(step);
    }
    for (const oci::Device& one : linux_.devices) {
      const uint32_t kind = one.type == 'b' ? S_IFBLK : one.type == 'p' ? S_IFIFO : S_IFCHR;
      DeviceStep step{.path = writer_.text(clean_path(one.path)),
                      .mode = kind | (one.file_mode.value_or(0666) & 07777)};
      step.uid = one.uid.value_or(0);
      step.gid = one.gid.value_or(0);
      step.major = static_cast<uint32_t>(one.major);
      step.minor = static_cast<uint32_t>(one.minor);
      steps.push_back(step);
    }
    header_.devices = writer_.array(std::span<const DeviceStep>(steps));
  }

  void plan_paths_and_sysctls() {
    header_.masked_paths = writer_.texts(linux_.masked_paths);
    header_.readonly_paths = writer_.texts(linux_.readonly_paths);
    std::vector<SysctlStep> steps;
    for (const auto& [name, value] : linux_.sysctl) {
      std::string path = name;
      std::ranges::replace(path, '.', '/');
      steps.push_back({writer_.text(path), writer_.text(value)});
    }
    header_.sysctls = writer_.array(std::span<const SysctlStep>(steps));
  }

  void plan_net_devices() {
    std::vector<NetDeviceStep> steps;
    for (const auto& [host_name, device] : linux_.net_devices) {
      steps.push_back(
          {writer_.text(host_name), writer_.text(device.name.empty() ? host_name : device.name)});
    }
    header_.net_devices = writer_.array(std::span<const NetDeviceStep>(steps));
  }

  void add_hooks(HookKind kind, const std::vector<oci::Hook>& hooks, std::vector<HookStep>& steps) {
    for (const oci::Hook& hook : hooks) {
      HookStep step;
      step.kind = kind;
      step.timeout_s = static_cast<uint32_t>(hook.timeout_s.value_or(0));
      step.path = writer_.text(hook.path);
      step.args =
          writer_.texts(hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args);
      step.env = writer_.texts(hook.env);
      steps.push_back(step);
    }
  }

  void plan_hooks() {
    std::vector<HookStep> steps;
    add_hooks(HookKind::Prestart, spec_.hooks.prestart, steps);
    add_hooks(HookKind::CreateRuntime, spec_.hooks.create_runtime, steps);
    add_hooks(HookKind::CreateContainer, spec_.hooks.create_container, steps);
    add_hooks(HookKind::StartContainer, spec_.hooks.start_container, steps);
    add_hooks(HookKind::Poststart, spec_.hooks.poststart, steps);
    add_hooks(HookKind::Poststop, spec_.hooks.poststop, steps);
    header_.hooks = writer_.array(std::span<const HookStep>(steps));
  }

  Result<> plan_process();

  const oci::Linux no_linux_{};
  const oci::Spec& spec_;
  const oci::Linux& linux_;
  const PlanOptions& options_;
  PlanWriter writer_;
  PlanHeader header_;
  uint64_t joined_ = 0;
};

constexpr std::string_view fallback_search_path =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The last setting of each variable wins, in the place of its first; runc does the same.
std::vector<std::string_view> unique_environment(const std::vector<std::string>& env,
                                                 const std::vector<std::string>& extra) {
  std::vector<std::string_view> unique;
  const auto put = [&](std::string_view entry) {
    const std::string_view name = entry.substr(0, entry.find('='));
    for (std::string_view& have : unique) {
      if (have.substr(0, have.find('=')) == name) {
        have = entry;
        return;
      }
    }
    unique.push_back(entry);
  };
  for (const std::string& entry : env) put(entry);
  for (const std::string& entry : extra) put(entry);
  return unique;
}

void plan_environment(PlanWriter& writer, const oci::Process& process, const PlanOptions& options,
                      ProcessPlan& plan) {
  const auto env = unique_environment(process.env, options.extra_env);
  std::string_view search_path = fallback_search_path;
  plan.flags |= process_home_missing;
  for (const std::string_view entry : env) {
    if (entry.starts_with("PATH=")) search_path = entry.substr(5);
    if (entry.starts_with("HOME=")) plan.flags &= ~uint32_t{process_home_missing};
  }
  plan.env = writer.texts(env);
  plan.search_path = writer.text(search_path);
}

Result<std::vector<uint64_t>> bit_mask(std::string_view list, std::string_view at) {
  // As the kernel's CPU lists: "0-3,7". 8192 is the largest NR_CPUS there is.
  constexpr uint32_t bits_max = 8192;
  std::vector<uint64_t> mask;
  while (!list.empty()) {
    std::string_view range = take_until(list, ',');
    const auto first = parse_number<uint32_t>(take_until(range, '-'));
    const auto last = range.empty() ? first : parse_number<uint32_t>(range);
    if (!first || !last || *last < *first || *last >= bits_max) {
      return fail(Kind::Invalid, cat(at, ": not a list such as 0-3,7"));
    }
    if (mask.size() <= *last / 64) mask.resize(*last / 64 + 1);
    for (uint32_t bit = *first; bit <= *last; ++bit) mask[bit / 64] |= uint64_t{1} << bit % 64;
  }
  return mask;
}

void plan_limits(PlanWriter& writer, const oci::Process& process, ProcessPlan& plan) {
  std::vector<RlimitStep> rlimits;
  for (const oci::Rlimit& one : process.rlimits) {
    rlimits.push_back({static_cast<uint32_t>(one.resource), 0, one.soft, one.hard});
  }
  plan.rlimits = writer.array(std::span<const RlimitStep>(rlimits));
  if (process.oom_score_adj) {
    plan.flags |= process_oom_score;
    plan.oom_score_adj = *process.oom_score_adj;
  }
  if (process.scheduler) {
    plan.flags |= process_scheduler;
    plan.scheduler.policy = process.scheduler->policy;
    plan.scheduler.flags = process.scheduler->flags;
    plan.scheduler.nice = process.scheduler->nice;
    plan.scheduler.priority = process.scheduler->priority;
    plan.scheduler.runtime_ns = process.scheduler->runtime_ns;
    plan.scheduler.deadline_ns = process.scheduler->deadline_ns;
    plan.scheduler.period_ns = process.scheduler->period_ns;
  }
  if (process.io_priority) {
    constexpr int class_shift = 13;  // IOPRIO_CLASS_SHIFT, ioprio_set(2)
    plan.flags |= process_io_priority;
    plan.io_priority = static_cast<uint32_t>(process.io_priority->klass) << class_shift |
                       static_cast<uint32_t>(process.io_priority->priority);
  }
}

Result<ProcessPlan> plan_process_part(PlanWriter& writer, const oci::Process& process,
                                      const PlanOptions& options) {
  ProcessPlan plan;
  if (process.terminal) {
    plan.flags |= process_terminal;
    plan.console_rows = process.console_size.height;
    plan.console_columns = process.console_size.width;
  }
  if (process.no_new_privileges) plan.flags |= process_no_new_privileges;
  if (options.new_keyring) plan.flags |= process_new_keyring;
  plan.uid = process.user.uid;
  plan.gid = process.user.gid;
  plan.umask = process.user.umask.value_or(default_umask);
  plan.groups = writer.array(std::span<const uint32_t>(process.user.additional_gids));
  if (!options.program.empty()) plan.program = writer.text(options.program);
  plan.args = writer.texts(process.args);
  plan.cwd = writer.text(process.cwd);
  plan_environment(writer, process, options, plan);
  plan_limits(writer, process, plan);
  if (process.capabilities) {
    const oci::Capabilities& caps = *process.capabilities;
    plan.capabilities = {caps.bounding, caps.effective, caps.inheritable, caps.permitted,
                         caps.ambient};
  }
  if (!process.apparmor_profile.empty())
    plan.apparmor_profile = writer.text(process.apparmor_profile);
  if (!process.selinux_label.empty()) plan.selinux_label = writer.text(process.selinux_label);
  return plan;
}

void plan_seccomp(PlanWriter& writer, const SeccompPart& seccomp, ProcessPlan& plan) {
  if (seccomp.instructions.empty()) return;
  plan.flags |= process_seccomp;
  if (seccomp.notifies) plan.flags |= process_seccomp_notify;
  plan.seccomp_flags = seccomp.flags;
  plan.seccomp = writer.array(seccomp.instructions);
  if (!seccomp.listener_path.empty())
    plan.seccomp_listener_path = writer.text(seccomp.listener_path);
  if (!seccomp.listener_metadata.empty()) {
    plan.seccomp_listener_metadata = writer.text(seccomp.listener_metadata);
  }
}

Result<> ContainerPlanner::plan_process() {
  header_.has_process = 1;
  header_.process = TRY(plan_process_part(writer_, *spec_.process, options_));
  plan_seccomp(writer_, options_.seccomp, header_.process);
  if (linux_.personality_domain) {
    header_.process.flags |= process_personality;
    header_.process.personality = *linux_.personality_domain;
  }
  if (linux_.memory_policy) {
    const auto nodes = TRY(bit_mask(linux_.memory_policy->nodes, "linux.memoryPolicy.nodes"));
    header_.process.flags |= process_memory_policy;
    header_.process.memory_policy_mode =
        linux_.memory_policy->mode | static_cast<int>(linux_.memory_policy->flags);
    header_.process.memory_policy_nodes = writer_.array(std::span<const uint64_t>(nodes));
  }
  return {};
}

std::vector<std::string> strings_of(const PlanView& plan, Array<Text> texts) {
  std::vector<std::string> strings;
  for (const Text one : plan.items(texts)) strings.emplace_back(plan.view(one));
  return strings;
}

SeccompPart seccomp_of(const PlanView& plan) {
  const ProcessPlan& process = plan.header().process;
  SeccompPart part;
  part.instructions = plan.items(process.seccomp);
  part.flags = process.seccomp_flags;
  part.notifies = (process.flags & process_seccomp_notify) != 0;
  if (process.seccomp_listener_path) part.listener_path = plan.view(process.seccomp_listener_path);
  if (process.seccomp_listener_metadata) {
    part.listener_metadata = plan.view(process.seccomp_listener_metadata);
  }
  return part;
}

}  // namespace

std::string clean_path(std::string_view path) {
  std::string clean;
  while (!path.empty()) {
    const std::string_view component = take_until(path, '/');
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      const size_t slash = clean.rfind('/');
      clean.resize(slash == std::string::npos ? 0 : slash);
      continue;
    }
    clean += '/';
    clean += component;
  }
  return clean.empty() ? "/" : clean;
}

Result<std::string> plan_container(const oci::Spec& spec, const PlanOptions& options) {
  return ContainerPlanner(spec, options).plan();
}

Result<std::string> plan_exec(const oci::Process& process, const PlanView& container,
                              const PlanOptions& options) {
  const PlanHeader& outer = container.header();
  PlanWriter writer;
  PlanHeader header;
  header.flags = outer.flags & plan_user_namespace;
  header.root = writer.text(container.view(outer.root));
  header.has_process = 1;
  header.process = TRY(plan_process_part(writer, process, options));
  plan_seccomp(writer, seccomp_of(container), header.process);
  if (process.exec_cpu_affinity) {
    const auto mask =
        TRY(bit_mask(process.exec_cpu_affinity->final_, "process.execCPUAffinity.final"));
    header.process.cpu_affinity = writer.array(std::span<const uint64_t>(mask));
  }
  header.process.flags |= outer.process.flags & process_personality;
  header.process.personality = outer.process.personality;
  if ((header.process.flags & process_oom_score) == 0 &&
      (outer.process.flags & process_oom_score) != 0) {
    header.process.flags |= process_oom_score;
    header.process.oom_score_adj = outer.process.oom_score_adj;
  }
  return std::move(writer).finish(header);
}

Result<std::string> plan_hook_inside(const HookStep& hook, const PlanView& container) {
  oci::Process process = process_of(container);
  process.terminal = false;
  process.args = strings_of(container, hook.args);
  process.env = strings_of(container, hook.env);
  process.cwd = "/";
  PlanOptions options;
  options.program = container.view(hook.path);
  options.new_keyring = false;
  return plan_exec(process, container, options);
}

oci::Process process_of(const PlanView& container) {
  const ProcessPlan& plan = container.header().process;
  oci::Process process;
  process.terminal = (plan.flags & process_terminal) != 0;
  process.no_new_privileges = (plan.flags & process_no_new_privileges) != 0;
  process.cwd = container.view(plan.cwd);
  process.args = strings_of(container, plan.args);
  process.env = strings_of(container, plan.env);
  process.user.uid = plan.uid;
  process.user.gid = plan.gid;
  process.user.umask = plan.umask;
  for (const uint32_t group : container.items(plan.groups))
    process.user.additional_gids.push_back(group);
  const CapabilityMasks& caps = plan.capabilities;
  process.capabilities = oci::Capabilities{.bounding = caps.bounding,
                                           .effective = caps.effective,
                                           .inheritable = caps.inheritable,
                                           .permitted = caps.permitted,
                                           .ambient = caps.ambient,
                                           .unknown = {}};
  for (const RlimitStep& one : container.items(plan.rlimits)) {
    process.rlimits.push_back({static_cast<int>(one.resource), one.soft, one.hard});
  }
  if ((plan.flags & process_oom_score) != 0) process.oom_score_adj = plan.oom_score_adj;
  if (plan.apparmor_profile) process.apparmor_profile = container.view(plan.apparmor_profile);
  if (plan.selinux_label) process.selinux_label = container.view(plan.selinux_label);
  if ((plan.flags & process_scheduler) != 0) {
    process.scheduler = oci::Scheduler{plan.scheduler.policy,     plan.scheduler.nice,
                                       plan.scheduler.priority,   plan.scheduler.flags,
                                       plan.scheduler.runtime_ns, plan.scheduler.deadline_ns,
                                       plan.scheduler.period_ns};
  }
  if ((plan.flags & process_io_priority) != 0) {
    process.io_priority = oci::IoPriority{static_cast<uint16_t>(plan.io_priority >> 13),
                                          static_cast<int>(plan.io_priority & 0x1fff)};
  }
  return process;
}

}  // namespace nacelle::container
