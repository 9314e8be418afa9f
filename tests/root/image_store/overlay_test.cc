// Mounts of layers, by every way into the kernel.
#include "image/overlay.h"

#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <functional>

#include "sys/mount_api.h"
#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

using image::mount_overlay;
using image::OverlayOptions;
using Way = OverlayOptions::Way;

const char* name_of(Way way) {
  switch (way) {
    case Way::Best: return "best";
    case Way::ByDescriptor: return "by descriptor";
    case Way::ByName: return "by name";
    case Way::OnePage: return "one page";
  }
  return "?";
}
constexpr Way ways[] = {Way::Best, Way::ByDescriptor, Way::ByName, Way::OnePage};

class Overlay : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/nacelle-overlay-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    root_ = sys::open_at(sys::working_directory, name, O_RDONLY | O_DIRECTORY).value();
  }
  void TearDown() override {
    const auto parent = sys::open_at(sys::working_directory, "/tmp", O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(image::remove_tree_now(*parent, directory_.substr(5)));
  }
  Fd directory(const std::string& name) {
    EXPECT_TRUE(sys::make_directory_at(root_.get(), name.c_str(), 0755));
    return sys::open_at(root_.get(), name.c_str(), O_RDONLY | O_DIRECTORY).value();
  }
  static void put(const Fd& tree, const std::string& name, const std::string& text) {
    ASSERT_TRUE(sys::replace_file_at(tree.get(), name.c_str(), text, 0644));
  }
  static std::string get(const Fd& mount, const std::string& name) {
    return sys::read_file_at(mount.get(), name.c_str(), 1u << 20).value_or("(nothing)");
  }
  void make_layers(size_t count) {
    for (size_t at = 0; at < count; ++at) {
      trees_.push_back(directory(cat("layer", at)));
      put(trees_.back(), "top", cat(at));
      put(trees_.back(), cat("file", at), cat("of ", at));
    }
  }
  OverlayOptions options(Way way, size_t count) const {
    OverlayOptions options;
    options.way = way;
    for (size_t at = 0; at < count; ++at) options.lower.push_back(&trees_[at]);
    return options;
  }

  std::string directory_;
  Fd root_;
  std::vector<Fd> trees_;
};

TEST_F(Overlay, of_1_to_500_layers_shows_the_topmost_of_each_file) {
  make_layers(500);
  for (const Way way : ways) {
    for (const size_t count : {1u, 2u, 64u, 128u, 500u}) {
      SCOPED_TRACE(cat(name_of(way), ", ", count));
      const auto mount = mount_overlay(options(way, count));
      ASSERT_TRUE(mount) << mount.error().message();
      EXPECT_EQ(get(*mount, "top"), cat(count - 1));
      EXPECT_EQ(get(*mount, "file0"), "of 0");
      EXPECT_EQ(get(*mount, cat("file", count - 1)), cat("of ", count - 1));
      EXPECT_EQ(get(*mount, cat("file", count)), "(nothing)");
      EXPECT_EQ(::mkdirat(mount->get(), "new", 0755), -1);
      EXPECT_EQ(errno, EROFS);
    }
  }
}

TEST_F(Overlay, of_501_layers_is_refused_with_the_limit) {
  make_layers(1);
  OverlayOptions many;
  many.lower.assign(501, &trees_[0]);
  const auto mount = mount_overlay(many);
  ASSERT_FALSE(mount);
  EXPECT_EQ(mount.error().kind(), Kind::Exhausted);
  EXPECT_EQ(mount.error().message(), "501 layers: overlayfs stacks 500 at most");
  EXPECT_EQ(mount_overlay({}).error().kind(), Kind::Invalid);
  many = options(Way::Best, 1);
  many.upper = &trees_[0];
  EXPECT_EQ(mount_overlay(many).error().kind(), Kind::Invalid) << "an upper without a work";
}

TEST_F(Overlay, hides_what_whiteouts_and_opaque_directories_hide) {
  make_layers(3);
  ASSERT_EQ(::mkdirat(trees_[0].get(), "d", 0755), 0);
  ASSERT_EQ(::mkdirat(trees_[1].get(), "d", 0755), 0);
  put(trees_[0], "d/low", "low");
  put(trees_[1], "d/high", "high");
  ASSERT_EQ(::mknodat(trees_[2].get(), "file0", S_IFCHR, makedev(0, 0)), 0);
  const Fd opaque = sys::open_at(trees_[1].get(), "d", O_RDONLY | O_DIRECTORY).value();
  ASSERT_EQ(::fsetxattr(opaque.get(), "trusted.overlay.opaque", "y", 1, 0), 0);
  for (const Way way : ways) {
    const auto mount = mount_overlay(options(way, 3));
    ASSERT_TRUE(mount) << name_of(way) << mount.error().message();
    EXPECT_EQ(get(*mount, "file0"), "(nothing)");
    EXPECT_EQ(get(*mount, "file1"), "of 1");
    EXPECT_EQ(get(*mount, "d/low"), "(nothing)");
    EXPECT_EQ(get(*mount, "d/high"), "high");
  }
}

