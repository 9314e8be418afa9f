// start: the root is mounted, networks are joined, and nacelle-core does the rest. Its reply means
// that the program runs; the record and the event come behind the reply to the client. An engine
// that dies in between finds the container in core's list.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>

#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/addresses.h"
#include "engine/container_state.h"
#include "engine/container_text.h"
#include "engine/host_path.h"
#include "engine/moment.h"
#include "engine/policies.h"
#include "logs/options.h"
#include "ring/ops.h"
#include "sys/clock.h"
#include "sys/file.h"

namespace nacelle::engine {

namespace {

constexpr uint64_t new_ipc = 0x08000000, new_pid = 0x20000000;  // CLONE_NEW*
constexpr std::string_view container_prefix = "container:";

// Docker's exit codes of a container whose program could not be executed.
constexpr int exit_not_found = 127, exit_not_executable = 126, exit_no_start = 128;

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

int exit_code_for(std::string_view message) {
  if (has(message, "executable file not found") || has(message, "no such file or directory") ||
      has(message, "No such file or directory")) {
    return exit_not_found;
  }
  if (has(message, "permission denied") || has(message, "Permission denied") ||
      has(message, "is a directory") || has(message, "not a directory") ||
      has(message, "exec format error")) {
    return exit_not_executable;
  }
  return exit_no_start;
}

// A text with the container's values for the few templates that `tag` takes.
std::string expand_tag(std::string text, const Container& container) {
  const std::pair<std::string_view, std::string> values[] = {
      {"{{.ID}}", container.id.substr(0, 12)},
      {"{{.FullID}}", container.id},
      {"{{.Name}}", container.name},
      {"{{.ImageName}}", container.config.image},
      {"{{.ImageID}}", container.image_id.substr(0, 7 + 12)},
      {"{{.ImageFullID}}", container.image_id},
      {"{{.DaemonName}}", "nacelle"},
  };
  for (const auto& [name, value] : values) {
    for (size_t at = 0; (at = text.find(name, at)) != std::string::npos; at += value.size()) {
      text.replace(at, name.size(), value);
    }
  }
  return text;
}

// `attrs` of the log's lines: labels and variables that were asked for by name, and the tag.
void fill_attributes(const Container& container, logs::Options& log) {
  const Labels& wanted = container.host.log_config.config;
  const auto names_in = [&](const char* option, const auto& found) {
    const auto list = wanted.find(option);
    if (list == wanted.end()) return;
    std::string_view rest = list->second;
    while (!rest.empty()) found(take_until(rest, ','));
  };
  names_in("labels", [&](std::string_view name) {
    const auto label = container.config.labels.find(std::string(name));
    if (label != container.config.labels.end()) log.attributes.emplace_back(*label);
  });
  names_in("env", [&](std::string_view name) {
    for (const std::string& variable : container.config.env) {
      std::string_view value = variable;
      if (take_until(value, '=') == name) log.attributes.emplace_back(name, value);
    }
  });
  if (const auto tag = wanted.find("tag"); tag != wanted.end() && !tag->second.empty()) {
    log.attributes.emplace_back("tag", expand_tag(tag->second, container));
  }
}

CreateRequest request_of(const Container& container) {
  CreateRequest request;
  request.name = container.name;
  request.config = container.config;
  request.host = container.host;
  return request;
}

}  // namespace

ring::Task<Changed> Containers::State::start(EntryRef entry, std::shared_ptr<StartTrace> trace) {
  const Turn turn = co_await take_turn(entry);
  const Container& container = entry->container;
  if (entry->gone || entry->removing) {
    co_await fail(Kind::Conflict, "container is marked for removal and cannot be started");
  }
  if (container.state.phase == Phase::Paused) {
    co_await fail(Kind::Conflict, "cannot start a paused container, try unpause instead");
  }
  if (container.state.phase == Phase::Running) co_return Changed::No;
  ++entry->run;  // a pending restart sees that it is not wanted any more
  entry->container.restart_count = 0;
  entry->container.has_been_stopped = false;
  entry->backoff.reset();
  co_await launch_or_note(entry, std::move(trace));
  co_return Changed::Yes;
}

// A failure is written into the state, as Docker does.
ring::Task<> Containers::State::launch_or_note(EntryRef entry, std::shared_ptr<StartTrace> trace) {
  Result<> launched = co_await ring::as_result(launch(entry, std::move(trace)));
  if (launched) co_return;
  const std::string& said = launched.error().message();
  const int code = exit_code_for(said);
  Error error = launched.error();
  if (code != exit_no_start || has(said, "exec: ")) {
    // The texts from which docker(1) makes its own exit status.
    error =
        Error(Kind::Invalid,
              cat("failed to create task for container: failed to create shim task: OCI runtime "
                  "create failed: runc create failed: unable to start container process: ",
                  said, ": unknown"));
  }
  start_failed(entry, error);
  co_await fail(error.kind(), error.message());
}

void Containers::State::start_failed(const EntryRef& entry, const Error& error) {
  ++counts.start_failures;
  leave_networks(*entry);
  entry->left_mount = janitor.end_mount(std::move(entry->mount));
  entry->compiled = nullptr;
  ContainerState& state = entry->container.state;
  if (state.phase == Phase::Restarting) {
    state.phase = Phase::Exited;
    state.finished_at = moment_text(now_ns());
  }
  state.pid = 0;
  state.error = error.message();
  state.exit_code = exit_code_for(error.message());
  entry->pulse->exit_code = state.exit_code;
  entry->pulse->error = state.error;
  for (ParkedClient& client : std::exchange(entry->parked, {})) *client.socket = Fd();
  save(entry);
  if (entry->container.host.auto_remove && !entry->gone) background.start(auto_remove(entry));
}

// What policies say of it holds before its program runs, so its address is known before, too.
Result<Networks::Joined> Containers::State::join(const Container& container,
                                                 const std::string& network, const Endpoint& wish,
                                                 unsigned index) {
  const std::string id = TRY(engine.networks->find(network)).id;
  const uint32_t policy = engine.policies->number_for(id, container.id);
  Networks::Joined joined =
      TRY(engine.networks->join(network, container.id, container.name, wish, index,
                                policy != 0 || engine.policies->follows_members(id)));
  joined.interface.policy = policy;
  engine.policies->members_changed(id);
  return joined;
}

Result<core::StartRequest> Containers::State::plan_start(Entry& entry, bool traced) {
  Container& container = entry.container;
  const HostConfig& host = container.host;
  core::StartRequest request;
  request.id = container.id;
  request.plan = entry.compiled->plan;
  request.cgroup_plan = entry.compiled->cgroup_plan;
  request.cgroup_path = cgroup_path(host, container.id);
  request.terminal = container.config.tty;
  request.open_stdin = container.config.open_stdin;
  request.stdin_once = container.config.stdin_once;
  if (host.console_size.size() == 2) {
    request.height = static_cast<uint16_t>(host.console_size[0]);
    request.width = static_cast<uint16_t>(host.console_size[1]);
  }
  request.log = TRY(logs::parse_options(host.log_config.type, host.log_config.config));
  fill_attributes(container, request.log);
  request.traced = traced;
  const std::string& mode = host.network_mode;
  if (mode == "host") {
    request.network = core::NetworkMode::Host;
  } else if (mode.starts_with(container_prefix)) {
    request.network = core::NetworkMode::Join;
    request.network_of = mode.substr(container_prefix.size());
  } else {
    request.network = core::NetworkMode::None;
    unsigned index = 0;
    entry.attached.clear();
    for (auto& [name, endpoint] : container.endpoints) {
      Networks::Joined joined = TRY(join(container, name, endpoint, index));
      endpoint = std::move(joined.endpoint);
      if (joined.interface.name.empty()) continue;  // `none`
      ++index;
      entry.attached.push_back(name);
      request.network = core::NetworkMode::Own;
      request.interfaces.push_back(std::move(joined.interface));
    }
    name_endpoints(container);
    request.has_names = is_answered(container.endpoints);
    if (request.has_names) request.names = names_of(container, container.endpoints);
    TRY(take_ports(entry));
  }
  if (host.ipc_mode.starts_with(container_prefix)) {
    request.joined.emplace_back(new_ipc, host.ipc_mode.substr(container_prefix.size()));
  }
  if (host.pid_mode.starts_with(container_prefix)) {
    request.joined.emplace_back(new_pid, host.pid_mode.substr(container_prefix.size()));
  }
  return request;
}

void Containers::State::leave_networks(Entry& entry) {
  if (!entry.container.ports.empty()) {
    engine.rules->withdraw(entry.container.id);
    engine.ports->release(entry.container.id);
    entry.container.ports.clear();
  }
  for (auto& [name, endpoint] : entry.container.endpoints) {
    engine.networks->leave(name, entry.container.id);
    engine.policies->link_gone(endpoint.network_id, entry.container.id);
    // What was asked for stays; what there was goes. A MAC made from the address goes with it.
    const bool has_ipv4 = !endpoint.ip_address.empty();
    const auto address =
        parse_address(has_ipv4 ? endpoint.ip_address : endpoint.global_ipv6_address);
    if (address && endpoint.mac_address == mac_of(*address)) endpoint.mac_address.clear();
    endpoint.endpoint_id.clear();
    endpoint.gateway.clear();
    endpoint.ip_address.clear();
    endpoint.ip_prefix_len = 0;
    endpoint.ipv6_gateway.clear();
    endpoint.global_ipv6_address.clear();
    endpoint.global_ipv6_prefix_len = 0;
  }
  members_changed(entry.container);
}

Result<> Containers::State::write_hosts(Entry& entry) {
  const Container& container = entry.container;
  if (container.host.network_mode.starts_with(container_prefix)) {
    // It shares the other's names as well as its addresses.
    const EntryRef other = entry_of(container.host.network_mode.substr(container_prefix.size()));
    if (!other) return {};
    const Fd from = TRY(open_directory(*other)), to = TRY(open_directory(entry));
    for (const char* name : {"hosts", "hostname", "resolv.conf"}) {
      const std::string text = TRY(sys::read_file_at(from.get(), name, 1u << 20));
      const Fd file = TRY(sys::open_at(to.get(), name, O_WRONLY | O_TRUNC | O_NOFOLLOW));
      if (!text.empty()) TRY(sys::write_all(file, text, name));
    }
    return {};
  }
  const std::string& hostname = container.config.hostname;
  const std::string own_names = own_host_names(container);
  std::vector<std::pair<std::string, std::string>> addresses = linked_addresses(entry);
  for (const auto& [name, endpoint] : container.endpoints) {
    if (!endpoint.ip_address.empty()) addresses.emplace_back(endpoint.ip_address, own_names);
    if (!endpoint.global_ipv6_address.empty()) {
      addresses.emplace_back(endpoint.global_ipv6_address, own_names);
    }
  }
  const std::string text =
      hosts_file(request_of(container), hostname, addresses, engine.networks->default_gateway());
  const Fd place = TRY(open_directory(entry));
  // As a rule it is what create has written; one that was truncated goes to the disk when closed.
  const auto known = sys::read_file_at(place.get(), "hosts", text.size() + 1);
  if (known && *known == text) return {};
  // In place: the file is what is bound into the container.
  const int cut = known && known->empty() ? 0 : O_TRUNC;
  const Fd file = TRY(sys::open_at(place.get(), "hosts", O_WRONLY | cut | O_NOFOLLOW));
  return sys::write_all(file, text, "hosts");
}

ring::Task<> Containers::State::launch(EntryRef entry, std::shared_ptr<StartTrace> trace) {
  const auto reached = [&trace](const char* phase) {
    if (trace) trace->push_back({phase, sys::monotonic_ns()});
  };
  while (entry->core_has_it) co_await entry->forgotten.wait();
  const uint64_t launch_ns = sys::monotonic_ns();
  Container& container = entry->container;
  if (!container.host.network_mode.starts_with(container_prefix)) {
    // Fine.
  } else if (const EntryRef other =
                 entry_of(container.host.network_mode.substr(container_prefix.size()));
             !other || !is_up(other->container)) {
    co_await fail(Kind::Conflict,
                  cat("cannot join network namespace of a non running container: container ",
                      container.host.network_mode.substr(container_prefix.size()), " is ",
                      other ? to_string(other->container.state.phase) : "gone"));
  }
  for (const MountPlan& plan : entry->mounts) {
    if (plan.point.type != "bind" || !plan.create_source) continue;
    co_await make_host_directory(loop, background, plan.point.source);
  }
  if (!container.host.links.empty()) {
    co_await take_links(entry);
    co_await check_links(*entry);
  }
  Fd mount = co_await mount_root(entry);
  reached("root");
  fault_point("start.mounted");
  if (!entry->compiled) co_await compile(entry, request_of(container), &mount);
  core::StartRequest request = co_await plan_start(*entry, trace != nullptr);
  fault_point("start.networks");
  // Fails closed: without its rules a network keeps nobody apart.
  if (request.network == core::NetworkMode::Own && !engine.rules->is_settled()) {
    co_await engine.rules->settle();
  }
  if (request.network == core::NetworkMode::Own && !engine.policies->is_settled()) {
    co_await engine.policies->settle();
  }
  co_await write_hosts(*entry);
  co_await write_resolv_conf(*entry);
  const Fd place = co_await open_directory(*entry);
  // Output waits for those who have attached before the start.
  request.has_client = !entry->parked.empty();
  container.state.error.clear();
  entry->core_has_it = entry->starting = true;
  entry->ending = false;
  entry->early_exit.reset();
  entry->mount = std::move(mount);
  reached("plan");
  // From before its program runs: who asks for the logs since then is to get all of them.
  const int64_t begun_ns = now_ns();
  std::vector<const Fd*> descriptors{&entry->mount, &place};
  Result<core::StartRequest::Reply> reply =
      co_await ring::as_result(engine.core->call(std::move(request), std::move(descriptors)));
  fault_point("start.reply");
  entry->starting = false;
  if (!reply) {
    entry->core_has_it = false;
    entry->forgotten.notify_all();
    entry->start_over.notify_all();
    co_await fail(reply.error().kind(), reply.error().message());
  }
  for (ParkedClient& client : std::exchange(entry->parked, {})) {
    background.start(give_client(entry, std::move(client)));
  }
  if (trace) trace->insert(trace->end(), reply->phases.begin(), reply->phases.end());
  entry->started_ns = begun_ns;
  started(entry, *reply);
  reached("reply");
  counts.add_start((sys::monotonic_ns() - launch_ns) / 1000);
  entry->start_over.notify_all();
  if (entry->early_exit) exit_of(entry, *std::exchange(entry->early_exit, std::nullopt));
  if (container.ports.empty()) co_return;
  const Result<> published = co_await ring::as_result(engine.rules->settle());
  if (published || !is_up(container)) co_return;
  core::SignalRequest kill;
  kill.id = container.id;
  kill.signal = SIGKILL;
  (void)co_await ring::as_result(engine.core->call(std::move(kill)));
  co_await Result<>(published);
}

void Containers::State::started(const EntryRef& entry, const core::StartRequest::Reply& reply) {
  Container& container = entry->container;
  entry->compiled = nullptr;
  ContainerState& state = container.state;
  state.phase = Phase::Running;
  state.pid = reply.pid;
  state.exit_code = 0;
  state.oom_killed = false;
  state.error.clear();
  state.started_at = moment_text(entry->started_ns);
  container.cgroup = reply.cgroup;
  bool learned = false;
  for (const core::Interface& became : reply.interfaces) {
    for (auto& [name, endpoint] : container.endpoints) {
      const Result<Network> network = engine.networks->find(name);
      if (!network || network->id != became.network) continue;
      engine.networks->join_done(name, container.id, became);
      engine.policies->link_made(network->id, container.id, became.link);
      if (endpoint.ip_address == became.address) continue;
      learned = true;
      endpoint.ip_address = became.address;
      endpoint.ip_prefix_len = became.prefix_len;
      endpoint.gateway = became.way_out();
      if (!became.mac.empty()) endpoint.mac_address = became.mac;
    }
  }
  // An address of core's pool is known only now.
  if (learned) (void)write_hosts(*entry);
  members_changed(container);
  tell_linked(*entry);
  publish_ports(*entry);
  for (const auto& [name, endpoint] : container.endpoints) {
    if (endpoint.network_id.empty()) continue;
    engine.events->publish("network", "connect", endpoint.network_id,
                           {{"container", container.id}, {"name", name}, {"type", "bridge"}});
  }
  publish(*entry, "start");
  // Most that end at once are written down once. Until then it is core's list that says it runs.
  entry->unsaved = true;
  flush_later(entry);
  start_health(entry);
}

}  // namespace nacelle::engine
