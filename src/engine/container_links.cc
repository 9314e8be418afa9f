// --link on the default network, as dockerd still has it: the linked container's address and names
// in /etc/hosts. Who is linked is said by name at the create and looked up at each start.
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "ring/ops.h"

namespace nacelle::engine {

namespace {

constexpr std::string_view container_prefix = "container:";
constexpr std::string_view default_network = "bridge";
// How long a start after a boot waits for those it is linked to, as dockerd's does.
constexpr ring::Duration boot_limit = std::chrono::seconds(5);
constexpr ring::Duration boot_pause = std::chrono::milliseconds(20);

// Names on networks of one's own are another matter: aliases of the endpoint.
bool links_count(const HostConfig& host) {
  const std::string& mode = host.network_mode;
  return mode.empty() || mode == "default" || mode == default_network || mode == "none";
}

// Whose network it is in the end.
ring::Task<EntryRef> owner_of_network(Containers::State* state, std::string name) {
  for (;;) {
    Result<EntryRef> found = co_await ring::as_result(state->find(name));
    if (!found) {
      // No NotFound: clients would take that for the image's.
      co_await fail(Kind::Invalid,
                    cat("could not get container for ", name, ": ", found.error().message()));
    }
    const std::string& mode = (*found)->container.host.network_mode;
    if (!mode.starts_with(container_prefix)) co_return *std::move(found);
    name = mode.substr(container_prefix.size());
  }
}

}  // namespace

Result<LinkName> parse_link(const std::string& text) {
  if (text.empty()) return fail(Kind::Invalid, "empty string specified for links");
  std::string_view alias = text;
  const std::string name(take_until(alias, ':'));
  if (alias.contains(':')) return fail(Kind::Invalid, cat("bad format for links: ", text));
  if (name.starts_with('/')) {
    alias.remove_prefix(alias.rfind('/') + 1);
    return LinkName{name.substr(1), std::string(alias)};
  }
  return LinkName{name, std::string(text.contains(':') ? alias : std::string_view(name))};
}

ring::Task<std::vector<Link>> Containers::State::find_links(const HostConfig& host) {
  std::vector<Link> links;
  if (!links_count(host)) co_return links;
  const std::vector<std::string> asked_for = host.links;
  for (const std::string& text : asked_for) {
    LinkName link = co_await parse_link(text);
    const EntryRef other = co_await owner_of_network(this, std::move(link.name));
    if (other->container.host.network_mode == "host") {
      co_await fail(Kind::Invalid,
                    "conflicting options: host type networking can't be used with links. This "
                    "would result in undefined behavior");
    }
    links.push_back({other, std::move(link.alias)});
  }
  co_return links;
}

ring::Task<> Containers::State::take_links(EntryRef entry) {
  entry->links = co_await find_links(entry->container.host);
  for (const Link& link : entry->links) {
    const EntryRef other = link.container.lock();
    if (!other) continue;
    std::erase_if(other->linked_from, [&](const auto& each) {
      const EntryRef known = each.lock();
      return !known || known == entry;
    });
    other->linked_from.push_back(entry);
  }
}

Result<> Containers::State::check_links(const Entry& entry) const {
  for (const Link& link : entry.links) {
    const EntryRef other = link.container.lock();
    if (other && is_up(other->container)) continue;
    return fail(Kind::Internal, cat("Cannot link to a non running container: /",
                                    other ? other->container.name : std::string(), " AS /",
                                    entry.container.name, '/', link.alias));
  }
  return {};
}

ring::Task<> Containers::State::wait_for_links(EntryRef entry) {
  const Result<> found = co_await ring::as_result(take_links(entry));
  const ring::TimePoint end = loop.now() + boot_limit;
  while (found && !check_links(*entry) && loop.now() < end) {
    co_await ring::sleep_for(loop, boot_pause);
  }
}

std::vector<std::pair<std::string, std::string>> Containers::State::linked_addresses(
    const Entry& entry) const {
  std::vector<std::pair<std::string, std::string>> addresses;
  if (!entry.container.endpoints.contains(std::string(default_network))) return addresses;
  for (const Link& link : entry.links) {
    const EntryRef other = link.container.lock();
    if (!other) continue;
    const Container& linked = other->container;
    const auto endpoint = linked.endpoints.find(std::string(default_network));
    if (endpoint == linked.endpoints.end() || endpoint->second.ip_address.empty()) continue;
    std::string said = cat(link.alias, ' ', linked.config.hostname);
    if (link.alias != linked.name) said += cat(' ', linked.name);
    addresses.emplace_back(endpoint->second.ip_address, std::move(said));
  }
  return addresses;
}

void Containers::State::tell_linked(const Entry& entry) {
  for (const auto& each : entry.linked_from) {
    const EntryRef other = each.lock();
    if (other && !other->gone && is_up(other->container)) (void)write_hosts(*other);
  }
}

}  // namespace nacelle::engine
