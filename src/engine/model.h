// What the Docker Engine API calls a container's configuration, as values: the members are the
// swagger's (API 1.51), and so are their names in JSON. Nothing is decided here; what is missing
// keeps the default that an absent member has in Docker. The same types are what a record keeps.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "codec/json.h"
#include "codec/json_writer.h"

namespace nacelle::engine {

using Labels = std::map<std::string, std::string>;

// A key that is present with an empty object for a value ({"80/tcp": {}}).
struct Present {
  template <class V>
  void describe(V&) {}
};
using Keys = std::map<std::string, Present>;

// Command lines: a string in JSON stands for a list of one; null and [] are not the same.
struct CommandLine {
  bool set = false;
  std::vector<std::string> words;
};
Result<> read_json(const codec::json::Value& value, CommandLine& out);
void write_json(codec::json::Writer& json, const CommandLine& command);

// Nanoseconds; 0: inherit from the image.
struct HealthConfig {
  std::vector<std::string> test;  // {}: inherit; {"NONE"}; {"CMD", ...}; {"CMD-SHELL", text}
  int64_t interval = 0, timeout = 0, start_period = 0, start_interval = 0;
  int64_t retries = 0;
  template <class V>
  void describe(V& v) {
    v("Test", test);
    v("Interval", interval);
    v("Timeout", timeout);
    v("StartPeriod", start_period);
    v("StartInterval", start_interval);
    v("Retries", retries);
  }
};

// swagger: ContainerConfig.
struct ContainerConfig {
  std::string hostname, domainname, user;
  bool attach_stdin = false, attach_stdout = false, attach_stderr = false;
  Keys exposed_ports;  // "80/tcp"
  bool tty = false, open_stdin = false, stdin_once = false;
  std::vector<std::string> env;
  CommandLine cmd;
  std::optional<HealthConfig> healthcheck;
  bool args_escaped = false;
  std::string image;
  Keys volumes;
  std::string working_dir;
  CommandLine entrypoint;
  bool network_disabled = false;
  std::string mac_address;
  std::vector<std::string> on_build;
  Labels labels;
  std::string stop_signal;
  std::optional<int64_t> stop_timeout;  // seconds
  std::vector<std::string> shell;
  template <class V>
  void describe(V& v) {
    v("Hostname", hostname);
    v("Domainname", domainname);
    v("User", user);
    v("AttachStdin", attach_stdin);
    v("AttachStdout", attach_stdout);
    v("AttachStderr", attach_stderr);
    v("ExposedPorts", exposed_ports);
    v("Tty", tty);
    v("OpenStdin", open_stdin);
    v("StdinOnce", stdin_once);
    v("Env", env);
    v("Cmd", cmd);
    v("Healthcheck", healthcheck);
    v("ArgsEscaped", args_escaped);
    v("Image", image);
    v("Volumes", volumes);
    v("WorkingDir", working_dir);
    v("Entrypoint", entrypoint);
    v("NetworkDisabled", network_disabled);
    v("MacAddress", mac_address);
    v("OnBuild", on_build);
    v("Labels", labels);
    v("StopSignal", stop_signal);
    v("StopTimeout", stop_timeout);
    v("Shell", shell);
  }
};

struct WeightDevice {
  std::string path;
  uint16_t weight = 0;
  template <class V>
  void describe(V& v) {
    v("Path", path);
    v("Weight", weight);
  }
};
struct ThrottleDevice {
  std::string path;
  uint64_t rate = 0;
  template <class V>
  void describe(V& v) {
    v("Path", path);
    v("Rate", rate);
  }
};
struct DeviceMapping {
  std::string path_on_host, path_in_container, cgroup_permissions;
  template <class V>
  void describe(V& v) {
    v("PathOnHost", path_on_host);
    v("PathInContainer", path_in_container);
    v("CgroupPermissions", cgroup_permissions);
  }
};
struct DeviceRequest {
  std::string driver;
  int64_t count = 0;
  std::vector<std::string> device_ids;
  std::vector<std::vector<std::string>> capabilities;
  Labels options;
  template <class V>
  void describe(V& v) {
    v("Driver", driver);
    v("Count", count);
    v("DeviceIDs", device_ids);
    v("Capabilities", capabilities);
    v("Options", options);
  }
};
struct Ulimit {
  std::string name;
  int64_t hard = 0, soft = 0;
  template <class V>
  void describe(V& v) {
    v("Name", name);
    v("Hard", hard);
    v("Soft", soft);
  }
};

struct LogSetting {
  std::string type;  // "json-file" "local" "none"; empty: the engine's default
  Labels config;
  template <class V>
  void describe(V& v) {
    v("Type", type);
    v("Config", config);
  }
};
struct PortBinding {
  std::string host_ip, host_port;
  template <class V>
  void describe(V& v) {
    v("HostIp", host_ip);
    v("HostPort", host_port);
  }
};
using PortMap = std::map<std::string, std::vector<PortBinding>>;  // "80/tcp"

struct RestartPolicy {
  std::string name;  // "" "no" "always" "unless-stopped" "on-failure"
  int64_t maximum_retry_count = 0;
  template <class V>
  void describe(V& v) {
    v("Name", name);
    v("MaximumRetryCount", maximum_retry_count);
  }
};

struct BindOptions {
  std::string propagation;
  bool non_recursive = false, create_mountpoint = false, read_only_non_recursive = false,
       read_only_force_recursive = false;
  template <class V>
  void describe(V& v) {
    v("Propagation", propagation);
    v("NonRecursive", non_recursive);
    v("CreateMountpoint", create_mountpoint);
    v("ReadOnlyNonRecursive", read_only_non_recursive);
    v("ReadOnlyForceRecursive", read_only_force_recursive);
  }
};
struct VolumeDriverConfig {
  std::string name;
  Labels options;
  template <class V>
  void describe(V& v) {
    v("Name", name);
    v("Options", options);
  }
};
struct VolumeOptions {
  bool no_copy = false;
  Labels labels;
  std::optional<VolumeDriverConfig> driver_config;
  std::string subpath;
  template <class V>
  void describe(V& v) {
    v("NoCopy", no_copy);
    v("Labels", labels);
    v("DriverConfig", driver_config);
    v("Subpath", subpath);
  }
};
struct TmpfsOptions {
  int64_t size_bytes = 0;
  uint32_t mode = 0;
  std::vector<std::vector<std::string>> options;
  template <class V>
  void describe(V& v) {
    v("SizeBytes", size_bytes);
    v("Mode", mode);
    v("Options", options);
  }
};
struct ImageOptions {
  std::string subpath;
  template <class V>
  void describe(V& v) {
    v("Subpath", subpath);
  }
};
// swagger: Mount, what is asked for.
struct MountRequest {
  std::string type;  // "bind" "volume" "tmpfs" "image"
  std::string source, target;
  bool read_only = false;
  std::string consistency;
  std::optional<BindOptions> bind_options;
  std::optional<VolumeOptions> volume_options;
  std::optional<TmpfsOptions> tmpfs_options;
  std::optional<ImageOptions> image_options;
  template <class V>
  void describe(V& v) {
    v("Type", type);
    v("Source", source);
    v("Target", target);
    v("ReadOnly", read_only);
    v("Consistency", consistency);
    v("BindOptions", bind_options);
    v("VolumeOptions", volume_options);
    v("TmpfsOptions", tmpfs_options);
    v("ImageOptions", image_options);
  }
};

// swagger: HostConfig, with Resources. Bytes, microseconds and 1024ths of a processor as there.
struct HostConfig {
  // Resources, what `update` can change first.
  int64_t cpu_shares = 0, memory = 0;
  std::string cgroup_parent;
  uint16_t blkio_weight = 0;
  std::vector<WeightDevice> blkio_weight_device;
  std::vector<ThrottleDevice> blkio_device_read_bps, blkio_device_write_bps, blkio_device_read_iops,
      blkio_device_write_iops;
  int64_t cpu_period = 0, cpu_quota = 0, cpu_realtime_period = 0, cpu_realtime_runtime = 0;
  std::string cpuset_cpus, cpuset_mems;
  std::vector<DeviceMapping> devices;
  std::vector<std::string> device_cgroup_rules;
  std::vector<DeviceRequest> device_requests;
  int64_t memory_reservation = 0, memory_swap = 0;
  std::optional<int64_t> memory_swappiness;
  int64_t nano_cpus = 0;
  std::optional<bool> oom_kill_disable, init;
  std::optional<int64_t> pids_limit;
  std::vector<Ulimit> ulimits;
  // The rest.
  std::vector<std::string> binds;  // "source:target[:options]"
  std::string container_id_file;
  LogSetting log_config;
  std::string network_mode;
  PortMap port_bindings;
  RestartPolicy restart_policy;
  bool auto_remove = false;
  std::string volume_driver;
  std::vector<std::string> volumes_from;
  std::vector<MountRequest> mounts;
  std::vector<uint32_t> console_size;  // height, width
  Labels annotations;
  std::vector<std::string> cap_add, cap_drop;
  std::string cgroupns_mode;
  std::vector<std::string> dns, dns_options, dns_search, extra_hosts, group_add;
  std::string ipc_mode, cgroup;
  std::vector<std::string> links;
  int oom_score_adj = 0;
  std::string pid_mode;
  bool privileged = false, publish_all_ports = false, readonly_rootfs = false;
  std::vector<std::string> security_opt;
  Labels storage_opt;
  Labels tmpfs;  // path -> options
  std::string uts_mode, userns_mode;
  int64_t shm_size = 0;
  Labels sysctls;
  std::string runtime, isolation;
  // Absent: the engine's default; {}: none.
  std::optional<std::vector<std::string>> masked_paths, readonly_paths;
  template <class V>
  void describe_resources(V& v) {
    v("CpuShares", cpu_shares);
    v("Memory", memory);
    v("CgroupParent", cgroup_parent);
    v("BlkioWeight", blkio_weight);
    v("BlkioWeightDevice", blkio_weight_device);
    v("BlkioDeviceReadBps", blkio_device_read_bps);
    v("BlkioDeviceWriteBps", blkio_device_write_bps);
    v("BlkioDeviceReadIOps", blkio_device_read_iops);
    v("BlkioDeviceWriteIOps", blkio_device_write_iops);
    v("CpuPeriod", cpu_period);
    v("CpuQuota", cpu_quota);
    v("CpuRealtimePeriod", cpu_realtime_period);
    v("CpuRealtimeRuntime", cpu_realtime_runtime);
    v("CpusetCpus", cpuset_cpus);
    v("CpusetMems", cpuset_mems);
    v("Devices", devices);
    v("DeviceCgroupRules", device_cgroup_rules);
    v("DeviceRequests", device_requests);
    v("MemoryReservation", memory_reservation);
    v("MemorySwap", memory_swap);
    v("MemorySwappiness", memory_swappiness);
    v("NanoCpus", nano_cpus);
    v("OomKillDisable", oom_kill_disable);
    v("Init", init);
    v("PidsLimit", pids_limit);
    v("Ulimits", ulimits);
  }
  template <class V>
  void describe(V& v) {
    describe_resources(v);
    v("Binds", binds);
    v("ContainerIDFile", container_id_file);
    v("LogConfig", log_config);
    v("NetworkMode", network_mode);
    v("PortBindings", port_bindings);
    v("RestartPolicy", restart_policy);
    v("AutoRemove", auto_remove);
    v("VolumeDriver", volume_driver);
    v("VolumesFrom", volumes_from);
    v("Mounts", mounts);
    v("ConsoleSize", console_size);
    v("Annotations", annotations);
    v("CapAdd", cap_add);
    v("CapDrop", cap_drop);
    v("CgroupnsMode", cgroupns_mode);
    v("Dns", dns);
    v("DnsOptions", dns_options);
    v("DnsSearch", dns_search);
    v("ExtraHosts", extra_hosts);
    v("GroupAdd", group_add);
    v("IpcMode", ipc_mode);
    v("Cgroup", cgroup);
    v("Links", links);
    v("OomScoreAdj", oom_score_adj);
    v("PidMode", pid_mode);
    v("Privileged", privileged);
    v("PublishAllPorts", publish_all_ports);
    v("ReadonlyRootfs", readonly_rootfs);
    v("SecurityOpt", security_opt);
    v("StorageOpt", storage_opt);
    v("Tmpfs", tmpfs);
    v("UTSMode", uts_mode);
    v("UsernsMode", userns_mode);
    v("ShmSize", shm_size);
    v("Sysctls", sysctls);
    v("Runtime", runtime);
    v("Isolation", isolation);
    v("MaskedPaths", masked_paths);
    v("ReadonlyPaths", readonly_paths);
  }
};

struct EndpointIpamConfig {
  std::string ipv4_address, ipv6_address;
  std::vector<std::string> link_local_ips;
  template <class V>
  void describe(V& v) {
    v("IPv4Address", ipv4_address);
    v("IPv6Address", ipv6_address);
    v("LinkLocalIPs", link_local_ips);
  }
};
// swagger: EndpointSettings: what is asked for, and (from NetworkID on) what there is.
struct Endpoint {
  std::optional<EndpointIpamConfig> ipam_config;
  std::vector<std::string> links, aliases;
  std::string mac_address;
  Labels driver_opts;
  int64_t gw_priority = 0;
  std::string network_id, endpoint_id, gateway, ip_address;
  int ip_prefix_len = 0;
  std::string ipv6_gateway, global_ipv6_address;
  int global_ipv6_prefix_len = 0;
  std::vector<std::string> dns_names;
  template <class V>
  void describe(V& v) {
    v("IPAMConfig", ipam_config);
    v("Links", links);
    v("Aliases", aliases);
    v("MacAddress", mac_address);
    v("DriverOpts", driver_opts);
    v("GwPriority", gw_priority);
    v("NetworkID", network_id);
    v("EndpointID", endpoint_id);
    v("Gateway", gateway);
    v("IPAddress", ip_address);
    v("IPPrefixLen", ip_prefix_len);
    v("IPv6Gateway", ipv6_gateway);
    v("GlobalIPv6Address", global_ipv6_address);
    v("GlobalIPv6PrefixLen", global_ipv6_prefix_len);
    v("DNSNames", dns_names);
  }
};
struct NetworkingConfig {
  std::map<std::string, Endpoint> endpoints;  // by network name
  template <class V>
  void describe(V& v) {
    v("EndpointsConfig", endpoints);
  }
};

// swagger: MountPoint, what a container has.
struct MountPoint {
  std::string type;  // "bind" "volume" "tmpfs" "image"
  std::string name;  // of the volume
  std::string source, destination, driver, mode;
  bool rw = true;
  std::string propagation;
  template <class V>
  void describe(V& v) {
    v("Type", type);
    v("Name", name);
    v("Source", source);
    v("Destination", destination);
    v("Driver", driver);
    v("Mode", mode);
    v("RW", rw);
    v("Propagation", propagation);
  }
};

// Container states in the API's words.
enum class Phase : uint8_t { Created, Running, Paused, Restarting, Removing, Exited, Dead };
const char* to_string(Phase phase);

struct HealthProbe {
  std::string start, end;  // RFC 3339
  int exit_code = 0;
  std::string output;  // its first 4096 bytes
  template <class V>
  void describe(V& v) {
    v("Start", start);
    v("End", end);
    v("ExitCode", exit_code);
    v("Output", output);
  }
};
struct Health {
  std::string status;  // "starting" "healthy" "unhealthy"
  int failing_streak = 0;
  std::vector<HealthProbe> log;  // the last five
  template <class V>
  void describe(V& v) {
    v("Status", status);
    v("FailingStreak", failing_streak);
    v("Log", log);
  }
};

// swagger: ContainerState.
struct ContainerState {
  Phase phase = Phase::Created;
  bool oom_killed = false;
  int pid = 0;
  int exit_code = 0;
  std::string error;
  std::string started_at, finished_at;  // RFC 3339; empty: never
  std::optional<Health> health;
};

// POST /containers/create, and what a record keeps of it.
struct CreateRequest {
  std::string name;      // query; empty: made up
  std::string platform;  // query
  ContainerConfig config;
  HostConfig host;
  NetworkingConfig networking;
  std::vector<std::string> secret_env;  // of its first start alone: no record has it
};

// POST /containers/{id}/exec.
struct ExecConfig {
  bool attach_stdin = false, attach_stdout = false, attach_stderr = false;
  std::vector<uint32_t> console_size;
  std::string detach_keys;
  bool tty = false, privileged = false;
  std::vector<std::string> env, cmd;
  std::string user, working_dir;
  template <class V>
  void describe(V& v) {
    v("AttachStdin", attach_stdin);
    v("AttachStdout", attach_stdout);
    v("AttachStderr", attach_stderr);
    v("ConsoleSize", console_size);
    v("DetachKeys", detach_keys);
    v("Tty", tty);
    v("Privileged", privileged);
    v("Env", env);
    v("Cmd", cmd);
    v("User", user);
    v("WorkingDir", working_dir);
  }
};

}  // namespace nacelle::engine
