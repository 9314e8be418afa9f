#include "api/metrics_text.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "api/route.h"
#include "base/text.h"

namespace nacelle::api {
namespace {

using engine::Pass;
using engine::Pressure;
using engine::Sample;
using Value = std::optional<uint64_t>;

constexpr uint64_t ns_per_s = 1'000'000'000, us_per_s = 1'000'000;

void append_label_value(std::string& out, std::string_view value) {
  if (!is_utf8(value)) value = "(not UTF-8)";
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
}

// `value` / `per_unit`, exactly; per_unit is a power of ten below 2^60.
void append_ratio(std::string& out, uint64_t value, uint64_t per_unit) {
  append_to(out, value / per_unit);
  uint64_t rest = value % per_unit;
  if (rest != 0) out += '.';
  for (; rest != 0; rest %= per_unit) {
    rest *= 10;
    out += static_cast<char>('0' + rest / per_unit);
  }
}

// Why something is absent; each asks one container's sample.
struct Group {
  std::string_view what, why;
  bool (*is_there)(const Pass::One&);
};
constexpr Group groups[] = {
    {"container_cpu", "cpu.stat of the container's cgroup cannot be read",
     [](const Pass::One& one) { return one.sample.cpu_total.has_value(); }},
    {"container_cpu_cfs", "the cgroup v2 tree has no cpu controller for the container",
     [](const Pass::One& one) { return one.sample.periods.has_value(); }},
    {"container_memory", "the cgroup v2 tree has no memory controller for the container",
     [](const Pass::One& one) { return one.sample.memory_usage.has_value(); }},
    {"container_fs", "the cgroup v2 tree has no io controller for the container",
     [](const Pass::One& one) { return one.sample.io_bytes.has_value(); }},
    {"container_threads", "the cgroup v2 tree has no pids controller for the container",
     [](const Pass::One& one) { return one.sample.pids.has_value(); }},
    {"container_pressure", "this kernel counts no pressure stalls (CONFIG_PSI, psi=1)",
     [](const Pass::One& one) { return one.sample.cpu_pressure.has_value(); }},
    {"container_network", "the container is on the host's network and has no interface of its own",
     [](const Pass::One& one) { return !one.host_network; }},
    {"container_network", "the container is on another one's network: counted there",
     [](const Pass::One& one) { return !one.joined_network; }},
    {"container_network", "its interfaces cannot be read",
     [](const Pass::One& one) {
       return one.host_network || one.joined_network || one.sample.networks.has_value();
     }},
};

// One number of a container. `per_unit`: how many of what we have make one of what is told.
struct Scalar {
  std::string_view name, type, help;
  uint64_t per_unit;
  Value (*value)(const Sample&);
  std::string_view label = {}, label_value = {};
};

Value stat(const Sample& sample, const char* name) {
  const auto found = sample.memory_stat.find(name);
  return found == sample.memory_stat.end() ? Value() : found->second;
}
Value some(const std::optional<Pressure>& pressure) {
  return pressure ? pressure->some_us : Value();
}
Value full(const std::optional<Pressure>& pressure) {
  return pressure ? pressure->full_us : Value();
}
// What cannot be had back at once, as cAdvisor and the kubelet reckon it.
Value working_set(const Sample& sample) {
  if (!sample.memory_usage) return {};
  const uint64_t inactive = stat(sample, "inactive_file").value_or(0);
  return *sample.memory_usage - std::min(inactive, *sample.memory_usage);
}
Value bounded(Value limit) { return limit == ~uint64_t{0} ? Value() : limit; }

// Rows of one name stand together.
constexpr Scalar scalars[] = {
    {"container_cpu_usage_seconds_total", "counter", "Processor time used.", ns_per_s,
     [](const Sample& s) { return s.cpu_total; }, "cpu", "total"},
    {"container_cpu_user_seconds_total", "counter", "Processor time used in user mode.", ns_per_s,
     [](const Sample& s) { return s.cpu_user; }},
    {"container_cpu_system_seconds_total", "counter", "Processor time used in the kernel.",
     ns_per_s, [](const Sample& s) { return s.cpu_kernel; }},
    {"container_cpu_cfs_periods_total", "counter", "Periods in which a limit was enforced.", 1,
     [](const Sample& s) { return s.periods; }},
    {"container_cpu_cfs_throttled_periods_total", "counter", "Periods in which it was reached.", 1,
     [](const Sample& s) { return s.throttled_periods; }},
    {"container_cpu_cfs_throttled_seconds_total", "counter", "Time for which it was held back.",
     ns_per_s, [](const Sample& s) { return s.throttled_ns; }},
    {"container_memory_usage_bytes", "gauge", "Memory in use, page cache included.", 1,
     [](const Sample& s) { return s.memory_usage; }},
    {"container_memory_working_set_bytes", "gauge",
     "Memory in use without page cache that was not used lately.", 1, working_set},
    {"container_memory_rss", "gauge", "Anonymous memory.", 1,
     [](const Sample& s) { return stat(s, "anon"); }},
    {"container_memory_cache", "gauge", "Page cache.", 1,
     [](const Sample& s) { return stat(s, "file"); }},
    {"container_memory_mapped_file", "gauge", "Mapped files.", 1,
     [](const Sample& s) { return stat(s, "file_mapped"); }},
    {"container_memory_kernel_usage", "gauge", "Memory of the kernel's for it.", 1,
     [](const Sample& s) { return stat(s, "kernel"); }},
    {"container_memory_swap", "gauge", "Swap in use.", 1,
     [](const Sample& s) { return s.swap_usage; }},
    {"container_memory_max_usage_bytes", "gauge", "The most memory that was in use.", 1,
     [](const Sample& s) { return s.memory_peak; }},
    {"container_memory_failcnt", "counter", "How often the memory limit was hit.", 1,
     [](const Sample& s) { return s.memory_limit_hits; }},
    {"container_memory_failures_total", "counter", "Page faults.", 1,
     [](const Sample& s) { return stat(s, "pgfault"); }, "failure_type", "pgfault"},
    {"container_memory_failures_total", "counter", "Page faults.", 1,
     [](const Sample& s) { return stat(s, "pgmajfault"); }, "failure_type", "pgmajfault"},
    {"container_oom_events_total", "counter", "Processes killed for want of memory.", 1,
     [](const Sample& s) { return s.oom_kills; }},
    {"container_threads", "gauge", "Threads of all its processes.", 1,
     [](const Sample& s) { return s.pids; }},
    {"container_threads_max", "gauge", "The most threads it may have, where there is a limit.", 1,
     [](const Sample& s) { return bounded(s.pids_limit); }},
    {"container_pressure_cpu_waiting_seconds_total", "counter",
     "Time in which some task waited for a processor.", us_per_s,
     [](const Sample& s) { return some(s.cpu_pressure); }},
    {"container_pressure_cpu_stalled_seconds_total", "counter",
     "Time in which all tasks waited for a processor.", us_per_s,
     [](const Sample& s) { return full(s.cpu_pressure); }},
    {"container_pressure_memory_waiting_seconds_total", "counter",
     "Time in which some task waited for memory.", us_per_s,
     [](const Sample& s) { return some(s.memory_pressure); }},
    {"container_pressure_memory_stalled_seconds_total", "counter",
     "Time in which all tasks waited for memory.", us_per_s,
     [](const Sample& s) { return full(s.memory_pressure); }},
    {"container_pressure_io_waiting_seconds_total", "counter",
     "Time in which some task waited for a disk.", us_per_s,
     [](const Sample& s) { return some(s.io_pressure); }},
    {"container_pressure_io_stalled_seconds_total", "counter",
     "Time in which all tasks waited for a disk.", us_per_s,
     [](const Sample& s) { return full(s.io_pressure); }},
};

struct Io {
  std::string_view name, help, operation;
  std::optional<std::vector<engine::BlockIoEntry>> Sample::* entries;
};
constexpr Io io_families[] = {
    {"container_fs_reads_bytes_total", "Bytes read of a device (major:minor).", "read",
     &Sample::io_bytes},
    {"container_fs_writes_bytes_total", "Bytes written to a device (major:minor).", "write",
     &Sample::io_bytes},
    {"container_fs_reads_total", "Reads of a device (major:minor).", "read",
     &Sample::io_operations},
    {"container_fs_writes_total", "Writes to a device (major:minor).", "write",
     &Sample::io_operations},
};

struct Network {
  std::string_view name, help;
  uint64_t engine::NetworkCounters::* counter;
};
using engine::NetworkCounters;
constexpr Network network_families[] = {
    {"container_network_receive_bytes_total",
     "Bytes an interface has received, with Ethernet headers (layer 2).",
     &NetworkCounters::rx_bytes},
    {"container_network_receive_packets_total", "Packets an interface has received.",
     &NetworkCounters::rx_packets},
    {"container_network_receive_errors_total", "Errors while receiving.",
     &NetworkCounters::rx_errors},
    {"container_network_receive_packets_dropped_total", "Received packets that were dropped.",
     &NetworkCounters::rx_dropped},
    {"container_network_transmit_bytes_total",
     "Bytes an interface has sent, with Ethernet headers (layer 2).", &NetworkCounters::tx_bytes},
    {"container_network_transmit_packets_total", "Packets an interface has sent.",
     &NetworkCounters::tx_packets},
    {"container_network_transmit_errors_total", "Errors while sending.",
     &NetworkCounters::tx_errors},
    {"container_network_transmit_packets_dropped_total", "Packets that were not sent.",
     &NetworkCounters::tx_dropped},
};

// Of its cgroup's sockets, by programs of ours: names of our own, since what they count is not what
// interfaces do.
struct TrafficFamily {
  std::string_view name, type, help;
  __u64 nacelle_group_counters::* counter;
  uint64_t per_unit = 1;
};
constexpr TrafficFamily traffic_families[] = {
    {"nacelle_container_sent_bytes_total", "counter",
     "Bytes sent by its sockets on any network, the host's too: IP packets with their headers "
     "(layer 3), as they go onto the wire; without loopback.",
     &nacelle_group_counters::sent_bytes},
    {"nacelle_container_sent_packets_total", "counter", "IP packets sent by its sockets.",
     &nacelle_group_counters::sent_packets},
    {"nacelle_container_received_bytes_total", "counter",
     "Bytes received by its sockets on any network, the host's too: IP packets with their headers "
     "(layer 3); without loopback.",
     &nacelle_group_counters::received_bytes},
    {"nacelle_container_received_packets_total", "counter", "IP packets received by its sockets.",
     &nacelle_group_counters::received_packets},
    {"nacelle_container_connections_opened_total", "counter",
     "TCP connections it has established, loopback's too.",
     &nacelle_group_counters::connections_out},
    {"nacelle_container_connections_accepted_total", "counter",
     "TCP connections that were established with it, loopback's too.",
     &nacelle_group_counters::connections_in},
    {"nacelle_container_tcp_retransmits_total", "counter", "TCP segments it has sent again.",
     &nacelle_group_counters::retransmits},
    {"nacelle_container_tcp_rtt_seconds_total", "counter",
     "Smoothed round trip times of its TCP connections, added up at each measurement.",
     &nacelle_group_counters::rtt_us_sum, us_per_s},
    {"nacelle_container_tcp_rtt_samples_total", "counter", "How many measurements that are.",
     &nacelle_group_counters::rtt_samples},
};

// The families of containers, with the labels of each container made once.
class ContainerMetrics {
 public:
  ContainerMetrics(MetricsWriter& out, const Pass& pass) : out_(out), pass_(pass) {
    labels_.reserve(pass.containers.size());
    for (const Pass::One& one : pass.containers) {
      labels_.push_back(
          MetricsWriter::label_text({{"id", one.id}, {"name", one.name}, {"image", one.image}}));
    }
  }

