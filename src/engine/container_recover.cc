// The engine begins: what runs is taken up by nacelle-core's list, before any request is answered;
// what ended meanwhile is told as if it ended now; what was begun and not finished is finished or
// taken away. Records of what does not run are read behind that, in slices.
#include <signal.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "engine/container_text.h"
#include "engine/moment.h"
#include "engine/names.h"
#include "engine/policies.h"
#include "image/disk.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

constexpr ring::Duration slice = std::chrono::milliseconds(1);
constexpr ring::Duration list_retry = std::chrono::milliseconds(100);
// Addresses and namespaces that core keeps ready for `bridge`.
constexpr unsigned pool_addresses = 64, pool_ready = 16;
constexpr size_t made_volumes_bytes_max = 1u << 20;
constexpr unsigned lonely_ready = 16;  // namespaces with `lo` alone

}  // namespace

Result<EntryRef> Containers::State::load(const std::string& id) {
  Result<Record> read = load_record(directory, id);
  unloaded.erase(id);
  if (!read) {
    if (read.error().error_number() == ENOENT) {
      background.start(discard_unfinished(id));
    } else if (read.error().kind() == Kind::Invalid) {
      // What it has written may be worth something to somebody.
      (void)sys::rename_at(directory.get(), id.c_str(), cat(".damaged-", id).c_str());
    }
    return std::unexpected(std::move(read).error());
  }
  take_in(*std::move(read));
  return entries.find(id)->second;
}

// A create that did not come to its end. The list of its volumes goes last.
ring::Task<> Containers::State::discard_unfinished(std::string id) {
  co_await all_loaded();  // who holds volumes is known
  const std::string list = cat(id, '/', made_volumes_file);
  const std::string made =
      sys::read_file_at(directory.get(), list.c_str(), made_volumes_bytes_max).value_or("");
  std::string_view rest = made;
  while (!rest.empty()) {
    (void)co_await ring::as_result(
        engine.volumes->remove(std::string(take_until(rest, '\n')), true));
  }
  co_await janitor.set_aside(directory, id);
}

void Containers::State::take_in(Record record) {
  auto entry = std::make_shared<Entry>();
  entry->container = std::move(record.container);
  entry->mounts = std::move(record.mounts);
  entry->removing = record.removing;
  entry->remove_volumes = record.remove_volumes;
  Container& container = entry->container;
  container.directory = cat(directory_path, '/', container.id);
  entry->pulse->exit_code = container.state.exit_code;
  entry->started_ns = parse_time(container.state.started_at).value_or(0);
  bool renamed = false;
  while (is_taken(container.name)) {
    container.name += cat('-', container.id.substr(0, 12));
    renamed = true;
  }
  for (const MountPlan& plan : entry->mounts) {
    if (plan.point.type == "volume") engine.volumes->hold(plan.point.name, container.id);
  }
  list(entry);
  if (renamed) save(entry);
}

ring::Task<> Containers::State::recover() {
  core::ListRequest::Reply found = co_await engine.core->call(core::ListRequest{});
  co_await take_up(std::move(found), true);
  // All that is published is known: what the kernel has of an engine before this one is replaced.
  const auto networks_changed = [this] {
    engine.rules->set_networks(engine.networks->list());
    engine.policies->networks_changed();
  };
  engine.networks->listen(networks_changed);
  networks_changed();
  engine.policies->begin();
  // An engine before this one may have ended between a new name and the word to core.
  for (const auto& [id, entry] : entries) {
    if (is_up(entry->container)) background.start(tell_names(entry));
  }
  recovered = true;
  progress.notify_all();
  auto pool = engine.networks->lease_pool(pool_addresses, pool_ready);
  (void)co_await ring::as_result(engine.core->call(std::move(pool)));
  core::PoolRequest lonely;
  lonely.ready = lonely_ready;
  (void)co_await ring::as_result(engine.core->call(std::move(lonely)));
  background.start(load_rest());
}

