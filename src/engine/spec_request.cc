// A request, made whole: what the image says where the request says nothing, then the defaults.
#include <unistd.h>

#include <algorithm>

#include "base/text.h"
#include "container/plan.h"
#include "engine/container_text.h"
#include "engine/spec_builder.h"
#include "engine/spec_parts.h"

namespace nacelle::engine {
namespace {

constexpr unsigned processors_max = 8192;

std::string_view name_of_variable(std::string_view entry) {
  return entry.substr(0, entry.find('='));
}

// An image's word is no request: what could not be asked for is left out, not refused.
bool is_sound(std::string_view entry) {
  const std::string_view name = name_of_variable(entry);
  return !name.empty() && name.find('\n') == std::string_view::npos &&
         entry.find('\0') == std::string_view::npos;
}

void merge_environment(std::vector<std::string>& env, const std::vector<std::string>& image) {
  const size_t asked_for = env.size();
  for (const std::string& entry : image) {
    if (!is_sound(entry)) continue;
    const auto is_set = [&](const std::string& own) {
      return name_of_variable(own) == name_of_variable(entry);
    };
    const auto end = env.begin() + static_cast<std::ptrdiff_t>(asked_for);
    if (std::none_of(env.begin(), end, is_set)) env.push_back(entry);
  }
}

void merge_command(ContainerConfig& config, const oci::RunConfig& image) {
  if (config.entrypoint.words.empty()) {
    if (config.cmd.words.empty()) {
      config.cmd = {.set = !image.command.empty(), .words = image.command};
    }
    // An empty list asks for none; only what is absent comes from the image.
    if (!config.entrypoint.set) {
      config.entrypoint = {.set = !image.entrypoint.empty(), .words = image.entrypoint};
    }
  }
  if (config.entrypoint.words.size() == 1 && config.entrypoint.words[0].empty()) {
    config.entrypoint = {};
  }
}

void merge_health(std::optional<HealthConfig>& own, const std::optional<oci::HealthCheck>& image) {
  if (!image) return;
  HealthConfig theirs;
  theirs.test = image->test;
  theirs.interval = image->interval_ns;
  theirs.timeout = image->timeout_ns;
  theirs.start_period = image->start_period_ns;
  theirs.start_interval = image->start_interval_ns;
  theirs.retries = image->retries;
  if (!own) {
    own = std::move(theirs);
    return;
  }
  if (own->test.empty()) own->test = std::move(theirs.test);
  if (own->interval == 0) own->interval = theirs.interval;
  if (own->timeout == 0) own->timeout = theirs.timeout;
  if (own->start_period == 0) own->start_period = theirs.start_period;
  if (own->start_interval == 0) own->start_interval = theirs.start_interval;
  if (own->retries == 0) own->retries = theirs.retries;
}

// Where the kernel shows something of the host's that moby 28.5 hides; the processors' heat where
// there are such files.
std::vector<std::string> make_masked_paths() {
  std::vector<std::string> paths = {
      "/proc/asound",     "/proc/acpi",        "/proc/interrupts",
      "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
      "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
      "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap",
  };
  const long count = ::sysconf(_SC_NPROCESSORS_CONF);
  for (unsigned i = 0; i < processors_max && static_cast<long>(i) < count; ++i) {
    std::string path = cat("/sys/devices/system/cpu/cpu", i, "/thermal_throttle");
    if (::access(path.c_str(), F_OK) == 0) paths.push_back(std::move(path));
  }
  return paths;
}

}  // namespace

const std::vector<std::string>& default_masked_paths() {
  static const std::vector<std::string> paths = make_masked_paths();
  return paths;
}

const std::vector<std::string>& default_readonly_paths() {
  static const std::vector<std::string> paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                                 "/proc/sysrq-trigger"};
  return paths;
}

Result<> merge_image_config(CreateRequest& request, const oci::RunConfig& image) {
  ContainerConfig& config = request.config;
  if (config.user.empty()) config.user = image.user;
  for (const std::string& port : image.exposed_ports) {
    if (check_port_key(port)) config.exposed_ports[port];
  }
  merge_environment(config.env, image.env);
  for (const auto& [key, value] : image.labels) config.labels.emplace(key, value);
  merge_command(config, image);
  merge_health(config.healthcheck, image.health_check);
  if (config.working_dir.empty() && !image.working_directory.empty()) {
    config.working_dir = container::clean_path(image.working_directory);
  }
  for (const std::string& path : image.volumes) config.volumes[path];
  if (config.stop_signal.empty() && parse_signal(image.stop_signal)) {
    config.stop_signal = image.stop_signal;
  }
  if (config.entrypoint.words.empty() && config.cmd.words.empty()) {
    return fail(Kind::Invalid, "no command specified");
  }
  return check_merged(config);
}

void fill_defaults(CreateRequest& request, int64_t shm_bytes) {
  HostConfig& host = request.host;
  ContainerConfig& config = request.config;
  if (!config.working_dir.empty()) config.working_dir = container::clean_path(config.working_dir);
  if (host.shm_size == 0) host.shm_size = shm_bytes;
  if (host.ipc_mode.empty()) host.ipc_mode = "private";
  if (host.cgroupns_mode.empty()) host.cgroupns_mode = "private";
  if (host.network_mode.empty() || host.network_mode == "default") host.network_mode = "bridge";
  if (host.restart_policy.name.empty()) host.restart_policy.name = "no";
  if (host.log_config.type.empty()) host.log_config.type = "json-file";
  if (host.runtime.empty()) host.runtime = "runc";
  if (host.console_size.size() != 2) host.console_size = {0, 0};
  // Twice the memory, as Docker: as much swap as memory.
  if (host.memory > 0 && host.memory_swap == 0) {
    host.memory_swap = host.memory > INT64_MAX / 2 ? -1 : host.memory * 2;
  }
  if (host.memory_swappiness == -1) host.memory_swappiness.reset();
  // cgroup v2 has no way to do either.
  host.memory_swappiness.reset();
  host.oom_kill_disable.reset();
  if (!host.privileged) {
    if (!host.masked_paths) host.masked_paths = default_masked_paths();
    if (!host.readonly_paths) host.readonly_paths = default_readonly_paths();
  }
}

}  // namespace nacelle::engine
