// Mounts as config.md's table has them, seen from inside through mountinfo and by what they do.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/root/runtime/container_test.h"

namespace nacelle::test {
namespace {

class MountsTest : public ContainerTest {
 protected:
  // The mountinfo of a container whose config has this mount.
  std::string mounts_with(const std::string& mount) {
    const CommandResult result = run_once(Config::minimal().add_mount(mount).guest({"mounts"}));
    EXPECT_TRUE(result.ok()) << mount << result.text();
    return result.out;
  }
};

bool has_option(const std::string& options, std::string_view wanted) {
  return contains(cat(",", options, ","), cat(",", wanted, ","));
}

TEST_F(MountsTest, every_file_system_type_is_mounted) {
  struct Case {
    const char* destination;
    const char* type;
    const char* in_mountinfo;
  };
  constexpr Case cases[] = {
      {"/sys", "sysfs", " - sysfs "},
      {"/mnt/tmp", "tmpfs", " - tmpfs "},
      {"/dev/pts", "devpts", " - devpts "},
      {"/dev/mqueue", "mqueue", " - mqueue "},
      {"/sys/fs/cgroup", "cgroup", " - cgroup2 "},
      {"/mnt/two", "cgroup2", " - cgroup2 "},
  };
  for (const Case& one : cases) {
    Config config = Config::minimal();
    if (std::string_view(one.destination).starts_with("/sys/fs")) {
      config.add_mount(mount_json("/sys", "sysfs", "sysfs"));
    }
    config.add_mount(mount_json(one.destination, one.type, one.type)).guest({"mounts"});
    const CommandResult result = run_once(config);
    EXPECT_CONTAINS(mount_line(result.out, one.destination), one.in_mountinfo);
  }
}

TEST_F(MountsTest, attribute_words_set_what_they_say) {
  struct Case {
    const char* word;
    const char* option;
  };
  constexpr Case cases[] = {{"ro", "ro"},
                            {"nosuid", "nosuid"},
                            {"nodev", "nodev"},
                            {"noexec", "noexec"},
                            {"noatime", "noatime"},
                            {"nodiratime", "nodiratime"},
                            {"relatime", "relatime"},
                            {"nosymfollow", "nosymfollow"}};
  for (const Case& one : cases) {
    const std::string options =
        mount_options(mounts_with(mount_json("/mnt", "tmpfs", "tmpfs", {one.word})), "/mnt");
    EXPECT_TRUE(has_option(options, one.option)) << one.word << ": " << options;
  }
  // strictatime is the absence of the others.
  const std::string strict =
      mount_options(mounts_with(mount_json("/mnt", "tmpfs", "tmpfs", {"strictatime"})), "/mnt");
  EXPECT_EQ(strict, "rw");
}

TEST_F(MountsTest, the_later_of_two_opposite_words_wins) {
  EXPECT_TRUE(has_option(mount_options(mounts_with(mount_json("/mnt", "tmpfs", "tmpfs",
                                                              {"ro", "nosuid", "rw", "suid"})),
                                       "/mnt"),
                         "rw"));
  const std::string options = mount_options(
      mounts_with(mount_json("/mnt", "tmpfs", "tmpfs", {"dev", "nodev", "exec", "noexec"})),
      "/mnt");
  EXPECT_TRUE(has_option(options, "nodev")) << options;
  EXPECT_TRUE(has_option(options, "noexec")) << options;
}

TEST_F(MountsTest, words_of_the_file_system_reach_it) {
  const std::string line = mount_line(
      mounts_with(mount_json("/mnt", "tmpfs", "tmpfs", {"size=64k", "mode=700", "nr_inodes=10"})),
      "/mnt");
  EXPECT_CONTAINS(line, "size=64k");
  EXPECT_CONTAINS(line, "mode=700");
  EXPECT_CONTAINS(line, "nr_inodes=10");
}

TEST_F(MountsTest, words_that_only_undo_a_default_are_accepted) {
  for (const char* word : {"async", "nolazytime", "noiversion", "nomand", "loud", "defaults",
                           "sync", "dirsync", "lazytime", "silent", "iversion", "mand"}) {
    EXPECT_NE(mount_line(mounts_with(mount_json("/mnt", "tmpfs", "tmpfs", {word})), "/mnt"), "")
        << word;
  }
}

TEST_F(MountsTest, an_option_no_file_system_knows_fails_in_the_kernels_words) {
  const CommandResult result =
      run_once(Config::minimal().add_mount(mount_json("/mnt", "tmpfs", "tmpfs", {"sizzle=64k"})));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "'/mnt'");
  EXPECT_CONTAINS(result.err, "sizzle");
}

TEST_F(MountsTest, a_file_system_the_kernel_lacks_is_named) {
  const CommandResult result =
      run_once(Config::minimal().add_mount(mount_json("/mnt", "nosuchfs", "x")));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "nosuchfs");
}

