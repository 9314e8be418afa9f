#include "dns/table.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "dns/message.h"

namespace nacelle::dns {
namespace {

void make_small(std::string& text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
}

}  // namespace

void Table::set(const std::string& id, Member member) {
  remove(id);
  for (Endpoint& endpoint : member.endpoints) {
    make_small(endpoint.network_name);
    for (std::string& name : endpoint.names) make_small(name);
    for (auto& [alias, name] : endpoint.links) {
      make_small(alias);
      make_small(name);
    }
  }
  const Member& known = members_.emplace(id, std::move(member)).first->second;
  for (const Endpoint& endpoint : known.endpoints) add(known, endpoint);
}

void Table::add(const Member& member, const Endpoint& endpoint) {
  Network& network = networks_[endpoint.network];
  network.name = endpoint.network_name;
  for (const std::string& text : endpoint.addresses) {
    const std::string address = parse_address_bytes(text);
    if (address.empty()) continue;
    for (const std::string& name : endpoint.names) {
      network.names[name].push_back({&member, address});
    }
    if (!endpoint.names.empty()) {
      network.addresses[address].emplace_back(&member, endpoint.names.front());
    }
  }
}

void Table::take_out(const Member& member) {
  for (const Endpoint& endpoint : member.endpoints) {
    const auto found = networks_.find(endpoint.network);
    if (found == networks_.end()) continue;
    Network& network = found->second;
    for (const std::string& name : endpoint.names) {
      const auto holders = network.names.find(name);
      if (holders == network.names.end()) continue;
      std::erase_if(holders->second,
                    [&](const Holder& holder) { return holder.member == &member; });
      if (holders->second.empty()) network.names.erase(holders);
    }
    for (const std::string& text : endpoint.addresses) {
      const auto names = network.addresses.find(parse_address_bytes(text));
      if (names == network.addresses.end()) continue;
      std::erase_if(names->second, [&](const auto& each) { return each.first == &member; });
      if (names->second.empty()) network.addresses.erase(names);
    }
    if (network.names.empty() && network.addresses.empty()) networks_.erase(found);
  }
}

void Table::remove(const std::string& id) {
  const auto found = members_.find(id);
  if (found == members_.end()) return;
  take_out(found->second);
  members_.erase(found);
}

const Member* Table::find(const std::string& id) const {
  const auto found = members_.find(id);
  return found == members_.end() ? nullptr : &found->second;
}

// The first network that knows the name decides. `network_name`: only on the one that is called
// that; empty: on each.
std::vector<std::string_view> Table::look(const Member& asker, std::string_view name,
                                          std::string_view network_name) const {
  std::vector<std::string_view> addresses;
  const auto take = [&](const Endpoint& endpoint, std::string_view wanted) {
    const auto network = networks_.find(endpoint.network);
    if (network == networks_.end()) return false;
    const auto holders = network->second.names.find(wanted);
    if (holders == network->second.names.end()) return false;
    for (const Holder& holder : holders->second) addresses.push_back(holder.address);
    return true;
  };
  const auto alias_on = [&](const Endpoint& endpoint) {
    return std::ranges::find(endpoint.links, name, [](const auto& link) { return link.first; });
  };
  // Its own names for others come first, and hide what they are the same as.
  for (const bool own : {true, false}) {
    for (const Endpoint& endpoint : asker.endpoints) {
      if (!network_name.empty() && network_name != endpoint.network_name) continue;
      const auto alias = alias_on(endpoint);
      if ((alias != endpoint.links.end()) != own) continue;
      if (take(endpoint, own ? std::string_view(alias->second) : name)) return addresses;
    }
  }
  return addresses;
}

std::vector<std::string_view> Table::resolve(const Member& asker, std::string_view name) const {
  std::vector<std::string_view> found = look(asker, name, {});
  for (size_t dot = name.rfind('.'); found.empty() && dot != std::string_view::npos && dot > 0;
       dot = name.rfind('.', dot - 1)) {
    found = look(asker, name.substr(0, dot), name.substr(dot + 1));
  }
  return found;
}

std::string Table::name_of(const Member& asker, std::string_view address) const {
  for (const Endpoint& endpoint : asker.endpoints) {
    const auto network = networks_.find(endpoint.network);
    if (network == networks_.end()) continue;
    const auto names = network->second.addresses.find(address);
    if (names == network->second.addresses.end() || names->second.empty()) continue;
    return cat(names->second.front().second, '.', network->second.name);
  }
  return {};
}

}  // namespace nacelle::dns
