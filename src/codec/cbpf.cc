#include "codec/cbpf.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::codec {

static_assert(sizeof(CbpfInstruction) == sizeof(sock_filter));
static_assert(sizeof(SeccompData) == sizeof(seccomp_data));

namespace {

// The scratch words of the machine.
constexpr uint32_t scratch_words = BPF_MEMWORDS;

std::unexpected<Error> refuse(size_t at, std::string_view reason) {
  return fail(Kind::Invalid, cat("seccomp program, instruction ", at, ": ", reason));
}

bool is_jump(const CbpfInstruction& instruction) { return BPF_CLASS(instruction.code) == BPF_JMP; }
bool is_return(const CbpfInstruction& instruction) {
  return BPF_CLASS(instruction.code) == BPF_RET;
}

// The list of seccomp_check_filter() (kernel/seccomp.c) and the operand rules of
// bpf_check_classic() (net/core/filter.c). Empty when `instruction` is fine by itself.
std::string_view objection(const CbpfInstruction& instruction) {
  switch (instruction.code) {
    case BPF_LD | BPF_W | BPF_ABS:
      if (instruction.k >= sizeof(SeccompData)) return "load from outside seccomp_data";
      if (instruction.k % 4 != 0) return "load is not aligned";
      return {};
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
    case BPF_ST:
    case BPF_STX: return instruction.k < scratch_words ? "" : "scratch word out of range";
    case BPF_ALU | BPF_DIV | BPF_K: return instruction.k != 0 ? "" : "division by zero";
    case BPF_ALU | BPF_LSH | BPF_K:
    case BPF_ALU | BPF_RSH | BPF_K: return instruction.k < 32 ? "" : "shift by more than 31";
    case BPF_RET | BPF_K:
    case BPF_RET | BPF_A:
    case BPF_LD | BPF_W | BPF_LEN:
    case BPF_LDX | BPF_W | BPF_LEN:
    case BPF_LD | BPF_IMM:
    case BPF_LDX | BPF_IMM:
    case BPF_MISC | BPF_TAX:
    case BPF_MISC | BPF_TXA:
    case BPF_ALU | BPF_ADD | BPF_K:
    case BPF_ALU | BPF_ADD | BPF_X:
    case BPF_ALU | BPF_SUB | BPF_K:
    case BPF_ALU | BPF_SUB | BPF_X:
    case BPF_ALU | BPF_MUL | BPF_K:
    case BPF_ALU | BPF_MUL | BPF_X:
    case BPF_ALU | BPF_DIV | BPF_X:
    case BPF_ALU | BPF_AND | BPF_K:
    case BPF_ALU | BPF_AND | BPF_X:
    case BPF_ALU | BPF_OR | BPF_K:
    case BPF_ALU | BPF_OR | BPF_X:
    case BPF_ALU | BPF_XOR | BPF_K:
    case BPF_ALU | BPF_XOR | BPF_X:
    case BPF_ALU | BPF_LSH | BPF_X:
    case BPF_ALU | BPF_RSH | BPF_X:
    case BPF_ALU | BPF_NEG:
    case BPF_JMP | BPF_JA:
    case BPF_JMP | BPF_JEQ | BPF_K:
    case BPF_JMP | BPF_JEQ | BPF_X:
    case BPF_JMP | BPF_JGE | BPF_K:
    case BPF_JMP | BPF_JGE | BPF_X:
    case BPF_JMP | BPF_JGT | BPF_K:
    case BPF_JMP | BPF_JGT | BPF_X:
    case BPF_JMP | BPF_JSET | BPF_K:
    case BPF_JMP | BPF_JSET | BPF_X: return {};
    default: return "operation not allowed";
  }
}

bool jumps_inside(std::span<const CbpfInstruction> program, size_t at) {
  const CbpfInstruction& instruction = program[at];
  const size_t left = program.size() - at - 1;  // instructions after this one
  if (instruction.code == (BPF_JMP | BPF_JA)) return instruction.k < left;
  return instruction.jump_true < left && instruction.jump_false < left;
}

// Every scratch word must be written before it is read, on every way to the read. Jumps only go
// forward, so one pass in order meets every way in before it meets the instruction.
Result<> check_scratch_use(std::span<const CbpfInstruction> program) {
  constexpr uint16_t all = 0xffff;
  std::vector<uint16_t> written_before(program.size(), all);
  uint16_t written = 0;
  for (size_t at = 0; at < program.size(); ++at) {
    const CbpfInstruction& instruction = program[at];
    written &= written_before[at];
    switch (instruction.code) {
      case BPF_ST:
      case BPF_STX: written = static_cast<uint16_t>(written | 1u << instruction.k); break;
      case BPF_LD | BPF_MEM:
      case BPF_LDX | BPF_MEM:
        if (!(written & 1u << instruction.k)) return refuse(at, "scratch word read before written");
        break;
      case BPF_JMP | BPF_JA:
        written_before[at + 1 + instruction.k] &= written;
        written = all;
        break;
      default:
        if (!is_jump(instruction)) break;
        written_before[at + 1 + instruction.jump_true] &= written;
        written_before[at + 1 + instruction.jump_false] &= written;
        written = all;
    }
  }
  return {};
}

uint32_t word_at(const SeccompData& data, uint32_t offset) {
  uint32_t word;
  memcpy(&word, reinterpret_cast<const char*>(&data) + offset, sizeof word);
  return word;
}

struct Machine {
  uint32_t a = 0;
  uint32_t x = 0;
  std::array<uint32_t, scratch_words> scratch{};
};

uint32_t operand(const Machine& machine, const CbpfInstruction& instruction) {
  return BPF_SRC(instruction.code) == BPF_X ? machine.x : instruction.k;
}

// Division by a zero X ends the program with the verdict 0; the caller looks for it first.
uint32_t compute(uint16_t operation, uint32_t a, uint32_t b) {
  switch (operation) {
    case BPF_ADD: return a + b;
    case BPF_SUB: return a - b;
    case BPF_MUL: return a * b;
    case BPF_DIV: return a / b;
    case BPF_AND: return a & b;
    case BPF_OR: return a | b;
    case BPF_XOR: return a ^ b;
    case BPF_LSH: return a << (b & 31);
    case BPF_RSH: return a >> (b & 31);
    default: return 0 - a;  // BPF_NEG, the only other one that the check lets pass
  }
}

bool holds(uint16_t comparison, uint32_t a, uint32_t b) {
  switch (comparison) {
    case BPF_JEQ: return a == b;
    case BPF_JGE: return a >= b;
    case BPF_JGT: return a > b;
    default: return (a & b) != 0;  // BPF_JSET
  }
}

void load(Machine& machine, const CbpfInstruction& instruction, const SeccompData& data) {
  uint32_t value = 0;
  switch (BPF_MODE(instruction.code)) {
    case BPF_ABS: value = word_at(data, instruction.k); break;
    case BPF_LEN: value = sizeof(SeccompData); break;
    case BPF_MEM: value = machine.scratch[instruction.k]; break;
    default: value = instruction.k;  // BPF_IMM
  }
  (BPF_CLASS(instruction.code) == BPF_LD ? machine.a : machine.x) = value;
}

}  // namespace

