// What a create request may say. Texts are Docker's: clients and their tests look at them.
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "container/plan.h"
#include "engine/addresses.h"
#include "engine/container_text.h"
#include "engine/spec_parts.h"
#include "oci/names.h"

namespace nacelle::engine {
namespace {

constexpr int64_t memory_min = 6 << 20;
constexpr int64_t health_duration_min_ns = 1'000'000;
constexpr size_t host_name_bytes_max = 64;  // the kernel's __NEW_UTS_LEN
constexpr int64_t nano_per_cpu = 1'000'000'000;

std::unexpected<Error> invalid(std::string text) { return fail(Kind::Invalid, std::move(text)); }

bool is_name(std::string_view name) {
  const auto word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const auto rest = [&](char c) { return word(c) || c == '_' || c == '.' || c == '-'; };
  return name.size() >= 2 && word(name[0]) && std::ranges::all_of(name, rest);
}

Result<> check_name(std::string_view name) {
  if (name.starts_with('/')) name.remove_prefix(1);
  if (name.empty() || is_name(name)) return {};
  return invalid(
      cat("Invalid container name (", name, "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"));
}

bool is_host_name(std::string_view name) {
  return name.size() <= host_name_bytes_max && std::ranges::none_of(name, [](char c) {
           return static_cast<unsigned char>(c) <= ' ' || c == 0x7f || c == '/';
         });
}

Result<> check_duration(std::string_view name, int64_t value) {
  if (value == 0 || value >= health_duration_min_ns) return {};
  return invalid(cat(name, " in Healthcheck cannot be less than 1ms"));
}

Result<> check_health(const HealthConfig& health) {
  TRY(check_duration("Interval", health.interval));
  TRY(check_duration("Timeout", health.timeout));
  if (health.retries < 0) return invalid("Retries in Healthcheck cannot be negative");
  TRY(check_duration("StartPeriod", health.start_period));
  TRY(check_duration("StartInterval", health.start_interval));
  return {};
}

Result<> check_command(const std::vector<std::string>& words) {
  const auto has_nul = [](std::string_view word) { return word.contains('\0'); };
  if (std::ranges::any_of(words, has_nul)) return invalid("a command must not contain NUL");
  return {};
}

// A variable without a name is passed on by an exec, as dockerd does, and refused by a create.
Result<> check_environment(const std::vector<std::string>& env, bool needs_names) {
  for (const std::string_view entry : env) {
    if (entry.empty() || (needs_names && entry.starts_with('=')) || entry.contains('\0') ||
        entry.substr(0, entry.find('=')).contains('\n')) {
      return invalid(cat("invalid environment variable: ", entry));
    }
  }
  return {};
}

Result<> check_config(const ContainerConfig& config) {
  if (!config.working_dir.empty() && !config.working_dir.starts_with('/')) {
    return invalid(cat("the working directory '", config.working_dir,
                       "' is invalid, it needs to be an absolute path"));
  }
  if (!config.stop_signal.empty()) TRY(parse_signal(config.stop_signal));
  TRY(check_environment(config.env, /*needs_names=*/true));
  TRY(check_command(config.entrypoint.words));
  TRY(check_command(config.cmd.words));
  if (config.healthcheck) TRY(check_health(*config.healthcheck));
  if (!is_host_name(config.hostname)) {
    return invalid(cat("invalid hostname format: ", config.hostname));
  }
  if (!is_host_name(config.domainname)) {
    return invalid(cat("invalid domainname format: ", config.domainname));
  }
  if (config.stop_timeout && *config.stop_timeout < -1) return invalid("invalid stop timeout");
  for (const std::string_view text : {std::string_view(config.user), std::string_view(config.image),
                                      std::string_view(config.working_dir)}) {
    if (!is_plain_text(text)) return invalid("control characters are not allowed");
  }
  return {};
}

// Ports -----------------------------------------------------------------------------------------

// "80" or "8000-8010"; empty: any.
bool is_port_range(std::string_view text) {
  if (text.empty()) return true;
  const auto first = parse_number<uint16_t>(text.substr(0, text.find('-')));
  if (!text.contains('-')) return first.has_value();
  const auto last = parse_number<uint16_t>(text.substr(text.find('-') + 1));
  return first && last && *first <= *last;
}

Result<> check_ports(const CreateRequest& request) {
  for (const auto& [port, present] : request.config.exposed_ports) TRY(check_port_key(port));
  for (const auto& [port, bindings] : request.host.port_bindings) {
    TRY(check_port_key(port));
    for (const PortBinding& binding : bindings) {
      if (!is_port_range(binding.host_port)) {
        return invalid(cat("invalid port specification: \"", binding.host_port, "\""));
      }
      if (!binding.host_ip.empty() && !parse_address(binding.host_ip)) {
        return invalid(cat("invalid IP address: ", binding.host_ip));
      }
    }
  }
  return {};
}

// Modes -----------------------------------------------------------------------------------------

Result<> check_modes(const HostConfig& host) {
  constexpr std::array ipc_modes = {"", "none", "private", "shareable", "host"};
  const auto joins = [](std::string_view mode) {
    return is_container(mode) && !parse_mode(mode).target.empty();
  };
  if (!contains(ipc_modes, host.ipc_mode) && !joins(host.ipc_mode)) {
    return invalid(cat("invalid IPC mode: ", host.ipc_mode));
  }
  if (!host.pid_mode.empty() && host.pid_mode != "host" && !joins(host.pid_mode)) {
    return invalid(cat("invalid PID mode: ", host.pid_mode));
  }
  if (!host.uts_mode.empty() && host.uts_mode != "host") {
    return invalid(cat("invalid UTS mode: ", host.uts_mode));
  }
  if (!host.userns_mode.empty() && host.userns_mode != "host") {
    return invalid(cat("invalid user namespace mode: ", host.userns_mode));
  }
  if (!host.cgroupns_mode.empty() && host.cgroupns_mode != "private" &&
      host.cgroupns_mode != "host") {
    return invalid(cat("invalid cgroup namespace mode: ", host.cgroupns_mode));
  }
  if (!host.isolation.empty() && host.isolation != "default") {
    return invalid(cat("invalid isolation (", host.isolation, "): linux only supports 'default'"));
  }
  return {};
}

Result<> check_network_mode(const CreateRequest& request) {
  const HostConfig& host = request.host;
  const ContainerConfig& config = request.config;
  const Mode mode = parse_mode(host.network_mode);
  if (mode.kind == "container" && mode.target.empty()) {
    return invalid("invalid network mode: invalid container format container:<name|id>");
  }
  if (mode.kind == "container") {
    struct Conflict {
      bool there;
      const char* text;
    };
    const Conflict conflicts[] = {
        {!config.hostname.empty(), "conflicting options: hostname and the network mode"},
        {!host.links.empty(),
         "conflicting options: container type network can't be used with links. This would result "
         "in undefined behavior"},
        {!host.dns.empty(), "conflicting options: dns and the network mode"},
        {!host.extra_hosts.empty(),
         "conflicting options: custom host-to-IP mapping and the network mode"},
        {!config.mac_address.empty(), "conflicting options: mac-address and the network mode"},
        {!host.port_bindings.empty() || host.publish_all_ports,
         "conflicting options: port publishing and the container type network mode"},
        {!config.exposed_ports.empty(),
         "conflicting options: port exposing and the container type network mode"},
    };
    for (const Conflict& each : conflicts) {
      if (each.there) return invalid(each.text);
    }
  }
  if (is_host(host.uts_mode) && !config.hostname.empty()) {
    return invalid("conflicting options: hostname and the UTS mode");
  }
  if (is_host(host.network_mode) && !host.links.empty()) {
    return invalid(
        "conflicting options: host type networking can't be used with links. This would result in "
        "undefined behavior");
  }
  return {};
}

Result<> check_restart_policy(const HostConfig& host) {
  const RestartPolicy& policy = host.restart_policy;
  if (host.auto_remove && !policy.name.empty() && policy.name != "no") {
    return invalid("can't create 'AutoRemove' container with restart policy");
  }
  if (policy.name.empty()) return {};
  if (policy.name == "on-failure") {
    if (policy.maximum_retry_count >= 0) return {};
    return invalid("invalid restart policy: maximum retry count cannot be negative");
  }
  if (policy.name == "no" || policy.name == "always" || policy.name == "unless-stopped") {
    if (policy.maximum_retry_count == 0) return {};
    return invalid(
        cat("invalid restart policy: maximum retry count can only be used with 'on-failure'",
            policy.maximum_retry_count < 0 ? " and cannot be negative" : ""));
  }
  return invalid(cat("invalid restart policy: unknown policy '", policy.name,
                     "'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"));
}

// Limits ----------------------------------------------------------------------------------------

Result<> check_memory(const HostConfig& host, bool update) {
  if (host.memory != 0 && host.memory < memory_min) {
    return invalid("Minimum memory limit allowed is 6MB");
  }
  if (host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory) {
    return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
  }
  if (host.memory == 0 && host.memory_swap > 0 && !update) {
    return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
  }
  if (host.memory_swap < -1) return invalid("invalid memory swap limit");
  if (host.memory_swappiness && *host.memory_swappiness != -1 &&
      (*host.memory_swappiness < 0 || *host.memory_swappiness > 100)) {
    return invalid(cat("Invalid value: ", *host.memory_swappiness,
                       ", valid memory swappiness range is 0-100"));
  }
  if (host.memory_reservation != 0 && host.memory_reservation < memory_min) {
    return invalid("Minimum memory reservation allowed is 6MB");
  }
  if (host.memory > 0 && host.memory_reservation > 0 && host.memory < host.memory_reservation) {
    return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
  }
  return {};
}

Result<> check_nano_cpus(int64_t nano_cpus) {
  const long processors = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (nano_cpus < 0 || nano_cpus / nano_per_cpu > processors ||
      (nano_cpus / nano_per_cpu == processors && nano_cpus % nano_per_cpu != 0)) {
    return invalid(cat("range of CPUs is from 0.01 to ", processors, ".00, as there are only ",
                       processors, " CPUs available"));
  }
  return {};
}

Result<> check_cpu(const HostConfig& host) {
  if (host.nano_cpus > 0 && host.cpu_period > 0) {
    return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
  }
  if (host.nano_cpus > 0 && host.cpu_quota > 0) {
    return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
  }
  // The count comes from files of the kernel: it is asked for by those who set a limit only.
  if (host.nano_cpus != 0) TRY(check_nano_cpus(host.nano_cpus));
  if (host.cpu_period != 0 && (host.cpu_period < 1000 || host.cpu_period > 1'000'000)) {
    return invalid(
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
  }
  if (host.cpu_quota > 0 && host.cpu_quota < 1000) {
    return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  }
  if (host.cpu_shares < 0) {
    return invalid(
        cat("invalid CPU shares (", host.cpu_shares, "): value must be a positive integer"));
  }
  if (host.cpu_realtime_period != 0 || host.cpu_realtime_runtime != 0) {
    return invalid("kernel does not support CPU real-time scheduler");
  }
  return {};
}

// The highest number in "0-3,7", or nothing where that is no list.
std::optional<uint64_t> highest_of(std::string_view list) {
  uint64_t highest = 0;
  while (!list.empty()) {
    const bool more = list.contains(',');
    const std::string_view range = take_until(list, ',');
    const auto first = parse_number<uint32_t>(range.substr(0, range.find('-')));
    const auto last =
        range.contains('-') ? parse_number<uint32_t>(range.substr(range.find('-') + 1)) : first;
    if (!first || !last || *last < *first || (more && list.empty())) return std::nullopt;
    highest = std::max<uint64_t>(highest, *last);
  }
  return highest;
}

Result<> check_cpuset(const HostConfig& host) {
  const auto cpus = highest_of(host.cpuset_cpus);
  if (!cpus) {
    return invalid(cat("Invalid value ", host.cpuset_cpus,
                       " for cpuset cpus: invalid format: ", host.cpuset_cpus));
  }
  if (!host.cpuset_cpus.empty()) {
    const long count = ::sysconf(_SC_NPROCESSORS_CONF);
    if (*cpus >= static_cast<uint64_t>(count)) {
      const std::string available = count == 1 ? "0" : cat("0-", count - 1);
      return invalid(cat("Requested CPUs are not available - requested ", host.cpuset_cpus,
                         ", available: ", available));
    }
  }
  if (!highest_of(host.cpuset_mems)) {
    return invalid(cat("Invalid value ", host.cpuset_mems,
                       " for cpuset mems: invalid format: ", host.cpuset_mems));
  }
  return {};
}

Result<> check_block_io(const HostConfig& host) {
  if (host.blkio_weight > 0 && (host.blkio_weight < 10 || host.blkio_weight > 1000)) {
    return invalid("Range of blkio weight is from 10 to 1000");
  }
  const auto check_path = [](std::string_view path) -> Result<> {
    if (path.starts_with('/') && is_plain_text(path)) return {};
    return invalid(cat("bad format for path: ", path));
  };
  for (const WeightDevice& each : host.blkio_weight_device) TRY(check_path(each.path));
  for (const auto* list : {&host.blkio_device_read_bps, &host.blkio_device_write_bps,
                           &host.blkio_device_read_iops, &host.blkio_device_write_iops}) {
    for (const ThrottleDevice& each : *list) TRY(check_path(each.path));
  }
  return {};
}

// The rest --------------------------------------------------------------------------------------

// Parameters that a container has of its own; the kernel's others would change the host.
Result<> check_sysctl(const std::string& name, const std::string& value, const HostConfig& host) {
  constexpr std::string_view ipc_names[] = {
      "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
      "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
  };
  const auto quoted = [&] { return cat("sysctl \"", name, "\""); };
  const bool plain = !name.empty() && !name.contains("..") && !name.ends_with('.') &&
                     std::ranges::all_of(name, [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                              (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
                     });
  if (!plain || !is_plain_text(value)) return invalid(cat("invalid ", quoted()));
  if (contains(ipc_names, std::string_view(name)) || name.starts_with("fs.mqueue.")) {
    if (!is_host(host.ipc_mode)) return {};
    return invalid(cat(quoted(), " is not allowed in the hosts ipc namespace"));
  }
  if (name.starts_with("net.")) {
    if (!is_host(host.network_mode)) return {};
    return invalid(cat(quoted(), " not allowed in host network namespace"));
  }
  if (name == "kernel.domainname" && !is_host(host.uts_mode)) return {};
  return invalid(cat(quoted(), " is not in a separate kernel namespace"));
}

Result<> check_ulimits(const HostConfig& host) {
  TRY(plan_rlimits(host.ulimits));
  return {};
}

Result<> check_logging(const HostConfig& host) {
  constexpr std::array known = {"", "json-file", "local", "none"};
  if (contains(known, host.log_config.type)) return {};
  const std::string& type = host.log_config.type;
  return invalid(
      cat("error looking up logging plugin ", type, ": plugin \"", type, "\" not found"));
}

Result<> check_extra_hosts(const HostConfig& host) {
  for (const std::string& entry : host.extra_hosts) {
    const size_t colon = entry.find(':');
    if (colon == std::string::npos || colon == 0 || !is_host_name(entry.substr(0, colon))) {
      return invalid(cat("bad format for add-host: \"", entry, "\""));
    }
    std::string_view address = std::string_view(entry).substr(colon + 1);
    if (address.starts_with('[') && address.ends_with(']')) {
      address = address.substr(1, address.size() - 2);
    }
    if (address != "host-gateway" && !parse_address(address)) {
      return invalid(cat("invalid IP address in add-host: \"",
                         std::string_view(entry).substr(colon + 1), "\""));
    }
  }
  return {};
}

Result<> check_resolver(const HostConfig& host) {
  for (const std::string& each : host.dns) {
    if (parse_address(each)) continue;
    return invalid(
        cat("bad nameserver address ", each, ": ParseAddr(\"", each, "\"): unable to parse IP"));
  }
  for (const auto* list : {&host.dns_options, &host.dns_search}) {
    for (const std::string& each : *list) {
      if (!is_plain_text(each) || each.contains(' ')) {
        return invalid(cat("invalid DNS setting: ", each));
      }
    }
  }
  return {};
}

Result<> check_mount_settings(const HostConfig& host) {
  for (const MountRequest& mount : host.mounts) TRY(check_mount_request(mount));
  for (const auto& [target, options] : host.tmpfs) {
    TRY(check_mount_target(target));
    TRY(tmpfs_options(options));
  }
  return {};
}

Result<> check_cgroup_parent(std::string_view parent) {
  std::string_view rest = parent;
  while (!rest.empty()) {
    const std::string_view part = take_until(rest, '/');
    if (part == ".." || !is_plain_text(part))
      return invalid(cat("invalid cgroup parent: ", parent));
  }
  return {};
}

Result<> check_host_rest(const HostConfig& host) {
  if (host.shm_size < 0) return invalid("SHM size can not be less than 0");
  if (host.oom_score_adj < -1000 || host.oom_score_adj > 1000) {
    return invalid(
        cat("Invalid value ", host.oom_score_adj, ", range for oom score adj is [-1000, 1000]"));
  }
  if (host.annotations.contains("")) {
    return invalid("invalid Annotations: the empty string is not permitted as an annotation key");
  }
  constexpr std::array runtimes = {"", "runc", "io.containerd.runc.v2", "nacelle"};
  if (!contains(runtimes, host.runtime)) {
    return invalid(cat("unknown or invalid runtime name: ", host.runtime));
  }
  if (!host.storage_opt.empty()) {
    return fail(Kind::Internal,
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option");
  }
  TRY(check_cgroup_parent(host.cgroup_parent));
  for (const std::string& rule : host.device_cgroup_rules) TRY(parse_device_rule(rule));
  for (const auto& [name, value] : host.sysctls) TRY(check_sysctl(name, value, host));
  return {};
}

Result<> check_capability_names(const std::vector<std::string>& names) {
  HostConfig alone;
  alone.cap_add = names;
  TRY(choose_capabilities(alone));
  return {};
}

}  // namespace

Result<> check_port_key(std::string_view key) {
  std::string_view port = key;
  std::string_view protocol = port.contains('/') ? port.substr(port.find('/') + 1) : "tcp";
  port = port.substr(0, port.find('/'));
  if (port.empty() || !is_port_range(port)) {
    return invalid(cat("invalid port specification: \"", port, "\""));
  }
  if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") {
    return invalid(cat("invalid proto: ", protocol));
  }
  return {};
}

bool is_plain_text(std::string_view text) {
  return std::ranges::none_of(
      text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; });
}

Mode parse_mode(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

uint64_t available_capabilities() {
  static const uint64_t mask = [] {
    uint64_t bits = 0;
    for (unsigned number = 0; number < oci::capability_names().size(); ++number) {
      if (::prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1) bits |= uint64_t{1} << number;
    }
    return bits;
  }();
  return mask;
}

namespace {

struct NamedCapabilities {
  bool all = false;
  uint64_t bits = 0;
};

Result<NamedCapabilities> parse_capabilities(const std::vector<std::string>& names) {
  NamedCapabilities named;
  for (const std::string& each : names) {
    std::string name = each;
    for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    if (name == "ALL") {
      named.all = true;
      continue;
    }
    if (!name.starts_with("CAP_")) name.insert(0, "CAP_");
    const auto number = oci::find_capability(name);
    if (!number) return invalid(cat("unknown capability: \"", name, "\""));
    const uint64_t bit = uint64_t{1} << *number;
    if ((available_capabilities() & bit) == 0) {
      return invalid(cat(
          "capability not supported by your kernel or not available in the current environment: \"",
          name, "\""));
    }
    named.bits |= bit;
  }
  return named;
}

uint64_t default_capabilities() {
  constexpr const char* names[] = {
      "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
      "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
      "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
      "CAP_KILL",    "CAP_AUDIT_WRITE",
  };
  uint64_t bits = 0;
  for (const char* name : names) bits |= uint64_t{1} << *oci::find_capability(name);
  return bits;
}

}  // namespace

Result<uint64_t> choose_capabilities(const HostConfig& host) {
  const auto add = TRY(parse_capabilities(host.cap_add));
  const auto drop = TRY(parse_capabilities(host.cap_drop));
  if (host.privileged) return available_capabilities();
  // What is added by name wins over "drop ALL"; what is dropped by name over "add ALL".
  if (add.all) return available_capabilities() & ~drop.bits;
  if (drop.all) return add.bits;
  return (default_capabilities() & ~drop.bits) | add.bits;
}

// dockerd answers 500 to these.
Result<SecurityOptions> parse_security_options(const std::vector<std::string>& options) {
  SecurityOptions parsed;
  for (const std::string& option : options) {
    if (option == "no-new-privileges") {
      parsed.no_new_privileges = true;
      continue;
    }
    if (option == "writable-cgroups") {
      parsed.writable_cgroups = true;
      continue;
    }
    if (option == "disable") continue;  // of SELinux labels
    const size_t at = option.find(option.contains('=') ? '=' : ':');
    if (at == std::string::npos)
      return fail(Kind::Internal, cat("invalid --security-opt 1: \"", option, "\""));
    const std::string_view key = std::string_view(option).substr(0, at);
    const std::string value = option.substr(at + 1);
    constexpr std::array yes = {"1", "t", "T", "TRUE", "true", "True"};
    constexpr std::array no = {"0", "f", "F", "FALSE", "false", "False"};
    const bool is_switch = key == "no-new-privileges" || key == "writable-cgroups";
    if (is_switch && (contains(yes, value) || contains(no, value))) {
      (key == "no-new-privileges" ? parsed.no_new_privileges : parsed.writable_cgroups) =
          contains(yes, value);
    } else if (key == "apparmor") {
      parsed.apparmor = value;
    } else if (key == "seccomp") {
      parsed.seccomp = value;
    } else if (key != "label") {
      return fail(Kind::Internal, cat("invalid --security-opt 2: \"", option, "\""));
    }
  }
  return parsed;
}

Result<> check_resources(const HostConfig& host, bool update) {
  TRY(check_memory(host, update));
  TRY(check_cpu(host));
  TRY(check_cpuset(host));
  TRY(check_block_io(host));
  return {};
}

Result<> check_request(const CreateRequest& request) {
  const HostConfig& host = request.host;
  TRY(check_name(request.name));
  TRY(check_config(request.config));
  TRY(check_restart_policy(host));
  TRY(check_mount_settings(host));
  TRY(check_extra_hosts(host));
  TRY(check_resolver(host));
  TRY(check_ports(request));
  TRY(check_capability_names(host.cap_add).context("invalid CapAdd"));
  TRY(check_capability_names(host.cap_drop).context("invalid CapDrop"));
  TRY(check_resources(host, /*update=*/false));
  TRY(check_ulimits(host));
  TRY(check_modes(host));
  TRY(check_network_mode(request));
  TRY(check_logging(host));
  TRY(parse_security_options(host.security_opt));
  TRY(check_host_rest(host));
  TRY(plan_mounts(request, {}));
  return {};
}

Result<> check_exec(const ExecConfig& config) {
  if (config.cmd.empty()) return invalid("No exec command specified");
  TRY(check_command(config.cmd));
  TRY(check_environment(config.env, /*needs_names=*/false));
  if (!is_plain_text(config.working_dir)) return invalid("control characters are not allowed");
  return {};
}

Result<> check_merged(const ContainerConfig& config) {
  TRY(check_command(config.entrypoint.words));
  TRY(check_command(config.cmd.words));
  if (!is_plain_text(config.working_dir)) return invalid("control characters are not allowed");
  return {};
}

}  // namespace nacelle::engine
