// Networks of a container that exists: joined and left between its starts and while it runs; its
// published ports.
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "engine/policies.h"
#include "engine/spec_parts.h"

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
  Networks::Joined joined = co_await join(container, network.id, wish, 0);
  if (!engine.policies->is_settled()) co_await engine.policies->settle();
  core::ConnectRequest request;
  request.id = container.id;
  request.interface = std::move(joined.interface);
  request.interface.name.clear();  // core knows which are there
  Endpoints together = container.endpoints;
  joined.endpoint.dns_names = dns_names_of(container, joined.endpoint);
  together[network.name] = joined.endpoint;
  const bool was_answered = is_answered(container.endpoints);
  request.has_names = is_answered(together);
  request.names = names_of(container, together);
  const auto connected = co_await ring::as_result(engine.core->call(std::move(request)));
  if (!connected || !is_up(container)) {
    engine.networks->leave(network.id, container.id);
    if (!connected) co_await fail(connected.error().kind(), connected.error().message());
    co_return;
  }
  const core::Interface& became = connected->interface;
  engine.networks->join_done(network.id, container.id, became);
  engine.policies->link_made(network.id, container.id, became.link);
  Endpoint& endpoint = container.endpoints[network.name];
  endpoint = std::move(joined.endpoint);
  endpoint.ip_address = became.address;
  endpoint.ip_prefix_len = became.prefix_len;
  endpoint.gateway = became.way_out();
  endpoint.mac_address = became.mac;
  entry->attached.push_back(network.name);
  members_changed(container);
  change_files(*entry, was_answered, endpoint, true);
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
  engine.policies->link_gone(network.id, container.id);
  engine.policies->members_changed(network.id);
  const auto left = container.endpoints.extract(network.name);
  std::erase(entry->attached, network.name);
  if (left) change_files(*entry, true, left.mapped(), false);
  save(entry);
  co_await move_ports(entry);
}

// Published ports lead to the address of the way out, which may be another one now, or none.
ring::Task<> Containers::State::move_ports(EntryRef entry) {
  Container& container = entry->container;
  if (container.ports.empty() && container.host.port_bindings.empty()) co_return;
  if (!way_out_of(*entry, false) && !way_out_of(*entry, true)) {
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

constexpr const char* default_address_option = "com.docker.network.bridge.host_binding_ipv4";

}  // namespace

// The network by which it reaches the world, by this family.
std::optional<Network> Containers::State::way_out_of(const Entry& entry, bool v6) const {
  for (const std::string& name : entry.attached) {
    Result<Network> network = engine.networks->find(name);
    if (!network || network->internal || !network->has_family(v6)) continue;
    // (Of IPv4 the address may be core's to choose. Of IPv6, a network made before may have none.)
    const auto endpoint = entry.container.endpoints.find(name);
    const bool has_none =
        endpoint == entry.container.endpoints.end() || endpoint->second.global_ipv6_address.empty();
    if (!v6 || !has_none) return *std::move(network);
  }
  return std::nullopt;
}

// Every address of the host there is, for the families that the container has; unless the network
// says which.
std::vector<std::string> Containers::State::default_addresses(const Entry& entry) const {
  std::vector<std::string> addresses;
  if (const auto network = way_out_of(entry, false)) {
    const auto option = network->options.find(default_address_option);
    addresses.push_back(option == network->options.end() ? "0.0.0.0" : option->second);
    if (addresses.front() != "0.0.0.0") return addresses;
  }
  if (way_out_of(entry, true)) addresses.emplace_back("::");
  return addresses;
}

// Of a family that the container has not, nothing can be published.
Result<> Containers::State::check_port_families(const Entry& entry) const {
  for (const auto& [key, bindings] : entry.container.host.port_bindings) {
    for (const PortBinding& binding : bindings) {
      const bool v6 = binding.host_ip.contains(':');
      if (binding.host_ip.empty() || way_out_of(entry, v6)) continue;
      return fail(Kind::Unsupported, cat("Bind for ", binding.host_ip, ": the container has no IPv",
                                         v6 ? 6 : 4, " address"));
    }
  }
  return {};
}

Result<> Containers::State::take_ports(Entry& entry) {
  Container& container = entry.container;
  if (container.host.port_bindings.empty() && !container.host.publish_all_ports) return {};
  const std::vector<std::string> addresses = default_addresses(entry);
  if (addresses.empty()) return {};
  Result<PortMap> taken = std::unexpected(Error(Kind::Internal, ""));
  if (Result<> possible = check_port_families(entry); !possible) {
    taken = std::unexpected(std::move(possible).error());
  } else {
    taken = engine.ports->take(container.id, ports_to_publish(container, addresses));
  }
  if (!taken) {
    const auto network = way_out_of(entry, !way_out_of(entry, false));
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
  PublishedTo to;
  if (const auto network = way_out_of(entry, false)) {
    to.address = container.endpoints.at(network->name).ip_address;
  }
  if (const auto network = way_out_of(entry, true)) {
    to.address6 = container.endpoints.at(network->name).global_ipv6_address;
  }
  engine.rules->publish(container.id, to, container.ports);
  // The one thing that does not work without: the host's own clients at 127.0.0.1 and ::1.
  for (const std::string* address : {&to.address, &to.address6}) {
    if (!address->empty()) (void)allow_loopback_source(*address);
  }
}

// Rules that speak of containers by name or label are about other addresses now.
void Containers::State::members_changed(const Container& container) {
  for (const auto& [name, endpoint] : container.endpoints) {
    if (!endpoint.network_id.empty()) engine.policies->members_changed(endpoint.network_id);
  }
}

}  // namespace nacelle::engine
