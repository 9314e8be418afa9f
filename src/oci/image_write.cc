#include "codec/json_writer.h"
#include "oci/image.h"

namespace nacelle::oci {
namespace {

using codec::json::Writer;
using Map = std::map<std::string, std::string>;

void write_text(Writer& json, std::string_view key, std::string_view text) {
  if (!text.empty()) json.member(key, text);
}

void write_list(Writer& json, std::string_view key, const std::vector<std::string>& list) {
  if (!list.empty()) json.key(key).values(list);
}

// An object whose values say nothing.
void write_set(Writer& json, std::string_view key, const std::vector<std::string>& set) {
  if (set.empty()) return;
  json.key(key).begin_object();
  for (const std::string& each : set) json.key(each).begin_object().end_object();
  json.end_object();
}

template <class Pairs>
void write_map(Writer& json, std::string_view key, const Pairs& pairs) {
  if (pairs.empty()) return;
  json.key(key).begin_object();
  for (const auto& [name, value] : pairs) json.member(name, value);
  json.end_object();
}

// `architecture` and `os` are required, so they stand even when they are empty.
void write_platform(Writer& json, const Platform& platform) {
  json.member("architecture", platform.architecture).member("os", platform.os);
  write_text(json, "os.version", platform.os_version);
  write_text(json, "variant", platform.variant);
}

// Docker's documents have the size before the digest; all tools write either form so.
enum class Form { Oci, Docker };

Form form_of(std::string_view document_type) {
  const bool docker =
      document_type == media::docker_manifest || document_type == media::docker_index;
  return docker ? Form::Docker : Form::Oci;
}

void write_descriptor(Writer& json, const Descriptor& descriptor, Form form) {
  json.begin_object();
  json.member("mediaType", descriptor.media_type);
  if (form == Form::Docker) json.member("size", descriptor.size);
  json.member("digest", descriptor.digest.text());
  if (form == Form::Oci) json.member("size", descriptor.size);
  write_map(json, "annotations", descriptor.annotations);
  if (descriptor.platform) {
    json.key("platform").begin_object();
    write_platform(json, *descriptor.platform);
    json.end_object();
  }
  write_text(json, "artifactType", descriptor.artifact_type);
  json.end_object();
}

void write_descriptors(Writer& json, std::string_view key, const std::vector<Descriptor>& list,
                       Form form) {
  json.key(key).begin_array();
  for (const Descriptor& each : list) write_descriptor(json, each, form);
  json.end_array();
}

void begin_document(Writer& json, std::string_view media_type, std::string_view default_type) {
  json.begin_object();
  json.member("schemaVersion", 2);
  json.member("mediaType", media_type.empty() ? default_type : media_type);
}

std::string end_document(Writer& json, const Map& annotations) {
  write_map(json, "annotations", annotations);
  json.end_object();
  return std::move(json).take();
}

void write_number(Writer& json, std::string_view key, int64_t number) {
  if (number != 0) json.member(key, number);
}

void write_health_check(Writer& json, const HealthCheck& check) {
  json.key("Healthcheck").begin_object();
  write_list(json, "Test", check.test);
  write_number(json, "Interval", check.interval_ns);
  write_number(json, "Timeout", check.timeout_ns);
  write_number(json, "StartPeriod", check.start_period_ns);
  write_number(json, "StartInterval", check.start_interval_ns);
  write_number(json, "Retries", check.retries);
  json.end_object();
}

// The OCI's members first, then Docker's own.
void write_run_config(Writer& json, const RunConfig& run) {
  json.key("config").begin_object();
  write_text(json, "User", run.user);
  write_set(json, "ExposedPorts", run.exposed_ports);
  write_list(json, "Env", run.env);
  write_list(json, "Entrypoint", run.entrypoint);
  write_list(json, "Cmd", run.command);
  write_set(json, "Volumes", run.volumes);
  write_text(json, "WorkingDir", run.working_directory);
  write_map(json, "Labels", run.labels);
  write_text(json, "StopSignal", run.stop_signal);
  if (run.args_escaped) json.member("ArgsEscaped", true);
  if (run.health_check) write_health_check(json, *run.health_check);
  write_list(json, "OnBuild", run.on_build);
  write_list(json, "Shell", run.shell);
  json.end_object();
}

void write_rootfs(Writer& json, const std::vector<codec::Digest>& diff_ids) {
  json.key("rootfs").begin_object().member("type", "layers").key("diff_ids").begin_array();
  for (const codec::Digest& each : diff_ids) json.value(each.text());
  json.end_array().end_object();
}

void write_history(Writer& json, const std::vector<History>& history) {
  if (history.empty()) return;
  json.key("history").begin_array();
  for (const History& entry : history) {
    json.begin_object();
    write_text(json, "created", entry.created);
    write_text(json, "created_by", entry.created_by);
    write_text(json, "author", entry.author);
    write_text(json, "comment", entry.comment);
    if (entry.empty_layer) json.member("empty_layer", true);
    json.end_object();
  }
  json.end_array();
}

}  // namespace

std::string write_manifest(const Manifest& manifest) {
  Writer json;
  begin_document(json, manifest.media_type, media::oci_manifest);
  const Form form = form_of(manifest.media_type);
  json.key("config");
  write_descriptor(json, manifest.config, form);
  write_descriptors(json, "layers", manifest.layers, form);
  return end_document(json, manifest.annotations);
}

std::string write_index(const Index& index) {
  Writer json;
  begin_document(json, index.media_type, media::oci_index);
  write_descriptors(json, "manifests", index.manifests, form_of(index.media_type));
  return end_document(json, index.annotations);
}

std::string write_image_config(const ImageConfig& config) {
  Writer json;
  json.begin_object();
  write_text(json, "created", config.created);
  write_text(json, "author", config.author);
  write_platform(json, config.platform);
  write_run_config(json, config.run);
  write_rootfs(json, config.diff_ids);
  write_history(json, config.history);
  json.end_object();
  return std::move(json).take();
}

}  // namespace nacelle::oci