// A directory with a tmpfs and a file below it, on the host.
class BindTest : public MountsTest {
 protected:
  void SetUp() override {
    MountsTest::SetUp();
    ::mkdir("/tmp/volume", 0755);
    ::mkdir("/tmp/volume/sub", 0755);
    write_file("/tmp/volume/file", "content\n");
    ASSERT_EQ(::mount("tmpfs", "/tmp/volume/sub", "tmpfs", 0, nullptr), 0);
    write_file("/tmp/volume/sub/below", "below\n");
  }
  void TearDown() override {
    ::umount2("/tmp/volume/sub", MNT_DETACH);
    run({"rm", "-rf", "/tmp/volume"});
    MountsTest::TearDown();
  }
};

TEST_F(BindTest, bind_takes_the_mount_alone_and_rbind_the_tree) {
  EXPECT_EQ(mount_line(mounts_with(mount_json("/v", "none", "/tmp/volume", {"bind"})), "/v/sub"),
            "");
  const std::string tree = mounts_with(mount_json("/v", "none", "/tmp/volume", {"rbind"}));
  EXPECT_CONTAINS(mount_line(tree, "/v/sub"), "tmpfs");
}

TEST_F(BindTest, the_type_bind_without_the_option_is_a_tree) {
  EXPECT_NE(mount_line(mounts_with(mount_json("/v", "bind", "/tmp/volume")), "/v/sub"), "");
}

TEST_F(BindTest, a_file_is_bound_onto_a_file_that_is_made) {
  const CommandResult result = run_once(
      Config::minimal()
          .add_mount(mount_json("/etc/deep/file", "none", "/tmp/volume/file", {"bind", "ro"}))
          .guest({"cat", "/etc/deep/file", "open", "/etc/deep/file", "w"}));
  EXPECT_EQ(result.out, "content\nopen=EROFS\n") << result.text();
}

TEST_F(BindTest, a_relative_source_is_relative_to_the_bundle) {
  const Bundle bundle(Config::minimal()
                          .add_mount(mount_json("/v", "none", "beside", {"bind"}))
                          .guest({"cat", "/v/name"}));
  ::mkdir((bundle.path() + "/beside").c_str(), 0755);
  write_file(bundle.path() + "/beside/name", "found\n");
  EXPECT_EQ(run_once(bundle).out, "found\n");
}

TEST_F(BindTest, a_source_that_is_not_there_is_named) {
  const CommandResult result =
      run_once(Config::minimal().add_mount(mount_json("/v", "none", "/tmp/nothing", {"bind"})));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "/tmp/nothing");
  EXPECT_CONTAINS(result.err, "'/v'");
}

TEST_F(BindTest, plain_words_change_the_top_and_r_words_the_tree) {
  const std::string top = mounts_with(mount_json("/v", "none", "/tmp/volume", {"rbind", "ro"}));
  EXPECT_TRUE(has_option(mount_options(top, "/v"), "ro"));
  EXPECT_TRUE(has_option(mount_options(top, "/v/sub"), "rw"));
  struct Case {
    const char* word;
    const char* option;
  };
  constexpr Case cases[] = {{"rro", "ro"},
                            {"rnosuid", "nosuid"},
                            {"rnodev", "nodev"},
                            {"rnoexec", "noexec"},
                            {"rnoatime", "noatime"},
                            {"rnodiratime", "nodiratime"},
                            {"rnosymfollow", "nosymfollow"}};
  for (const Case& one : cases) {
    const std::string all =
        mounts_with(mount_json("/v", "none", "/tmp/volume", {"rbind", one.word}));
    for (const char* where : {"/v", "/v/sub"}) {
      EXPECT_TRUE(has_option(mount_options(all, where), one.option))
          << one.word << " " << where << ": " << mount_options(all, where);
    }
  }
}

