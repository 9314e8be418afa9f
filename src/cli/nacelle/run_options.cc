#include "cli/nacelle/run_options.h"

#include <limits.h>
#include <stdlib.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "cli/nacelle/datum.h"
#include "cli/nacelle/run_values.h"
#include "cli/nacelle/units.h"
#include "codec/json_fields.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

using Words = std::vector<std::string>;

std::unexpected<Error> wrong(std::string complaint) {
  return fail(Kind::Invalid, std::move(complaint));
}

// Options whose values are put together only when all of them are known.
struct Given {
  Words attach, env, env_files, labels, label_files, annotations, publish, expose, volumes, tmpfs,
      log_options, storage_options, sysctls, security, networks, aliases, links, link_local, gpus,
      devices;
  std::string restart, ip, ip6, mac_address;
  std::optional<std::string> entrypoint;
  std::string health_command, cgroupns, ipc, pid, uts, userns;
  bool no_health_check = false;
  bool interactive = false;
  int64_t health_interval = 0, health_timeout = 0, health_start_period = 0,
          health_start_interval = 0, health_retries = 0;
  int64_t memory_swappiness = -1;
};

Options::Taker sizes(int64_t& target) {
  return [&target](std::string_view text) -> Result<> {
    target = TRY(parse_binary_size(text));
    return {};
  };
}

Options::Taker size_or_unlimited(int64_t& target) {
  return [&target](std::string_view text) -> Result<> {
    target = text == "-1" ? -1 : TRY(parse_binary_size(text));
    return {};
  };
}

Options::Taker durations(int64_t& target) {
  return [&target](std::string_view text) -> Result<> {
    target = TRY(parse_duration(text));
    return {};
  };
}

// What `parse` makes of each value, collected.
template <class T>
Options::Taker each_by(std::vector<T>& target, Result<T> (*parse)(std::string_view)) {
  return [&target, parse](std::string_view text) -> Result<> {
    target.push_back(TRY(parse(text)));
    return {};
  };
}

Result<engine::ThrottleDevice> throttle_bytes(std::string_view text) {
  return parse_throttle(text, true);
}
Result<engine::ThrottleDevice> throttle_operations(std::string_view text) {
  return parse_throttle(text, false);
}

void add_process_options(Options& options, RunPlan& plan, Given& given) {
  engine::ContainerConfig& config = plan.config;
  options.list("attach", 'a', given.attach, "STREAM", "Attach to stdin, stdout or stderr")
      .taken(
          "env", 'e',
          [&given](std::string_view text) -> Result<> {
            if (text.empty() || text.starts_with('=')) {
              return wrong(cat("invalid environment variable: ", text));
            }
            given.env.push_back(with_environment(text));
            return {};
          },
          "NAME[=VALUE]", "Set an environment variable")
      .list("env-file", 0, given.env_files, "FILE", "Read environment variables from a file")
      .value("entrypoint", 0, given.entrypoint, "PROGRAM", "Instead of the image's entrypoint")
      .value("user", 'u', config.user, "USER[:GROUP]", "Names or numbers")
      .value("workdir", 'w', config.working_dir, "DIR", "Working directory inside the container")
      .flag("interactive", 'i', given.interactive, "Keep standard input open")
      .flag("tty", 't', config.tty, "Give it a terminal")
      .list("group-add", 0, plan.host.group_add, "GROUP", "Additional groups")
      .value("stop-signal", 0, config.stop_signal, "SIGNAL", "What asks the container to stop")
      .value("stop-timeout", 0, config.stop_timeout, "SECONDS", "How long it may take to stop")
      .flag("init", 0, plan.host.init, "Run an init that forwards signals and reaps processes")
      .value("health-cmd", 0, given.health_command, "COMMAND", "What checks its health")
      .taken("health-interval", 0, durations(given.health_interval), "DURATION",
             "Time between two checks")
      .value("health-retries", 0, given.health_retries, "NUMBER",
             "Failures in a row that mean unhealthy")
      .taken("health-timeout", 0, durations(given.health_timeout), "DURATION",
             "How long one check may take")
      .taken("health-start-period", 0, durations(given.health_start_period), "DURATION",
             "In which failures do not count")
      .taken("health-start-interval", 0, durations(given.health_start_interval), "DURATION",
             "Time between two checks during the start period")
      .flag("no-healthcheck", 0, given.no_health_check, "Without the image's health check");
}

