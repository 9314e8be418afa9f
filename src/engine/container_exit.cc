// The end of a container's process: told by nacelle-core, taken note of at once, written down, and
// only then forgotten by core. What follows (a restart, a removal) is behind that.
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/container_state.h"
#include "engine/container_text.h"
#include "engine/moment.h"

namespace nacelle::engine {

namespace {

constexpr ring::Duration forget_pause = std::chrono::milliseconds(200);
constexpr int forget_attempts_max = 50;
constexpr int64_t ns_per_s = 1'000'000'000;

}  // namespace

void Containers::State::exited(const core::ExitedEvent& event) {
  if (!event.exec.empty()) {
    const auto found = execs.find(event.exec);
    if (found != execs.end()) {
      exec_exited(ExecRef(found->second), event);
    } else {
      background.start(forget_exec(event.id, event.exec));
    }
    return;
  }
  if (EntryRef entry = entry_of(event.id)) {
    if (entry->starting) {
      entry->early_exit = event;
    } else {
      exit_of(entry, event);
    }
    return;
  }
  // A record that has not been read is looked at when it is. Whose record is gone has been removed.
  if (!unloaded.contains(event.id)) background.start(discard_unknown(event.id));
}

void Containers::State::oom(const core::OomEvent& event) {
  const EntryRef entry = entry_of(event.id);
  if (!entry) return;
  entry->container.state.oom_killed = true;
  ++counts.oom_kills;
  publish(*entry, "oom");
}

void Containers::State::exit_of(const EntryRef& entry, const core::ExitedEvent& event) {
  Container& container = entry->container;
  ContainerState& state = container.state;
  if (!is_up(container)) return;  // known already
  const int64_t ended_ns = event.ended_ns > 0 ? event.ended_ns : now_ns();
  const int64_t ran_ns =
      std::max<int64_t>(0, ended_ns - (entry->started_ns > 0 ? entry->started_ns : ended_ns));
  ++counts.exits;
  stop_health(*entry);
  for (const auto& follower : std::exchange(entry->followers, {})) {
    if (const auto reader = follower.lock()) reader->writer_is_done();
  }
  if (event.oom_killed && !state.oom_killed) {
    state.oom_killed = true;
    ++counts.oom_kills;
    publish(*entry, "oom");
  }
  state.exit_code = exit_code_of(event.wait_status, event.status_known);
  state.pid = 0;
  state.finished_at = moment_text(ended_ns);
  const bool restarts =
      !entry->removing && wants_restart(container.host.restart_policy,
                                        {.exit_code = state.exit_code,
                                         .restart_count = container.restart_count,
                                         .by_hand = entry->ending || container.has_been_stopped});
  state.phase = restarts ? Phase::Restarting : Phase::Exited;
  for (const auto& [name, endpoint] : container.endpoints) {
    if (endpoint.network_id.empty()) continue;
    engine.events->publish("network", "disconnect", endpoint.network_id,
                           {{"container", container.id}, {"name", name}, {"type", "bridge"}});
  }
  leave_networks(*entry);
  std::map<std::string, std::string> figures{{"exitCode", cat(state.exit_code)},
                                             {"execDuration", cat(ran_ns / ns_per_s)}};
  // However short it was: its last figures.
  if (event.traffic.counted) {
    figures["networkReceivedBytes"] = cat(event.traffic.received_bytes);
    figures["networkSentBytes"] = cat(event.traffic.sent_bytes);
    counts.ended_received_bytes += event.traffic.received_bytes;
    counts.ended_sent_bytes += event.traffic.sent_bytes;
  }
  publish(*entry, "die", std::move(figures));
  const auto pause = restarts ? entry->backoff.next(std::chrono::nanoseconds(ran_ns))
                              : std::chrono::milliseconds(0);
  fault_point("exit.noted");
  entry->unsaved = true;
  entry->pulse->exit_code = state.exit_code;
  entry->pulse->error.clear();
  ++entry->pulse->exits;
  entry->pulse->changed.notify_all();
  background.start(after_exit(entry, entry->run, restarts, pause));
}

// Until core has done so, this container cannot be started again.
ring::Task<> Containers::State::forget(EntryRef entry, uint64_t) {
  entry->left_mount = janitor.end_mount(std::move(entry->mount));
  for (int attempt = 0; attempt < forget_attempts_max; ++attempt) {
    core::ForgetRequest request;
    request.id = entry->container.id;
    auto forgotten = co_await ring::as_result(engine.core->call(std::move(request)));
    if (forgotten || forgotten.error().kind() == Kind::NotFound) break;
    // A core that has died, or processes that do not want to go.
    if (forgotten.error().kind() == Kind::Cancelled) co_await fail(Kind::Cancelled, "forget");
    co_await ring::sleep_for(loop, forget_pause);
  }
  end_execs(*entry);
  entry->core_has_it = false;
  entry->forgotten.notify_all();
}

ring::Task<> Containers::State::after_exit(EntryRef entry, uint64_t run, bool restarts,
                                           ring::Duration pause) {
  // Behind the replies to who waited, and before core forgets it.
  co_await save_unsaved(entry);
  fault_point("exit.saved");
  co_await forget(entry, run);
  fault_point("exit.forgotten");
  const Container& container = entry->container;
  if (!restarts) {
    if (container.host.auto_remove && entry->run == run && !is_up(container)) {
      co_await auto_remove(entry);
    }
    co_return;
  }
  co_await ring::sleep_for(loop, pause);
  const Turn turn = co_await take_turn(entry);
  if (entry->gone || entry->removing || entry->run != run) co_return;
  if (container.state.phase != Phase::Restarting) co_return;
  ++entry->run;
  ++entry->container.restart_count;
  ++counts.restarts;
  co_await launch_or_note(entry, nullptr);
}

}  // namespace nacelle::engine
