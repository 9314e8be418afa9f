// Attacks on a container's root: images and volumes whose files are not what their names say.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <sstream>

#include "base/text.h"
#include "tests/root/security/attack.h"

namespace nacelle::test {
namespace {

namespace fs = std::filesystem;

// A directory of the host's that must stay as it is.
class Root : public Attack {
 protected:
  void SetUp() override {
    Attack::SetUp();
    fs::create_directories("/tmp/host/self/attr");
    for (const char* name : {"ptmx", "null", "console", "file", "self/attr/exec", "kcore"}) {
      ASSERT_TRUE(write_file(cat("/tmp/host/", name), "host"));
    }
    before_ = snapshot("/tmp/host");
    mounts_ = read_file("/proc/self/mounts");
  }
  void TearDown() override {
    EXPECT_EQ(snapshot("/tmp/host"), before_);
    EXPECT_EQ(read_file("/proc/self/mounts"), mounts_);
    fs::remove_all("/tmp/host");
    Attack::TearDown();
  }
  static void replace(const ArmedBundle& bundle, const std::string& name, const char* target) {
    fs::remove_all(bundle.rootfs() + name);
    fs::create_symlink(target, bundle.rootfs() + name);
  }

 private:
  std::string before_;
  std::string mounts_;
};

// --- /proc, /sys, /dev that are links -----------------------------------------------------------

constexpr const char* link_targets[] = {
    "/tmp/host", "../../../../tmp/host", "/etc", "/proc/self/root/tmp", "/missing", "/"};

TEST_F(Root, CVE_2019_19921_an_image_whose_proc_is_a_link_is_refused) {
  for (const char* target : link_targets) {
    Box box("proc-link", Config::docker_like().guest({"caps"}));
    replace(box.bundle(), "/proc", target);
    const CommandResult ran = box.run();
    EXPECT_FALSE(ran.ok()) << target << ran.text();
    EXPECT_EQ(ran.out, "") << target;
  }
}

TEST_F(Root, CVE_2019_19921_an_image_whose_sys_is_a_link_is_refused) {
  for (const char* target : link_targets) {
    Box box("sys-link", Config::docker_like().guest({"caps"}));
    replace(box.bundle(), "/sys", target);
    const CommandResult ran = box.run();
    EXPECT_FALSE(ran.ok()) << target << ran.text();
    EXPECT_EQ(ran.out, "") << target;
  }
}

TEST_F(Root, CVE_2026_41579_an_image_whose_dev_is_a_link_is_refused) {
  for (const char* target : link_targets) {
    for (const bool mounted : {true, false}) {
      for (const bool terminal : {true, false}) {
        Config config = mounted ? Config::docker_like() : docker_without("/dev");
        config.guest({"caps"});
        if (terminal) config.process["terminal"] = "true";
        Box box("dev-link", config);
        replace(box.bundle(), "/dev", target);
        const CommandResult ran = box.run();
        EXPECT_FALSE(ran.ok()) << target << mounted << terminal << ran.text();
        EXPECT_EQ(ran.out, "") << target << mounted << terminal;
      }
    }
  }
}

// CVE-2026-88264, CVE-2026-88265: no mount on /dev, and what is in the image's /dev lies.
TEST_F(Root, CVE_2026_88264_an_images_own_dev_leads_nowhere) {
  const std::string host_file = "/tmp/host/file";
  Box plain("plain", docker_without("/dev").args({"/bin/stat", "-c", "%t:%T", "/dev/null"}));
  EXPECT_EQ(plain.run().out, "1:3\n") << "an empty /dev is filled";
  for (const bool terminal : {true, false}) {
    for (const char* name : {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console",
                             "stdin", "stdout", "stderr", "fd", "pts", "core"}) {
      Config config = docker_without("/dev");
      config.guest({"exit", "0"});
      if (terminal) config.process["terminal"] = "true";
      Box box("own-dev", config);
      replace(box.bundle(), cat("/dev/", name), host_file.c_str());
      const CommandResult ran = box.run();
      EXPECT_FALSE(ran.timed_out) << name << terminal;
      // A device that the image has replaced is never taken for the device.
      const bool device = std::string_view("null zero full random urandom tty").find(name) !=
                          std::string_view::npos;
      if (device) EXPECT_FALSE(ran.ok()) << name << terminal << ran.text();
    }
  }
}

TEST_F(Root, CVE_2026_88264_a_device_of_another_kind_is_not_taken_for_the_one_asked_for) {
  struct Case {
    mode_t mode;
    dev_t device;
  };
  for (const Case& one : {Case{S_IFREG | 0666, 0}, Case{S_IFCHR | 0666, makedev(1, 11)},
                          Case{S_IFBLK | 0666, makedev(1, 3)}, Case{S_IFIFO | 0666, 0}}) {
    Box box("own-null", docker_without("/dev").guest({"exit", "0"}));
    const std::string null = box.bundle().rootfs() + "/dev/null";
    ASSERT_EQ(::mknod(null.c_str(), one.mode, one.device), 0);
    const CommandResult ran = box.run();
    EXPECT_FALSE(ran.ok()) << one.mode << ran.text();
    EXPECT_NE(ran.err.find("another file is there"), std::string::npos) << ran.text();
  }
}

// --- what may be laid over procfs ---------------------------------------------------------------

TEST_F(Root, CVE_2019_16884_nothing_is_mounted_on_or_under_proc) {
  const std::string source = "/tmp/host";
  const std::string file = "/tmp/host/file";
  const std::vector<std::string> wrong = {
      mount_json("/proc", "tmpfs", "tmpfs"),
      mount_json("/proc/", "tmpfs", "tmpfs"),
      mount_json("//proc", "tmpfs", "tmpfs"),
      mount_json("/./proc", "tmpfs", "tmpfs"),
      mount_json("/x/../proc", "tmpfs", "tmpfs"),
      bind_json(source, "/proc"),
      bind_json("/tmp", "/proc"),
      bind_json("/sys", "/proc"),
      bind_json("/proc/sys", "/proc"),
      bind_json("/proc/1", "/proc"),
      bind_json(file, "/proc/self/attr/exec"),
      bind_json(file, "/proc/self/attr/../attr/current"),
      bind_json(source, "/proc/self/attr"),
      bind_json(source, "/proc/sys"),
      bind_json(source, "/proc/sys/kernel"),
      bind_json(file, "/proc/sysrq-trigger"),
      bind_json(file, "/proc/1/attr/exec"),
      bind_json(file, "/x/../proc/kcore"),
      mount_json("/proc/acpi", "tmpfs", "tmpfs"),
      mount_json("/proc/self", "tmpfs", "tmpfs"),
      mount_json("/proc/bus", "proc", "proc"),
  };
  for (const std::string& mount : wrong) {
    Config config = Config::docker_like().guest({"caps"});
    config.add_mount(mount);
    Box box("on-proc", config);
    const CommandResult ran = box.run();
    EXPECT_FALSE(ran.ok()) << mount << ran.text();
    EXPECT_EQ(ran.out, "") << mount;
  }
}

// The same through links in the image, which no comparison of paths can see.
TEST_F(Root, CVE_2023_27561_links_of_the_image_do_not_lead_mounts_onto_proc) {
  for (const char* target : {"/proc", "/proc/self/attr", "../proc/sys", "/proc/1",
                             "/proc/self/task", "/proc/self/fd", "/proc/bus"}) {
    for (const bool through : {true, false}) {
      Config config = Config::docker_like().guest({"caps"});
      config.add_mount(bind_json("/tmp/host", through ? "/vol/x" : "/vol"));
      Box box("to-proc", config);
      fs::create_symlink(through ? "/" : target, box.bundle().rootfs() + "/vol");
      if (through) fs::create_symlink(target, box.bundle().rootfs() + "/x");
      const CommandResult ran = box.run();
      EXPECT_FALSE(ran.ok()) << target << ran.text();
      EXPECT_EQ(ran.out, "") << target;
    }
  }
}

TEST_F(Root, CVE_2023_28642_the_few_files_that_may_be_laid_over_proc_are) {
  Config config =
      Config::docker_like().guest({"cat", "/proc/uptime", "cat", "/proc/self/attr/current"});
  config.add_mount(bind_json("/tmp/host/file", "/proc/uptime"));
  Box box("lxcfs", config);
  const CommandResult ran = box.run();
  EXPECT_TRUE(ran.ok()) << ran.text();
  EXPECT_TRUE(ran.out.starts_with("host")) << ran.text();
}

// Two containers, each with the other's /proc within reach: neither gets it as its own.
TEST_F(Root, CVE_2023_27561_proc_is_of_its_own_pid_namespace) {
  Box first("first", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(first.start().ok());
  const std::string others = cat("/proc/", first.pid(), "/root/proc");
  for (const std::string& source : {others, cat("/proc/", first.pid()), std::string("/proc/sys")}) {
    Config config = Config::docker_like().guest({"status", "NSpid", "cat", "/proc/1/comm"});
    config.add_mount(bind_json(source, "/proc/self"));
    Box second("second", config);
    EXPECT_FALSE(second.run().ok()) << source;
  }
}

// --- files that we make in the image -------------------------------------------------------------

TEST_F(Root, CVE_2025_24965_what_is_made_for_a_mount_is_made_inside_the_root) {
  for (const char* target :
       {"/tmp/host/made", "../../../../tmp/host/made", "/proc/self/root/tmp/host/made"}) {
    for (const char* place : {"/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/run/x"}) {
      Config config = Config::docker_like().guest({"cat", place});
      config.add_mount(bind_json("/tmp/host/file", place));
      Box box("files", config);
      fs::remove_all(box.bundle().rootfs() + place);
      fs::create_symlink(target, box.bundle().rootfs() + place);
      const CommandResult ran = box.run();
      EXPECT_FALSE(fs::exists("/tmp/host/made")) << place << target << ran.text();
    }
  }
}

TEST_F(Root, CVE_2025_24965_directories_that_are_links_stay_inside_the_root) {
  for (const char* target : {"/tmp/host", "../../../../../tmp/host", "/"}) {
    Config config = Config::docker_like().guest({"cat", "/vol/deep/file"});
    config.add_mount(bind_json("/tmp/host/file", "/vol/deep/file"));
    config.add_mount(mount_json("/vol/new/directory", "tmpfs", "tmpfs"));
    Box box("parents", config);
    fs::create_symlink(target, box.bundle().rootfs() + "/vol");
    const CommandResult ran = box.run();
    if (ran.ok()) EXPECT_EQ(ran.out, "host") << target;
    EXPECT_FALSE(fs::exists("/deep")) << target;
    EXPECT_FALSE(fs::exists("/new")) << target;
  }
}

TEST_F(Root, CVE_2024_45310_a_working_directory_is_made_inside_the_root) {
  for (const char* target : {"/tmp/host", "../../../../../tmp/host"}) {
    Config config = Config::docker_like().guest({"cwd"});
    config.process["cwd"] = "\"/work/made/here\"";
    Box box("cwd-made", config);
    fs::create_symlink(target, box.bundle().rootfs() + "/work");
    (void)box.run();
    EXPECT_FALSE(fs::exists("/tmp/host/made")) << target;
  }
}

TEST_F(Root, CVE_2024_45310_devices_are_made_inside_the_root) {
  Config config = Config::docker_like().guest({"exit", "0"});
  config.for_linux["devices"] =
      R"([{"path":"/lib/made","type":"c","major":1,"minor":5,"fileMode":438,"uid":7,"gid":7},)"
      R"({"path":"/dev/../lib/too","type":"c","major":1,"minor":5,"uid":7,"gid":7}])";
  for (const char* target : {"/tmp/host", "../../../../../tmp/host"}) {
    Box box("nodes", config);
    fs::create_symlink(target, box.bundle().rootfs() + "/lib");
    (void)box.run();
    EXPECT_FALSE(fs::exists("/tmp/host/made")) << target;
    EXPECT_FALSE(fs::exists("/tmp/host/too")) << target;
  }
}

// CVE-2021-43784: lengths that overflow sixteen bits, or a path's own bound.
TEST_F(Root, CVE_2021_43784_long_paths_are_refused_or_meant) {
  for (const size_t length : {4095ul, 4096ul, 65535ul, 65536ul, 65537ul, 131073ul, 1000000ul}) {
    std::string deep;
    while (deep.size() < length) deep += "/d";
    deep.resize(length);
    for (const std::string& mount :
         {mount_json(deep, "tmpfs", "tmpfs"), bind_json(deep, "/vol"),
          mount_json("/vol", "tmpfs", std::string(length, 's')),
          mount_json("/vol", "tmpfs", "tmpfs", {"mode=" + std::string(length, '7')}),
          mount_json("/vol", std::string(length, 't'), "t")}) {
      Config config = Config::docker_like().guest({"caps"});
      config.add_mount(mount);
      Box box("long", config);
      const CommandResult ran = box.run();
      EXPECT_FALSE(ran.timed_out) << length;
      EXPECT_EQ(ran.signal, 0) << length << mount.substr(0, 60);
      if (ran.exit_code == 0) continue;
      EXPECT_EQ(ran.out, "") << length;
      EXPECT_TRUE(ran.err.starts_with("nacelle-oci: ")) << ran.err.substr(0, 300);
    }
  }
}

TEST_F(Root, CVE_2021_43784_many_mounts_and_long_texts_all_arrive) {
  Config config = Config::docker_like().guest({"mounts", "env"});
  for (int i = 0; i < 1000; ++i) {
    config.add_mount(mount_json(cat("/vol/", i, "/", std::string(200, 'x')), "tmpfs",
                                cat("source-", i), {"size=4k"}));
  }
  config.process["env"] = json_strings({"LONG=" + std::string(100'000, 'e')});
  Box box("many", config);
  const CommandResult ran = box.run();
  ASSERT_TRUE(ran.ok()) << ran.err;
  for (const int i : {0, 500, 999}) {
    EXPECT_NE(ran.out.find(cat(" tmpfs source-", i, " ")), std::string::npos) << i;
  }
  EXPECT_NE(ran.out.find("LONG=" + std::string(100'000, 'e')), std::string::npos);
}

// --- masks and the terminal ---------------------------------------------------------------------

// What Docker masks today (moby's profiles, 28.x).
constexpr const char* docker_masks[] = {
    "/proc/asound",     "/proc/acpi",        "/proc/interrupts",
    "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap"};
constexpr const char* docker_readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                           "/proc/sysrq-trigger"};

TEST_F(Root, GHSA_7ww5_4wqc_m92c_the_starter_config_masks_what_docker_masks) {
  fs::create_directories("/tmp/spec");
  CommandOptions there;
  there.directory = "/tmp/spec";
  ASSERT_TRUE(oci({"spec"}, there).ok());
  const std::string masked = run({"jq", "-r", ".linux.maskedPaths[]", "/tmp/spec/config.json"}).out;
  for (const char* path : docker_masks) {
    EXPECT_NE(("\n" + masked).find(cat("\n", path, "\n")), std::string::npos) << path;
  }
  const std::string readonly =
      run({"jq", "-r", ".linux.readonlyPaths[]", "/tmp/spec/config.json"}).out;
  for (const char* path : docker_readonly) {
    EXPECT_NE(("\n" + readonly).find(cat("\n", path, "\n")), std::string::npos) << path;
  }
  fs::remove_all("/tmp/spec");
}

TEST_F(Root, CVE_2025_31133_masked_files_are_the_null_device_and_directories_are_empty) {
  std::string script;
  for (const char* path : docker_masks) {
    script +=
        cat("if [ -d ", path, " ]; then [ -z \"$(ls -A ", path, ")\" ] || echo full ", path,
            "; touch ", path, "/x 2>/dev/null && echo writable ", path, "; elif [ -e ", path,
            " ]; then [ \"$(stat -c %t:%T ", path, ")\" = 1:3 ] || echo not-null ", path, "; fi\n");
  }
  for (const char* path : docker_readonly) {
    script += cat("[ -e ", path, " ] && { (echo x > ", path, ") 2>/dev/null && echo written ", path,
                  "; touch ", path, "/x 2>/dev/null && echo made ", path, "; }\n");
  }
  script += "ls -d /proc/kcore /sys/firmware >&2\n";
  Config config = Config::docker_like();
  config.args({"/bin/sh", "-c", script});
  Box box("masks", config);
  const CommandResult ran = box.run();
  EXPECT_EQ(ran.out, "") << ran.text();
  EXPECT_NE(ran.err.find("/sys/firmware"), std::string::npos) << ran.text();
}

// The image's /dev/null is a link to a file of procfs: nothing of it becomes a mask.
TEST_F(Root, CVE_2025_31133_the_images_null_device_is_no_mask) {
  const std::string core_pattern = read_file("/proc/sys/kernel/core_pattern");
  for (const char* target : {"/proc/sys/kernel/core_pattern", "/etc/passwd", "/tmp/host/null"}) {
    // As a volume that another container shares, so that the runtime does not fill it.
    fs::create_directories("/tmp/dev");
    fs::remove_all("/tmp/dev/null");
    fs::create_symlink(target, "/tmp/dev/null");
    Config config = docker_without("/dev");
    config.add_mount(bind_json("/tmp/dev", "/dev"));
    config.args({"/bin/stat", "-c", "%F %t:%T", "/proc/kcore", "/proc/keys", "/proc/timer_list"});
    Box box("null-link", config);
    const CommandResult ran = box.run();
    std::istringstream lines(ran.out);
    int found = 0;
    for (std::string line; std::getline(lines, line); ++found)
      EXPECT_EQ(line, "character special file 1:3") << target;
    EXPECT_GT(found, 0) << ran.text();
  }
  fs::remove_all("/tmp/dev");
  EXPECT_EQ(read_file("/proc/sys/kernel/core_pattern"), core_pattern);
}

TEST_F(Root, CVE_2025_31133_masks_of_paths_that_are_links_stay_inside) {
  Config config = Config::docker_like().guest({"exit", "0"});
  config.for_linux["maskedPaths"] = json_strings({"/m1", "/m2/file", "/m3", "/proc/kcore"});
  config.for_linux["readonlyPaths"] = json_strings({"/m1", "/m2", "/m3/x"});
  Box box("mask-links", config);
  fs::create_symlink("/tmp/host/file", box.bundle().rootfs() + "/m1");
  fs::create_symlink("../../../../tmp/host", box.bundle().rootfs() + "/m2");
  fs::create_symlink("/proc/self/root/tmp/host", box.bundle().rootfs() + "/m3");
  (void)box.run();
  EXPECT_EQ(read_file("/tmp/host/file"), "host");
}

// CVE-2025-52565. Goal: a console comes from the container's own devpts or not at all.
TEST_F(Root, CVE_2025_52565_the_terminal_comes_from_devpts_only) {
  struct Case {
    const char* what;
    bool expected;
    std::function<void(Config&, ArmedBundle&)> prepare;
  };
  const Case cases[] = {
      {"as it should be", true, [](Config&, ArmedBundle&) {}},
      {"tmpfs on /dev/pts with a file", false,
       [](Config& config, ArmedBundle&) {
         config.top["mounts"] = docker_without("/dev/pts").top["mounts"];
         config.add_mount(bind_json("/tmp/host", "/dev/pts"));
       }},
      {"no devpts", false,
       [](Config& config, ArmedBundle&) {
         config.top["mounts"] = docker_without("/dev/pts").top["mounts"];
       }},
      {"a fifo", false,
       [](Config& config, ArmedBundle& bundle) {
         config.top["mounts"] = docker_without("/dev").top["mounts"];
         fs::create_directories(bundle.rootfs() + "/dev/pts");
         ::mkfifo((bundle.rootfs() + "/dev/pts/ptmx").c_str(), 0666);
       }},
      {"a device of the same number elsewhere", false,
       [](Config& config, ArmedBundle& bundle) {
         config.top["mounts"] = docker_without("/dev").top["mounts"];
         fs::create_directories(bundle.rootfs() + "/dev/pts");
         ::mknod((bundle.rootfs() + "/dev/pts/ptmx").c_str(), S_IFCHR | 0666, makedev(5, 2));
       }},
      {"/dev/pts is a link", false,
       [](Config& config, ArmedBundle& bundle) {
         config.top["mounts"] = docker_without("/dev").top["mounts"];
         config.add_mount(mount_json("/pts", "devpts", "devpts", {"newinstance", "ptmxmode=0666"}));
         fs::create_symlink("/pts", bundle.rootfs() + "/dev/pts");
       }},
      {"/dev/console is a link", false,
       [](Config& config, ArmedBundle& bundle) {
         config.top["mounts"] = docker_without("/dev").top["mounts"];
         config.add_mount(
             mount_json("/dev/pts", "devpts", "devpts", {"newinstance", "ptmxmode=0666"}));
         fs::create_symlink("/tmp/host/console", bundle.rootfs() + "/dev/console");
       }},
  };
  for (const Case& one : cases) {
    Config config = Config::docker_like();
    config.args({"/bin/sh", "-c", "tty; stat -c %t /dev/console"});
    config.process["terminal"] = "true";
    Box box("console", config);
    one.prepare(config, box.bundle());
    box.bundle().configure(config);
    ConsoleSocket socket("/tmp/console.sock");
    CommandOptions how;
    how.deadline = milliseconds(10'000);
    const CommandResult ran = box.run({"--console-socket", "/tmp/console.sock"}, how);
    EXPECT_FALSE(ran.timed_out) << one.what;
    EXPECT_EQ(ran.ok(), one.expected) << one.what << ran.text();
    ::unlink("/tmp/console.sock");
  }
}

// A container in the making opens no path below /proc once its root is in place (crun 1906), and
// executes nothing but the last stage.
TEST_F(Root, CVE_2025_52881_no_path_of_proc_is_opened_inside) {
  for (const bool terminal : {false, true}) {
    Config config = Config::docker_like().guest({"exit", "0"});
    if (terminal) config.process["terminal"] = "true";
    Box box("traced", config);
    const CommandResult ran = run(
        {"strace", "-f", "-o", "/tmp/trace", "-e",
         "trace=open,openat,openat2,open_tree,pivot_root,execve,execveat,mount,readlink,"
         "readlinkat,mknodat,unlinkat,symlinkat",
         runtime_path(), "--root", runtime_root, "run", "--bundle", box.bundle().path(), "traced"});
    ASSERT_TRUE(ran.ok()) << ran.text();
    const std::string trace = read_file("/tmp/trace");
    ::unlink("/tmp/trace");
    const size_t pivot = trace.find("pivot_root(");
    ASSERT_NE(pivot, std::string::npos) << trace;
    const size_t line = trace.rfind('\n', pivot) + 1;
    const std::string pid = trace.substr(line, trace.find(' ', line) - line);
    std::istringstream lines(trace.substr(trace.find('\n', pivot) + 1));
    bool handed_over = false;
    for (std::string one; std::getline(lines, one) && !handed_over;) {
      if (!one.starts_with(pid + " ")) continue;
      handed_over = one.find("execveat(") != std::string::npos;
      EXPECT_EQ(one.find("\"/proc"), std::string::npos) << one;
      EXPECT_EQ(one.find("\"proc"), std::string::npos) << one;
      EXPECT_EQ(one.find("\"/dev"), std::string::npos) << one;
    }
    EXPECT_TRUE(handed_over) << trace;
  }
}

}  // namespace
}  // namespace nacelle::test
