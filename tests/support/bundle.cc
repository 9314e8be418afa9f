#include "tests/support/bundle.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::test {
namespace {

namespace fs = std::filesystem;

std::string object(const std::map<std::string, std::string>& properties) {
  std::string text = "{";
  for (const auto& [name, value] : properties) {
    if (value.empty()) continue;
    if (text.size() > 1) text += ',';
    text += cat(json_string(name), ':', value);
  }
  return text + "}";
}

std::string mount(std::string_view destination, std::string_view type, std::string_view source,
                  const std::vector<std::string>& options) {
  return cat("{\"destination\":", json_string(destination), ",\"type\":", json_string(type),
             ",\"source\":", json_string(source), ",\"options\":", json_strings(options), '}');
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text = "[";
  for (const std::string& part : parts) {
    if (text.size() > 1) text += ',';
    text += part;
  }
  return text + "]";
}

std::string capability_sets(const std::vector<std::string>& names) {
  const std::string list = json_strings(names);
  return object({{"bounding", list}, {"effective", list}, {"permitted", list}});
}

// One busybox and its names, made once; every bundle's copy shares the file by hard link only while
// nothing writes to it, so each bundle gets a copy of the file and the same links.
void make_rootfs(const fs::path& root) {
  for (const char* name :
       {"bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var"}) {
    fs::create_directories(root / name);
  }
  fs::permissions(root / "tmp", fs::perms(01777));
  fs::copy_file("/bin/busybox", root / "bin/busybox");
  static const std::string applets = run({"/bin/busybox", "--list"}).out;
  std::string_view rest = applets;
  while (!rest.empty()) {
    const std::string_view applet = take_until(rest, '\n');
    if (applet != "busybox") fs::create_symlink("busybox", root / "bin" / applet);
  }
  CHECK(write_file(root / "etc/passwd",
                   "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"));
  CHECK(write_file(root / "etc/group", "root:x:0:\nuser:x:1000:\n"));
  if (const std::string guest = guest_path(); !guest.empty()) {
    fs::copy_file(guest, root / "guest");
  }
}

std::string from_environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

std::string existing(std::string path) {
  return !path.empty() && ::access(path.c_str(), X_OK) == 0 ? std::move(path) : std::string();
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr const char* digits = "0123456789abcdef";
      out += cat("\\u00", digits[c >> 4], digits[c & 15]);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string json_strings(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(json_string(text));
  return joined(quoted);
}

Config Config::minimal() {
  Config config;
  config.top["ociVersion"] = "\"1.2.1\"";
  config.top["hostname"] = "\"nacelle\"";
  config.root["path"] = "\"rootfs\"";
  config.process["cwd"] = "\"/\"";
  config.process["user"] = R"({"uid":0,"gid":0})";
  config.process["env"] = json_strings({"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TERM=xterm"});
  config.process["noNewPrivileges"] = "true";
  config.process["capabilities"] =
      capability_sets({"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"});
  config.args({"/bin/true"});
  config.namespaces({"pid", "network", "ipc", "uts", "mount", "cgroup"});
  config.top["mounts"] = joined({
      mount("/proc", "proc", "proc", {}),
      mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
  });
  return config;
}

Config Config::docker_like() {
  Config config = minimal();
  config.process["noNewPrivileges"] = "";
  config.process["oomScoreAdj"] = "0";
  config.process["capabilities"] =
      capability_sets({"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
                       "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
                       "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"});
  config.top["mounts"] = joined({
      mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      mount("/dev/pts", "devpts", "devpts",
            {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
      mount("/sys/fs/cgroup", "cgroup", "cgroup", {"ro", "nosuid", "noexec", "nodev"}),
      mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
      mount("/dev/shm", "tmpfs", "shm",
            {"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"}),
  });
  config.for_linux["maskedPaths"] = json_strings(
      {"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
       "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
       "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"});
  config.for_linux["readonlyPaths"] =
      json_strings({"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"});
  config.for_linux["sysctl"] =
      R"({"net.ipv4.ip_unprivileged_port_start":"0","net.ipv4.ping_group_range":"0 2147483647"})";
  return config;
}

Config& Config::namespaces(const std::vector<std::string>& kinds) {
  std::vector<std::string> entries;
  for (const std::string& kind : kinds) entries.push_back(object({{"type", json_string(kind)}}));
  for_linux["namespaces"] = joined(entries);
  return *this;
}

Config& Config::add_mount(std::string_view mount_json) {
  std::string& mounts = top["mounts"];
  if (mounts.size() <= 2) {
    mounts = cat('[', mount_json, ']');
    return *this;
  }
  mounts.pop_back();
  mounts += cat(',', mount_json, ']');
  return *this;
}

std::string Config::json() const {
  std::map<std::string, std::string> all = top;
  all.try_emplace("root", object(root));
  all.try_emplace("process", object(process));
  all.try_emplace("linux", object(for_linux));
  return object(all);
}

Bundle::Bundle(std::string_view config_json) {
  std::string path = "/tmp/bundle.XXXXXX";
  CHECK(::mkdtemp(path.data()) != nullptr);
  CHECK(::chmod(path.c_str(), 0755) == 0);
  path_ = path;
  make_rootfs(rootfs());
  configure(config_json);
}

Bundle::~Bundle() {
  std::error_code ignored;  // a test that leaves a mount here fails its census, not this
  fs::remove_all(path_, ignored);
}

void Bundle::configure(std::string_view config_json) {
  CHECK(write_file(path_ + "/config.json", config_json));
}

std::string recorded_docker_config() {
  for (const char* place :
       {"/tests/data/docker-28-config.json", "/../shared/data/docker-28-config.json"}) {
    if (std::string text = read_file(cat(NACELLE_SOURCE_DIR, place)); !text.empty()) return text;
  }
  return {};
}

std::string guest_path() {
  return existing(from_environment("NACELLE_TEST_GUEST", NACELLE_BUILT_GUEST));
}

std::string runtime_path() {
  return existing(from_environment("NACELLE_OCI", NACELLE_BUILT_RUNTIME));
}

CommandResult oci(std::vector<std::string> arguments, const CommandOptions& options) {
  std::vector<std::string> words = {runtime_path(), "--root", runtime_root};
  CHECK(!words[0].empty());
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run(words, options);
}

ConsoleSocket::ConsoleSocket(const std::string& path)
    : path_(path), socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  CHECK(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  ::unlink(path.c_str());
  CHECK(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(::listen(socket_.get(), 4) == 0);
}

Fd ConsoleSocket::receive(milliseconds deadline) {
  pollfd waiting{socket_.get(), POLLIN, 0};
  if (::poll(&waiting, 1, static_cast<int>(deadline.count())) <= 0) return {};
  const Fd peer(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!peer) return {};
  waiting.fd = peer.get();
  if (::poll(&waiting, 1, static_cast<int>(deadline.count())) <= 0) return {};
  char data[256];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec into{data, sizeof data};
  msghdr message{};
  message.msg_iov = &into;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(peer.get(), &message, MSG_CMSG_CLOEXEC) < 0) return {};
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return {};
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return Fd(fd);
}

}  // namespace nacelle::test
