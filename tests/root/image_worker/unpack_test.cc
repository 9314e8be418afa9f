// A layer's tree, entry by entry: what each comes to on disk, and which wins.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/root/image_worker/fixture.h"
#include "tests/support/hostile_tar.h"

namespace nacelle::test {
namespace {

using codec::Digest;
using image::UnpackRequest;

class UnpackTest : public WorkerTest {
 protected:
  UnpackRequest::Reply must_unpack(const TarBuilder& tar) {
    auto reply = unpack(tar.finish());
    if (!reply) {
      ADD_FAILURE() << reply.error().message();
      return {};
    }
    return *std::move(reply);
  }
  std::string refusal(const TarBuilder& tar) {
    const auto reply = unpack(tar.finish());
    return reply ? "accepted" : reply.error().message();
  }
};

TEST_F(UnpackTest, a_way_through_links_has_an_end) {
  // Each link goes down and up again as often as a target has room for, and then to the next.
  std::string turns;
  while (turns.size() < 4000) turns += "d/../";
  TarBuilder tar;
  tar.header(TarHeader('5', "d/"));
  tar.header(TarHeader('5', "end/"));
  tar.header(TarHeader('2', "l0").link("end"));
  for (int i = 1; i < 30; ++i) tar.header(TarHeader('2', cat("l", i)).link(cat("l", i - 1)));
  tar.header(TarHeader('0', "l29/short"));
  tar.long_link(turns + "end").header(TarHeader('2', "m0"));
  for (int i = 1; i < 30; ++i)
    tar.long_link(cat(turns, "m", i - 1)).header(TarHeader('2', cat("m", i)));
  must_unpack(tar);
  EXPECT_TRUE(is_there("end/short"));
  empty_target();
  tar.header(TarHeader('0', "m29/long"));
  const std::string seen = refusal(tar);
  EXPECT_NE(seen.find("the way to where it belongs is too long"), std::string::npos) << seen;
}

TEST_F(UnpackTest, the_deepest_path_can_be_made) {
  std::string path;
  for (int i = 0; i < 2000; ++i) path += "d/";
  TarBuilder tar;
  tar.long_name(path + "f").header(TarHeader('0', "f"));
  tar.long_name(path + "g").header(TarHeader('0', "g"));
  EXPECT_EQ(must_unpack(tar).implied_directories.size(), 2000u);
}

TEST_F(UnpackTest, content_of_what_is_no_file_has_a_limit) {
  const std::string content(8u << 20, 'x');
  for (const char* name : {".wh..wh.plnk/1.2", ".wh.gone", "a/.wh..wh..opq"}) {
    TarBuilder tar;
    for (int i = 0; i < 9; ++i) {
      tar.header(TarHeader('0', name).size(content.size()));
      tar.content(content);
    }
    const std::string seen = refusal(tar);
    EXPECT_NE(seen.find("bytes in entries that are no files"), std::string::npos) << seen;
    empty_target();
  }
}

TEST_F(UnpackTest, every_type_has_owner_mode_and_time) {
  TarBuilder tar;
  tar.header(TarHeader('5', "d/").mode(02751).owner(3, 4).time(1'000'000'000));
  tar.header(TarHeader('0', "d/f").mode(04755).owner(5, 6).time(1'000'000'001).size(5));
  tar.content("hello");
  tar.header(TarHeader('2', "d/s").link("f").owner(7, 8).time(1'000'000'002));
  tar.header(TarHeader('6', "d/p").mode(0640).owner(9, 10).time(1'000'000'003));
  tar.header(TarHeader('3', "d/c").mode(0600).owner(11, 12).time(1'000'000'004).device(1, 3));
  tar.header(TarHeader('4', "d/b").mode(0660).owner(0, 6).time(1'000'000'005).device(259, 65536));
  tar.header(TarHeader('1', "h").link("d/f"));
  const auto reply = must_unpack(tar);
  EXPECT_EQ(reply.entries, 7u);
  EXPECT_EQ(reply.tree_bytes, 5u);
  EXPECT_TRUE(reply.implied_directories.empty());
  const auto expect = [this](const char* path, mode_t mode, uid_t user, gid_t group, time_t time) {
    const struct stat status = status_of(path);
    EXPECT_EQ(status.st_mode, mode) << path;
    EXPECT_EQ(status.st_uid, user) << path;
    EXPECT_EQ(status.st_gid, group) << path;
    EXPECT_EQ(status.st_mtim.tv_sec, time) << path;
  };
  expect("d", S_IFDIR | 02751, 3, 4, 1'000'000'000);
  expect("d/f", S_IFREG | 04755, 5, 6, 1'000'000'001);
  expect("d/s", S_IFLNK | 0777, 7, 8, 1'000'000'002);
  expect("d/p", S_IFIFO | 0640, 9, 10, 1'000'000'003);
  expect("d/c", S_IFCHR | 0600, 11, 12, 1'000'000'004);
  expect("d/b", S_IFBLK | 0660, 0, 6, 1'000'000'005);
  EXPECT_EQ(status_of("d/c").st_rdev, makedev(1, 3));
  EXPECT_EQ(status_of("d/b").st_rdev, makedev(259, 65536));
  EXPECT_EQ(status_of("h").st_ino, status_of("d/f").st_ino);
  EXPECT_EQ(status_of("h").st_nlink, 2u);
  EXPECT_EQ(read_file(in_target("h")), "hello");
}

TEST_F(UnpackTest, a_directory_that_hands_down_its_group_does_not_change_what_is_in_it) {
  TarBuilder tar;
  tar.header(TarHeader('5', "staff/").mode(02775).owner(0, 50));
  tar.header(TarHeader('5', "staff/d/").mode(0755));
  tar.file("staff/f").symlink("staff/s", "f").fifo("staff/p").file("staff/made/x");
  must_unpack(tar);
  for (const char* path : {"staff/d", "staff/f", "staff/s", "staff/p", "staff/made"})
    EXPECT_EQ(status_of(path).st_gid, 0u) << path;
  EXPECT_EQ(status_of("staff/d").st_mode, S_IFDIR | 0755u);
  EXPECT_EQ(status_of("staff/made").st_mode, S_IFDIR | 0755u);
}

TEST_F(UnpackTest, times_have_nanoseconds) {
  TarBuilder tar;
  tar.pax("mtime", "1700000000.123456789").file("f");
  tar.pax("mtime", "-1.5").directory("d/");
  must_unpack(tar);
  EXPECT_EQ(status_of("f").st_mtim.tv_nsec, 123'456'789);
  EXPECT_EQ(status_of("d").st_mtim.tv_sec, -2);
  EXPECT_EQ(status_of("d").st_mtim.tv_nsec, 500'000'000);
}

TEST_F(UnpackTest, directories_between_that_no_entry_describes_are_reported) {
  TarBuilder tar;
  tar.file("a/b/c/f").directory("a/").file("z");
  const auto reply = must_unpack(tar);
  EXPECT_EQ(reply.implied_directories, (std::vector<std::string>{"a/b", "a/b/c"}));
  EXPECT_EQ(status_of("a/b").st_mode, S_IFDIR | 0755u);
}

TEST_F(UnpackTest, the_root_can_be_described) {
  TarBuilder tar;
  tar.header(TarHeader('5', "./").mode(0711).owner(1, 2).time(1'234'567'890)).file("./f");
  const auto reply = must_unpack(tar);
  EXPECT_TRUE(reply.implied_directories.empty());
  EXPECT_EQ(status_of(".").st_mode, S_IFDIR | 0711u);
  EXPECT_EQ(status_of(".").st_uid, 1u);
  EXPECT_EQ(status_of(".").st_mtim.tv_sec, 1'234'567'890);
}

TEST_F(UnpackTest, the_last_entry_of_a_name_wins) {
  TarBuilder tar;
  tar.file("f", "old").file("f", "new").file("s", "x").symlink("s", "f").symlink("t", "f");
  tar.file("t", "file").directory("d/").file("d/kept").directory("d/");
  tar.directory("e/").directory("e/deep/").file("e/deep/x").file("e", "file now");
  tar.file("g").directory("g/");
  must_unpack(tar);
  EXPECT_EQ(read_file(in_target("f")), "new");
  EXPECT_TRUE(S_ISLNK(status_of("s").st_mode));
  EXPECT_EQ(read_file(in_target("t")), "file");
  EXPECT_TRUE(is_there("d/kept"));
  EXPECT_EQ(read_file(in_target("e")), "file now");
  EXPECT_TRUE(S_ISDIR(status_of("g").st_mode));
}

TEST_F(UnpackTest, a_replaced_hard_link_leaves_the_other_name_alone) {
  TarBuilder tar;
  tar.file("a", "one").hard_link("b", "a").file("b", "two").hard_link("a", "a2");
  EXPECT_NE(refusal(tar).find("hard link to 'a2': that is not in this layer"), std::string::npos);
  EXPECT_EQ(read_file(in_target("a")), "one");
}

TEST_F(UnpackTest, links_on_the_way_stay_inside) {
  TarBuilder tar;
  tar.symlink("lib", "usr/lib").file("lib/a").symlink("abs", "/usr").file("abs/b");
  tar.symlink("up", "../../../..").file("up/c").file("lib/new/d");
  const auto reply = must_unpack(tar);
  for (const char* path : {"usr/lib/a", "usr/b", "c", "usr/lib/new/d"})
    EXPECT_TRUE(is_there(path)) << path;
  EXPECT_EQ(reply.implied_directories, (std::vector<std::string>{"usr", "usr/lib", "usr/lib/new"}));
}

TEST_F(UnpackTest, whiteouts_are_devices_and_opaque_directories_are_marked) {
  TarBuilder tar;
  tar.file(".wh.gone", "").directory("d/").file("d/.wh..wh..opq", "").file("d/.wh.x", "");
  tar.file("deep/er/.wh.y", "").file(".wh..wh.plnk/1.2", "").file("d/.wh..wh.aufs", "");
  const auto reply = must_unpack(tar);
  EXPECT_TRUE(is_whiteout("gone"));
  EXPECT_TRUE(is_whiteout("d/x"));
  EXPECT_TRUE(is_whiteout("deep/er/y"));
  EXPECT_TRUE(is_opaque("d"));
  EXPECT_FALSE(is_opaque("deep"));
  EXPECT_FALSE(is_there(".wh..wh.plnk"));
  EXPECT_FALSE(is_there("d/.wh..wh.aufs"));
  EXPECT_EQ(reply.implied_directories, (std::vector<std::string>{"deep", "deep/er"}));
}

TEST_F(UnpackTest, an_entry_wins_over_a_whiteout_of_its_name_in_either_order) {
  TarBuilder tar;
  tar.file(".wh.a", "").file("a", "one").file("b", "two").file(".wh.b", "");
  tar.file(".wh.c", "").directory("c/").file("c/x").directory("e/").file(".wh.e", "");
  tar.file(".wh.g", "").file("g/x");
  must_unpack(tar);
  EXPECT_EQ(read_file(in_target("a")), "one");
  EXPECT_EQ(read_file(in_target("b")), "two");
  // What a whiteout hides does not shine through the directory either.
  EXPECT_TRUE(is_opaque("c"));
  EXPECT_TRUE(is_opaque("e"));
  EXPECT_TRUE(is_opaque("g"));
  EXPECT_TRUE(is_there("c/x"));
}

TEST_F(UnpackTest, attributes_that_speak_to_overlayfs_are_left_out) {
  // A file capability as setcap(8) writes it: cap_net_raw+ep.
  const std::string capability("\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  TarBuilder tar;
  const auto named = [](std::string_view name, std::string_view value) {
    return pax_record(cat("SCHILY.xattr.", name), value);
  };
  tar.pax(cat(named("security.capability", capability), named("user.mine", "1"),
              named("trusted.overlay.redirect", "/etc"), named("trusted.overlay.metacopy", ""),
              named("trusted.mine", "1"), named("user.overlay.redirect", "/etc"),
              named("security.selinux", "label")));
  tar.header(TarHeader('0', "f").owner(1, 1).size(1)).content("x");
  tar.pax(cat(named("trusted.overlay.opaque", "y"), named("trusted.overlay.redirect", "/etc")));
  tar.directory("d/");
  must_unpack(tar);
  EXPECT_EQ(xattr("f", "security.capability"), capability);
  for (const char* name : {"trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.mine",
                           "user.overlay.redirect"})
    EXPECT_EQ(xattr("f", name), "none") << name;
  EXPECT_EQ(xattr("d", "trusted.overlay.opaque"), "none");
  EXPECT_EQ(xattr("d", "trusted.overlay.redirect"), "none");
}

TEST_F(UnpackTest, holes_stay_holes) {
  TarBuilder tar;
  tar.pax(cat(pax_record("GNU.sparse.major", "0"), pax_record("GNU.sparse.minor", "1"),
              pax_record("GNU.sparse.size", "10737418240"), pax_record("GNU.sparse.numblocks", "1"),
              pax_record("GNU.sparse.map", "1048576,3")));
  tar.header(TarHeader('0', "sparse").size(3)).content("xyz");
  must_unpack(tar);
  EXPECT_EQ(status_of("sparse").st_size, 10'737'418'240);
  EXPECT_LE(status_of("sparse").st_blocks, 64);
}

TEST_F(UnpackTest, refusals_name_layer_and_entry) {
  struct Case {
    TarBuilder tar;
    const char* message;
  };
  const Case cases[] = {
      {TarBuilder().file("../up"), "layer 1 of 1: entry '../up': leads out of the layer"},
      {TarBuilder().hard_link("h", "../../etc/passwd"),
       "layer 1 of 1: entry 'h': hard link: leads out of the layer"},
      {TarBuilder().hard_link("h", "etc/passwd"),
       "layer 1 of 1: entry 'h': hard link to 'etc/passwd': that is not in this layer"},
      {TarBuilder().directory("d/").hard_link("h", "d"),
       "layer 1 of 1: entry 'h': hard link to 'd': that is a directory"},
      {TarBuilder().file("a").hard_link("a", "a"), "layer 1 of 1: entry 'a': hard link to itself"},
      {TarBuilder().file("a").file("a/b"),
       "layer 1 of 1: entry 'a/b': 'a' is in the way: no directory"},
      {TarBuilder().file("a/.wh.", ""), "layer 1 of 1: entry 'a/.wh.': a whiteout of no name"},
      {TarBuilder().file("a/.wh...", ""), "layer 1 of 1: entry 'a/.wh...': a whiteout of no name"},
      {TarBuilder().symlink("./", "/etc"),
       "layer 1 of 1: entry '.': takes the place of the layer's root"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(refusal(c.tar), c.message);
    empty_target();
  }
}

TEST_F(UnpackTest, a_blob_that_is_not_what_was_announced_is_refused) {
  const std::string tar = TarBuilder().file("f").finish();
  const Digest right = codec::digest_of(tar), wrong = codec::digest_of("other");
  const auto with = [&](Digest blob, uint64_t size, Digest diff_id) {
    empty_target();
    const auto reply = unpack(
        tar,
        {.label = "layer", .blob = std::move(blob), .size = size, .diff_id = std::move(diff_id)});
    return reply ? std::string("accepted") : reply.error().message();
  };
  EXPECT_EQ(with(right, tar.size(), right), "accepted");
  EXPECT_NE(with(wrong, 0, {}).find("the blob's digest is sha256:"), std::string::npos);
  EXPECT_NE(with({}, 0, wrong).find("instead of the diff id sha256:"), std::string::npos);
  EXPECT_NE(with({}, tar.size() - 1, {}).find("is longer than its"), std::string::npos);
  EXPECT_NE(with({}, tar.size() + 1, {}).find("bytes instead of"), std::string::npos);
}

TEST_F(UnpackTest, compressed_layers_are_recognised_and_both_digests_are_told) {
  const std::string tar =
      TarBuilder().directory("d/").file("d/f", std::string(3'000'000, 'x')).finish();
  for (const auto compression : {codec::Compression::Gzip, codec::Compression::Zstd}) {
    empty_target();
    auto compressor = codec::Compressor::make(compression);
    std::string bytes(tar.size(), '\0');
    auto step = compressor->step(tar, bytes, true);
    ASSERT_TRUE(step && step->ended);
    bytes.resize(step->produced);
    const auto reply = unpack(bytes);
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->blob, codec::digest_of(bytes));
    EXPECT_EQ(reply->diff_id, codec::digest_of(tar));
    EXPECT_EQ(reply->blob_bytes, bytes.size());
    EXPECT_EQ(status_of("d/f").st_size, 3'000'000);
    empty_target();
    const auto cut = unpack(std::string_view(bytes).substr(0, bytes.size() - 5));
    ASSERT_FALSE(cut);
    EXPECT_TRUE(cut.error().message().starts_with("layer 1 of 1: ")) << cut.error().message();
  }
}

TEST_F(UnpackTest, reads_from_a_pipe_that_is_fed_meanwhile) {
  const std::string tar = TarBuilder().file("f", std::string(20'000, 'x')).finish();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  ASSERT_EQ(::write(writing.get(), tar.data(), tar.size()), static_cast<ssize_t>(tar.size()));
  writing = Fd();
  const auto reply = unpack_blob(reading);
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_EQ(reply->blob, codec::digest_of(tar));
  EXPECT_EQ(status_of("f").st_size, 20'000);
}

// Goal: no amount of entries costs more than its number. Method: a million whiteouts in one
// directory, within the memory of any worker and a fixed time.
TEST_F(UnpackTest, a_million_whiteouts_take_seconds) {
  std::string tar;
  for (int i = 0; i < 1'000'000; ++i) tar += TarHeader('0', cat("d/.wh.", i)).bytes();
  tar += std::string(1024, '\0');
  const auto begun = std::chrono::steady_clock::now();
  const auto reply = unpack(tar);
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_EQ(reply->entries, 1'000'000u);
  EXPECT_TRUE(is_whiteout("d/999999"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60));
}

TEST_F(UnpackTest, a_worker_that_is_killed_is_an_error_at_each_step) {
  for (const char* step : {"unpack.begin", "unpack.entry", "unpack.sync", "unpack.done"}) {
    empty_target();
    ::setenv("NACELLE_WORKER_FAULT", cat("kill:", step).c_str(), 1);
    const auto reply = unpack(TarBuilder().file("f").finish());
    ASSERT_FALSE(reply) << step;
    EXPECT_EQ(reply.error().kind(), Kind::Internal) << step;
  }
}

}  // namespace
}  // namespace nacelle::test
