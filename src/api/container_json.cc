#include "api/container_json.h"

#include <algorithm>
#include <string>
#include <vector>

#include "api/docker_fields.h"
#include "api/route.h"
#include "base/text.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Container;
using engine::Phase;

constexpr const char* never = "0001-01-01T00:00:00Z";

const std::string& or_never(const std::string& time) {
  static const std::string text = never;
  return time.empty() ? text : time;
}

// HostConfig in dockerd's order: resources stand behind the rest, and behind them what is for
// Windows, and the masks. `describe` has the resources first.
struct RestOfHost {
  DockerFields<engine::HostConfig> fields;
  size_t resources;
  size_t seen = 0;
  template <class M>
  void operator()(const char* name, M& member) {
    if (seen++ < resources) return;
    const std::string_view text = name;
    if (text == "MaskedPaths" || text == "ReadonlyPaths") return;
    if (text == "ConsoleSize" && is_empty(member)) {
      fields.json.key(name).raw("[0,0]");
      return;
    }
    fields(name, member);
  }
};

struct Count {
  size_t members = 0;
  template <class M>
  void operator()(const char*, M&) {
    ++members;
  }
};

void write_host_config(Writer& json, const engine::HostConfig& constant) {
  auto& host = const_cast<engine::HostConfig&>(constant);  // describe() serves reading, too
  Count resources;
  host.describe_resources(resources);
  json.begin_object();
  RestOfHost rest{{json}, resources.members};
  host.describe(rest);
  DockerFields<engine::HostConfig> fields{json};
  host.describe_resources(fields);
  for (const char* name : {"CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"}) {
    json.member(name, 0);
  }
  fields("MaskedPaths", host.masked_paths);
  fields("ReadonlyPaths", host.readonly_paths);
  json.end_object();
}

void write_state(Writer& json, const engine::ContainerState& state) {
  const Phase phase = state.phase;
  json.begin_object();
  json.member("Status", engine::to_string(phase));
  json.member("Running", counts_as_running(phase));
  json.member("Paused", phase == Phase::Paused);
  json.member("Restarting", phase == Phase::Restarting);
  json.member("OOMKilled", state.oom_killed);
  json.member("Dead", phase == Phase::Dead);
  json.member("Pid", state.pid);
  json.member("ExitCode", state.exit_code);
  json.member("Error", state.error);
  json.member("StartedAt", or_never(state.started_at));
  json.member("FinishedAt", or_never(state.finished_at));
  if (state.health) {
    json.key("Health").begin_object();
    json.member("Status", state.health->status);
    json.member("FailingStreak", state.health->failing_streak);
    json.key("Log").begin_array();
    for (const auto& probe : state.health->log) write_docker(json, probe);
    json.end_array().end_object();
  }
  json.end_object();
}

void write_endpoints(Writer& json, const Container& container) {
  json.begin_object();
  for (const auto& [network, endpoint] : container.endpoints) {
    json.key(network);
    write_endpoint(json, endpoint);
  }
  json.end_object();
}

// Ports that the container or its image names.
std::vector<std::string_view> exposed_ports(const Container& container) {
  std::vector<std::string_view> ports;
  for (const auto& [port, nothing] : container.config.exposed_ports) ports.push_back(port);
  for (const auto& [port, nothing] : container.host.port_bindings) {
    if (!contains(ports, port)) ports.push_back(port);
  }
  std::ranges::sort(ports);
  return ports;
}

bool has_own_network(const Container& container) {
  const std::string& mode = container.host.network_mode;
  return mode != "host" && mode != "none" && !mode.starts_with("container:");
}

