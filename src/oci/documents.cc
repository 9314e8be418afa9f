#include "oci/documents.h"

#include <algorithm>

#include "codec/json_writer.h"
#include "oci/names.h"
#include "oci/spec_parse.h"
#include "oci/spec_read.h"

namespace nacelle::oci {
namespace {

using codec::json::Writer;

std::span<const Named<Status>> status_names() {
  using enum Status;
  static constexpr Named<Status> names[] = {
      {"creating", Creating}, {"created", Created}, {"running", Running},
      {"stopped", Stopped},   {"paused", Paused},
  };
  return names;
}

void write_annotations(Writer& json, const Annotations& annotations) {
  json.begin_object();
  for (const auto& [key, value] : annotations) json.member(key, value);
  json.end_object();
}

void write_state(Writer& json, const State& state) {
  json.begin_object();
  json.member("ociVersion", state.oci_version);
  json.member("id", state.id);
  // Present even when 0: callers read a stopped container's pid as 0.
  json.member("pid", state.pid);
  json.member("status", to_string(state.status));
  json.member("bundle", state.bundle);
  if (!state.rootfs.empty()) json.member("rootfs", state.rootfs);
  if (!state.created.empty()) json.member("created", state.created);
  if (!state.annotations.empty()) {
    json.key("annotations");
    write_annotations(json, state.annotations);
  }
  if (state.owner) json.member("owner", *state.owner);
  json.end_object();
}

template <class T>
void write_names(Writer& json, std::string_view key, std::span<const Named<T>> table) {
  json.key(key).begin_array();
  for (const Named<T>& each : table) {
    if (!each.name.empty()) json.value(each.name);
  }
  json.end_array();
}

void write_switch(Writer& json, std::string_view key, bool enabled) {
  json.key(key).begin_object().member("enabled", enabled).end_object();
}

void write_seccomp_features(Writer& json, const Features& features) {
  json.key("seccomp").begin_object();
  json.member("enabled", true);
  write_names(json, "actions", seccomp_action_names());
  write_names(json, "operators", seccomp_operator_names());
  json.key("archs").values(features.seccomp_archs);
  json.key("knownFlags").values(seccomp_flag_names());
  json.key("supportedFlags").values(features.supported_seccomp_flags);
  json.end_object();
}

void write_linux_features(Writer& json, const Features& features) {
  json.key("linux").begin_object();
  std::vector<std::string_view> namespaces;
  for (const auto& each : namespace_names()) namespaces.push_back(each.name);
  std::ranges::sort(namespaces);
  json.key("namespaces").values(namespaces);
  json.key("capabilities").values(capability_names());
  json.key("cgroup").begin_object();
  json.member("v1", false).member("v2", true);
  json.member("systemd", features.cgroup_systemd);
  json.member("systemdUser", features.cgroup_systemd_user);
  json.member("rdma", features.cgroup_rdma);
  json.end_object();
  write_seccomp_features(json, features);
  write_switch(json, "apparmor", features.apparmor);
  write_switch(json, "selinux", features.selinux);
  json.key("memoryPolicy").begin_object();
  write_names(json, "modes", memory_policy_names());
  write_names(json, "flags", memory_policy_flag_names());
  json.end_object();
  write_switch(json, "intelRdt", features.intel_rdt);
  json.key("mountExtensions").begin_object();
  write_switch(json, "idmap", features.idmap);
  json.end_object();
  write_switch(json, "netDevices", features.net_devices);
  json.end_object();
}

}  // namespace

Result<> read_json(const Value& value, State& state) {
  const Object json = TRY(value.object());
  TRY(json.need("ociVersion", state.oci_version));
  TRY(json.need("id", state.id));
  state.status = TRY(read_name(json, "status", status_names(), "status"));
  TRY(json.maybe("pid", state.pid));
  TRY(json.need("bundle", state.bundle));
  TRY(json.maybe("annotations", state.annotations));
  TRY(json.maybe("rootfs", state.rootfs));
  TRY(json.maybe("created", state.created));
  TRY(json.maybe("owner", state.owner));
  return {};
}

std::string_view to_string(Status status) {
  const auto names = status_names();
  return std::ranges::find(names, status, &Named<Status>::value)->name;
}

std::string state_document(const State& state) {
  Writer json;
  write_state(json, state);
  return std::move(json).take();
}

std::string state_document_indented(const State& state) {
  Writer json("  ");
  write_state(json, state);
  return std::move(json).take() + '\n';
}

Result<State> parse_state(std::string_view text) {
  const auto document = TRY(codec::json::Document::parse(
      text, {.bytes_max = config_bytes_max, .depth_max = config_depth_max}));
  State state;
  TRY(document.root().read(state));
  return state;
}

std::string container_process_state_document(const ContainerProcessState& process) {
  Writer json;
  json.begin_object();
  json.member("ociVersion", oci_version);
  json.key("fds").values(process.fds);
  json.member("pid", process.pid);
  if (!process.metadata.empty()) json.member("metadata", process.metadata);
  json.key("state");
  write_state(json, process.state);
  json.end_object();
  return std::move(json).take();
}

std::string features_document(const Features& features) {
  static constexpr std::string_view hooks[] = {
      "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
  };
  Writer json("    ");
  json.begin_object();
  json.member("ociVersionMin", oci_version_min);
  json.member("ociVersionMax", oci_version);
  json.key("hooks").values(hooks);
  json.key("mountOptions").values(features.mount_options);
  write_linux_features(json, features);
  if (!features.annotations.empty()) {
    json.key("annotations");
    write_annotations(json, features.annotations);
  }
  if (!features.unsafe_annotations.empty()) {
    json.key("potentiallyUnsafeConfigAnnotations").values(features.unsafe_annotations);
  }
  json.end_object();
  return std::move(json).take() + '\n';
}

}  // namespace nacelle::oci
