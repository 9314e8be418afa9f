// The process: ids, limits, capabilities, environment, seccomp, and how it ends.
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "tests/root/runtime/container_test.h"

namespace nacelle::test {
namespace {

using ProcessTest = ContainerTest;

TEST_F(ProcessTest, exit_codes_pass_through) {
  Bundle bundle(Config::minimal());
  for (const int code : {0, 1, 2, 77, 126, 127, 128, 200, 254, 255}) {
    bundle.configure(Config::minimal().guest({"exit", std::to_string(code)}));
    EXPECT_EQ(run_once(bundle).exit_code, code);
  }
}

TEST_F(ProcessTest, a_signal_is_128_and_its_number) {
  // Not as process 1, which its own signals do not end.
  Config config = Config::minimal();
  config.namespaces({"network", "ipc", "uts", "mount", "cgroup"});
  Bundle bundle(config);
  for (const int signal : {SIGHUP, SIGKILL, SIGTERM, SIGUSR1, SIGABRT}) {
    bundle.configure(config.guest({"raise", std::to_string(signal)}));
    EXPECT_EQ(run_once(bundle).exit_code, 128 + signal);
  }
}

TEST_F(ProcessTest, a_program_that_is_not_there_or_cannot_run_is_an_error_in_runcs_words) {
  Bundle bundle(Config::minimal().args({"/no/such"}));
  const CommandResult absent = run_once(bundle);
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_CONTAINS(absent.err, "exec: \"/no/such\": stat /no/such: no such file or directory");
  bundle.configure(Config::minimal().args({"nosuchword"}));
  EXPECT_CONTAINS(run_once(bundle).err, "executable file not found in $PATH");
  bundle.configure(Config::minimal().args({"/etc/passwd"}));
  EXPECT_CONTAINS(run_once(bundle).err, "permission denied");
  bundle.configure(Config::minimal().args({"/etc"}));
  EXPECT_CONTAINS(run_once(bundle).err, "is a directory");
  write_file(bundle.rootfs() + "/text", "no program\n", 0755);
  ::chmod((bundle.rootfs() + "/text").c_str(), 0755);
  bundle.configure(Config::minimal().args({"/text"}));
  const CommandResult format = run_once(bundle);
  EXPECT_EQ(format.exit_code, 1);
  EXPECT_CONTAINS(format.err, "exec format error");
}

TEST_F(ProcessTest, user_groups_and_umask) {
  Config config = Config::minimal().guest({"ids", "umask"});
  config.process["user"] = R"({"uid":1000,"gid":1001,"additionalGids":[5,6],"umask":63})";
  const CommandResult result = run_once(config);
  EXPECT_CONTAINS(result.out,
                  "uid=1000,1000,1000\ngid=1001,1001,1001\ngroups=5,6\npid=1\nppid=0\npgid=1\n"
                  "sid=1\n");
  EXPECT_CONTAINS(result.out, "umask=0077\n");
}

TEST_F(ProcessTest, the_umask_is_0022_unless_said) {
  EXPECT_EQ(run_once(Config::minimal().guest({"umask"})).out, "umask=0022\n");
}

TEST_F(ProcessTest, home_comes_from_passwd_unless_said) {
  Config config = Config::minimal().guest({"env"});
  config.process["user"] = R"({"uid":1000,"gid":1000})";
  EXPECT_CONTAINS(run_once(config).out, "env HOME=/home\n");
  config.process["user"] = R"({"uid":4242,"gid":1000})";
  EXPECT_CONTAINS(run_once(config).out, "env HOME=/\n");
  config.process["env"] = json_strings({"PATH=/bin", "HOME=/given"});
  const std::string out = run_once(config).out;
  EXPECT_EQ(out, "env PATH=/bin\nenv HOME=/given\n");
}

TEST_F(ProcessTest, the_last_setting_of_a_variable_wins) {
  Config config = Config::minimal().guest({"env"});
  config.process["env"] = json_strings({"PATH=/bin", "A=1", "HOME=/", "A=2", "EMPTY="});
  EXPECT_EQ(run_once(config).out, "env PATH=/bin\nenv A=2\nenv HOME=/\nenv EMPTY=\n");
}

TEST_F(ProcessTest, a_working_directory_is_made_when_missing) {
  Config config = Config::minimal().guest({"cwd"});
  config.process["cwd"] = "\"/made/on/demand\"";
  EXPECT_EQ(run_once(config).out, "cwd=/made/on/demand\n");
  config.process["cwd"] = "\"/etc/passwd\"";
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "process.cwd '/etc/passwd'");
}

TEST_F(ProcessTest, arguments_arrive_as_they_are) {
  Config config = Config::minimal();
  std::vector<std::string> words = {
      "/bin/echo", "-n", "", " two  words ", "\"quoted\"", "$HOME", std::string(100'000, 'x')};
  const CommandResult result = run_once(config.args(words));
  EXPECT_EQ(result.out, "  two  words  \"quoted\" $HOME " + std::string(100'000, 'x'));
}

TEST_F(ProcessTest, rlimits) {
  Config config = Config::minimal().guest({"rlimits"});
  config.process["rlimits"] =
      R"([{"type":"RLIMIT_NOFILE","soft":100,"hard":200},{"type":"RLIMIT_CORE","soft":0,"hard":0},)"
      R"({"type":"RLIMIT_CPU","soft":18446744073709551615,"hard":18446744073709551615}])";
  const std::string out = run_once(config).out;
  EXPECT_CONTAINS(out, "rlimit7=100,200\n");
  EXPECT_CONTAINS(out, "rlimit4=0,0\n");
  EXPECT_CONTAINS(out, "rlimit0=-1,-1\n");
}

TEST_F(ProcessTest, capabilities_are_those_listed) {
  Config config = Config::minimal().guest({"caps"});
  config.process["capabilities"] =
      R"({"bounding":["CAP_KILL","CAP_CHOWN"],"permitted":["CAP_KILL","CAP_CHOWN"],)"
      R"("effective":["CAP_KILL"]})";
  const std::string out = run_once(config).out;
  EXPECT_CONTAINS(out, "CapBnd=0000000000000021\n");
  EXPECT_CONTAINS(out, "CapAmb=0000000000000000\n");
  EXPECT_CONTAINS(out, "NoNewPrivs=1\n");
}

TEST_F(ProcessTest, a_user_who_is_not_root_gets_ambient_capabilities_only) {
  Config config = Config::minimal().guest({"caps"});
  config.process["user"] = R"({"uid":1000,"gid":1000})";
  config.process["capabilities"] =
      R"({"bounding":["CAP_KILL"],"permitted":["CAP_KILL"],"effective":["CAP_KILL"]})";
  EXPECT_CONTAINS(run_once(config).out, "CapEff=0000000000000000\n");
  config.process["capabilities"] =
      R"({"bounding":["CAP_KILL"],"permitted":["CAP_KILL"],"effective":["CAP_KILL"],)"
      R"("inheritable":["CAP_KILL"],"ambient":["CAP_KILL"]})";
  const std::string out = run_once(config).out;
  EXPECT_CONTAINS(out, "CapEff=0000000000000020\n");
  EXPECT_CONTAINS(out, "CapPrm=0000000000000020\n");
  EXPECT_CONTAINS(out, "CapAmb=0000000000000020\n");
}

TEST_F(ProcessTest, no_capabilities_are_none) {
  Config config = Config::minimal().guest({"caps"});
  config.process["capabilities"] = "{}";
  const std::string out = run_once(config).out;
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_CONTAINS(out, cat(set, "=0000000000000000\n"));
  }
}

TEST_F(ProcessTest, an_unknown_capability_is_warned_of_and_ignored) {
  Config config = Config::minimal().guest({"status", "CapBnd"});
  config.process["capabilities"] = R"({"bounding":["CAP_KILL","CAP_FLY"]})";
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.out, "CapBnd=0000000000000020\n") << result.text();
  EXPECT_CONTAINS(result.err, "CAP_FLY");
}

TEST_F(ProcessTest, oom_score_personality_and_priorities) {
  Config config = Config::minimal();
  config.process["oomScoreAdj"] = "321";
  config.process["scheduler"] = R"({"policy":"SCHED_BATCH","nice":7})";
  config.process["ioPriority"] = R"({"class":"IOPRIO_CLASS_BE","priority":6})";
  config.for_linux["personality"] = R"({"domain":"LINUX32"})";
  const CommandResult result = run_shell(
      config,
      "cat /proc/self/oom_score_adj; uname -m; cut -d' ' -f19,41 /proc/self/stat; ionice -p $$");
  EXPECT_EQ(result.out, "321\ni686\n7 3\nbest-effort: prio 6\n") << result.text();
}

TEST_F(ProcessTest, affinity_and_memory_policy) {
  Config config = Config::minimal().guest({"status", "Cpus_allowed_list"});
  config.for_linux["memoryPolicy"] = R"({"mode":"MPOL_BIND","nodes":"0","flags":[]})";
  const Bundle bundle(config);
  // The caller's own affinity is not handed on.
  CommandOptions options;
  const CommandResult result = run({"taskset", "-c", "0", runtime_path(), "--root", runtime_root,
                                    "run", "--bundle", bundle.path(), "once"},
                                   options);
  const std::string all =
      run({"/bin/sh", "-c", "sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status"}).out;
  EXPECT_EQ(result.out, "Cpus_allowed_list=" + all) << result.text();
}

TEST_F(ProcessTest, descriptors_are_the_standard_ones_and_those_preserved) {
  Bundle bundle(Config::minimal().guest({"fds"}));
  const CommandResult none = run_once(bundle);
  EXPECT_CONTAINS(none.out, "fd2=");
  EXPECT_LACKS(none.out, "fd3=");
  const Fd kept(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  CommandOptions options;
  const Fd third(::fcntl(kept.get(), F_DUPFD_CLOEXEC, 3));
  // Which number it has is the test's luck; what is asked for is a shell that puts it at 3 and 4.
  const CommandResult two =
      run({"/bin/sh", "-c",
           cat("exec 3</dev/zero 4</dev/null; exec ", runtime_path(), " --root ", runtime_root,
               " run --preserve-fds 2 --bundle ", bundle.path(), " once")});
  EXPECT_CONTAINS(two.out, "fd3=/dev/zero\nfd4=/dev/null\n");
  EXPECT_LACKS(two.out, "fd5=");
  const CommandResult closed = run_once(bundle, {}, {"--preserve-fds", "900"});
  EXPECT_EQ(closed.exit_code, 1);
  EXPECT_CONTAINS(closed.err, "is not open");
}

TEST_F(ProcessTest, listen_fds_are_passed_and_said) {
  const Bundle bundle(Config::minimal().guest({"fds", "env"}));
  const CommandResult result =
      run({"/bin/sh", "-c",
           cat("exec 3</dev/zero; LISTEN_FDS=1 exec ", runtime_path(), " --root ", runtime_root,
               " run --bundle ", bundle.path(), " once")});
  EXPECT_CONTAINS(result.out, "fd3=/dev/zero\n");
  EXPECT_CONTAINS(result.out, "env LISTEN_FDS=1\nenv LISTEN_PID=1\n");
}

TEST_F(ProcessTest, nothing_of_the_callers_habits_is_left) {
  const Bundle bundle(Config::minimal().guest({"status", "SigBlk", "status", "SigIgn"}));
  const CommandResult result =
      run({"/bin/sh", "-c",
           cat("trap '' HUP INT QUIT PIPE TERM; exec ", runtime_path(), " --root ", runtime_root,
               " run --bundle ", bundle.path(), " once")});
  EXPECT_EQ(result.out, "SigBlk=0000000000000000\nSigIgn=0000000000000000\n") << result.text();
}

TEST_F(ProcessTest, every_start_makes_a_session_keyring) {
  const Bundle bundle(Config::minimal().args({"/bin/sh", "-c", "grep _ses: /proc/keys"}));
  const std::string first = run_once(bundle).out;
  const std::string second = run_once(bundle).out;
  bool made = false;
  for (std::string_view rest = second; !rest.empty();) {
    const std::string_view serial = take_until(rest, '\n').substr(0, 8);
    made |= !contains(first, serial);
  }
  EXPECT_TRUE(made) << first << second;
  EXPECT_TRUE(run_once(bundle, {}, {"--no-new-keyring"}).ok());
}

// --- seccomp ------------------------------------------------------------------------------------

constexpr const char* deny_uname_start =
    R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[)";

Config with_filter(const std::string& rule, bool no_new_privileges = true) {
  Config config = Config::minimal();
  config.for_linux["seccomp"] = cat(deny_uname_start, rule, "]}");
  config.process["noNewPrivileges"] = no_new_privileges ? "true" : "";
  return config;
}

TEST_F(ProcessTest, a_filter_answers_with_the_errno_asked_for) {
  for (const bool no_new_privileges : {true, false}) {
    const CommandResult result =
        run_once(with_filter(R"({"names":["getpriority"],"action":"SCMP_ACT_ERRNO","errnoRet":38})",
                             no_new_privileges)
                     .guest({"syscall", "140", "status", "Seccomp", "status", "NoNewPrivs"}));
    EXPECT_EQ(result.out,
              cat("syscall140=ENOSYS\nSeccomp=2\nNoNewPrivs=", no_new_privileges ? "1\n" : "0\n"))
        << result.text();
  }
}

TEST_F(ProcessTest, a_filter_without_no_new_privileges_works_for_other_users) {
  Config config =
      with_filter(R"({"names":["getpriority"],"action":"SCMP_ACT_ERRNO","errnoRet":1})", false);
  config.process["user"] = R"({"uid":1000,"gid":1000})";
  const CommandResult result = run_once(config.guest({"syscall", "140", "caps"}));
  EXPECT_CONTAINS(result.out, "syscall140=EPERM\n");
  EXPECT_CONTAINS(result.out, "CapEff=0000000000000000\n");
  EXPECT_CONTAINS(result.out, "CapPrm=0000000000000000\n");
  EXPECT_CONTAINS(result.out, "NoNewPrivs=0\nSeccomp=2\n");
}

TEST_F(ProcessTest, filter_actions_that_kill_do) {
  for (const auto& [action, code] :
       std::initializer_list<std::pair<const char*, int>>{{"SCMP_ACT_KILL_PROCESS", 128 + SIGSYS},
                                                          {"SCMP_ACT_KILL", 128 + SIGSYS},
                                                          {"SCMP_ACT_KILL_THREAD", 128 + SIGSYS},
                                                          {"SCMP_ACT_TRAP", 128 + SIGSYS},
                                                          {"SCMP_ACT_LOG", 0},
                                                          {"SCMP_ACT_ALLOW", 0}}) {
    Config config = with_filter(cat(R"({"names":["getpriority"],"action":")", action, "\"}"));
    const CommandResult result = run_once(config.guest({"syscall", "140"}));
    EXPECT_EQ(result.exit_code, code) << action << result.text();
  }
}

TEST_F(ProcessTest, exec_runs_under_the_same_filter) {
  const Bundle bundle(
      with_filter(R"({"names":["getpriority"],"action":"SCMP_ACT_ERRNO","errnoRet":38})")
          .guest({"wait"}));
  const Live live(bundle);
  EXPECT_EQ(live.exec({"/guest", "syscall", "140"}).out, "syscall140=ENOSYS\n");
}

TEST_F(ProcessTest, the_listener_gets_the_descriptor_and_answers) {
  Config config = with_filter(R"({"names":["getpriority"],"action":"SCMP_ACT_NOTIFY"})");
  std::string& seccomp = config.for_linux["seccomp"];
  seccomp.pop_back();
  seccomp += R"(,"listenerPath":"/tmp/listener.sock","listenerMetadata":"mine"})";
  const Bundle bundle(config.guest({"syscall", "140"}));
  ConsoleSocket socket("/tmp/listener.sock");  // it receives any one descriptor
  RunningCommand runtime(
      {runtime_path(), "--root", runtime_root, "run", "--bundle", bundle.path(), "once"});
  const Fd listener = socket.receive();
  ASSERT_TRUE(listener) << runtime.err_now();
  pollfd waiting{listener.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&waiting, 1, 5'000), 1) << runtime.err_now();
  seccomp_notif call{};
  ASSERT_EQ(::ioctl(listener.get(), SECCOMP_IOCTL_NOTIF_RECV, &call), 0) << std::strerror(errno);
  EXPECT_EQ(call.data.nr, 140);
  seccomp_notif_resp answer{};
  answer.id = call.id;
  answer.error = -EXFULL;
  ASSERT_EQ(::ioctl(listener.get(), SECCOMP_IOCTL_NOTIF_SEND, &answer), 0);
  const CommandResult result = runtime.wait();
  EXPECT_EQ(result.out, "syscall140=EXFULL\n") << result.text();
  ::unlink("/tmp/listener.sock");
}

TEST_F(ProcessTest, a_listener_nobody_listens_at_is_an_error) {
  Config config = with_filter(R"({"names":["getpriority"],"action":"SCMP_ACT_NOTIFY"})");
  std::string& seccomp = config.for_linux["seccomp"];
  seccomp.pop_back();
  seccomp += R"(,"listenerPath":"/tmp/nobody.sock"})";
  const CommandResult result = run_once(config.guest({"syscall", "140"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "/tmp/nobody.sock");
}

// --- signals, pid file, pidfd -------------------------------------------------------------------

TEST_F(ProcessTest, signals_to_the_foreground_reach_the_container) {
  const Bundle bundle(Config::minimal().args(
      {"/bin/sh", "-c",
       "trap 'echo got; exit 42' USR1; echo ready; while :; do sleep 0.05; done"}));
  RunningCommand runtime(
      {runtime_path(), "--root", runtime_root, "run", "--bundle", bundle.path(), "once"});
  ASSERT_TRUE(eventually([&] { return runtime.out_now() == "ready\n"; }));
  ::kill(runtime.pid(), SIGUSR1);
  const CommandResult result = runtime.wait();
  EXPECT_EQ(result.exit_code, 42) << result.text();
  EXPECT_EQ(result.out, "ready\ngot\n");
}

TEST_F(ProcessTest, the_pid_file_and_the_pidfd_name_the_process) {
  const Bundle bundle(Config::minimal().guest({"wait"}));
  ConsoleSocket socket("/tmp/pidfd.sock");
  RunningCommand runtime({runtime_path(), "--root", runtime_root, "run", "--detach", "--pid-file",
                          "/tmp/pid", "--pidfd-socket", "/tmp/pidfd.sock", "--bundle",
                          bundle.path(), "live"});
  const Fd pidfd = socket.receive();
  ASSERT_TRUE(pidfd);
  EXPECT_TRUE(runtime.wait().ok());
  const std::string pid = read_file("/tmp/pid");
  EXPECT_CONTAINS(read_file(cat("/proc/self/fdinfo/", pidfd.get())), cat("Pid:\t", pid, "\n"));
  EXPECT_TRUE(oci({"delete", "--force", "live"}).ok());
  pollfd ended{pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 5'000), 1);
  ::unlink("/tmp/pid");
  ::unlink("/tmp/pidfd.sock");
}

}  // namespace
}  // namespace nacelle::test
