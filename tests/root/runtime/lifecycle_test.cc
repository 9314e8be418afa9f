// The verbs over a container's life: create, start, kill, pause, delete, exec, hooks, terminals.
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <memory>

#include "tests/root/runtime/container_test.h"

namespace nacelle::test {
namespace {

using LifecycleTest = ContainerTest;

TEST_F(LifecycleTest, nothing_of_the_program_runs_before_start) {
  const Bundle bundle(Config::minimal().args({"/bin/sh", "-c", "echo ran; exec sleep 100"}));
  const Live live(bundle, "live", "create");
  EXPECT_EQ(live.state("status"), "created");
  ::usleep(50'000);
  EXPECT_EQ(live.made().out_now(), "");
  EXPECT_TRUE(oci({"start", "live"}).ok());
  EXPECT_TRUE(eventually([&] { return live.made().out_now() == "ran\n"; }));
  EXPECT_EQ(live.state("status"), "running");
}

TEST_F(LifecycleTest, only_a_created_container_can_be_started) {
  const Bundle bundle(Config::minimal().guest({"wait"}));
  const Live live(bundle, "live", "create");
  EXPECT_TRUE(oci({"start", "live"}).ok());
  const CommandResult twice = oci({"start", "live"});
  EXPECT_EQ(twice.exit_code, 1);
  EXPECT_CONTAINS(twice.err, "cannot start an already running container");
  EXPECT_TRUE(oci({"kill", "live", "KILL"}).ok());
  EXPECT_TRUE(live.becomes("stopped"));
  const CommandResult stopped = oci({"start", "live"});
  EXPECT_EQ(stopped.exit_code, 1);
  EXPECT_CONTAINS(stopped.err, "cannot start a container that has stopped");
}

TEST_F(LifecycleTest, a_created_container_can_be_deleted) {
  const Bundle bundle(Config::minimal());
  const Live live(bundle, "live", "create");
  EXPECT_TRUE(oci({"delete", "live"}).ok());
  EXPECT_CONTAINS(oci({"state", "live"}).err, "container does not exist");
}

TEST_F(LifecycleTest, a_running_container_is_deleted_with_force_only) {
  const Bundle bundle(Config::minimal().guest({"wait"}));
  const Live live(bundle);
  const CommandResult refused = oci({"delete", "live"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_CONTAINS(refused.err, "not stopped: running");
  EXPECT_EQ(live.state("status"), "running");
  EXPECT_TRUE(oci({"delete", "--force", "live"}).ok());
  EXPECT_TRUE(oci({"delete", "--force", "live"}).ok());  // of nothing is no error
  EXPECT_EQ(oci({"delete", "live"}).exit_code, 1);
}

TEST_F(LifecycleTest, an_id_is_taken_once) {
  const Bundle bundle(Config::minimal().guest({"wait"}));
  const Live live(bundle);
  const CommandResult second = oci({"create", "--bundle", bundle.path(), "live"});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_CONTAINS(second.err, "already exists");
  EXPECT_EQ(live.state("status"), "running");
}

TEST_F(LifecycleTest, signals_are_known_by_name_and_number) {
  const Bundle bundle(Config::minimal().args(
      {"/bin/sh", "-c",
       "trap 'echo usr1' USR1; trap 'echo usr2' USR2; trap 'echo hup' HUP; echo ready; "
       "while :; do sleep 0.02; done"}));
  const Live live(bundle);
  ASSERT_TRUE(eventually([&] { return live.made().out_now() == "ready\n"; }));
  std::string expected = "ready\n";
  for (const auto& [name, said] : std::initializer_list<std::pair<const char*, const char*>>{
           {"USR1", "usr1\n"}, {"SIGUSR2", "usr2\n"}, {"sighup", "hup\n"}, {"10", "usr1\n"}}) {
    EXPECT_TRUE(oci({"kill", "live", name}).ok());
    expected += said;
    EXPECT_TRUE(eventually([&] { return live.made().out_now() == expected; }))
        << name << ": " << live.made().out_now();
  }
}

TEST_F(LifecycleTest, unknown_signals_are_refused) {
  const Bundle bundle(Config::minimal().guest({"wait"}));
  const Live live(bundle);
  for (const char* name : {"NOPE", "SIG", "", "0", "65", "-1", "99999999999999999999", "RTMIN+99",
                           "RTMIN*2", "15x", " 15"}) {
    const CommandResult result = oci({"kill", "--", "live", name});
    EXPECT_EQ(result.exit_code, 1) << name;
    EXPECT_CONTAINS(result.err, "unknown signal");
  }
  EXPECT_EQ(live.state("status"), "running");
}

TEST_F(LifecycleTest, kill_of_what_is_gone_says_so_in_runcs_words) {
  EXPECT_CONTAINS(oci({"kill", "nobody", "KILL"}).err, "container does not exist");
  const Bundle bundle(Config::minimal());
  const Live live(bundle);
  EXPECT_TRUE(live.becomes("stopped"));
  const CommandResult result = oci({"kill", "live", "KILL"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "container not running");
  EXPECT_TRUE(oci({"kill", "--all", "live", "KILL"}).ok());
}

TEST_F(LifecycleTest, kill_all_reaches_every_process) {
  Config config = Config::minimal();
  config.namespaces({"network", "ipc", "uts", "mount", "cgroup"});
  const Bundle bundle(config.args({"/bin/sh", "-c", "sleep 100 & sleep 100 & exec sleep 100"}));
  const Live live(bundle);
  EXPECT_TRUE(eventually([&] { return oci({"ps", "--format", "json", "live"}).out.size() > 8; }));
  EXPECT_TRUE(oci({"kill", "--all", "live", "TERM"}).ok());
  EXPECT_TRUE(live.becomes("stopped"));
  EXPECT_TRUE(eventually([&] { return oci({"ps", "--format", "json", "live"}).out == "[]"; }));
}

TEST_F(LifecycleTest, pause_and_resume) {
  const Bundle bundle(
      Config::minimal().args({"/bin/sh", "-c", "while :; do echo x; sleep 0.01; done"}));
  const Live live(bundle);
  EXPECT_EQ(oci({"resume", "live"}).exit_code, 1);
  EXPECT_TRUE(oci({"pause", "live"}).ok());
  EXPECT_EQ(live.state("status"), "paused");
  EXPECT_EQ(oci({"pause", "live"}).exit_code, 1);
  const size_t frozen = live.made().out_now().size();
  ::usleep(60'000);
  EXPECT_EQ(live.made().out_now().size(), frozen);
  const CommandResult refused = live.exec({"/bin/true"});
  EXPECT_EQ(refused.exit_code, 255);
  EXPECT_CONTAINS(refused.err, "paused");
  EXPECT_TRUE(oci({"resume", "live"}).ok());
  EXPECT_TRUE(eventually([&] { return live.made().out_now().size() > frozen; }));
  EXPECT_TRUE(oci({"pause", "live"}).ok());  // and a paused one can be removed
  EXPECT_TRUE(oci({"delete", "--force", "live"}).ok());
}

TEST_F(LifecycleTest, two_hundred_starts_leave_nothing) {
  const Bundle bundle(Config::docker_like());
  for (int i = 0; i < 200; ++i) {
    const CommandResult result = run_once(bundle);
    ASSERT_TRUE(result.ok()) << i << result.text();
  }
}

TEST_F(LifecycleTest, eight_at_once) {
  const Bundle bundle(Config::docker_like().guest({"exit", "7"}));
  std::vector<std::unique_ptr<RunningCommand>> all;
  for (int i = 0; i < 8; ++i) {
    all.push_back(std::make_unique<RunningCommand>(std::vector<std::string>{
        runtime_path(), "--root", runtime_root, "run", "--bundle", bundle.path(), cat("p", i)}));
  }
  for (const auto& one : all) {
    const CommandResult result = one->wait();
    EXPECT_EQ(result.exit_code, 7) << result.text();
  }
}

TEST_F(LifecycleTest, of_creates_with_one_id_exactly_one_wins) {
  const Bundle bundle(Config::minimal().guest({"wait"}));
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<RunningCommand>> racers;
    for (int i = 0; i < 4; ++i) {
      racers.push_back(std::make_unique<RunningCommand>(std::vector<std::string>{
          runtime_path(), "--root", runtime_root, "create", "--bundle", bundle.path(), "same"}));
    }
    int won = 0;
    for (const auto& one : racers) {
      const CommandResult result = one->wait();
      if (result.ok()) {
        ++won;
      } else {
        EXPECT_CONTAINS(result.err, "already exists");
      }
    }
    EXPECT_EQ(won, 1);
    EXPECT_EQ(oci({"state", "same"}).exit_code, 0);
    EXPECT_TRUE(oci({"delete", "--force", "same"}).ok());
  }
}

TEST_F(LifecycleTest, every_way_to_fail_leaves_nothing) {
  // The census after the test is the point; each fails at another stage.
  Config hostname = Config::minimal();
  hostname.top["hostname"] = json_string(std::string(200, 'h'));
  Config sysctl = Config::minimal();
  sysctl.for_linux["sysctl"] = R"({"net.no.such":"1"})";
  Config rlimit = Config::minimal();
  rlimit.process["rlimits"] = R"([{"type":"RLIMIT_NOFILE","soft":1,"hard":99999999999}])";
  for (Config* config : {&hostname, &sysctl, &rlimit}) {
    for (const char* verb : {"run", "create"}) {
      const CommandResult result = oci({verb, "--bundle", Bundle(*config).path(), "fails"});
      EXPECT_EQ(result.exit_code, 1) << config->json();
      EXPECT_EQ(oci({"list", "--quiet"}).out, "");
    }
  }
}

// --- exec ---------------------------------------------------------------------------------------

class ExecTest : public ContainerTest {
 protected:
  ExecTest() : bundle_(Config::minimal().guest({"wait"})) {}
  Bundle bundle_;
};

TEST_F(ExecTest, it_is_inside_every_namespace_and_the_cgroup) {
  const Live live(bundle_);
  const std::string pid = live.state("pid");
  for (const char* kind : {"pid", "net", "ipc", "uts", "mnt", "cgroup"}) {
    const std::string link = cat("ns/", kind);
    char target[128];
    const ssize_t length = ::readlink(cat("/proc/", pid, "/", link).c_str(), target, sizeof target);
    ASSERT_GT(length, 0);
    EXPECT_EQ(live.exec({"/bin/readlink", "/proc/self/" + link}).out,
              std::string(target, static_cast<size_t>(length)) + "\n");
  }
  EXPECT_CONTAINS(live.exec({"/bin/cat", "/proc/self/cgroup"}).out, "0::/\n");
}

TEST_F(ExecTest, exit_statuses_pass_through_and_its_own_errors_are_255) {
  const Live live(bundle_);
  for (const int code : {0, 1, 42, 255}) {
    EXPECT_EQ(live.exec({"/guest", "exit", std::to_string(code)}).exit_code, code);
  }
  EXPECT_EQ(live.exec({"/guest", "raise", "9"}).exit_code, 128 + 9);
  const CommandResult absent = live.exec({"/no/such"});
  EXPECT_EQ(absent.exit_code, 255);
  EXPECT_CONTAINS(absent.err, "no such file or directory");
  EXPECT_EQ(oci({"exec", "nobody", "/bin/true"}).exit_code, 255);
  EXPECT_EQ(oci({"exec", "live"}).exit_code, 255);
  EXPECT_EQ(oci({"exec"}).exit_code, 255);
  EXPECT_EQ(oci({"exec", "--nonsense", "live", "x"}).exit_code, 255);
}

TEST_F(ExecTest, options_say_what_the_process_is_like) {
  const Live live(bundle_);
  const CommandResult result = oci({"exec", "-e", "ADDED=yes", "-u", "12:34", "-g", "56", "--cwd",
                                    "/tmp", "live", "/guest", "ids", "env", "cwd", "caps"});
  EXPECT_CONTAINS(result.out, "uid=12,12,12\ngid=34,34,34\ngroups=56\n");
  EXPECT_CONTAINS(result.out, "env ADDED=yes\n");
  EXPECT_CONTAINS(result.out, "cwd=/tmp\n");
  EXPECT_CONTAINS(result.out, "CapEff=0000000000000000\n");
  EXPECT_CONTAINS(oci({"exec", "--cap", "CAP_SYS_PTRACE", "live", "/guest", "caps"}).out,
                  "CapEff=0000000020080420\n");
  EXPECT_CONTAINS(oci({"exec", "--no-new-privs", "live", "/guest", "caps"}).out, "NoNewPrivs=1\n");
}

TEST_F(ExecTest, wrong_options_are_refused) {
  const Live live(bundle_);
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"-u", "root"},
                                             {"-u", "-1"},
                                             {"-u", "4294967295"},
                                             {"-u", "1:"},
                                             {"-u", "1:x"},
                                             {"-g", "x"},
                                             {"-c", "CAP_FLY"},
                                             {"--cwd", "relative"},
                                             {"--process", "/none"},
                                             {"--process", "/etc"},
                                             {"--cgroup", "../other"},
                                             {"--cgroup", "none"},
                                             {"--preserve-fds", "x"},
                                             {"--preserve-fds", "99999"},
                                             {"-t", "--detach"}}) {
    std::vector<std::string> all = {"exec"};
    all.insert(all.end(), words.begin(), words.end());
    all.insert(all.end(), {"live", "/bin/true"});
    const CommandResult result = oci(all);
    EXPECT_EQ(result.exit_code, 255) << words[0] << " " << words.back() << result.text();
    EXPECT_TRUE(result.err.starts_with("nacelle-oci: ")) << result.err;
  }
}

TEST_F(ExecTest, a_process_file_replaces_everything) {
  const Live live(bundle_);
  write_file("/tmp/process.json",
             R"({"cwd":"/tmp","args":["/guest","cwd","env","ids"],"env":["ONLY=this","HOME=/"],)"
             R"("user":{"uid":5,"gid":6}})");
  const CommandResult result = oci({"exec", "--process", "/tmp/process.json", "live"});
  EXPECT_CONTAINS(result.out, "cwd=/tmp\nenv ONLY=this\nenv HOME=/\nuid=5,5,5\ngid=6,6,6\n");
  write_file("/tmp/process.json", R"({"cwd":"/tmp","args":"no list"})");
  const CommandResult wrong = oci({"exec", "--process", "/tmp/process.json", "live"});
  EXPECT_EQ(wrong.exit_code, 255);
  EXPECT_CONTAINS(wrong.err, "args");
  ::unlink("/tmp/process.json");
}

TEST_F(ExecTest, detached_it_is_left_running_and_its_pid_is_told) {
  const Live live(bundle_);
  const CommandResult result =
      oci({"exec", "--detach", "--pid-file", "/tmp/exec.pid", "live", "/bin/sleep", "100"});
  EXPECT_TRUE(result.ok()) << result.text();
  const std::string pid = read_file("/tmp/exec.pid");
  EXPECT_EQ(read_file(cat("/proc/", pid, "/comm")), "sleep\n");
  EXPECT_CONTAINS(oci({"ps", "--format", "json", "live"}).out, pid);
  ::unlink("/tmp/exec.pid");
}

TEST_F(ExecTest, in_a_group_below_the_containers) {
  const Live live(bundle_);
  ASSERT_EQ(::mkdir("/sys/fs/cgroup/live/below", 0755), 0);
  EXPECT_CONTAINS(oci({"exec", "--cgroup", "below", "live", "/bin/cat", "/proc/self/cgroup"}).out,
                  "0::/below\n");
}

TEST_F(ExecTest, where_an_init_has_handed_controllers_down_it_goes_beside_the_init) {
  if (!contains(read_file("/sys/fs/cgroup/cgroup.controllers"), "hugetlb"))
    GTEST_SKIP() << "needs the hugetlb controller";
  write_file("/sys/fs/cgroup/cgroup.subtree_control", "+hugetlb");
  {
    const Live live(bundle_);
    ASSERT_EQ(::mkdir("/sys/fs/cgroup/live/init", 0755), 0);
    ASSERT_TRUE(write_file("/sys/fs/cgroup/live/init/cgroup.procs", live.state("pid")));
    ASSERT_TRUE(write_file("/sys/fs/cgroup/live/cgroup.subtree_control", "+hugetlb"));
    const CommandResult result = live.exec({"/bin/cat", "/proc/self/cgroup"});
    EXPECT_CONTAINS(result.out, "0::/init\n");
  }
  write_file("/sys/fs/cgroup/cgroup.subtree_control", "-hugetlb");
}

TEST_F(ExecTest, into_a_stopped_container_is_refused_and_into_a_created_one_is_not) {
  const Bundle brief(Config::minimal());
  {
    const Live live(brief);
    EXPECT_TRUE(live.becomes("stopped"));
    const CommandResult result = live.exec({"/bin/true"});
    EXPECT_EQ(result.exit_code, 255);
    EXPECT_CONTAINS(result.err, "stopped");
  }
  const Live live(bundle_, "live", "create");
  EXPECT_TRUE(live.exec({"/bin/true"}).ok());
  EXPECT_EQ(live.state("status"), "created");
}

TEST_F(ExecTest, a_signal_to_the_foreground_reaches_it) {
  const Live live(bundle_);
  RunningCommand running({runtime_path(), "--root", runtime_root, "exec", "live", "/bin/sh", "-c",
                          "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done"});
  ASSERT_TRUE(eventually([&] { return running.out_now() == "ready\n"; }));
  ::kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait().exit_code, 9);
}

// --- terminals ----------------------------------------------------------------------------------

std::string read_until(const Fd& terminal, std::string_view wanted) {
  std::string text;
  while (!contains(text, wanted)) {
    pollfd waiting{terminal.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 5'000) <= 0) break;
    char part[4096];
    const ssize_t got = ::read(terminal.get(), part, sizeof part);
    if (got <= 0) break;
    text.append(part, static_cast<size_t>(got));
  }
  return text;
}

Config with_terminal() {
  Config config = Config::docker_like();
  config.process["terminal"] = "true";
  return config;
}

TEST_F(LifecycleTest, a_terminal_goes_to_the_console_socket) {
  Config config = with_terminal();
  config.process["consoleSize"] = R"({"height":33,"width":77})";
  const Bundle bundle(
      config.args({"/bin/sh", "-c",
                   "tty; stty size; ls -l /dev/console | cut -c1; read line; echo got $line"}));
  ConsoleSocket socket("/tmp/console.sock");
  RunningCommand runtime({runtime_path(), "--root", runtime_root, "run", "--detach",
                          "--console-socket", socket.path(), "--bundle", bundle.path(), "live"});
  const Fd terminal = socket.receive();
  ASSERT_TRUE(terminal);
  EXPECT_TRUE(runtime.wait().ok());
  const std::string shown = read_until(terminal, "\nc");
  EXPECT_CONTAINS(shown, "/dev/pts/0\r\n33 77\r\nc");
  EXPECT_EQ(::write(terminal.get(), "hello\n", 6), 6);
  EXPECT_CONTAINS(read_until(terminal, "got"), "got hello");
  EXPECT_TRUE(oci({"delete", "--force", "live"}).ok());
  ::unlink("/tmp/console.sock");
}

TEST_F(LifecycleTest, a_terminal_needs_a_console_socket_where_nobody_stays) {
  const Bundle bundle(with_terminal());
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{{"create"}, {"run", "--detach"}}) {
    std::vector<std::string> words = verb;
    words.insert(words.end(), {"--bundle", bundle.path(), "live"});
    const CommandResult result = oci(words);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_CONTAINS(result.err, "console socket");
  }
  const Bundle without(Config::minimal());
  const CommandResult result = run_once(without, {}, {"--console-socket", "/tmp/none.sock"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "console socket");
}

// Runs the runtime on a terminal of its own, as a person's shell would.
int run_on_terminal(const std::vector<std::string>& arguments, std::string_view typed,
                    std::string_view until, std::string& shown) {
  int raw = -1;
  winsize size{44, 111, 0, 0};
  const pid_t pid = ::forkpty(&raw, nullptr, nullptr, &size);
  if (pid == 0) {
    std::vector<char*> words;
    for (const std::string& one : arguments) words.push_back(const_cast<char*>(one.c_str()));
    words.push_back(nullptr);
    ::execv(words[0], words.data());
    ::_exit(99);
  }
  const Fd terminal(raw);
  shown = read_until(terminal, "ready");
  (void)!::write(terminal.get(), typed.data(), typed.size());
  shown += read_until(terminal, until);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST_F(LifecycleTest, in_the_foreground_the_callers_terminal_is_handed_through) {
  const Bundle bundle(with_terminal().args(
      {"/bin/sh", "-c", "sleep 0.2; stty size; echo ready; read line; echo got $line; exit 5"}));
  std::string shown;
  EXPECT_EQ(run_on_terminal(
                {runtime_path(), "--root", runtime_root, "run", "--bundle", bundle.path(), "once"},
                "typed\r", "got typed", shown),
            5);
  EXPECT_CONTAINS(shown, "44 111");
  EXPECT_CONTAINS(shown, "got typed");
}

TEST_F(LifecycleTest, exec_with_a_terminal) {
  const Bundle bundle(Config::docker_like().guest({"wait"}));
  const Live live(bundle);
  std::string shown;
  EXPECT_EQ(run_on_terminal({runtime_path(), "--root", runtime_root, "exec", "-t", "live",
                             "/bin/sh", "-c", "tty; echo ready; read line; echo got $line; exit 6"},
                            "typed\r", "got typed", shown),
            6);
  EXPECT_CONTAINS(shown, "/dev/pts/0");
  EXPECT_CONTAINS(shown, "got typed");
}

// --- hooks --------------------------------------------------------------------------------------

class HooksTest : public ContainerTest {
 protected:
  void SetUp() override {
    ContainerTest::SetUp();
    ::mkdir("/tmp/hooks", 0755);
    write_file("/tmp/hooks/note",
               "#!/bin/sh\nstate=$(cat)\nprintf '%s %s %s\\n' \"$1\" "
               "\"$(echo \"$state\" | jq -r .status)\" \"$EXTRA\" >> /tmp/hooks/log\n"
               "readlink /proc/self/ns/net > /tmp/hooks/net-$1\n"
               "grep SigBlk /proc/self/status > /tmp/hooks/signals\n",
               0755);
    ::chmod("/tmp/hooks/note", 0755);
  }
  void TearDown() override {
    run({"rm", "-rf", "/tmp/hooks"});
    ContainerTest::TearDown();
  }
  static std::string note(const char* name) {
    return cat("{\"path\":\"/tmp/hooks/note\",\"args\":[\"note\",\"", name,
               "\"],\"env\":[\"EXTRA=e\",\"PATH=/usr/bin:/bin\"]}");
  }
};

TEST_F(HooksTest, each_kind_runs_in_its_turn_with_the_state_on_its_input) {
  Config config = Config::minimal().guest({"open", "/hooked", "r"});
  config.top["hooks"] =
      cat(R"({"prestart":[)", note("prestart"), R"(],"createRuntime":[)", note("createRuntime"),
          ",", note("second"), R"(],"createContainer":[)", note("createContainer"),
          R"(],"startContainer":[{"path":"/bin/touch","args":["touch",)"
          R"("/hooked"]}],"poststart":[)",
          note("poststart"), R"(],"poststop":[)", note("poststop"), "]}");
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.out, "open=0\n") << result.text();
  EXPECT_EQ(read_file("/tmp/hooks/log"),
            "prestart creating e\ncreateRuntime creating e\nsecond creating e\n"
            "createContainer creating e\npoststart running e\npoststop stopped e\n");
  const std::string host = run({"readlink", "/proc/self/ns/net"}).out;
  EXPECT_EQ(read_file("/tmp/hooks/net-createRuntime"), host);
  EXPECT_NE(read_file("/tmp/hooks/net-createContainer"), host);
  EXPECT_EQ(read_file("/tmp/hooks/signals"), "SigBlk:\t0000000000000000\n");
}

TEST_F(HooksTest, create_and_start_split_them) {
  Config config = Config::minimal().guest({"wait"});
  config.top["hooks"] = cat(R"({"createRuntime":[)", note("createRuntime"), R"(],"poststart":[)",
                            note("poststart"), R"(],"poststop":[)", note("poststop"), "]}");
  const Bundle bundle(config);
  const Live live(bundle, "live", "create");
  EXPECT_EQ(read_file("/tmp/hooks/log"), "createRuntime creating e\n");
  EXPECT_TRUE(oci({"start", "live"}).ok());
  EXPECT_CONTAINS(read_file("/tmp/hooks/log"), "poststart running e\n");
  EXPECT_TRUE(oci({"delete", "--force", "live"}).ok());
  EXPECT_CONTAINS(read_file("/tmp/hooks/log"), "poststop stopped e\n");
}

TEST_F(HooksTest, a_failing_hook_ends_the_start_and_poststop_runs) {
  write_file("/tmp/hooks/fail", "#!/bin/sh\necho because >&2\nexit 3\n", 0755);
  ::chmod("/tmp/hooks/fail", 0755);
  for (const char* kind : {"prestart", "createRuntime", "createContainer"}) {
    ::unlink("/tmp/hooks/log");
    Config config = Config::minimal();
    config.top["hooks"] =
        cat("{\"", kind, R"(":[{"path":"/tmp/hooks/fail"}],"poststop":[)", note("poststop"), "]}");
    const CommandResult result = run_once(config);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_CONTAINS(result.err, cat("hooks.", kind, "[0]: '/tmp/hooks/fail'"));
    EXPECT_CONTAINS(result.err, "exit status 3");
    EXPECT_CONTAINS(result.err, "because");
    EXPECT_EQ(read_file("/tmp/hooks/log"), "poststop stopped e\n");
  }
}

TEST_F(HooksTest, a_failing_start_container_hook_ends_the_container) {
  Config config = Config::minimal();
  config.top["hooks"] = R"({"startContainer":[{"path":"/bin/false"}]})";
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "hooks.startContainer[0]: '/bin/false'");
}

TEST_F(HooksTest, a_hook_that_takes_too_long_is_ended) {
  Config config = Config::minimal();
  config.top["hooks"] =
      R"({"createRuntime":[{"path":"/bin/sleep","args":["sleep","60"],"timeout":1}]})";
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "timed out after 1 s");
}

TEST_F(HooksTest, a_hook_that_is_not_there_is_named) {
  Config config = Config::minimal();
  config.top["hooks"] = R"({"createRuntime":[{"path":"/no/such/hook"}]})";
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "/no/such/hook");
}

}  // namespace
}  // namespace nacelle::test
