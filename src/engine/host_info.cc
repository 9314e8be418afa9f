#include "engine/host_info.h"

#include <sched.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <array>
#include <utility>

#include "base/text.h"
#include "sys/cgroup.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

constexpr size_t file_bytes_max = 64u << 10;

std::string read_text(const char* path) {
  return sys::read_file_at(sys::working_directory, path, file_bytes_max).value_or(std::string());
}

std::string file_system_of(const std::string& path) {
  constexpr std::array<std::pair<uint64_t, const char*>, 8> names{{{0xef53, "extfs"},
                                                                   {0x58465342, "xfs"},
                                                                   {0x9123683e, "btrfs"},
                                                                   {0x01021994, "tmpfs"},
                                                                   {0x794c7630, "overlayfs"},
                                                                   {0x2fc12fc1, "zfs"},
                                                                   {0xf2f52010, "f2fs"},
                                                                   {0x6969, "nfs"}}};
  struct statfs status{};
  if (::statfs(path.c_str(), &status) != 0) return "<unknown>";
  for (const auto& [magic, name] : names) {
    if (magic == static_cast<uint64_t>(status.f_type)) return name;
  }
  return "<unknown>";
}

void read_controllers(HostInfo& info) {
  const auto tree = sys::open_cgroup_tree();
  if (!tree) return;
  const std::string controllers =
      sys::read_control(tree->root, "cgroup.controllers").value_or(std::string());
  const auto has = [&](std::string_view wanted) {
    for (std::string_view rest = controllers; !rest.empty();) {
      std::string_view word = take_until(rest, ' ');
      if (word.ends_with('\n')) word.remove_suffix(1);
      if (word == wanted) return true;
    }
    return false;
  };
  info.memory = has("memory");
  info.cpu = has("cpu");
  info.cpuset = has("cpuset");
  info.pids = has("pids");
  info.io = has("io");
  info.swap = info.memory;  // one controller in v2
}

void add_warnings(HostInfo& info) {
  const auto warn = [&](bool there, const char* text) {
    if (!there) info.warnings.emplace_back(text);
  };
  warn(info.memory, "WARNING: No memory limit support");
  warn(info.swap, "WARNING: No swap limit support");
  warn(info.cpu, "WARNING: No cpu cfs quota support");
  warn(info.cpu, "WARNING: No cpu cfs period support");
  warn(info.cpu, "WARNING: No cpu shares support");
  warn(info.cpuset, "WARNING: No cpuset support");
  warn(info.io, "WARNING: No io.weight support");
  warn(info.pids, "WARNING: No pids limit support");
  warn(info.forwards_ipv4, "WARNING: IPv4 forwarding is disabled");
}

}  // namespace

std::string os_release_value(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    if (!line.starts_with(name) || !line.substr(name.size()).starts_with('=')) continue;
    line.remove_prefix(name.size() + 1);
    const bool quoted = line.size() >= 2 && (line.front() == '"' || line.front() == '\'') &&
                        line.back() == line.front();
    if (quoted) line = line.substr(1, line.size() - 2);
    std::string value;
    for (size_t at = 0; at < line.size(); ++at) {
      if (line[at] == '\\' && at + 1 < line.size()) ++at;
      value += line[at];
    }
    return value;
  }
  return {};
}

std::string_view go_architecture(std::string_view machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  if (machine == "i686" || machine == "i386") return "386";
  if (machine.starts_with("arm")) return "arm";
  return machine;
}

HostInfo read_host_info(const std::string& data_root) {
  HostInfo info;
  utsname names{};
  if (::uname(&names) == 0) {
    info.kernel = names.release;
    info.architecture = names.machine;
    info.host_name = names.nodename;
  }
  std::string release = read_text("/etc/os-release");
  if (release.empty()) release = read_text("/usr/lib/os-release");
  info.operating_system = os_release_value(release, "PRETTY_NAME");
  if (info.operating_system.empty()) info.operating_system = "Linux";
  info.os_version = os_release_value(release, "VERSION_ID");
  cpu_set_t processors;
  if (::sched_getaffinity(0, sizeof processors, &processors) == 0) {
    info.processors = static_cast<unsigned>(CPU_COUNT(&processors));
  }
  struct sysinfo memory{};
  if (::sysinfo(&memory) == 0) info.memory_bytes = memory.totalram * memory.mem_unit;
  info.forwards_ipv4 = read_text("/proc/sys/net/ipv4/ip_forward").starts_with('1');
  info.file_system = file_system_of(data_root);
  read_controllers(info);
  add_warnings(info);
  return info;
}

}  // namespace nacelle::engine