void add_identity_options(Options& options, RunPlan& plan, Given& given) {
  options.value("name", 0, plan.name, "NAME", "Name of the container")
      .list("label", 'l', given.labels, "KEY[=VALUE]", "Set metadata")
      .list("label-file", 0, given.label_files, "FILE", "Read labels from a file")
      .list("annotation", 0, given.annotations, "KEY=VALUE", "Annotation for the runtime")
      .value("cidfile", 0, plan.cid_file, "FILE", "Write the container's id to this file")
      .value("platform", 0, plan.platform, "OS/ARCH", "Platform of the image")
      .value("pull", 0, plan.pull, "WHEN", "Pull the image always, never, or when missing")
      .flag("quiet", 'q', plan.quiet, "Show no progress of a pull")
      .value("restart", 0, given.restart, "POLICY",
             "no, always, unless-stopped or on-failure[:NUMBER]")
      .flag("rm", 0, plan.host.auto_remove, "Remove the container when it ends")
      .value("runtime", 0, plan.host.runtime, "NAME", "Runtime of this container")
      .value("isolation", 0, plan.host.isolation, "TECHNOLOGY", "Accepted for Docker's sake")
      .value("log-driver", 0, plan.host.log_config.type, "DRIVER", "json-file, local or none")
      .list("log-opt", 0, given.log_options, "KEY=VALUE", "Option of the log driver");
}

void add_storage_options(Options& options, RunPlan& plan, Given& given) {
  options
      .list("volume", 'v', given.volumes, "[SOURCE:]TARGET[:OPTIONS]",
            "Mount a volume or a directory of this machine")
      .taken("mount", 0, each_by(plan.host.mounts, parse_mount), "KEY=VALUE,...",
             "Mount a file system")
      .list("tmpfs", 0, given.tmpfs, "DIR[:OPTIONS]", "Mount a tmpfs")
      .value("volume-driver", 0, plan.host.volume_driver, "DRIVER", "Driver of its volumes")
      .list("volumes-from", 0, plan.host.volumes_from, "CONTAINER[:ro]", "Mount another's volumes")
      .flag("read-only", 0, plan.host.readonly_rootfs, "Mount the root file system read-only")
      .list("storage-opt", 0, given.storage_options, "KEY=VALUE", "Option of the writable layer")
      .taken("shm-size", 0, sizes(plan.host.shm_size), "BYTES", "Size of /dev/shm")
      .list("device", 0, given.devices, "PATH[:PATH[:rwm]]", "Add a device of this machine")
      .list("device-cgroup-rule", 0, plan.host.device_cgroup_rules, "RULE",
            "Add a rule to the allowed devices")
      .list("gpus", 0, given.gpus, "WHICH", "Graphics processors (all, or a number)");
}

void add_network_options(Options& options, RunPlan& plan, Given& given) {
  engine::HostConfig& host = plan.host;
  options
      .list("network", 0, given.networks, "NETWORK",
            "Network: a name, none, host, container:NAME, or name=NAME,alias=ALIAS,...")
      .alias("net")
      .list("network-alias", 0, given.aliases, "NAME", "Another name on its network")
      .alias("net-alias")
      .list("publish", 'p', given.publish, "[[IP:]PORT:]PORT[/PROTOCOL]",
            "Publish a port on this machine")
      .flag("publish-all", 'P', host.publish_all_ports, "Publish all exposed ports")
      .list("expose", 0, given.expose, "PORT[/PROTOCOL]", "Expose a port or a range of them")
      .value("hostname", 'h', plan.config.hostname, "NAME", "Host name of the container")
      .value("domainname", 0, plan.config.domainname, "NAME", "Domain name of the container")
      .value("ip", 0, given.ip, "ADDRESS", "IPv4 address")
      .value("ip6", 0, given.ip6, "ADDRESS", "IPv6 address")
      .list("link-local-ip", 0, given.link_local, "ADDRESS", "Link-local address")
      .value("mac-address", 0, given.mac_address, "ADDRESS", "MAC address")
      .list("link", 0, given.links, "CONTAINER[:ALIAS]", "Add a link to another container")
      .taken("add-host", 0, each_by(host.extra_hosts, check_added_host), "NAME:ADDRESS",
             "Add a line to /etc/hosts")
      .list("dns", 0, host.dns, "ADDRESS", "DNS server")
      .list("dns-option", 0, host.dns_options, "OPTION", "DNS option")
      .alias("dns-opt")
      .list("dns-search", 0, host.dns_search, "DOMAIN", "DNS search domain");
}

