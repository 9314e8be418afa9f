#include "api/image_json.h"

#include <fnmatch.h>

#include <utility>

#include "api/route.h"
#include "base/text.h"
#include "oci/reference.h"

namespace nacelle::api {

using codec::json::Writer;
using image::Details;

namespace {

constexpr const char* never = "0001-01-01T00:00:00Z";

int64_t created_seconds(const std::string& text) {
  // As Go's zero time in seconds, where an image does not say.
  constexpr int64_t zero_time = -62135596800;
  const auto ns = parse_rfc3339(text);
  if (!ns) return text.empty() ? 0 : zero_time;
  return *ns / 1'000'000'000;
}

std::string familiar_digest(const std::string& text) {
  const auto reference = oci::parse_reference(text);
  return reference ? cat(reference->familiar_name(), '@', reference->digest) : text;
}

void write_labels(Writer& json, const oci::RunConfig& run) {
  if (run.labels.empty()) {
    json.null();
    return;
  }
  json.begin_object();
  for (const auto& [key, value] : run.labels) json.member(key, value);
  json.end_object();
}

void write_keys(Writer& json, const std::vector<std::string>& keys) {
  json.begin_object();
  for (const std::string& each : keys) json.key(each).begin_object().end_object();
  json.end_object();
}

void write_list(Writer& json, const std::vector<std::string>& list) {
  if (list.empty()) {
    json.null();
  } else {
    json.values(list);
  }
}

void write_health_check(Writer& json, const oci::HealthCheck& check) {
  json.key("Healthcheck").begin_object();
  if (!check.test.empty()) json.key("Test").values(check.test);
  const auto number = [&](const char* name, int64_t value) {
    if (value != 0) json.member(name, value);
  };
  number("Interval", check.interval_ns);
  number("Timeout", check.timeout_ns);
  number("StartPeriod", check.start_period_ns);
  number("StartInterval", check.start_interval_ns);
  number("Retries", check.retries);
  json.end_object();
}

// Since 1.50 only what an OCI configuration has, as far as it is set.
void write_new_config(Writer& json, const oci::RunConfig& run) {
  const auto text = [&](const char* name, const std::string& value) {
    if (!value.empty()) json.member(name, value);
  };
  const auto list = [&](const char* name, const std::vector<std::string>& values) {
    if (!values.empty()) json.key(name).values(values);
  };
  json.begin_object();
  text("User", run.user);
  if (!run.exposed_ports.empty()) {
    json.key("ExposedPorts");
    write_keys(json, run.exposed_ports);
  }
  list("Env", run.env);
  list("Entrypoint", run.entrypoint);
  list("Cmd", run.command);
  if (!run.volumes.empty()) {
    json.key("Volumes");
    write_keys(json, run.volumes);
  }
  text("WorkingDir", run.working_directory);
  if (!run.labels.empty()) {
    json.key("Labels");
    write_labels(json, run);
  }
  text("StopSignal", run.stop_signal);
  if (run.args_escaped) json.member("ArgsEscaped", true);
  if (run.health_check) write_health_check(json, *run.health_check);
  list("OnBuild", run.on_build);
  list("Shell", run.shell);
  json.end_object();
}

void write_old_config(Writer& json, const oci::RunConfig& run) {
  json.begin_object().member("Hostname", "").member("Domainname", "").member("User", run.user);
  json.member("AttachStdin", false).member("AttachStdout", false).member("AttachStderr", false);
  if (!run.exposed_ports.empty()) {
    json.key("ExposedPorts");
    write_keys(json, run.exposed_ports);
  }
  json.member("Tty", false).member("OpenStdin", false).member("StdinOnce", false);
  json.key("Env");
  write_list(json, run.env);
  json.key("Cmd");
  write_list(json, run.command);
  if (run.health_check) write_health_check(json, *run.health_check);
  json.member("Image", "").key("Volumes");
  run.volumes.empty() ? (void)json.null() : write_keys(json, run.volumes);
  json.member("WorkingDir", run.working_directory).key("Entrypoint");
  write_list(json, run.entrypoint);
  json.key("OnBuild");
  write_list(json, run.on_build);
  json.key("Labels");
  write_labels(json, run);
  if (!run.stop_signal.empty()) json.member("StopSignal", run.stop_signal);
  if (!run.shell.empty()) json.key("Shell").values(run.shell);
  json.end_object();
}

}  // namespace

std::vector<std::string> repo_tags(const Details& details) {
  std::vector<std::string> tags;
  for (const std::string& each : details.image.names) tags.push_back(oci::familiar_name(each));
  return tags;
}

std::vector<std::string> repo_digests(const Details& details) {
  std::vector<std::string> digests;
  for (const std::string& each : details.image.repo_digests) {
    digests.push_back(familiar_digest(each));
  }
  return digests;
}

void write_image_summary(Writer& json, const Details& details, const std::vector<std::string>& tags,
                         const std::vector<std::string>& digests, const ImageSizes& sizes,
                         int version) {
  const bool nameless = version < 43 && tags.empty() && digests.empty();
  json.begin_object().member("Containers", sizes.containers);
  json.member("Created", created_seconds(details.record.config.created));
  json.member("Id", details.id().text()).key("Labels");
  write_labels(json, details.record.config.run);
  json.member("ParentId", "").key("RepoDigests");
  json.values(nameless ? std::vector<std::string>{"<none>@<none>"} : digests);
  json.key("RepoTags");
  json.values(nameless ? std::vector<std::string>{"<none>:<none>"} : tags);
  json.member("SharedSize", sizes.shared).member("Size", sizes.bytes);
  if (version < 44) json.member("VirtualSize", sizes.bytes);
  json.end_object();
}

void write_image_inspect(Writer& json, const Details& details, uint64_t bytes, int version) {
  const oci::ImageConfig& config = details.record.config;
  const std::string comment = config.history.empty() ? "" : config.history.back().comment;
  json.begin_object().member("Id", details.id().text());
  json.key("RepoTags").values(repo_tags(details));
  json.key("RepoDigests").values(repo_digests(details));
  json.member("Parent", "").member("Comment", comment);
  if (!config.created.empty() || version < 44) {
    json.member("Created", config.created.empty() ? std::string(never) : config.created);
  }
  json.member("DockerVersion", "").member("Author", config.author).key("Config");
  if (version < 50) {
    write_old_config(json, config.run);
  } else {
    write_new_config(json, config.run);
  }
  json.member("Architecture", config.platform.architecture);
  if (!config.platform.variant.empty()) json.member("Variant", config.platform.variant);
  json.member("Os", config.platform.os);
  if (!config.platform.os_version.empty()) json.member("OsVersion", config.platform.os_version);
  json.member("Size", bytes);
  if (version < 44) json.member("VirtualSize", bytes);
  json.key("GraphDriver").begin_object().key("Data").begin_object().end_object();
  json.member("Name", "overlay2").end_object();
  json.key("RootFS").begin_object().member("Type", "layers");
  if (!config.diff_ids.empty()) {
    json.key("Layers").begin_array();
    for (const codec::Digest& each : config.diff_ids) json.value(each.text());
    json.end_array();
  }
  json.end_object();
  json.key("Metadata").begin_object().member("LastTagTime", never).end_object();
  json.end_object();
}

void write_image_history(Writer& json, const Details& details,
                         const std::vector<uint64_t>& layer_sizes) {
  // Which of the layers an entry made: those that made none say so.
  std::vector<uint64_t> sizes;
  size_t layer = 0;
  for (const oci::History& each : details.record.config.history) {
    const bool has_layer = !each.empty_layer && layer < layer_sizes.size();
    sizes.push_back(has_layer ? layer_sizes[layer++] : 0);
  }
  json.begin_array();
  for (size_t left = sizes.size(); left-- > 0;) {
    const oci::History& entry = details.record.config.history[left];
    const bool newest = left + 1 == sizes.size();
    json.begin_object().member("Comment", entry.comment);
    json.member("Created", created_seconds(entry.created)).member("CreatedBy", entry.created_by);
    json.member("Id", newest ? details.id().text() : std::string("<missing>"));
    json.member("Size", sizes[left]).key("Tags");
    const std::vector<std::string> tags = repo_tags(details);
    if (newest && !tags.empty()) {
      json.values(tags);
    } else {
      json.null();
    }
    json.end_object();
  }
  json.end_array();
}

bool matches_reference(const std::string& pattern, const std::string& familiar) {
  if (::fnmatch(pattern.c_str(), familiar.c_str(), FNM_PATHNAME) == 0) return true;
  const auto reference = oci::parse_reference(familiar);
  return reference &&
         ::fnmatch(pattern.c_str(), reference->familiar_name().c_str(), FNM_PATHNAME) == 0;
}

}  // namespace nacelle::api
