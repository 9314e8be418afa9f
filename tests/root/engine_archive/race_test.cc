// Goal: whoever lives in a container and moves things about while files are copied (CVE-2018-15664
// and those after it) gets nothing of the host's. Method: a container that exchanges a directory
// with a link as fast as it can, during many copies each way.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

#include "fixture.h"

namespace nacelle::test {
namespace {

constexpr int rounds = 60;

class Racing : public InsideTest {};

TEST_F(Racing, reading_never_leaves_the_container) {
  const std::string outer = outer_;
  live(
      [&] {
        ::mkdir("/tmp/place", 0755);
        write_file("/tmp/place/canary", "of the container");
        if (::symlink(outer.c_str(), "/tmp/link") != 0) ::_exit(97);
      },
      [] {
        ::syscall(SYS_renameat2, AT_FDCWD, "/tmp/place", AT_FDCWD, "/tmp/link", 2);  // EXCHANGE
      });
  int found = 0;
  for (int i = 0; i < rounds; ++i) {
    const auto archive = read("/tmp/place/canary");
    if (!archive) continue;
    ++found;
    for (const auto& [name, content] : read_archive_text(*archive)) {
      EXPECT_EQ(content, "of the container");
    }
  }
  RecordProperty("found", found);
}

TEST_F(Racing, trees_never_have_the_hosts_files) {
  const std::string outer = outer_;
  live(
      [&] {
        ::mkdir("/tmp/tree", 0755);
        ::mkdir("/tmp/tree/place", 0755);
        write_file("/tmp/tree/place/canary", "of the container");
        if (::symlink(outer.c_str(), "/tmp/tree/link") != 0) ::_exit(97);
      },
      [] { ::syscall(SYS_renameat2, AT_FDCWD, "/tmp/tree/place", AT_FDCWD, "/tmp/tree/link", 2); });
  for (int i = 0; i < rounds; ++i) {
    const auto archive = read("/tmp/tree");
    ASSERT_TRUE(archive) << archive.error().message();
    for (const auto& [name, content] : read_archive_text(*archive)) {
      EXPECT_NE(content, "sings") << name;
    }
  }
}

TEST_F(Racing, an_export_never_has_the_hosts_files) {
  const std::string outer = outer_;
  live(
      [&] {
        ::mkdir("/tmp/tree", 0755);
        ::mkdir("/tmp/tree/place", 0755);
        write_file("/tmp/tree/place/canary", "of the container");
        if (::symlink(outer.c_str(), "/tmp/tree/link") != 0) ::_exit(97);
      },
      [] { ::syscall(SYS_renameat2, AT_FDCWD, "/tmp/tree/place", AT_FDCWD, "/tmp/tree/link", 2); });
  for (int i = 0; i < rounds; ++i) {
    const auto archive = export_all();
    ASSERT_TRUE(archive) << archive.error().message();
    for (const auto& [name, content] : read_archive_text(*archive)) {
      EXPECT_NE(content, "sings") << name;
    }
  }
}

TEST_F(Racing, writing_never_leaves_the_container) {
  const std::string outer = outer_;
  live(
      [&] {
        ::mkdir("/tmp/place", 0755);
        if (::symlink(outer.c_str(), "/tmp/link") != 0) ::_exit(97);
      },
      [] { ::syscall(SYS_renameat2, AT_FDCWD, "/tmp/place", AT_FDCWD, "/tmp/link", 2); });
  const std::string archive =
      make_archive({directory_entry("place"), file_entry("place/canary", "evil"),
                    symlink_entry("place/s", "x"), file_entry("place/new/deep/canary", "evil")});
  int done = 0;
  for (int i = 0; i < rounds; ++i) {
    done += write("/tmp", archive).has_value() ? 1 : 0;
    done += write("/tmp/place", make_archive({file_entry("canary", "evil")})).has_value() ? 1 : 0;
    ASSERT_EQ(read_file(outer_ + "/canary"), "sings");
  }
  struct stat status{};
  EXPECT_LT(::lstat((outer_ + "/new").c_str(), &status), 0);
  EXPECT_LT(::lstat((outer_ + "/s").c_str(), &status), 0);
  EXPECT_GT(done, 0);
}

TEST_F(Racing, removing_never_leaves_the_container) {
  const std::string outer = outer_;
  live(
      [&] {
        ::mkdir("/tmp/victim", 0755);
        ::mkdir("/tmp/victim/a", 0755);
        if (::symlink(outer.c_str(), "/tmp/link") != 0) ::_exit(97);
      },
      [] {
        ::mkdir("/tmp/victim", 0755);
        ::mkdir("/tmp/victim/a", 0755);
        ::syscall(SYS_renameat2, AT_FDCWD, "/tmp/victim/a", AT_FDCWD, "/tmp/link", 2);
      });
  for (int i = 0; i < rounds; ++i) {
    (void)write("/tmp", make_archive({file_entry("victim", "file")}));
    ASSERT_EQ(read_file(outer_ + "/canary"), "sings");
    ASSERT_EQ(read_file(outer_ + "/volume/kept"), "of the volume");
    (void)::unlink(host_path("/tmp/victim").c_str());
  }
}

}  // namespace
}  // namespace nacelle::test
