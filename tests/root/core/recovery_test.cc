// What outlives what: core its engines, containers their core, logs their worker. Each place in a
// start, an exec, an exit and a forgetting at which core can die is tried.
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "logs/options.h"
#include "tests/root/core/driver.h"

namespace nacelle::test {
namespace {

constexpr const char* run_directory = "/run/core-test";

Config shell(const std::string& script) {
  return Config::minimal().args({"/bin/sh", "-c", script});
}

class RecoveryTest : public testing::Test {
 protected:
  void SetUp() override {
    before_ = take_census();
    driver_.emplace(run_directory);
  }
  void TearDown() override {
    ::unsetenv("NACELLE_CORE_FAULT");
    driver_->clean_up();
    driver_.reset();
    EXPECT_TRUE(nothing_left_since(before_));
  }
  Driver& driver() { return *driver_; }
  void connect() {
    driver_->connect();
    ASSERT_FALSE(HasFatalFailure());
  }
  void kill_core() {
    const int pid = driver().core_pid();
    const int restarts = driver().restarts;
    ASSERT_GT(pid, 0);
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    ASSERT_TRUE(driver().wait_until([&] { return driver().restarts > restarts; }));
    ASSERT_NE(driver().core_pid(), pid);
  }
  // What a client sees that attaches: everything until the end.
  Fd attach(unsigned number, const std::string& exec = {}, bool with_input = true) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Fd ours(ends[0]);
    const Fd theirs(ends[1]);
    core::AttachRequest request;
    request.id = id_of(number);
    request.exec = exec;
    request.wants_stdin = with_input;
    request.wants_stdout = request.wants_stderr = true;
    const auto attached = driver().call(request, {&theirs});
    EXPECT_TRUE(attached) << attached.error().message();
    return ours;
  }
  static std::string read_to_end(const Fd& socket) {
    std::string text;
    char bytes[4096];
    const timeval limit{10, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while (true) {
      const ssize_t got = ::recv(socket.get(), bytes, sizeof bytes, 0);
      if (got < 0) return text + "(no end)";
      if (got == 0) return text;
      text.append(bytes, static_cast<size_t>(got));
    }
  }
  std::string log_of(unsigned number) {
    return run({"/bin/sh", "-c", cat("cat ", driver().log_directory, "/", id_of(number), "/*")})
        .out;
  }

 private:
  Census before_;
  std::optional<Driver> driver_;
};

TEST_F(RecoveryTest, what_a_container_writes_is_in_its_log_before_its_end_is_told) {
  connect();
  const Bundle files(shell("echo to the log; echo and this >&2; exit 0"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  ASSERT_TRUE(driver().exited(1));
  const std::string log = log_of(1);
  EXPECT_NE(log.find("to the log"), std::string::npos) << log;
  EXPECT_NE(log.find("and this"), std::string::npos) << log;
}

TEST_F(RecoveryTest, standard_input_goes_in_and_ends) {
  connect();
  const Bundle files(shell("cat; echo done; exit 6"));
  core::StartRequest request = driver().request(1, compile(files));
  request.open_stdin = request.stdin_once = true;
  ASSERT_TRUE(driver().start(request, files));
  const Fd client = attach(1);
  ASSERT_EQ(::send(client.get(), "hello\n", 6, 0), 6);
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 6);
  EXPECT_EQ(read_to_end(client), "hello\ndone\n");
  core::AttachRequest late;
  late.id = id_of(1);
  EXPECT_FALSE(driver().call(late, {&client})) << "nothing is there to attach to";
}

TEST_F(RecoveryTest, input_that_nobody_is_to_give_can_be_closed) {
  connect();
  const Bundle files(shell("cat; exit 6"));
  core::StartRequest request = driver().request(1, compile(files));
  request.open_stdin = true;
  ASSERT_TRUE(driver().start(request, files));
  core::CloseInputRequest close;
  close.id = id_of(1);
  ASSERT_TRUE(driver().call(close));
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 6);
}

TEST_F(RecoveryTest, a_terminal_has_the_size_that_was_asked_for) {
  connect();
  Config config = Config::docker_like().args({"/bin/sh", "-c", "read x; stty size; exit 0"});
  config.process["terminal"] = "true";
  const Bundle files(config);
  core::StartRequest request = driver().request(1, compile(files));
  request.open_stdin = true;
  request.height = 30;
  request.width = 90;
  const auto reply = driver().start(request, files);
  ASSERT_TRUE(reply) << reply.error().message();
  core::ResizeRequest resize;
  resize.id = id_of(1);
  resize.height = 40;
  resize.width = 100;
  ASSERT_TRUE(driver().call(resize));
  const Fd client = attach(1);
  ASSERT_EQ(::send(client.get(), "\n", 1, 0), 1);
  ASSERT_TRUE(driver().exited(1));
  EXPECT_NE(read_to_end(client).find("40 100"), std::string::npos);
  EXPECT_FALSE(driver().call(resize)) << "it has ended";
}

TEST_F(RecoveryTest, an_execs_output_waits_for_its_client) {
  connect();
  const Bundle files(shell("exec sleep 1000"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  core::ExecRequest exec;
  exec.id = id_of(1);
  exec.exec = "e1";
  exec.args = {"/bin/sh", "-c", "echo out; echo err >&2; exit 2"};
  exec.has_client = true;
  ASSERT_TRUE(driver().call(exec));
  const Fd client = attach(1, "e1", false);
  const std::string text = read_to_end(client);
  EXPECT_NE(text.find("out\n"), std::string::npos) << text;
  EXPECT_NE(text.find("err\n"), std::string::npos) << text;
  const auto end = driver().exited(1, "e1");
  ASSERT_TRUE(end);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 2);
}

TEST_F(RecoveryTest, a_containers_output_waits_for_a_client_that_is_to_come) {
  connect();
  const Bundle files(shell("echo hello; exit 2"));
  core::StartRequest request = driver().request(1, compile(files));
  request.has_client = true;
  ASSERT_TRUE(driver().start(request, files));
  const timespec pause{0, 50'000'000};
  ::nanosleep(&pause, nullptr);
  const Fd client = attach(1, {}, false);
  EXPECT_EQ(read_to_end(client), "hello\n");
  ASSERT_TRUE(driver().exited(1));
  EXPECT_NE(log_of(1).find("hello"), std::string::npos);
}

TEST_F(RecoveryTest, an_exec_with_a_terminal) {
  connect();
  const Bundle files(Config::docker_like().args({"/bin/sleep", "1000"}));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  core::ExecRequest exec;
  exec.id = id_of(1);
  exec.exec = "e1";
  exec.args = {"/bin/sh", "-c", "read x; tty; stty size; exit 4"};
  exec.terminal = exec.open_stdin = exec.has_client = true;
  exec.height = 21;
  exec.width = 77;
  const auto reply = driver().call(exec);
  ASSERT_TRUE(reply) << reply.error().message();
  const Fd client = attach(1, "e1");
  ASSERT_EQ(::send(client.get(), "\n", 1, 0), 1);
  const auto end = driver().exited(1, "e1");
  ASSERT_TRUE(end);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 4);
  EXPECT_NE(read_to_end(client).find("21 77"), std::string::npos);
}

TEST_F(RecoveryTest, containers_outlive_core_and_their_codes_come_through) {
  connect();
  const Bundle files(shell("read x; exit 9"));
  core::StartRequest request = driver().request(1, compile(files));
  request.open_stdin = request.stdin_once = true;
  const auto reply = driver().start(request, files);
  ASSERT_TRUE(reply);
  const Bundle sleeper(shell("exec sleep 1000"));
  ASSERT_TRUE(driver().start(2, sleeper, compile(sleeper)));
  ASSERT_NO_FATAL_FAILURE(kill_core());
  EXPECT_EQ(driver().find(1)->pid, reply->pid);
  EXPECT_FALSE(driver().find(1)->ended);
  {
    const Fd client = attach(1);
    ASSERT_EQ(::send(client.get(), "\n", 1, 0), 1);
    const auto end = driver().exited(1);
    ASSERT_TRUE(end);
    EXPECT_TRUE(end->status_known);
    EXPECT_EQ(WEXITSTATUS(end->wait_status), 9);
  }
  core::SignalRequest signal;
  signal.id = id_of(2);
  signal.signal = SIGTERM;
  signal.all = true;
  ASSERT_TRUE(driver().call(signal));
  signal.signal = SIGKILL;
  (void)driver().call(signal);
  const auto end = driver().exited(2);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->status_known);
  EXPECT_TRUE(WIFSIGNALED(end->wait_status));
}

TEST_F(RecoveryTest, what_ends_while_no_core_is_there_is_known_by_the_parked_descriptor) {
  connect();
  const Bundle files(shell("echo last words; sleep 0.3; echo more; exit 9"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  const int pid = driver().core_pid();
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  // The loop that would start another one does not turn meanwhile.
  const timespec pause{1, 0};
  ::nanosleep(&pause, nullptr);
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->status_known);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 9);
  const std::string log = log_of(1);
  EXPECT_NE(log.find("last words"), std::string::npos) << log;
  EXPECT_NE(log.find("more"), std::string::npos) << log;
}

TEST_F(RecoveryTest, with_core_and_engine_gone_the_code_is_unknown_and_said_to_be) {
  connect();
  const Bundle files(shell("sleep 0.2; exit 9"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  const int pid = driver().core_pid();
  driver().disconnect();
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  const timespec pause{0, 600'000'000};
  ::nanosleep(&pause, nullptr);
  connect();
  ASSERT_TRUE(driver().wait_until([&] { return driver().find(1)->ended; }));
  EXPECT_FALSE(driver().find(1)->status_known);
}

TEST_F(RecoveryTest, the_log_goes_on_when_its_worker_is_killed) {
  connect();
  const Bundle files(
      shell("i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); "
            "[ $((i%20)) = 0 ] && sleep 0.05; done; exit 0"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  for (int round = 0; round < 3; ++round) {
    const timespec pause{0, 100'000'000};
    ::nanosleep(&pause, nullptr);
    run({"/bin/sh", "-c",
         "for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = nacelle-worker ] && "
         "kill -9 ${p#/proc/}; done"});
  }
  ASSERT_TRUE(driver().exited(1));
  const std::string log = log_of(1);
  for (int i = 0; i < 200; ++i) {
    EXPECT_NE(log.find(cat("line ", i, "\\n")), std::string::npos) << i;
  }
}

TEST_F(RecoveryTest, core_is_replaced_in_place_and_nothing_notices) {
  connect();
  const Bundle files(shell("read x; exit 9"));
  core::StartRequest request = driver().request(1, compile(files));
  request.open_stdin = request.stdin_once = true;
  ASSERT_TRUE(driver().start(request, files));
  const Bundle quick(shell("exit 3"));
  ASSERT_TRUE(driver().start(2, quick, compile(quick)));
  ASSERT_TRUE(driver().exited(2));
  const int pid = driver().core_pid();
  core::UpgradeRequest upgrade;
  upgrade.program = NACELLE_PROGRAMS "/nacelle-core";
  for (int round = 0; round < 3; ++round) {
    const auto replaced = driver().call(upgrade);
    ASSERT_TRUE(replaced) << replaced.error().message();
  }
  EXPECT_EQ(driver().core_pid(), pid);
  EXPECT_EQ(driver().restarts, 0) << "the connection stays";
  EXPECT_EQ(WEXITSTATUS(driver().find(2)->wait_status), 3);
  const Fd client = attach(1);
  ASSERT_EQ(::send(client.get(), "\n", 1, 0), 1);
  const auto end = driver().exited(1);
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->status_known);
  EXPECT_EQ(WEXITSTATUS(end->wait_status), 9);
  ASSERT_TRUE(driver().start(3, quick, compile(quick)));
  ASSERT_TRUE(driver().exited(3));
}

TEST_F(RecoveryTest, a_successor_that_does_not_understand_is_not_gone_over_to) {
  connect();
  const Bundle files(shell("exec sleep 1000"));
  ASSERT_TRUE(driver().start(1, files, compile(files)));
  core::UpgradeRequest upgrade;
  for (const char* program : {"/bin/false", "/no/such/program", "relative", "/etc/passwd"}) {
    upgrade.program = program;
    EXPECT_FALSE(driver().call(upgrade)) << program;
    EXPECT_FALSE(driver().find(1)->ended);
  }
}

ring::Task<> start_quick(Driver& driver, unsigned number, const Plan& plan, const Bundle& files) {
  const Fd tree = driver.root(files);
  (void)co_await driver.client().call(driver.request(number, plan), {&tree});
}
ring::Task<> replace(Driver& driver) {
  core::UpgradeRequest upgrade;
  upgrade.program = NACELLE_PROGRAMS "/nacelle-core";
  for (int round = 0; round < 5; ++round) {
    (void)co_await driver.client().call(upgrade);
    co_await ring::sleep_for(driver.loop(), std::chrono::milliseconds(20));
  }
}
ring::Task<> start_while_replacing(Driver& driver, const Plan& plan, const Bundle& files) {
  ring::Scope scope(driver.loop(), [](const Error& error) { ADD_FAILURE() << error.message(); });
  scope.start(replace(driver));
  for (unsigned i = 1; i <= 100; ++i) {
    scope.start(start_quick(driver, i, plan, files));
    co_await ring::sleep_for(driver.loop(), std::chrono::milliseconds(2));
  }
  co_await scope.join();
}

TEST_F(RecoveryTest, core_is_replaced_under_load_and_no_end_is_lost) {
  connect();
  const Bundle files(shell("exit 4"));
  const Plan plan = compile(files);
  ASSERT_TRUE(driver().loop().run(start_while_replacing(driver(), plan, files)));
  for (unsigned i = 1; i <= 100; ++i) {
    const auto end = driver().exited(i);
    ASSERT_TRUE(end) << i;
    EXPECT_TRUE(end->status_known) << i;
    EXPECT_EQ(WEXITSTATUS(end->wait_status), 4) << i;
  }
  EXPECT_EQ(driver().restarts, 0);
}

// Goal: at no place does a death of core lose a container that was started, keep one that was not,
// or leave anything behind. Method: one container waits on its standard input throughout; core is
// killed at each place of another one's life; then both are brought to their ends.
TEST_F(RecoveryTest, killed_at_any_place_it_leaves_nothing_and_loses_nothing) {
  const char* const places[] = {
      "core start reserved",  "core start begun",    "core start cgroup",    "core start cloned",
      "core start written",   "core start executed", "core start published", "core reply",
      "core exit seen",       "core exit reaped",    "core exit drained",    "core exit told",
      "core forget begun",    "core forget removed", "core forget done",     "core exec reserved",
      "core exec cloned",     "core exec executed",  "core exec published",  "core upgrade checked",
      "core upgrade written",
  };
  const Bundle waiting(shell("read x; exit 9"));
  const Plan waiting_plan = compile(waiting);
  const Bundle quick(shell("sleep 0.1; exit 5"));
  const Plan quick_plan = compile(quick);
  for (const char* place : places) {
    SCOPED_TRACE(place);
    const bool in_exec = std::string_view(place).starts_with("core exec");
    connect();
    core::StartRequest request = driver().request(1, waiting_plan);
    request.open_stdin = request.stdin_once = true;
    ASSERT_TRUE(driver().start(request, waiting));
    // The core that dies adopts the first container.
    ::setenv("NACELLE_CORE_FAULT", cat("kill:", place).c_str(), 1);
    const bool dies_at_once = std::string_view(place) == "core reply";
    ::kill(driver().core_pid(), SIGKILL);
    if (!dies_at_once) {
      ASSERT_TRUE(driver().wait_until([&] { return driver().restarts > 0; }));
    }
    const int doomed = dies_at_once ? 0 : driver().core_pid();
    ::unsetenv("NACELLE_CORE_FAULT");
    if (dies_at_once) ASSERT_TRUE(driver().wait_until([&] { return driver().restarts > 0; }));
    const int restarts = driver().restarts;
    if (in_exec) {
      core::ExecRequest exec;
      exec.id = id_of(1);
      exec.exec = "e1";
      exec.args = {"/bin/true"};
      (void)driver().call(exec);
    } else if (std::string_view(place).starts_with("core upgrade")) {
      core::UpgradeRequest upgrade;
      upgrade.program = NACELLE_PROGRAMS "/nacelle-core";
      (void)driver().call(upgrade);
    } else {
      const auto reply = driver().start(2, quick, quick_plan);
      if (reply) {
        const auto end = driver().exited(2);
        if (!end) {
          // Told to nobody: then it is in the list.
          ASSERT_TRUE(driver().find(2));
          EXPECT_TRUE(driver().find(2)->ended);
        } else {
          EXPECT_TRUE(end->status_known);
          EXPECT_EQ(WEXITSTATUS(end->wait_status), 5);
        }
        (void)driver().forget(2);
      }
    }
    if (!dies_at_once) {
      EXPECT_TRUE(driver().wait_until([&] { return driver().restarts > restarts; }))
          << "core passed this place alive";
      EXPECT_NE(driver().core_pid(), doomed);
    }
    // The one that ran all the time.
    ASSERT_TRUE(driver().find(1));
    EXPECT_FALSE(driver().find(1)->ended);
    const Fd client = attach(1);
    ASSERT_EQ(::send(client.get(), "\n", 1, 0), 1);
    const auto end = driver().exited(1);
    ASSERT_TRUE(end);
    EXPECT_TRUE(end->status_known);
    EXPECT_EQ(WEXITSTATUS(end->wait_status), 9);
    if (driver().find(2)) {
      EXPECT_TRUE(driver().wait_until([&] { return driver().find(2)->ended; }));
    }
    driver().clean_up();
    driver().ends.clear();
    driver().restarts = 0;
  }
}

}  // namespace
}  // namespace nacelle::test
