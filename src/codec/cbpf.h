// Classic BPF as values: what seccomp(2) takes, checked and run without a kernel.
// check_seccomp_program() says what the kernel's loader would say; run_seccomp() computes the
// verdict for one system call. Nothing here builds programs or loads them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "nacelle/result.h"

namespace nacelle::codec {

// Laid out as the kernel's struct sock_filter.
struct CbpfInstruction {
  uint16_t code = 0;
  uint8_t jump_true = 0;
  uint8_t jump_false = 0;
  uint32_t k = 0;
  bool operator==(const CbpfInstruction&) const = default;
};
static_assert(sizeof(CbpfInstruction) == 8);

// Laid out as the kernel's struct seccomp_data.
struct SeccompData {
  uint32_t number = 0;
  uint32_t arch = 0;  // AUDIT_ARCH_*
  uint64_t instruction_pointer = 0;
  std::array<uint64_t, 6> args{};
};
static_assert(sizeof(SeccompData) == 64);

inline constexpr size_t cbpf_instructions_max = 4096;  // BPF_MAXINSNS

// Whether seccomp(2) accepts `program`; the error names the instruction at fault.
Result<> check_seccomp_program(std::span<const CbpfInstruction> program);

struct SeccompVerdict {
  uint32_t action = 0;    // SECCOMP_RET_*
  uint32_t executed = 0;  // instructions on the way there
};

// What `program` answers to one system call. The program must have passed the check above.
SeccompVerdict run_seccomp(std::span<const CbpfInstruction> program, const SeccompData& data);

}  // namespace nacelle::codec