  void write() {
    if (pass_.containers.empty()) return;
    write_times();
    for (const Scalar& scalar : scalars) write(scalar);
    for (const Io& io : io_families) write(io);
    for (const Network& network : network_families) write(network);
    for (const TrafficFamily& family : traffic_families) write(family);
  }
  // Within the family nacelle_unavailable.
  void write_absences() {
    for (const Group& group : groups) {
      uint64_t without = 0;
      for (const Pass::One& one : pass_.containers) without += group.is_there(one) ? 0 : 1;
      if (without == 0) continue;
      out_.sample({}, {{"what", group.what}, {"why", group.why}}, without);
    }
    uint64_t without = 0;
    for (const Pass::One& one : pass_.containers) without += one.sample.traffic ? 0 : 1;
    const std::string_view why = pass_.traffic_trouble.empty()
                                     ? std::string_view("its cgroup is counted by no program")
                                     : std::string_view(pass_.traffic_trouble);
    if (without > 0) {
      out_.sample({}, {{"what", "nacelle_container_traffic"}, {"why", why}}, without);
    }
  }

 private:
  // A family nobody has anything of has no head either.
  void begin(std::string_view name, std::string_view type, std::string_view help) {
    if (name == begun_) return;
    begun_ = name;
    out_.family(name, type, help);
  }
  void write_times() {
    begin("container_start_time_seconds", "gauge", "When it was started, since 1970.");
    for (size_t at = 0; at < labels_.size(); ++at) {
      const auto started = parse_rfc3339(pass_.containers[at].started_at);
      if (started) out_.sample(labels_[at], {}, static_cast<uint64_t>(*started), ns_per_s);
    }
    begin("container_last_seen", "gauge", "When this was read, since 1970.");
    for (size_t at = 0; at < labels_.size(); ++at) {
      const int64_t time_ns = pass_.containers[at].sample.time_ns;
      out_.sample(labels_[at], {}, static_cast<uint64_t>(time_ns), ns_per_s);
    }
  }
  void write(const Scalar& scalar) {
    for (size_t at = 0; at < labels_.size(); ++at) {
      const Value value = scalar.value(pass_.containers[at].sample);
      if (!value) continue;
      begin(scalar.name, scalar.type, scalar.help);
      if (scalar.label.empty()) {
        out_.sample(labels_[at], {}, *value, scalar.per_unit);
      } else {
        out_.sample(labels_[at], {{scalar.label, scalar.label_value}}, *value, scalar.per_unit);
      }
    }
  }
  void write(const Io& io) {
    for (size_t at = 0; at < labels_.size(); ++at) {
      const auto& entries = pass_.containers[at].sample.*io.entries;
      if (!entries) continue;
      for (const engine::BlockIoEntry& entry : *entries) {
        if (entry.op != io.operation) continue;
        begin(io.name, "counter", io.help);
        out_.sample(labels_[at], {{"device", cat(entry.major, ':', entry.minor)}}, entry.value);
      }
    }
  }
  void write(const Network& network) {
    for (size_t at = 0; at < labels_.size(); ++at) {
      const Pass::One& one = pass_.containers[at];
      if (!one.sample.networks || one.joined_network) continue;
      for (const auto& [interface, counters] : *one.sample.networks) {
        begin(network.name, "counter", network.help);
        out_.sample(labels_[at], {{"interface", interface}}, counters.*network.counter);
      }
    }
  }

