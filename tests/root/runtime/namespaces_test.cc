// Namespaces: new, joined by path and left out, of every kind, on the real kernel.
#include <unistd.h>

#include <cstdlib>

#include "tests/root/runtime/container_test.h"

namespace nacelle::test {
namespace {

using NamespacesTest = ContainerTest;

// The kind in config.json, and its name in /proc/PID/ns.
struct NamespaceKind {
  const char* type;
  const char* file;
};
constexpr NamespaceKind kinds[] = {{"pid", "pid"},   {"network", "net"}, {"ipc", "ipc"},
                                   {"uts", "uts"},   {"mount", "mnt"},   {"cgroup", "cgroup"},
                                   {"user", "user"}, {"time", "time"}};

std::string namespace_link(const std::string& path) {
  char text[128];
  const ssize_t length = ::readlink(path.c_str(), text, sizeof text);
  return length < 0 ? std::string("none") : std::string(text, static_cast<size_t>(length));
}
std::string own_namespace(const char* file) { return namespace_link(cat("/proc/self/ns/", file)); }

// What the container's process sees of its namespace of a kind.
std::string seen_inside(Config config, const char* file) {
  const CommandResult result = run_shell(std::move(config), cat("readlink /proc/self/ns/", file));
  EXPECT_TRUE(result.ok()) << result.text();
  return result.out.substr(0, result.out.find('\n'));
}

void give_rootfs_to(const Bundle& bundle, unsigned id) {
  const CommandResult done = run({"chown", "-R", "-h", cat(id, ":", id), bundle.rootfs()});
  EXPECT_TRUE(done.ok()) << done.text();
}

constexpr const char* mappings = R"([{"containerID":0,"hostID":100000,"size":65536}])";

Config with_new_user_namespace(std::vector<std::string> kinds_wanted) {
  Config config = Config::minimal();
  config.namespaces(kinds_wanted);
  config.for_linux["uidMappings"] = mappings;
  config.for_linux["gidMappings"] = mappings;
  return config;
}

// `unshare` holding namespaces open; with --fork its *_for_children links are the new ones.
bool is_ready(const RunningCommand& holder, const char* file) {
  const std::string path = cat("/proc/", holder.pid(), "/ns/", file);
  const std::string_view name = file;
  const std::string own = own_namespace(std::string(name.substr(0, name.find('_'))).c_str());
  return eventually([&] {
    const std::string there = namespace_link(path);
    return there != "none" && there != own;
  });
}

std::string joining(const std::vector<std::pair<std::string, std::string>>& types_and_paths) {
  std::string text = "[";
  for (const auto& [type, path] : types_and_paths) {
    if (text.size() > 1) text += ',';
    text += cat("{\"type\":\"", type, "\"");
    if (!path.empty()) text += cat(",\"path\":", json_string(path));
    text += "}";
  }
  return text + "]";
}

TEST_F(NamespacesTest, every_kind_is_new_when_asked_for) {
  for (const NamespaceKind& kind : kinds) {
    if (std::string_view(kind.type) == "user") continue;  // below
    Config config = Config::minimal();
    config.namespaces({"pid", "network", "ipc", "uts", "mount", "cgroup", "time"});
    const std::string inside = seen_inside(config, kind.file);
    EXPECT_TRUE(inside.starts_with(kind.file)) << inside;
    EXPECT_NE(inside, own_namespace(kind.file)) << kind.type;
  }
}

TEST_F(NamespacesTest, what_is_left_out_is_the_callers) {
  for (const NamespaceKind& kind : kinds) {
    const std::string_view type = kind.type;
    if (type == "mount") continue;  // its own test: nothing may be mounted then
    std::vector<std::string> others;
    for (const NamespaceKind& one : kinds) {
      if (one.type != type && std::string_view(one.type) != "user") others.emplace_back(one.type);
    }
    Config config = Config::minimal();
    config.namespaces(others);
    if (type == "uts") config.top["hostname"] = "";
    EXPECT_EQ(seen_inside(config, kind.file), own_namespace(kind.file)) << kind.type;
  }
}

TEST_F(NamespacesTest, without_a_mount_namespace_the_root_is_entered_and_nothing_is_mounted) {
  Config config =
      Config::minimal().guest({"open", "/etc/passwd", "r", "open", "/proc/self/maps", "r", "cwd"});
  config.namespaces({"pid", "network", "ipc", "uts", "cgroup"});
  config.top["mounts"] = "";
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.out, "open=0\nopen=ENOENT\ncwd=/\n") << result.text();
}

TEST_F(NamespacesTest, without_a_mount_namespace_mounts_are_refused) {
  Config config = Config::minimal();
  config.namespaces({"pid"});
  config.top["hostname"] = "";
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "mounts: needs a mount namespace");
}

