#include "oci/spec_read.h"

namespace nacelle::oci {

Result<> read_json(const Value& value, Root& root) {
  const Object json = TRY(value.object());
  TRY(json.need("path", root.path));
  TRY(json.maybe("readonly", root.readonly));
  return {};
}

Result<> read_json(const Value& value, IdMapping& mapping) {
  const Object json = TRY(value.object());
  TRY(json.need("containerID", mapping.container_id));
  TRY(json.need("hostID", mapping.host_id));
  TRY(json.need("size", mapping.size));
  return {};
}

Result<> read_json(const Value& value, Mount& mount) {
  const Object json = TRY(value.object());
  TRY(json.need("destination", mount.destination));
  TRY(json.maybe("type", mount.type));
  TRY(json.maybe("source", mount.source));
  TRY(json.maybe("options", mount.options));
  TRY(json.maybe("uidMappings", mount.uid_mappings));
  TRY(json.maybe("gidMappings", mount.gid_mappings));
  // Deprecated but allowed: a relative destination counts from the container's root.
  if (!mount.destination.empty() && mount.destination.front() != '/') {
    mount.destination.insert(0, 1, '/');
  }
  return {};
}

Result<> read_json(const Value& value, Hook& hook) {
  const Object json = TRY(value.object());
  TRY(json.need("path", hook.path));
  TRY(json.maybe("args", hook.args));
  TRY(json.maybe("env", hook.env));
  TRY(json.maybe("timeout", hook.timeout_s));
  return {};
}

Result<> read_json(const Value& value, Hooks& hooks) {
  const Object json = TRY(value.object());
  TRY(json.maybe("prestart", hooks.prestart));
  TRY(json.maybe("createRuntime", hooks.create_runtime));
  TRY(json.maybe("createContainer", hooks.create_container));
  TRY(json.maybe("startContainer", hooks.start_container));
  TRY(json.maybe("poststart", hooks.poststart));
  TRY(json.maybe("poststop", hooks.poststop));
  return {};
}

Result<> read_json(const Value& value, Spec& spec) {
  const Object json = TRY(value.object());
  TRY(json.need("ociVersion", spec.oci_version));
  TRY(json.maybe("process", spec.process));
  TRY(json.maybe("root", spec.root));
  TRY(json.maybe("hostname", spec.hostname));
  TRY(json.maybe("domainname", spec.domainname));
  TRY(json.maybe("mounts", spec.mounts));
  TRY(json.maybe("hooks", spec.hooks));
  TRY(json.maybe("annotations", spec.annotations));
  TRY(json.maybe("linux", spec.linux_));
  return {};
}

}  // namespace nacelle::oci