void write_network_settings(Writer& json, const Container& container) {
  static const engine::Endpoint nothing;
  const auto found = container.endpoints.find("bridge");
  const engine::Endpoint& bridge = found == container.endpoints.end() ? nothing : found->second;
  json.begin_object();
  json.member("Bridge", "").member("SandboxID", "");
  // What nsenter and their like take; ours are not pinned anywhere else.
  const int pid = container.state.pid;
  json.member("SandboxKey", pid > 0 ? cat("/proc/", pid, "/ns/net") : std::string());
  json.key("Ports").begin_object();
  if (counts_as_running(container.state.phase) && has_own_network(container)) {
    for (const std::string_view port : exposed_ports(container)) {
      const auto bindings = container.ports.find(std::string(port));
      json.key(port);
      if (bindings == container.ports.end()) {
        json.null();
        continue;
      }
      json.begin_array();
      for (const engine::PortBinding& each : bindings->second) {
        json.begin_object().member("HostIp", each.host_ip).member("HostPort", each.host_port);
        json.end_object();
      }
      json.end_array();
    }
  }
  json.end_object();
  json.member("HairpinMode", false);
  json.member("LinkLocalIPv6Address", "").member("LinkLocalIPv6PrefixLen", 0);
  json.key("SecondaryIPAddresses").null().key("SecondaryIPv6Addresses").null();
  json.member("EndpointID", bridge.endpoint_id);
  json.member("Gateway", bridge.gateway);
  json.member("GlobalIPv6Address", bridge.global_ipv6_address);
  json.member("GlobalIPv6PrefixLen", bridge.global_ipv6_prefix_len);
  json.member("IPAddress", bridge.ip_address);
  json.member("IPPrefixLen", bridge.ip_prefix_len);
  json.member("IPv6Gateway", bridge.ipv6_gateway);
  json.member("MacAddress", bridge.mac_address);
  json.key("Networks");
  write_endpoints(json, container);
  json.end_object();
}

void write_mounts(Writer& json, const Container& container) {
  json.begin_array();
  for (const engine::MountPoint& mount : container.mounts) write_docker(json, mount);
  json.end_array();
}

void write_paths(Writer& json, const Container& container) {
  // Made with the first start.
  const bool there = !container.state.started_at.empty();
  const auto path = [&](std::string_view name) {
    return there ? cat(container.directory, '/', name) : std::string();
  };
  json.member("ResolvConfPath", path("resolv.conf"));
  json.member("HostnamePath", path("hostname"));
  json.member("HostsPath", path("hosts"));
  const bool has_file = container.host.log_config.type != "none";
  json.member("LogPath", has_file ? path(logs::json_file_name) : std::string());
}

void write_sizes(Writer& json, const Sizes& sizes) {
  if (!sizes) return;
  json.member("SizeRw", sizes->first).member("SizeRootFs", sizes->second);
}

void write_graph_driver(Writer& json, const Container& container) {
  json.key("GraphDriver").begin_object().key("Data").begin_object();
  json.member("ID", container.id);
  json.member("UpperDir", container.directory + "/upper");
  json.member("WorkDir", container.directory + "/work");
  json.end_object().member("Name", "overlay2").end_object();
}

void write_ports(Writer& json, const Container& container) {
  json.begin_array();
  if (counts_as_running(container.state.phase) && has_own_network(container)) {
    for (const std::string_view text : exposed_ports(container)) {
      const auto port = parse_port(text);
      if (!port) continue;
      const auto bindings = container.ports.find(std::string(text));
      if (bindings == container.ports.end()) {
        json.begin_object().member("PrivatePort", port->number).member("Type", port->protocol);
        json.end_object();
        continue;
      }
      for (const engine::PortBinding& each : bindings->second) {
        json.begin_object().member("IP", each.host_ip).member("PrivatePort", port->number);
        json.member("PublicPort", parse_number<uint16_t>(each.host_port).value_or(0));
        json.member("Type", port->protocol).end_object();
      }
    }
  }
  json.end_array();
}

}  // namespace

bool counts_as_running(Phase phase) {
  return phase == Phase::Running || phase == Phase::Paused || phase == Phase::Restarting;
}

std::optional<Port> parse_port(std::string_view text) {
  const std::string_view digits = take_until(text, '/');
  const auto number = parse_number<uint16_t>(digits);
  if (!number) return {};
  return Port{*number, text.empty() ? "tcp" : std::string(text)};
}

void write_endpoint(Writer& json, const engine::Endpoint& endpoint) {
  write_docker(json, endpoint);
}

