// The fixture itself is what every other kernel test trusts, so it is tested first.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/bundle.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace nacelle::test {
namespace {

TEST(PrivateHost, is_a_pure_v2_host) {
  EXPECT_EQ(read_file("/sys/fs/cgroup/cgroup.procs"), "");
  EXPECT_TRUE(read_file("/proc/self/cgroup").ends_with("0::/test\n"));
  EXPECT_EQ(read_file("/proc/self/mounts").find(" cgroup "), std::string::npos);
}

TEST(PrivateHost, has_only_its_own_processes_and_links) {
  EXPECT_EQ(read_file("/proc/1/comm"), read_file("/proc/self/comm"));
  const Census census = take_census();
  EXPECT_EQ(census.found.at("process").size(), 2u);
  EXPECT_EQ(census.found.at("link"), (std::multiset<std::string>{"lo"}));
}

TEST(PrivateHost, loopback_carries_packets) {
  const CommandResult ping = run({"busybox", "ping", "-c", "1", "-W", "2", "127.0.0.1"});
  EXPECT_TRUE(ping.ok()) << ping.text();
}

TEST(PrivateHost, orphans_are_reaped) {
  const Census before = take_census();
  ASSERT_TRUE(run({"sh", "-c", "(sleep 0.05 &) ; exit 0"}).ok());
  EXPECT_TRUE(nothing_left_since(before));
}

TEST(Command, tells_exit_codes_signals_and_deadlines_apart) {
  EXPECT_EQ(run({"sh", "-c", "exit 7"}).exit_code, 7);
  EXPECT_EQ(run({"sh", "-c", "kill -9 $$"}).signal, SIGKILL);
  EXPECT_EQ(run({"/no/such/program"}).exit_code, 127);
  CommandOptions hurried;
  hurried.deadline = milliseconds(50);
  const CommandResult late = run({"sleep", "60"}, hurried);
  EXPECT_TRUE(late.timed_out);
  EXPECT_FALSE(late.ok());
}

TEST(Command, keeps_both_outputs_apart_and_feeds_input) {
  CommandOptions options;
  options.input = "given";
  const CommandResult result = run({"sh", "-c", "cat; echo complaint >&2"}, options);
  EXPECT_EQ(result.out, "given");
  EXPECT_EQ(result.err, "complaint\n");
}

TEST(Command, returns_before_its_orphans_and_sees_what_they_write_later) {
  const CommandResult result = run({"sh", "-c", "(sleep 0.1; echo late) & echo early"});
  EXPECT_EQ(result.out, "early\n");
  EXPECT_TRUE(eventually([&] { return result.out_now() == "early\nlate\n"; }));
}

TEST(Command, hands_on_no_descriptor_it_was_not_told_to) {
  const Fd secret(::open("/dev/null", O_RDONLY));  // without CLOEXEC
  const CommandResult result = run({guest_path(), "fds"});
  EXPECT_EQ(result.out.find("fd" + std::to_string(secret.get())), std::string::npos) << result.out;
}

TEST(Census, sees_a_mount_left_behind) {
  const Census before = take_census();
  ::mkdir("/tmp/left", 0755);
  ASSERT_EQ(::mount("tmpfs", "/tmp/left", "tmpfs", 0, nullptr), 0);
  EXPECT_EQ(census_difference(before, take_census()),
            "left behind: mount /tmp/left tmpfs from tmpfs\n");
  ::umount("/tmp/left");
  EXPECT_TRUE(nothing_left_since(before));
}

TEST(Census, sees_a_group_a_descriptor_and_a_state_file_left_behind) {
  ::mkdir("/run/state", 0755);
  const Census before = take_census("/run/state");
  ASSERT_EQ(::mkdir("/sys/fs/cgroup/left", 0755), 0);
  const int fd = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  ASSERT_TRUE(write_file("/run/state/entry", ""));
  EXPECT_EQ(census_difference(before, take_census("/run/state")),
            "left behind: cgroup /sys/fs/cgroup/left\nleft behind: descriptor " +
                std::to_string(fd) + " -> /dev/zero\nleft behind: state /run/state/entry\n");
  ::close(fd);
  ::rmdir("/sys/fs/cgroup/left");
  ::unlink("/run/state/entry");
  EXPECT_TRUE(nothing_left_since(before, "/run/state"));
}

TEST(Census, sees_a_process_and_its_namespaces) {
  const Census before = take_census();
  RunningCommand sleeper({"unshare", "-n", "sleep", "60"});
  EXPECT_TRUE(eventually([&] {
    const std::string difference = census_difference(before, take_census());
    return difference.find("left behind: process") != std::string::npos &&
           difference.find("left behind: namespace net:[") != std::string::npos;
  }));
}

TEST(Census, fails_with_the_difference_when_the_deadline_passes) {
  const Census before = take_census();
  RunningCommand sleeper({"sleep", "60"});
  ASSERT_TRUE(eventually(
      [&] { return read_file("/proc/" + std::to_string(sleeper.pid()) + "/comm") == "sleep\n"; }));
  const testing::AssertionResult left = nothing_left_since(before, "", milliseconds(30));
  EXPECT_FALSE(left);
  EXPECT_NE(std::string(left.message()).find(" sleep\n"), std::string::npos) << left.message();
}

TEST(Bundle, holds_a_root_that_runs_and_goes_away) {
  std::string path;
  {
    const Bundle bundle(Config::docker_like().guest({"ids"}));
    path = bundle.path();
    const CommandResult inside = run({"chroot", bundle.rootfs(), "/guest", "exit", "3"});
    EXPECT_EQ(inside.exit_code, 3) << inside.text();
    EXPECT_EQ(run({"chroot", bundle.rootfs(), "/bin/echo", "hello"}).out, "hello\n");
    EXPECT_EQ(run({"jq", "-r", ".process.args[1]", path + "/config.json"}).out, "ids\n");
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(Bundle, config_parts_can_be_replaced_added_and_left_out) {
  Config config = Config::minimal();
  config.process["cwd"] = "";
  config.top["hooks"] = "{}";
  config.for_linux["resources"] = R"({"pids":{"limit":3}})";
  config.add_mount(R"({"destination":"/x"})");
  CommandOptions options;
  options.input = config.json();
  EXPECT_EQ(run({"jq", "-c",
                 "[.process.cwd, .hooks, .linux.resources.pids.limit, .mounts[-1].destination]"},
                options)
                .out,
            "[null,{},3,\"/x\"]\n");
}

TEST(Bundle, json_strings_survive_quotes_and_control_characters) {
  CommandOptions options;
  options.input = json_string("a\"b\\c\n\x01");
  EXPECT_EQ(run({"jq", "-j", "."}, options).out, "a\"b\\c\n\x01");
}

TEST(ConsoleSocket, receives_nothing_when_nothing_is_sent) {
  ConsoleSocket console("/tmp/console.sock");
  EXPECT_FALSE(console.receive(milliseconds(20)));
}

TEST(Guest, a_word_it_does_not_know_is_an_error) {
  EXPECT_EQ(run({guest_path(), "nonsense"}).exit_code, 98);
  EXPECT_EQ(run({guest_path(), "cat"}).exit_code, 98);
}

TEST(Guest, reports_refusals_by_name) {
  EXPECT_EQ(run({guest_path(), "open", "/no/such", "r"}).out, "open=ENOENT\n");
  EXPECT_EQ(run({guest_path(), "write", "/proc/version", "x"}).out, "write=EIO\n");
}

}  // namespace
}  // namespace nacelle::test
