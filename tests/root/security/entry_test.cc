// Attacks on the processes that enter a container: their user, memory, executable and descriptors.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "base/text.h"
#include "tests/root/security/attack.h"

namespace nacelle::test {
namespace {

class Entry : public Attack {};

// CVE-2016-3697, CVE-2026-30892. Goal: a user is a number or it is refused; nothing is ever taken
// for root by accident. Method: a passwd file whose names look like the numbers.
TEST_F(Entry, CVE_2016_3697_a_user_is_digits_and_nothing_else) {
  struct Case {
    const char* text;
    const char* expected;  // uid:gid as seen inside; "" is refused
  };
  // The container's own process is 7:8.
  const Case cases[] = {
      {"0", "0:8"},
      {"0:0", "0:0"},
      {"1", "1:8"},
      {"1:1", "1:1"},
      {"1000:5", "1000:5"},
      {"65534:65534", "65534:65534"},
      {"2147483646", "2147483646:8"},
      {"2147483646:2147483646", "2147483646:2147483646"},
      {"1:", ""},
      {":1", ""},
      {":", ""},
      {" ", ""},
      {" 1", ""},
      {"1 ", ""},
      {"\t1", ""},
      {"1\n", ""},
      {"+1", ""},
      {"-0", ""},
      {"-1", ""},
      {"1:-1", ""},
      {"0x1", ""},
      {"0x0:0", ""},
      {"1e3", ""},
      {"1.0", ""},
      {"1,2", ""},
      {"1:2:3", ""},
      {"1::2", ""},
      {"1x", ""},
      {"x1", ""},
      {"1;0", ""},
      {"root", ""},
      {"root:root", ""},
      {"1:root", ""},
      {"root:0", ""},
      {"4294967295", ""},
      {"1:4294967295", ""},
      {"4294967296", ""},
      {"4294967297:0", ""},
      {"18446744073709551616", ""},
      {"18446744073709551617:1", ""},
      {"99999999999999999999999999999999", ""},
      {"\xd9\xa1", ""},  // an Arabic-Indic one
  };
  Config config = Config::docker_like().guest({"wait"});
  config.process["user"] = R"({"uid":7,"gid":8})";
  Box box("users", config);
  // The trap: names that are numbers, and that say root.
  ASSERT_TRUE(write_file(box.bundle().rootfs() + "/etc/passwd",
                         "1:x:0:0::/root:/bin/sh\n1000:x:0:0::/:/bin/sh\n0x1:x:0:0::/:/bin/sh\n"
                         "root:x:0:0::/:/bin/sh\n1x:x:0:0::/:/bin/sh\n:x:0:0::/:/bin/sh\n"));
  ASSERT_TRUE(box.start().ok());
  for (const Case& one : cases) {
    const CommandResult result = box.exec({"/guest", "ids"}, {"--user", one.text});
    if (*one.expected == '\0') {
      EXPECT_FALSE(result.ok()) << "'" << one.text << "'\n" << result.text();
      EXPECT_EQ(result.out, "") << one.text;
      continue;
    }
    const auto id = [&](const char* key) {
      const std::string value = value_of(result.out, key);
      std::string_view all = value;
      const std::string real(take_until(all, ','));
      EXPECT_EQ(value, cat(real, ',', real, ',', real)) << "real, effective and saved";
      return real;
    };
    EXPECT_EQ(cat(id("uid"), ':', id("gid")), one.expected) << one.text << "\n" << result.text();
    EXPECT_EQ(value_of(result.out, "groups"), "") << one.text;
  }
}

// In config.json the same: only numbers of 32 bits, and -1 is none.
TEST_F(Entry, CVE_2016_3697_a_user_of_the_config_is_a_number_too) {
  for (const char* user : {R"({"uid":"0","gid":0})", R"({"uid":-1,"gid":0})", R"({"uid":1.5})",
                           R"({"uid":4294967296,"gid":0})", R"({"uid":0,"gid":4294967296})",
                           R"({"uid":18446744073709551616,"gid":0})", R"({"uid":null,"gid":0})",
                           R"({"uid":0,"gid":0,"additionalGids":[4294967296]})",
                           R"({"uid":0,"gid":0,"additionalGids":["0"]})"}) {
    Config config = Config::docker_like().guest({"ids"});
    config.process["user"] = user;
    Box box("users", config);
    const CommandResult result = box.run();
    EXPECT_FALSE(result.ok()) << user << "\n" << result.text();
    EXPECT_EQ(result.out, "") << user;
  }
}

// What of a look around is the host's: anything not named here.
std::string host_things(const std::string& output) {
  std::string found;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    const size_t space = line.find(' ');
    if (space == std::string::npos) continue;  // looks=N
    const std::string what = line.substr(0, space);
    const std::string target = line.substr(space + 1);
    // What a process of the container's own may be seen to be and to have: its program or the last
    // stage before it, the streams that the caller gave it, a pipe or socket of its start.
    bool fine = target.starts_with("/guest") || target.starts_with("/memfd:nacelle-stub");
    if (what == "fd") {
      fine |= target == "/dev/null" || target.starts_with("/memfd:") ||
              target.starts_with("pipe:[") || target.starts_with("socket:[");
    }
    if (what == "cwd" || what == "root") fine |= target == "/";
    if (!fine) found += line + "\n";
  }
  return found;
}

// CVE-2016-9962. Goal: process 1 of a container never gets hold of anything of the host's through
// a process on its way in. Method: it looks at all of them as fast as it can while many enter.
TEST_F(Entry, CVE_2016_9962_processes_on_their_way_in_cannot_be_looked_into) {
  const int times = is_long_run() ? 10'000 : 300;
  Config config = Config::docker_like();
  config.args({"/attacker", "look", "3600"});
  Box box("looked", config);
  const CommandResult started = box.start();
  ASSERT_TRUE(started.ok()) << started.text();
  for (int i = 0; i < times; ++i) {
    const CommandResult entered = box.exec({"/guest", "exit", "0"});
    ASSERT_FALSE(entered.timed_out) << entered.text();
  }
  const std::string seen = started.out_now();
  EXPECT_NE(seen.find("exe /"), std::string::npos) << "the attacker saw nobody: " << seen;
  EXPECT_EQ(host_things(seen), "") << seen;
}

// The same from a container that shares the pid namespace, while others are created.
TEST_F(Entry, CVE_2016_9962_containers_on_their_way_up_cannot_be_looked_into) {
  const int times = is_long_run() ? 3'000 : 100;
  Config config = Config::docker_like();
  config.args({"/attacker", "look", "3600"});
  Box looker("looker", config);
  const CommandResult started = looker.start();
  ASSERT_TRUE(started.ok()) << started.text();
  const int pid = looker.pid();
  ASSERT_GT(pid, 0);
  Config beside = Config::docker_like().guest({"exit", "0"});
  beside.for_linux["namespaces"] =
      cat(R"([{"type":"pid","path":"/proc/)", pid, R"(/ns/pid"},{"type":"network"},)",
          R"({"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"cgroup"}])");
  Box victim("victim", beside);
  for (int i = 0; i < times; ++i) {
    const CommandResult ran = victim.run();
    ASSERT_FALSE(ran.timed_out) << ran.text();
  }
  const std::string seen = started.out_now();
  EXPECT_NE(seen.find("exe /"), std::string::npos) << "the attacker saw nobody: " << seen;
  EXPECT_EQ(host_things(seen), "") << seen;
}

