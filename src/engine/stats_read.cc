#include "engine/stats_read.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "engine/moment.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

constexpr size_t control_file_bytes_max = 64u << 10;
constexpr size_t proc_file_bytes_max = 1u << 20;  // /proc/stat has a line per processor
constexpr uint64_t ns_per_tick = 10'000'000;      // USER_HZ is 100 on every architecture of ours

// What is not there, and what cannot be read, is absent.
std::optional<std::string> read_text(int directory, const char* path, size_t bytes_max) {
  Result<std::string> text = sys::read_file_at(directory, path, bytes_max);
  if (!text) return {};
  return *std::move(text);
}

std::string_view take_word(std::string_view& rest) {
  while (rest.starts_with(' ') || rest.starts_with('\t')) rest.remove_prefix(1);
  const size_t end = std::min(rest.find_first_of(" \t"), rest.size());
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

std::optional<uint64_t> one_number(const std::optional<std::string>& text) {
  if (!text) return {};
  std::string_view rest = *text;
  return parse_number<uint64_t>(take_until(rest, '\n'));
}

// A limit: "max" is as much as there can be.
std::optional<uint64_t> limit(const std::optional<std::string>& text, uint64_t without) {
  if (text && text->starts_with("max")) return without;
  return one_number(text);
}

void read_cpu(std::string_view text, Sample& sample) {
  constexpr uint64_t ns_per_us = 1000;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    const std::string_view name = take_word(line);
    const auto value = parse_number<uint64_t>(take_word(line));
    if (!value) continue;
    if (name == "usage_usec") sample.cpu_total = *value * ns_per_us;
    if (name == "user_usec") sample.cpu_user = *value * ns_per_us;
    if (name == "system_usec") sample.cpu_kernel = *value * ns_per_us;
    if (name == "nr_periods") sample.periods = value;
    if (name == "nr_throttled") sample.throttled_periods = value;
    if (name == "throttled_usec") sample.throttled_ns = *value * ns_per_us;
  }
}

void read_memory_stat(std::string_view text, Sample& sample) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    const std::string_view name = take_word(line);
    const auto value = parse_number<uint64_t>(take_word(line));
    if (value) sample.memory_stat.emplace_hint(sample.memory_stat.end(), name, *value);
  }
}

// Only what is told on: how often the limit was hit, and who died of it.
void read_memory_events(std::string_view text, Sample& sample) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    const std::string_view name = take_word(line);
    const auto value = parse_number<uint64_t>(take_word(line));
    if (name == "max") sample.memory_limit_hits = value;
    if (name == "oom_kill") sample.oom_kills = value;
  }
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234"
std::optional<Pressure> read_pressure(const std::optional<std::string>& text) {
  if (!text) return {};
  Pressure pressure;
  std::string_view rest = *text;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    const std::string_view name = take_word(line);
    const size_t total = line.find("total=");
    if (total == std::string_view::npos) continue;
    const auto value = parse_number<uint64_t>(line.substr(total + 6));
    if (name == "some") pressure.some_us = value;
    if (name == "full") pressure.full_us = value;
  }
  if (!pressure.some_us && !pressure.full_us) return {};
  return pressure;
}

// "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0"
void read_io(std::string_view text, Sample& sample) {
  std::vector<BlockIoEntry>& bytes = sample.io_bytes.emplace();
  std::vector<BlockIoEntry>& operations = sample.io_operations.emplace();
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    std::string_view device = take_word(line);
    const auto major = parse_number<uint64_t>(take_until(device, ':'));
    const auto minor = parse_number<uint64_t>(device);
    if (!major || !minor) continue;
    for (std::string_view word = take_word(line); !word.empty(); word = take_word(line)) {
      const std::string_view name = take_until(word, '=');
      const auto value = parse_number<uint64_t>(word);
      if (!value) continue;
      if (name == "rbytes") bytes.push_back({*major, *minor, "read", *value});
      if (name == "wbytes") bytes.push_back({*major, *minor, "write", *value});
      if (name == "rios") operations.push_back({*major, *minor, "read", *value});
      if (name == "wios") operations.push_back({*major, *minor, "write", *value});
    }
  }
}

