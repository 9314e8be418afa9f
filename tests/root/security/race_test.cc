// Containers that share a volume: one exchanges names on it as fast as it can while the other is
// made, again and again. Nothing of the host's may change, and no mount may go astray.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <sstream>

#include "base/text.h"
#include "tests/root/security/attack.h"

namespace nacelle::test {
namespace {

namespace fs = std::filesystem;

class SharedVolume : public Attack {
 protected:
  void SetUp() override {
    Attack::SetUp();
    fs::create_directories("/tmp/volume/real/inner");
    fs::create_directories("/tmp/canary/inner");
    fs::create_directories("/tmp/source");
    ASSERT_TRUE(write_file("/tmp/canary/file", "host"));
    ASSERT_TRUE(write_file("/tmp/volume/real/file", "volume"));
    ASSERT_TRUE(write_file("/tmp/source/mark", "source"));
    before_ = snapshot("/tmp/canary");
    mounts_ = read_file("/proc/self/mounts");
    pattern_ = read_file("/proc/sys/kernel/core_pattern");
  }
  void TearDown() override {
    EXPECT_EQ(snapshot("/tmp/canary"), before_);
    EXPECT_EQ(read_file("/proc/self/mounts"), mounts_);
    EXPECT_EQ(read_file("/proc/sys/kernel/core_pattern"), pattern_);
    for (const char* mine : {"/tmp/volume", "/tmp/canary", "/tmp/source"}) fs::remove_all(mine);
    Attack::TearDown();
  }

  // A container that exchanges /volume/A and /volume/B until the test ends.
  static CommandResult start_racer(Box& racer, const std::string& a, const std::string& b) {
    Config config =
        Config::docker_like().args({"/attacker", "swap", "/volume/" + a, "/volume/" + b, "3600"});
    config.add_mount(bind_json("/tmp/volume", "/volume"));
    racer.bundle().configure(config);
    return racer.start();
  }

  struct Tally {
    int made = 0;
    int refused = 0;
    std::string last;  // refusal
  };
  // Makes containers of `config` until the time is over; `look` judges those that came to be.
  template <class Look>
  static Tally make_many(const Config& config, double seconds, Look look) {
    Tally tally;
    Box victim("victim", config);
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (std::chrono::steady_clock::now() < end && !HasFatalFailure()) {
      const CommandResult ran = victim.run();
      EXPECT_FALSE(ran.timed_out);
      ++(ran.ok() ? tally.made : tally.refused);
      if (ran.ok()) look(ran);
      if (!ran.ok()) tally.last = ran.text();
    }
    EXPECT_GT(tally.made + tally.refused, 0);
    return tally;
  }

