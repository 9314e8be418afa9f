// The columns of the system call table that seccomp_table/generate.cc writes at build time.
// Read by that program and by seccomp_syscalls.cc; nothing else needs it.
#pragma once

#include <cstdint>

namespace nacelle::container {

// Architectures that differ in byte order only share a column.
enum class SyscallColumn : uint8_t {
  X86,
  X86_64,
  X32,
  Arm,
  Aarch64,
  Mips,
  Mips64,
  Mips64N32,
  Parisc,
  Parisc64,
  Ppc,
  Ppc64,
  Riscv64,
  S390,
  S390x,
  Count,
};
inline constexpr int syscall_columns = static_cast<int>(SyscallColumn::Count);

// Numbers are stored in 16 bits. x32 leaves out its marker bit; Arm's private calls, which begin at
// 0xf0000, are folded to 0xf000.
inline constexpr uint16_t syscall_absent = 0xffff;
inline constexpr uint32_t x32_bit = 0x40000000;
inline constexpr uint32_t arm_private = 0xf0000;
inline constexpr uint16_t arm_private_folded = 0xf000;

}  // namespace nacelle::container