TEST_F(BindTest, r_words_that_clear_do_so_in_the_whole_tree) {
  ASSERT_EQ(::mount(nullptr, "/tmp/volume/sub", nullptr,
                    MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr),
            0);
  const std::string all = mounts_with(
      mount_json("/v", "none", "/tmp/volume", {"rbind", "rrw", "rsuid", "rdev", "rexec"}));
  const std::string options = mount_options(all, "/v/sub");
  EXPECT_TRUE(has_option(options, "rw")) << options;
  EXPECT_FALSE(has_option(options, "nosuid")) << options;
  EXPECT_FALSE(has_option(options, "nodev")) << options;
}

TEST_F(BindTest, propagation_is_what_was_asked_for) {
  struct Case {
    const char* word;
    const char* tag;  // of mountinfo; "-": none
  };
  // The host's mounts are private here: a slave of nobody is private.
  constexpr Case cases[] = {
      {"private", "- "},      {"rprivate", "- "},           {"shared", "shared:"},
      {"rshared", "shared:"}, {"unbindable", "unbindable"}, {"runbindable", "unbindable"}};
  for (const Case& one : cases) {
    const std::string all =
        mounts_with(mount_json("/v", "none", "/tmp/volume", {"rbind", one.word}));
    const std::string line = mount_line(all, "/v");
    EXPECT_CONTAINS(line, one.tag);
    const bool recursive = one.word[0] == 'r';
    if (one.tag[0] == 'u' || one.tag[0] == 's') {
      EXPECT_EQ(contains(mount_line(all, "/v/sub"), one.tag), recursive) << one.word;
    } else {
      EXPECT_LACKS(line, "shared:");
    }
  }
}

TEST_F(BindTest, a_slave_of_a_shared_mount_gets_what_is_mounted_later) {
  ASSERT_EQ(::mount(nullptr, "/tmp/volume/sub", nullptr, MS_SHARED, nullptr), 0);
  ::mkdir("/tmp/volume/sub/late", 0755);
  const Bundle bundle(
      Config::minimal()
          .add_mount(mount_json("/v", "none", "/tmp/volume/sub", {"rbind", "rslave"}))
          .guest({"wait"}));
  const Live live(bundle);
  ASSERT_EQ(::mount("tmpfs", "/tmp/volume/sub/late", "tmpfs", 0, nullptr), 0);
  EXPECT_CONTAINS(mount_line(live.exec({"/guest", "mounts"}).out, "/v"), "master:");
  EXPECT_NE(mount_line(live.exec({"/guest", "mounts"}).out, "/v/late"), "");
  ::umount2("/tmp/volume/sub/late", MNT_DETACH);
}

TEST_F(BindTest, what_is_mounted_in_a_shared_one_is_the_hosts_too) {
  ASSERT_EQ(::mount(nullptr, "/tmp/volume/sub", nullptr, MS_SHARED, nullptr), 0);
  ::mkdir("/tmp/volume/sub/inner", 0755);
  for (const bool shared : {true, false}) {
    Config config = Config::minimal();
    config.add_mount(
        mount_json("/v", "none", "/tmp/volume/sub", {"rbind", shared ? "rshared" : "rslave"}));
    const std::string rights = json_strings({"CAP_SYS_ADMIN"});
    config.process["capabilities"] =
        cat(R"({"bounding":)", rights, R"(,"permitted":)", rights, R"(,"effective":)", rights, "}");
    const Bundle bundle(config.guest({"wait"}));
    const Live live(bundle);
    const CommandResult mounted = live.exec({"/guest", "mount", "tmpfs", "/v/inner"});
    EXPECT_EQ(::umount2("/tmp/volume/sub/inner", MNT_DETACH) == 0, shared) << mounted.text();
  }
}

TEST_F(BindTest, remount_changes_what_an_earlier_entry_mounted) {
  Config config = Config::minimal();
  config.add_mount(mount_json("/v", "none", "/tmp/volume", {"bind"}));
  config.add_mount(mount_json("/v", "none", "none", {"remount", "bind", "ro", "nosuid"}));
  const std::string options = mount_options(run_once(config.guest({"mounts"})).out, "/v");
  EXPECT_TRUE(has_option(options, "ro")) << options;
  EXPECT_TRUE(has_option(options, "nosuid")) << options;
}