 private:
  std::string before_, mounts_, pattern_;
};

// CVE-2021-30465, CVE-2019-18837.
TEST_F(SharedVolume, CVE_2021_30465_mount_targets_exchanged_with_links) {
  for (const char* target : {"/tmp/canary", "../../../../../../tmp/canary", "/proc", "/"}) {
    fs::remove_all("/tmp/volume");
    fs::create_directories("/tmp/volume/real/inner");
    fs::create_symlink(target, "/tmp/volume/link");
    Box racer("racer", Config::docker_like());
    ASSERT_TRUE(start_racer(racer, "real", "link").ok());
    Config config = Config::docker_like().guest({"mounts"});
    config.add_mount(bind_json("/tmp/volume", "/volume"));
    config.add_mount(bind_json("/tmp/source", "/volume/real/inner"));
    config.add_mount(mount_json("/volume/real/inner/deep", "tmpfs", "stray"));
    config.add_mount(bind_json("/tmp/source/mark", "/volume/real/made"));
    const Tally tally = make_many(config, race_seconds(0.8), [&](const CommandResult& ran) {
      // Three mounts beneath the root, none of them on procfs.
      std::istringstream lines(ran.out);
      for (std::string line; std::getline(lines, line);) {
        if (line.find(" stray ") == std::string::npos &&
            line.find("/tmp/source") == std::string::npos)
          continue;
        EXPECT_EQ(line.find(" /proc/"), std::string::npos) << line;
      }
    });
    RecordProperty("made", tally.made);
  }
}

// CVE-2024-45310.
TEST_F(SharedVolume, CVE_2024_45310_many_mount_points_made_while_their_parent_is_exchanged) {
  fs::create_symlink("../../../../../../tmp/canary", "/tmp/volume/link");
  Box racer("racer", Config::docker_like());
  ASSERT_TRUE(start_racer(racer, "real", "link").ok());
  Config config = Config::docker_like().guest({"exit", "0"});
  config.add_mount(bind_json("/tmp/volume", "/volume"));
  const int places = is_long_run() ? 1'000 : 200;
  for (int i = 0; i < places; ++i)
    config.add_mount(mount_json(cat("/volume/real/", i, "/x/y"), "tmpfs", "t", {"size=4k"}));
  (void)make_many(config, race_seconds(2), [](const CommandResult&) {});
}

// CVE-2025-31133, CVE-2025-52565: a /dev that another container shares and keeps changing.
TEST_F(SharedVolume, CVE_2025_31133_a_shared_dev_whose_null_device_is_exchanged) {
  ASSERT_EQ(::mknod("/tmp/volume/null", S_IFCHR | 0666, 1 << 8 | 3), 0);
  fs::create_symlink("/proc/sys/kernel/core_pattern", "/tmp/volume/link");
  Box racer("racer", Config::docker_like());
  ASSERT_TRUE(start_racer(racer, "null", "link").ok());
  Config config = docker_without("/dev");
  config.add_mount(bind_json("/tmp/volume", "/dev"));
  config.args({"/bin/stat", "-c", "%t:%T", "/proc/keys", "/proc/timer_list"});
  const Tally tally = make_many(config, race_seconds(1), [](const CommandResult& ran) {
    EXPECT_EQ(ran.out, "1:3\n1:3\n") << ran.text();
  });
  EXPECT_GT(tally.made, 0) << tally.last;
}

TEST_F(SharedVolume, CVE_2025_52565_a_shared_dev_whose_console_is_exchanged) {
  fs::create_directories("/tmp/volume/pts");
  ASSERT_TRUE(write_file("/tmp/volume/console", ""));
  fs::create_symlink("../../../../../tmp/canary/file", "/tmp/volume/link");
  Box racer("racer", Config::docker_like());
  ASSERT_TRUE(start_racer(racer, "console", "link").ok());
  Config config = docker_without("/dev");
  config.add_mount(bind_json("/tmp/volume", "/dev"));
  config.add_mount(mount_json("/dev/pts", "devpts", "devpts", {"newinstance", "ptmxmode=0666"}));
  config.process["terminal"] = "true";
  config.process["user"] = R"({"uid":1000,"gid":1000})";
  config.guest({"tty"});
  (void)make_many(config, race_seconds(1), [](const CommandResult&) {});
}

// A devpts that is exchanged with something else while a process with a terminal enters.
TEST_F(SharedVolume, CVE_2025_52881_exec_while_the_container_exchanges_its_own_files) {
  Config config = Config::docker_like();
  config.args({"/attacker", "swap", "/etc", "/evil", "3600"});
  Box box("self-racer", config);
  fs::create_symlink("/proc/self/fd", box.bundle().rootfs() + "/evil");
  ASSERT_TRUE(box.start().ok());
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(race_seconds(1));
  int entered = 0;
  while (std::chrono::steady_clock::now() < end) {
    const CommandResult ran = box.exec({"/guest", "fds", "cwd"}, {"--cwd", "/etc"});
    ASSERT_FALSE(ran.timed_out);
    if (!ran.ok()) continue;
    ++entered;
    EXPECT_TRUE(value_of(ran.out, "cwd").starts_with("/")) << ran.text();
    EXPECT_EQ(ran.out.find("fd3="), std::string::npos) << ran.text();
  }
  EXPECT_GT(entered, 0);
}

}  // namespace
}  // namespace nacelle::test
