// Goal: `docker diff` tells what was added, changed and deleted. Method: a real overlay, changed by
// hand.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"

namespace nacelle::test {
namespace {

class Changes : public InsideTest {
 protected:
  void make_overlay() {
    run({"mkdir", "-p", outer_ + "/lower/etc/sub", outer_ + "/lower/gone/deep",
         outer_ + "/lower/again", outer_ + "/upper", outer_ + "/work", outer_ + "/merged"});
    for (const char* path : {"/lower/etc/a", "/lower/etc/sub/b", "/lower/gone/deep/c",
                             "/lower/again/old", "/lower/again/same", "/lower/kind"}) {
      ASSERT_TRUE(write_file(outer_ + path, "old"));
    }
    // tmpfs can be an upper layer; what /tmp is on may not.
    ASSERT_EQ(::mount("tmpfs", (outer_ + "/root").c_str(), "tmpfs", 0, nullptr), 0);
    run({"mkdir", outer_ + "/root/upper", outer_ + "/root/work"});
    const std::string options = cat("lowerdir=", outer_, "/lower,upperdir=", outer_,
                                    "/root/upper,workdir=", outer_, "/root/work");
    ASSERT_EQ(::mount("overlay", (outer_ + "/merged").c_str(), "overlay", 0, options.c_str()), 0);
  }
  void TearDown() override {
    ::umount2((outer_ + "/merged").c_str(), MNT_DETACH);
    ::umount2((outer_ + "/root").c_str(), MNT_DETACH);
    InsideTest::TearDown();
  }
  std::vector<std::string> changes() {
    const Fd upper(::open((outer_ + "/root/upper").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const Fd lower(::open((outer_ + "/lower").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    image::WorkerOptions options;
    options.kind = image::WorkerKind::Pack;
    options.root = &upper;
    auto worker = image::Worker::start(*loop_, options);
    EXPECT_TRUE(worker);
    const auto reply = run_request(*worker, image::ChangesRequest{}, {&lower});
    EXPECT_TRUE(reply) << reply.error().message();
    std::vector<std::string> text;
    for (const auto& each : reply->changes) {
      text.push_back(cat("CAD"[static_cast<int>(each.what)], " ", each.path));
    }
    return text;
  }
  std::string in(const char* path) { return cat(outer_, "/merged", path); }
};

using Lines = std::vector<std::string>;

TEST_F(Changes, are_none_at_first) {
  make_overlay();
  EXPECT_EQ(changes(), Lines{});
}

TEST_F(Changes, are_told_by_kind) {
  make_overlay();
  ASSERT_TRUE(write_file(in("/etc/sub/new"), "n"));
  ASSERT_TRUE(write_file(in("/etc/a"), "changed"));
  ASSERT_EQ(::unlink(in("/etc/sub/b").c_str()), 0);
  run({"mkdir", "-p", in("/made/inner")});
  ASSERT_TRUE(write_file(in("/made/inner/x"), "x"));
  run({"rm", "-rf", in("/gone")});
  EXPECT_EQ(changes(), (Lines{"C /etc/a", "C /etc/sub", "D /etc/sub/b", "A /etc/sub/new", "D /gone",
                              "A /made", "A /made/inner", "A /made/inner/x"}));
}

TEST_F(Changes, of_directories_made_anew_name_what_is_gone) {
  make_overlay();
  run({"rm", "-rf", in("/again")});
  run({"mkdir", in("/again")});
  ASSERT_TRUE(write_file(in("/again/same"), "s"));
  EXPECT_EQ(changes(), (Lines{"C /again", "D /again/old", "C /again/same"}));
}

TEST_F(Changes, of_kind_are_changes) {
  make_overlay();
  ASSERT_EQ(::unlink(in("/kind").c_str()), 0);
  ASSERT_EQ(::mkdir(in("/kind").c_str(), 0755), 0);
  ASSERT_TRUE(write_file(in("/kind/x"), "x"));
  EXPECT_EQ(changes(), (Lines{"C /kind", "A /kind/x"}));
}

TEST_F(Changes, of_what_came_and_went_are_none) {
  make_overlay();
  ASSERT_TRUE(write_file(in("/etc/passing"), "x"));
  ASSERT_EQ(::unlink(in("/etc/passing").c_str()), 0);
  EXPECT_EQ(changes(), Lines{"C /etc"});
}

}  // namespace
}  // namespace nacelle::test