TEST_F(BindTest, nosymfollow_keeps_links_from_being_followed) {
  ::symlink("file", "/tmp/volume/link");
  const CommandResult result =
      run_once(Config::minimal()
                   .add_mount(mount_json("/v", "none", "/tmp/volume", {"bind", "nosymfollow"}))
                   .guest({"open", "/v/link", "r", "open", "/v/file", "r"}));
  EXPECT_EQ(result.out, "open=ELOOP\nopen=0\n") << result.text();
}

TEST_F(BindTest, idmap_shows_other_owners) {
  ASSERT_EQ(::chown("/tmp/volume/file", 1000, 1000), 0);
  const std::string mount =
      R"({"destination":"/v","type":"none","source":"/tmp/volume","options":["bind","idmap"],)"
      R"("uidMappings":[{"containerID":1000,"hostID":5000,"size":1}],)"
      R"("gidMappings":[{"containerID":1000,"hostID":6000,"size":1}]})";
  const CommandResult result =
      run_shell(Config::minimal().add_mount(mount), "stat -c %u:%g /v/file");
  if (contains(result.err, "idmap of"))
    GTEST_SKIP() << "no id-mapped mounts of tmpfs: " << result.err;
  EXPECT_EQ(result.out, "5000:6000\n") << result.text();
}

TEST_F(BindTest, idmap_without_mappings_is_refused) {
  const CommandResult result = run_once(
      Config::minimal().add_mount(mount_json("/v", "none", "/tmp/volume", {"bind", "idmap"})));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "'idmap' needs mappings");
}

TEST_F(MountsTest, tmpcopyup_starts_with_what_it_covers) {
  Bundle bundle(Config::minimal());
  const std::string data = bundle.rootfs() + "/data";
  ::mkdir(data.c_str(), 0755);
  ::mkdir((data + "/a").c_str(), 0755);
  write_file(data + "/a/file", "original\n");
  ::chmod((data + "/a/file").c_str(), 0654);
  ASSERT_EQ(::chown((data + "/a/file").c_str(), 7, 8), 0);
  ::symlink("a/file", (data + "/link").c_str());
  bundle.configure(Config::minimal()
                       .add_mount(mount_json("/data", "tmpfs", "tmpfs", {"tmpcopyup"}))
                       .args({"/bin/sh", "-c",
                              "cat /data/a/file; readlink /data/link; stat -c '%a %u:%g' "
                              "/data/a/file; rm /data/link"}));
  const CommandResult result = run_once(bundle);
  EXPECT_EQ(result.out, "original\na/file\n654 7:8\n") << result.text();
  EXPECT_EQ(::access((data + "/a/file").c_str(), F_OK), 0);
}

TEST_F(MountsTest, tmpcopyup_is_for_tmpfs) {
  const CommandResult result = run_once(
      Config::minimal().add_mount(mount_json("/v", "none", "/tmp", {"bind", "tmpcopyup"})));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "tmpcopyup");
}

// Overlay on a tmpfs, whose upper layers it accepts.
CommandResult run_with_lower_directories(int count, size_t name_length) {
  run({"rm", "-rf", "/tmp/layers"});
  ::mkdir("/tmp/layers", 0755);
  for (const char* name : {"/tmp/layers/upper", "/tmp/layers/work"}) ::mkdir(name, 0755);
  std::string lower;
  for (int i = 0; i < count; ++i) {
    const std::string number = std::to_string(i);
    const std::string layer = cat("/tmp/layers/", std::string(name_length, 'x'), number);
    ::mkdir(layer.c_str(), 0755);
    write_file(cat(layer, "/file", number), number + "\n");
    lower += cat(lower.empty() ? "" : ":", layer);
  }
  return run_shell(
      Config::minimal().add_mount(mount_json(
          "/merged", "overlay", "overlay",
          {cat("lowerdir=", lower), "upperdir=/tmp/layers/upper", "workdir=/tmp/layers/work"})),
      cat("cat /merged/file0 /merged/file", count - 1, "; echo new > /merged/new"));
}

