// The OCI runtime configuration as plain values: what config.json says, nothing decided yet.
// Follows runtime-spec 1.3 (config.md, config-linux.md); a default here is the default there.
// Strings are taken over as they stand; spec_parse.h checks shape, validate.h checks sense.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nacelle::oci {

using Annotations = std::map<std::string, std::string>;

// config.md "Process" --------------------------------------------------------------------------

struct ConsoleSize {
  uint16_t height = 0;  // characters
  uint16_t width = 0;
};

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::optional<uint32_t> umask;
  std::vector<uint32_t> additional_gids;
  std::string username;  // Windows only; kept so that it can be refused
};

// One bit per capability, bit number = the kernel's CAP_ number (capability.h).
struct Capabilities {
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t inheritable = 0;
  uint64_t permitted = 0;
  uint64_t ambient = 0;
  // Names that no capability has: reported as a warning, as the spec demands.
  std::vector<std::string> unknown;
};

struct Rlimit {
  int resource = 0;  // RLIMIT_*
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct Scheduler {
  uint32_t policy = 0;  // SCHED_*
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t flags = 0;       // SCHED_FLAG_*
  uint64_t runtime_ns = 0;  // SCHED_DEADLINE only, as are the next two
  uint64_t deadline_ns = 0;
  uint64_t period_ns = 0;
};

struct IoPriority {
  uint16_t klass = 0;  // IOPRIO_CLASS_*
  int priority = 0;    // 0..7
};

struct ExecCpuAffinity {
  std::string initial;  // CPU list, "0-3,7"
  std::string final_;
};

struct Process {
  bool terminal = false;
  ConsoleSize console_size;
  std::string cwd;
  std::vector<std::string> env;
  std::vector<std::string> args;
  User user;
  std::optional<Capabilities> capabilities;  // absent: none at all
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<int> oom_score_adj;
  std::optional<Scheduler> scheduler;
  std::optional<IoPriority> io_priority;
  std::optional<ExecCpuAffinity> exec_cpu_affinity;
};

// config.md "Root", "Mounts", "Hooks" ----------------------------------------------------------

struct Root {
  std::string path;  // as written: absolute, or relative to the bundle
  bool readonly = false;
};

struct IdMapping {
  uint32_t container_id = 0;
  uint32_t host_id = 0;
  uint32_t size = 0;
  bool operator==(const IdMapping&) const = default;
};

struct Mount {
  std::string destination;
  std::string type;
  std::string source;
  std::vector<std::string> options;
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
};

struct Hook {
  std::string path;  // absolute
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::optional<int> timeout_s;
};

struct Hooks {
  std::vector<Hook> prestart;
  std::vector<Hook> create_runtime;
  std::vector<Hook> create_container;
  std::vector<Hook> start_container;
  std::vector<Hook> poststart;
  std::vector<Hook> poststop;
};

// config-linux.md ------------------------------------------------------------------------------

enum class NamespaceType { Pid, Network, Mount, Ipc, Uts, User, Cgroup, Time };

struct Namespace {
  NamespaceType type = NamespaceType::Pid;
  std::string path;  // empty: a new one
};

struct TimeOffset {
  int64_t secs = 0;
  uint32_t nanosecs = 0;
};

struct Device {
  char type = 'c';  // 'c' 'u' (both character), 'b', 'p'
  std::string path;
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint32_t> file_mode;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
};

struct NetDevice {
  std::string name;  // inside the container; empty: as outside
};

struct DeviceRule {
  bool allow = false;
  char type = 'a';               // 'a' 'c' 'b'
  std::optional<int64_t> major;  // absent: any
  std::optional<int64_t> minor;
  std::string access = "rwm";  // some of r, w, m
};

// Bytes; -1 is unlimited; absent is "leave alone".
struct Memory {
  std::optional<int64_t> limit;
  std::optional<int64_t> reservation;
  std::optional<int64_t> swap;  // memory + swap together
  std::optional<int64_t> kernel;
  std::optional<int64_t> kernel_tcp;
  std::optional<uint64_t> swappiness;
  std::optional<bool> disable_oom_killer;
  std::optional<bool> use_hierarchy;
  bool check_before_update = false;
};

struct Cpu {
  std::optional<uint64_t> shares;
  std::optional<int64_t> quota_us;
  std::optional<uint64_t> burst_us;
  std::optional<uint64_t> period_us;
  std::optional<int64_t> realtime_runtime_us;
  std::optional<uint64_t> realtime_period_us;
  std::string cpus;
  std::string mems;
  std::optional<int64_t> idle;
};

struct WeightDevice {
  int64_t major = 0;
  int64_t minor = 0;
  std::optional<uint16_t> weight;
  std::optional<uint16_t> leaf_weight;
};

struct ThrottleDevice {
  int64_t major = 0;
  int64_t minor = 0;
  uint64_t rate = 0;  // bytes or operations per second
};

struct BlockIo {
  std::optional<uint16_t> weight;
  std::optional<uint16_t> leaf_weight;
  std::vector<WeightDevice> weight_device;
  std::vector<ThrottleDevice> throttle_read_bps;
  std::vector<ThrottleDevice> throttle_write_bps;
  std::vector<ThrottleDevice> throttle_read_iops;
  std::vector<ThrottleDevice> throttle_write_iops;
};

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;     // bytes
};

