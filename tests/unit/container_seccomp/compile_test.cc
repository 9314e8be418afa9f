#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/seccomp.h>

#include "container/seccomp.h"
#include "container/seccomp_syscalls.h"
#include "tests/unit/container_seccomp/profiles.h"
#include "tests/unit/container_seccomp/reference.h"

namespace nacelle::container {
namespace {

using namespace test;
using Action = oci::SeccompAction;
using Arch = oci::SeccompArch;
using Op = oci::SeccompOperator;

constexpr SeccompTarget native{Arch::X86_64};
constexpr uint32_t enosys = SECCOMP_RET_ERRNO | 38;

oci::SeccompRule rule(std::vector<std::string> names, Action action,
                      std::vector<oci::SeccompArgument> args = {}) {
  return {.names = std::move(names), .action = action, .errno_ret = {}, .args = std::move(args)};
}

oci::Seccomp denying(std::vector<oci::SeccompRule> rules) {
  oci::Seccomp profile;
  profile.default_action = Action::Errno;
  profile.rules = std::move(rules);
  return profile;
}

uint32_t answer(const SeccompProgram& program, uint32_t arch, uint32_t number) {
  return codec::run_seccomp(program.instructions, {.number = number, .arch = arch, .args = {}})
      .action;
}

// Goal: a refused profile names the path at fault. Method: one broken field per case.
TEST(SeccompCompile, names_the_path_at_fault) {
  struct Case {
    std::string complaint;
    oci::Seccomp profile;
  };
  std::vector<Case> cases;
  const auto add = [&](const char* complaint) -> oci::Seccomp& {
    cases.push_back({complaint, denying({rule({"read"}, Action::Allow)})});
    return cases.back().profile;
  };
  add("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default action").default_action =
      Action::Notify;
  auto& no_number = add("linux.seccomp.defaultErrnoRet: the default action takes no error number");
  no_number.default_action = Action::Allow;
  no_number.default_errno_ret = 1;
  add("linux.seccomp.defaultErrnoRet: must be below 4095").default_errno_ret = 4095;
  add("linux.seccomp.architectures[1]: SCMP_ARCH_S390X has another byte order than "
      "SCMP_ARCH_X86_64")
      .architectures = {Arch::X86, Arch::S390x};
  add("linux.seccomp.architectures[0]: SCMP_ARCH_M68K is not supported").architectures = {
      Arch::M68k};
  add("linux.seccomp.flags[1]: unknown flag 'SECCOMP_FILTER_FLAG_NEW_LISTENER'").flags = {
      "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_NEW_LISTENER"};
  add("linux.seccomp.flags[0]: unknown flag ''").flags = {""};
  add("linux.seccomp.syscalls[1]: SCMP_ACT_NOTIFY cannot be used for write")
      .rules.push_back(rule({"read", "write"}, Action::Notify));
  add("linux.seccomp.syscalls[0].errnoRet: the action takes no error number").rules[0].errno_ret =
      1;
  auto& large = add("linux.seccomp.syscalls[0].errnoRet: must be below 4095");
  large.rules[0].action = Action::Errno;
  large.rules[0].errno_ret = 0xffff;
  add("linux.seccomp.syscalls[0].args[1].index: must be 0 to 5").rules[0].args = {
      {0, 1, 0, Op::Equal}, {6, 1, 0, Op::Equal}};
  auto& contradiction =
      add("linux.seccomp.syscalls[1]: an earlier rule has another action for the same conditions");
  contradiction.rules = {rule({"read"}, Action::Allow, {{0, 1, 0, Op::Equal}}),
                         rule({"open", "read"}, Action::Log, {{0, 1, 0, Op::Equal}})};
  auto& many =
      add("linux.seccomp.syscalls[0]: more than 1024 rules with conditions for one system call");
  many.rules[0].args.assign(1025, {0, 1, 0, Op::Equal});
  for (const Case& c : cases) {
    const auto compiled = compile_seccomp(c.profile, native);
    ASSERT_FALSE(compiled) << c.complaint;
    EXPECT_EQ(compiled.error().message(), c.complaint);
    EXPECT_EQ(compiled.error().kind(), Kind::Invalid);
  }
}

TEST(SeccompCompile, a_program_too_long_for_the_kernel_is_an_error) {
  oci::Seccomp profile = denying({});
  for (uint64_t value = 0; value < 1000; ++value) {
    profile.rules.push_back(
        rule({"read"}, Action::Allow,
             {{0, value * 0x100000003, 0, Op::Equal}, {1, value, 0, Op::Equal}}));
  }
  const auto compiled = compile_seccomp(profile, native);
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().kind(), Kind::Exhausted);
  EXPECT_EQ(compiled.error().message().find("linux.seccomp: the filter needs "), 0u);
}

TEST(SeccompCompile, far_jumps_reach_their_targets) {
  oci::Seccomp profile = denying({});
  for (uint64_t value = 1; value <= 900; ++value) {
    profile.rules.push_back(rule({"read", "close"}, value % 2 ? Action::Allow : Action::Log,
                                 {{0, value * 7, 0, Op::Equal}}));
  }
  const auto compiled = compile_seccomp(profile, native);
  ASSERT_TRUE(compiled) << compiled.error().message();
  ASSERT_GT(compiled->instructions.size(), 600u);
  ASSERT_TRUE(codec::check_seccomp_program(compiled->instructions));
  for (uint64_t value = 0; value <= 901 * 7; ++value) {
    const bool is_rule = value % 7 == 0 && value > 0 && value <= 900 * 7;
    const uint32_t expected = !is_rule             ? SECCOMP_RET_ERRNO | 1
                              : value / 7 % 2 == 1 ? SECCOMP_RET_ALLOW
                                                   : SECCOMP_RET_LOG;
    const codec::SeccompData data{.number = 3, .arch = AUDIT_ARCH_X86_64, .args = {value}};
    ASSERT_EQ(codec::run_seccomp(compiled->instructions, data).action, expected) << value;
  }
}

TEST(SeccompCompile, numbers_newer_than_the_profile_answer_ENOSYS) {
  oci::Seccomp profile = denying({rule({"read", "statx"}, Action::Allow)});  // 332, 383
  profile.architectures = {Arch::X86, Arch::X32};
  const auto compiled = compile_seccomp(profile, native);
  ASSERT_TRUE(compiled);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_X86_64, 331), SECCOMP_RET_ERRNO | 1u);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_X86_64, 332), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_X86_64, 333), enosys);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_X86_64, 0x40000000 | 332), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_X86_64, 0x40000000 | 333), enosys);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_I386, 382), SECCOMP_RET_ERRNO | 1u);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_I386, 384), enosys);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_AARCH64, 384), SECCOMP_RET_KILL_THREAD);
}