Result<> check_seccomp_program(std::span<const CbpfInstruction> program) {
  if (program.empty()) return fail(Kind::Invalid, "seccomp program: empty");
  if (program.size() > cbpf_instructions_max) {
    return fail(Kind::Invalid, cat("seccomp program: ", program.size(),
                                   " instructions, the kernel takes ", cbpf_instructions_max));
  }
  for (size_t at = 0; at < program.size(); ++at) {
    if (const auto reason = objection(program[at]); !reason.empty()) return refuse(at, reason);
    if (is_jump(program[at]) && !jumps_inside(program, at))
      return refuse(at, "jump out of the program");
  }
  if (!is_return(program.back()))
    return refuse(program.size() - 1, "the program does not end in a return");
  return check_scratch_use(program);
}

SeccompVerdict run_seccomp(std::span<const CbpfInstruction> program, const SeccompData& data) {
  Machine machine;
  uint32_t executed = 0;
  for (size_t at = 0;; ++at) {
    CHECK(at < program.size());
    const CbpfInstruction& instruction = program[at];
    ++executed;
    switch (BPF_CLASS(instruction.code)) {
      case BPF_RET:
        return {BPF_RVAL(instruction.code) == BPF_A ? machine.a : instruction.k, executed};
      case BPF_LD:
      case BPF_LDX: load(machine, instruction, data); break;
      case BPF_ST: machine.scratch[instruction.k] = machine.a; break;
      case BPF_STX: machine.scratch[instruction.k] = machine.x; break;
      case BPF_MISC:
        if (BPF_MISCOP(instruction.code) == BPF_TAX) {
          machine.x = machine.a;
        } else {
          machine.a = machine.x;
        }
        break;
      case BPF_ALU: {
        const uint32_t b = operand(machine, instruction);
        if (BPF_OP(instruction.code) == BPF_DIV && b == 0) return {0, executed};
        machine.a = compute(BPF_OP(instruction.code), machine.a, b);
        break;
      }
      default:  // BPF_JMP
        if (BPF_OP(instruction.code) == BPF_JA) {
          at += instruction.k;
        } else {
          at += holds(BPF_OP(instruction.code), machine.a, operand(machine, instruction))
                    ? instruction.jump_true
                    : instruction.jump_false;
        }
    }
  }
}

}  // namespace nacelle::codec