ring::Task<> Containers::State::take_up(core::ListRequest::Reply found, bool first) {
  for (core::ListRequest::Process& process : found.processes) {
    if (!process.exec.empty()) continue;
    EntryRef entry = entry_of(process.id);
    if (!entry && unloaded.contains(process.id)) {
      if (Result<EntryRef> read = load(process.id)) entry = *std::move(read);
    }
    if (!entry) {
      background.start(discard_unknown(process.id));
      continue;
    }
    Container& container = entry->container;
    entry->core_has_it = true;
    const bool was_up = is_up(container);
    if (!was_up && first) {
      // The engine died between core's reply and the record.
      container.state.started_at = moment_text(now_ns());
      entry->started_ns = now_ns();
    }
    container.state.phase = process.frozen ? Phase::Paused : Phase::Running;
    container.state.pid = process.pid;
    container.cgroup = process.cgroup;
    container.state.oom_killed = container.state.oom_killed || process.oom_killed;
    entry->attached.clear();
    for (const core::Interface& interface : process.interfaces) {
      for (auto& [name, endpoint] : container.endpoints) {
        const Result<Network> network = engine.networks->find(name);
        if (!network || network->id != interface.network) continue;
        entry->attached.push_back(name);
        endpoint.network_id = network->id;
        endpoint.ip_address = interface.address;
        endpoint.ip_prefix_len = interface.prefix_len;
        endpoint.gateway = interface.way_out();
        endpoint.global_ipv6_address = interface.address6;
        endpoint.global_ipv6_prefix_len = interface.prefix_len6;
        endpoint.ipv6_gateway = interface.way_out6();
        if (!interface.mac.empty()) endpoint.mac_address = interface.mac;
        engine.policies->link_made(network->id, container.id, interface.link);
      }
    }
    for (const auto& [name, endpoint] : container.endpoints) {
      if (!endpoint.network_id.empty()) {
        engine.networks->adopt(name, container.id, container.name, endpoint);
      }
    }
    if (process.ended) {
      core::ExitedEvent ended;
      ended.id = process.id;
      ended.wait_status = process.wait_status;
      ended.status_known = process.status_known;
      ended.oom_killed = process.oom_killed;
      ended.ended_ns = process.ended_ns;
      exit_of(entry, ended);
      continue;
    }
    if (first && !container.ports.empty()) {
      engine.ports->adopt(container.id, container.ports);
    } else if (first) {
      (void)take_ports(*entry);
    }
    publish_ports(*entry);
    if (!was_up) save(entry);
    if (first) start_health(entry);
    if (first && !container.host.links.empty()) background.start(take_links(entry));
  }
  for (const core::ListRequest::Process& process : found.processes) {
    if (process.exec.empty() || execs.contains(process.exec)) continue;
    const EntryRef entry = entry_of(process.id);
    if (process.ended || !entry) {
      background.start(forget_exec(process.id, process.exec));
      continue;
    }
    auto made = std::make_shared<ExecEntry>();
    made->container = entry;
    made->core_has_it = true;
    made->exec.id = process.exec;
    made->exec.container = process.id;
    made->exec.started = made->exec.running = true;
    made->exec.pid = process.pid;
    entry->container.execs.push_back(process.exec);
    execs[process.exec] = std::move(made);
    entry->had_execs = true;
  }
  co_return;
}

// Runs, and nobody knows of it: its record is gone, or was never written.
ring::Task<> Containers::State::discard_unknown(std::string id) {
  core::SignalRequest kill;
  kill.id = id;
  kill.signal = SIGKILL;
  kill.all = true;
  (void)co_await ring::as_result(engine.core->call(std::move(kill)));
  for (int attempt = 0; attempt < 50; ++attempt) {
    core::ForgetRequest forget;
    forget.id = id;
    auto done = co_await ring::as_result(engine.core->call(std::move(forget)));
    if (done || done.error().kind() == Kind::NotFound || done.error().kind() == Kind::Cancelled) {
      co_return;
    }
    co_await ring::sleep_for(loop, list_retry);
  }
}

