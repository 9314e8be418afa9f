// events: a container's counters again and again, and its out-of-memory kills as they happen.
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/text.h"
#include "cli/nacelle_oci/command.h"
#include "codec/json_writer.h"
#include "codec/quantity.h"
#include "container/cgroup.h"
#include "sys/cgroup.h"
#include "sys/file.h"

namespace nacelle::oci_cli {
namespace {

using codec::json::Writer;
using container::CgroupStats;

constexpr uint64_t nanoseconds_a_microsecond = 1000;
constexpr size_t control_file_bytes_max = 4096;

std::optional<uint64_t> find(const std::optional<CgroupStats::Counters>& counters,
                             std::string_view name) {
  if (!counters) return std::nullopt;
  const auto found = std::ranges::find(*counters, name, &CgroupStats::Counters::value_type::first);
  if (found == counters->end()) return std::nullopt;
  return found->second;
}

// What was not there to read is not there to print.
void put(Writer& json, std::string_view name, const std::optional<uint64_t>& value) {
  if (value) json.member(name, *value);
}

void put_time(Writer& json, std::string_view name, const std::optional<uint64_t>& microseconds) {
  if (microseconds) json.member(name, *microseconds * nanoseconds_a_microsecond);
}

void put_cpu(Writer& json, const CgroupStats& stats) {
  json.key("cpu").begin_object().key("usage").begin_object();
  put_time(json, "total", find(stats.cpu, "usage_usec"));
  put_time(json, "kernel", find(stats.cpu, "system_usec"));
  put_time(json, "user", find(stats.cpu, "user_usec"));
  json.end_object().key("throttling").begin_object();
  put(json, "periods", find(stats.cpu, "nr_periods"));
  put(json, "throttledPeriods", find(stats.cpu, "nr_throttled"));
  put_time(json, "throttledTime", find(stats.cpu, "throttled_usec"));
  json.end_object().end_object();
}

// Readers of this expect cgroup v1's swap figures, which include memory.
std::optional<uint64_t> sum(const std::optional<uint64_t>& memory,
                            const std::optional<uint64_t>& swap) {
  if (!memory || !swap) return std::nullopt;
  return *swap > container::no_limit - *memory ? container::no_limit : *memory + *swap;
}

void put_memory(Writer& json, const CgroupStats& stats) {
  json.key("memory").begin_object();
  put(json, "cache", find(stats.memory, "file"));
  json.key("usage").begin_object();
  put(json, "limit", stats.memory_max);
  put(json, "usage", stats.memory_current);
  put(json, "max", stats.memory_peak);
  put(json, "failcnt", find(stats.memory_events, "max"));
  json.end_object().key("swap").begin_object();
  put(json, "limit", sum(stats.memory_max, stats.swap_max));
  put(json, "usage", sum(stats.memory_current, stats.swap_current));
  json.end_object().key("kernel").begin_object();
  put(json, "usage", find(stats.memory, "kernel"));
  json.end_object().key("kernelTCP").begin_object();
  put(json, "usage", find(stats.memory, "sock"));
  json.end_object();
  if (stats.memory) {
    json.key("raw").begin_object();
    for (const auto& [name, value] : *stats.memory) json.member(name, value);
    json.end_object();
  }
  if (stats.memory_events) {
    json.key("event_count").begin_object();
    for (const auto& [name, value] : *stats.memory_events) json.member(name, value);
    json.end_object();
  }
  json.end_object();
}

struct Operation {
  std::string_view counter;  // in io.stat
  std::string_view name;
};

void put_io(Writer& json, std::string_view name, const std::vector<CgroupStats::Device>& devices,
            std::span<const Operation> operations) {
  json.key(name).begin_array();
  for (const CgroupStats::Device& device : devices) {
    for (const Operation& operation : operations) {
      const auto value = find(device.counters, operation.counter);
      if (!value) continue;
      json.begin_object().member("major", device.major).member("minor", device.minor);
      json.member("op", operation.name).member("value", *value).end_object();
    }
  }
  json.end_array();
}

std::string stats_line(std::string_view id, const CgroupStats& stats) {
  Writer json;
  json.begin_object().member("type", "stats").member("id", id).key("data").begin_object();
  put_cpu(json, stats);
  put_memory(json, stats);
  json.key("pids").begin_object();
  put(json, "current", stats.pids_current);
  if (stats.pids_max != container::no_limit) put(json, "limit", stats.pids_max);
  json.end_object().key("blkio").begin_object();
  if (stats.io) {
    constexpr Operation bytes[] = {{"rbytes", "Read"}, {"wbytes", "Write"}, {"dbytes", "Discard"}};
    constexpr Operation requests[] = {{"rios", "Read"}, {"wios", "Write"}, {"dios", "Discard"}};
    put_io(json, "ioServiceBytesRecursive", *stats.io, bytes);
    put_io(json, "ioServicedRecursive", *stats.io, requests);
  }
  json.end_object().key("hugetlb").begin_object();
  for (const CgroupStats::Hugepages& pages : stats.hugepages) {
    json.key(pages.page_size).begin_object();
    put(json, "usage", pages.current);
    put(json, "failcnt", pages.failures);
    json.end_object();
  }
  json.end_object().key("intel_rdt").begin_object().end_object();
  return std::move(json.end_object().end_object()).take() + "\n";
}

std::string oom_line(std::string_view id) {
  Writer json;
  json.begin_object().member("type", "oom").member("id", id);
  return std::move(json.end_object()).take() + "\n";
}

Result<> print(std::string_view line) {
  while (!line.empty()) {
    const ssize_t put_out = ::write(STDOUT_FILENO, line.data(), line.size());
    if (put_out < 0 && errno == EINTR) continue;
    if (put_out < 0) return fail_errno(errno, "writing to standard output");
    line.remove_prefix(static_cast<size_t>(put_out));
  }
  return {};
}

int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// Readable once the container's first process has ended. Asked for its state again afterwards: a
// pid may pass to somebody else in between.
Result<Fd> watch_end(Runtime& runtime, const std::string& id) {
  const ContainerState state = TRY(runtime.state(id));
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, state.pid, 0)));
  const bool lives =
      pidfd && state.status != Status::Stopped && TRY(runtime.state(id)).status != Status::Stopped;
  if (!lives) return fail(Kind::Conflict, cat("container with id ", id, " is not running"));
  return pidfd;
}