// Without `lo`, as Docker, which knows only of interfaces it made.
std::map<std::string, NetworkCounters> read_networks(std::string_view text) {
  std::map<std::string, NetworkCounters> networks;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;  // the two lines of headings
    std::string_view head = line.substr(0, colon);
    const std::string_view name = take_word(head);
    if (name == "lo") continue;
    line.remove_prefix(colon + 1);
    uint64_t columns[12] = {};
    for (uint64_t& column : columns) {
      column = parse_number<uint64_t>(take_word(line)).value_or(0);
    }
    networks.emplace(name, NetworkCounters{.rx_bytes = columns[0],
                                           .rx_packets = columns[1],
                                           .rx_errors = columns[2],
                                           .rx_dropped = columns[3],
                                           .tx_bytes = columns[8],
                                           .tx_packets = columns[9],
                                           .tx_errors = columns[10],
                                           .tx_dropped = columns[11]});
  }
  return networks;
}

void read_proc_stat(std::string_view text, HostUse& host) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    const std::string_view name = take_word(line);
    if (!name.starts_with("cpu")) return;
    if (name != "cpu") {
      ++host.processors;
      continue;
    }
    // user nice system idle iowait irq softirq; what follows is contained in these.
    uint64_t ticks = 0;
    for (int i = 0; i < 7; ++i) ticks += parse_number<uint64_t>(take_word(line)).value_or(0);
    host.cpu_ns = ticks * ns_per_tick;
  }
}

uint64_t memory_total(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    if (take_word(line) != "MemTotal:") continue;
    return parse_number<uint64_t>(take_word(line)).value_or(0) * 1024;
  }
  return 0;
}

}  // namespace

HostUse read_host_use(uint64_t memory_bytes) {
  HostUse host;
  if (const auto text = read_text(sys::working_directory, "/proc/stat", proc_file_bytes_max)) {
    read_proc_stat(*text, host);
  }
  host.memory_bytes = memory_bytes;
  if (memory_bytes == 0) {
    const auto text = read_text(sys::working_directory, "/proc/meminfo", control_file_bytes_max);
    if (text) host.memory_bytes = memory_total(*text);
  }
  return host;
}

Result<Sample> read_sample(const SampleSource& source, const HostUse& host, Depth depth) {
  const Fd group =
      TRY(sys::open_at(sys::working_directory, source.cgroup.c_str(), O_PATH | O_DIRECTORY));
  const auto read = [&](const char* name) {
    return read_text(group.get(), name, control_file_bytes_max);
  };
  Sample sample;
  sample.time_ns = now_ns();
  sample.system_cpu = host.cpu_ns;
  sample.online_cpus = host.processors;
  if (const auto text = read("cpu.stat")) read_cpu(*text, sample);
  sample.memory_usage = one_number(read("memory.current"));
  if (sample.memory_usage) {
    sample.memory_limit = limit(read("memory.max"), host.memory_bytes);
    if (const auto text = read("memory.stat")) read_memory_stat(*text, sample);
  }
  sample.pids = one_number(read("pids.current"));
  if (sample.pids) sample.pids_limit = limit(read("pids.max"), ~uint64_t{0});
  if (const auto text = read("io.stat")) read_io(*text, sample);
  if (source.pid > 0 && !source.host_network) {
    const std::string path = cat("/proc/", source.pid, "/net/dev");
    if (const auto text = read_text(sys::working_directory, path.c_str(), proc_file_bytes_max)) {
      sample.networks = read_networks(*text);
    }
  }
  if (depth == Depth::Docker) return sample;
  sample.group = bpf::group_number(group).value_or(0);
  if (sample.memory_usage) {
    sample.memory_peak = one_number(read("memory.peak"));
    sample.swap_usage = one_number(read("memory.swap.current"));
    if (const auto text = read("memory.events")) read_memory_events(*text, sample);
  }
  sample.cpu_pressure = read_pressure(read("cpu.pressure"));
  sample.memory_pressure = read_pressure(read("memory.pressure"));
  sample.io_pressure = read_pressure(read("io.pressure"));
  return sample;
}

}  // namespace nacelle::engine
