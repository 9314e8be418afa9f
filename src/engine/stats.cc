#include "engine/stats.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/text.h"
#include "bpf/pins.h"
#include "engine/container_state.h"
#include "engine/engine.h"
#include "engine/moment.h"
#include "engine/stats_read.h"
#include "ring/blocking.h"
#include "ring/notice.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

SampleSource source_of(const Container& container) {
  return {container.cgroup, container.state.pid, container.host.network_mode == "host"};
}

// What a thread works on.
struct Reading {
  std::shared_ptr<Pass> pass = std::make_shared<Pass>();
  std::vector<SampleSource> sources;  // of each in the pass
  uint64_t memory_bytes = 0;          // the host's, where it is known
  std::string pins;                   // of the programs that count traffic
};

// One read of a map for all of them.
void read_traffic(Pass& pass, const std::string& pins) {
  const auto begun = std::chrono::steady_clock::now();
  const Result<bpf::Groups> groups = bpf::Groups::open(pins);
  const auto counted =
      groups ? groups->read_all()
             : Result<std::map<uint64_t, nacelle_group_counters>>(std::unexpected(groups.error()));
  if (!counted) {
    pass.traffic_trouble = counted.error().message();
    return;
  }
  for (Pass::One& one : pass.containers) {
    const auto found = counted->find(one.sample.group);
    if (found != counted->end()) one.sample.traffic = found->second;
  }
  pass.traffic_took = std::chrono::steady_clock::now() - begun;
}

Result<> read_all(Reading& reading) {
  Pass& pass = *reading.pass;
  const auto begun = std::chrono::steady_clock::now();
  pass.time_ns = now_ns();
  const HostUse host = read_host_use(reading.memory_bytes);
  reading.memory_bytes = host.memory_bytes;
  size_t kept = 0;
  for (size_t at = 0; at < pass.containers.size(); ++at) {
    Result<Sample> sample = read_sample(reading.sources[at], host, Depth::Everything);
    if (!sample) continue;  // it has ended meanwhile
    if (kept != at) pass.containers[kept] = std::move(pass.containers[at]);
    pass.containers[kept++].sample = *std::move(sample);
  }
  pass.containers.resize(kept);
  read_traffic(pass, reading.pins);
  pass.took = std::chrono::steady_clock::now() - begun;
  return {};
}

}  // namespace

struct Stats::State {
  // Many watchers ask in the same moment: the host is read once for them.
  static constexpr int64_t host_age_ns_max = 20'000'000;
  // More of them than this are served by passes.
  static constexpr unsigned single_watchers_max = 4;

  explicit State(Engine& engine_in) : engine(engine_in) {}

  Engine& engine;
  HostUse host;
  int64_t host_read_ns = 0;
  std::shared_ptr<const Pass> last;
  ring::TimePoint last_at;
  bool under_way = false;
  uint64_t attempts = 0;  // that are over
  bool failed = false;    // the last of them
  ring::Notice over;
  unsigned watchers = 0;

  const HostUse& host_at(int64_t now) {
    if (host_read_ns != 0 && now >= host_read_ns && now - host_read_ns < host_age_ns_max) {
      return host;
    }
    host = read_host_use(host.memory_bytes);
    host_read_ns = now;
    return host;
  }
  std::shared_ptr<const Pass> fresh_pass() const {
    return last && engine.loop.now() - last_at < pass_age_max ? last : nullptr;
  }
  ring::Task<> make_pass();
};

ring::Task<> Stats::State::make_pass() {
  const auto reading = std::make_shared<Reading>();
  reading->memory_bytes = host.memory_bytes;
  reading->pins = bpf::pins_directory(engine.options.run_directory);
  for (const Container* each : engine.containers->all()) {
    if (!is_up(*each) || each->cgroup.empty()) continue;
    Pass::One& one = reading->pass->containers.emplace_back();
    one.id = each->id;
    one.name = each->name;
    one.image = each->config.image;
    one.created = each->created;
    one.started_at = each->state.started_at;
    one.host_network = each->host.network_mode == "host";
    one.joined_network = each->host.network_mode.starts_with("container:");
    reading->sources.push_back(source_of(*each));
  }
  ring::BlockingCall call = [reading] { return read_all(*reading); };
  const Result<> read = co_await ring::as_result(ring::run_blocking(engine.loop, std::move(call)));
  if (read) {
    host.memory_bytes = reading->memory_bytes;
    last = reading->pass;
    last_at = engine.loop.now();
  }
  failed = !read;
  under_way = false;
  ++attempts;
  over.notify_all();
  co_await read;
}

Stats::Stats(Engine& engine) : state_(std::make_unique<State>(engine)) {}
Stats::~Stats() = default;

Result<Sample> Stats::sample(const Container& container) {
  if (container.cgroup.empty()) {
    return fail(Kind::Conflict, cat("container ", container.id, " is not running"));
  }
  return read_sample(source_of(container), state_->host_at(now_ns()), Depth::Docker);
}

ring::Task<std::shared_ptr<const Pass>> Stats::pass() {
  State& state = *state_;
  if (auto fresh = state.fresh_pass()) co_return fresh;
  if (!std::exchange(state.under_way, true)) state.engine.background->start(state.make_pass());
  const uint64_t before = state.attempts;
  while (state.attempts == before) co_await state.over.wait();
  if (state.failed) co_await fail(Kind::Internal, "reading what containers use has failed");
  co_return state.last;
}

Result<Stats::Conversations> Stats::conversations(const Container& container) const {
  if (!is_up(container)) {
    return fail(Kind::Conflict, cat("container ", container.id, " is not running"));
  }
  const Fd directory =
      TRY(sys::open_at(sys::working_directory, container.cgroup.c_str(), O_PATH | O_DIRECTORY));
  const uint64_t group = TRY(bpf::group_number(directory));
  const bpf::Groups groups =
      TRY(bpf::Groups::open(bpf::pins_directory(state_->engine.options.run_directory))
              .context("traffic is not counted"));
  Conversations found;
  found.total = TRY(groups.read(group));
  found.peers = TRY(groups.read_peers(group));
  return found;
}

// Watchers ---------------------------------------------------------------------------------------

Stats::Watcher::Watcher(Stats& stats) : stats_(stats) { ++stats_.state_->watchers; }
Stats::Watcher::~Watcher() { --stats_.state_->watchers; }

ring::TimePoint Stats::Watcher::next_tick() const {
  using std::chrono::seconds;
  constexpr ring::Duration too_near = std::chrono::milliseconds(500);
  const ring::TimePoint soonest = stats_.state_->engine.loop.now() + too_near;
  return std::chrono::ceil<seconds>(soonest);
}

ring::Task<Sample> Stats::Watcher::sample(std::string id) {
  State& state = *stats_.state_;
  if (state.watchers > State::single_watchers_max) {
    const std::shared_ptr<const Pass> pass = co_await stats_.pass();
    const auto found = std::ranges::lower_bound(pass->containers, id, {}, &Pass::One::id);
    if (found != pass->containers.end() && found->id == id) co_return found->sample;
  }
  const Container* container = co_await state.engine.containers->find(std::move(id));
  if (!is_up(*container)) co_return Sample();
  Result<Sample> sample = stats_.sample(*container);
  co_return sample ? *std::move(sample) : Sample();
}

}  // namespace nacelle::engine