std::string inspect_json(const Container& container, const Sizes& sizes) {
  Writer json;
  json.begin_object();
  json.member("Id", container.id).member("Created", container.created);
  json.member("Path", container.path).key("Args").values(container.args);
  json.key("State");
  write_state(json, container.state);
  json.member("Image", container.image_id);
  write_paths(json, container);
  json.member("Name", "/" + container.name);
  json.member("RestartCount", container.restart_count);
  json.member("Driver", "overlay2").member("Platform", "linux");
  json.member("MountLabel", "").member("ProcessLabel", "").member("AppArmorProfile", "");
  json.key("ExecIDs");
  write_docker(json, container.execs);
  json.key("HostConfig");
  write_host_config(json, container.host);
  write_graph_driver(json, container);
  write_sizes(json, sizes);
  json.key("Mounts");
  write_mounts(json, container);
  json.key("Config");
  write_docker(json, container.config);
  json.key("NetworkSettings");
  write_network_settings(json, container);
  json.end_object();
  return std::move(json).take();
}

void write_summary(Writer& json, const Container& container, const Sizes& sizes, int64_t now_ns) {
  json.begin_object();
  json.member("Id", container.id);
  json.key("Names").begin_array().value("/" + container.name).end_array();
  json.member("Image", container.config.image).member("ImageID", container.image_id);
  json.member("Command", command_text(container));
  json.member("Created", parse_rfc3339(container.created).value_or(0) / 1'000'000'000);
  json.key("Ports");
  write_ports(json, container);
  if (sizes) {
    if (sizes->first != 0) json.member("SizeRw", sizes->first);
    if (sizes->second != 0) json.member("SizeRootFs", sizes->second);
  }
  json.key("Labels");
  write_docker(json, container.config.labels, "Labels");
  json.member("State", engine::to_string(container.state.phase));
  json.member("Status", status_text(container.state, now_ns));
  json.key("HostConfig").begin_object().member("NetworkMode", container.host.network_mode);
  if (!container.host.annotations.empty()) {
    json.key("Annotations");
    write_docker(json, container.host.annotations);
  }
  json.end_object();
  json.key("NetworkSettings").begin_object().key("Networks");
  write_endpoints(json, container);
  json.end_object();
  json.key("Mounts");
  write_mounts(json, container);
  json.end_object();
}

// Texts ------------------------------------------------------------------------------------------

std::string human_duration(int64_t ns) {
  const int64_t seconds = ns / 1'000'000'000;
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return cat(seconds, " seconds");
  const int64_t minutes = seconds / 60;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return cat(minutes, " minutes");
  const int64_t hours = (seconds + 1800) / 3600;
  if (hours == 1) return "About an hour";
  if (hours < 48) return cat(hours, " hours");
  if (hours < 24 * 7 * 2) return cat(hours / 24, " days");
  if (hours < 24 * 30 * 2) return cat(hours / 24 / 7, " weeks");
  if (hours < 24 * 365 * 2) return cat(hours / 24 / 30, " months");
  return cat(seconds / 3600 / 24 / 365, " years");
}

std::string_view health_text(const engine::ContainerState& state) {
  if (!state.health || state.health->status.empty()) return "none";
  return state.health->status;
}

std::string status_text(const engine::ContainerState& state, int64_t now_ns) {
  const auto since = [&](const std::string& time) {
    return human_duration(now_ns - parse_rfc3339(time).value_or(now_ns));
  };
  switch (state.phase) {
    case Phase::Created: return "Created";
    case Phase::Removing: return "Removal In Progress";
    case Phase::Dead: return "Dead";
    case Phase::Exited:
      return cat("Exited (", state.exit_code, ") ", since(state.finished_at), " ago");
    case Phase::Restarting:
      return cat("Restarting (", state.exit_code, ") ", since(state.finished_at), " ago");
    case Phase::Paused: return cat("Up ", since(state.started_at), " (Paused)");
    case Phase::Running: break;
  }
  const std::string up = cat("Up ", since(state.started_at));
  const std::string_view health = health_text(state);
  if (health == "none") return up;
  return cat(up, " (", health == "starting" ? "health: " : "", health, ')');
}

std::string command_text(const Container& container) {
  std::string text = container.path;
  for (const std::string& arg : container.args) {
    const bool quoted = arg.contains(' ');
    text += cat(' ', quoted ? "'" : "", arg, quoted ? "'" : "");
  }
  return text;
}

}  // namespace nacelle::api