TEST_F(MountsTest, overlay_with_a_short_list) {
  const CommandResult result = run_with_lower_directories(2, 4);
  EXPECT_EQ(result.out, "0\n1\n") << result.text();
  EXPECT_EQ(read_file("/tmp/layers/upper/new"), "new\n");
}

TEST_F(MountsTest, overlay_with_a_list_longer_than_a_parameter) {
  const CommandResult result = run_with_lower_directories(10, 60);
  EXPECT_EQ(result.out, "0\n9\n") << result.text();
  EXPECT_EQ(read_file("/tmp/layers/upper/new"), "new\n");
}

TEST_F(MountsTest, overlay_with_a_list_longer_than_a_page) {
  const CommandResult result = run_with_lower_directories(50, 100);
  // Kernels before 6.8 take a page of options and no more: then the reason is named.
  if (result.exit_code != 0) {
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_CONTAINS(result.err, "'/merged'");
    GTEST_SKIP() << "this kernel takes one page of options only: " << result.err;
  }
  EXPECT_EQ(result.out, "0\n49\n") << result.text();
}

TEST_F(MountsTest, the_root_can_be_read_only) {
  Config config = Config::minimal();
  config.root["readonly"] = "true";
  const Bundle bundle(config.guest({"write", "/file", "x", "write", "/dev/file", "x"}));
  EXPECT_EQ(run_once(bundle).out, "write=EROFS\nwrite=0\n");
  EXPECT_TRUE(write_file(bundle.rootfs() + "/file", "the host still can"));
}

TEST_F(MountsTest, rootfs_propagation_is_what_was_asked_for) {
  struct Case {
    const char* word;
    const char* tag;
  };
  for (const Case& one :
       {Case{"shared", "shared:"}, Case{"rshared", "shared:"}, Case{"unbindable", "unbindable"},
        Case{"private", "-"}, Case{"rprivate", "-"}, Case{"slave", "-"}, Case{"rslave", "-"}}) {
    Config config = Config::minimal().guest({"mounts"});
    config.for_linux["rootfsPropagation"] = json_string(one.word);
    const CommandResult result = run_once(config);
    EXPECT_TRUE(result.ok()) << one.word << result.text();
    const std::string line = mount_line(result.out, "/");
    EXPECT_CONTAINS(line, one.tag);
    if (one.tag[0] == '-') EXPECT_LACKS(line, "shared:");
  }
}

TEST_F(MountsTest, masked_and_readonly_paths_hold) {
  Config config = Config::minimal();
  config.for_linux["maskedPaths"] =
      json_strings({"/proc/keys", "/secret", "/secret-dir", "/second-dir", "/absent"});
  config.for_linux["readonlyPaths"] = json_strings({"/proc/sys", "/etc", "/absent"});
  Bundle bundle(config.args({"/bin/sh", "-c",
                             "cat /secret; ls /secret-dir /second-dir; wc -c < /proc/keys; "
                             "/guest write /secret-dir/x x write /etc/x x "
                             "write /proc/sys/kernel/hostname x"}));
  write_file(bundle.rootfs() + "/secret", "secret\n");
  for (const char* name : {"/secret-dir", "/second-dir"}) {
    ::mkdir((bundle.rootfs() + name).c_str(), 0755);
    write_file(cat(bundle.rootfs(), name, "/inside"), "secret\n");
  }
  EXPECT_EQ(run_once(bundle).out,
            "/second-dir:\n\n/secret-dir:\n0\nwrite=EROFS\nwrite=EROFS\nwrite=EROFS\n");
}

TEST_F(MountsTest, mount_points_are_made_through_links_that_stay_inside) {
  Bundle bundle(
      Config::minimal().add_mount(mount_json("/link/deep", "tmpfs", "tmpfs")).guest({"mounts"}));
  ::mkdir((bundle.rootfs() + "/var/target").c_str(), 0755);
  ::symlink("/var/target", (bundle.rootfs() + "/link").c_str());
  const CommandResult result = run_once(bundle);
  EXPECT_CONTAINS(mount_line(result.out, "/var/target/deep"), "tmpfs");
  EXPECT_TRUE(result.ok()) << result.text();
}

