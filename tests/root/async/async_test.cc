// Starts and ends on a loop, on the real kernel: what succeeds, what fails, what is cut short, and
// what is left of each.
#include "nacelle/async.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "tests/support/bundle.h"
#include "tests/support/census.h"

namespace nacelle::test {
namespace {

using ring::Loop;
using ring::Scope;
using ring::Task;
using std::chrono::milliseconds;

constexpr const char* state_root = "/run/async-test";
constexpr const char* listener_path = "/tmp/async-listener.sock";

class AsyncTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { before_ = new Census(take_census()); }
  static void TearDownTestSuite() { delete before_; }

  void SetUp() override {
    auto loop = Loop::open();
    ASSERT_TRUE(loop) << loop.error().message();
    loop_ = *std::move(loop);
    auto runtime = Runtime::open(state_root);
    ASSERT_TRUE(runtime) << runtime.error().message();
    runtime_.emplace(*std::move(runtime));
  }
  void TearDown() override {
    EXPECT_TRUE(runtime_->list()->empty());
    runtime_.reset();
    loop_.reset();
    EXPECT_TRUE(nothing_left_since(*before_));
  }

  nacelle::Bundle load(const test::Bundle& files) {
    auto bundle = runtime_->load(files.path());
    EXPECT_TRUE(bundle) << bundle.error().message();
    return *std::move(bundle);
  }

  std::unique_ptr<Loop> loop_;
  std::optional<Runtime> runtime_;

 private:
  inline static Census* before_ = nullptr;
};

// From its start to its removal; the value is the exit code.
Task<int> live(Loop& loop, Runtime& runtime, const nacelle::Bundle& bundle, std::string id) {
  const Process process = co_await run(loop, runtime, id, bundle);
  const ExitStatus status = co_await wait(loop, process);
  co_await runtime.remove(id);
  co_return status.code();
}

Config shell(const std::string& script) {
  return Config::minimal().args({"/bin/sh", "-c", script});
}

// A filter that asks a listener about one system call.
Config with_listener(Config config, std::string_view asked) {
  config.for_linux["seccomp"] = cat(
      R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"listenerPath":)",
      json_string(listener_path), R"(,"syscalls":[{"names":[)", json_string(asked),
      R"(],"action":"SCMP_ACT_NOTIFY"}]})");
  return config;
}

TEST_F(AsyncTest, a_container_runs_and_its_exit_code_arrives) {
  const test::Bundle files(shell("exit 7"));
  const nacelle::Bundle bundle = load(files);
  const Result<int> code = loop_->run(live(*loop_, *runtime_, bundle, "one"));
  ASSERT_TRUE(code) << code.error().message();
  EXPECT_EQ(*code, 7);
}

TEST_F(AsyncTest, the_times_of_a_traced_start_are_in_order) {
  const test::Bundle files(shell("exit 0"));
  const nacelle::Bundle bundle = load(files);
  StartTimes times;
  IoOptions io;
  io.traced = true;
  const Result<Process> process = loop_->run(run(*loop_, *runtime_, "timed", bundle, io, &times));
  ASSERT_TRUE(process) << process.error().message();
  EXPECT_LT(times.begin, times.cgroup);
  EXPECT_LT(times.clone, times.exec);
  EXPECT_LT(times.mounts, times.pivot);
  ASSERT_TRUE(loop_->run(wait(*loop_, *process)));
  EXPECT_TRUE(runtime_->remove("timed"));
}

Task<> live_and_note(Loop& loop, Runtime& runtime, const nacelle::Bundle& bundle, std::string id,
                     std::vector<int>& codes) {
  codes.push_back(co_await live(loop, runtime, bundle, std::move(id)));
}

Task<> live_all(Loop& loop, Runtime& runtime, const nacelle::Bundle& bundle,
                std::vector<int>& codes) {
  Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  for (int i = 0; i < 16; ++i) {
    scope.start(live_and_note(loop, runtime, bundle, cat("many-", i), codes));
  }
  co_await scope.join();
}

TEST_F(AsyncTest, sixteen_at_once_share_a_bundle_and_none_is_lost) {
  const test::Bundle files(shell("exit 4"));
  const nacelle::Bundle bundle = load(files);
  std::vector<int> codes;
  ASSERT_TRUE(loop_->run(live_all(*loop_, *runtime_, bundle, codes)));
  EXPECT_EQ(codes, std::vector<int>(16, 4));
}

// The child asks for its mappings in the middle of its start.
TEST_F(AsyncTest, a_user_namespace_is_mapped_on_the_way) {
  Config config =
      shell("[ \"$(id -u)\" = 0 ] && exec grep -q '0 *100000 *1000' /proc/self/uid_map");
  config.namespaces({"pid", "network", "ipc", "uts", "mount", "cgroup", "user"});
  const std::string mapping = R"([{"containerID":0,"hostID":100000,"size":1000}])";
  config.for_linux["uidMappings"] = mapping;
  config.for_linux["gidMappings"] = mapping;
  const test::Bundle files(config);
  const nacelle::Bundle bundle = load(files);
  const Result<int> code = loop_->run(live(*loop_, *runtime_, bundle, "mapped"));
  ASSERT_TRUE(code) << code.error().message();
  EXPECT_EQ(*code, 0);
}

