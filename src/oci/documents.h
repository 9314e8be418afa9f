// The JSON documents a runtime writes for others: the state of a container, its features, a starter
// configuration. Pure: what they say is passed in.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::oci {

inline constexpr std::string_view oci_version = "1.3.0";      // what we write
inline constexpr std::string_view oci_version_min = "1.0.0";  // what we read

// runtime.md "State"; Paused is runc's addition.
enum class Status { Creating, Created, Running, Stopped, Paused };
std::string_view to_string(Status status);

struct State {
  std::string oci_version{oci::oci_version};
  std::string id;
  Status status = Status::Creating;
  int pid = 0;  // 0: none
  std::string bundle;
  Annotations annotations;
  // runc's additions, which its callers read. Left out of the document when empty.
  std::string rootfs;
  std::string created;  // RFC 3339
  std::optional<std::string> owner;
};

// On one line, for a hook's standard input.
std::string state_document(const State& state);
// Spread out, for people: what `state` prints.
std::string state_document_indented(const State& state);
Result<State> parse_state(std::string_view json);

// What is sent to a seccomp listener along with its descriptor (config-linux.md, "The Container
// Process State").
struct ContainerProcessState {
  std::vector<std::string> fds{"seccompFd"};
  int pid = 0;
  std::string metadata;
  State state;
};
std::string container_process_state_document(const ContainerProcessState& process);

// features.md; everything the runtime-spec gives names to is filled in by the writer from names.h.
struct Features {
  std::vector<std::string> mount_options;
  std::vector<std::string> seccomp_archs;            // that a filter can be compiled for
  std::vector<std::string> supported_seccomp_flags;  // that this kernel takes
  bool cgroup_systemd = false;
  bool cgroup_systemd_user = false;
  bool cgroup_rdma = true;
  bool apparmor = false;
  bool selinux = false;
  bool intel_rdt = false;
  bool idmap = true;
  bool net_devices = true;
  Annotations annotations;
  std::vector<std::string> unsafe_annotations;
};
std::string features_document(const Features& features);

// What `spec` writes. The ids are those a rootless container's root is mapped to.
std::string default_spec(bool rootless, uint32_t host_uid = 0, uint32_t host_gid = 0);

}  // namespace nacelle::oci
