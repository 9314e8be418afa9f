// The runtime where a filter around it refuses newer system calls, as older container hosts do.
#include <seccomp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/root/runtime/container_test.h"

namespace nacelle::test {
namespace {

using FallbackTest = ContainerTest;

// Runs a container with one system call of the runtime's answered by `error`.
CommandResult run_without(int system_call, int error, const Bundle& bundle) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_ALLOW);
    ::seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    if (::seccomp_rule_add(filter, SCMP_ACT_ERRNO(static_cast<unsigned>(error)), system_call, 0) !=
            0 ||
        ::seccomp_load(filter) != 0) {
      ::_exit(99);
    }
    const CommandResult result = run_once(bundle);
    write_file("/tmp/fallback.out", result.out);
    write_file("/tmp/fallback.err", result.err);
    ::_exit(result.exit_code);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  CommandResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.out = read_file("/tmp/fallback.out");
  result.err = read_file("/tmp/fallback.err");
  ::unlink("/tmp/fallback.out");
  ::unlink("/tmp/fallback.err");
  return result;
}

TEST_F(FallbackTest, without_openat2_paths_are_walked) {
  Config config = Config::docker_like();
  config.add_mount(mount_json("/link/../inside/deep", "tmpfs", "tmpfs"));
  config.for_linux["devices"] = R"([{"type":"c","path":"/dev/sub/node","major":1,"minor":5}])";
  config.process["cwd"] = "\"/made/here\"";
  Bundle bundle(config.guest({"mounts", "cwd", "open", "/dev/sub/node", "r"}));
  ::symlink("/../../../outside", (bundle.rootfs() + "/link").c_str());
  ::mkdir((bundle.rootfs() + "/outside").c_str(), 0755);
  for (const int error : {ENOSYS, EPERM}) {
    const CommandResult result = run_without(SCMP_SYS(openat2), error, bundle);
    EXPECT_EQ(result.exit_code, 0) << result.text();
    EXPECT_CONTAINS(result.out, "cwd=/made/here\nopen=0\n");
    EXPECT_NE(mount_line(result.out, "/inside/deep"), "") << result.text();
    EXPECT_NE(mount_line(result.out, "/proc/sys"), "");
  }
  EXPECT_NE(::access("/outside", F_OK), 0);
}

TEST_F(FallbackTest, a_link_at_proc_is_refused_by_the_walk_too) {
  Bundle bundle(Config::minimal());
  ::rmdir((bundle.rootfs() + "/proc").c_str());
  ::symlink("/tmp", (bundle.rootfs() + "/proc").c_str());
  const CommandResult kernel = run_once(bundle);
  const CommandResult walk = run_without(SCMP_SYS(openat2), ENOSYS, bundle);
  EXPECT_EQ(kernel.exit_code, 1);
  EXPECT_EQ(walk.exit_code, 1);
  EXPECT_EQ(kernel.err.substr(kernel.err.find("mounting")),
            walk.err.substr(walk.err.find("mounting")));
}

TEST_F(FallbackTest, without_io_uring) {
  const Bundle bundle(Config::docker_like().guest({"exit", "3"}));
  EXPECT_EQ(run_without(SCMP_SYS(io_uring_setup), EPERM, bundle).exit_code, 3);
}

TEST_F(FallbackTest, without_clone3_the_reason_is_named) {
  const Bundle bundle(Config::docker_like());
  const CommandResult result = run_without(SCMP_SYS(clone3), ENOSYS, bundle);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "clone3");
}

}  // namespace
}  // namespace nacelle::test
