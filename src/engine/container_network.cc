// Networks of a container that exists: joined and left between its starts; its published ports; the
// names under which those on one network know each other.
#include <fcntl.h>
#include <unistd.h>

#include <set>
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "engine/spec_parts.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

std::string_view mode_of(const Container& container) { return container.host.network_mode; }

Result<> check_modes(const Container& container, const Network& network) {
  if (mode_of(container).starts_with("container:")) {
    return fail(Kind::Denied,
                "container sharing network namespace with another container or host cannot be "
                "connected to any other network");
  }
  if (mode_of(container) == "host" || network.name == "host") {
    return fail(Kind::Denied,
                "container cannot be disconnected from host network or connected to host network");
  }
  if (mode_of(container) == "none" || network.name == "none") {
    return fail(Kind::Denied,
                "container cannot be connected to multiple networks with one of the networks in "
                "private (none) mode");
  }
  return {};
}

}  // namespace

ring::Task<> Containers::connect_network(std::string text, std::string network, Endpoint endpoint) {
  const Network about = co_await state_->engine.networks->find(network);
  const EntryRef entry = co_await state_->find(std::move(text));
  Turn turn = co_await state_->take_turn(entry);
  Container& container = entry->container;
  if (entry->gone || entry->removing) {
    co_await fail(Kind::Denied, cat("Container ", container.id,
                                    " is marked for removal and cannot be connected or "
                                    "disconnected to the network ",
                                    about.name));
  }
  co_await check_modes(container, about);
  if (is_up(container)) {
    if (container.endpoints.contains(about.name)) {
      co_await fail(Kind::Denied, cat("endpoint with name ", container.name,
                                      " already exists in network ", about.name));
    }
    co_await shielded(state_->background,
                      state_->connect_running(entry, about, std::move(endpoint), std::move(turn)));
    co_return;
  }
  // What it can be given is seen now, what is free when it starts.
  co_await state_->engine.networks->check(about.id, endpoint);
  endpoint.network_id = about.id;
  container.endpoints.insert_or_assign(about.name, std::move(endpoint));
  state_->save(entry);
}

ring::Task<> Containers::disconnect_network(std::string text, std::string network, bool force) {
  const Result<Network> about = state_->engine.networks->find(network);
  if (!about && !force) co_await fail(about.error().kind(), about.error().message());
  const std::string name = about ? about->name : network;
  const EntryRef entry = co_await state_->find(std::move(text));
  Turn turn = co_await state_->take_turn(entry);
  Container& container = entry->container;
  if (mode_of(container) == "host" && name == "host") {
    co_await fail(Kind::Denied,
                  "container cannot be disconnected from host network or connected to host "
                  "network");
  }
  if (!container.endpoints.contains(name)) {
    co_await fail(Kind::Denied,
                  cat("container ", container.id, " is not connected to network ", name));
  }
  if (is_up(container) && about) {
    co_await shielded(state_->background,
                      state_->disconnect_running(entry, *about, std::move(turn)));
    co_return;
  }
  container.endpoints.erase(name);
  state_->save(entry);
}

// It runs ----------------------------------------------------------------------------------------

ring::Task<> Containers::State::connect_running(EntryRef entry, Network network, Endpoint wish,
                                                Turn) {
  Container& container = entry->container;
  if (!engine.rules->is_settled()) co_await engine.rules->settle();
  Networks::Joined joined =
      co_await engine.networks->join(network.id, container.id, container.name, wish, 0);
  core::ConnectRequest request;
  request.id = container.id;
  request.interface = std::move(joined.interface);
  request.interface.name.clear();  // core knows which are there
  const auto connected = co_await ring::as_result(engine.core->call(std::move(request)));
  if (!connected || !is_up(container)) {
    engine.networks->leave(network.id, container.id);
    if (!connected) co_await fail(connected.error().kind(), connected.error().message());
    co_return;
  }
  const core::Interface& became = connected->interface;
  engine.networks->join_done(network.id, container.id, became);
  Endpoint& endpoint = container.endpoints[network.name];
  endpoint = std::move(joined.endpoint);
  endpoint.ip_address = became.address;
  endpoint.ip_prefix_len = became.prefix_len;
  endpoint.gateway = became.way_out();
  endpoint.mac_address = became.mac;
  entry->attached.push_back(network.name);
  tell_neighbours(*entry);
  save(entry);
  co_await move_ports(entry);
}

ring::Task<> Containers::State::disconnect_running(EntryRef entry, Network network, Turn) {
  Container& container = entry->container;
  core::DisconnectRequest request;
  request.id = container.id;
  request.network = network.id;
  co_await engine.core->call(std::move(request));
  if (!is_up(container)) co_return;
  engine.networks->leave(network.id, container.id);
  tell_neighbours(*entry);
  container.endpoints.erase(network.name);
  std::erase(entry->attached, network.name);
  (void)refresh_hosts(*entry);
  save(entry);
  co_await move_ports(entry);
}

