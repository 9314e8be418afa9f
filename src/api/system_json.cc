#include "api/system_json.h"

#include <dirent.h>

#include <cstdlib>
#include <memory>

#include "api/api.h"
#include "api/docker_fields.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "engine/moment.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::HostInfo;

size_t open_descriptors() {
  const std::unique_ptr<DIR, void (*)(DIR*)> directory(::opendir("/proc/self/fd"),
                                                       [](DIR* each) { ::closedir(each); });
  size_t count = 0;
  while (directory && ::readdir(directory.get()) != nullptr) ++count;
  return count < 3 ? 0 : count - 3;  // ".", ".." and the directory's own
}

std::string environment(const char* upper, const char* lower) {
  for (const char* name : {upper, lower}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return {};
}

void write_strings(Writer& json, const char* key, const std::vector<std::string>& values) {
  json.key(key).values(values);
}

void write_counts(Writer& json, const InfoCounts& counts) {
  json.member("Containers", counts.running + counts.paused + counts.stopped);
  json.member("ContainersRunning", counts.running).member("ContainersPaused", counts.paused);
  json.member("ContainersStopped", counts.stopped).member("Images", counts.images);
}

void write_storage(Writer& json, const engine::Engine& engine, const HostInfo& host) {
  json.member("Driver", "overlay2").key("DriverStatus").begin_array();
  const auto row = [&](const char* name, std::string_view value) {
    json.begin_array().value(name).value(value).end_array();
  };
  row("Backing Filesystem", host.file_system);
  row("Supports d_type", "true");
  row("Using metacopy", "false");
  row("Native Overlay Diff", "true");
  row("userxattr", "false");
  row("Leavings", cat(engine.containers->leavings()));
  json.end_array();
  json.member("DockerRootDir", engine.options.data_root);
  json.key("Plugins").begin_object();
  write_strings(json, "Volume", {"local"});
  write_strings(json, "Network", {"bridge", "host", "null"});
  json.key("Authorization").null();
  write_strings(json, "Log", {"json-file", "local", "none"});
  json.end_object();
}

void write_limits(Writer& json, const HostInfo& host) {
  json.member("MemoryLimit", host.memory).member("SwapLimit", host.swap);
  json.member("CpuCfsPeriod", host.cpu).member("CpuCfsQuota", host.cpu);
  json.member("CPUShares", host.cpu).member("CPUSet", host.cpuset);
  json.member("PidsLimit", host.pids).member("IPv4Forwarding", host.forwards_ipv4);
}

void write_process(Writer& json, const engine::Engine& engine) {
  json.member("Debug", false).member("NFd", open_descriptors());
  json.member("OomKillDisable", false).member("NGoroutines", 1);
  json.member("SystemTime", engine::moment_text(engine::now_ns()));
  const std::string& log = engine.options.log.type;
  json.member("LoggingDriver", log.empty() ? std::string("json-file") : log);
  json.member("CgroupDriver", "cgroupfs").member("CgroupVersion", "2");
  json.member("NEventsListener", 0);
}

void write_host(Writer& json, const engine::Engine& engine, const HostInfo& host) {
  json.member("KernelVersion", host.kernel).member("OperatingSystem", host.operating_system);
  json.member("OSVersion", host.os_version).member("OSType", "linux");
  json.member("Architecture", host.architecture);
  json.member("IndexServerAddress", "https://index.docker.io/v1/");
  json.key("RegistryConfig").begin_object();
  std::vector<std::string> networks{"::1/128", "127.0.0.0/8"}, hosts;
  for (const std::string& each : engine.options.registries.insecure_registries) {
    (each.contains('/') ? networks : hosts).push_back(each);
  }
  write_strings(json, "InsecureRegistryCIDRs", networks);
  json.key("IndexConfigs").begin_object();
  const auto index = [&](const std::string& name, bool secure) {
    json.key(name).begin_object();
    write_strings(json, "Mirrors",
                  secure ? engine.options.registries.mirrors : std::vector<std::string>());
    json.member("Name", name).member("Official", secure).member("Secure", secure).end_object();
  };
  index("docker.io", true);
  for (const std::string& each : hosts) index(each, false);
  json.end_object();
  write_strings(json, "Mirrors", engine.options.registries.mirrors);
  json.end_object();
  json.member("NCPU", host.processors).member("MemTotal", host.memory_bytes);
  json.key("GenericResources").null();
  json.member("HttpProxy", environment("HTTP_PROXY", "http_proxy"));
  json.member("HttpsProxy", environment("HTTPS_PROXY", "https_proxy"));
  json.member("NoProxy", environment("NO_PROXY", "no_proxy"));
  json.member("Name", host.host_name);
  std::vector<std::string> labels;
  for (const auto& [key, value] : engine.options.labels) labels.push_back(cat(key, '=', value));
  write_strings(json, "Labels", labels);
}

void write_commit(Writer& json, const char* key) {
  json.key(key).begin_object().member("ID", NACELLE_VERSION).end_object();
}

void write_engine(Writer& json) {
  json.member("ExperimentalBuild", false).member("ServerVersion", NACELLE_VERSION);
  json.key("Runtimes").begin_object();
  for (const char* name : {"nacelle", "runc"}) {
    json.key(name).begin_object().member("path", "nacelle-core").end_object();
  }
  json.end_object().member("DefaultRuntime", "runc");
  json.key("Swarm").begin_object().member("NodeID", "").member("NodeAddr", "");
  json.member("LocalNodeState", "inactive").member("ControlAvailable", false).member("Error", "");
  json.key("RemoteManagers").null().end_object();
  // Containers run on whatever happens to the engine.
  json.member("LiveRestoreEnabled", true).member("Isolation", "");
  json.member("InitBinary", "nacelle-init");
  for (const char* each : {"ContainerdCommit", "RuncCommit", "InitCommit"}) {
    write_commit(json, each);
  }
  write_strings(json, "SecurityOptions", {"name=seccomp,profile=builtin", "name=cgroupns"});
  json.key("CDISpecDirs").begin_array().end_array();
}

void write_own(Writer& json, const engine::Engine& engine, const HostInfo& host) {
  const ring::LoopStats stats = engine.loop.stats();
  json.key("Nacelle").begin_object();
  json.member("LoopStalls", stats.stalls).member("LoopTurns", stats.turns);
  json.member("LongestTurnMicroseconds", stats.longest_turn.count() / 1000);
  json.member("OperationsInFlight", stats.in_flight);
  json.member("LinksWatched", host.links_watched);
  json.member("RunDirectory", engine.options.run_directory).end_object();
}

}  // namespace

