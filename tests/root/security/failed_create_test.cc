// A container that cannot be made leaves the host as if it had never been asked for (runtime.md
// "Errors"): every failure we can provoke, on the way up, at every stage.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <optional>

#include "base/text.h"
#include "tests/root/security/attack.h"

namespace nacelle::test {
namespace {

namespace fs = std::filesystem;

struct Failure {
  const char* name;
  std::function<void(Config&, ArmedBundle&)> spoil;
  std::vector<std::string> options = {};
  bool at_start = false;  // create works, start does not
};

std::string hook(const char* kind, const char* script, const char* more = "") {
  return cat("{\"", kind, R"(":[{"path":"/bin/sh","args":["sh","-c",)", json_string(script), "]",
             more, "}]}");
}

std::string namespaces_with(const char* one) {
  return cat(R"([{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},)",
             R"({"type":"cgroup"},)", one, "]");
}

std::vector<Failure> failures() {
  const auto add = [](const std::string& mount) {
    return [mount](Config& config, ArmedBundle&) { config.add_mount(mount); };
  };
  const auto in_linux = [](const char* key, std::string value) {
    return [key, value](Config& config, ArmedBundle&) { config.for_linux[key] = value; };
  };
  const auto in_process = [](const char* key, std::string value) {
    return [key, value](Config& config, ArmedBundle&) { config.process[key] = value; };
  };
  const auto with_hook = [](const char* kind, const char* script, const char* more = "") {
    return [=](Config& config, ArmedBundle&) { config.top["hooks"] = hook(kind, script, more); };
  };
  return {
      {"no_config", [](Config&, ArmedBundle& b) { ::unlink((b.path() + "/config.json").c_str()); }},
      {"no_json", [](Config& config, ArmedBundle&) { config.top["root"] = "{"; }},
      {"no_rootfs", [](Config& config, ArmedBundle&) { config.root["path"] = "\"missing\""; }},
      {"rootfs_is_a_file",
       [](Config& config, ArmedBundle&) { config.root["path"] = "\"config.json\""; }},
      {"mount_type", add(mount_json("/x", "nonsense", "x"))},
      {"mount_option", add(mount_json("/x", "tmpfs", "x", {"nonsense=1"}))},
      {"mount_option_value", add(mount_json("/x", "tmpfs", "x", {"size=many"}))},
      {"mount_late", add(mount_json("/etc/passwd/x", "tmpfs", "x"))},
      {"bind_source", add(bind_json("/missing", "/x"))},
      {"bind_file_on_directory", add(bind_json("/etc/passwd", "/tmp"))},
      {"bind_directory_on_file", add(bind_json("/etc", "/etc/passwd"))},
      {"remount_of_nothing", add(mount_json("/x", "", "", {"remount", "ro"}))},
      {"cover_of_proc", add(bind_json("/etc", "/link"))},
      {"overlay_without_layers", add(mount_json("/x", "overlay", "x", {"lowerdir=/missing"}))},
      {"proc_is_a_link",
       [](Config&, ArmedBundle& b) {
         fs::remove(b.rootfs() + "/proc");
         fs::create_symlink("/etc", b.rootfs() + "/proc");
       }},
      {"mask_through_a_loop",
       [](Config& config, ArmedBundle& b) {
         fs::create_symlink("loop", b.rootfs() + "/loop");
         config.for_linux["maskedPaths"] = R"(["/loop/x"])";
       }},
      {"readonly_through_a_loop",
       [](Config& config, ArmedBundle& b) {
         fs::create_symlink("loop", b.rootfs() + "/loop");
         config.for_linux["readonlyPaths"] = R"(["/loop"])";
       }},
      {"seccomp_architecture",
       in_linux("seccomp",
                R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_NONSENSE"]})")},
      {"seccomp_action", in_linux("seccomp", R"({"defaultAction":"SCMP_ACT_NONSENSE"})")},
      {"seccomp_listener_missing",
       in_linux("seccomp", R"({"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/missing/socket",)"
                           R"("syscalls":[{"names":["swapon"],"action":"SCMP_ACT_NOTIFY"}]})")},
      {"namespace_path",
       in_linux("namespaces", namespaces_with(R"({"type":"network","path":"/missing"})"))},
      {"namespace_of_another_type",
       in_linux("namespaces", namespaces_with(R"({"type":"network","path":"/proc/self/ns/uts"})"))},
      {"namespace_is_a_file",
       in_linux("namespaces", namespaces_with(R"({"type":"network","path":"/etc/passwd"})"))},
      {"namespace_is_a_directory",
       in_linux("namespaces", namespaces_with(R"({"type":"network","path":"/etc"})"))},
      {"namespace_is_a_device",
       in_linux("namespaces", namespaces_with(R"({"type":"network","path":"/dev/null"})"))},
      {"namespace_is_a_fifo",
       [](Config& config, ArmedBundle& b) {
         const std::string fifo = b.path() + "/fifo";
         ::mkfifo(fifo.c_str(), 0600);
         config.for_linux["namespaces"] =
             namespaces_with(cat(R"({"type":"network","path":)", json_string(fifo), "}").c_str());
       }},
      {"user_namespace_without_maps",
       in_linux("namespaces", namespaces_with(R"({"type":"user"})"))},
      {"user_namespace_with_maps_that_overlap",
       [](Config& config, ArmedBundle&) {
         config.for_linux["namespaces"] = namespaces_with(R"({"type":"network"},{"type":"user"})");
         for (const char* key : {"uidMappings", "gidMappings"}) {
           config.for_linux[key] = R"([{"containerID":0,"hostID":100000,"size":10},)"
                                   R"({"containerID":5,"hostID":200000,"size":10}])";
         }
       }},
      {"sysctl_of_the_host", in_linux("sysctl", R"({"kernel.panic":"0"})")},
      {"sysctl_that_is_not_there", in_linux("sysctl", R"({"net.ipv4.nonsense":"0"})")},
      {"sysctl_value", in_linux("sysctl", R"({"net.ipv4.ip_forward":"nonsense"})")},
      {"limit_without_controller", in_linux("resources", R"({"memory":{"limit":104857600}})")},
      {"cgroup_value", in_linux("resources", R"({"unified":{"cgroup.max.depth":"nonsense"}})")},
      {"cgroup_file", in_linux("resources", R"({"unified":{"nonsense.max":"1"}})")},
      {"cgroup_path_is_a_file", in_linux("cgroupsPath", "\"/cgroup.procs/x\"")},
      {"device_in_the_way",
       [](Config& config, ArmedBundle&) {
         config.for_linux["devices"] = R"([{"path":"/etc/passwd","type":"c","major":1,"minor":3}])";
       }},
      {"device_in_a_file",
       in_linux("devices", R"([{"path":"/etc/passwd/x","type":"c","major":1,"minor":3}])")},
      {"working_directory_is_a_file", in_process("cwd", "\"/etc/passwd\"")},
      {"rlimit", in_process("rlimits", R"([{"type":"RLIMIT_NOFILE","soft":9,"hard":1}])")},
      {"rlimit_above_the_kernels",
       in_process("rlimits", R"([{"type":"RLIMIT_NOFILE","soft":4000000000,"hard":4000000000}])")},
      {"program_missing", in_process("args", R"(["/missing"])")},
      {"program_not_in_path", in_process("args", R"(["missing"])")},
      {"program_not_executable", in_process("args", R"(["/etc/passwd"])")},
      {"program_is_a_directory", in_process("args", R"(["/etc"])")},
      {"program_is_no_program",
       [](Config& config, ArmedBundle& b) {
         write_file(b.rootfs() + "/junk",
                    "\x7f"
                    "ELFjunk");
         ::chmod((b.rootfs() + "/junk").c_str(), 0755);
         config.args({"/junk"});
       },
       {},
       true},
      {"interpreter_missing",
       [](Config& config, ArmedBundle& b) {
         write_file(b.rootfs() + "/script", "#!/missing\n");
         ::chmod((b.rootfs() + "/script").c_str(), 0755);
         config.args({"/script"});
       },
       {},
       true},
      {"terminal_without_a_socket", in_process("terminal", "true")},
      {"terminal_socket_missing",
       in_process("terminal", "true"),
       {"--console-socket", "/missing/socket"}},
      {"socket_without_a_terminal",
       [](Config&, ArmedBundle&) {},
       {"--console-socket", "/missing/socket"}},
      {"no_devpts_for_the_terminal",
       [](Config& config, ArmedBundle&) {
         config.process["terminal"] = "true";
         config.top["mounts"] = docker_without("/dev/pts").top["mounts"];
       },
       {"--console-socket", "/tmp/console.sock"}},
      {"pid_file", [](Config&, ArmedBundle&) {}, {"--pid-file", "/missing/pid"}},
      {"pid_file_is_a_directory", [](Config&, ArmedBundle&) {}, {"--pid-file", "/etc"}},
      {"pidfd_socket", [](Config&, ArmedBundle&) {}, {"--pidfd-socket", "/missing/socket"}},
      {"hook_prestart", with_hook("prestart", "exit 3")},
      {"hook_create_runtime", with_hook("createRuntime", "exit 3")},
      {"hook_create_container", with_hook("createContainer", "exit 3")},
      {"hook_start_container", with_hook("startContainer", "exit 3"), {}, true},
      {"hook_killed", with_hook("createRuntime", "kill -9 $$")},
      {"hook_missing",
       [](Config& config, ArmedBundle&) {
         config.top["hooks"] = R"({"createRuntime":[{"path":"/missing"}]})";
       }},
      {"hook_not_executable",
       [](Config& config, ArmedBundle&) {
         config.top["hooks"] = R"({"createContainer":[{"path":"/etc/passwd"}]})";
       }},
      {"hook_too_slow", with_hook("createRuntime", "sleep 60 & sleep 60", ",\"timeout\":1")},
      {"hook_too_slow_in_the_container",
       with_hook("createContainer", "sleep 60 & sleep 60", ",\"timeout\":1")},
      {"hook_start_container_too_slow",
       with_hook("startContainer", "sleep 60 & sleep 60", ",\"timeout\":1"),
       {},
       true},
  };
}

void PrintTo(const Failure& failure, std::ostream* out) { *out << failure.name; }

class FailedCreate : public Attack, public testing::WithParamInterface<Failure> {};

TEST_P(FailedCreate, leaves_nothing_behind) {
  const Failure& failure = GetParam();
  Config config = Config::docker_like().guest({"wait"});
  const std::string mounts = read_file("/proc/self/mounts");
  {
    Box box("failing", config);
    fs::create_symlink("/proc/sys", box.bundle().rootfs() + "/link");
    std::optional<ConsoleSocket> socket;
    for (const std::string& option : failure.options) {
      if (option == "/tmp/console.sock") socket.emplace(option);
    }
    failure.spoil(config, box.bundle());
    if (fs::exists(box.bundle().path() + "/config.json")) box.bundle().configure(config);
    const Census before = take_census(runtime_root);
    const CommandResult created = box.create(failure.options);
    EXPECT_FALSE(created.timed_out) << created.text();
    if (failure.at_start) {
      EXPECT_TRUE(created.ok()) << created.text();
      const CommandResult started = oci({"start", box.id()});
      EXPECT_FALSE(started.ok()) << started.text();
      EXPECT_TRUE(started.err.starts_with("nacelle-oci: ")) << started.text();
      EXPECT_TRUE(oci({"delete", "--force", box.id()}).ok());
    } else {
      EXPECT_FALSE(created.ok()) << created.text();
      EXPECT_TRUE(created.err.starts_with("nacelle-oci: ")) << created.text();
      EXPECT_FALSE(oci({"state", box.id()}).ok());
    }
    EXPECT_TRUE(nothing_of_ours_left_since(before));

    // `run` takes another way, and would have a terminal of its own: the same again.
    if (std::string_view(failure.name) != "terminal_without_a_socket") {
      const CommandResult ran = box.run(failure.options);
      EXPECT_FALSE(ran.timed_out) << ran.text();
      EXPECT_FALSE(ran.ok()) << ran.text();
    }
    EXPECT_TRUE(nothing_of_ours_left_since(before));
  }
  ::unlink("/tmp/console.sock");
  EXPECT_EQ(read_file("/proc/self/mounts"), mounts);
}

INSTANTIATE_TEST_SUITE_P(At, FailedCreate, testing::ValuesIn(failures()),
                         [](const auto& info) { return std::string(info.param.name); });

class FailedExec : public Attack {};

TEST_F(FailedExec, leaves_the_container_as_it_was) {
  Box box("running", Config::docker_like().guest({"wait"}));
  ASSERT_TRUE(box.start().ok());
  const Census before = take_census(runtime_root);
  const std::string group = read_file("/sys/fs/cgroup/test/running/cgroup.procs");
  const std::vector<std::vector<std::string>> wrong = {
      {"running", "/missing"},
      {"running", "missing"},
      {"running", "/etc/passwd"},
      {"running", "/etc"},
      {"--cwd", "/missing", "running", "/guest"},
      {"--cwd", "/etc/passwd", "running", "/guest"},
      {"--cwd", "relative", "running", "/guest"},
      {"--user", "nobody", "running", "/guest"},
      {"--cap", "CAP_NONSENSE", "running", "/guest"},
      {"--cgroup", "missing", "running", "/guest"},
      {"--process", "/missing", "running"},
      {"--process", "/etc/passwd", "running"},
      {"--console-socket", "/missing", "--tty", "running", "/guest"},
      {"--tty", "--detach", "running", "/guest"},
      {"--pid-file", "/missing/pid", "running", "/guest", "exit", "1"},
      {"--apparmor", "nonsense", "running", "/guest"},
      {"--process-label", "nonsense", "running", "/guest"},
      {"--preserve-fds", "9", "running", "/guest"},
      {"running"},
      {"missing", "/guest"},
      {},
  };
  for (std::vector<std::string> words : wrong) {
    words.insert(words.begin(), "exec");
    const CommandResult ran = oci(words);
    EXPECT_FALSE(ran.ok()) << testing::PrintToString(words) << ran.text();
    EXPECT_FALSE(ran.timed_out);
    EXPECT_TRUE(nothing_of_ours_left_since(before)) << testing::PrintToString(words);
  }
  EXPECT_EQ(read_file("/sys/fs/cgroup/test/running/cgroup.procs"), group);
  EXPECT_TRUE(box.exec({"/guest", "exit", "0"}).ok());
}

}  // namespace
}  // namespace nacelle::test