// Fails, and so is not run by default: a process that enters is born in the container's pid
// namespace before it has given up the host's root, descriptors, executable and memory, and
// CAP_SYS_PTRACE in the container sees through "not dumpable".
TEST_F(Entry, CVE_2016_9962_a_container_that_may_trace_cannot_look_either) {
  Config config = Config::docker_like();
  config.args({"/attacker", "look", "3600"});
  config.process["capabilities"] =
      R"({"bounding":["CAP_SYS_PTRACE"],"effective":["CAP_SYS_PTRACE"],)"
      R"("permitted":["CAP_SYS_PTRACE"]})";
  Box box("tracer", config);
  const CommandResult started = box.start();
  ASSERT_TRUE(started.ok()) << started.text();
  for (int i = 0; i < 300; ++i) (void)box.exec({"/guest", "exit", "0"});
  EXPECT_EQ(host_things(started.out_now()), "");
}

// CVE-2019-5736. Goal: the host's binary is not what a container can execute or write.
TEST_F(Entry, CVE_2019_5736_a_script_that_names_its_own_executable_ends) {
  const std::string before = sha256(runtime_path());
  for (const char* shebang : {"#!/proc/self/exe\n", "#!/proc/self/exe nacelle:\n",
                              "#!/proc/self/exe nacelle:aaaaaaaa\n", "#!/proc/1/exe\n"}) {
    Config config = Config::docker_like();
    config.args({"/entry", "a", "b"});
    Box box("shebang", config);
    ASSERT_TRUE(write_file(box.bundle().rootfs() + "/entry", shebang, 0755));
    ASSERT_EQ(::chmod((box.bundle().rootfs() + "/entry").c_str(), 0755), 0);
    CommandOptions how;
    how.deadline = milliseconds(10'000);
    const CommandResult result = box.run({}, how);
    EXPECT_FALSE(result.timed_out) << shebang;
    EXPECT_FALSE(result.ok()) << shebang << result.text();

    Box running("shebang-exec", Config::docker_like().guest({"wait"}));
    ASSERT_TRUE(write_file(running.bundle().rootfs() + "/entry", shebang, 0755));
    ASSERT_EQ(::chmod((running.bundle().rootfs() + "/entry").c_str(), 0755), 0);
    ASSERT_TRUE(running.start().ok());
    const CommandResult entered = running.exec({"/entry"});
    EXPECT_FALSE(entered.timed_out) << shebang;
    // With /proc/1/exe the script is run by the container's own program: not the host's.
    EXPECT_FALSE(entered.ok()) << shebang << entered.text();
  }
  EXPECT_EQ(sha256(runtime_path()), before);
}

TEST_F(Entry, CVE_2019_5736_the_executable_of_a_parked_process_is_sealed) {
  const std::string before = sha256(runtime_path());
  Box box("parked", Config::docker_like().guest({"wait"}));
  const CommandResult created = box.create();
  ASSERT_TRUE(created.ok()) << created.text();
  const std::string exe = cat("/proc/", box.pid(), "/exe");
  EXPECT_TRUE(std::filesystem::read_symlink(exe).string().starts_with("/memfd:nacelle-stub"))
      << std::filesystem::read_symlink(exe);
  // Even root of the host cannot write it, now or when nobody executes it any more.
  const Fd held(::open(exe.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(held);
  EXPECT_EQ(value_of(run({NACELLE_BUILT_ATTACKER, "overwrite", exe}).out, "overwrite"), "ETXTBSY");
  ASSERT_TRUE(oci({"start", box.id()}).ok());
  ASSERT_TRUE(
      eventually([&] { return std::filesystem::read_symlink(exe).string().ends_with("/guest"); }));
  const Fd again(::open(cat("/proc/self/fd/", held.get()).c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_TRUE(!again || (::pwrite(again.get(), "#", 1, 0) < 0 && errno == EPERM));
  EXPECT_TRUE(!again || (::ftruncate(again.get(), 0) < 0 && errno == EPERM));
  EXPECT_EQ(sha256(runtime_path()), before);
}

TEST_F(Entry, CVE_2019_5736_nothing_inside_leads_to_the_hosts_binary) {
  const std::string before = sha256(runtime_path());
  Box box("exe", Config::docker_like().args({"/attacker", "overwrite", "/proc/self/exe"}));
  EXPECT_EQ(box.run().out, "overwrite=ETXTBSY\n");
  Box running("exe-exec", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(running.start().ok());
  EXPECT_EQ(running.exec({"/guest", "self"}).out, "self=/guest\n");
  EXPECT_EQ(running.exec({"/attacker", "overwrite", "/proc/1/exe"}).out, "overwrite=ETXTBSY\n");
  EXPECT_EQ(sha256(runtime_path()), before);
}

// CVE-2024-21626. Goal: no descriptor of ours is inside, whatever the caller had open.
TEST_F(Entry, CVE_2024_21626_only_the_three_streams_are_open) {
  const auto count = [](const std::string& out) {
    size_t found = 0;
    for (size_t at = 0; (at = out.find("fd", at)) != std::string::npos; at += 2) {
      found += at == 0 || out[at - 1] == '\n';
    }
    return found;
  };
  const Fd host(::open("/", O_PATH | O_DIRECTORY));  // without CLOEXEC: what a caller leaks
  CommandOptions leaky;
  leaky.keep = {host.get()};
  Box box("fds", Config::docker_like().guest({"fds"}));
  const CommandResult ran = box.run({}, leaky);
  EXPECT_EQ(count(ran.out), 3u) << ran.text();
  EXPECT_NE(ran.out.find("\nfd2="), std::string::npos) << ran.text();
  const CommandResult listed =
      Box("ls", Config::docker_like().args({"/bin/ls", "/proc/self/fd"})).run();
  EXPECT_EQ(listed.out, "0\n1\n2\n3\n") << "3 is ls's own";

  Box running("fds-exec", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(running.start().ok());
  const CommandResult entered = oci({"exec", running.id(), "/guest", "fds"}, leaky);
  EXPECT_EQ(count(entered.out), 3u) << entered.text();
  std::set<std::string> open;
  for (const auto& entry : std::filesystem::directory_iterator(cat("/proc/", running.pid(), "/fd")))
    open.insert(entry.path().filename());
  EXPECT_EQ(open, (std::set<std::string>{"0", "1", "2"}));
}

TEST_F(Entry, CVE_2024_21626_a_working_directory_outside_is_refused) {
  ASSERT_TRUE(write_file("/canary", ""));
  const Fd host(::open("/", O_RDONLY | O_DIRECTORY));
  CommandOptions leaky;
  leaky.keep = {host.get()};
  std::vector<std::string> places = {"/proc/1/fd/0",   "/proc/1/fd/3",  "/proc/1/fd/7",
                                     "/proc/1/cwd/..", "/proc/self/fd", "/proc/thread-self/fd/5"};
  for (int fd = 0; fd <= 64; ++fd) places.push_back(cat("/proc/self/fd/", fd));
  for (const std::string& place : places) {
    Config config = Config::docker_like().guest({"cwd", "cat", "canary", "cat", "../canary"});
    config.process["cwd"] = json_string(place);
    Box box("cwd", config);
    const CommandResult ran = box.run({}, leaky);
    if (ran.ok()) {
      EXPECT_TRUE(value_of(ran.out, "cwd").starts_with("/")) << place << ran.text();
      EXPECT_NE(ran.out.find("cat=ENOENT\ncat=ENOENT\n"), std::string::npos) << place << ran.text();
    }
  }
  Box running("cwd-exec", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(running.start().ok());
  for (const std::string& place : places) {
    const CommandResult ran =
        oci({"exec", "--cwd", place, running.id(), "/guest", "cwd", "cat", "../canary"}, leaky);
    if (ran.ok()) {
      EXPECT_TRUE(value_of(ran.out, "cwd").starts_with("/")) << place << ran.text();
      EXPECT_NE(ran.out.find("cat=ENOENT\n"), std::string::npos) << place << ran.text();
    }
  }
  ::unlink("/canary");
}

// The directory given as standard input is the caller's wish; as working directory it is refused.
TEST_F(Entry, CVE_2024_21626_a_stream_that_is_a_host_directory_is_no_working_directory) {
  Config config = Config::docker_like().guest({"cwd"});
  config.process["cwd"] = "\"/proc/self/fd/0\"";
  Box box("stdin", config);
  const CommandResult ran = run({"sh", "-c",
                                 cat("exec ", runtime_path(), " --root ", runtime_root,
                                     " run --bundle ", box.bundle().path(), " stdin < /etc")});
  EXPECT_FALSE(ran.ok()) << ran.text();
  EXPECT_EQ(ran.out, "");
}

// Whoever starts us with closed streams must not make our own descriptors take their numbers.
TEST_F(Entry, CVE_2024_21626_closed_streams_are_not_filled_with_ours) {
  for (const char* closed : {"<&-", ">&-", "2>&-", "<&- >&- 2>&-"}) {
    Config config = Config::docker_like();
    config.args({"/bin/sh", "-c", "ls -l /proc/1/fd > /seen"});
    Box box("closed", config);
    (void)run({"sh", "-c",
               cat("exec ", runtime_path(), " --root ", runtime_root, " run --bundle ",
                   box.bundle().path(), " closed ", closed)});
    const std::string seen = read_file(box.bundle().rootfs() + "/seen");
    EXPECT_NE(seen, "") << closed;
    for (const char* ours : {"/run/", "/sys/", "/tmp", "config.json", "nacelle-stub", "pidfd"}) {
      EXPECT_EQ(seen.find(ours), std::string::npos) << closed << "\n" << seen;
    }
    Box running("closed-exec", Config::docker_like().guest({"wait"}));
    ASSERT_TRUE(running.start().ok());
    (void)run({"sh", "-c",
               cat("exec ", runtime_path(), " --root ", runtime_root,
                   " exec closed-exec /bin/sh -c 'ls -l /proc/self/fd > /seen' ", closed)});
    const std::string entered = read_file(running.bundle().rootfs() + "/seen");
    EXPECT_NE(entered, "") << closed;
    for (const char* ours : {"/run/", "/sys/", "/tmp", "config.json", "nacelle-stub", "pidfd"}) {
      EXPECT_EQ(entered.find(ours), std::string::npos) << closed << "\n" << entered;
    }
  }
}

TEST_F(Entry, CVE_2024_21626_descriptors_that_were_not_passed_are_not_made_up) {
  Box box("preserve", Config::docker_like().guest({"fds"}));
  const CommandResult none = box.run({"--preserve-fds", "5"});
  EXPECT_FALSE(none.ok()) << none.text();
  EXPECT_EQ(none.out, "");
  CommandOptions listening;
  listening.environment = {"LISTEN_FDS=4"};
  EXPECT_FALSE(box.run({}, listening).ok());
  EXPECT_FALSE(box.run({"--preserve-fds", "4294967295"}).ok());
  EXPECT_FALSE(box.run({"--preserve-fds", "-1"}).ok());
}

}  // namespace
}  // namespace nacelle::test