struct NetworkPriority {
  std::string name;
  uint32_t priority = 0;
};

struct Network {
  std::optional<uint32_t> class_id;
  std::vector<NetworkPriority> priorities;
};

struct Rdma {
  std::optional<uint32_t> hca_handles;
  std::optional<uint32_t> hca_objects;
};

struct Resources {
  std::vector<DeviceRule> devices;
  std::optional<Memory> memory;
  std::optional<Cpu> cpu;
  std::optional<int64_t> pids_limit;
  std::optional<BlockIo> block_io;
  std::vector<HugepageLimit> hugepage_limits;
  std::optional<Network> network;
  std::map<std::string, Rdma> rdma;
  std::map<std::string, std::string> unified;  // file name -> content
};

struct IntelRdt {
  std::string clos_id;
  std::string l3_cache_schema;
  std::string mem_bw_schema;
  std::vector<std::string> schemata;
  bool enable_monitoring = false;
};

struct MemoryPolicy {
  int mode = 0;        // MPOL_*
  std::string nodes;   // list, "0-3,7"
  unsigned flags = 0;  // MPOL_F_*
};

// Names and values follow libseccomp; see config-linux.md "Seccomp".
enum class SeccompAction {
  KillThread,
  KillProcess,
  Trap,
  Errno,
  Trace,
  Allow,
  Log,
  Notify,
};
enum class SeccompOperator {
  NotEqual,
  Less,
  LessOrEqual,
  Equal,
  GreaterOrEqual,
  Greater,
  MaskedEqual
};
enum class SeccompArch {
  X86,
  X86_64,
  X32,
  Arm,
  Aarch64,
  Mips,
  Mips64,
  Mips64N32,
  Mipsel,
  Mipsel64,
  Mipsel64N32,
  Ppc,
  Ppc64,
  Ppc64le,
  S390,
  S390x,
  Parisc,
  Parisc64,
  Riscv64,
  Loongarch64,
  M68k,
  Sh,
  Sheb,
};

struct SeccompArgument {
  uint32_t index = 0;  // 0..5
  uint64_t value = 0;
  uint64_t value_two = 0;
  SeccompOperator op = SeccompOperator::Equal;
};

struct SeccompRule {
  std::vector<std::string> names;
  SeccompAction action = SeccompAction::KillThread;
  std::optional<uint32_t> errno_ret;
  std::vector<SeccompArgument> args;  // all must match
};

struct Seccomp {
  SeccompAction default_action = SeccompAction::KillThread;
  std::optional<uint32_t> default_errno_ret;
  std::vector<SeccompArch> architectures;  // empty: the native one
  std::vector<std::string> flags;          // SECCOMP_FILTER_FLAG_*
  std::string listener_path;
  std::string listener_metadata;
  std::vector<SeccompRule> rules;
};

enum class Propagation { Unset, Shared, Slave, Private, Unbindable };

struct Linux {
  std::vector<Namespace> namespaces;
  std::vector<IdMapping> uid_mappings;
  std::vector<IdMapping> gid_mappings;
  std::map<std::string, TimeOffset> time_offsets;  // "monotonic", "boottime"
  std::vector<Device> devices;
  std::map<std::string, NetDevice> net_devices;  // host name -> device
  std::string cgroups_path;
  Resources resources;
  std::optional<IntelRdt> intel_rdt;
  std::optional<MemoryPolicy> memory_policy;
  std::vector<std::pair<std::string, std::string>> sysctl;
  // The bytes of linux.seccomp as they stand in the file. They are parsed (parse_seccomp) only when
  // no compiled program is cached for exactly these bytes: parsing and compiling are the dear part.
  std::string seccomp_json;
  Propagation rootfs_propagation = Propagation::Unset;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::string mount_label;
  std::optional<uint32_t> personality_domain;  // PER_*
};

struct Spec {
  std::string oci_version;
  std::optional<Process> process;
  std::optional<Root> root;
  std::string hostname;
  std::string domainname;
  std::vector<Mount> mounts;
  Hooks hooks;
  Annotations annotations;
  std::optional<Linux> linux_;
};

}  // namespace nacelle::oci
