// Goal: the kernel takes the program and does what the emulator says. Method: a child loads it,
// then makes system calls that have no effect and reports their results through its exit code.
#include <errno.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/seccomp.h"
#include "tests/unit/container_seccomp/profiles.h"

namespace nacelle::container {
namespace {

using namespace test;

// Loads `program` in a child and runs `body` there; the child's wait status.
template <class Body>
int run_under(const SeccompProgram& program, Body body) {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const sock_fprog handed{static_cast<unsigned short>(program.instructions.size()),
                            reinterpret_cast<sock_filter*>(
                                const_cast<codec::CbpfInstruction*>(program.instructions.data()))};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, program.filter_flags, &handed) < 0) {
      _exit(200);
    }
    syscall(SYS_exit_group, body());
    abort();
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

// The number of the first expectation that fails, or 0.
struct Expectation {
  long number;
  std::array<long, 3> args;
  int error;  // 0: succeeds
};
int first_failure(std::span<const Expectation> expectations) {
  int which = 0;
  for (const Expectation& expected : expectations) {
    ++which;
    errno = 0;
    const long result =
        syscall(expected.number, expected.args[0], expected.args[1], expected.args[2]);
    if (expected.error == 0 ? result < 0 : result != -1 || errno != expected.error) return which;
  }
  return 0;
}

constexpr SeccompTarget native{oci::SeccompArch::X86_64};

TEST(SeccompLoad, the_kernel_runs_dockers_filter) {
  const auto program = compile_seccomp(docker_profile(), native);
  ASSERT_TRUE(program) << program.error().message();
  const int status = run_under(*program, [] {
    const Expectation expectations[] = {
        {SYS_getpid, {}, 0},
        {SYS_personality, {0xffffffff}, 0},
        {SYS_personality, {1}, EPERM},
        {SYS_socket, {40, 1, 0}, EPERM},         // AF_VSOCK
        {SYS_socket, {-1, 1, 0}, EAFNOSUPPORT},  // passes, and is refused by the kernel
        {SYS_clone, {CLONE_NEWUSER, 0, 0}, EPERM},
        {SYS_unshare, {CLONE_NEWUSER}, EPERM},
        {SYS_mount, {}, EPERM},
        {SYS_clone3, {}, ENOSYS},
        {462, {1, 0, 0}, EINVAL},  // mseal: allowed, misaligned
        {SYS_close, {-1}, EBADF},
        {2000, {}, ENOSYS},  // newer than the profile
    };
    return first_failure(expectations);
  });
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0) << "the number of the call that went wrong";
}

oci::Seccomp with_rule(oci::SeccompAction action, std::vector<oci::SeccompArgument> args = {}) {
  oci::Seccomp profile;
  profile.default_action = oci::SeccompAction::Allow;
  profile.rules.push_back({.names = {"getppid"}, .action = action, .errno_ret = {}, .args = args});
  return profile;
}

TEST(SeccompLoad, kills_and_traps_end_the_child) {
  for (const auto& [action, signal] : {std::pair{oci::SeccompAction::KillProcess, SIGSYS},
                                       std::pair{oci::SeccompAction::KillThread, SIGSYS},
                                       std::pair{oci::SeccompAction::Trap, SIGSYS}}) {
    const auto program = compile_seccomp(with_rule(action), native);
    ASSERT_TRUE(program);
    const int status =
        run_under(*program, [] { return static_cast<int>(syscall(SYS_getppid)) * 0; });
    ASSERT_TRUE(WIFSIGNALED(status)) << static_cast<int>(action);
    EXPECT_EQ(WTERMSIG(status), signal);
  }
}

TEST(SeccompLoad, arguments_are_compared_as_64_bits) {
  const auto program = compile_seccomp(
      with_rule(oci::SeccompAction::Errno, {{2, 0x100000000, 0, oci::SeccompOperator::Greater}}),
      native);
  ASSERT_TRUE(program);
  const int status = run_under(*program, [] {
    const Expectation expectations[] = {{SYS_getppid, {0, 0, 0xffffffff}, 0},
                                        {SYS_getppid, {0, 0, 0x100000000}, 0},
                                        {SYS_getppid, {0, 0, 0x100000001}, EPERM},
                                        {SYS_getppid, {0, 0, -1}, EPERM}};
    return first_failure(expectations);
  });
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(SeccompLoad, notify_asks_for_a_listener_and_gets_one) {
  auto profile = with_rule(oci::SeccompAction::Notify);
  profile.flags = {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_LOG"};
  const auto program = compile_seccomp(profile, native);
  ASSERT_TRUE(program);
  EXPECT_TRUE(program->has_notify);
  const int status = run_under(*program, [] { return 0; });
  ASSERT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0) << "200: the kernel refused the flags";
}

}  // namespace
}  // namespace nacelle::container
