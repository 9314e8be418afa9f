// LaunchPlan: everything a start does inside the child, decided ahead, as flat relocatable bytes.
// No pointers: strings and arrays are offsets from the first byte, so a plan can be kept in a file,
// sent over a socket or sealed in a memfd, and is checked as a whole before anything trusts it.
// plan.h makes one from a Spec; child.cc executes it with plain system calls.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::container {

inline constexpr uint32_t plan_version = 1;
inline constexpr size_t plan_bytes_max = 16u << 20;

struct Text {
  uint32_t offset = 0;  // 0: absent; else of a NUL-terminated string
  uint32_t length = 0;  // without the NUL
  explicit operator bool() const { return offset != 0; }
};

template <class T>
struct Array {
  uint32_t offset = 0;
  uint32_t count = 0;
};

// --- namespaces ---------------------------------------------------------------------------------

struct JoinStep {
  uint64_t type = 0;  // CLONE_NEW*
  Text path;
};

// --- mounts -------------------------------------------------------------------------------------

enum class MountKind : uint32_t {
  New,         // a file system instance of `type`
  Bind,        // what is at `source`
  BindTree,    // and what is mounted below it
  CgroupTree,  // the container's own cgroup, bound, where it has no cgroup namespace
  Remount,     // change the attributes of what is mounted at `destination`
};

constexpr bool binds(MountKind kind) {
  return kind == MountKind::Bind || kind == MountKind::BindTree || kind == MountKind::CgroupTree;
}

struct OptionStep {
  Text key;
  Text value;  // absent: a flag
};

struct PropagationStep {
  uint64_t kind = 0;  // MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE
  uint32_t recursive = 0;
  uint32_t reserved = 0;
};

inline constexpr uint32_t no_idmap = ~0u;

struct MountStep {
  MountKind kind = MountKind::New;
  uint32_t real_directory = 0;   // no symbolic link may lead to the destination: /proc, /sys, /dev
  uint32_t allowed_on_proc = 0;  // the destination is one of the files that may cover procfs
  uint32_t copy_up = 0;          // tmpcopyup
  uint32_t idmap = no_idmap;     // index into PlanHeader::idmaps
  uint32_t idmap_recursive = 0;
  uint32_t nofollow_source = 0;  // copy-symlink / src-nofollow
  uint32_t reserved = 0;
  Text destination;
  Text type;
  Text source;
  uint64_t attributes_set = 0;  // MOUNT_ATTR_*
  uint64_t attributes_clear = 0;
  uint64_t tree_attributes_set = 0;  // the same with AT_RECURSIVE: rro, rnosuid, ...
  uint64_t tree_attributes_clear = 0;
  Array<OptionStep> options;  // for fsconfig(2)
  Array<PropagationStep> propagation;
};

struct IdmapStep {
  Text uid_map;  // lines for /proc/PID/uid_map
  Text gid_map;
};

struct DeviceStep {
  Text path;
  uint32_t mode = 0;  // S_IFCHR | 0666
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t major = 0;
  uint32_t minor = 0;
  uint32_t is_default = 0;
};

struct SysctlStep {
  Text path;  // below /proc/sys, with slashes
  Text value;
};

struct NetDeviceStep {
  Text host_name;  // in the runtime's network namespace
  Text name;       // in the container's; with %d a template
};

// --- the process --------------------------------------------------------------------------------