  void write(const TrafficFamily& family) {
    for (size_t at = 0; at < labels_.size(); ++at) {
      const auto& traffic = pass_.containers[at].sample.traffic;
      if (!traffic) continue;
      begin(family.name, family.type, family.help);
      // The kernel's __u64 and uint64_t are two types of one size.
      out_.sample(labels_[at], {}, static_cast<uint64_t>((*traffic).*family.counter),
                  family.per_unit);
    }
  }

  MetricsWriter& out_;
  const Pass& pass_;
  std::vector<std::string> labels_;
  std::string_view begun_;
};

void write_one(MetricsWriter& out, std::string_view name, std::string_view type,
               std::string_view help, uint64_t value, uint64_t per_unit = 1) {
  out.family(name, type, help);
  out.sample({}, {}, value, per_unit);
}

// The bound of a bucket, as its label: "0.0025".
std::string seconds_text(uint64_t microseconds) {
  std::string text;
  append_ratio(text, microseconds, us_per_s);
  return text;
}

void write_starts(MetricsWriter& out, const engine::ContainerCounts& counts) {
  out.family("nacelle_container_start_seconds", "histogram",
             "How long starts took, from their turn until the program was executed, since this "
             "engine began.");
  for (size_t at = 0; at < std::size(counts.start_bounds_us); ++at) {
    out.sample({}, {{"le", seconds_text(counts.start_bounds_us[at])}}, counts.starts_within[at],
               "_bucket");
  }
  out.sample({}, {{"le", "+Inf"}}, counts.starts, "_bucket");
  out.sample({}, {}, counts.start_us, us_per_s, "_sum");
  out.sample({}, {}, counts.starts, "_count");
  write_one(out, "nacelle_container_start_failures_total", "counter",
            "Starts that failed since this engine began.", counts.start_failures);
  write_one(out, "nacelle_container_exits_total", "counter",
            "Ends of containers since this engine began.", counts.exits);
  write_one(out, "nacelle_container_restarts_total", "counter",
            "Starts by a restart policy since this engine began.", counts.restarts);
  write_one(out, "nacelle_container_oom_kills_total", "counter",
            "Times a container's process was seen killed for want of memory, since this engine "
            "began.",
            counts.oom_kills);
  write_one(out, "nacelle_ended_received_bytes_total", "counter",
            "What containers that have ended since this engine began had received (layer 3).",
            counts.ended_received_bytes);
  write_one(out, "nacelle_ended_sent_bytes_total", "counter",
            "What containers that have ended since this engine began had sent (layer 3).",
            counts.ended_sent_bytes);
}

void write_loops(MetricsWriter& out, const EngineFigures& figures) {
  const auto engine_us = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(figures.loop.longest_turn).count());
  const auto both = [&](std::string_view name, std::string_view type, std::string_view help,
                        uint64_t engines, uint64_t cores, uint64_t per_unit) {
    out.family(name, type, help);
    out.sample({}, {{"process", "nacelled"}}, engines, per_unit);
    if (figures.core) out.sample({}, {{"process", "nacelle-core"}}, cores, per_unit);
  };
  const core::StatusRequest::Reply core = figures.core.value_or(core::StatusRequest::Reply());
  both("nacelle_loop_turns_total", "counter", "Turns of the event loop.", figures.loop.turns,
       core.turns, 1);
  both("nacelle_loop_stalls_total", "counter", "Turns that took longer than 5 ms.",
       figures.loop.stalls, core.stalls, 1);
  both("nacelle_loop_longest_turn_seconds", "gauge", "The longest turn so far.", engine_us,
       core.longest_turn_us, us_per_s);
}

void write_core(MetricsWriter& out, const core::StatusRequest::Reply& core) {
  out.family("nacelle_core_info", "gauge", "The nacelle-core that runs.");
  out.sample({}, {{"version", core.version}}, 1);
  out.family("nacelle_core_processes", "gauge", "Processes core has started and not forgotten.");
  out.sample({}, {{"kind", "container"}, {"state", "running"}}, core.containers);
  out.sample({}, {{"kind", "exec"}, {"state", "running"}}, core.execs);
  out.sample({}, {{"kind", "any"}, {"state", "ended"}}, core.ended);
  write_one(out, "nacelle_network_namespaces_ready", "gauge",
            "Network namespaces made ahead of starts.", core.pool_ready);
  write_one(out, "nacelle_network_namespaces_backlog", "gauge",
            "Network namespaces being made or waited for.", core.pool_backlog);
  write_one(out, "nacelle_log_worker_up", "gauge", "1 where the log worker has no trouble.",
            core.log_worker_error.empty() ? 1 : 0);
}

void write_engine(MetricsWriter& out, const Pass& pass, const EngineFigures& figures) {
  out.family("nacelle_engine_info", "gauge", "The engine that answers.");
  out.sample({}, {{"version", figures.version}}, 1);
  out.family("engine_daemon_container_states_containers", "gauge",
             "Containers by state, named as dockerd's.");
  out.sample({}, {{"state", "paused"}}, figures.paused);
  out.sample({}, {{"state", "running"}}, figures.running);
  out.sample({}, {{"state", "stopped"}}, figures.stopped);
  write_starts(out, figures.counts);
  write_loops(out, figures);
  write_one(out, "nacelle_removals_waiting", "gauge",
            "Directories of removed containers that nobody deletes yet.", figures.removals_waiting);
  write_one(out, "nacelle_pass_seconds", "gauge",
            "How long reading all of the above of containers took, on a thread.",
            static_cast<uint64_t>(pass.took.count()), ns_per_s);
  write_one(out, "nacelle_pass_traffic_seconds", "gauge",
            "How long reading the traffic of all took, within that.",
            static_cast<uint64_t>(pass.traffic_took.count()), ns_per_s);
  if (figures.core) write_core(out, *figures.core);
}

}  // namespace

