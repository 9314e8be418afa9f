// Under which names containers on networks of one's own find each other: said to nacelle-core,
// whose worker answers at 127.0.0.11, and what /etc/resolv.conf and /etc/hosts have of it.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/text.h"
#include "engine/container_state.h"
#include "engine/spec_parts.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

constexpr size_t file_bytes_max = 1u << 20;
constexpr size_t name_bytes_max = 253;  // more than that cannot be asked for

bool can_be_asked_for(std::string_view name) {
  return !name.empty() && name.size() <= name_bytes_max && is_plain_text(name);
}

// In place: the file is what is bound into the container. Over what is there, and cut behind it:
// who reads meanwhile never finds it empty.
Result<> write_over(const Fd& place, const char* name, std::string_view text) {
  const Fd file = TRY(sys::open_at(place.get(), name, O_WRONLY | O_NOFOLLOW));
  TRY(sys::write_all(file, text, name));
  if (::ftruncate(file.get(), static_cast<off_t>(text.size())) == 0) return {};
  return fail_errno(errno, cat("ftruncate ", name));
}

}  // namespace

std::string own_host_names(const Container& container) {
  const std::string& hostname = container.config.hostname;
  const std::string& domain = container.config.domainname;
  return domain.empty() ? hostname : cat(hostname, '.', domain, ' ', hostname);
}

std::vector<std::string> dns_names_of(const Container& container, const Endpoint& endpoint) {
  std::vector<std::string> names{container.name};
  const auto add = [&](const std::string& name) {
    if (!name.empty() && !contains(names, name)) names.push_back(name);
  };
  for (const std::string& alias : endpoint.aliases) add(alias);
  add(container.id.substr(0, 12));
  add(container.config.hostname);
  return names;
}

void Containers::State::name_endpoints(Container& container) const {
  for (auto& [name, endpoint] : container.endpoints) {
    const Result<Network> network = engine.networks->find(name);
    if (network && !network->predefined()) {
      endpoint.dns_names = dns_names_of(container, endpoint);
    }
  }
}

bool Containers::State::is_answered(const Endpoints& endpoints) const {
  for (const auto& [name, endpoint] : endpoints) {
    const Result<Network> network = engine.networks->find(name);
    if (network && !network->predefined()) return true;
  }
  return false;
}

dns::Member Containers::State::names_of(const Container& container, const Endpoints& endpoints) {
  dns::Member member;
  for (const auto& [name, endpoint] : endpoints) {
    const Result<Network> network = engine.networks->find(name);
    if (!network) continue;
    dns::Endpoint& one = member.endpoints.emplace_back();
    one.network = network->id;
    one.network_name = network->name;
    if (network->predefined()) continue;
    for (const std::string& each : endpoint.dns_names) {
      if (can_be_asked_for(each)) one.names.push_back(each);
    }
    std::vector<std::string> links = endpoint.links;
    if (container.host.network_mode == name) {
      links.insert(links.end(), container.host.links.begin(), container.host.links.end());
    }
    for (const std::string& each : links) {
      if (auto link = parse_link(each)) {
        one.links.emplace_back(std::move(link->alias), std::move(link->name));
      }
    }
  }
  const std::string& hosts_own = text_of(hosts_resolv_conf);
  member.upstreams = upstreams_of(container.host, hosts_own);
  member.ndots_set = has_ndots_set(container.host, hosts_own);
  return member;
}

ring::Task<> Containers::State::tell_names(EntryRef entry) {
  const Container& container = entry->container;
  if (!is_up(container) || !is_answered(container.endpoints)) co_return;
  core::NamesRequest request;
  request.id = container.id;
  request.names = names_of(container, container.endpoints);
  // It may have ended a moment ago.
  (void)co_await ring::as_result(engine.core->call(std::move(request)));
}

// At a start: by what it is connected to now.
Result<> Containers::State::write_resolv_conf(Entry& entry) {
  const Container& container = entry.container;
  if (is_container(container.host.network_mode)) return {};  // write_hosts() has the other's
  const std::string text = resolv_conf_for(container.host, is_answered(container.endpoints));
  const Fd place = TRY(open_directory(entry));
  const auto known = sys::read_file_at(place.get(), "resolv.conf", text.size() + 1);
  if (known && *known == text) return {};
  return write_over(place, "resolv.conf", text);
}

// Lines that its own programs have written stay, and a resolv.conf that they have changed.
void Containers::State::change_files(Entry& entry, bool was_answered, const Endpoint& endpoint,
                                     bool is_there) {
  const Container& container = entry.container;
  const auto place = open_directory(entry);
  if (!place) return;
  const auto resolv = sys::read_file_at(place->get(), "resolv.conf", file_bytes_max);
  if (!was_answered && is_answered(container.endpoints) && resolv &&
      *resolv == resolv_conf_for(container.host, false)) {
    (void)write_over(*place, "resolv.conf", resolv_conf_for(container.host, true));
  }
  if (auto hosts = sys::read_file_at(place->get(), "hosts", file_bytes_max)) {
    for (const std::string* address : {&endpoint.ip_address, &endpoint.global_ipv6_address}) {
      if (address->empty()) continue;
      const std::string line = cat(*address, '\t', own_host_names(container), '\n');
      const size_t at = hosts->find(line);
      if (is_there && !hosts->empty() && !hosts->ends_with('\n')) *hosts += '\n';
      if (is_there) *hosts += line;
      if (!is_there && at != std::string::npos) hosts->erase(at, line.size());
    }
    (void)write_over(*place, "hosts", *hosts);
  }
  // Those who share its network namespace have copies.
  for (const auto& [id, other] : entries) {
    std::string_view mode = other->container.host.network_mode;
    if (take_until(mode, ':') != "container" || mode != container.id) continue;
    if (is_up(other->container)) (void)write_hosts(*other);
  }
}

}  // namespace nacelle::engine