// The number of processes killed for want of memory, or nothing once the cgroup is gone.
std::optional<uint64_t> count_oom_kills(const Fd& events) {
  if (!events || ::lseek(events.get(), 0, SEEK_SET) < 0) return std::nullopt;
  const auto text = sys::read_all(events, control_file_bytes_max, "memory.events");
  if (!text) return std::nullopt;
  return parse_number<uint64_t>(sys::find_keyed(*text, "oom_kill"));
}

Result<> follow(Runtime& runtime, const std::string& id, const Fd& group, int64_t interval_ms) {
  const Fd end = TRY(watch_end(runtime, id));
  // Absent without the memory controller: then no such event can be.
  const Fd events(::openat(group.get(), "memory.events", O_RDONLY | O_CLOEXEC));
  std::optional<uint64_t> kills = count_oom_kills(events);
  const auto print_new_kills = [&]() -> Result<> {
    const auto now = count_oom_kills(events);
    if (!now) return {};
    const bool more = *now > kills.value_or(0);
    kills = now;
    return more ? print(oom_line(id)) : Result<>();
  };
  int64_t due = now_ms() + interval_ms;
  while (true) {
    const int64_t left = std::max<int64_t>(0, due - now_ms());
    pollfd waiting[] = {{end.get(), POLLIN, 0}, {kills ? events.get() : -1, POLLPRI, 0}};
    const int ready = ::poll(waiting, std::size(waiting),
                             static_cast<int>(std::min<int64_t>(left, 1'000'000'000)));
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "poll");
    if (waiting[1].revents != 0 || waiting[0].revents != 0) TRY(print_new_kills());
    if (waiting[0].revents != 0) return {};
    if (now_ms() < due) continue;
    // Gone with the container, which the pidfd is about to say.
    if (const auto stats = container::read_stats(group)) TRY(print(stats_line(id, *stats)));
    due += interval_ms;
    if (due < now_ms()) due = now_ms() + interval_ms;
  }
}

}  // namespace

Result<int> run_events(const Context& context) {
  bool once = false;
  std::string interval = "5s";
  const Option options[] = {
      {"stats", 0, nullptr, "print the counters once", into(once)},
      {"interval", 0, "DURATION", "between two prints (default 5s)", into(interval)}};
  const auto operands = TRY(parse_options(context.arguments, options));
  const std::string id = TRY(only_operand(operands, "events", "container-id"));
  const int64_t interval_ns = TRY(codec::parse_duration_ns(interval).context("events: --interval"));
  if (interval_ns <= 0)
    return fail(Kind::Invalid, cat("events: --interval: '", interval, "': must be above 0"));
  Runtime runtime = TRY(context.open_runtime());
  if (TRY(runtime.state(id)).status == Status::Stopped)
    return fail(Kind::Conflict, cat("container with id ", id, " is not running"));
  const Fd group = TRY(runtime.open_cgroup(id));
  if (once) {
    TRY(print(stats_line(id, TRY(container::read_stats(group)))));
    return exit_ok;
  }
  // poll(2) counts in milliseconds.
  TRY(follow(runtime, id, group, std::max<int64_t>(1, interval_ns / 1'000'000)));
  return exit_ok;
}

}  // namespace nacelle::oci_cli