TEST_F(MountsTest, the_docker_mounts_are_all_there) {
  const CommandResult result = run_once(Config::docker_like().guest({"mounts"}));
  for (const char* where : {"/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue",
                            "/dev/shm", "/proc/bus", "/proc/sys"}) {
    EXPECT_NE(mount_line(result.out, where), "") << where << result.text();
  }
  EXPECT_TRUE(has_option(mount_options(result.out, "/sys/fs/cgroup"), "ro"));
  EXPECT_TRUE(has_option(mount_options(result.out, "/proc/sys"), "ro"));
}

TEST_F(MountsTest, without_a_cgroup_namespace_the_containers_own_group_is_bound) {
  Config config = Config::minimal();
  config.namespaces({"pid", "network", "ipc", "uts", "mount"});
  config.add_mount(mount_json("/sys", "sysfs", "sysfs"));
  config.add_mount(mount_json("/sys/fs/cgroup", "cgroup", "cgroup", {"ro"}));
  const CommandResult result =
      run_shell(config, "cat /sys/fs/cgroup/cgroup.procs; ls /sys/fs/cgroup/cgroup.kill");
  EXPECT_CONTAINS(result.out, "1\n");
  EXPECT_CONTAINS(result.out, "cgroup.kill");
}

TEST_F(MountsTest, no_pivot_enters_the_root_by_moving_it) {
  const Bundle bundle(Config::minimal().guest({"open", "/etc/passwd", "r", "cwd"}));
  const CommandResult result = run_once(bundle, {}, {"--no-pivot"});
  EXPECT_EQ(result.out, "open=0\ncwd=/\n") << result.text();
}

// --- devices ------------------------------------------------------------------------------------

TEST_F(MountsTest, default_devices_and_links_are_there) {
  const CommandResult result = run_shell(
      Config::minimal(),
      "for d in null zero full random urandom tty; do stat -c '%n %t,%T %a %F' /dev/$d; done; "
      "for l in fd stdin stdout stderr core ptmx; do readlink /dev/$l; done");
  EXPECT_EQ(result.out,
            "/dev/null 1,3 666 character special file\n/dev/zero 1,5 666 character special file\n"
            "/dev/full 1,7 666 character special file\n/dev/random 1,8 666 character special file\n"
            "/dev/urandom 1,9 666 character special file\n/dev/tty 5,0 666 character special file\n"
            "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n/proc/kcore\n"
            "pts/ptmx\n")
      << result.text();
}

TEST_F(MountsTest, devices_of_every_type_have_their_mode_and_owner) {
  Config config = Config::minimal();
  config.for_linux["devices"] =
      R"([{"type":"c","path":"/dev/one","major":1,"minor":5,"fileMode":416,"uid":3,"gid":4},)"
      R"({"type":"b","path":"/srv/deep/two","major":7,"minor":200,"fileMode":384},)"
      R"({"type":"p","path":"/dev/three","fileMode":438},)"
      R"({"type":"u","path":"/dev/sub/four","major":1,"minor":3}])";
  const CommandResult result = run_shell(
      config, "stat -c '%n %t,%T %a %u:%g %F' /dev/one /srv/deep/two /dev/three /dev/sub/four");
  EXPECT_EQ(result.out,
            "/dev/one 1,5 640 3:4 character special file\n"
            "/srv/deep/two 7,c8 600 0:0 block special file\n"
            "/dev/three 0,0 666 0:0 fifo\n"
            "/dev/sub/four 1,3 666 0:0 character special file\n")
      << result.text();
}

TEST_F(MountsTest, a_node_that_is_there_already_must_be_the_same) {
  Config config = Config::minimal();
  config.for_linux["devices"] = R"([{"type":"c","path":"/srv/node","major":1,"minor":3}])";
  Bundle bundle(config.guest({"open", "/srv/node", "w"}));
  ::mkdir((bundle.rootfs() + "/srv").c_str(), 0755);
  const std::string node = bundle.rootfs() + "/srv/node";
  ASSERT_EQ(::mknod(node.c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  EXPECT_TRUE(run_once(bundle).ok());
  ::unlink(node.c_str());
  ASSERT_EQ(::mknod(node.c_str(), S_IFCHR | 0666, makedev(1, 5)), 0);
  const CommandResult other = run_once(bundle);
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_CONTAINS(other.err, "/srv/node");
  ::unlink(node.c_str());
  write_file(node, "a file");
  EXPECT_EQ(run_once(bundle).exit_code, 1);
}

}  // namespace
}  // namespace nacelle::test