void add_resource_options(Options& options, RunPlan& plan, Given& given) {
  engine::HostConfig& host = plan.host;
  options.taken("memory", 'm', sizes(host.memory), "BYTES", "Limit of memory")
      .taken("memory-swap", 0, size_or_unlimited(host.memory_swap), "BYTES",
             "Limit of memory and swap together; -1: no limit of swap")
      .taken("memory-reservation", 0, sizes(host.memory_reservation), "BYTES", "Soft limit")
      .value("memory-swappiness", 0, given.memory_swappiness, "0-100", "How readily it is swapped")
      .flag("oom-kill-disable", 0, host.oom_kill_disable, "Do not kill it when memory runs out")
      .taken(
          "oom-score-adj", 0,
          [&host](std::string_view text) -> Result<> {
            const auto score = parse_number<int>(text);
            if (!score) return wrong(cat("'", text, "' is not a number"));
            host.oom_score_adj = *score;
            return {};
          },
          "SCORE", "Preference of the out-of-memory killer, -1000 to 1000")
      .taken(
          "cpus", 0,
          [&host](std::string_view text) -> Result<> {
            host.nano_cpus = TRY(parse_cpus(text));
            return {};
          },
          "NUMBER", "Number of processors")
      .value("cpu-shares", 'c', host.cpu_shares, "WEIGHT", "Relative weight")
      .value("cpu-period", 0, host.cpu_period, "MICROSECONDS", "Period of the quota")
      .value("cpu-quota", 0, host.cpu_quota, "MICROSECONDS", "Quota in a period")
      .value("cpu-rt-period", 0, host.cpu_realtime_period, "MICROSECONDS", "Real-time period")
      .value("cpu-rt-runtime", 0, host.cpu_realtime_runtime, "MICROSECONDS", "Real-time runtime")
      .value("cpuset-cpus", 0, host.cpuset_cpus, "LIST", "Processors it may use (0-3, 0,1)")
      .value("cpuset-mems", 0, host.cpuset_mems, "LIST", "Memory nodes it may use")
      .value("pids-limit", 0, host.pids_limit, "NUMBER", "Limit of processes; -1: none")
      .taken("ulimit", 0, each_by(host.ulimits, parse_ulimit), "NAME=SOFT[:HARD]", "Resource limit")
      .taken(
          "blkio-weight", 0,
          [&host](std::string_view text) -> Result<> {
            const auto weight = parse_number<uint16_t>(text);
            if (!weight) return wrong(cat("'", text, "' is not a number"));
            host.blkio_weight = *weight;
            return {};
          },
          "WEIGHT", "Block IO weight, 10 to 1000")
      .taken("blkio-weight-device", 0, each_by(host.blkio_weight_device, parse_weight_device),
             "DEVICE:WEIGHT", "Block IO weight of a device")
      .taken("device-read-bps", 0, each_by(host.blkio_device_read_bps, throttle_bytes),
             "DEVICE:RATE", "Bytes read from a device in a second")
      .taken("device-write-bps", 0, each_by(host.blkio_device_write_bps, throttle_bytes),
             "DEVICE:RATE", "Bytes written to a device in a second")
      .taken("device-read-iops", 0, each_by(host.blkio_device_read_iops, throttle_operations),
             "DEVICE:RATE", "Reads of a device in a second")
      .taken("device-write-iops", 0, each_by(host.blkio_device_write_iops, throttle_operations),
             "DEVICE:RATE", "Writes of a device in a second")
      .value("cgroup-parent", 0, host.cgroup_parent, "PATH", "Parent of its cgroup");
}

