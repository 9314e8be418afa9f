// The same layer unpacked by us, by GNU tar and by umoci: the trees are equal.
#include <dirent.h>
#include <sys/xattr.h>

#include <algorithm>
#include <map>

#include "tests/root/image_worker/fixture.h"

namespace nacelle::test {
namespace {

constexpr const char* rootfs = "/var/cache/nacelle/rootfs/debian";

// Each path with everything that can be said of it. Links are named by the first of their paths.
std::map<std::string, std::string> describe(const std::string& root) {
  std::map<std::string, std::string> all;
  std::map<ino_t, std::string> first;
  std::vector<std::string> todo = {""};
  while (!todo.empty()) {
    const std::string directory = todo.back();
    todo.pop_back();
    DIR* listing = ::opendir((root + "/" + directory).c_str());
    if (listing == nullptr) continue;
    std::vector<std::string> names;
    while (const dirent* each = ::readdir(listing)) {
      const std::string name = each->d_name;
      if (name != "..") names.push_back(name);
    }
    ::closedir(listing);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      if (name == "." && !directory.empty()) continue;
      const std::string path = directory.empty() ? name : directory + "/" + name;
      const std::string full = root + "/" + path;
      struct stat status{};
      if (::lstat(full.c_str(), &status) < 0) continue;
      std::string text =
          cat(status.st_mode, " ", status.st_uid, ":", status.st_gid, " ", status.st_mtim.tv_sec,
              ".", status.st_mtim.tv_nsec, " links ", S_ISDIR(status.st_mode) ? 0 : status.st_nlink,
              " device ", status.st_rdev);
      if (S_ISREG(status.st_mode)) {
        const auto known = first.try_emplace(status.st_ino, path);
        text += cat(" size ", status.st_size, " as ", known.first->second);
        if (known.second && status.st_size < (1 << 20))
          text += cat(" ", codec::digest_of(read_file(full)).text());
      }
      if (S_ISLNK(status.st_mode)) {
        char target[4096];
        const ssize_t size = ::readlink(full.c_str(), target, sizeof target);
        text +=
            cat(" to ", std::string_view(target, static_cast<size_t>(std::max<ssize_t>(size, 0))));
      }
      char list[4096];
      const ssize_t size = ::llistxattr(full.c_str(), list, sizeof list);
      std::vector<std::string> attributes;
      for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(attributes.back().size()) + 1)
        attributes.emplace_back(list + at);
      std::sort(attributes.begin(), attributes.end());
      for (const std::string& attribute : attributes) {
        char value[4096];
        const ssize_t length = ::lgetxattr(full.c_str(), attribute.c_str(), value, sizeof value);
        text += cat(" ", attribute, "=",
                    codec::digest_of(
                        std::string_view(value, static_cast<size_t>(std::max<ssize_t>(length, 0))))
                        .text());
      }
      all[path] = text;
      if (S_ISDIR(status.st_mode) && name != ".") todo.push_back(path);
    }
  }
  return all;
}

std::string differences(const std::map<std::string, std::string>& ours,
                        const std::map<std::string, std::string>& theirs) {
  std::string text;
  int shown = 0;
  for (const auto& [path, what] : ours) {
    const auto other = theirs.find(path);
    if (other != theirs.end() && other->second == what) continue;
    if (++shown <= 10)
      text +=
          cat(path, "\n  ours:   ", what,
              "\n  theirs: ", other == theirs.end() ? std::string("nothing") : other->second, "\n");
  }
  for (const auto& [path, what] : theirs) {
    if (!ours.contains(path) && ++shown <= 10) text += cat(path, ": only theirs: ", what, "\n");
  }
  return text;
}

class PeersTest : public WorkerTest {
 protected:
  void SetUp() override {
    WorkerTest::SetUp();
    struct stat status{};
    if (::stat(rootfs, &status) < 0) GTEST_SKIP() << "no " << rootfs << ": run tools/rootfs";
    // With what a plain Debian has little of: capabilities, a device, a FIFO, holes, hard links.
    const std::string extra = outer_ + "/extra";
    ASSERT_TRUE(
        run({"sh", "-ec",
             cat("mkdir -p ", extra, "/opt/extra; cd ", extra,
                 "/opt/extra;"
                 "cp /bin/true capable; chown 7:8 capable; chmod 4711 capable;"
                 "setcap cap_net_raw+ep capable || setfattr -n security.capability -v "
                 "0x0100000200200000000000000000000000000000 capable;"
                 "mknod null c 1 3; mknod disk b 8 1; mkfifo -m 600 fifo;"
                 "truncate -s 10M sparse; printf x | dd of=sparse seek=5M bs=1 conv=notrunc "
                 "status=none; echo hi > one; ln one two; ln -s two three; ln three four;"
                 "mkdir -m 1777 sticky; mkdir -m 2755 group; chgrp 50 group;"
                 "touch -d '1999-12-31 23:59:59.123456789' old")})
            .ok());
    tar_ = outer_ + "/layer.tar";
    const auto packed = run({"tar", "--format=pax", "--xattrs", "--xattrs-include=*", "--sparse",
                             "--pax-option=delete=atime,delete=ctime", "--numeric-owner", "-cf",
                             tar_, "-C", rootfs, ".", "-C", extra, "./opt"},
                            {.deadline = milliseconds(120'000)});
    ASSERT_TRUE(packed.ok()) << packed.text();
  }
  std::string tar_;
};

TEST_F(PeersTest, gnu_tar_makes_the_same_tree) {
  const Fd input(::open(tar_.c_str(), O_RDONLY | O_CLOEXEC));
  const auto reply = unpack_blob(input);
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_TRUE(reply->implied_directories.empty());
  const std::string theirs = outer_ + "/theirs";
  ::mkdir(theirs.c_str(), 0755);
  const auto made =
      run({"tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", tar_, "-C", theirs},
          {.deadline = milliseconds(120'000)});
  ASSERT_TRUE(made.ok()) << made.text();
  const auto ours = describe(target());
  EXPECT_GT(ours.size(), 5'000u);
  EXPECT_EQ(differences(ours, describe(theirs)), "");
}

TEST_F(PeersTest, umoci_makes_the_same_tree) {
  const Fd input(::open(tar_.c_str(), O_RDONLY | O_CLOEXEC));
  const auto reply = unpack_blob(input);
  ASSERT_TRUE(reply) << reply.error().message();
  const std::string layout = outer_ + "/layout";
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"umoci", "init", "--layout", layout},
           {"umoci", "new", "--image", layout + ":x"},
           {"umoci", "raw", "add-layer", "--image", layout + ":x", tar_},
           {"umoci", "unpack", "--image", layout + ":x", outer_ + "/bundle"}}) {
    const auto done = run(command, {.deadline = milliseconds(180'000)});
    ASSERT_TRUE(done.ok()) << done.text();
  }
  EXPECT_EQ(differences(describe(target()), describe(outer_ + "/bundle/rootfs")), "");
}

}  // namespace
}  // namespace nacelle::test
