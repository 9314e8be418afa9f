#include "codec/cbpf.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <vector>

namespace nacelle::codec {
namespace {

using Program = std::vector<CbpfInstruction>;

constexpr CbpfInstruction allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
constexpr CbpfInstruction deny{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | 7};
constexpr CbpfInstruction load_number{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0};

// Whether the kernel takes the program, asked in a child that then goes away. The child is given no
// system call after the answer but exit, so what the filter says does not matter: a refused filter
// is told from an accepted one by the exit code, and one that kills the child was accepted.
bool kernel_accepts(const Program& program) {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    sock_fprog handed{static_cast<unsigned short>(program.size()),
                      reinterpret_cast<sock_filter*>(const_cast<CbpfInstruction*>(program.data()))};
    const long loaded = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &handed);
    syscall(SYS_exit_group, loaded == 0 ? 0 : errno == EINVAL ? 1 : 2);
    abort();
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 2) << "seccomp(2) is not to be had";
  return !(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

TEST(CbpfCheck, refuses_what_the_kernel_refuses) {
  const uint16_t number = BPF_LD | BPF_W | BPF_ABS;
  const uint16_t equal = BPF_JMP | BPF_JEQ | BPF_K;
  const Program programs[] = {
      {load_number},                                  // no return
      {{BPF_JMP | BPF_JA, 0, 0, 0}},                  // ends in a jump
      {{BPF_JMP | BPF_JA, 0, 0, 1}, allow},           // just past the end
      {{BPF_JMP | BPF_JA, 0, 0, UINT32_MAX}, allow},  // would wrap around
      {{equal, 1, 0, 0}, allow},
      {{equal, 0, 1, 0}, allow},
      {{equal, 255, 0, 0}, allow},
      {{number, 0, 0, 2}, allow},   // not aligned
      {{number, 0, 0, 64}, allow},  // behind seccomp_data
      {{number, 0, 0, 0xfffffff8}, allow},
      {{BPF_LD | BPF_H | BPF_ABS, 0, 0, 0}, allow},
      {{BPF_LD | BPF_B | BPF_ABS, 0, 0, 0}, allow},
      {{BPF_LD | BPF_W | BPF_IND, 0, 0, 0}, allow},
      {{BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0}, allow},
      {{BPF_ALU | BPF_MOD | BPF_K, 0, 0, 3}, allow},
      {{BPF_ALU | BPF_DIV | BPF_K, 0, 0, 0}, allow},
      {{BPF_ALU | BPF_LSH | BPF_K, 0, 0, 32}, allow},
      {{BPF_ALU | BPF_RSH | BPF_K, 0, 0, 33}, allow},
      {{BPF_LD | BPF_MEM, 0, 0, 0}, allow},  // never written
      {{BPF_ST, 0, 0, 16}, allow},
      {{BPF_STX, 0, 0, UINT32_MAX}, allow},
      {{equal, 0, 1, 0}, {BPF_ST, 0, 0, 3}, {BPF_LD | BPF_MEM, 0, 0, 3}, allow},  // one way only
      {{0xffff, 0, 0, 0}, allow},
      Program(cbpf_instructions_max + 1, allow),
      {},
  };
  for (const Program& program : programs) {
    const size_t which = static_cast<size_t>(&program - programs);
    EXPECT_FALSE(check_seccomp_program(program)) << "program " << which;
    EXPECT_FALSE(kernel_accepts(program)) << "program " << which;
  }
}

TEST(CbpfCheck, accepts_what_the_kernel_accepts) {
  Program longest(cbpf_instructions_max, load_number);
  longest.back() = allow;
  const Program programs[] = {
      {allow},
      {{BPF_RET | BPF_A, 0, 0, 0}},
      {{BPF_JMP | BPF_JA, 0, 0, 0}, allow},
      {{BPF_JMP | BPF_JEQ | BPF_X, 0, 1, 0}, allow, deny},
      {{BPF_LD | BPF_W | BPF_ABS, 0, 0, 60}, allow},
      {{BPF_LD | BPF_W | BPF_LEN, 0, 0, 0}, {BPF_LDX | BPF_W | BPF_LEN, 0, 0, 0}, allow},
      {{BPF_ST, 0, 0, 15},
       {BPF_LDX | BPF_MEM, 0, 0, 15},
       {BPF_ALU | BPF_DIV | BPF_X, 0, 0, 0},
       allow},
      longest,
  };
  for (const Program& program : programs) {
    const size_t which = static_cast<size_t>(&program - programs);
    const auto checked = check_seccomp_program(program);
    EXPECT_TRUE(checked) << which << ": " << checked.error().message();
    EXPECT_TRUE(kernel_accepts(program)) << which;
  }
}

// Goal: the check and the kernel agree beyond the cases someone thought of. Method: valid little
// programs with one field bent.
TEST(CbpfCheck, agrees_with_the_kernel_about_bent_programs) {
  std::mt19937 random(20251);
  const Program base = {load_number,
                        {BPF_ST, 0, 0, 1},
                        {BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 39},
                        {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xff},
                        {BPF_JMP | BPF_JA, 0, 0, 1},
                        {BPF_LD | BPF_MEM, 0, 0, 1},
                        allow,
                        deny};
  int accepted = 0;
  for (int round = 0; round < 300; ++round) {
    Program program = base;
    CbpfInstruction& bent = program[random() % program.size()];
    switch (random() % 4) {
      case 0: bent.code = static_cast<uint16_t>(random() % 256); break;
      case 1: bent.jump_true = static_cast<uint8_t>(random() % 9); break;
      case 2: bent.jump_false = static_cast<uint8_t>(random() % 9); break;
      default: bent.k = random() % 2 ? random() % 80 : 0 - random() % 4;
    }
    const bool ours = check_seccomp_program(program).has_value();
    accepted += ours;
    ASSERT_EQ(ours, kernel_accepts(program)) << "round " << round;
  }
  EXPECT_GT(accepted, 50);
  EXPECT_LT(accepted, 250);
}

TEST(CbpfCheck, names_the_instruction_at_fault) {
  const Program program = {load_number, {BPF_JMP | BPF_JA, 0, 0, 9}, allow};
  const auto checked = check_seccomp_program(program);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().message(), "seccomp program, instruction 1: jump out of the program");
}

uint32_t compute(CbpfInstruction instruction, uint32_t a, uint32_t x = 0) {
  const Program program = {{BPF_LDX | BPF_IMM, 0, 0, x},
                           {BPF_LD | BPF_IMM, 0, 0, a},
                           instruction,
                           {BPF_RET | BPF_A, 0, 0, 0}};
  EXPECT_TRUE(check_seccomp_program(program));
  return run_seccomp(program, {}).action;
}

TEST(CbpfRun, computes) {
  EXPECT_EQ(compute({BPF_ALU | BPF_ADD | BPF_K, 0, 0, 5}, UINT32_MAX), 4u);
  EXPECT_EQ(compute({BPF_ALU | BPF_SUB | BPF_X, 0, 0, 0}, 3, 5), UINT32_MAX - 1);
  EXPECT_EQ(compute({BPF_ALU | BPF_MUL | BPF_K, 0, 0, 6}, 7), 42u);
  EXPECT_EQ(compute({BPF_ALU | BPF_DIV | BPF_K, 0, 0, 6}, 45), 7u);
  EXPECT_EQ(compute({BPF_ALU | BPF_DIV | BPF_X, 0, 0, 0}, 45, 0), 0u);
  EXPECT_EQ(compute({BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xf0}, 0x3c), 0x30u);
  EXPECT_EQ(compute({BPF_ALU | BPF_OR | BPF_X, 0, 0, 0}, 0x3c, 0xf0), 0xfcu);
  EXPECT_EQ(compute({BPF_ALU | BPF_XOR | BPF_K, 0, 0, 0xff}, 0x3c), 0xc3u);
  EXPECT_EQ(compute({BPF_ALU | BPF_LSH | BPF_K, 0, 0, 4}, 0x3c), 0x3c0u);
  EXPECT_EQ(compute({BPF_ALU | BPF_RSH | BPF_X, 0, 0, 0}, 0x3c, 2), 0xfu);
  EXPECT_EQ(compute({BPF_ALU | BPF_NEG, 0, 0, 0}, 1), UINT32_MAX);
  EXPECT_EQ(compute({BPF_MISC | BPF_TXA, 0, 0, 0}, 1, 9), 9u);
}

TEST(CbpfRun, reads_every_word_of_the_call) {
  SeccompData data{.number = 1, .arch = 2, .instruction_pointer = 0x0000000400000003, .args = {}};
  for (uint64_t i = 0; i < 6; ++i) data.args[i] = (6 + 2 * i) << 32 | (5 + 2 * i);
  for (uint32_t offset = 0; offset < sizeof data; offset += 4) {
    const Program program = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, offset}, {BPF_RET | BPF_A, 0, 0, 0}};
    EXPECT_EQ(run_seccomp(program, data).action, offset / 4 + 1);
  }
}

TEST(CbpfRun, counts_the_instructions_on_the_way) {
  const Program program = {load_number, {BPF_JMP | BPF_JGT | BPF_K, 1, 0, 10}, allow, deny};
  EXPECT_EQ(run_seccomp(program, {.number = 10}).action, allow.k);
  EXPECT_EQ(run_seccomp(program, {.number = 11}).action, deny.k);
  EXPECT_EQ(run_seccomp(program, {.number = 11}).executed, 3u);
}

}  // namespace
}  // namespace nacelle::codec