void add_security_options(Options& options, RunPlan& plan, Given& given) {
  engine::HostConfig& host = plan.host;
  options.flag("privileged", 0, host.privileged, "Give it all that root has on this machine")
      .list("cap-add", 0, host.cap_add, "CAPABILITY", "Add a capability")
      .list("cap-drop", 0, host.cap_drop, "CAPABILITY", "Drop a capability")
      .list("security-opt", 0, given.security, "OPTION",
            "seccomp=FILE, no-new-privileges, systempaths=unconfined, ...")
      .list("sysctl", 0, given.sysctls, "NAME=VALUE", "Set a kernel parameter of its namespaces")
      .value("cgroupns", 0, given.cgroupns, "MODE", "Cgroup namespace: host or private")
      .value("ipc", 0, given.ipc, "MODE", "IPC namespace")
      .value("pid", 0, given.pid, "MODE", "PID namespace: host or container:NAME")
      .value("uts", 0, given.uts, "MODE", "UTS namespace: host")
      .value("userns", 0, given.userns, "MODE", "User namespace: host");
}

// Putting it together ----------------------------------------------------------------------------

engine::Labels pairs(const Words& words) {
  engine::Labels labels;
  for (const std::string& each : words) add_pair(labels, each);
  return labels;
}

Result<> apply_process(RunPlan& plan, Given& given) {
  engine::ContainerConfig& config = plan.config;
  for (const std::string& file : given.env_files) {
    for (std::string& line : TRY(read_variables(file, true))) config.env.push_back(std::move(line));
  }
  config.env.insert(config.env.end(), given.env.begin(), given.env.end());
  for (const std::string& file : given.label_files) {
    for (const std::string& line : TRY(read_variables(file, false))) add_pair(config.labels, line);
  }
  for (const std::string& label : given.labels) {
    if (label.starts_with('=')) return wrong(cat("invalid label '", label, "': empty name"));
    add_pair(config.labels, label);
  }
  plan.host.annotations = pairs(given.annotations);
  if (given.entrypoint) {
    // An empty one takes the image's away.
    config.entrypoint = {.set = true, .words = {*given.entrypoint}};
  }
  config.open_stdin = given.interactive;
  for (std::string stream : given.attach) {
    for (char& c : stream) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    if (stream == "stdin") {
      config.attach_stdin = true;
    } else if (stream == "stdout") {
      config.attach_stdout = true;
    } else if (stream == "stderr") {
      config.attach_stderr = true;
    } else {
      return wrong(
          "invalid argument for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and "
          "STDERR");
    }
  }
  if (given.attach.empty()) {
    config.attach_stdout = config.attach_stderr = true;
    config.attach_stdin = given.interactive;
  }
  config.stdin_once = config.open_stdin && config.attach_stdin;
  return {};
}

Result<> apply_health(RunPlan& plan, const Given& given) {
  const bool has_options = !given.health_command.empty() || given.health_interval != 0 ||
                           given.health_timeout != 0 || given.health_start_period != 0 ||
                           given.health_start_interval != 0 || given.health_retries != 0;
  if (given.no_health_check) {
    if (has_options) return wrong("--no-healthcheck conflicts with --health-* options");
    plan.config.healthcheck.emplace().test = {"NONE"};
    return {};
  }
  if (!has_options) return {};
  const std::pair<std::string_view, int64_t> times[] = {
      {"--health-interval", given.health_interval},
      {"--health-timeout", given.health_timeout},
      {"--health-retries", given.health_retries},
      {"--health-start-period", given.health_start_period},
      {"--health-start-interval", given.health_start_interval}};
  for (const auto& [name, value] : times) {
    if (value < 0) return wrong(cat(name, " cannot be negative"));
  }
  engine::HealthConfig& health = plan.config.healthcheck.emplace();
  if (!given.health_command.empty()) health.test = {"CMD-SHELL", given.health_command};
  health.interval = given.health_interval;
  health.timeout = given.health_timeout;
  health.start_period = given.health_start_period;
  health.start_interval = given.health_start_interval;
  health.retries = given.health_retries;
  return {};
}