std::string info_json(const engine::Engine& engine, const HostInfo& host,
                      const InfoCounts& counts) {
  Writer json;
  json.begin_object().member("ID", engine.id);
  write_counts(json, counts);
  write_storage(json, engine, host);
  write_limits(json, host);
  write_process(json, engine);
  write_host(json, engine, host);
  write_engine(json);
  json.key("Warnings");
  host.warnings.empty() ? (void)json.null() : (void)json.values(host.warnings);
  write_own(json, engine, host);
  json.end_object();
  return std::move(json).take();
}

std::string version_json(const HostInfo& host) {
  const std::string architecture(engine::go_architecture(host.architecture));
  Writer json;
  json.begin_object();
  json.key("Platform").begin_object().member("Name", "Nacelle").end_object();
  json.key("Components").begin_array();
  json.begin_object().member("Name", "Engine").member("Version", NACELLE_VERSION);
  json.key("Details").begin_object();
  json.member("ApiVersion", api_version).member("Arch", architecture);
  json.member("BuildTime", "").member("Experimental", "false").member("GitCommit", "");
  json.member("GoVersion", "").member("KernelVersion", host.kernel);
  json.member("MinAPIVersion", min_api_version).member("Os", "linux");
  json.end_object().end_object().end_array();
  json.member("Version", NACELLE_VERSION).member("ApiVersion", api_version);
  json.member("MinAPIVersion", min_api_version).member("GitCommit", "").member("GoVersion", "");
  json.member("Os", "linux").member("Arch", architecture).member("KernelVersion", host.kernel);
  json.member("BuildTime", "").end_object();
  return std::move(json).take();
}

}  // namespace nacelle::api
