// Logs that cannot be written.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/text.h"
#include "sys/file.h"
#include "tests/root/logs_worker/stub_core.h"

namespace nacelle::logs {
namespace {

TEST(Trouble, a_full_disk_is_reported_and_stalls_nobody_and_writing_goes_on_when_it_can) {
  ::mkdir("/tmp/full", 0700);
  ASSERT_EQ(::mount("tmpfs", "/tmp/full", "tmpfs", 0, "size=64k"), 0);
  StubCore core;
  Streams& web = core.add({.key = "full"});
  std::string flood;
  for (int index = 0; index < 40'000; ++index) flood += cat("a line that has to go, ", index, '\n');
  write_text(web.stdout_write, flood);  // would wait for ever if it were not drained
  const auto trouble = core.hear_of<LogTrouble>();
  ASSERT_TRUE(trouble);
  EXPECT_NE(trouble->error.find("No space left"), std::string::npos) << trouble->error;
  ASSERT_EQ(::mount("tmpfs", "/tmp/full", "tmpfs", MS_REMOUNT, "size=64m"), 0);
  const auto over = core.hear_of<LogTrouble>();
  ASSERT_TRUE(over);
  EXPECT_EQ(over->error, "");
  EXPECT_GT(over->dropped_bytes, 0u);
  write_text(web.stdout_write, "here again\n");
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("full");
  const auto drained = core.hear_of<Drained>();
  ASSERT_TRUE(drained);
  EXPECT_EQ(drained->error, "");
  const std::string text = text_of("/tmp/full/container.log");  // and no line of it is damaged
  EXPECT_TRUE(text.ends_with("here again\n"));
  EXPECT_EQ(text.size() + drained->dropped_bytes, flood.size() + 11);
  core.kill_worker();
  core.streams("full").directory = Fd();
  EXPECT_EQ(::umount2("/tmp/full", MNT_DETACH), 0);
}

TEST(Trouble, a_directory_that_is_gone_is_reported_and_stalls_nobody) {
  StubCore core;
  Streams& web = core.add({.key = "nowhere"});
  ASSERT_EQ(::rmdir("/tmp/nowhere"), 0);
  write_text(web.stdout_write, std::string(1u << 20, 'x') + "\n");
  const auto trouble = core.hear_of<LogTrouble>();
  ASSERT_TRUE(trouble);
  EXPECT_NE(trouble->error.find("No such file"), std::string::npos) << trouble->error;
  web.stdout_write = Fd();
  web.stderr_write = Fd();
  core.end("nowhere");
  const auto drained = core.hear_of<Drained>();
  ASSERT_TRUE(drained);
  EXPECT_EQ(drained->dropped_bytes, (1u << 20) + 1);
  EXPECT_NE(drained->error, "");
}

TEST(Trouble, a_log_that_was_removed_is_made_again) {
  StubCore core;
  Streams& web = core.add({.key = "removed"});
  write_text(web.stdout_write, "one\n");
  ASSERT_TRUE(eventually([] { return !read_text("/tmp/removed/container.log").empty(); }));
  ASSERT_EQ(::unlink("/tmp/removed/container.log"), 0);
  write_text(web.stdout_write, "two\n");
  EXPECT_TRUE(eventually([] { return text_of("/tmp/removed/container.log") == "two\n"; }));
}

TEST(Trouble, a_link_in_place_of_the_log_is_not_followed) {
  StubCore core;
  ::mkdir("/tmp/linked", 0700);
  ASSERT_EQ(::symlink("/tmp/target", "/tmp/linked/container.log"), 0);
  Streams& web = core.add({.key = "linked"});
  write_text(web.stdout_write, "one\n");
  EXPECT_TRUE(core.hear_of<LogTrouble>());
  EXPECT_EQ(::access("/tmp/target", F_OK), -1);
}

}  // namespace
}  // namespace nacelle::logs
