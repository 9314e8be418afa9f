// Containers between two states, and what a start must not change for others.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "tests/root/runtime/container_test.h"

namespace nacelle::test {
namespace {

class BetweenStates : public ContainerTest {};

// Goal: an id that is only reserved names no cgroup, and an empty name must never become the root
// of the tree, whose processes are everybody's. A process beside the container would be hit.
TEST_F(BetweenStates, a_reserved_id_has_no_processes_to_signal_or_list) {
  const std::string directory = cat(runtime_root, "/reserved");
  ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
  RunningCommand bystander({"sleep", "30"});
  oci({"kill", "--all", "reserved", "TERM"});  // there is nobody to signal, which is no error
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"kill", "reserved", "KILL"}, {"ps", "reserved"}}) {
    EXPECT_FALSE(oci(words).ok()) << words[0];
  }
  EXPECT_EQ(::kill(bystander.pid(), 0), 0);
  EXPECT_FALSE(oci({"delete", "reserved"}).ok());
  EXPECT_FALSE(oci({"exec", "reserved", "true"}).ok());
  EXPECT_TRUE(oci({"delete", "--force", "reserved"}).ok());
  EXPECT_NE(::access(directory.c_str(), F_OK), 0);
  ::kill(bystander.pid(), SIGKILL);
  bystander.wait();
}

TEST_F(BetweenStates, a_created_container_can_be_paused_and_resumed_before_its_start) {
  const Bundle bundle(Config::docker_like().args({"sleep", "60"}));
  const Live live(bundle, "parked", "create");
  ASSERT_TRUE(oci({"pause", "parked"}).ok());
  EXPECT_EQ(live.state("status"), "paused");
  EXPECT_FALSE(oci({"start", "parked"}).ok());
  ASSERT_TRUE(oci({"resume", "parked"}).ok());
  EXPECT_EQ(live.state("status"), "created");
  EXPECT_TRUE(oci({"start", "parked"}).ok());
  EXPECT_EQ(live.state("status"), "running");
}

TEST_F(BetweenStates, a_tmpfs_takes_the_mode_of_what_it_covers) {
  Config config = Config::docker_like();
  config.add_mount(mount_json("/private", "tmpfs", "tmpfs"));
  config.args({"stat", "-c", "%a", "/private"});
  const Bundle bundle(config);
  ASSERT_EQ(::mkdir(cat(bundle.rootfs(), "/private").c_str(), 0700), 0);
  EXPECT_EQ(run_once(bundle).out, "700\n");
}

TEST_F(BetweenStates, streams_belong_to_the_user_of_the_process) {
  Config config = Config::docker_like();
  config.process["user"] = R"({"uid":1000,"gid":1000})";
  EXPECT_EQ(run_shell(config, "echo again > /proc/self/fd/1").out, "again\n");
}

// The score is one for all that share memory: the runtime, and a program that embeds it, keeps its
// own.
TEST_F(BetweenStates, an_oom_score_is_the_containers_alone) {
  Config config = Config::docker_like();
  config.process["oomScoreAdj"] = "321";
  const Bundle bundle(config.args({"/bin/sh", "-c", "cat /proc/self/oom_score_adj; sleep 5"}));
  RunningCommand runtime(
      {runtime_path(), "--root", runtime_root, "run", "--bundle", bundle.path(), "scored"});
  ASSERT_TRUE(eventually(
      [&] { return oci({"state", "scored"}).out.find("running") != std::string::npos; }));
  const std::string path = cat("/proc/", runtime.pid(), "/oom_score_adj");
  EXPECT_EQ(run({"cat", path}).out, run({"cat", "/proc/self/oom_score_adj"}).out);
  EXPECT_EQ(oci({"exec", "scored", "cat", "/proc/1/oom_score_adj"}).out, "321\n");
  oci({"kill", "scored", "KILL"});
  runtime.wait();
}

TEST_F(BetweenStates, a_filter_without_execveat_is_refused_in_words) {
  Config config = Config::docker_like();
  config.for_linux["seccomp"] =
      R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["execveat"],"action":"SCMP_ACT_ERRNO"}]})";
  const CommandResult result = run_once(config.args({"true"}));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("execveat"), std::string::npos) << result.text();
}

}  // namespace
}  // namespace nacelle::test