// The writer -------------------------------------------------------------------------------------

void MetricsWriter::family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_ += cat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

std::string MetricsWriter::label_text(Labels labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    if (!text.empty()) text += ',';
    text += name;
    text += "=\"";
    append_label_value(text, value);
    text += '"';
  }
  return text;
}

void MetricsWriter::begin_sample(std::string_view fixed, Labels more, std::string_view suffix) {
  text_ += name_;
  text_ += suffix;
  if (!fixed.empty() || more.size() > 0) {
    text_ += '{';
    text_ += fixed;
    if (!fixed.empty() && more.size() > 0) text_ += ',';
    text_ += label_text(more);
    text_ += '}';
  }
  text_ += ' ';
}

void MetricsWriter::sample(std::string_view fixed, Labels more, uint64_t value,
                           std::string_view suffix) {
  begin_sample(fixed, more, suffix);
  append_to(text_, value);
  text_ += '\n';
}

void MetricsWriter::sample(std::string_view fixed, Labels more, uint64_t value, uint64_t per_unit,
                           std::string_view suffix) {
  begin_sample(fixed, more, suffix);
  append_ratio(text_, value, per_unit);
  text_ += '\n';
}

std::string metrics_text(const Pass& pass, const EngineFigures& figures) {
  MetricsWriter out;
  ContainerMetrics containers(out, pass);
  containers.write();
  write_engine(out, pass, figures);
  out.family("nacelle_unavailable", "gauge",
             "What is absent above, why, and for how many containers (for how many parts, where it "
             "is of the engine).");
  containers.write_absences();
  if (figures.core && !figures.core->groups_error.empty()) {
    out.sample(
        {}, {{"what", "nacelle_container_traffic_programs"}, {"why", figures.core->groups_error}},
        1);
  }
  if (!figures.core) out.sample({}, {{"what", "nacelle_core"}, {"why", figures.core_trouble}}, 1);
  return std::move(out).take();
}

}  // namespace nacelle::api
