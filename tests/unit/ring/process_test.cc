#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ring/kernel_missing.h"
#include "ring/ops.h"
#include "tests/unit/ring/loop_fixture.h"

namespace nacelle::ring {
namespace {

using Waiter = Task<int> (*)(Loop&, const Fd&);

struct Way {
  const char* name;
  Waiter wait;
};

// Both ways of waiting keep the same promises.
class ProcessWait : public LoopTest, public testing::WithParamInterface<Way> {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    if (GetParam().wait == wait_process_by_waitid && !loop().core().supports(kernel::op_waitid)) {
      GTEST_SKIP() << "missing: IORING_OP_WAITID (Linux 6.7)";
    }
  }
  Task<int> wait(const Fd& pidfd) { return GetParam().wait(loop(), pidfd); }
};

struct Child {
  pid_t pid;
  Fd pidfd;
};
// A child that runs `body` and exits with what it returns.
Child spawn(int (*body)()) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  return {pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)))};
}
int sleep_long() {
  ::sleep(60);
  return 0;
}

TEST_P(ProcessWait, gives_the_exit_code_of_a_child_that_ends_while_we_wait) {
  const Child child = spawn([] {
    ::usleep(5000);
    return 42;
  });
  const auto status = loop().run(wait(child.pidfd));
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_TRUE(WIFEXITED(*status));
  EXPECT_EQ(WEXITSTATUS(*status), 42);
}

TEST_P(ProcessWait, gives_the_exit_code_of_a_child_that_ended_before) {
  const Child child = spawn([] { return 255; });
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child.pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(WEXITSTATUS(loop().run(wait(child.pidfd)).value()), 255);
}

TEST_P(ProcessWait, gives_the_signal_that_killed_a_child) {
  const Child child = spawn(sleep_long);
  ASSERT_EQ(::kill(child.pid, SIGKILL), 0);
  const int status = loop().run(wait(child.pidfd)).value();
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST_P(ProcessWait, reaps_so_that_no_zombie_is_left) {
  const Child child = spawn([] { return 0; });
  ASSERT_TRUE(loop().run(wait(child.pidfd)));
  EXPECT_EQ(::waitpid(child.pid, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST_P(ProcessWait, a_wait_that_is_cut_off_leaves_the_child_to_be_waited_for) {
  const Child child = spawn(sleep_long);
  const auto late = loop().run(with_deadline(loop(), wait(child.pidfd), 5ms, "waiting"));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().message(), "waiting: timed out after 5 ms");
  ASSERT_EQ(::kill(child.pid, SIGTERM), 0);
  EXPECT_EQ(WTERMSIG(loop().run(wait(child.pidfd)).value()), SIGTERM);
}

TEST_P(ProcessWait, a_process_that_is_no_child_of_ours_is_an_error) {
  const Child child = spawn([] { return 0; });
  ASSERT_EQ(::waitpid(child.pid, nullptr, 0), child.pid);  // someone else was faster
  const auto status = loop().run(wait(child.pidfd));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message(), "waitid: No child processes");
}

INSTANTIATE_TEST_SUITE_P(ways, ProcessWait,
                         testing::Values(Way{"waitid", wait_process_by_waitid},
                                         Way{"poll", wait_process_by_poll},
                                         Way{"chosen", wait_process}),
                         [](const auto& info) { return info.param.name; });

Task<> wait_and_count(Loop& loop, Fd pidfd, int expected, int& right) {
  const int status = co_await wait_process(loop, pidfd);
  if (WEXITSTATUS(status) == expected) ++right;
}
Task<> wait_for_many(Loop& loop, int count, int& right) {
  Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  for (int i = 0; i < count; ++i) {
    Child child = spawn(i % 2 == 0 ? [] { return 3; } : [] { return 4; });
    scope.start(wait_and_count(loop, std::move(child.pidfd), i % 2 == 0 ? 3 : 4, right));
  }
  co_await scope.join();
}

class ProcessWaits : public LoopTest {};

TEST_F(ProcessWaits, a_hundred_children_are_told_apart) {
  int right = 0;
  ASSERT_TRUE(loop().run(wait_for_many(loop(), 100, right)));
  EXPECT_EQ(right, 100);
}

}  // namespace
}  // namespace nacelle::ring