TEST(SeccompCompile, no_ENOSYS_where_the_default_lets_calls_through) {
  for (const Action action : {Action::Allow, Action::Log, Action::Trace}) {
    oci::Seccomp profile = denying({rule({"read", "statx"}, Action::KillProcess)});
    profile.default_action = action;
    const auto compiled = compile_seccomp(profile, native);
    ASSERT_TRUE(compiled);
    EXPECT_EQ(answer(*compiled, AUDIT_ARCH_X86_64, 333), answer(*compiled, AUDIT_ARCH_X86_64, 331));
  }
}

TEST(SeccompCompile, the_multiplexed_setup_call_of_s390x_answers_ENOSYS) {
  const auto compiled =
      compile_seccomp(denying({rule({"read"}, Action::Allow)}), {.native = Arch::S390x});
  ASSERT_TRUE(compiled) << compiled.error().message();
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_S390X, 0), enosys);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_S390X, 1), SECCOMP_RET_ERRNO | 1u);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_S390X, 3), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_S390X, 4), enosys);
}

TEST(SeccompCompile, unknown_names_are_warnings_and_bounded) {
  oci::Seccomp profile = denying({rule({"read", "no_such_call"}, Action::Allow)});
  auto compiled = compile_seccomp(profile, native);
  ASSERT_TRUE(compiled);
  EXPECT_EQ(compiled->warnings,
            std::vector<std::string>{
                "linux.seccomp.syscalls[0].names[1]: unknown system call 'no_such_call', ignored"});
  profile.rules[0].names.assign(100, "");
  compiled = compile_seccomp(profile, native);
  ASSERT_TRUE(compiled);
  ASSERT_EQ(compiled->warnings.size(), seccomp_warnings_max + 1);
  EXPECT_EQ(compiled->warnings.back(), "linux.seccomp: 84 more warnings left out");
}

