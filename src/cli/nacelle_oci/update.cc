// update: new limits for a running container, from options or from a resources document.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/text.h"
#include "cli/nacelle_oci/command.h"
#include "codec/json_writer.h"
#include "codec/quantity.h"
#include "container/intel_rdt.h"
#include "oci/spec_parse.h"
#include "sys/cgroup.h"
#include "sys/file.h"

namespace nacelle::oci_cli {
namespace {

// Absent: leave it as it is.
struct NewLimits {
  std::optional<uint16_t> blkio_weight;
  std::optional<uint64_t> cpu_period, cpu_burst, cpu_shares, realtime_period;
  std::optional<int64_t> cpu_quota, realtime_runtime, cpu_idle;
  std::string cpus, mems;
  std::optional<int64_t> memory, reservation, memory_and_swap;
  std::optional<int64_t> pids;
};

// An option without a value asks for nothing, as in runc: callers pass every option they know.
template <class Number>
std::function<Result<>(const char*)> number(std::optional<Number>& target) {
  return [&target](const char* value) -> Result<> {
    if (*value == '\0') return {};
    target = parse_number<Number>(value);
    if (!target) return fail(Kind::Invalid, cat("'", value, "': must be a number"));
    return {};
  };
}

std::function<Result<>(const char*)> size(std::optional<int64_t>& target) {
  return [&target](const char* value) -> Result<> {
    if (*value != '\0') target = TRY(codec::parse_size(value));
    return {};
  };
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

// Two pairs of limits are one file, or one sum, in cgroup v2: the half that is not given is what
// the container has now.
Result<> complete(NewLimits& limits, Runtime& runtime, const std::string& id) {
  const bool half_bandwidth = limits.cpu_quota.has_value() != limits.cpu_period.has_value();
  const bool half_memory = limits.memory_and_swap.value_or(-1) > 0 && !limits.memory;
  // What cannot be read is for the update itself to complain of.
  const auto group = runtime.open_cgroup(id);
  if (!group || (!half_bandwidth && !half_memory)) return {};
  if (half_bandwidth) {
    if (const auto now = sys::read_control(*group, "cpu.max")) {
      std::string_view period = first_line(*now);
      const auto quota = parse_number<int64_t>(take_until(period, ' '));
      if (!limits.cpu_quota) limits.cpu_quota = quota.value_or(-1);
      if (!limits.cpu_period) limits.cpu_period = parse_number<uint64_t>(period);
    }
  }
  if (half_memory) {
    const auto now = sys::read_control(*group, "memory.max");
    const auto memory = now ? parse_number<int64_t>(first_line(*now)) : std::nullopt;
    if (now && !memory) {
      return fail(Kind::Invalid,
                  "--memory-swap: counts memory and swap together, and the container has no memory "
                  "limit: give --memory too");
    }
    limits.memory = memory;
  }
  return {};
}

template <class Number>
void put(codec::json::Writer& json, std::string_view name, const std::optional<Number>& value) {
  if (value) json.member(name, *value);
}
void put(codec::json::Writer& json, std::string_view name, const std::string& value) {
  if (!value.empty()) json.member(name, std::string_view(value));
}

std::string resources_document(const NewLimits& limits) {
  codec::json::Writer json;
  json.begin_object().key("memory").begin_object();
  put(json, "limit", limits.memory);
  put(json, "reservation", limits.reservation);
  put(json, "swap", limits.memory_and_swap);
  json.end_object().key("cpu").begin_object();
  put(json, "shares", limits.cpu_shares);
  put(json, "quota", limits.cpu_quota);
  put(json, "burst", limits.cpu_burst);
  put(json, "period", limits.cpu_period);
  put(json, "realtimeRuntime", limits.realtime_runtime);
  put(json, "realtimePeriod", limits.realtime_period);
  put(json, "cpus", limits.cpus);
  put(json, "mems", limits.mems);
  put(json, "idle", limits.cpu_idle);
  json.end_object().key("blockIO").begin_object();
  put(json, "weight", limits.blkio_weight);
  json.end_object();
  if (limits.pids) {
    json.key("pids").begin_object().member("limit", *limits.pids).end_object();
  }
  return std::move(json.end_object()).take();
}

Result<std::string> read_resources(const std::string& path) {
  if (path != "-")
    return sys::read_file_at(sys::working_directory, path.c_str(), oci::config_bytes_max);
  const Fd input(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  if (!input) return fail_errno(errno, "standard input");
  return sys::read_all(input, oci::config_bytes_max, "standard input");
}

}  // namespace

Result<int> run_update(const Context& context) {
  NewLimits limits;
  std::string file, l3_cache_schema, mem_bw_schema;
  const Option options[] = {
      {"resources", 'r', "FILE", "all limits, as JSON; - is standard input", into(file)},
      {"blkio-weight", 0, "WEIGHT", "share of disk time, 10 to 1000", number(limits.blkio_weight)},
      {"cpu-period", 0, "MICROSECONDS", "period of the quota", number(limits.cpu_period)},
      {"cpu-quota", 0, "MICROSECONDS", "processor time within a period", number(limits.cpu_quota)},
      {"cpu-burst", 0, "MICROSECONDS", "unused time that may be used later",
       number(limits.cpu_burst)},
      {"cpu-share", 0, "WEIGHT", "share of processor time", number(limits.cpu_shares)},
      {"cpu-rt-period", 0, "MICROSECONDS", "period of realtime processes",
       number(limits.realtime_period)},
      {"cpu-rt-runtime", 0, "MICROSECONDS", "time of realtime processes within it",
       number(limits.realtime_runtime)},
      {"cpu-idle", 0, "0|1", "run only when nothing else wants to", number(limits.cpu_idle)},
      {"cpuset-cpus", 0, "LIST", "processors it may use: 0-2,5", into(limits.cpus)},
      {"cpuset-mems", 0, "LIST", "memory nodes it may use", into(limits.mems)},
      {"memory", 0, "SIZE", "limit of memory", size(limits.memory)},
      {"memory-reservation", 0, "SIZE", "memory that is taken from it last",
       size(limits.reservation)},
      {"memory-swap", 0, "SIZE", "limit of memory and swap together", size(limits.memory_and_swap)},
      {"kernel-memory", 0, "SIZE", "accepted and unused, as by runc", ignored()},
      {"kernel-memory-tcp", 0, "SIZE", "accepted and unused, as by runc", ignored()},
      {"pids-limit", 0, "N", "limit of processes", number(limits.pids)},
      {"l3-cache-schema", 0, "SCHEMA", "Intel RDT: its part of the cache", into(l3_cache_schema)},
      {"mem-bw-schema", 0, "SCHEMA", "Intel RDT: its memory bandwidth", into(mem_bw_schema)}};
  const auto operands = TRY(parse_options(context.arguments, options));
  const std::string id = TRY(only_operand(operands, "update", "container-id"));
  Runtime runtime = TRY(context.open_runtime());
  if (!l3_cache_schema.empty() || !mem_bw_schema.empty()) {
    const char* which = l3_cache_schema.empty() ? "--mem-bw-schema" : "--l3-cache-schema";
    TRY(container::open_resctrl().context(which));
    return fail(Kind::Unsupported, cat(which, ": not supported yet"));
  }
  if (!file.empty()) {
    TRY(runtime.update(id, TRY(read_resources(file).context("--resources"))));
    return exit_ok;
  }
  TRY(complete(limits, runtime, id));
  TRY(runtime.update(id, resources_document(limits)));
  return exit_ok;
}

}  // namespace nacelle::oci_cli
