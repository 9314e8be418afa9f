#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <atomic>

#include "tests/unit/image_jobs/job_test.h"

namespace nacelle::image {
namespace {

using codec::Compression;
using Form = PackRequest::Form;

// Runs a script; its output, or a failure.
std::string shell(std::string_view script,
                  test::milliseconds deadline = test::milliseconds(60'000)) {
  const auto done = test::run({"sh", "-ec", std::string(script)}, {.deadline = deadline});
  EXPECT_TRUE(done.ok()) << script << "\n" << done.text();
  return done.out;
}

struct Packed {
  Fd output = memory_file();
  TestAsker asker;
  Result<PackRequest::Reply> reply = fail(Kind::Internal, "not run");

  explicit Packed(const std::string& path, PackRequest request = {}) {
    const Fd root = *sys::open_at(sys::working_directory, path.c_str(), O_PATH | O_DIRECTORY);
    reply = pack(request, root, output, asker);
  }
  std::string bytes() const { return content_of(output); }
  // Its entries' names in order, the root left out.
  std::vector<std::string> names() const {
    const auto listing = test::run({"tar", "-tf", "-"}, {.input = bytes()});
    EXPECT_TRUE(listing.ok()) << listing.text();
    std::vector<std::string> found;
    std::string_view rest = listing.out;
    while (!rest.empty()) {
      const std::string_view name = take_until(rest, '\n');
      if (name != "./") found.emplace_back(name);
    }
    return found;
  }
};
using Names = std::vector<std::string>;

// Everything about a tree that a layer keeps, a line per file.
std::string description(const std::string& path) {
  return shell(
      cat("cd ", path,
          " && find . -printf '%p %y %m %U %G %Ts %l' \\( -type f -printf ' %s %n' -o -true \\)"
          " -printf '\\n' | sort"
          " && find . -type f -exec md5sum {} + | sort"
          " && find . \\( -type b -o -type c \\) -exec stat -c '%n %t %T' {} + | sort"
          " && find . \\( -type f -o -type d \\) -print0 | sort -z |"
          " xargs -0 getfattr -h -d -m '^(user|security.capability)'"));
}

// A tree with one of everything.
void make_tree(const std::string& path) {
  shell(cat("mkdir -p ", path, " && cd ", path, R"sh( && umask 022
    mkdir -p usr/bin etc empty 'with space' deep
    echo hello > etc/motd; : > etc/nothing
    head -c 3000000 /dev/urandom > usr/bin/big; chmod 4755 usr/bin/big
    ln usr/bin/big usr/bin/aka; ln usr/bin/big etc/zzz
    ln -s ../etc/motd usr/link; ln -s /absolute/target abs; ln -sf missing dangling
    mkfifo fifo; mknod null c 1 3; mknod disk b 8 1; mknod high c 4095 1048575
    chown 1000:1001 etc/motd; chown -h 12:13 abs; chown 3000000:4000000 etc/nothing
    chmod 1777 empty; chmod 0000 etc/nothing
    touch -d '1999-12-31 23:59:59 UTC' etc/motd; touch -d '1960-01-01 UTC' etc/nothing
    touch -h -d '2001-02-03 UTC' abs; touch -d '2242-01-01 UTC' fifo
    setfattr -n user.comment -v 'some text' etc/motd
    setfattr -n user.on_directory -v 1 deep
    setcap cap_net_raw+ep usr/bin/big
    printf x > "$(printf 'new\nline')"; printf x > "$(printf 'latin\351')"
    n=$(printf 'n%.0s' $(seq 250)); mkdir -p deep/$n/$n; echo long > deep/$n/$n/$n
    ln -s $n/$n/$n deep/longlink)sh"));
}

TEST(Pack, gnu_tar_makes_the_same_tree_of_it) {
  const Directory made;
  const std::string tree = cat(made.path(), "/tree"), out = cat(made.path(), "/out");
  make_tree(tree);
  for (const Compression compression : {Compression::None, Compression::Gzip, Compression::Zstd}) {
    const Packed packed(tree, {.compression = compression});
    ASSERT_TRUE(packed.reply) << complaint(packed.reply);
    const std::string bytes = packed.bytes();
    EXPECT_EQ(packed.reply->blob, codec::digest_of(bytes));
    EXPECT_EQ(packed.reply->blob_bytes, bytes.size());
    shell(cat("rm -rf ", out, " && mkdir ", out));
    const std::string file = cat(made.path(), "/archive");
    ASSERT_TRUE(test::write_file(file, bytes));
    shell(cat("tar --numeric-owner --xattrs --xattrs-include='*' -xpf ", file, " -C ", out));
    EXPECT_EQ(description(out), description(tree));
  }
}

TEST(Pack, the_same_tree_gives_the_same_archive_in_order) {
  const Directory made;
  const std::string tree = cat(made.path(), "/tree"), copy = cat(made.path(), "/copy");
  make_tree(tree);
  // Made in another order.
  shell(cat("mkdir ", copy, " && cd ", tree,
            " && find . -mindepth 1 -maxdepth 1 -print0 | sort -rz | xargs -0 cp -a -t ../copy"
            " && touch -r . ../copy"));
  const Packed one(tree), two(copy);
  const Names names = one.names();
  EXPECT_EQ(two.names(), names);
  EXPECT_TRUE(one.bytes() == two.bytes());
  EXPECT_EQ(one.reply->entries, names.size() + 1);
  EXPECT_EQ(one.reply->archive_bytes, one.bytes().size());
  EXPECT_EQ(one.reply->diff_id, one.reply->blob);
}

TEST(Pack, sockets_are_left_out_and_times_are_no_later_than_asked) {
  const Directory made;
  const std::string tree = cat(made.path(), "/tree");
  shell(cat("mkdir ", tree, " && cd ", tree,
            " && touch -d @1000 old && touch -d @5000.5 new && python3 -c "
            "\"import socket; socket.socket(socket.AF_UNIX).bind('sock')\""));
  const Packed packed(tree, {.times_at_most = 2000});
  EXPECT_EQ(packed.names(), (Names{"new", "old"}));
  const auto listing =
      test::run({"tar", "--full-time", "--utc", "-tvf", "-"}, {.input = packed.bytes()});
  EXPECT_NE(listing.out.find("1970-01-01 00:33:20 new"), std::string::npos) << listing.out;
  EXPECT_NE(listing.out.find("1970-01-01 00:16:40 old"), std::string::npos) << listing.out;
  EXPECT_NE(listing.out.find("1970-01-01 00:33:20 ./"), std::string::npos) << listing.out;
}

TEST(Pack, walks_trees_deeper_than_it_may_hold_open) {
  const Directory made;
  const std::string tree = cat(made.path(), "/tree");
  shell(cat("mkdir ", tree, " && cd ", tree,
            " && for i in $(seq 1000); do mkdir d; : > a; : > z; cd -P d; done; : > last"));
  const Packed packed(tree);
  ASSERT_TRUE(packed.reply) << complaint(packed.reply);
  EXPECT_EQ(packed.reply->entries, 1u + 3 * 1000 + 1);
}

TEST(Pack, says_what_is_too_deep_for_an_archive) {
  const Directory made;
  const std::string tree = cat(made.path(), "/tree");
  shell(
      cat("mkdir ", tree, " && cd ", tree, " && for i in $(seq 2100); do mkdir d; cd -P d; done"));
  const Packed packed(tree);
  ASSERT_FALSE(packed.reply);
  EXPECT_NE(complaint(packed.reply).find("longer than 4096 bytes"), std::string::npos);
}

TEST(Pack, walks_a_directory_of_many_names_in_order) {
  const Directory made;
  const std::string tree = cat(made.path(), "/tree");
  shell(cat("mkdir ", tree, " && cd ", tree, " && seq -f 'name-%06g' 30000 | xargs touch"));
  const Packed packed(tree);
  ASSERT_TRUE(packed.reply) << complaint(packed.reply);
  const Names names = packed.names();
  EXPECT_EQ(names.size(), 30000u);
  EXPECT_TRUE(std::ranges::is_sorted(names));
}

// A file that has another size by the time it is read still makes a whole archive: a writer changes
// sizes all the time while trees are packed.
TEST(Pack, gives_a_whole_archive_of_files_that_change_meanwhile) {
  const Directory made;
  const std::string tree = cat(made.path(), "/tree");
  shell(cat("mkdir ", tree));
  const std::string path = cat(tree, "/changing");
  const Fd file = *sys::open_at(sys::working_directory, path.c_str(), O_RDWR | O_CREAT, 0600);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (off_t size = 0; !stop; size = (size + 1'234'567) % 9'000'000) {
      (void)!::ftruncate(file.get(), size);
      const std::string other = cat(tree, "/comes-and-goes");
      (void)test::write_file(other, "x");
      ::unlink(other.c_str());
    }
  });
  for (int round = 0; round < 30; ++round) {
    const Packed packed(tree);
    EXPECT_TRUE(packed.reply) << complaint(packed.reply);
    const auto listing = test::run({"tar", "-tf", "-"}, {.input = packed.bytes()});
    EXPECT_TRUE(listing.ok()) << listing.text();
  }
  stop = true;
  writer.join();
}

TEST(Pack, fails_when_it_cannot_write) {
  const Directory made;
  shell(cat("head -c 3000000 /dev/zero > ", made.path(), "/file"));
  const Fd full = *sys::open_at(sys::working_directory, "/dev/full", O_WRONLY);
  TestAsker asker;
  for (const Compression compression : {Compression::None, Compression::Gzip}) {
    const auto reply = pack({.compression = compression}, made.fd(), full, asker);
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().error_number(), ENOSPC);
  }
}

// An overlay in a directory of its own (a tmpfs), unmounted at the end.
class Overlay {
 public:
  explicit Overlay(std::string_view lower, std::string_view options = {}) {
    shell(cat("cd ", made_.path(), " && mkdir lower upper work merged && cd lower && ", lower));
    mount_options_ = cat("lowerdir=", made_.path(), "/lower,upperdir=", made_.path(),
                         "/upper,workdir=", made_.path(), "/work", options);
    mounted_ = ::mount("overlay", merged().c_str(), "overlay", 0, mount_options_.c_str()) == 0;
    EXPECT_TRUE(mounted_) << strerror(errno);
  }
  ~Overlay() {
    if (mounted_) ::umount2(merged().c_str(), MNT_DETACH);
  }
  std::string merged() const { return cat(made_.path(), "/merged"); }
  std::string upper() const { return cat(made_.path(), "/upper"); }
  std::string lower() const { return cat(made_.path(), "/lower"); }