struct RlimitStep {
  uint32_t resource = 0;
  uint32_t reserved = 0;
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct CapabilityMasks {
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t inheritable = 0;
  uint64_t permitted = 0;
  uint64_t ambient = 0;
};

struct FilterInstruction {  // struct sock_filter
  uint16_t code = 0;
  uint8_t jump_true = 0;
  uint8_t jump_false = 0;
  uint32_t k = 0;
};

// What optional parts a ProcessPlan has.
enum ProcessFlag : uint32_t {
  process_terminal = 1u << 0,
  process_no_new_privileges = 1u << 1,
  process_oom_score = 1u << 2,
  process_scheduler = 1u << 3,
  process_io_priority = 1u << 4,
  process_personality = 1u << 5,
  process_memory_policy = 1u << 6,
  process_seccomp = 1u << 7,
  process_seccomp_notify = 1u << 8,
  process_home_missing = 1u << 9,  // HOME is looked up in the container's /etc/passwd
  process_new_keyring = 1u << 10,
};

struct SchedulerStep {  // struct sched_attr, version 0
  uint32_t size = 48;
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime_ns = 0;
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

// Everything that is set between "the root is in place" and execve. `exec` uses one alone.
struct ProcessPlan {
  uint32_t flags = 0;  // ProcessFlag
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t umask = 0022;
  Text program;  // what is executed; absent: args[0]
  Array<Text> args;
  Array<Text> env;
  Text cwd;
  Text search_path;  // value of PATH for args[0] without a slash
  Array<uint32_t> groups;
  CapabilityMasks capabilities;
  Array<RlimitStep> rlimits;
  int32_t oom_score_adj = 0;
  uint32_t io_priority = 0;
  SchedulerStep scheduler;
  uint32_t personality = 0;
  int32_t memory_policy_mode = 0;       // with the MPOL_F_* flags
  Array<uint64_t> memory_policy_nodes;  // a bit mask
  Array<uint64_t> cpu_affinity;         // a bit mask; empty: every processor
  Text apparmor_profile;
  Text selinux_label;
  uint16_t console_rows = 0;
  uint16_t console_columns = 0;
  uint32_t seccomp_flags = 0;  // SECCOMP_FILTER_FLAG_*
  Array<FilterInstruction> seccomp;
  Text seccomp_listener_path;
  Text seccomp_listener_metadata;
};

// --- hooks --------------------------------------------------------------------------------------

enum class HookKind : uint32_t {
  Prestart,
  CreateRuntime,
  CreateContainer,
  StartContainer,
  Poststart,
  Poststop,
};

struct HookStep {
  HookKind kind = HookKind::Prestart;
  uint32_t timeout_s = 0;  // 0: none
  Text path;
  Array<Text> args;
  Array<Text> env;
};

// --- the whole ----------------------------------------------------------------------------------

enum PlanFlag : uint32_t {
  plan_root_readonly = 1u << 0,
  plan_no_pivot = 1u << 1,         // move the root over "/" and chroot
  plan_own_mounts = 1u << 2,       // a mount namespace: new or joined
  plan_make_devices = 1u << 3,     // the default nodes and links of /dev are ours to make
  plan_bind_devices = 1u << 4,     // mknod is not allowed (user namespace): bind the host's
  plan_user_namespace = 1u << 5,   // new or joined: ids in the container are not the host's
  plan_cgroup_writable = 1u << 6,  // /sys/fs/cgroup is mounted read-write: it is delegated
};

struct PlanHeader {
  char magic[8] = {'n', 'a', 'c', 'e', 'l', 'l', 'e', 'P'};
  uint32_t version = plan_version;
  uint32_t size = 0;  // of the whole plan in bytes
  uint32_t flags = 0;
  uint32_t root_propagation = 0;   // MS_*, applied to the root at the end; 0: leave it private
  uint64_t new_namespaces = 0;     // CLONE_NEW*
  uint64_t start_propagation = 0;  // MS_* | MS_REC, applied to the copied mount tree first
  Array<JoinStep> joins;
  Text uid_map;
  Text gid_map;
  Text time_offsets;
  Text hostname;
  Text domainname;
  Text root;  // absolute, in the runtime's mount namespace
  Text mount_label;
  Array<MountStep> mounts;
  Array<IdmapStep> idmaps;
  Array<DeviceStep> devices;
  Array<Text> masked_paths;
  Array<Text> readonly_paths;
  Array<SysctlStep> sysctls;
  Array<HookStep> hooks;
  Array<NetDeviceStep> net_devices;
  uint32_t has_process = 0;
  uint32_t reserved = 0;
  ProcessPlan process;
};

// Reads a plan in place. The bytes must outlive it. Only check() makes one from bytes.
class PlanView {
 public:
  PlanView() = default;

  // Checks magic, version, size and every offset, count and string of `bytes` (8-byte aligned).
  static Result<PlanView> check(std::string_view bytes);

  const PlanHeader& header() const { return *reinterpret_cast<const PlanHeader*>(base_); }
  const char* text(Text text) const { return text ? base_ + text.offset : nullptr; }
  std::string_view view(Text text) const { return {base_ + text.offset, text.length}; }
  template <class T>
  std::span<const T> items(Array<T> array) const {
    return {reinterpret_cast<const T*>(base_ + array.offset), array.count};
  }

 private:
  explicit PlanView(const char* base) : base_(base) {}
  const char* base_ = nullptr;
};

// Builds a plan: PODs and strings appended, 8-byte aligned, the header put in last.
class PlanWriter {
 public:
  PlanWriter() : bytes_(sizeof(PlanHeader), '\0') {}

  Text text(std::string_view value);
  template <class T>
  Array<T> array(std::span<const T> items) {
    align();
    const Array<T> at{static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(items.size())};
    bytes_.append(reinterpret_cast<const char*>(items.data()), items.size_bytes());
    return at;
  }
  template <class Strings>
  Array<Text> texts(const Strings& strings) {
    std::string offsets;
    for (const auto& one : strings) {
      const Text at = text(one);
      offsets.append(reinterpret_cast<const char*>(&at), sizeof at);
    }
    align();
    const Array<Text> at{static_cast<uint32_t>(bytes_.size()),
                         static_cast<uint32_t>(offsets.size() / sizeof(Text))};
    bytes_ += offsets;
    return at;
  }
  std::string finish(PlanHeader header) &&;

 private:
  void align() { bytes_.resize((bytes_.size() + 7) & ~size_t{7}); }
  std::string bytes_;
};

}  // namespace nacelle::container