Result<> apply_volume(RunPlan& plan, const std::string& text) {
  if (!text.contains(':')) {
    if (!text.starts_with('/')) {
      return wrong(cat("invalid volume specification: '", text, "': invalid mount path: '", text,
                       "' mount path must be absolute"));
    }
    plan.config.volumes[text];
    return {};
  }
  std::string_view rest = text;
  std::string source(take_until(rest, ':'));
  if (source.empty() || rest.empty()) {
    return wrong(cat("invalid spec: ", text, ": empty section between colons"));
  }
  if (source.starts_with('.')) {
    char here[PATH_MAX];
    if (::realpath(".", here) != nullptr) {
      std::string_view tail = source;
      if (tail == ".") tail = {};
      if (tail.starts_with("./")) tail.remove_prefix(2);
      source = tail.empty() ? std::string(here) : cat(here, '/', tail);
    }
  }
  plan.host.binds.push_back(cat(source, ':', rest));
  return {};
}

Result<> apply_storage(RunPlan& plan, const Given& given) {
  for (const std::string& volume : given.volumes) TRY(apply_volume(plan, volume));
  for (const std::string& each : given.tmpfs) {
    std::string_view options = each;
    const std::string path(take_until(options, ':'));
    plan.host.tmpfs[path] = options;
  }
  for (const std::string& each : given.storage_options) {
    if (!each.contains('=')) return wrong("invalid storage option");
  }
  plan.host.storage_opt = pairs(given.storage_options);
  Words cdi;
  for (const std::string& device : given.devices) {
    if (is_cdi_device(device)) {
      cdi.push_back(device);
    } else {
      plan.host.devices.push_back(TRY(parse_device(device)));
    }
  }
  for (const std::string& each : given.gpus)
    plan.host.device_requests.push_back(TRY(parse_gpus(each)));
  if (!cdi.empty()) {
    plan.host.device_requests.push_back({.driver = "cdi", .device_ids = std::move(cdi)});
  }
  return {};
}

bool is_user_defined(std::string_view network) {
  return !network.empty() && network != "default" && network != "bridge" && network != "host" &&
         network != "none" && !network.starts_with("container:");
}

// --network-alias, --ip and the like belong to the first network.
Result<> apply_to_first_network(NetworkChoice& first, const Given& given) {
  engine::Endpoint& endpoint = first.endpoint;
  const auto ipam = [&]() -> engine::EndpointIpamConfig& {
    if (!endpoint.ipam_config) endpoint.ipam_config.emplace();
    return *endpoint.ipam_config;
  };
  const auto twice = [](std::string_view option, std::string_view what) {
    return wrong(
        cat("conflicting options: cannot specify both --", option, " and per-network ", what));
  };
  if (!given.aliases.empty()) {
    if (!endpoint.aliases.empty()) return twice("network-alias", "alias");
    endpoint.aliases = given.aliases;
  }
  if (!given.ip.empty()) {
    if (endpoint.ipam_config && !endpoint.ipam_config->ipv4_address.empty()) {
      return twice("ip", "IPv4 address");
    }
    ipam().ipv4_address = given.ip;
  }
  if (!given.ip6.empty()) {
    if (endpoint.ipam_config && !endpoint.ipam_config->ipv6_address.empty()) {
      return twice("ip6", "IPv6 address");
    }
    ipam().ipv6_address = given.ip6;
  }
  if (!given.link_local.empty()) {
    if (endpoint.ipam_config && !endpoint.ipam_config->link_local_ips.empty()) {
      return twice("link-local-ip", "link-local IP addresses");
    }
    ipam().link_local_ips = given.link_local;
  }
  if (!given.mac_address.empty()) {
    if (!endpoint.mac_address.empty()) return twice("mac-address", "MAC address");
    endpoint.mac_address = TRY(check_mac_address(given.mac_address));
  }
  if (is_user_defined(first.name)) endpoint.links = given.links;
  return {};
}