// Published ports lead to the address of the way out, which may be another one now, or none.
ring::Task<> Containers::State::move_ports(EntryRef entry) {
  Container& container = entry->container;
  if (container.ports.empty() && container.host.port_bindings.empty()) co_return;
  if (!way_out_of(*entry)) {
    engine.rules->withdraw(container.id);
    engine.ports->release(container.id);
    container.ports.clear();
  } else if (container.ports.empty()) {
    co_await take_ports(*entry);
  }
  publish_ports(*entry);
  save(entry);
  co_await engine.rules->settle();
}

// Published ports --------------------------------------------------------------------------------

namespace {

constexpr size_t hosts_bytes_max = 1u << 20;
constexpr const char* default_address_option = "com.docker.network.bridge.host_binding_ipv4";

}  // namespace

// The network by which it reaches the world.
std::optional<Network> Containers::State::way_out_of(const Entry& entry) const {
  for (const std::string& name : entry.attached) {
    Result<Network> network = engine.networks->find(name);
    if (network && !network->internal) return *std::move(network);
  }
  return std::nullopt;
}

Result<> Containers::State::take_ports(Entry& entry) {
  Container& container = entry.container;
  if (container.host.port_bindings.empty() && !container.host.publish_all_ports) return {};
  const auto network = way_out_of(entry);
  if (!network) return {};
  const auto option = network->options.find(default_address_option);
  const std::string address = option == network->options.end() ? "0.0.0.0" : option->second;
  Result<PortMap> taken = engine.ports->take(container.id, ports_to_publish(container, address));
  if (!taken) {
    const Endpoint& endpoint = container.endpoints[network->name];
    return fail(taken.error().kind(),
                cat("failed to set up container networking: driver failed programming external "
                    "connectivity on endpoint ",
                    container.name, " (", endpoint.endpoint_id, "): ", taken.error().message()));
  }
  container.ports = *std::move(taken);
  return {};
}

void Containers::State::publish_ports(Entry& entry) {
  const Container& container = entry.container;
  if (container.ports.empty()) return;
  const auto network = way_out_of(entry);
  if (!network) return;
  const std::string& address = container.endpoints.at(network->name).ip_address;
  engine.rules->publish(container.id, address, container.ports);
  // The one thing that does not work without: the host's own clients at 127.0.0.1.
  (void)allow_loopback_source(address);
}

// Names ------------------------------------------------------------------------------------------

std::string Containers::State::neighbours_text(const Container& container) const {
  std::string lines;
  for (const auto& [name, endpoint] : container.endpoints) {
    const Result<Network> network = engine.networks->find(name);
    if (!network || network->predefined()) continue;
    for (const NetworkMember& member : engine.networks->members(network->id)) {
      if (member.endpoint.ip_address.empty()) continue;
      std::string called;
      for (const std::string& each : member.endpoint.dns_names) {
        // Docker answers for both.
        if (is_plain_text(each)) called += cat(" ", each, " ", each, ".", network->name);
      }
      if (!called.empty()) lines += cat(member.endpoint.ip_address, "\t", called.substr(1), "\n");
    }
  }
  return neighbours_section(lines);
}

void Containers::State::tell_neighbours(const Entry& entry) {
  if (!recovered) return;  // who its neighbours are is not known yet; recover() tells everyone
  std::set<std::string> who;
  for (const auto& [name, endpoint] : entry.container.endpoints) {
    const Result<Network> network = engine.networks->find(name);
    if (!network || network->predefined()) continue;
    for (const NetworkMember& member : engine.networks->members(network->id)) {
      who.insert(member.container);
    }
  }
  if (who.empty()) return;
  for (const std::string& id : who) {
    const EntryRef other = entry_of(id);
    if (!other || !is_up(other->container)) continue;
    (void)refresh_hosts(*other);
  }
  // Those who share a network namespace with one of them have a copy of its file.
  for (const auto& [id, other] : entries) {
    std::string_view mode = other->container.host.network_mode;
    if (take_until(mode, ':') != "container" || !is_up(other->container)) continue;
    if (who.contains(std::string(mode))) (void)write_hosts(*other);
  }
}

// What its own programs have written into the file stays.
Result<> Containers::State::refresh_hosts(Entry& entry) {
  if (entry.container.host.network_mode.starts_with("container:")) return {};  // it is the other's
  const Fd place = TRY(open_directory(entry));
  const Fd file = TRY(sys::open_at(place.get(), "hosts", O_RDWR | O_NOFOLLOW));
  const std::string now = TRY(sys::read_file_at(place.get(), "hosts", hosts_bytes_max));
  const std::string text = replace_neighbours(now, neighbours_text(entry.container));
  if (text == now) return {};
  // Over what is there, and cut behind it: who reads meanwhile never finds it empty.
  for (size_t done = 0; done < text.size();) {
    const ssize_t written =
        ::pwrite(file.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (written < 0) return fail_errno(errno, "pwrite hosts");
    done += static_cast<size_t>(written);
  }
  if (::ftruncate(file.get(), static_cast<off_t>(text.size())) != 0) {
    return fail_errno(errno, "ftruncate hosts");
  }
  return {};
}

}  // namespace nacelle::engine
