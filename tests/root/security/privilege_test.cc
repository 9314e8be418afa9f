// Attacks with what a container is given: capabilities, devices, its cgroup, sysctls and hooks.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "base/text.h"
#include "tests/root/security/attack.h"

namespace nacelle::test {
namespace {

namespace fs = std::filesystem;

class Privilege : public Attack {};

constexpr const char* no_capabilities = "0000000000000000";
constexpr const char* docker_capabilities = "00000000a80425fb";

// --- capabilities -------------------------------------------------------------------------------

void expect_nothing_inheritable(const CommandResult& result, const char* what) {
  EXPECT_EQ(value_of(result.out, "CapInh"), no_capabilities) << what << result.text();
  EXPECT_EQ(value_of(result.out, "CapAmb"), no_capabilities) << what << result.text();
}

TEST_F(Privilege, CVE_2022_29162_nothing_is_inheritable_or_ambient) {
  Box box("caps", Config::docker_like().guest({"caps"}));
  const CommandResult ran = box.run();
  expect_nothing_inheritable(ran, "run");
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"})
    EXPECT_EQ(value_of(ran.out, set), docker_capabilities) << ran.text();

  Box running("caps-exec", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(running.start().ok());
  const CommandResult entered = running.exec({"/guest", "caps"});
  expect_nothing_inheritable(entered, "exec");
  for (const char* set : {"CapPrm", "CapEff", "CapBnd"})
    EXPECT_EQ(value_of(entered.out, set), docker_capabilities) << entered.text();

  const CommandResult wider = running.exec({"/guest", "caps"}, {"--cap", "CAP_SYS_ADMIN"});
  expect_nothing_inheritable(wider, "exec --cap");
  EXPECT_EQ(value_of(wider.out, "CapEff"), "00000000a82425fb") << "one more and no other";
  const CommandResult user =
      running.exec({"/guest", "caps"}, {"--cap", "CAP_SYS_ADMIN", "--user", "1000:1000"});
  expect_nothing_inheritable(user, "exec --cap --user");
  EXPECT_EQ(value_of(user.out, "CapEff"), no_capabilities) << user.text();
  EXPECT_EQ(value_of(user.out, "CapPrm"), no_capabilities) << user.text();
}

// With a filter loaded and without no_new_privs the last steps hold CAP_SYS_ADMIN; the program does
// not.
TEST_F(Privilege, CVE_2022_29162_what_loading_a_filter_needs_is_gone_afterwards) {
  for (const char* user : {R"({"uid":0,"gid":0})", R"({"uid":1000,"gid":1000})"}) {
    Config config = Config::docker_like().guest({"caps"});
    config.process["user"] = user;
    config.for_linux["seccomp"] =
        R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],)"
        R"("syscalls":[{"names":["swapon"],"action":"SCMP_ACT_ERRNO"}]})";
    Box box("filter", config);
    const CommandResult ran = box.run();
    EXPECT_EQ(value_of(ran.out, "Seccomp"), "2") << ran.text();
    expect_nothing_inheritable(ran, user);
    EXPECT_EQ(value_of(ran.out, "CapBnd"), docker_capabilities) << user;
    const bool root = std::string_view(user).find("1000") == std::string_view::npos;
    EXPECT_EQ(value_of(ran.out, "CapEff"), root ? docker_capabilities : no_capabilities) << user;
    EXPECT_EQ(value_of(ran.out, "CapPrm"), root ? docker_capabilities : no_capabilities) << user;
  }
}

TEST_F(Privilege, CVE_2022_29162_a_process_without_capabilities_in_its_config_has_none) {
  Config config = Config::docker_like().guest({"caps"});
  config.process["capabilities"] = "";
  Box box("bare", config);
  const CommandResult ran = box.run();
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_EQ(value_of(ran.out, set), no_capabilities) << set << ran.text();
}

TEST_F(Privilege, CVE_2022_29162_what_the_caller_has_is_not_passed_on) {
  // A caller with inheritable and ambient capabilities, as a careless service manager gives them.
  Box box("rich", Config::docker_like().guest({"caps"}));
  const CommandResult ran = run({"setpriv", "--inh-caps", "+chown,+kill,+sys_admin",
                                 "--ambient-caps", "+chown,+sys_admin", runtime_path(), "--root",
                                 runtime_root, "run", "--bundle", box.bundle().path(), "rich"});
  ASSERT_TRUE(ran.ok()) << ran.text();
  expect_nothing_inheritable(ran, "run");
  EXPECT_EQ(value_of(ran.out, "CapEff"), docker_capabilities);
}

// --- devices ------------------------------------------------------------------------------------

TEST_F(Privilege, GHSA_g54h_m393_cpwq_devices_are_denied_unless_allowed) {
  struct Case {
    char kind;
    const char* major;
    const char* minor;
  };
  const Case cases[] = {{'b', "8", "0"},    {'b', "7", "0"},    {'b', "259", "0"},
                        {'c', "1", "1"},    {'c', "1", "2"},    {'c', "1", "4"},
                        {'c', "1", "11"},   {'c', "10", "229"}, {'c', "10", "200"},
                        {'c', "4", "0"},    {'c', "5", "1"},    {'c', "10", "237"},
                        {'c', "10", "232"}, {'b', "253", "0"},  {'c', "10", "239"}};
  // Docker's own rules and none at all must come to the same for these.
  for (const char* rules :
       {"", R"({"devices":[]})", R"({"devices":[{"allow":false,"access":"rwm"}]})",
        R"({"devices":[{"allow":false,"access":"rwm"},)"
        R"({"allow":true,"type":"c","major":1,"minor":5,"access":"rwm"}]})"}) {
    for (const Case& one : cases) {
      Config config = Config::docker_like();
      config.for_linux["resources"] = rules;
      const std::string kind(1, one.kind);
      config.guest({"mknod", "/dev/x", kind, one.major, one.minor, "open", "/dev/x", "r", "open",
                    "/dev/x", "rw"});
      Box box("devices", config);
      const CommandResult ran = box.run();
      EXPECT_EQ(ran.out.find("open=0"), std::string::npos)
          << rules << ' ' << kind << one.major << ':' << one.minor << ran.text();
      EXPECT_NE(ran.out.find("open=E"), std::string::npos) << ran.text();
    }
  }
  Box box("null",
          Config::docker_like().guest({"open", "/dev/null", "rw", "open", "/dev/zero", "r", "mknod",
                                       "/dev/n", "c", "1", "3", "open", "/dev/n", "rw"}));
  EXPECT_EQ(box.run().out, "open=0\nopen=0\nmknod=0\nopen=0\n");
}

// exec with more capabilities is still in the cgroup that denies.
TEST_F(Privilege, GHSA_g54h_m393_cpwq_exec_is_under_the_same_rules) {
  Box box("devices-exec", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(box.start().ok());
  const CommandResult ran =
      box.exec({"/guest", "mknod", "/dev/x", "c", "1", "11", "open", "/dev/x", "r", "mknod",
                "/dev/y", "c", "1", "1", "open", "/dev/y", "r"},
               {"--cap", "CAP_SYS_RAWIO", "--cap", "CAP_SYS_ADMIN", "--cap", "CAP_MKNOD"});
  EXPECT_EQ(ran.out.find("open=0"), std::string::npos) << ran.text();
}

// --- the cgroup ---------------------------------------------------------------------------------

TEST_F(Privilege, CVE_2023_25809_a_container_neither_sees_nor_leaves_its_cgroup) {
  const std::string top = read_file("/sys/fs/cgroup/cgroup.procs");
  Config config = Config::docker_like();
  config.guest({"cat", "/proc/self/cgroup", "write", "/sys/fs/cgroup/cgroup.procs", "0", "write",
                "/sys/fs/cgroup/cgroup.max.depth", "3", "write", "/sys/fs/cgroup/cgroup.freeze",
                "1", "write", "/sys/fs/cgroup/../cgroup.procs", "0", "mkdir", "/sys/fs/cgroup/x",
                "mkdir", "/sys/fs/cgroup/../x"});
  Box box("cgroup", config);
  const CommandResult ran = box.run();
  EXPECT_NE(("\n" + ran.out).find("\n0::/\n"), std::string::npos) << ran.text();
  EXPECT_EQ(ran.out.find("=0\n"), std::string::npos) << ran.text();
  EXPECT_EQ(read_file("/sys/fs/cgroup/cgroup.procs"), top);
}

// Even where the tree is mounted for writing, and by a process that may mount it again itself.
TEST_F(Privilege, CVE_2023_25809_a_writable_tree_ends_at_the_containers_own_group) {
  Config config = docker_without("/sys");
  config.add_mount(mount_json("/sys", "sysfs", "sysfs", {"ro"}));
  config.add_mount(mount_json("/sys/fs/cgroup", "cgroup", "cgroup", {"rw"}));
  config.process["capabilities"] =
      R"({"bounding":["CAP_SYS_ADMIN"],"effective":["CAP_SYS_ADMIN"],"permitted":["CAP_SYS_ADMIN"]})";
  config.guest({"mkdir", "/tmp/again", "mount", "cgroup2", "/tmp/again", "write",
                "/sys/fs/cgroup/cgroup.max.depth", "7", "write",
                "/tmp/again/cgroup.max.descendants", "7", "write", "/sys/fs/cgroup/../cgroup.procs",
                "0", "write", "/tmp/again/test/cgroup.procs", "0", "wait"});
  Box box("writable", config);
  const CommandResult started = box.start();
  ASSERT_TRUE(started.ok()) << started.text();
  ASSERT_TRUE(eventually([&] { return started.out_now().find("ENOENT") != std::string::npos; }))
      << started.out_now() << started.err_now();
  const std::string group = read_file(cat("/proc/", box.pid(), "/cgroup"));
  EXPECT_NE(group, "0::/\n");
  EXPECT_EQ(group.find(".."), std::string::npos) << group;
  // What is in force for the container is set where it cannot write: nsdelegate keeps the limits of
  // a namespace's own root out of its reach.
  EXPECT_EQ(read_file("/sys/fs/cgroup/cgroup.max.depth"), "max\n");
  EXPECT_EQ(read_file("/sys/fs/cgroup/test/cgroup.max.depth"), "max\n");
}

TEST_F(Privilege, CVE_2023_6476_a_cgroup_path_does_not_climb) {
  for (const char* path :
       {"/../x", "/a/../../x", "../../x", "/test/../..", "/./../x", "a/../../.."}) {
    Config config = Config::docker_like().guest({"exit", "0"});
    config.for_linux["cgroupsPath"] = json_string(path);
    Box box("climb", config);
    const CommandResult ran = box.run();
    EXPECT_FALSE(fs::exists("/sys/fs/x")) << path;
    EXPECT_FALSE(ran.timed_out);
  }
  Box running("climb-exec", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(running.start().ok());
  for (const char* path : {"..", "../..", "../test", "x/../..", "/../../test"}) {
    const CommandResult ran = running.exec({"/guest", "exit", "0"}, {"--cgroup", path});
    EXPECT_FALSE(ran.ok()) << path << ran.text();
  }
}

// --- sysctls ------------------------------------------------------------------------------------

// The values are those that are set already, so that a hole found here does no harm.
TEST_F(Privilege, CVE_2022_0811_sysctls_of_the_host_are_refused_however_they_are_written) {
  const std::string pattern = read_file("/proc/sys/kernel/core_pattern");
  std::string value = pattern;
  while (value.ends_with('\n')) value.pop_back();
  const std::vector<std::string> names = {
      "kernel.core_pattern",
      "kernel/core_pattern",
      "kernel.shm_rmid_forced=1+kernel.core_pattern",
      "kernel.shm_rmid_forced+kernel.core_pattern",
      "kernel.shm_rmid_forced kernel.core_pattern",
      "kernel.shm_rmid_forced\nkernel.core_pattern",
      "net.../kernel/core_pattern",
      "net/../kernel/core_pattern",
      "net.ipv4/../../kernel/core_pattern",
      "net.ipv4.conf.../../../../kernel/core_pattern",
      "net....kernel.core_pattern",
      "net..kernel.core_pattern",
      "fs.mqueue.../../kernel/core_pattern",
      "fs.mqueue/../../kernel/core_pattern",
      "/kernel/core_pattern",
      ".kernel.core_pattern",
      "../proc/sys/kernel/core_pattern",
      "kernel.core_pattern.",
      "kernel.modprobe",
      "kernel.hotplug",
      "vm.overcommit_memory",
      "fs.suid_dumpable",
      "kernel.randomize_va_space",
      "kernel.sysrq",
      "user.max_user_namespaces",
      "dev.tty.ldisc_autoload",
      "",
      ".",
      "..",
      "net",
      "kernel",
  };
  for (const std::string& name : names) {
    Config config = Config::docker_like().guest({"exit", "0"});
    config.for_linux["sysctl"] = cat("{", json_string(name), ":", json_string(value), "}");
    Box box("sysctl", config);
    const CommandResult ran = box.run();
    EXPECT_FALSE(ran.ok()) << name << ran.text();
  }
  for (const char* injected : {"1\n", "1\nx", "1\n|/x"}) {
    Config config = Config::docker_like().guest({"exit", "0"});
    config.for_linux["sysctl"] = cat(R"({"kernel.shm_rmid_forced":)", json_string(injected), "}");
    Box box("sysctl", config);
    EXPECT_FALSE(box.run().ok()) << injected;
  }
  EXPECT_EQ(read_file("/proc/sys/kernel/core_pattern"), pattern);
}

TEST_F(Privilege, CVE_2022_0811_sysctls_need_the_namespace_that_has_them) {
  const auto host_value = [](const char* path) { return read_file(cat("/proc/sys/", path)); };
  const std::string forwarding = host_value("net/ipv4/ip_forward");
  const std::string messages = host_value("kernel/msgmax");
  for (const char* sysctl : {R"({"net.ipv4.ip_forward":"1"})", R"({"kernel.msgmax":"4242"})"}) {
    Config config = Config::docker_like().guest({"exit", "0"});
    config.for_linux["sysctl"] = sysctl;
    config.namespaces({"pid", "uts", "mount", "cgroup"});
    Box box("sysctl-host", config);
    EXPECT_FALSE(box.run().ok()) << sysctl;
  }
  Config config = Config::docker_like().guest(
      {"cat", "/proc/sys/net/ipv4/ip_forward", "cat", "/proc/sys/kernel/msgmax"});
  config.for_linux["sysctl"] = R"({"net.ipv4.ip_forward":"1","kernel.msgmax":"4242"})";
  Box box("sysctl-own", config);
  EXPECT_EQ(box.run().out, "1\n4242\n");
  EXPECT_EQ(host_value("net/ipv4/ip_forward"), forwarding);
  EXPECT_EQ(host_value("kernel/msgmax"), messages);
}

// --- hooks --------------------------------------------------------------------------------------

TEST_F(Privilege, CVE_2025_23266_hooks_get_nothing_of_the_image) {
  ASSERT_TRUE(write_file("/tmp/hook",
                         "#!/bin/sh\ncat > /dev/null\n"
                         "{ echo pwd=$(pwd); tr '\\0' '\\n' < /proc/self/environ; "
                         "ls /proc/self/fd; } > /tmp/seen.$1\n"));
  ASSERT_EQ(::chmod("/tmp/hook", 0755), 0);
  const auto hook = [](const char* kind) {
    return cat("\"", kind, R"(":[{"path":"/tmp/hook","args":["hook",")", kind, R"("],"env":["OWN=)",
               kind, R"("]}])");
  };
  Config config = Config::docker_like().guest({"exit", "0"});
  config.process["env"] = json_strings({"LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/evil", "OWN=image",
                                        "PATH=/evil", "IFS=x", "BASH_ENV=/evil"});
  config.process["cwd"] = "\"/tmp\"";
  config.top["hooks"] =
      cat("{", hook("prestart"), ",", hook("createRuntime"), ",", hook("createContainer"), ",",
          hook("poststart"), ",", hook("poststop"), "}");
  Box box("hooks", config);
  const CommandResult ran = box.run();
  EXPECT_TRUE(ran.ok()) << ran.text();
  for (const char* kind :
       {"prestart", "createRuntime", "createContainer", "poststart", "poststop"}) {
    const std::string seen = read_file(cat("/tmp/seen.", kind));
    EXPECT_TRUE(seen.starts_with("pwd=/\n")) << kind << seen;
    EXPECT_NE(seen.find(cat("OWN=", kind, "\n")), std::string::npos) << kind << seen;
    for (const char* evil : {"LD_", "evil", "image", "BASH_ENV", "NACELLE"})
      EXPECT_EQ(seen.find(evil), std::string::npos) << kind << seen;
    ::unlink(cat("/tmp/seen.", kind).c_str());
  }
  ::unlink("/tmp/hook");
}

TEST_F(Privilege, CVE_2024_3154_annotations_are_text_and_never_more) {
  const std::string evil = "a\n\"},{\"x\":1}\x01\x1b[31m+kernel.core_pattern=|/x";
  ASSERT_TRUE(write_file("/tmp/hook", "#!/bin/sh\ncat > /tmp/seen\n"));
  ASSERT_EQ(::chmod("/tmp/hook", 0755), 0);
  Config config = Config::docker_like().guest({"wait"});
  config.top["annotations"] =
      cat("{\"k\":", json_string(evil), ",", json_string(evil),
          ":\"v\",\"org.systemd.property.ExecStart\":\"['/x']\",\"run.oci.hooks.stderr\":\"/x\"}");
  config.top["hooks"] = R"({"createRuntime":[{"path":"/tmp/hook"}]})";
  Box box("notes", config);
  const CommandResult started = box.start();
  ASSERT_TRUE(started.ok()) << started.text();
  for (const std::string& document : {read_file("/tmp/seen"), oci({"state", box.id()}).out}) {
    CommandOptions options;
    options.input = document;
    EXPECT_EQ(run({"jq", "-j", ".annotations.k"}, options).out, evil) << document;
    EXPECT_EQ(document.find('\x1b'), std::string::npos);
    EXPECT_EQ(document.find('\x01'), std::string::npos);
  }
  EXPECT_FALSE(fs::exists("/x"));
  ::unlink("/tmp/seen");
  ::unlink("/tmp/hook");
}

TEST_F(Privilege, CVE_2024_3154_names_of_containers_are_no_paths) {
  Box box("names", Config::docker_like().guest({"exit", "0"}));
  for (const char* id :
       {"", ".", "..", "../x", "a/b", "/x", "a\nb", "a b", "a\x1b", "a\\b", "\xff", "a\"b"}) {
    const CommandResult ran = oci({"run", "--bundle", box.bundle().path(), "--", id});
    EXPECT_FALSE(ran.ok()) << "'" << id << "'" << ran.text();
  }
  const CommandResult ran = oci({"run", "--bundle", box.bundle().path(), std::string(5000, 'a')});
  EXPECT_FALSE(ran.ok());
}

TEST_F(Privilege, state_is_for_root_alone) {
  Box box("secret", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(box.start().ok());
  struct stat status{};
  ASSERT_EQ(::stat(runtime_root, &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  for (const auto& entry : fs::recursive_directory_iterator(runtime_root)) {
    ASSERT_EQ(::lstat(entry.path().c_str(), &status), 0);
    // The mode of a link says nothing.
    if (!S_ISLNK(status.st_mode)) EXPECT_EQ(status.st_mode & 0022, 0u) << entry.path();
    EXPECT_EQ(status.st_uid, 0u) << entry.path();
  }
}

}  // namespace
}  // namespace nacelle::test