TEST_F(NamespacesTest, namespaces_are_joined_by_path) {
  RunningCommand holder({"unshare", "--net", "--ipc", "--uts", "--cgroup", "sleep", "100"});
  ASSERT_TRUE(is_ready(holder, "cgroup"));
  const std::string at = cat("/proc/", holder.pid(), "/ns/");
  Config config = Config::minimal();
  config.top["hostname"] = "";
  config.for_linux["namespaces"] = joining({{"network", at + "net"},
                                            {"ipc", at + "ipc"},
                                            {"uts", at + "uts"},
                                            {"cgroup", at + "cgroup"},
                                            {"pid", ""},
                                            {"mount", ""}});
  for (const char* file : {"net", "ipc", "uts", "cgroup"}) {
    EXPECT_EQ(seen_inside(config, file), namespace_link(at + file)) << file;
  }
}

TEST_F(NamespacesTest, a_pid_namespace_is_joined_by_path) {
  RunningCommand holder({"unshare", "--pid", "--fork", "--kill-child", "sleep", "100"});
  ASSERT_TRUE(is_ready(holder, "pid_for_children"));
  const std::string path = cat("/proc/", holder.pid(), "/ns/pid_for_children");
  Config config = Config::minimal();
  config.for_linux["namespaces"] =
      joining({{"pid", path}, {"mount", ""}, {"uts", ""}, {"ipc", ""}, {"network", ""}});
  EXPECT_EQ(seen_inside(config, "pid"), namespace_link(path));
  const CommandResult result = run_once(config.guest({"ids"}));
  EXPECT_LACKS(result.out, "\npid=1\n");
}

TEST_F(NamespacesTest, a_mount_namespace_is_joined_by_path) {
  RunningCommand holder({"unshare", "--mount", "sleep", "100"});
  ASSERT_TRUE(is_ready(holder, "mnt"));
  const std::string path = cat("/proc/", holder.pid(), "/ns/mnt");
  Config config = Config::minimal();
  config.for_linux["namespaces"] = joining({{"mount", path}, {"pid", ""}, {"uts", ""}});
  EXPECT_EQ(seen_inside(config, "mnt"), namespace_link(path));
}

TEST_F(NamespacesTest, a_time_namespace_is_joined_by_path) {
  RunningCommand holder(
      {"unshare", "--time", "--boottime", "700000", "--fork", "--kill-child", "sleep", "100"});
  ASSERT_TRUE(is_ready(holder, "time_for_children"));
  const std::string path = cat("/proc/", holder.pid(), "/ns/time_for_children");
  Config config = Config::minimal();
  config.for_linux["namespaces"] =
      joining({{"time", path}, {"mount", ""}, {"pid", ""}, {"uts", ""}});
  EXPECT_EQ(seen_inside(config, "time"), namespace_link(path));
  const CommandResult result = run_once(config.guest({"cat", "/proc/uptime"}));
  EXPECT_GT(std::atol(result.out.c_str()), 700000) << result.text();
}

TEST_F(NamespacesTest, a_new_time_namespace_has_the_offsets_asked_for) {
  Config config =
      Config::minimal().guest({"cat", "/proc/uptime", "cat", "/proc/self/timens_offsets"});
  config.namespaces({"pid", "mount", "time", "uts"});
  config.for_linux["timeOffsets"] =
      R"({"boottime":{"secs":900000,"nanosecs":5},"monotonic":{"secs":777,"nanosecs":0}})";
  const CommandResult result = run_once(config);
  EXPECT_GT(std::atol(result.out.c_str()), 900000) << result.text();
  EXPECT_CONTAINS(result.out, "777         0");
}

TEST_F(NamespacesTest, a_new_user_namespace_maps_ids) {
  Config config =
      with_new_user_namespace({"user", "pid", "network", "ipc", "uts", "mount", "cgroup"});
  const Bundle bundle(
      config.guest({"ids", "cat", "/proc/self/uid_map", "cat", "/proc/self/gid_map", "wait"}));
  give_rootfs_to(bundle, 100000);
  const Live live(bundle);
  EXPECT_TRUE(eventually([&] { return contains(live.made().out_now(), "65536"); }));
  EXPECT_CONTAINS(live.made().out_now(), "uid=0,0,0\ngid=0,0,0\n");
  EXPECT_CONTAINS(live.made().out_now(), "100000      65536");
  EXPECT_CONTAINS(read_file(cat("/proc/", live.state("pid"), "/status")), "Uid:\t100000\t100000");
  const CommandResult inside = live.exec({"/guest", "ids", "cat", "/proc/self/uid_map"});
  EXPECT_CONTAINS(inside.out, "uid=0,0,0");
  EXPECT_CONTAINS(inside.out, "100000      65536");
}

TEST_F(NamespacesTest, devices_are_bound_where_they_cannot_be_made) {
  Config config = with_new_user_namespace({"user", "pid", "network", "ipc", "uts", "mount"});
  config.for_linux["devices"] = R"([{"type":"c","path":"/dev/zero","major":1,"minor":5}])";
  const Bundle bundle(config.guest({"open", "/dev/null", "w", "open", "/dev/zero", "r", "mounts"}));
  give_rootfs_to(bundle, 100000);
  const CommandResult result = run_once(bundle);
  EXPECT_CONTAINS(result.out, "open=0\nopen=0\n");
  EXPECT_NE(mount_line(result.out, "/dev/null"), "") << result.text();
}