Result<> apply_network(RunPlan& plan, const Given& given) {
  for (const std::string& port : given.publish) {
    TRY(add_published(port, plan.config.exposed_ports, plan.host.port_bindings));
  }
  for (const std::string& port : given.expose) TRY(add_exposed(port, plan.config.exposed_ports));
  std::vector<NetworkChoice> choices;
  for (const std::string& each : given.networks) choices.push_back(TRY(parse_network(each)));
  if (choices.empty()) choices.push_back({.name = "default", .endpoint = {}});
  const bool named = is_user_defined(choices[0].name);
  if (!named && !given.aliases.empty() && choices[0].name == "host") {
    return wrong("network-scoped aliases are only supported for user-defined networks");
  }
  TRY(apply_to_first_network(choices[0], given));
  plan.host.links = given.links;
  plan.host.network_mode = choices[0].name;
  for (NetworkChoice& choice : choices) {
    if (choices.size() > 1 && !is_user_defined(choice.name) && choice.name != "bridge" &&
        choice.name != "default") {
      return wrong(
          cat("conflicting options: cannot attach both user-defined and non-user-defined "
              "network-modes"));
    }
    if (plan.networking.endpoints.contains(choice.name)) {
      return wrong(cat("network \"", choice.name, "\" is specified multiple times"));
    }
    // The engine's own networks have no endpoints that could be described.
    if (!is_user_defined(choice.name) && choice.name != "default" && choices.size() == 1) continue;
    plan.networking.endpoints[choice.name] = std::move(choice.endpoint);
  }
  return {};
}

Result<> apply_security(RunPlan& plan, const Given& given) {
  for (std::string option : given.security) {
    size_t separator = option.find('=');
    if (separator == std::string::npos) separator = option.find(':');
    if (separator == std::string::npos) {
      if (option != "no-new-privileges") return wrong(cat("invalid --security-opt: ", option));
      plan.host.security_opt.push_back(std::move(option));
      continue;
    }
    const std::string name = option.substr(0, separator), value = option.substr(separator + 1);
    if (name == "seccomp" && value != "unconfined" && value != "builtin") {
      constexpr size_t profile_bytes_max = 4u << 20;
      const auto text = sys::read_file_at(sys::working_directory, value.c_str(), profile_bytes_max);
      if (!text) {
        return wrong(cat("opening seccomp profile (", value, ") failed: ", text.error().message()));
      }
      const auto profile = Datum::parse(*text);
      if (!profile) {
        return wrong(cat("compacting json for seccomp profile (", value,
                         ") failed: ", profile.error().message()));
      }
      plan.host.security_opt.push_back(cat("seccomp=", profile->json()));
    } else if (name == "systempaths" && value == "unconfined") {
      plan.host.masked_paths.emplace();
      plan.host.readonly_paths.emplace();
    } else {
      plan.host.security_opt.push_back(std::move(option));
    }
  }
  for (const std::string& each : given.sysctls) {
    if (!each.contains('=')) return wrong(cat(each, " is not NAME=VALUE"));
  }
  plan.host.sysctls = pairs(given.sysctls);
  const auto mode = [](std::string& to, const std::string& from, std::string_view option,
                       std::string_view complaint, bool allowed) -> Result<> {
    if (!from.empty() && !allowed) return wrong(cat("--", option, ": ", complaint));
    to = from;
    return {};
  };
  TRY(mode(plan.host.pid_mode, given.pid, "pid", "invalid PID mode",
           given.pid == "host" || given.pid.starts_with("container:")));
  TRY(mode(plan.host.uts_mode, given.uts, "uts", "invalid UTS mode", given.uts == "host"));
  TRY(mode(plan.host.userns_mode, given.userns, "userns", "invalid USER mode",
           given.userns == "host"));
  TRY(mode(plan.host.cgroupns_mode, given.cgroupns, "cgroupns", "invalid CGROUP mode",
           given.cgroupns == "host" || given.cgroupns == "private"));
  plan.host.ipc_mode = given.ipc;
  return {};
}

// "chown" as "CAP_CHOWN", each once and in order: one set has one spelling.
void normalise(Words& capabilities) {
  for (std::string& each : capabilities) {
    for (char& c : each) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
    if (each != "ALL" && !each.starts_with("CAP_")) each.insert(0, "CAP_");
  }
  std::ranges::sort(capabilities);
  const auto rest = std::ranges::unique(capabilities);
  capabilities.erase(rest.begin(), rest.end());
}