TEST_F(Overlay, writes_to_the_upper_directory_alone) {
  make_layers(2);
  for (const Way way : ways) {
    SCOPED_TRACE(name_of(way));
    const Fd upper = directory(cat("upper ", name_of(way)));
    const Fd work = directory(cat("work ", name_of(way)));
    OverlayOptions writable = options(way, 2);
    writable.upper = &upper;
    writable.work = &work;
    const auto mount = mount_overlay(writable);
    ASSERT_TRUE(mount) << mount.error().message();
    put(*mount, "top", "changed");
    EXPECT_EQ(get(upper, "top"), "changed");
    EXPECT_EQ(get(trees_[1], "top"), "1");
  }
}

TEST_F(Overlay, a_volatile_upper_that_was_not_ended_is_refused_by_name) {
  make_layers(1);
  const Fd upper = directory("upper"), work = directory("work");
  OverlayOptions writable = options(Way::Best, 1);
  writable.upper = &upper;
  writable.work = &work;
  writable.is_volatile = true;
  ASSERT_TRUE(mount_overlay(writable));
  for (const bool is_volatile : {true, false}) {
    writable.is_volatile = is_volatile;
    // The first mount ends when the kernel has come round to it.
    const auto again = mount_overlay(writable);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().kind(), Kind::Conflict);
    EXPECT_NE(again.error().message().find("volatile"), std::string::npos);
  }
  ASSERT_TRUE(image::end_volatile(work));
  EXPECT_TRUE(image::end_volatile(work)) << "it has been ended";
  const auto mount = mount_overlay(writable);
  EXPECT_TRUE(mount) << mount.error().message();
}

TEST_F(Overlay, goes_where_it_is_attached) {
  make_layers(2);
  const Fd target = directory("target");
  const auto mount = mount_overlay(options(Way::Best, 2));
  ASSERT_TRUE(mount && sys::attach_mount(*mount, target));
  EXPECT_EQ(get(root_, "target/top"), "1");
  EXPECT_EQ(::umount2((directory_ + "/target").c_str(), MNT_DETACH), 0);
  EXPECT_EQ(get(root_, "target/top"), "(nothing)");
}

TEST_F(Overlay, takes_layers_whose_paths_are_long_and_odd) {
  Fd at = directory("a,b:c\\d");
  for (int depth = 0; depth < 20; ++depth) {
    const std::string name(200, static_cast<char>('a' + depth));
    ASSERT_EQ(::mkdirat(at.get(), name.c_str(), 0755), 0);
    at = sys::open_at(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY).value();
  }
  put(at, "deep", "yes");
  make_layers(1);
  for (const Way way : ways) {
    OverlayOptions both = options(way, 1);
    both.lower.push_back(&at);
    const auto mount = mount_overlay(both);
    ASSERT_TRUE(mount) << name_of(way) << mount.error().message();
    EXPECT_EQ(get(*mount, "deep"), "yes");
  }
}

// Directories that no entry describes. ---------------------------------------------------------

class Implied : public Overlay {
 protected:
  void make(const Fd& tree, const char* path, mode_t mode, uid_t owner, time_t time) {
    ASSERT_EQ(::mkdirat(tree.get(), path, 0700), 0) << path;
    ASSERT_EQ(::fchmodat(tree.get(), path, mode, 0), 0);
    ASSERT_EQ(::fchownat(tree.get(), path, owner, owner, 0), 0);
    ASSERT_EQ(::fchmodat(tree.get(), path, mode, 0), 0);
    const timespec times[2] = {{time, 0}, {time, 5}};
    ASSERT_EQ(::utimensat(tree.get(), path, times, 0), 0);
  }
  Result<> apply(std::vector<std::string> directories, const Fd& tree,
                 std::vector<const Fd*> lower) {
    const auto loop = open_loop();
    return loop->run(image::apply_implied(*loop, tree, std::move(directories), lower));
  }
  static std::string look(const Fd& tree, const char* path) {
    const auto status = sys::stat_at(tree.get(), path, AT_SYMLINK_NOFOLLOW);
    if (!status) return "(nothing)";
    return cat(status->st_mode & 07777, ' ', status->st_uid, ' ', status->st_gid, ' ',
               status->st_mtim.tv_sec);
  }
};

