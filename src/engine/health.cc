// Health checks: a probe is an exec whose output is read here. One task per container that has
// such a check, while it runs.
#include "engine/health.h"

#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "engine/moment.h"
#include "ring/ops.h"

namespace nacelle::engine {

namespace {

constexpr size_t output_bytes_max = 4096;
constexpr size_t log_entries_max = 5;
constexpr ring::Duration end_patience = std::chrono::seconds(5);

struct ProbeOutcome {
  int exit_code = -1;
  std::string output;
};

// The rest is thrown away, so that the probe does not wait for us.
ring::Task<> read_output(ring::Loop* loop, const Fd* socket, std::string* output) {
  char piece[4096];
  for (;;) {
    const size_t bytes = co_await ring::read_some(*loop, *socket, piece);
    if (bytes == 0) co_return;
    const size_t room = output_bytes_max - output->size();
    output->append(piece, std::min(bytes, room));
  }
}

ring::Task<> until_ended(ExecRef probe) {
  while (!probe->exec.exit_code) co_await probe->ended.wait();
}

ring::Task<> run_probe(Containers::State* state, ExecRef probe, std::string* output) {
  co_await state->exec_run(probe, std::nullopt, true);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    co_await fail_errno(errno, "socketpair");
  }
  const Fd ours(ends[0]);
  {
    const Fd theirs(ends[1]);
    core::AttachRequest request;
    request.id = probe->exec.container;
    request.exec = probe->exec.id;
    request.wants_stdout = request.wants_stderr = true;
    std::vector<const Fd*> descriptors{&theirs};
    co_await state->engine.core->call(std::move(request), std::move(descriptors));
  }
  co_await read_output(&state->loop, &ours, output);
  co_await until_ended(probe);
}

ring::Task<ProbeOutcome> probe_once(Containers::State* state, EntryRef entry, HealthTimes times,
                                    std::vector<std::string> command) {
  ExecConfig config;
  config.cmd = std::move(command);
  config.attach_stdout = config.attach_stderr = true;
  const std::string id = co_await state->exec_create(entry, std::move(config));
  const ExecRef probe = state->execs.find(id)->second;
  ProbeOutcome outcome;
  const Result<> ran = co_await ring::as_result(ring::with_deadline(
      state->loop, run_probe(state, probe, &outcome.output), times.timeout, "health check"));
  if (ran) {
    outcome.exit_code = probe->exec.exit_code.value_or(-1);
  } else {
    if (ran.error().kind() == Kind::Cancelled) co_await ran;
    if (probe->exec.exit_code) {  // it could not be executed
      outcome.exit_code = *probe->exec.exit_code;
      outcome.output = ran.error().message();
    } else {
      outcome.output =
          cat("Health check exceeded timeout (",
              std::chrono::duration_cast<std::chrono::milliseconds>(times.timeout).count(), "ms)",
              outcome.output.empty() ? "" : ": ", outcome.output);
      core::SignalRequest kill;
      kill.id = entry->container.id;
      kill.exec = id;
      kill.signal = SIGKILL;
      (void)co_await ring::as_result(state->engine.core->call(std::move(kill)));
      (void)co_await ring::as_result(
          ring::with_deadline(state->loop, until_ended(probe), end_patience));
    }
  }
  state->execs.erase(id);
  co_return outcome;
}

}  // namespace

std::optional<std::vector<std::string>> probe_command(const ContainerConfig& config) {
  if (!config.healthcheck || config.healthcheck->test.empty()) return std::nullopt;
  const std::vector<std::string>& test = config.healthcheck->test;
  std::vector<std::string> command;
  if (test[0] == "CMD") {
    command.assign(test.begin() + 1, test.end());
  } else if (test[0] == "CMD-SHELL" && test.size() > 1) {
    command = config.shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : config.shell;
    command.push_back(test[1]);
  }
  if (command.empty()) return std::nullopt;
  return command;
}

HealthTimes health_times(const HealthConfig& config) {
  const auto or_default = [](int64_t ns, std::chrono::nanoseconds by_default) {
    return ns > 0 ? std::chrono::nanoseconds(ns) : by_default;
  };
  HealthTimes times;
  times.interval = or_default(config.interval, std::chrono::seconds(30));
  times.timeout = or_default(config.timeout, std::chrono::seconds(30));
  times.start_period = or_default(config.start_period, {});
  times.start_interval = or_default(config.start_interval, std::chrono::seconds(5));
  times.retries = config.retries > 0 ? config.retries : 3;
  return times;
}

bool note_probe(Health& health, HealthProbe probe, const HealthTimes& times,
                std::chrono::nanoseconds since_start) {
  const std::string before = health.status;
  if (probe.exit_code == 0) {
    health.failing_streak = 0;
    health.status = "healthy";
  } else if (health.status != "starting" || since_start >= times.start_period) {
    // A program that is still coming up may fail.
    if (++health.failing_streak >= times.retries) health.status = "unhealthy";
  }
  health.log.push_back(std::move(probe));
  if (health.log.size() > log_entries_max) health.log.erase(health.log.begin());
  return health.status != before;
}

void Containers::State::start_health(const EntryRef& entry) {
  ContainerState& state = entry->container.state;
  if (!probe_command(entry->container.config)) {
    state.health.reset();
    return;
  }
  if (!state.health) state.health.emplace();
  state.health->status = "starting";
  state.health->failing_streak = 0;
  background.start(watch_health(entry, entry->run));
}

void Containers::State::stop_health(Entry& entry) {
  if (!entry.container.state.health) return;
  Health& health = *entry.container.state.health;
  if (health.status == "starting" || health.status == "healthy") health.status = "unhealthy";
  entry.health_stop.notify_all();
}

namespace {
ring::Task<> until_stopped(EntryRef entry) { co_await entry->health_stop.wait(); }
}  // namespace

ring::Task<> Containers::State::watch_health(EntryRef entry, uint64_t run) {
  const HealthTimes times = health_times(*entry->container.config.healthcheck);
  const int64_t started_ns = entry->started_ns > 0 ? entry->started_ns : now_ns();
  const auto over = [&] { return entry->run != run || entry->gone || !is_up(entry->container); };
  for (;;) {
    const std::chrono::nanoseconds so_far(now_ns() - started_ns);
    const bool coming_up =
        entry->container.state.health->status == "starting" && so_far < times.start_period;
    const ring::Duration pause = coming_up ? times.start_interval : times.interval;
    (void)co_await ring::as_result(ring::with_deadline(loop, until_stopped(entry), pause));
    if (over()) co_return;
    if (entry->container.state.phase != Phase::Running) continue;  // paused: nobody could answer
    HealthProbe probe;
    const int64_t begin_ns = now_ns();
    probe.start = moment_text(begin_ns);
    auto command = probe_command(entry->container.config);
    Result<ProbeOutcome> outcome =
        co_await ring::as_result(probe_once(this, entry, times, std::move(*command)));
    if (!outcome && outcome.error().kind() == Kind::Cancelled) {
      co_await fail(Kind::Cancelled, "health check");
    }
    if (over()) co_return;
    probe.end = moment_text(now_ns());
    probe.exit_code = outcome ? outcome->exit_code : -1;
    probe.output = outcome ? std::move(outcome->output) : outcome.error().message();
    if (!entry->container.state.health) co_return;
    if (note_probe(*entry->container.state.health, std::move(probe), times,
                   std::chrono::nanoseconds(begin_ns - started_ns))) {
      publish(*entry, cat("health_status: ", entry->container.state.health->status));
    }
  }
}

}  // namespace nacelle::engine