 private:
  Directory made_;
  std::string mount_options_;
  bool mounted_ = false;
};

TEST(PackDiff, what_an_overlay_hides_becomes_whiteouts) {
  const Overlay overlay(
      "mkdir -p a/b c d && echo 1 > a/b/gone && echo 2 > a/kept && echo 3 > c/old "
      "&& echo 4 > d/file && echo 5 > top");
  shell(cat(
      "cd ", overlay.merged(),
      " && rm a/b/gone top && rm -r c && mkdir c && echo new > c/new && rm -r d && echo file > d "
      "&& echo more >> a/kept && mknod null c 1 3"));
  const Packed packed(overlay.upper(), {.form = Form::Diff});
  ASSERT_TRUE(packed.reply) << complaint(packed.reply);
  EXPECT_EQ(packed.names(), (Names{"a/", "a/b/", "a/b/.wh.gone", "a/kept", "c/", "c/.wh..wh..opq",
                                   "c/new", "d", "null", ".wh.top"}));
  // Nothing of overlayfs's own is in it.
  EXPECT_EQ(packed.bytes().find("overlay"), std::string::npos);
  // As a tree it is what it is: a device.
  const Packed tree(overlay.upper());
  EXPECT_EQ(std::ranges::count(tree.names(), "top"), 1);
}

TEST(PackDiff, umoci_makes_the_merged_tree_of_lower_and_upper) {
  const Overlay overlay("mkdir -p a/b c && echo 1 > a/b/gone && echo 2 > a/kept && echo 3 > top");
  shell(cat("cd ", overlay.merged(),
            " && rm a/b/gone top && rm -r c && mkdir c && echo n > c/new && ln c/new c/also"));
  // umoci unpacks base and change on top of each other as OCI layers; the result is the merged
  // tree.
  const Packed base(overlay.lower()), change(overlay.upper(), {.form = Form::Diff});
  ASSERT_TRUE(change.reply) << complaint(change.reply);
  const Directory work;
  const std::string base_file = cat(work.path(), "/base.tar"), file = cat(work.path(), "/1.tar");
  ASSERT_TRUE(test::write_file(base_file, base.bytes()));
  ASSERT_TRUE(test::write_file(file, change.bytes()));
  shell(cat("cd ", work.path(), " && umoci init --layout l && umoci new --image l:x",
            " && umoci raw add-layer --image l:x base.tar && umoci raw add-layer --image l:x 1.tar",
            " && umoci raw unpack --image l:x out"));
  EXPECT_EQ(description(cat(work.path(), "/out")), description(overlay.merged()));
}

TEST(PackDiff, whiteouts_made_of_attributes_are_understood) {
  const Directory made;
  const std::string upper = cat(made.path(), "/upper");
  shell(cat("mkdir -p ", upper, "/dir ", upper, "/hidden && cd ", upper,
            " && : > dir/gone && setfattr -n trusted.overlay.whiteout -v y dir/gone"
            " && : > dir/empty && echo content > dir/full"
            " && setfattr -n trusted.overlay.whiteout -v y dir/full"
            " && setfattr -n trusted.overlay.opaque -v x dir"
            " && setfattr -n trusted.overlay.opaque -v y hidden"
            " && setfattr -n trusted.overlay.origin -v z dir/full"
            " && setfattr -n user.overlay.opaque -v y dir"));
  const Packed packed(upper, {.form = Form::Diff});
  ASSERT_TRUE(packed.reply) << complaint(packed.reply);
  EXPECT_EQ(packed.names(), (Names{"dir/", "dir/empty", "dir/full", "dir/.wh.gone", "hidden/",
                                   "hidden/.wh..wh..opq"}));
  EXPECT_EQ(packed.bytes().find("overlay"), std::string::npos);
}

TEST(PackDiff, an_opaque_root_hides_everything_below) {
  const Directory made;
  const std::string upper = cat(made.path(), "/upper");
  shell(cat("mkdir ", upper, " && cd ", upper,
            " && setfattr -n trusted.overlay.opaque -v y . && : > file"));
  EXPECT_EQ(Packed(upper, {.form = Form::Diff}).names(), (Names{".wh..wh..opq", "file"}));
}

TEST(PackDiff, refuses_what_a_layer_cannot_say) {
  const auto refusal = [](std::string_view script) {
    const Directory made;
    const std::string upper = cat(made.path(), "/upper");
    shell(cat("mkdir ", upper, " && cd ", upper, " && ", script));
    return complaint(Packed(upper, {.form = Form::Diff}).reply);
  };
  EXPECT_TRUE(refusal("mkdir -p a/b && setfattr -n trusted.overlay.redirect -v /old a/b")
                  .starts_with("'a/b' has trusted.overlay.redirect: "));
  EXPECT_TRUE(refusal("echo 1 > f && setfattr -n trusted.overlay.metacopy f")
                  .starts_with("'f' has trusted.overlay.metacopy: "));
  EXPECT_EQ(refusal("mkdir d && echo 1 > d/.wh.name"),
            "'d/.wh.name': layers reserve names that begin with '.wh.' for what they delete");
}

TEST(PackDiff, a_real_rename_of_a_directory_is_refused_by_name) {
  const Overlay overlay("mkdir -p dir && echo 1 > dir/file", ",redirect_dir=on");
  shell(cat("cd ", overlay.merged(), " && mv dir moved"));
  EXPECT_TRUE(complaint(Packed(overlay.upper(), {.form = Form::Diff}).reply)
                  .starts_with("'moved' has trusted.overlay.redirect: "));
}

}  // namespace
}  // namespace nacelle::image
