// The pieces spec_builder.h is made of. Private to the spec_* files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.h"
#include "engine/spec_builder.h"
#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::engine {

const std::vector<std::string>& default_masked_paths();
const std::vector<std::string>& default_readonly_paths();

// "host", "private", "container:ID": a mode split at its first colon.
struct Mode {
  std::string_view kind, target;
};
Mode parse_mode(std::string_view text);
inline bool is_host(std::string_view mode) { return mode == "host"; }
inline bool is_container(std::string_view mode) { return mode.starts_with("container:"); }

// Security options, parsed.
struct SecurityOptions {
  bool no_new_privileges = false;
  bool writable_cgroups = false;
  std::string apparmor;
  std::string seccomp;  // empty or "builtin": the default; "unconfined"; else a profile
};
Result<SecurityOptions> parse_security_options(const std::vector<std::string>& options);

// "80", "80/tcp", "8000-8010/udp".
Result<> check_port_key(std::string_view key);

// Limits; what an update leaves out counts as it is.
Result<> check_resources(const HostConfig& host, bool update);

// The capabilities of a container, one bit each; a name that no capability has is Invalid.
Result<uint64_t> choose_capabilities(const HostConfig& host);
// Those that this process could hand out.
uint64_t available_capabilities();

// What came together of a request and an image.
Result<> check_merged(const ContainerConfig& config);

// Text for what must be one word in a file of ours: no control characters.
bool is_plain_text(std::string_view text);

// spec_devices.cc ------------------------------------------------------------------------------
Result<oci::DeviceRule> parse_device_rule(std::string_view text);
// Nodes and rules for everything the request asks for; looks at the host's /dev.
Result<> add_devices(const HostConfig& host, oci::Linux& linux_);
// A device of the host by path: "stat /dev/x: no such file or directory".
Result<std::pair<int64_t, int64_t>> device_numbers(const std::string& path);

// spec_resources.cc ----------------------------------------------------------------------------
Result<> add_resources(const HostConfig& host, oci::Resources& resources);
Result<std::vector<oci::Rlimit>> plan_rlimits(const std::vector<Ulimit>& ulimits);

// spec_mounts.cc -------------------------------------------------------------------------------
Result<std::vector<std::string>> tmpfs_options(std::string_view data);
Result<> check_mount_request(const MountRequest& mount);
Result<> check_mount_target(std::string_view target);

}  // namespace nacelle::engine
