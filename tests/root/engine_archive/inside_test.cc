// Goal: files go in and out of a container as `docker cp` moves them, and nothing of the host's is
// read or written on the way. Method: a process with a root of its own, one behaviour a test.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>

#include "fixture.h"

namespace nacelle::test {
namespace {

using Listing = std::vector<std::pair<std::string, std::string>>;

void put(const char* path, const char* text) {
  if (!write_file(path, text)) ::_exit(98);
}
void link(const char* target, const char* path) {
  if (::symlink(target, path) != 0) ::_exit(97);
}

class Inside : public InsideTest {
 protected:
  std::string text_of(const std::string& path) { return read_file(host_path(path)); }
  struct stat status_of(const std::string& path) {
    struct stat status{};
    EXPECT_EQ(::lstat(host_path(path).c_str(), &status), 0) << path;
    return status;
  }
  std::string complaint(const Result<image::FileStat>& result) {
    return result ? "ok" : result.error().message();
  }
};

TEST_F(Inside, files_are_described) {
  live([] {
    put("/etc/file", "12345");
    ::chmod("/etc/file", 04751);
    link("/etc/file", "/tmp/link");
    link("../nowhere/../x", "/tmp/broken");
    link("/etc", "/tmp/directory");
    link("loop", "/tmp/loop");
  });
  const auto file = stat("/etc/file");
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(file->name, "file");
  EXPECT_EQ(file->size, 5u);
  EXPECT_EQ(file->mode, static_cast<uint32_t>(S_IFREG) | 04751);
  EXPECT_EQ(file->link_target, "");
  EXPECT_EQ(stat("etc/./file")->name, "file");
  EXPECT_EQ(stat("/etc/../../../etc/file")->size, 5u);
  const auto link = stat("/tmp/link");
  EXPECT_TRUE(S_ISLNK(link->mode));
  EXPECT_EQ(link->link_target, "/etc/file");
  EXPECT_EQ(stat("/tmp/broken")->link_target, "/x");
  EXPECT_TRUE(S_ISLNK(stat("/tmp/directory")->mode));
  EXPECT_EQ(stat("/tmp/directory")->link_target, "/etc");
  EXPECT_TRUE(S_ISDIR(stat("/tmp/directory/")->mode));
  EXPECT_EQ(stat("/tmp/directory/")->name, "directory");
  EXPECT_TRUE(S_ISDIR(stat("/")->mode));
  EXPECT_FALSE(stat("/tmp/loop"));
  for (const char* missing : {"/nope", "/etc/nope", "/nope/.", "/etc/nope/x"}) {
    const auto none = stat(missing);
    ASSERT_FALSE(none) << missing;
    EXPECT_EQ(none.error().kind(), Kind::NotFound) << missing << none.error().message();
  }
  EXPECT_FALSE(stat("/etc/file/"));
  EXPECT_FALSE(stat("/etc/file/x"));
}

TEST_F(Inside, files_come_out_under_their_names) {
  live([] {
    put("/etc/a", "A");
    ::mkdir("/etc/sub", 0755);
    put("/etc/sub/b", "B");
    link("/etc/a", "/etc/link");
    link("/etc", "/tmp/etc");
    ::mkfifo("/tmp/fifo", 0600);
  });
  EXPECT_EQ(read_archive_text(*read("/etc/a")), (Listing{{"a", "A"}}));
  EXPECT_EQ(read_archive_text(*read("/etc")), (Listing{{"etc", "/"},
                                                       {"etc/a", "A"},
                                                       {"etc/link", "-> /etc/a"},
                                                       {"etc/sub", "/"},
                                                       {"etc/sub/b", "B"}}));
  EXPECT_EQ(read_archive_text(*read("/etc/sub/.")), (Listing{{".", "/"}, {"./b", "B"}}));
  EXPECT_EQ(read_archive_text(*read("/tmp/etc")), (Listing{{"etc", "-> /etc"}}));
  EXPECT_EQ(read_archive_text(*read("/tmp/etc/"))[0], (Listing{{"etc", "/"}})[0]);
  EXPECT_EQ(read_archive_text(*read("/tmp/fifo")), (Listing{{"fifo", ""}}));
  EXPECT_EQ(read_archive_text(*read("/volume/kept")), (Listing{{"kept", "of the volume"}}));
  EXPECT_FALSE(read("/nope"));
}

TEST_F(Inside, the_kernels_files_are_not_there) {
  live([] {
    ::mount("tmpfs", "/dev", "tmpfs", 0, nullptr);
    ::mknod("/dev/null", S_IFCHR, makedev(1, 3));
  });
  EXPECT_FALSE(read("/proc/self/status"));
  EXPECT_FALSE(read("/proc/1/root/etc"));
  EXPECT_FALSE(stat("/dev/null"));
  EXPECT_EQ(read_archive_text(*read("/proc")), (Listing{{"proc", "/"}}));
  EXPECT_FALSE(write("/proc/sys/kernel", make_archive({file_entry("core_pattern", "|/evil")})));
}

TEST_F(Inside, links_lead_nowhere_outside) {
  const std::string secret = outer_ + "/canary";
  live([&] {
    link(secret.c_str(), "/tmp/absolute");
    link(cat("../../../../../../..", secret).c_str(), "/tmp/relative");
    link("/proc/1/root", "/tmp/magic");
    link("/proc/self/fd/3", "/tmp/descriptor");
    link(outer_.c_str(), "/tmp/host");
  });
  EXPECT_EQ(read_archive_text(*read("/tmp/absolute"))[0].second, cat("-> ", secret));
  EXPECT_FALSE(read("/tmp/host/canary"));
  EXPECT_FALSE(read("/tmp/magic/etc"));
  EXPECT_FALSE(stat("/tmp/descriptor/"));
  const std::string evil = make_archive({file_entry("canary", "evil")});
  EXPECT_FALSE(write("/tmp/host", evil));
  EXPECT_FALSE(write(cat("/../../..", outer_), evil));
}

TEST_F(Inside, what_goes_in_is_as_the_archive_says) {
  live([] { put("/etc/old", "old"); });
  ArchivedFile owned = file_entry("d/f", "content", 06755);
  owned.entry.user = 1234;
  owned.entry.group = 4321;
  owned.entry.xattrs = {{"user.note", "kept"}, {"trusted.overlay.opaque", "y"}};
  ArchivedFile node = file_entry("n", "");
  node.entry.type = codec::tar::Type::CharacterDevice;
  node.entry.device_major = 1;
  node.entry.device_minor = 3;
  ArchivedFile fifo = file_entry("p", "");
  fifo.entry.type = codec::tar::Type::Fifo;
  const auto done =
      write("/etc", make_archive({directory_entry("d", 01750), owned, symlink_entry("s", "../out"),
                                  hard_link_entry("h", "d/f"), node, fifo, file_entry("old", "new"),
                                  file_entry("implied/x/y", "Y")}));
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(done->entries, 8u);
  EXPECT_EQ(text_of("/etc/d/f"), "content");
  const struct stat status = status_of("/etc/d/f");
  EXPECT_EQ(status.st_mode & 07777, 06755u);
  EXPECT_EQ(status.st_uid, 1234u);
  EXPECT_EQ(status.st_gid, 4321u);
  EXPECT_EQ(status.st_mtim.tv_sec, 1'000'000'000);
  EXPECT_EQ(status.st_nlink, 2u);
  EXPECT_EQ(status_of("/etc/d").st_mode & 07777, 01750u);
  EXPECT_EQ(status_of("/etc/d").st_mtim.tv_sec, 1'000'000'000);
  EXPECT_TRUE(S_ISLNK(status_of("/etc/s").st_mode));
  EXPECT_TRUE(S_ISCHR(status_of("/etc/n").st_mode));
  EXPECT_TRUE(S_ISFIFO(status_of("/etc/p").st_mode));
  EXPECT_EQ(text_of("/etc/old"), "new");
  EXPECT_EQ(text_of("/etc/implied/x/y"), "Y");
  char value[16];
  EXPECT_LT(::lgetxattr(host_path("/etc/d/f").c_str(), "trusted.overlay.opaque", value, 16), 0);
}

TEST_F(Inside, owners_can_be_given) {
  live([] {});
  image::WritePathRequest request;
  request.has_owner = true;
  request.uid = 7;
  request.gid = 8;
  ASSERT_TRUE(
      write("/tmp", make_archive({file_entry("a/b", "x"), symlink_entry("s", "a")}), request));
  EXPECT_EQ(status_of("/tmp/a/b").st_uid, 7u);
  EXPECT_EQ(status_of("/tmp/a").st_gid, 8u);
  EXPECT_EQ(status_of("/tmp/s").st_uid, 7u);
}

TEST_F(Inside, directories_and_files_do_not_replace_each_other_unasked) {
  live([] {
    ::mkdir("/tmp/d", 0755);
    put("/tmp/d/inner", "inner");
    put("/tmp/f", "f");
  });
  image::WritePathRequest keep;
  keep.keep_kinds = true;
  const auto over_directory = write("/tmp", make_archive({file_entry("d", "x")}), keep);
  ASSERT_FALSE(over_directory);
  EXPECT_EQ(over_directory.error().message(),
            "cannot overwrite directory \"d\" with non-directory \"d\"");
  EXPECT_EQ(over_directory.error().kind(), Kind::Invalid);
  const auto over_file = write("/tmp", make_archive({directory_entry("f")}), keep);
  ASSERT_FALSE(over_file);
  EXPECT_EQ(over_file.error().message(),
            "cannot overwrite non-directory \"f\" with directory \"f\"");
  EXPECT_TRUE(write("/tmp", make_archive({directory_entry("d"), file_entry("d/new", "n")}), keep));
  EXPECT_EQ(text_of("/tmp/d/inner"), "inner");
  EXPECT_TRUE(write("/tmp", make_archive({file_entry("d", "x"), directory_entry("f")})));
  EXPECT_EQ(text_of("/tmp/d"), "x");
  EXPECT_TRUE(S_ISDIR(status_of("/tmp/f").st_mode));
}

TEST_F(Inside, what_goes_in_follows_no_link_at_its_end) {
  live([] {
    put("/etc/target", "target");
    link("/etc/target", "/tmp/link");
    link("/etc", "/tmp/way");
  });
  ASSERT_TRUE(write("/tmp", make_archive({file_entry("link", "mine")})));
  EXPECT_EQ(text_of("/etc/target"), "target");
  EXPECT_TRUE(S_ISREG(status_of("/tmp/link").st_mode));
  // On the way links are the container's own business.
  ASSERT_TRUE(write("/tmp", make_archive({file_entry("way/there", "x")})));
  EXPECT_EQ(text_of("/etc/there"), "x");
  ASSERT_TRUE(write("/tmp/way", make_archive({file_entry("too", "y")})));
  EXPECT_EQ(text_of("/etc/too"), "y");
  EXPECT_FALSE(write("/etc/target", make_archive({file_entry("x", "")})));
  EXPECT_EQ(write("/etc/target", make_archive({file_entry("x", "")})).error().message(),
            "extraction point is not a directory");
}

TEST_F(Inside, names_do_not_lead_out_of_the_place) {
  live([] { put("/etc/passwd", "root"); });
  for (const char* name : {"../etc/passwd", "a/../../etc/passwd", ".."}) {
    const auto result = write("/tmp", make_archive({file_entry(name, "evil")}));
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.error().kind(), Kind::Invalid) << name;
  }
  EXPECT_FALSE(write("/tmp", make_archive({hard_link_entry("h", "../etc/passwd")})));
  EXPECT_EQ(text_of("/etc/passwd"), "root");
  ASSERT_TRUE(write("/tmp", make_archive({file_entry("/abs", "x")})));
  EXPECT_EQ(text_of("/tmp/abs"), "x");
}

TEST_F(Inside, read_only_places_stay_as_they_are) {
  live([] {});
  const auto result = write("/fixed", make_archive({file_entry("x", "y")}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind(), Kind::Denied);
  EXPECT_EQ(result.error().message(), "the volume or container rootfs is marked as read-only");
  EXPECT_TRUE(write("/volume", make_archive({file_entry("x", "y")})));
  EXPECT_EQ(read_file(outer_ + "/volume/x"), "y");
}

TEST_F(Inside, what_is_no_archive_is_refused) {
  live([] {});
  EXPECT_FALSE(write("/tmp", "this is not a tar archive, but it is long enough to be a header"));
  const std::string whole = make_archive({file_entry("f", std::string(5000, 'x'))});
  EXPECT_FALSE(write("/tmp", std::string_view(whole).substr(0, 3000)));
  EXPECT_TRUE(write("/tmp", ""));
}

TEST_F(Inside, an_export_is_the_root_without_its_mounts) {
  live([] { put("/etc/a", "A"); });
  const auto archive = export_all();
  ASSERT_TRUE(archive) << archive.error().message();
  const Listing listing = read_archive_text(*archive);
  const auto has = [&](const char* name) {
    for (const auto& [each, content] : listing) {
      if (each == name) return true;
    }
    return false;
  };
  EXPECT_TRUE(has("etc/a"));
  EXPECT_TRUE(has("volume"));
  EXPECT_FALSE(has("volume/kept"));
  EXPECT_TRUE(has("proc"));
  EXPECT_FALSE(has("proc/1"));
}

TEST_F(Inside, paused_containers_can_be_read) {
  live([] { put("/etc/a", "A"); });
  ASSERT_EQ(::kill(pid_, SIGSTOP), 0);
  EXPECT_EQ(read_archive_text(*read("/etc/a")), (Listing{{"a", "A"}}));
}

TEST_F(Inside, nobody_is_entered_who_has_ended) {
  live([] {});
  ::kill(pid_, SIGKILL);
  ASSERT_TRUE(eventually([&] { return read_file(cat("/proc/", pid_, "/stat")).contains(") Z "); }));
  EXPECT_FALSE(stat("/etc"));
}

TEST_F(Inside, stopped_ones_have_their_volumes) {
  run({"mkdir", "-p", outer_ + "/tree/etc", outer_ + "/tree/data", outer_ + "/tree/tmp"});
  ASSERT_EQ(::symlink("/tmp", (outer_ + "/tree/evil").c_str()), 0);
  const Fd tree(::open((outer_ + "/tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  image::WorkerOptions options;
  options.kind = image::WorkerKind::Files;
  options.root = &tree;
  options.mounts = {{outer_ + "/volume", "/data", false},
                    {outer_ + "/volume", "/new/place", true},
                    {outer_ + "/canary", "/etc/one-file", true},
                    {outer_ + "/no-such", "/etc/nothing", false},
                    {outer_ + "/volume", "/evil/inside", false}};
  const auto ask = [&](auto request, const Fd* fd) {
    auto worker = image::Worker::start(*loop_, options);
    EXPECT_TRUE(worker);
    std::vector<const Fd*> descriptors;
    if (fd != nullptr) descriptors.push_back(fd);
    return run_request(*worker, std::move(request), descriptors);
  };
  const auto kept = ask(image::StatPathRequest{.path = "/data/kept"}, nullptr);
  ASSERT_TRUE(kept) << kept.error().message();
  EXPECT_TRUE(ask(image::StatPathRequest{.path = "/new/place/kept"}, nullptr));
  EXPECT_EQ(ask(image::StatPathRequest{.path = "/etc/one-file"}, nullptr)->size, 5u);
  EXPECT_FALSE(ask(image::StatPathRequest{.path = "/etc/nothing"}, nullptr));
  EXPECT_TRUE(ask(image::StatPathRequest{.path = "/evil/inside/kept"}, nullptr));
  struct stat status{};
  EXPECT_LT(::stat("/tmp/inside", &status), 0);  // the link was the container's
}

}  // namespace
}  // namespace nacelle::test