TEST(SeccompCompile, flags_become_bits) {
  oci::Seccomp profile = denying({rule({"read"}, Action::Allow)});
  profile.flags = {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                   "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
  const auto compiled = compile_seccomp(profile, native);
  ASSERT_TRUE(compiled);
  EXPECT_EQ(compiled->filter_flags, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW);
  EXPECT_FALSE(compiled->has_notify);
  EXPECT_EQ(compiled->warnings.size(), 1u);
}

// Goal: a rule that holds for one bound must not leak to another that shares its upper word, which
// is where libseccomp 2.5.4 lets A0=6, A1=2 through.
TEST(SeccompCompile, a_second_condition_stays_with_its_own_bound) {
  const auto compiled = compile_seccomp(
      denying({rule({"read"}, Action::Allow, {{0, 5, 0, Op::Greater}, {1, 1, 0, Op::Equal}}),
               rule({"read"}, Action::Allow, {{0, 7, 0, Op::Greater}, {1, 2, 0, Op::Equal}})}),
      native);
  ASSERT_TRUE(compiled);
  const auto ask = [&](uint64_t a0, uint64_t a1) {
    return codec::run_seccomp(compiled->instructions,
                              {.number = 0, .arch = AUDIT_ARCH_X86_64, .args = {a0, a1}})
        .action;
  };
  EXPECT_EQ(ask(6, 1), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(6, 2), SECCOMP_RET_ERRNO | 1u);
  EXPECT_EQ(ask(8, 2), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(8, 1), SECCOMP_RET_ALLOW);
  EXPECT_EQ(ask(8, 3), SECCOMP_RET_ERRNO | 1u);
}

TEST(SyscallNames, agree_with_libseccomp_on_every_name_and_architecture) {
  int known = 0;
  for (const KnownArch& arch : known_archs()) {
    for (const std::string& name : libseccomp_names(arch.id)) {
      const auto ours = SyscallName::find(name);
      ASSERT_TRUE(ours) << name;
      EXPECT_EQ(ours->number_in(arch.id), libseccomp_number(arch.id, name))
          << name << " on " << architecture_name(arch.id);
      ++known;
    }
  }
  EXPECT_GT(known, 3000);
}

TEST(SyscallNames, hold_calls_that_libseccomp_lacks) {
  struct Case {
    const char* name;
    Arch arch;
    std::optional<uint32_t> number;
  };
  const Case cases[] = {
      {"mseal", Arch::X86_64, 462},
      {"mseal", Arch::X32, 0x40000000 | 462},
      {"statmount", Arch::X86, 457},
      {"listmount", Arch::Aarch64, 458},
      {"setxattrat", Arch::S390x, 463},
      {"open_tree_attr", Arch::Riscv64, 467},
      {"file_getattr", Arch::Ppc64le, 468},
      {"file_setattr", Arch::Loongarch64, 469},
      {"lsm_list_modules", Arch::Arm, 461},
      {"uretprobe", Arch::X86_64, 335},
      {"uretprobe", Arch::X86, {}},
      {"uretprobe", Arch::Aarch64, {}},
      {"read", Arch::Loongarch64, 63},
      {"clone3", Arch::Loongarch64, 435},
      {"open", Arch::Loongarch64, {}},
      {"riscv_flush_icache", Arch::Loongarch64, {}},
      {"riscv_flush_icache", Arch::Riscv64, 259},
      {"mseal", Arch::Mipsel64, 5462},
  };
  for (const Case& c : cases) {
    const auto name = SyscallName::find(c.name);
    ASSERT_TRUE(name) << c.name;
    EXPECT_EQ(name->number_in(c.arch), c.number) << c.name << " on " << architecture_name(c.arch);
  }
  for (const char* unknown : {"", "rea", "readx", "READ", "mseal ", "zzz", "_"}) {
    EXPECT_FALSE(SyscallName::find(unknown)) << unknown;
  }
}

TEST(SeccompCompile, dockers_profile_allows_what_libseccomp_cannot_name) {
  const auto compiled = compile_seccomp(docker_profile(), native);
  ASSERT_TRUE(compiled);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_X86_64, 462), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_I386, 462), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(*compiled, AUDIT_ARCH_X86_64, 0x40000000 | 462), SECCOMP_RET_ALLOW);
  EXPECT_LT(compiled->instructions.size(), 500u);
}

}  // namespace
}  // namespace nacelle::container