TEST_F(AsyncTest, a_created_container_waits_for_its_start) {
  const test::Bundle files(shell("exit 5"));
  const nacelle::Bundle bundle = load(files);
  const Result<Process> process = loop_->run(create(*loop_, *runtime_, "parked", bundle));
  ASSERT_TRUE(process) << process.error().message();
  EXPECT_EQ(runtime_->state("parked")->status, Status::Created);
  ASSERT_TRUE(runtime_->start("parked"));
  const Result<ExitStatus> status = loop_->run(wait(*loop_, *process));
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(status->code(), 5);
  EXPECT_TRUE(runtime_->remove("parked"));
}

TEST_F(AsyncTest, a_killed_container_is_128_and_the_signal) {
  const test::Bundle files(shell("exec sleep 1000"));
  const nacelle::Bundle bundle = load(files);
  const Result<Process> process = loop_->run(run(*loop_, *runtime_, "killed", bundle));
  ASSERT_TRUE(process) << process.error().message();
  ASSERT_TRUE(runtime_->kill("killed", SIGKILL));
  const Result<ExitStatus> status = loop_->run(wait(*loop_, *process));
  ASSERT_TRUE(status) << status.error().message();
  EXPECT_EQ(status->code(), 128 + SIGKILL);
  EXPECT_TRUE(runtime_->remove("killed"));
}

TEST_F(AsyncTest, a_filter_that_notifies_hands_its_listener_over_and_the_program_runs) {
  const ConsoleSocket socket(listener_path);  // it receives any one descriptor
  const test::Bundle files(with_listener(shell("exit 6"), "mkdir"));
  const nacelle::Bundle bundle = load(files);
  const Result<int> code = loop_->run(live(*loop_, *runtime_, bundle, "notified"));
  ASSERT_TRUE(code) << code.error().message();
  EXPECT_EQ(*code, 6);
  ::unlink(listener_path);
}

// Goal: a start that hangs is cut short and undone. Method: the filter asks about execve, and the
// listener never answers.
TEST_F(AsyncTest, a_start_that_hangs_ends_at_its_deadline_and_leaves_nothing) {
  const ConsoleSocket socket(listener_path);
  const test::Bundle files(with_listener(shell("exit 0"), "execveat"));
  const nacelle::Bundle bundle = load(files);
  const Result<Process> process = loop_->run(ring::with_deadline(
      *loop_, run(*loop_, *runtime_, "hangs", bundle), milliseconds(300), "starting 'hangs'"));
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().kind(), Kind::Unavailable);
  EXPECT_EQ(process.error().message(), "starting 'hangs': timed out after 300 ms");
  EXPECT_EQ(runtime_->state("hangs").error().kind(), Kind::NotFound);
  ::unlink(listener_path);
}

TEST_F(AsyncTest, an_id_in_use_is_a_conflict_and_its_owner_goes_on) {
  const test::Bundle files(shell("exec sleep 1000"));
  const nacelle::Bundle bundle = load(files);
  const Result<Process> first = loop_->run(run(*loop_, *runtime_, "taken", bundle));
  ASSERT_TRUE(first) << first.error().message();
  const Result<Process> second = loop_->run(run(*loop_, *runtime_, "taken", bundle));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind(), Kind::Conflict) << second.error().message();
  EXPECT_EQ(runtime_->state("taken")->status, Status::Running);
  ASSERT_TRUE(runtime_->kill("taken", SIGKILL));
  ASSERT_TRUE(loop_->run(wait(*loop_, *first)));
  EXPECT_TRUE(runtime_->remove("taken"));
}

TEST_F(AsyncTest, a_program_that_is_not_there_is_an_error_that_names_it) {
  const test::Bundle files(Config::minimal().args({"/bin/no-such-program"}));
  const nacelle::Bundle bundle = load(files);
  const Result<Process> process = loop_->run(run(*loop_, *runtime_, "absent", bundle));
  ASSERT_FALSE(process);
  EXPECT_NE(process.error().message().find("/bin/no-such-program"), std::string::npos)
      << process.error().message();
}

TEST_F(AsyncTest, a_mount_that_fails_is_an_error_that_names_it) {
  Config config = shell("exit 0");
  config.add_mount(R"({"destination":"/mnt","type":"bind","source":"/no/such/place",)"
                   R"("options":["bind"]})");
  const test::Bundle files(config);
  const nacelle::Bundle bundle = load(files);
  const Result<Process> process = loop_->run(run(*loop_, *runtime_, "mountless", bundle));
  ASSERT_FALSE(process);
  EXPECT_NE(process.error().message().find("/no/such/place"), std::string::npos)
      << process.error().message();
}

Task<> cancelled_before_its_turn(Loop& loop, Runtime& runtime, const nacelle::Bundle& bundle) {
  Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  std::vector<int> codes;
  for (int i = 0; i < 4; ++i) {
    scope.start(live_and_note(loop, runtime, bundle, cat("cancelled-", i), codes));
  }
  // A moment: some starts are on their way.
  co_await ring::sleep_for(loop, std::chrono::microseconds(1));
  scope.cancel();
  co_await scope.join();
  // What ran before the cancellation came is ours to remove and to reap.
  for (int i = 0; i < 4; ++i) co_await runtime.remove(cat("cancelled-", i), true);
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

TEST_F(AsyncTest, cancelled_starts_leave_nothing) {
  const test::Bundle files(shell("exec sleep 1000"));
  const nacelle::Bundle bundle = load(files);
  const Result<> done = loop_->run(cancelled_before_its_turn(*loop_, *runtime_, bundle));
  EXPECT_TRUE(done) << done.error().message();
}

}  // namespace
}  // namespace nacelle::test