TEST_F(Implied, takes_everything_from_the_topmost_layer_that_has_it) {
  const Fd low = directory("low"), high = directory("high"), tree = directory("tree");
  make(low, "d", 0700, 1, 100);
  make(low, "d/e", 01777, 2, 200);
  make(high, "d", 02750, 3, 300);
  const Fd in_low = sys::open_at(low.get(), "d/e", O_RDONLY).value();
  ASSERT_EQ(::fsetxattr(in_low.get(), "trusted.mark", "\0x", 2, 0), 0);
  make(tree, "d", 0755, 0, 1);
  make(tree, "d/e", 0755, 0, 1);
  const auto applied = apply({"d", "d/e"}, tree, {&low, &high});
  ASSERT_TRUE(applied) << applied.error().message();
  EXPECT_EQ(look(tree, "d"), cat(02750, " 3 3 300"));
  EXPECT_EQ(look(tree, "d/e"), cat(01777, " 2 2 200"));
  char value[8];
  const Fd copied = sys::open_at(tree.get(), "d/e", O_RDONLY).value();
  EXPECT_EQ(::fgetxattr(copied.get(), "trusted.mark", value, sizeof value), 2);
}

TEST_F(Implied, the_tree_itself_too) {
  const Fd low = directory("low"), tree = directory("tree");
  ASSERT_EQ(::fchmod(low.get(), 0711), 0);
  ASSERT_TRUE(apply({""}, tree, {&low}));
  EXPECT_EQ(sys::stat_fd(tree)->st_mode & 07777, 0711u);
}

TEST_F(Implied, takes_nothing_that_could_not_be_seen) {
  const Fd low = directory("low");
  make(low, "d", 0700, 7, 100);
  make(low, "d/e", 0700, 7, 100);
  struct Case {
    const char* name;
    std::function<void(const Fd&)> hide;
  };
  const Case cases[] = {
      {"whiteout", [](const Fd& t) { ASSERT_EQ(::mknodat(t.get(), "d", S_IFCHR, 0), 0); }},
      {"file", [](const Fd& t) { put(t, "d", "x"); }},
      {"link", [](const Fd& t) { ASSERT_EQ(::symlinkat("/etc", t.get(), "d"), 0); }},
      {"opaque",
       [](const Fd& t) {
         ASSERT_EQ(::mkdirat(t.get(), "d", 0755), 0);
         const Fd d = sys::open_at(t.get(), "d", O_RDONLY).value();
         ASSERT_EQ(::fsetxattr(d.get(), "trusted.overlay.opaque", "y", 1, 0), 0);
       }},
  };
  for (const Case& each : cases) {
    const Fd between = directory(cat("between ", each.name));
    each.hide(between);
    const Fd tree = directory(cat("tree ", each.name));
    make(tree, "d", 0755, 0, 1);
    make(tree, "d/e", 0755, 0, 1);
    const auto applied = apply({"d/e"}, tree, {&low, &between});
    ASSERT_TRUE(applied) << each.name << applied.error().message();
    EXPECT_EQ(look(tree, "d/e"), cat(0755, " 0 0 1")) << each.name;
  }
}

ring::Task<> count_turns(ring::Loop& loop, bool& ended, int& turns) {
  while (!ended) {
    co_await ring::sleep_for(loop, std::chrono::milliseconds(0));
    ++turns;
  }
}
ring::Task<> apply_then(ring::Loop& loop, const Fd& tree, std::vector<std::string> directories,
                        std::vector<const Fd*> lower, bool& ended) {
  const Result<> done =
      co_await ring::as_result(image::apply_implied(loop, tree, std::move(directories), lower));
  ended = true;
  co_await done;
}
ring::Task<> apply_beside(ring::Loop& loop, const Fd& tree, std::vector<std::string> directories,
                          std::vector<const Fd*> lower, int& turns) {
  bool ended = false;
  ring::Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  scope.start(apply_then(loop, tree, std::move(directories), std::move(lower), ended));
  scope.start(count_turns(loop, ended, turns));
  co_await scope.join();
}

TEST_F(Implied, many_directories_leave_the_loop_its_turns) {
  constexpr int count = 3000;
  const Fd low = directory("low"), tree = directory("tree");
  std::vector<std::string> paths;
  for (int at = 0; at < count; ++at) {
    paths.push_back(cat("d", at));
    make(low, paths.back().c_str(), 0710, 5, 500);
    make(tree, paths.back().c_str(), 0755, 0, 1);
  }
  const auto loop = open_loop();
  int turns = 0;
  const auto done = loop->run(apply_beside(*loop, tree, paths, {&low}, turns));
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_GE(turns, 10);
  for (const std::string& path : paths) {
    ASSERT_EQ(look(tree, path.c_str()), cat(0710, " 5 5 500")) << path;
  }
}

TEST_F(Implied, never_leaves_the_tree) {
  const Fd low = directory("low"), tree = directory("tree");
  make(low, "d", 0700, 7, 100);
  const Fd outside = directory("outside");
  ASSERT_EQ(::symlinkat("../outside", tree.get(), "d"), 0);
  const std::string before = look(root_, "outside");
  for (const char* path : {"d", "../outside", "d/../../outside", "missing"}) {
    EXPECT_FALSE(apply({path}, tree, {&low})) << path;
  }
  EXPECT_EQ(look(root_, "outside"), before);
}

}  // namespace
}  // namespace nacelle::test
