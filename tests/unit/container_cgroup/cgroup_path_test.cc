#include <gtest/gtest.h>

#include "container/cgroup.h"

namespace nacelle::container {
namespace {

TEST(CgroupPath, follows_the_cgroupfs_driver) {
  struct Case {
    const char* path;
    const char* own;
    const char* placed;
  };
  const Case cases[] = {
      {"/docker/abc", "/a/b", "docker/abc"},
      {"//docker/./abc/", "/a/b", "docker/abc"},
      {"docker/abc", "/a/b", "a/docker/abc"},
      {"docker/abc", "/a", "docker/abc"},
      {"docker/abc", "/", "docker/abc"},
      {"", "/a/b", "a/id"},
      {"", "/", "id"},
      {"x", "/../outside/y", "x"},
      {"/with:one", "/", "with:one"},
      {"/a:b:c", "/", "a:b:c"},  // a slash: not the systemd form
  };
  for (const Case& c : cases) {
    const auto placed = place_cgroup(c.path, "id", c.own);
    ASSERT_TRUE(placed) << placed.error().message();
    EXPECT_EQ(*placed, c.placed) << c.path << " in " << c.own;
  }
}

TEST(CgroupPath, refuses_what_leaves_the_tree_or_names_nothing) {
  struct Case {
    std::string path;
    const char* complaint;
    Kind kind = Kind::Invalid;
  };
  const Case cases[] = {
      {"/", "linux.cgroupsPath: the root cgroup cannot be"},
      {"//.//", "linux.cgroupsPath: the root cgroup cannot be"},
      {".", "linux.cgroupsPath: '.' names no group"},
      {"..", "linux.cgroupsPath: cgroup path '..': '..' is not allowed"},
      {"/a/../../b", "linux.cgroupsPath: cgroup path '/a/../../b': '..' is not allowed"},
      {"a/..", "linux.cgroupsPath: cgroup path 'a/..': '..' is not allowed"},
      {"/a\nb", "linux.cgroupsPath: cgroup path: holds a NUL or a newline"},
      {std::string("/a\0b", 4), "linux.cgroupsPath: cgroup path: holds a NUL or a newline"},
      {"/" + std::string(256, 'x'), "linux.cgroupsPath: cgroup path '/xxx"},
      {"system.slice:nacelle:abc",
       "linux.cgroupsPath: 'system.slice:nacelle:abc' is for the systemd", Kind::Unsupported},
      {":nacelle:abc", "linux.cgroupsPath: ':nacelle:abc' is for the systemd", Kind::Unsupported},
  };
  for (const Case& c : cases) {
    const auto placed = place_cgroup(c.path, "id", "/");
    ASSERT_FALSE(placed) << c.path;
    EXPECT_TRUE(placed.error().message().starts_with(c.complaint)) << placed.error().message();
    EXPECT_EQ(placed.error().kind(), c.kind);
  }
}

TEST(CgroupPath, own_group_is_the_line_of_hierarchy_zero) {
  EXPECT_EQ(*sys::parse_own_cgroup("4:memory:/x\n0::/user.slice/a\n"), "/user.slice/a");
  EXPECT_EQ(*sys::parse_own_cgroup("0::/"), "/");
  EXPECT_EQ(*sys::parse_own_cgroup("0::/gone (deleted)\n"), "/gone");
  for (const char* text : {"", "\n", "1:name=systemd:/x\n", "0::\n", "0::relative\n", "10::/x\n"}) {
    EXPECT_FALSE(sys::parse_own_cgroup(text)) << text;
  }
}

TEST(CgroupPath, words_and_keys_match_whole) {
  EXPECT_TRUE(sys::has_word("cpuset cpu io\n", "io"));
  EXPECT_TRUE(sys::has_word("cpuset cpu io\n", "cpu"));
  EXPECT_FALSE(sys::has_word("cpuset io\n", "cpu"));
  EXPECT_FALSE(sys::has_word("", "cpu"));
  EXPECT_EQ(sys::find_keyed("populated 1\nfrozen 0\n", "frozen"), "0");
  EXPECT_EQ(sys::find_keyed("populated 1\nfrozen 0\n", "froze"), "");
  EXPECT_EQ(sys::find_keyed("", "frozen"), "");
}

}  // namespace
}  // namespace nacelle::container
