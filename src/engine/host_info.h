// What this machine is, as `docker info` and `docker version` tell it: read from the kernel each
// time, in some tens of microseconds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle::engine {

struct HostInfo {
  std::string kernel, architecture, host_name;
  std::string operating_system, os_version;  // "Debian GNU/Linux 12 (bookworm)", "12"
  unsigned processors = 0;
  uint64_t memory_bytes = 0;
  // Controllers of the cgroup v2 tree: what can be limited.
  bool memory = false, swap = false, cpu = false, cpuset = false, pids = false, io = false;
  bool forwards_ipv4 = false;
  // Programs of the kernel keep networks apart (bpf/link.bpf.c). Who asks for this looks himself.
  bool links_watched = false;
  std::string file_system;  // of the data root: "extfs", "xfs"
  std::vector<std::string> warnings;
};

HostInfo read_host_info(const std::string& data_root);

// The value of NAME="value" in the text of an os-release file, without quotes and escapes; "" where
// there is none.
std::string os_release_value(std::string_view text, std::string_view name);
// Go's name for what uname calls a machine.
std::string_view go_architecture(std::string_view machine);

}  // namespace nacelle::engine
