#include "api/stats_json.h"

#include <utility>

#include "codec/json_writer.h"
#include "engine/moment.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Sample;

std::string time_of(const Sample& sample) {
  return sample.time_ns == 0 ? "0001-01-01T00:00:00Z" : engine::moment_text(sample.time_ns);
}

void write_cpu(Writer& json, const Sample& sample) {
  json.begin_object().key("cpu_usage").begin_object();
  json.member("total_usage", sample.cpu_total.value_or(0));
  json.member("usage_in_kernelmode", sample.cpu_kernel.value_or(0));
  json.member("usage_in_usermode", sample.cpu_user.value_or(0)).end_object();
  if (sample.system_cpu != 0) json.member("system_cpu_usage", sample.system_cpu);
  if (sample.online_cpus != 0) json.member("online_cpus", sample.online_cpus);
  json.key("throttling_data").begin_object();
  json.member("periods", sample.periods.value_or(0));
  json.member("throttled_periods", sample.throttled_periods.value_or(0));
  json.member("throttled_time", sample.throttled_ns.value_or(0)).end_object();
  json.end_object();
}

void write_block_io(Writer& json, const Sample& sample) {
  json.begin_object().key("io_service_bytes_recursive");
  if (sample.io_bytes && !sample.io_bytes->empty()) {
    json.begin_array();
    for (const engine::BlockIoEntry& entry : *sample.io_bytes) {
      json.begin_object().member("major", entry.major).member("minor", entry.minor);
      json.member("op", entry.op).member("value", entry.value).end_object();
    }
    json.end_array();
  } else {
    json.null();
  }
  for (const char* name : {"io_serviced_recursive", "io_queue_recursive",
                           "io_service_time_recursive", "io_wait_time_recursive",
                           "io_merged_recursive", "io_time_recursive", "sectors_recursive"}) {
    json.key(name).null();
  }
  json.end_object();
}

void write_memory(Writer& json, const Sample& sample) {
  json.begin_object();
  if (sample.memory_usage) json.member("usage", *sample.memory_usage);
  if (!sample.memory_stat.empty()) {
    json.key("stats").begin_object();
    for (const auto& [name, value] : sample.memory_stat) json.member(name, value);
    json.end_object();
  }
  if (sample.memory_limit) json.member("limit", *sample.memory_limit);
  json.end_object();
}

void write_networks(Writer& json, const Sample& sample) {
  if (!sample.networks || sample.networks->empty()) return;
  json.key("networks").begin_object();
  for (const auto& [name, counters] : *sample.networks) {
    json.key(name).begin_object();
    json.member("rx_bytes", counters.rx_bytes).member("rx_packets", counters.rx_packets);
    json.member("rx_errors", counters.rx_errors).member("rx_dropped", counters.rx_dropped);
    json.member("tx_bytes", counters.tx_bytes).member("tx_packets", counters.tx_packets);
    json.member("tx_errors", counters.tx_errors).member("tx_dropped", counters.tx_dropped);
    json.end_object();
  }
  json.end_object();
}

}  // namespace

std::string stats_json(const std::string& name, const std::string& id, const Sample& now,
                       const Sample& before) {
  Writer json;
  json.begin_object().member("name", name).member("id", id);
  json.member("read", time_of(now)).member("preread", time_of(before));
  json.key("pids_stats").begin_object();
  if (now.pids) json.member("current", *now.pids);
  if (now.pids_limit) json.member("limit", *now.pids_limit);
  json.end_object();
  json.key("blkio_stats");
  write_block_io(json, now);
  json.member("num_procs", 0).key("storage_stats").begin_object().end_object();
  json.key("cpu_stats");
  write_cpu(json, now);
  json.key("precpu_stats");
  write_cpu(json, before);
  json.key("memory_stats");
  write_memory(json, now);
  write_networks(json, now);
  json.end_object();
  return std::move(json).take();
}

}  // namespace nacelle::api