Result<> apply_rest(RunPlan& plan, const Given& given) {
  normalise(plan.host.cap_add);
  normalise(plan.host.cap_drop);
  std::ranges::sort(plan.host.ulimits, {}, &engine::Ulimit::name);
  if (!given.log_options.empty() && plan.host.log_config.type == "none") {
    return wrong("invalid logging opts for driver none");
  }
  plan.host.log_config.config = pairs(given.log_options);
  plan.host.restart_policy = TRY(parse_restart(given.restart));
  if (plan.host.auto_remove && !plan.host.restart_policy.name.empty() &&
      plan.host.restart_policy.name != "no") {
    return wrong("conflicting options: cannot specify both --restart and --rm");
  }
  if (plan.host.restart_policy.name.empty()) plan.host.restart_policy.name = "no";
  if (given.memory_swappiness < -1 || given.memory_swappiness > 100) {
    return wrong(cat("invalid value: ", given.memory_swappiness,
                     ". Valid memory swappiness range is 0-100"));
  }
  plan.host.memory_swappiness = given.memory_swappiness;
  if (plan.pull != "always" && plan.pull != "missing" && plan.pull != "never") {
    return wrong(cat("invalid pull option: '", plan.pull,
                     "': must be one of \"always\", \"missing\" "
                     "or \"never\""));
  }
  plan.host.container_id_file = plan.cid_file;
  return {};
}

Result<> apply_detach(RunPlan& plan, const Given& given) {
  if (!plan.detach) return {};
  if (!given.attach.empty()) {
    return wrong("conflicting options: cannot specify both --attach and --detach");
  }
  engine::ContainerConfig& config = plan.config;
  config.attach_stdin = config.attach_stdout = config.attach_stderr = config.stdin_once = false;
  return {};
}

// Members one by one, because an empty list that is there means something else than none: no path
// is masked.
struct BodyWriter {
  codec::json::Writer& json;
  template <class T>
  void operator()(const char* name, T& member) {
    json.key(name);
    codec::json::write_fields(json, member);
  }
  void operator()(const char* name, std::optional<Words>& member) {
    json.key(name);
    if (member) {
      json.values(*member);
    } else {
      json.null();
    }
  }
};

}  // namespace

std::string RunPlan::body() const {
  codec::json::Writer json;
  json.begin_object();
  BodyWriter fields{json};
  engine::ContainerConfig top = config;
  top.describe(fields);
  engine::HostConfig inner = host;
  json.key("HostConfig").begin_object();
  inner.describe(fields);
  json.end_object();
  json.key("NetworkingConfig");
  codec::json::write_fields(json, networking);
  return std::move(json.end_object()).take();
}

Result<ParsedRun> parse_run(RunVerb verb, const Words& arguments, Description* describe_into) {
  ParsedRun parsed;
  RunPlan& plan = parsed.plan;
  Given given;
  const bool runs = verb == RunVerb::Run;
  bool content_trust = true;
  Options options(
      runs ? "run [OPTIONS] IMAGE [COMMAND] [ARG...]" : "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
      runs ? "Makes a container of an image and runs it." : "Makes a container.");
  if (runs) {
    options.flag("detach", 'd', plan.detach, "Run in the background and print the container's id")
        .value("detach-keys", 0, plan.detach_keys, "KEYS", "What detaches from it (ctrl-p,ctrl-q)")
        .flag("sig-proxy", 0, plan.signal_proxy, "Pass our signals on (default true)")
        .flag("trace", 0, plan.trace, "Print the phases of the start as a timeline");
  }
  add_identity_options(options, plan, given);
  add_process_options(options, plan, given);
  add_storage_options(options, plan, given);
  add_network_options(options, plan, given);
  add_resource_options(options, plan, given);
  add_security_options(options, plan, given);
  options.flag("disable-content-trust", 0, content_trust, "Accepted for Docker's sake")
      .operands(1, any_number)
      .stop_at_operand();
  const Options::Parsed words = options.parse_or_explain(arguments, describe_into);
  parsed.exit_code = words.exit_code;
  if (parsed.exit_code) return parsed;
  plan.config.image = words.operands[0];
  if (words.operands.size() > 1) {
    plan.config.cmd = {.set = true, .words = {words.operands.begin() + 1, words.operands.end()}};
  }
  TRY(apply_process(plan, given));
  TRY(apply_health(plan, given));
  TRY(apply_storage(plan, given));
  TRY(apply_network(plan, given));
  TRY(apply_security(plan, given));
  TRY(apply_rest(plan, given));
  TRY(apply_detach(plan, given));
  return parsed;
}

}  // namespace nacelle::cli
