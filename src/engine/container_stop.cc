// Ways of ending a container, and of holding it up.
#include <signal.h>

#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/container_state.h"
#include "engine/container_text.h"
#include "engine/moment.h"

namespace nacelle::engine {

namespace {

// After SIGKILL a process ends, unless the kernel holds it (a dead NFS server).
constexpr ring::Duration kill_patience = std::chrono::seconds(10);

int stop_signal_of(const Container& container) {
  return parse_signal(container.config.stop_signal).value_or(SIGTERM);
}

}  // namespace

ring::Task<bool> Containers::State::wait_exit(EntryRef entry, uint64_t exits,
                                              std::optional<ring::Duration> limit) {
  const std::shared_ptr<Pulse> pulse = entry->pulse;
  const auto deadline = loop.now() + limit.value_or(ring::Duration::zero());
  while (pulse->exits == exits && !pulse->removed) {
    if (!limit) {
      co_await pulse->changed.wait();
      continue;
    }
    const ring::Duration left = deadline - loop.now();
    if (left <= ring::Duration::zero()) co_return false;
    const Result<bool> woken = co_await ring::as_result(
        ring::with_deadline(loop, wait_exit(entry, exits, std::nullopt), left));
    if (!woken && woken.error().kind() == Kind::Cancelled) co_await fail(Kind::Cancelled, "wait");
  }
  co_return true;
}

ring::Task<> Containers::State::stop_in_turn(EntryRef entry, int signal, int timeout_s) {
  Container& container = entry->container;
  entry->ending = true;
  container.has_been_stopped = true;
  save(entry);
  fault_point("stop.noted");
  if (container.state.phase == Phase::Restarting) {
    ++entry->run;  // the start that was to come is not wanted any more
    container.state.phase = Phase::Exited;
    save(entry);
    co_return;
  }
  if (!is_up(container)) co_return;
  const uint64_t exits = entry->pulse->exits;
  const auto send = [&](int number, bool all) {
    core::SignalRequest request;
    request.id = container.id;
    request.signal = number;
    request.all = all;
    return engine.core->call(std::move(request));
  };
  (void)co_await ring::as_result(send(signal, false));
  publish(*entry, "kill", {{"signal", cat(signal)}});
  fault_point("stop.signalled");
  if (container.state.phase == Phase::Paused) {
    core::FreezeRequest thaw;
    thaw.id = container.id;
    thaw.frozen = false;
    (void)co_await ring::as_result(engine.core->call(std::move(thaw)));
    if (container.state.phase == Phase::Paused) {
      container.state.phase = Phase::Running;
      publish(*entry, "unpause");
    }
  }
  std::optional<ring::Duration> limit;
  if (timeout_s >= 0) limit = std::chrono::seconds(timeout_s);
  if (!co_await wait_exit(entry, exits, limit)) {
    auto killed = co_await ring::as_result(send(SIGKILL, false));
    publish(*entry, "kill", {{"signal", cat(SIGKILL)}});
    if (!co_await wait_exit(entry, exits, kill_patience)) {
      if (!killed) co_await fail(killed.error().kind(), killed.error().message());
      co_await fail(Kind::Internal, cat("cannot stop container: ", container.id,
                                        ": tried to kill container, but did not receive an exit "
                                        "event"));
    }
  }
  publish(*entry, "stop");
  fault_point("stop.done");
}

namespace {
int timeout_of(const Container& container, std::optional<int> asked, int by_default) {
  if (asked) return *asked;
  return static_cast<int>(container.config.stop_timeout.value_or(by_default));
}
}  // namespace

ring::Task<Changed> Containers::State::stop(EntryRef entry, std::optional<std::string> signal,
                                            std::optional<int> timeout_s) {
  const int number = signal && !signal->empty() ? co_await parse_signal(*signal)
                                                : stop_signal_of(entry->container);
  const Turn turn = co_await take_turn(entry);
  const Container& container = entry->container;
  if (entry->gone) {
    co_await fail(Kind::NotFound, cat("No such container: ", container.id));
  }
  if (!is_up(container) && container.state.phase != Phase::Restarting) co_return Changed::No;
  co_await stop_in_turn(entry, number,
                        timeout_of(container, timeout_s, engine.options.stop_timeout_s));
  co_return Changed::Yes;
}

ring::Task<> Containers::State::restart(EntryRef entry, std::optional<std::string> signal,
                                        std::optional<int> timeout_s) {
  const int number = signal && !signal->empty() ? co_await parse_signal(*signal)
                                                : stop_signal_of(entry->container);
  const Turn turn = co_await take_turn(entry);
  Container& container = entry->container;
  if (entry->gone || entry->removing) {
    co_await fail(Kind::Conflict, "container is marked for removal and cannot be started");
  }
  // What stands between the stop and the start must not take the container away.
  entry->auto_removing = true;
  Result<> done = co_await ring::as_result(
      stop_in_turn(entry, number, timeout_of(container, timeout_s, engine.options.stop_timeout_s)));
  if (done) {
    ++entry->run;
    container.has_been_stopped = false;
    entry->backoff.reset();
    done = co_await ring::as_result(launch_or_note(entry, nullptr));
  }
  entry->auto_removing = false;
  co_await std::move(done);
  publish(*entry, "restart");
}

ring::Task<> Containers::State::kill(EntryRef entry, int signal) {
  Container& container = entry->container;
  if (container.state.phase == Phase::Restarting && signal == SIGKILL) {
    const Turn turn = co_await take_turn(entry);
    co_await stop_in_turn(entry, signal, 0);
    co_return;
  }
  if (!is_up(container)) {
    co_await fail(Kind::Conflict, cat("cannot kill container: ", container.name, ": container ",
                                      container.id, " is not running"));
  }
  // A signal that means the end is one that no restart follows.
  const bool is_end = signal == SIGKILL || container.config.stop_signal.empty() ||
                      signal == stop_signal_of(container);
  if (is_end) entry->ending = true;
  if (!container.has_been_stopped) {
    container.has_been_stopped = true;
    save(entry);
  }
  const uint64_t exits = entry->pulse->exits;
  core::SignalRequest request;
  request.id = container.id;
  request.signal = signal;
  co_await engine.core->call(std::move(request));
  publish(*entry, "kill", {{"signal", cat(signal)}});
  fault_point("kill.sent");
  if (is_end && container.state.phase == Phase::Paused) {
    core::FreezeRequest thaw;
    thaw.id = container.id;
    thaw.frozen = false;
    (void)co_await ring::as_result(engine.core->call(std::move(thaw)));
    if (container.state.phase == Phase::Paused) container.state.phase = Phase::Running;
  }
  // As Docker: a SIGKILL is answered when it has been obeyed.
  if (signal == SIGKILL) (void)co_await wait_exit(entry, exits, kill_patience);
}

ring::Task<> Containers::State::freeze(EntryRef entry, bool frozen) {
  const Turn turn = co_await take_turn(entry);
  Container& container = entry->container;
  ContainerState& state = container.state;
  if (frozen) {
    if (state.phase == Phase::Paused) {
      co_await fail(Kind::Conflict, cat("Container ", container.id, " is already paused"));
    }
    if (state.phase == Phase::Restarting) {
      co_await fail(Kind::Conflict, cat("Container ", container.id,
                                        " is restarting, wait until the container is running"));
    }
    if (state.phase != Phase::Running) {
      co_await fail(Kind::Conflict, cat("container ", container.id, " is not running"));
    }
  } else if (state.phase != Phase::Paused) {
    co_await fail(Kind::Conflict, cat("Container ", container.id, " is not paused"));
  }
  core::FreezeRequest request;
  request.id = container.id;
  request.frozen = frozen;
  co_await engine.core->call(std::move(request));
  fault_point("pause.done");
  if (!is_up(container)) co_return;  // it ended meanwhile
  state.phase = frozen ? Phase::Paused : Phase::Running;
  publish(*entry, frozen ? "pause" : "unpause");
  save(entry);
}

}  // namespace nacelle::engine
