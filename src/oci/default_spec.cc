#include <initializer_list>
#include <span>

#include "codec/json_writer.h"
#include "oci/documents.h"

namespace nacelle::oci {
namespace {

using codec::json::Writer;
using Words = std::initializer_list<std::string_view>;

void write_process(Writer& json) {
  static constexpr std::string_view capabilities[] = {
      "CAP_AUDIT_WRITE",
      "CAP_KILL",
      "CAP_NET_BIND_SERVICE",
  };
  json.key("process").begin_object();
  json.member("terminal", true);
  json.key("user").begin_object().member("uid", 0).member("gid", 0).end_object();
  json.key("args").values(Words{"sh"});
  json.key("env").values(
      Words{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"});
  json.member("cwd", "/");
  json.key("capabilities").begin_object();
  for (const std::string_view set : {"bounding", "effective", "permitted"}) {
    json.key(set).values(capabilities);
  }
  json.end_object();
  json.key("rlimits").begin_array().begin_object();
  json.member("type", "RLIMIT_NOFILE").member("hard", 1024).member("soft", 1024);
  json.end_object().end_array();
  json.member("noNewPrivileges", true);
  json.end_object();
}

void write_mount(Writer& json, std::string_view destination, std::string_view type,
                 std::string_view source, Words options = {}) {
  json.begin_object();
  json.member("destination", destination).member("type", type).member("source", source);
  if (options.size() != 0) json.key("options").values(options);
  json.end_object();
}

void write_mounts(Writer& json, bool rootless) {
  json.key("mounts").begin_array();
  write_mount(json, "/proc", "proc", "proc");
  write_mount(json, "/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"});
  if (rootless) {
    // No group 5 is mapped into a rootless container.
    write_mount(json, "/dev/pts", "devpts", "devpts",
                {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"});
  } else {
    write_mount(json, "/dev/pts", "devpts", "devpts",
                {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"});
  }
  write_mount(json, "/dev/shm", "tmpfs", "shm",
              {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"});
  write_mount(json, "/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"});
  if (rootless) {
    // Mounting sysfs takes a network namespace of one's own, which a rootless container shares.
    write_mount(json, "/sys", "none", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"});
  } else {
    write_mount(json, "/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"});
  }
  write_mount(json, "/sys/fs/cgroup", "cgroup", "cgroup",
              {"nosuid", "noexec", "nodev", "relatime", "ro"});
  json.end_array();
}

void write_mapping(Writer& json, std::string_view key, uint32_t host_id) {
  json.key(key).begin_array().begin_object();
  json.member("containerID", 0).member("hostID", host_id).member("size", 1);
  json.end_object().end_array();
}

void write_namespaces(Writer& json, Words types) {
  json.key("namespaces").begin_array();
  for (const std::string_view type : types) {
    json.begin_object().member("type", type).end_object();
  }
  json.end_array();
}

void write_hidden_paths(Writer& json) {
  json.key("maskedPaths")
      .values(Words{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                    "/proc/sched_debug", "/proc/scsi", "/sys/devices/virtual/powercap",
                    "/sys/firmware"});
  json.key("readonlyPaths")
      .values(Words{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"});
}

}  // namespace

std::string default_spec(bool rootless, uint32_t host_uid, uint32_t host_gid) {
  Writer json("\t");
  json.begin_object();
  json.member("ociVersion", oci_version);
  write_process(json);
  json.key("root").begin_object();
  json.member("path", "rootfs").member("readonly", true);
  json.end_object();
  json.member("hostname", "nacelle");
  write_mounts(json, rootless);
  json.key("linux").begin_object();
  if (rootless) {
    write_mapping(json, "uidMappings", host_uid);
    write_mapping(json, "gidMappings", host_gid);
    write_namespaces(json, {"pid", "ipc", "uts", "mount", "cgroup", "user"});
  } else {
    json.key("resources").begin_object().key("devices").begin_array();
    json.begin_object().member("allow", false).member("access", "rwm").end_object();
    json.end_array().end_object();
    write_namespaces(json, {"pid", "network", "ipc", "uts", "mount", "cgroup"});
  }
  write_hidden_paths(json);
  json.end_object().end_object();
  return std::move(json).take() + '\n';
}

}  // namespace nacelle::oci
