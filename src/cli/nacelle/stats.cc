// stats. Samples are taken once a second, of all that run by one request (of those that were named,
// and of an engine that does not know it, by one each); rates come from the difference to the one
// before, so that a machine with many containers costs the engine no stream for each.
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include "base/text.h"
#include "cli/nacelle/containers.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/format.h"
#include "cli/nacelle/lifecycle.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/terminal.h"
#include "cli/nacelle/units.h"

namespace nacelle::cli {

namespace {

constexpr int interval_ms = 1000;

struct Sample {
  std::string id, name;
  double cpu_total = 0, system_total = 0, processors = 1;
  double memory = 0, limit = 0, received = 0, sent = 0, read = 0, written = 0;
  int64_t pids = 0;
  double at = 0;  // nanoseconds
};

double now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

Sample sample_of(const Datum& stats) {
  Sample sample;
  sample.at = now_ns();
  sample.id = stats["id"].text();
  sample.name = stats["name"].text();
  if (sample.name.starts_with('/')) sample.name.erase(0, 1);
  const Datum& cpu = stats["cpu_stats"];
  sample.cpu_total = cpu["cpu_usage"]["total_usage"].number();
  sample.system_total = cpu["system_cpu_usage"].number();
  sample.processors = std::max(cpu["online_cpus"].number(), 1.0);
  const Datum& memory = stats["memory_stats"];
  sample.memory = memory["usage"].number();
  // The page cache that can be had back is not counted (cgroup v1 and v2 name it differently).
  for (const char* key : {"total_inactive_file", "inactive_file"}) {
    const Datum* cache = memory["stats"].find(key);
    if (cache == nullptr || cache->number() >= sample.memory) continue;
    sample.memory -= cache->number();
    break;
  }
  sample.limit = memory["limit"].number();
  for (const auto& network : stats["networks"].members()) {
    sample.received += network.value["rx_bytes"].number();
    sample.sent += network.value["tx_bytes"].number();
  }
  for (const Datum& entry : stats["blkio_stats"]["io_service_bytes_recursive"].items()) {
    const std::string& what = entry["op"].text();
    if (what == "Read" || what == "read") sample.read += entry["value"].number();
    if (what == "Write" || what == "write") sample.written += entry["value"].number();
  }
  sample.pids = stats["pids_stats"]["current"].integer();
  return sample;
}

std::string percent(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f%%", value);
  return text;
}

std::string pair_of(double one, double other) {
  return cat(human_size(static_cast<uint64_t>(one)), " / ",
             human_size(static_cast<uint64_t>(other)));
}

Datum row_of(const Sample& now, const Sample* before, bool whole) {
  double cpu = 0;
  if (before != nullptr && now.cpu_total > before->cpu_total) {
    const double system = now.system_total - before->system_total;
    const double used = now.cpu_total - before->cpu_total;
    // Where the engine does not tell the system's time, ours will do.
    cpu = system > 0 ? used / system * now.processors * 100 : used / (now.at - before->at) * 100;
  }
  Datum row = Datum::object();
  const bool runs = now.memory > 0 || now.pids > 0 || now.cpu_total > 0;
  row.set("Container", now.id)
      .set("ID", whole ? now.id : now.id.substr(0, 12))
      .set("Name", now.name)
      .set("CPUPerc", runs ? percent(cpu) : "--")
      .set("MemUsage",
           runs ? cat(binary_size(now.memory), " / ", binary_size(now.limit)) : "-- / --")
      .set("MemPerc", runs ? percent(now.limit > 0 ? now.memory / now.limit * 100 : 0) : "--")
      .set("NetIO", runs ? pair_of(now.received, now.sent) : "-- / --")
      .set("BlockIO", runs ? pair_of(now.read, now.written) : "-- / --")
      .set("PIDs", runs ? cat(now.pids) : "--");
  return row;
}

Result<std::vector<std::string>> containers_of(Api& api, bool all) {
  Target target("/containers/json");
  target.flag("all", all);
  const Datum containers = TRY(api.get(target));
  std::vector<std::string> ids;
  for (const Datum& each : containers.items()) ids.push_back(each["Id"].text());
  return ids;
}

// Of all that run; nothing where the engine has no such page, as Docker's.
Result<std::optional<std::vector<Sample>>> all_at_once(Api& api) {
  const Result<Datum> found = api.get(Target("/containers/stats"));
  if (!found && found.error().kind() == Kind::NotFound) return std::nullopt;
  const Datum all = TRY(Result<Datum>(found));
  std::vector<Sample> samples;
  for (const Datum& each : all.items()) samples.push_back(sample_of(each));
  return samples;
}

Result<std::vector<Sample>> one_by_one(Api& api, const std::vector<std::string>& names,
                                       bool all_must_be_there) {
  std::vector<Sample> samples;
  for (const std::string& name : names) {
    const Result<Datum> stats =
        api.get(Target("/containers/", name, "/stats").with("stream", "0").with("one-shot", "1"));
    if (stats) {
      samples.push_back(sample_of(*stats));
      continue;
    }
    // One that went away between the list and the question is not missed.
    if (!all_must_be_there && stats.error().kind() == Kind::NotFound) continue;
    return std::unexpected(stats.error());
  }
  return samples;
}

Result<std::vector<Sample>> take_samples(Api& api, const std::vector<std::string>& names,
                                         bool all) {
  if (!names.empty()) return one_by_one(api, names, true);
  if (!all) {
    auto running = TRY(all_at_once(api));
    if (running) return *std::move(running);
  }
  return one_by_one(api, TRY(containers_of(api, all)), false);
}

}  // namespace

Result<int> run_stats(Session& session, const Arguments& arguments) {
  bool all = false, once = false, no_trunc = false;
  std::string format;
  Options options("stats [OPTIONS] [CONTAINER...]", "Shows what containers use, live.");
  options.flag("all", 'a', all, "Show those that do not run too")
      .value("format", 0, format, "FORMAT", "table, table TEMPLATE, json, or a template")
      .flag("no-stream", 0, once, "Show it once")
      .flag("no-trunc", 0, no_trunc, "Show ids in full")
      .operands(0, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  std::map<std::string, Sample> before;
  const bool in_place = !once && is_terminal(STDOUT_FILENO) && format != "json";
  for (bool first = true;; first = false) {
    std::map<std::string, Sample> samples;
    std::vector<Datum> rows;
    for (Sample& sample : TRY(take_samples(*api, parsed.operands, all))) {
      const auto known = before.find(sample.id);
      rows.push_back(row_of(sample, known == before.end() ? nullptr : &known->second, no_trunc));
      samples[sample.id] = std::move(sample);
    }
    before = std::move(samples);
    // A rate takes two samples.
    if (!first || before.empty()) {
      const std::string text = TRY(format_list(format,
                                               "{{.ID}}\\t{{.Name}}\\t{{.CPUPerc}}\\t{{.MemUsage}}"
                                               "\\t{{.MemPerc}}\\t{{.NetIO}}\\t{{.BlockIO}}\\t"
                                               "{{.PIDs}}",
                                               {{"Container", "CONTAINER"},
                                                {"ID", "CONTAINER ID"},
                                                {"Name", "NAME"},
                                                {"CPUPerc", "CPU %"},
                                                {"MemUsage", "MEM USAGE / LIMIT"},
                                                {"MemPerc", "MEM %"},
                                                {"NetIO", "NET I/O"},
                                                {"BlockIO", "BLOCK I/O"},
                                                {"PIDs", "PIDS"}},
                                               rows));
      if (in_place) std::fputs("\x1b[H\x1b[J", stdout);
      std::fputs(text.c_str(), stdout);
      std::fflush(stdout);
      if (once) return 0;
      if (std::ferror(stdout) != 0) return 1;
    }
    ::poll(nullptr, 0, interval_ms);
  }
}

}  // namespace nacelle::cli