ring::Task<> Containers::State::load_rest() {
  const std::vector<std::string> ids(unloaded.begin(), unloaded.end());
  auto since = loop.now();
  for (const std::string& id : ids) {
    if (!unloaded.contains(id)) continue;
    (void)load(id);
    if (loop.now() - since < slice) continue;
    co_await ring::nop(loop);
    since = loop.now();
  }
  loaded = true;
  progress.notify_all();
  // What a crash has left.
  if (Result<std::vector<std::string>> there = image::list_directory(directory)) {
    for (std::string& name : *there) {
      if (name.starts_with(image::trash_prefix)) janitor.remove(std::move(name));
    }
  }
  std::vector<EntryRef> all;
  for (const auto& [id, entry] : entries) all.push_back(entry);
  for (const EntryRef& entry : all) {
    if (!entry->core_has_it && !entry->starting && !entry->gone) {
      background.start(restart_after_boot(entry));
    }
  }
}

// It does not run, and nobody has touched it since the engine began.
ring::Task<> Containers::State::restart_after_boot(EntryRef entry) {
  const Turn turn = co_await take_turn(entry);
  if (entry->gone || entry->core_has_it || entry->run > 0) co_return;
  Container& container = entry->container;
  ContainerState& state = container.state;
  if (entry->removing) {
    background.start(auto_remove(entry));
    co_return;
  }
  const bool was_running = is_up(container) || state.phase == Phase::Restarting;
  if (is_up(container)) {
    // The machine went down, or core did, and took the status along.
    core::ExitedEvent lost;
    lost.id = container.id;
    lost.status_known = false;
    entry->ending = true;  // what follows is decided here
    entry->auto_removing = true;
    exit_of(entry, lost);
    entry->auto_removing = false;
  } else if (state.phase == Phase::Restarting) {
    state.phase = Phase::Exited;
    save(entry);
  }
  if (container.host.auto_remove && state.phase != Phase::Created) {
    background.start(auto_remove(entry));
    co_return;
  }
  if (state.phase == Phase::Created && !was_running) co_return;
  if (!wants_start_at_boot(container.host.restart_policy,
                           {.was_running = was_running,
                            .has_been_stopped = container.has_been_stopped,
                            .exit_code = state.exit_code,
                            .restart_count = container.restart_count})) {
    co_return;
  }
  ++entry->run;
  if (!container.host.links.empty()) co_await wait_for_links(entry);
  co_await launch_or_note(entry, nullptr);
}

void Containers::State::core_restarted() { background.start(after_core_restart()); }

// Another core: what it found of the one before runs on; the rest has ended, nobody knows how.
ring::Task<> Containers::State::after_core_restart() {
  core::ListRequest::Reply found = co_await engine.core->call(core::ListRequest{});
  std::set<std::string> known;
  for (const auto& process : found.processes) known.insert(cat(process.id, '/', process.exec));
  std::vector<EntryRef> all;
  for (const auto& [id, entry] : entries) all.push_back(entry);
  co_await take_up(std::move(found), false);
  for (const EntryRef& entry : all) {
    if (!is_up(entry->container) || known.contains(cat(entry->container.id, '/'))) continue;
    core::ExitedEvent lost;
    lost.id = entry->container.id;
    lost.status_known = false;
    exit_of(entry, lost);
  }
  for (const auto& [id, made] : std::map(execs)) {
    if (!made->exec.running || known.contains(cat(made->exec.container, '/', id))) continue;
    core::ExitedEvent lost;
    lost.id = made->exec.container;
    lost.exec = id;
    lost.status_known = false;
    exec_exited(made, lost);
  }
  engine.policies->begin();
  auto pool = engine.networks->lease_pool(pool_addresses, pool_ready);
  (void)co_await ring::as_result(engine.core->call(std::move(pool)));
  core::PoolRequest lonely;
  lonely.ready = lonely_ready;
  (void)co_await ring::as_result(engine.core->call(std::move(lonely)));
}

}  // namespace nacelle::engine
