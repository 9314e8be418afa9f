// Networks of a container that exists: joined and left between its starts.
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"

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

std::unexpected<Error> running(const Container& container) {
  return fail(Kind::Unsupported,
              cat("container ", container.id.substr(0, 12),
                  " is running: its networks can be changed when it is stopped"));
}

}  // namespace

ring::Task<> Containers::connect_network(std::string text, std::string network, Endpoint endpoint) {
  const Network about = co_await state_->engine.networks->find(network);
  const EntryRef entry = co_await state_->find(std::move(text));
  const Turn turn = co_await state_->take_turn(entry);
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
    co_await running(container);
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
  const Turn turn = co_await state_->take_turn(entry);
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
  if (is_up(container)) co_await running(container);
  container.endpoints.erase(name);
  state_->save(entry);
}

}  // namespace nacelle::engine
