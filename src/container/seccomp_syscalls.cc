#include "container/seccomp_syscalls.h"

#include <linux/audit.h>

#include <algorithm>
#include <iterator>

#include "container/seccomp_columns.h"

namespace nacelle::container {
namespace {

using Arch = oci::SeccompArch;

struct SyscallRow {
  uint16_t name_at;
  uint16_t name_size;
  uint16_t numbers[syscall_columns];
};

#include "container/seccomp_table.inc"

std::string_view name_of(const SyscallRow& row) {
  return {syscall_names + row.name_at, row.name_size};
}

constexpr SyscallArchitecture architectures[] = {
    {Arch::X86, "SCMP_ARCH_X86", AUDIT_ARCH_I386, false, false, 102, 117},
    {Arch::X86_64, "SCMP_ARCH_X86_64", AUDIT_ARCH_X86_64, true, false, {}, {}},
    // The kernel reports x32 calls as x86_64 with a bit set in the number.
    {Arch::X32, "SCMP_ARCH_X32", AUDIT_ARCH_X86_64, false, false, {}, {}},
    {Arch::Arm, "SCMP_ARCH_ARM", AUDIT_ARCH_ARM, false, false, {}, {}},
    {Arch::Aarch64, "SCMP_ARCH_AARCH64", AUDIT_ARCH_AARCH64, true, false, {}, {}},
    {Arch::Mips, "SCMP_ARCH_MIPS", AUDIT_ARCH_MIPS, false, true, 4102, 4117},
    {Arch::Mips64, "SCMP_ARCH_MIPS64", AUDIT_ARCH_MIPS64, true, true, {}, {}},
    {Arch::Mips64N32, "SCMP_ARCH_MIPS64N32", AUDIT_ARCH_MIPS64N32, false, true, {}, {}},
    {Arch::Mipsel, "SCMP_ARCH_MIPSEL", AUDIT_ARCH_MIPSEL, false, false, 4102, 4117},
    {Arch::Mipsel64, "SCMP_ARCH_MIPSEL64", AUDIT_ARCH_MIPSEL64, true, false, {}, {}},
    {Arch::Mipsel64N32, "SCMP_ARCH_MIPSEL64N32", AUDIT_ARCH_MIPSEL64N32, false, false, {}, {}},
    {Arch::Ppc, "SCMP_ARCH_PPC", AUDIT_ARCH_PPC, false, true, 102, 117},
    {Arch::Ppc64, "SCMP_ARCH_PPC64", AUDIT_ARCH_PPC64, true, true, 102, 117},
    {Arch::Ppc64le, "SCMP_ARCH_PPC64LE", AUDIT_ARCH_PPC64LE, true, false, 102, 117},
    {Arch::S390, "SCMP_ARCH_S390", AUDIT_ARCH_S390, false, true, 102, 117},
    {Arch::S390x, "SCMP_ARCH_S390X", AUDIT_ARCH_S390X, true, true, 102, 117},
    {Arch::Parisc, "SCMP_ARCH_PARISC", AUDIT_ARCH_PARISC, false, true, {}, {}},
    {Arch::Parisc64, "SCMP_ARCH_PARISC64", AUDIT_ARCH_PARISC64, true, true, {}, {}},
    {Arch::Riscv64, "SCMP_ARCH_RISCV64", AUDIT_ARCH_RISCV64, true, false, {}, {}},
    {Arch::Loongarch64, "SCMP_ARCH_LOONGARCH64", AUDIT_ARCH_LOONGARCH64, true, false, {}, {}},
};

// Calls that the libseccomp of Debian 12 (2.5.4, tables of Linux 6.7) does not name, up to Linux
// 6.17. Since 5.1 a new call has one number everywhere, counted from the architecture's base.
enum class Where : uint8_t { Everywhere, X86_64Only, Riscv64Only };
struct LaterSyscall {
  std::string_view name;
  uint16_t number;
  Where where = Where::Everywhere;
};
constexpr LaterSyscall later_syscalls[] = {
    {"cachestat", 451},
    {"file_getattr", 468},
    {"file_setattr", 469},
    {"fchmodat2", 452},
    {"futex_requeue", 456},
    {"futex_wait", 455},
    {"futex_wake", 454},
    {"getxattrat", 464},
    {"listmount", 458},
    {"listxattrat", 465},
    {"lsm_get_self_attr", 459},
    {"lsm_list_modules", 461},
    {"lsm_set_self_attr", 460},
    {"map_shadow_stack", 453},
    {"mseal", 462},
    {"open_tree_attr", 467},
    {"removexattrat", 466},
    {"setxattrat", 463},
    {"statmount", 457},
    {"uretprobe", 335, Where::X86_64Only},
    {"riscv_hwprobe", 258, Where::Riscv64Only},
};

// <linux/net.h> SYS_*, <linux/ipc.h>.
struct Code {
  std::string_view name;
  uint32_t code;
};
constexpr Code socketcall_codes[] = {
    {"socket", 1},    {"bind", 2},        {"connect", 3},     {"listen", 4},
    {"accept", 5},    {"getsockname", 6}, {"getpeername", 7}, {"socketpair", 8},
    {"send", 9},      {"recv", 10},       {"sendto", 11},     {"recvfrom", 12},
    {"shutdown", 13}, {"setsockopt", 14}, {"getsockopt", 15}, {"sendmsg", 16},
    {"recvmsg", 17},  {"accept4", 18},    {"recvmmsg", 19},   {"sendmmsg", 20},
};
constexpr Code ipc_codes[] = {
    {"semop", 1},   {"semget", 2},  {"semctl", 3},  {"semtimedop", 4},
    {"msgsnd", 11}, {"msgrcv", 12}, {"msgget", 13}, {"msgctl", 14},
    {"shmat", 21},  {"shmdt", 22},  {"shmget", 23}, {"shmctl", 24},
};

std::optional<uint32_t> find_code(std::string_view name, const Code* begin, const Code* end) {
  const Code* found = std::find_if(begin, end, [&](const Code& code) { return code.name == name; });
  if (found == end) return std::nullopt;
  return found->code;
}

SyscallColumn column_of(Arch architecture) {
  switch (architecture) {
    case Arch::X86: return SyscallColumn::X86;
    case Arch::X86_64: return SyscallColumn::X86_64;
    case Arch::X32: return SyscallColumn::X32;
    case Arch::Arm: return SyscallColumn::Arm;
    case Arch::Aarch64: return SyscallColumn::Aarch64;
    case Arch::Mips:
    case Arch::Mipsel: return SyscallColumn::Mips;
    case Arch::Mips64:
    case Arch::Mipsel64: return SyscallColumn::Mips64;
    case Arch::Mips64N32:
    case Arch::Mipsel64N32: return SyscallColumn::Mips64N32;
    case Arch::Parisc: return SyscallColumn::Parisc;
    case Arch::Parisc64: return SyscallColumn::Parisc64;
    case Arch::Ppc: return SyscallColumn::Ppc;
    case Arch::Ppc64:
    case Arch::Ppc64le: return SyscallColumn::Ppc64;
    // LoongArch was born with the generic table, as RISC-V was; RISC-V's own calls are left out by
    // number_in().
    case Arch::Riscv64:
    case Arch::Loongarch64: return SyscallColumn::Riscv64;
    case Arch::S390: return SyscallColumn::S390;
    case Arch::S390x: return SyscallColumn::S390x;
    case Arch::M68k:
    case Arch::Sh:
    case Arch::Sheb: break;
  }
  return SyscallColumn::Count;
}

uint32_t first_number(Arch architecture) {
  switch (architecture) {
    case Arch::X32: return x32_bit;
    case Arch::Mips:
    case Arch::Mipsel: return 4000;
    case Arch::Mips64:
    case Arch::Mipsel64: return 5000;
    case Arch::Mips64N32:
    case Arch::Mipsel64N32: return 6000;
    default: return 0;
  }
}

std::optional<uint32_t> number_from_row(const SyscallRow& row, Arch architecture) {
  const SyscallColumn column = column_of(architecture);
  if (column == SyscallColumn::Count) return std::nullopt;
  const uint16_t stored = row.numbers[static_cast<int>(column)];
  if (stored == syscall_absent) return std::nullopt;
  if (architecture == Arch::X32) return stored | x32_bit;
  if (architecture == Arch::Arm && stored >= arm_private_folded) {
    return arm_private + (stored - arm_private_folded);
  }
  return stored;
}

bool has(Arch architecture, Where where) {
  switch (where) {
    case Where::Everywhere: return column_of(architecture) != SyscallColumn::Count;
    case Where::X86_64Only: return architecture == Arch::X86_64;
    case Where::Riscv64Only: return architecture == Arch::Riscv64;
  }
  return false;
}

}  // namespace

const SyscallArchitecture* find_architecture(oci::SeccompArch id) {
  for (const SyscallArchitecture& architecture : architectures) {
    if (architecture.id == id) return &architecture;
  }
  return nullptr;
}

std::string_view architecture_name(oci::SeccompArch id) {
  if (const auto* known = find_architecture(id)) return known->name;
  switch (id) {
    case Arch::M68k: return "SCMP_ARCH_M68K";
    case Arch::Sh: return "SCMP_ARCH_SH";
    default: return "SCMP_ARCH_SHEB";
  }
}

std::optional<SyscallName> SyscallName::find(std::string_view name) {
  const auto row = std::lower_bound(
      std::begin(syscall_rows), std::end(syscall_rows), name,
      [](const SyscallRow& left, std::string_view right) { return name_of(left) < right; });
  if (row != std::end(syscall_rows) && name_of(*row) == name) {
    return SyscallName(name_of(*row), static_cast<int>(row - syscall_rows), -1);
  }
  for (const LaterSyscall& later : later_syscalls) {
    if (later.name == name) {
      return SyscallName(later.name, -1, static_cast<int>(&later - later_syscalls));
    }
  }
  return std::nullopt;
}

std::optional<uint32_t> SyscallName::number_in(oci::SeccompArch architecture) const {
  if (later_ >= 0) {
    const LaterSyscall& later = later_syscalls[later_];
    if (!has(architecture, later.where)) return std::nullopt;
    return first_number(architecture) + later.number;
  }
  if (architecture == Arch::Loongarch64 && name_.starts_with("riscv_")) return std::nullopt;
  return number_from_row(syscall_rows[row_], architecture);
}

std::optional<uint32_t> SyscallName::socketcall_code() const {
  return find_code(name_, std::begin(socketcall_codes), std::end(socketcall_codes));
}

std::optional<uint32_t> SyscallName::ipc_code() const {
  return find_code(name_, std::begin(ipc_codes), std::end(ipc_codes));
}

}  // namespace nacelle::container
