#include "oci/names.h"

#include <algorithm>

namespace nacelle::oci {

std::span<const std::string_view> capability_names() {
  static constexpr std::string_view names[] = {
      "CAP_CHOWN",
      "CAP_DAC_OVERRIDE",
      "CAP_DAC_READ_SEARCH",
      "CAP_FOWNER",
      "CAP_FSETID",
      "CAP_KILL",
      "CAP_SETGID",
      "CAP_SETUID",
      "CAP_SETPCAP",
      "CAP_LINUX_IMMUTABLE",
      "CAP_NET_BIND_SERVICE",
      "CAP_NET_BROADCAST",
      "CAP_NET_ADMIN",
      "CAP_NET_RAW",
      "CAP_IPC_LOCK",
      "CAP_IPC_OWNER",
      "CAP_SYS_MODULE",
      "CAP_SYS_RAWIO",
      "CAP_SYS_CHROOT",
      "CAP_SYS_PTRACE",
      "CAP_SYS_PACCT",
      "CAP_SYS_ADMIN",
      "CAP_SYS_BOOT",
      "CAP_SYS_NICE",
      "CAP_SYS_RESOURCE",
      "CAP_SYS_TIME",
      "CAP_SYS_TTY_CONFIG",
      "CAP_MKNOD",
      "CAP_LEASE",
      "CAP_AUDIT_WRITE",
      "CAP_AUDIT_CONTROL",
      "CAP_SETFCAP",
      "CAP_MAC_OVERRIDE",
      "CAP_MAC_ADMIN",
      "CAP_SYSLOG",
      "CAP_WAKE_ALARM",
      "CAP_BLOCK_SUSPEND",
      "CAP_AUDIT_READ",
      "CAP_PERFMON",
      "CAP_BPF",
      "CAP_CHECKPOINT_RESTORE",
  };
  static_assert(std::size(names) == 41);
  return names;
}

std::optional<unsigned> find_capability(std::string_view name) {
  const auto names = capability_names();
  const auto at = std::ranges::find(names, name);
  if (at == names.end()) return std::nullopt;
  return static_cast<unsigned>(at - names.begin());
}

std::span<const Named<int>> rlimit_names() {
  static constexpr Named<int> names[] = {
      {"RLIMIT_CPU", 0},       {"RLIMIT_FSIZE", 1},  {"RLIMIT_DATA", 2},
      {"RLIMIT_STACK", 3},     {"RLIMIT_CORE", 4},   {"RLIMIT_RSS", 5},
      {"RLIMIT_NPROC", 6},     {"RLIMIT_NOFILE", 7}, {"RLIMIT_MEMLOCK", 8},
      {"RLIMIT_AS", 9},        {"RLIMIT_LOCKS", 10}, {"RLIMIT_SIGPENDING", 11},
      {"RLIMIT_MSGQUEUE", 12}, {"RLIMIT_NICE", 13},  {"RLIMIT_RTPRIO", 14},
      {"RLIMIT_RTTIME", 15},
  };
  return names;
}

std::span<const Named<uint32_t>> scheduler_policy_names() {
  // SCHED_ISO has a number reserved and no implementation: the kernel is the one to refuse it.
  static constexpr Named<uint32_t> names[] = {
      {"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},       {"SCHED_BATCH", 3},
      {"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6},
  };
  return names;
}

std::span<const Named<uint64_t>> scheduler_flag_names() {
  static constexpr Named<uint64_t> names[] = {
      {"SCHED_FLAG_RESET_ON_FORK", 0x01},  {"SCHED_FLAG_RECLAIM", 0x02},
      {"SCHED_FLAG_DL_OVERRUN", 0x04},     {"SCHED_FLAG_KEEP_POLICY", 0x08},
      {"SCHED_FLAG_KEEP_PARAMS", 0x10},    {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
      {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40},
  };
  return names;
}

std::span<const Named<uint16_t>> io_priority_class_names() {
  static constexpr Named<uint16_t> names[] = {
      {"IOPRIO_CLASS_RT", 1},
      {"IOPRIO_CLASS_BE", 2},
      {"IOPRIO_CLASS_IDLE", 3},
  };
  return names;
}

std::span<const Named<NamespaceType>> namespace_names() {
  using enum NamespaceType;
  static constexpr Named<NamespaceType> names[] = {
      {"pid", Pid}, {"network", Network}, {"mount", Mount},   {"ipc", Ipc},
      {"uts", Uts}, {"user", User},       {"cgroup", Cgroup}, {"time", Time},
  };
  return names;
}

std::span<const Named<Propagation>> propagation_names() {
  using enum Propagation;
  // The recursive words are not in the specification; runc takes them, and Docker writes them.
  static constexpr Named<Propagation> names[] = {
      {"", Unset},          {"shared", Shared},         {"slave", Slave},
      {"private", Private}, {"unbindable", Unbindable}, {"rshared", Shared},
      {"rslave", Slave},    {"rprivate", Private},      {"runbindable", Unbindable},
  };
  return names;
}

std::span<const Named<int>> memory_policy_names() {
  static constexpr Named<int> names[] = {
      {"MPOL_DEFAULT", 0},
      {"MPOL_PREFERRED", 1},
      {"MPOL_BIND", 2},
      {"MPOL_INTERLEAVE", 3},
      {"MPOL_LOCAL", 4},
      {"MPOL_PREFERRED_MANY", 5},
      {"MPOL_WEIGHTED_INTERLEAVE", 6},
  };
  return names;
}

std::span<const Named<unsigned>> memory_policy_flag_names() {
  static constexpr Named<unsigned> names[] = {
      {"MPOL_F_STATIC_NODES", 1u << 15},
      {"MPOL_F_RELATIVE_NODES", 1u << 14},
      {"MPOL_F_NUMA_BALANCING", 1u << 13},
  };
  return names;
}

std::span<const Named<uint32_t>> personality_names() {
  static constexpr Named<uint32_t> names[] = {{"LINUX", 0x0000}, {"LINUX32", 0x0008}};
  return names;
}

std::span<const Named<SeccompAction>> seccomp_action_names() {
  using enum SeccompAction;
  // The first of each value is the one to write; SCMP_ACT_KILL is the old word for KILL_THREAD.
  static constexpr Named<SeccompAction> names[] = {
      {"SCMP_ACT_ALLOW", Allow},
      {"SCMP_ACT_ERRNO", Errno},
      {"SCMP_ACT_KILL", KillThread},
      {"SCMP_ACT_KILL_PROCESS", KillProcess},
      {"SCMP_ACT_KILL_THREAD", KillThread},
      {"SCMP_ACT_LOG", Log},
      {"SCMP_ACT_NOTIFY", Notify},
      {"SCMP_ACT_TRACE", Trace},
      {"SCMP_ACT_TRAP", Trap},
  };
  return names;
}

std::span<const Named<SeccompOperator>> seccomp_operator_names() {
  using enum SeccompOperator;
  static constexpr Named<SeccompOperator> names[] = {
      {"SCMP_CMP_EQ", Equal},    {"SCMP_CMP_GE", GreaterOrEqual},
      {"SCMP_CMP_GT", Greater},  {"SCMP_CMP_LE", LessOrEqual},
      {"SCMP_CMP_LT", Less},     {"SCMP_CMP_MASKED_EQ", MaskedEqual},
      {"SCMP_CMP_NE", NotEqual},
  };
  return names;
}

std::span<const Named<SeccompArch>> seccomp_arch_names() {
  using enum SeccompArch;
  static constexpr Named<SeccompArch> names[] = {
      {"SCMP_ARCH_X86", X86},
      {"SCMP_ARCH_X86_64", X86_64},
      {"SCMP_ARCH_X32", X32},
      {"SCMP_ARCH_ARM", Arm},
      {"SCMP_ARCH_AARCH64", Aarch64},
      {"SCMP_ARCH_MIPS", Mips},
      {"SCMP_ARCH_MIPS64", Mips64},
      {"SCMP_ARCH_MIPS64N32", Mips64N32},
      {"SCMP_ARCH_MIPSEL", Mipsel},
      {"SCMP_ARCH_MIPSEL64", Mipsel64},
      {"SCMP_ARCH_MIPSEL64N32", Mipsel64N32},
      {"SCMP_ARCH_PPC", Ppc},
      {"SCMP_ARCH_PPC64", Ppc64},
      {"SCMP_ARCH_PPC64LE", Ppc64le},
      {"SCMP_ARCH_S390", S390},
      {"SCMP_ARCH_S390X", S390x},
      {"SCMP_ARCH_PARISC", Parisc},
      {"SCMP_ARCH_PARISC64", Parisc64},
      {"SCMP_ARCH_RISCV64", Riscv64},
      {"SCMP_ARCH_LOONGARCH64", Loongarch64},
      {"SCMP_ARCH_M68K", M68k},
      {"SCMP_ARCH_SH", Sh},
      {"SCMP_ARCH_SHEB", Sheb},
  };
  return names;
}

std::span<const std::string_view> seccomp_flag_names() {
  static constexpr std::string_view names[] = {
      "SECCOMP_FILTER_FLAG_TSYNC",
      "SECCOMP_FILTER_FLAG_LOG",
      "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
      "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
  };
  return names;
}

}  // namespace nacelle::oci