TEST_F(NamespacesTest, user_network_ipc_uts_and_pid_are_joined_together) {
  RunningCommand holder({"unshare", "--user", "--net", "--ipc", "--uts", "--pid", "--fork",
                         "--kill-child", "sleep", "100"});
  ASSERT_TRUE(is_ready(holder, "pid_for_children"));
  const std::string at = cat("/proc/", holder.pid());
  ASSERT_TRUE(write_file(at + "/uid_map", "0 100000 65536\n"));
  ASSERT_TRUE(write_file(at + "/gid_map", "0 100000 65536\n"));
  Config config = Config::minimal();
  config.top["hostname"] = "";
  config.for_linux["namespaces"] = joining({{"network", at + "/ns/net"},
                                            {"ipc", at + "/ns/ipc"},
                                            {"uts", at + "/ns/uts"},
                                            {"pid", at + "/ns/pid_for_children"},
                                            {"user", at + "/ns/user"},
                                            {"mount", ""}});
  const Bundle bundle(config.guest({"ids", "cat", "/proc/self/uid_map"}));
  give_rootfs_to(bundle, 100000);
  const CommandResult result = run_once(bundle);
  EXPECT_CONTAINS(result.out, "uid=0,0,0");
  EXPECT_CONTAINS(result.out, "100000      65536");
  for (const char* file : {"net", "ipc", "uts", "user"}) {
    Bundle again(config.args({"/bin/readlink", cat("/proc/self/ns/", file)}));
    give_rootfs_to(again, 100000);
    EXPECT_EQ(run_once(again).out, namespace_link(cat(at, "/ns/", file)) + "\n");
  }
}

TEST_F(NamespacesTest, a_new_user_namespace_may_live_in_a_joined_network) {
  RunningCommand holder({"unshare", "--net", "sleep", "100"});
  ASSERT_TRUE(is_ready(holder, "net"));
  const std::string path = cat("/proc/", holder.pid(), "/ns/net");
  Config config = with_new_user_namespace({});
  config.for_linux["namespaces"] =
      joining({{"user", ""}, {"network", path}, {"mount", ""}, {"pid", ""}, {"uts", ""}});
  Bundle bundle(config.args({"/bin/sh", "-c",
                             "readlink /proc/self/ns/net; id -u; cat "
                             "/proc/self/uid_map"}));
  give_rootfs_to(bundle, 100000);
  const CommandResult result = run_once(bundle);
  EXPECT_CONTAINS(result.out, namespace_link(path) + "\n0\n");
  EXPECT_CONTAINS(result.out, "100000      65536");
}

TEST_F(NamespacesTest, a_path_of_another_kind_or_none_is_refused) {
  Config config = Config::minimal();
  config.for_linux["namespaces"] = joining({{"network", "/proc/self/ns/uts"}, {"mount", ""}});
  config.top["hostname"] = "";
  const CommandResult other = run_once(config);
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_CONTAINS(other.err, "is not a namespace of that type");
  config.for_linux["namespaces"] = joining({{"network", "/run/none"}, {"mount", ""}});
  const CommandResult none = run_once(config);
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_CONTAINS(none.err, "/run/none");
}

TEST_F(NamespacesTest, a_new_network_has_its_loopback_up) {
  const CommandResult result =
      run_shell(Config::minimal(), "ping -c 1 -W 2 127.0.0.1 >/dev/null && echo up");
  // Without CAP_NET_RAW ping needs the sysctl, so the link's flags are what is looked at.
  const CommandResult flags =
      run_shell(Config::minimal().add_mount(mount_json("/sys", "sysfs", "sysfs", {"ro"})),
                "cat /sys/class/net/lo/flags");
  EXPECT_EQ(flags.out, "0x9\n") << flags.text() << result.text();
}

TEST_F(NamespacesTest, hostname_and_domainname_are_the_containers) {
  Config config = Config::minimal();
  config.top["hostname"] = "\"inner\"";
  config.top["domainname"] = "\"example.test\"";
  const CommandResult result = run_shell(config, "hostname; cat /proc/sys/kernel/domainname");
  EXPECT_EQ(result.out, "inner\nexample.test\n") << result.text();
  EXPECT_EQ(read_file("/proc/sys/kernel/hostname"), "nacelle-test\n");
}

TEST_F(NamespacesTest, sysctls_are_set_inside_only) {
  Config config = Config::minimal();
  config.for_linux["sysctl"] =
      R"({"net.ipv4.ip_unprivileged_port_start":"77","kernel.msgmax":"4242"})";
  const CommandResult result = run_shell(
      config, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax");
  EXPECT_EQ(result.out, "77\n4242\n") << result.text();
  EXPECT_NE(read_file("/proc/sys/kernel/msgmax"), "4242\n");
}

TEST_F(NamespacesTest, a_sysctl_the_kernel_refuses_is_named) {
  Config config = Config::minimal();
  config.for_linux["sysctl"] = R"({"kernel.msgmax":"many"})";
  const CommandResult result = run_once(config);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_CONTAINS(result.err, "kernel/msgmax");
}

}  // namespace
}  // namespace nacelle::test
