#include "engine/networks.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <utility>

#include "base/text.h"
#include "codec/digest.h"
#include "codec/json.h"
#include "codec/json_fields.h"
#include "codec/json_writer.h"
#include "engine/addresses.h"
#include "engine/moment.h"
#include "engine/names.h"
#include "image/disk.h"
#include "sys/file.h"
#include "sys/netlink.h"

namespace nacelle::engine {
namespace {

constexpr size_t record_bytes_max = 1u << 20;
constexpr size_t networks_max = 4096;
constexpr size_t name_bytes_max = 255;
constexpr const char* directory_name = "networks";
constexpr std::string_view mtu_option = "com.docker.network.driver.mtu";

bool is_predefined(std::string_view name) {
  return name == "bridge" || name == "host" || name == "none";
}

// What is kept of a network.
struct Record {
  Network network;
  std::vector<std::string> leased;  // addresses that core has for its pool
  template <class V>
  void describe(V& v) {
    v("Network", network);
    v("Leased", leased);
  }
};

// Addresses ------------------------------------------------------------------------------------

// One subnet's addresses: who is asked for is given out once.
struct Pool {
  Prefix subnet, range;
  Address gateway;
  std::set<AddressNumber> taken;
  AddressNumber hint = 0;  // none below it is free

  bool usable(AddressNumber number) const {
    const Address address{.number = number, .v6 = subnet.base.v6};
    if (!subnet.contains(address) || taken.contains(number)) return false;
    // The network's own address and its broadcast address; RFC 3021 has neither.
    if (subnet.width() - subnet.length < 2) return true;
    if (number == subnet.first().number) return false;
    return subnet.base.v6 || number != subnet.last().number;
  }
  std::optional<Address> take_next() {
    const AddressNumber end = range.last().number;
    for (AddressNumber at = std::max(hint, range.first().number);; ++at) {
      if (usable(at)) {
        taken.insert(at);
        hint = at;
        return Address{.number = at, .v6 = subnet.base.v6};
      }
      if (at >= end) return std::nullopt;
    }
  }
  void free(AddressNumber number) {
    if (number == gateway.number || taken.erase(number) == 0) return;
    hint = std::min(hint, number);
  }
};

// Of a pool whose texts have been checked.
Pool make_pool(const IpamPool& ipam) {
  Pool pool;
  pool.subnet = parse_prefix(ipam.subnet).value_or(Prefix());
  pool.range = parse_prefix(ipam.ip_range).value_or(pool.subnet);
  pool.hint = pool.range.first().number;
  if (const auto gateway = parse_address(ipam.gateway)) {
    pool.gateway = *gateway;
    pool.taken.insert(gateway->number);
  }
  for (const auto& [name, text] : ipam.auxiliary) {
    if (const auto address = parse_address(text)) pool.taken.insert(address->number);
  }
  return pool;
}

// Docker's lines about each pool, in its order.
void check_range(const IpamPool& pool, const Prefix& subnet, std::vector<std::string>& errors) {
  if (pool.ip_range.empty()) return;
  const std::string begin = cat("invalid ip-range ", pool.ip_range, ": ");
  const auto range = parse_prefix(pool.ip_range);
  if (!range) {
    errors.push_back(cat(begin, "invalid CIDR block notation"));
    return;
  }
  if (range->base.v6 != subnet.base.v6) {
    errors.push_back(
        cat(begin, "parent subnet is an ", subnet.base.v6 ? "IPv6" : "IPv4", " block"));
    return;
  }
  if (range->length < subnet.length) {
    errors.push_back(cat(begin, "CIDR block is bigger than its parent subnet ", subnet.text()));
  }
  if (range->base != range->first()) {
    errors.push_back(cat(begin, "it should be ", range->first().text(), '/', range->length));
  }
  if (!subnet.overlaps(*range)) {
    errors.push_back(cat(begin, "parent subnet ", subnet.text(), " doesn't contain ip-range"));
  }
}

void check_inside(std::string_view what, const std::string& text, const Prefix& subnet,
                  std::vector<std::string>& errors) {
  if (text.empty()) return;
  const auto address = parse_address(text);
  if (!address) {
    errors.push_back(cat("invalid ", what, ": invalid address"));
  } else if (address->v6 != subnet.base.v6) {
    errors.push_back(cat("invalid ", what, ": parent subnet is an ",
                         subnet.base.v6 ? "IPv6" : "IPv4", " block"));
  } else if (!subnet.contains(*address)) {
    errors.push_back(
        cat("invalid ", what, ": parent subnet ", subnet.text(), " doesn't contain this address"));
  }
}

Result<> check_pools(const Network& network) {
  std::vector<std::string> errors;
  for (const IpamPool& pool : network.pools) {
    const auto subnet = parse_prefix(pool.subnet);
    if (!subnet) {
      errors.push_back(cat("invalid subnet ", pool.subnet, ": invalid CIDR block notation"));
      continue;
    }
    if (!network.has_family(subnet->base.v6)) continue;
    if (subnet->base != subnet->first()) {
      errors.push_back(cat("invalid subnet ", pool.subnet, ": it should be ",
                           subnet->first().text(), '/', subnet->length));
    }
    check_range(pool, *subnet, errors);
    check_inside(cat("gateway ", pool.gateway), pool.gateway, *subnet, errors);
    for (const auto& [name, address] : pool.auxiliary) {
      check_inside(cat("auxiliary address ", name), address, *subnet, errors);
    }
  }
  if (errors.empty()) return {};
  std::string text = "invalid network config:";
  for (const std::string& each : errors) text += cat('\n', each);
  return fail(Kind::Invalid, std::move(text));
}

// A gateway where none was asked for: the first address that is nobody's.
void choose_gateway(IpamPool& ipam) {
  if (!ipam.gateway.empty()) return;
  Pool pool = make_pool(ipam);
  pool.range = pool.subnet;
  pool.hint = pool.subnet.first().number;
  if (const auto first = pool.take_next()) ipam.gateway = first->text();
}

// What this machine has routes to, besides everything and what every link has of IPv6.
std::vector<Prefix> routed_prefixes(bool v6) {
  std::vector<Prefix> prefixes;
  auto socket = sys::NetlinkSocket::open();
  if (!socket) return prefixes;
  rtmsg wanted{};
  wanted.rtm_family = v6 ? AF_INET6 : AF_INET;
  auto routes = socket->dump(sys::NetlinkRequest(RTM_GETROUTE, 0, wanted), "listing routes");
  if (!routes) return prefixes;
  for (const sys::NetlinkMessage& message : *routes) {
    const auto route = message.fixed<rtmsg>();
    const std::string_view value = message.attribute(sizeof route, RTA_DST);
    if (message.type() != RTM_NEWROUTE || route.rtm_dst_len == 0) continue;
    if (route.rtm_table == RT_TABLE_LOCAL || value.size() != (v6 ? 16 : 4)) continue;
    Prefix prefix{.base = {.number = 0, .v6 = v6}, .length = route.rtm_dst_len};
    for (const char c : value) {
      prefix.base.number = prefix.base.number << 8 | static_cast<unsigned char>(c);
    }
    if (prefix.length <= prefix.width()) prefixes.push_back(prefix);
  }
  return prefixes;
}

bool is_free(const Prefix& wanted, const std::vector<Prefix>& in_use) {
  return std::ranges::none_of(in_use, [&](const Prefix& each) { return each.overlaps(wanted); });
}

// Docker's default pools: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and on.
std::optional<Prefix> choose_ipv4_subnet(const std::vector<Prefix>& in_use) {
  for (unsigned second = 17; second < 32; ++second) {
    const Prefix prefix{.base = {.number = 172u << 24 | second << 16, .v6 = false}, .length = 16};
    if (is_free(prefix, in_use)) return prefix;
  }
  for (unsigned third = 0; third < 256; third += 16) {
    const Prefix prefix{.base = {.number = 192u << 24 | 168u << 16 | third << 8, .v6 = false},
                        .length = 20};
    if (is_free(prefix, in_use)) return prefix;
  }
  return std::nullopt;
}

// Unique local addresses (RFC 4193) of this installation: its global id is made as dockerd makes
// its own, of 40 bits of a digest of who it is.
Prefix local_ipv6_prefix(std::string_view installation) {
  const codec::Digest digest = codec::digest_of(installation);
  const AddressNumber global = parse_number<uint64_t>(digest.hex().substr(6, 10), 16).value_or(0);
  const AddressNumber number = AddressNumber{0xfd} << 120 | global << 80;
  return {.base = {.number = number, .v6 = true}, .length = 48};
}

std::optional<Prefix> choose_ipv6_subnet(const Prefix& local, const std::vector<Prefix>& in_use) {
  for (unsigned subnet = 0; subnet <= 0xffff; ++subnet) {
    const AddressNumber number = local.base.number | AddressNumber{subnet} << 64;
    const Prefix prefix{.base = {.number = number, .v6 = true}, .length = 64};
    if (is_free(prefix, in_use)) return prefix;
  }
  return std::nullopt;
}

// Requests -------------------------------------------------------------------------------------

Result<> check_driver(std::string_view driver) {
  if (driver == "bridge") return {};
  if (driver == "host" || driver == "null") {
    return fail(Kind::Denied, cat("only one instance of \"", driver, "\" network is allowed"));
  }
  if (driver == "overlay") {
    return fail(Kind::Denied,
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm "
                "join\" to connect this node to swarm and try again.");
  }
  return fail(Kind::NotFound, cat("plugin \"", driver, "\" not found"));
}

Result<> check_options(const Network& network) {
  const auto mtu = network.options.find(std::string(mtu_option));
  if (mtu == network.options.end()) return {};
  const auto value = parse_number<uint32_t>(mtu->second);
  if (value && *value <= 65535) return {};
  return fail(Kind::Invalid, cat("invalid value for option ", mtu_option, ": ",
                                 codec::json::in_quotes(mtu->second)));
}

// What check_pools() has passed, and cannot carry packets of IPv6 all the same.
Result<> check_ipv6_pools(const Network& network) {
  size_t count = 0;
  for (const IpamPool& pool : network.pools) {
    const Prefix subnet = parse_prefix(pool.subnet).value_or(Prefix());
    if (!subnet.base.v6 || !network.ipv6) continue;
    const auto first_byte = static_cast<unsigned>(subnet.base.number >> 120);
    const auto first_bits = static_cast<unsigned>(subnet.base.number >> 118);
    if (first_byte == 0xff) {
      return fail(Kind::Invalid, cat("multicast subnet '", pool.subnet, "' is not allowed"));
    }
    if (first_bits == 0xfe80 >> 6) {
      return fail(Kind::Unsupported, cat("link-local subnet '", pool.subnet,
                                         "' is not supported: its addresses cannot be routed"));
    }
    if (subnet.length == subnet.width()) {
      return fail(Kind::Invalid,
                  "failed to allocate gateway (): no available addresses on this pool");
    }
    if (++count > 1) {
      return fail(Kind::Denied, "bridge driver doesn't support multiple subnets");
    }
  }
  return {};
}

Result<> check_name(const std::string& name) {
  if (name == "default" || is_predefined(name)) {
    return fail(Kind::Denied, cat("operation is not permitted on predefined ", name, " network "));
  }
  const bool blank = name.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
  const bool odd = std::ranges::any_of(
      name, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; });
  if (!blank && !odd && name.size() <= name_bytes_max && is_utf8(name)) return {};
  return fail(Kind::Invalid, cat("invalid name: ", blank ? "name is empty" : "not a network's"));
}

}  // namespace

bool Network::is_on(const std::string& option) const {
  const auto found = options.find(option);
  return found == options.end() || found->second == "true" || found->second == "1";
}

bool Network::predefined() const { return is_predefined(name); }

// One network and who is in it.
struct NetworkEntry {
  Network network;
  std::vector<Pool> pools;         // in the order of network.pools
  std::set<AddressNumber> leased;  // to core, for its pool
  bool lease_renewed = false;
  std::map<std::string, NetworkMember> members;  // by container

  const IpamPool* ipam_of(const Address& address) const {
    for (const IpamPool& each : network.pools) {
      const auto subnet = parse_prefix(each.subnet);
      if (subnet && subnet->contains(address)) return &each;
    }
    return nullptr;
  }
  // Those of a family that it does not have are never in use.
  Pool* first_pool(bool v6) {
    const auto found =
        std::ranges::find(pools, v6, [](const Pool& each) { return each.subnet.base.v6; });
    return found == pools.end() ? nullptr : &*found;
  }
  Pool* pool_of(const Address& address) {
    const auto found = std::ranges::find_if(
        pools, [&](const Pool& each) { return each.subnet.contains(address); });
    return found == pools.end() ? nullptr : &*found;
  }
  Pool* pool_of(const std::string& text) {
    const auto address = parse_address(text);
    return address ? pool_of(*address) : nullptr;
  }
  void take(const std::string& text) {
    if (Pool* pool = pool_of(text)) pool->taken.insert(parse_address(text)->number);
  }
  void give_back(const std::string& text) {
    if (Pool* pool = pool_of(text)) pool->free(parse_address(text)->number);
  }
};

struct Networks::State {
  State(Events& events_in) : events(events_in) {}

  Events& events;
  std::function<void()> changed = [] {};
  Fd directory;
  Prefix local_ipv6;                            // out of which subnets are chosen
  std::map<std::string, NetworkEntry> entries;  // by id

  Result<NetworkEntry*> find(const std::string& text);
  Result<> keep(const NetworkEntry& entry);
  Result<> read_records();
  Result<> read_record(const std::string& id);
  Result<> ensure_predefined(const std::string& default_subnet);
  Result<> set_bridge(const std::string& default_subnet);
  NetworkEntry& add(Network network);
  Result<> fill_pools(Network& network) const;
  Result<> ensure_pool(Network& network, bool v6) const;
  Result<Address> choose(NetworkEntry& entry, const Endpoint& wish, bool v6);
  Result<> give_addresses(NetworkEntry& entry, const Endpoint& wish, bool has_ipv4,
                          core::Interface& interface);
  Result<Address> take_wished(NetworkEntry& entry, const std::string& text);
  void tell(const NetworkEntry& entry, std::string action, const std::string& container = {});
  std::vector<Prefix> own_prefixes(bool v6) const;
};

std::vector<Prefix> Networks::State::own_prefixes(bool v6) const {
  std::vector<Prefix> all;
  for (const auto& [id, entry] : entries) {
    for (const Pool& pool : entry.pools) {
      if (pool.subnet.base.v6 == v6) all.push_back(pool.subnet);
    }
  }
  return all;
}

NetworkEntry& Networks::State::add(Network network) {
  NetworkEntry entry;
  for (IpamPool& ipam : network.pools) {
    const auto subnet = parse_prefix(ipam.subnet);
    if (!subnet || !network.has_family(subnet->base.v6)) continue;
    choose_gateway(ipam);  // internal ones of before may have none of IPv6
    entry.pools.push_back(make_pool(ipam));
  }
  std::string id = network.id;
  entry.network = std::move(network);
  return entries.insert_or_assign(std::move(id), std::move(entry)).first->second;
}

// Records --------------------------------------------------------------------------------------

Result<> Networks::State::keep(const NetworkEntry& entry) {
  Record record;
  record.network = entry.network;
  for (const AddressNumber number : entry.leased) {
    record.leased.push_back(Address{.number = number, .v6 = false}.text());
  }
  codec::json::Writer json;
  codec::json::write_fields(json, record);
  return sys::replace_file_at(directory.get(), entry.network.id.c_str(), std::move(json).take(),
                              0600);
}

Result<> Networks::State::read_record(const std::string& id) {
  const std::string text = TRY(sys::read_file_at(directory.get(), id.c_str(), record_bytes_max));
  const auto document = TRY(codec::json::Document::parse(text));
  Record record;
  TRY(codec::json::read_fields(document.root(), record));
  Network& network = record.network;
  if (network.id != id || network.name.empty() || network.name.size() > name_bytes_max) {
    return fail(Kind::Invalid, cat("network ", id, ": its record is of something else"));
  }
  TRY(check_pools(network));
  for (const auto& [other, entry] : entries) {
    if (entry.network.name == network.name) {
      return fail(Kind::Conflict, cat("network ", id, ": ", other, " has the same name"));
    }
  }
  NetworkEntry& entry = add(std::move(network));
  for (const std::string& each : record.leased) {
    const auto address = parse_address(each);
    Pool* pool = address ? entry.pool_of(*address) : nullptr;
    if (pool == nullptr) continue;
    pool->taken.insert(address->number);
    entry.leased.insert(address->number);
  }
  return {};
}

Result<> Networks::State::read_records() {
  std::vector<std::string> names = TRY(image::list_directory(directory));
  std::ranges::sort(names);
  for (const std::string& name : names) {
    const bool is_id =
        name.size() == 64 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!is_id) continue;
    if (entries.size() >= networks_max) break;
    if (read_record(name)) continue;
    // Not removed: a person may read in it what the network was.
    (void)sys::rename_at(directory.get(), name.c_str(), cat(".damaged-", name).c_str());
  }
  return {};
}

Result<> Networks::State::set_bridge(const std::string& default_subnet) {
  const auto bridge = std::ranges::find_if(
      entries, [](const auto& each) { return each.second.network.name == "bridge"; });
  Network network;
  if (bridge != entries.end()) {
    network = bridge->second.network;
    if (default_subnet.empty()) return {};
    const auto wanted = parse_prefix(default_subnet);
    const bool same =
        wanted && network.pools.size() == 1 &&
        network.pools.front().subnet == cat(wanted->first().text(), '/', wanted->length);
    if (same) return {};
    network.pools.clear();
    entries.erase(bridge);
  } else {
    network.id = random_id();
    network.name = network.driver = "bridge";
    network.created = moment_text(now_ns());
    network.options = {{"com.docker.network.bridge.default_bridge", "true"},
                       {"com.docker.network.bridge.enable_icc", "true"},
                       {"com.docker.network.bridge.enable_ip_masquerade", "true"},
                       {"com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"},
                       {"com.docker.network.bridge.name", "nacelle0"},
                       {std::string(mtu_option), "1500"}};
  }
  if (!default_subnet.empty()) {
    const auto wanted = parse_prefix(default_subnet);
    if (!wanted || wanted->base.v6 || wanted->length > 30) {
      return fail(Kind::Invalid, cat("default subnet ", codec::json::in_quotes(default_subnet),
                                     ": not an IPv4 network with room for a container"));
    }
    IpamPool pool;
    pool.subnet = cat(wanted->first().text(), '/', wanted->length);
    if (wanted->base != wanted->first()) pool.gateway = wanted->base.text();
    network.pools.push_back(std::move(pool));
  }
  TRY(fill_pools(network));
  for (IpamPool& each : network.pools) each.chosen_here = true;
  return keep(add(std::move(network)));
}

Result<> Networks::State::ensure_predefined(const std::string& default_subnet) {
  TRY(set_bridge(default_subnet));
  for (const char* name : {"host", "none"}) {
    const bool there = std::ranges::any_of(
        entries, [&](const auto& each) { return each.second.network.name == name; });
    if (there) continue;
    Network network;
    network.id = random_id();
    network.name = name;
    network.driver = network.name == "host" ? "host" : "null";
    network.created = moment_text(now_ns());
    TRY(keep(add(std::move(network))));
  }
  return {};
}

// Networks -------------------------------------------------------------------------------------

Networks::Networks(std::unique_ptr<State> state) : state_(std::move(state)) {}
Networks::~Networks() = default;

Result<std::unique_ptr<Networks>> Networks::open(ring::Loop&, NetworksOptions options,
                                                 Events& events) {
  const Fd root =
      TRY(sys::open_at(sys::working_directory, options.data_root.c_str(), O_RDONLY | O_DIRECTORY));
  TRY(image::ensure_directory(root, directory_name));
  auto state = std::make_unique<State>(events);
  state->local_ipv6 = local_ipv6_prefix(options.installation);
  state->directory = TRY(sys::open_at(root.get(), directory_name, O_RDONLY | O_DIRECTORY));
  TRY(state->read_records());
  TRY(state->ensure_predefined(options.default_subnet));
  return std::unique_ptr<Networks>(new Networks(std::move(state)));
}

void Networks::listen(std::function<void()> changed) { state_->changed = std::move(changed); }

std::vector<Network> Networks::list() const {
  std::vector<Network> all;
  for (const auto& [id, entry] : state_->entries) all.push_back(entry.network);
  std::ranges::sort(all, {}, [](const Network& each) { return std::pair(each.name, each.id); });
  return all;
}

Result<NetworkEntry*> Networks::State::find(const std::string& text) {
  if (const auto exact = entries.find(text); exact != entries.end()) return &exact->second;
  for (auto& [id, entry] : entries) {
    if (entry.network.name == text) return &entry;
  }
  std::vector<NetworkEntry*> begins;
  for (auto at = entries.lower_bound(text);
       !text.empty() && at != entries.end() && at->first.starts_with(text); ++at) {
    begins.push_back(&at->second);
  }
  if (begins.size() == 1) return begins.front();
  if (begins.size() > 1) {
    return fail(Kind::Invalid, cat("network ", text, " is ambiguous (", begins.size(),
                                   " matches found based on ID prefix)"));
  }
  return fail(Kind::NotFound, cat("network ", text, " not found"));
}

Result<Network> Networks::find(const std::string& text) const {
  return TRY(state_->find(text))->network;
}

std::string Networks::default_gateway() const {
  const auto bridge = state_->find("bridge");
  const Pool* const pool = bridge ? (*bridge)->first_pool(false) : nullptr;
  return pool != nullptr ? pool->gateway.text() : std::string();
}

// A subnet of the family where none was asked for, out of what nobody uses.
Result<> Networks::State::ensure_pool(Network& network, bool v6) const {
  const bool has_one = std::ranges::any_of(network.pools, [&](const IpamPool& each) {
    const auto subnet = parse_prefix(each.subnet);
    return subnet && subnet->base.v6 == v6;
  });
  if (has_one || !network.has_family(v6)) return {};
  std::vector<Prefix> used = routed_prefixes(v6);
  const std::vector<Prefix> own = own_prefixes(v6);
  used.insert(used.end(), own.begin(), own.end());
  const auto chosen = v6 ? choose_ipv6_subnet(local_ipv6, used) : choose_ipv4_subnet(used);
  if (!chosen) {
    return fail(Kind::Invalid, "all predefined address pools have been fully subnetted");
  }
  IpamPool pool;
  pool.subnet = chosen->text();
  pool.chosen_here = true;
  network.pools.push_back(std::move(pool));
  return {};
}

Result<> Networks::State::fill_pools(Network& network) const {
  for (const bool v6 : {false, true}) TRY(ensure_pool(network, v6));
  std::vector<Prefix> used = own_prefixes(false);
  const std::vector<Prefix> used_v6 = own_prefixes(true);
  used.insert(used.end(), used_v6.begin(), used_v6.end());
  for (IpamPool& pool : network.pools) {
    const Prefix subnet = parse_prefix(pool.subnet).value_or(Prefix());
    if (!network.has_family(subnet.base.v6)) continue;
    if (!is_free(subnet, used)) {
      return fail(Kind::Denied,
                  "invalid pool request: Pool overlaps with other one on this address space");
    }
    used.push_back(subnet);
    choose_gateway(pool);
  }
  return {};
}

Result<Network> Networks::create(NetworkCreateRequest request) {
  Network& network = request.network;
  TRY(check_name(network.name));
  if (network.driver.empty() || network.driver == "default") network.driver = "bridge";
  TRY(check_driver(network.driver));
  if (network.scope.empty()) network.scope = "local";
  if (network.scope != "local") {
    return fail(Kind::Denied, cat("network scope \"", network.scope, "\" needs a swarm"));
  }
  if (network.ingress) {
    return fail(Kind::Denied,
                "This node is not a swarm manager. Use \"docker swarm init\" or "
                "\"docker swarm join\" to connect this node to swarm and try again.");
  }
  if (network.ipam_driver.empty()) network.ipam_driver = "default";
  if (network.ipam_driver != "default" && network.ipam_driver != "null") {
    return fail(Kind::NotFound, cat("plugin \"", network.ipam_driver, "\" not found"));
  }
  if (!network.ipv4 && !network.ipv6) {
    return fail(Kind::Invalid, "IPv4 or IPv6 must be enabled");
  }
  TRY(check_options(network));
  TRY(check_pools(network));
  TRY(check_ipv6_pools(network));
  // Two networks of one name could not be told apart by it, whatever CheckDuplicate says.
  for (const auto& [id, entry] : state_->entries) {
    if (entry.network.name != network.name) continue;
    return fail(Kind::Conflict, cat("network with name ", network.name, " already exists"));
  }
  if (state_->entries.size() >= networks_max) {
    return fail(Kind::Exhausted, cat("more than ", networks_max, " networks"));
  }
  TRY(state_->fill_pools(network));
  network.id = random_id();
  network.created = moment_text(now_ns());
  NetworkEntry& entry = state_->add(std::move(network));
  if (Result<> kept = state_->keep(entry); !kept) {
    state_->entries.erase(std::string(entry.network.id));
    return std::unexpected(std::move(kept).error());
  }
  state_->tell(entry, "create");
  state_->changed();
  return entry.network;
}

void Networks::State::tell(const NetworkEntry& entry, std::string action,
                           const std::string& container) {
  Labels attributes{{"name", entry.network.name}, {"type", entry.network.driver}};
  if (!container.empty()) attributes["container"] = container;
  events.publish("network", std::move(action), entry.network.id, std::move(attributes));
}

Result<> Networks::remove(const std::string& text) {
  NetworkEntry& entry = *TRY(state_->find(text));
  if (entry.network.predefined()) {
    return fail(Kind::Denied,
                cat(entry.network.name, " is a pre-defined network and cannot be removed"));
  }
  if (!entry.members.empty()) {
    std::string who;
    for (const auto& [container, member] : entry.members) {
      who += cat(who.empty() ? "" : ", ", "name:\"", member.name, "\" id:\"",
                 member.endpoint.endpoint_id.substr(0, 12), '"');
    }
    return fail(Kind::Denied, cat("error while removing network: network ", entry.network.name,
                                  " has active endpoints (", who, ")"));
  }
  const Result<> gone = sys::unlink_at(state_->directory.get(), entry.network.id.c_str());
  if (!gone && gone.error().error_number() != ENOENT) return gone;
  state_->tell(entry, "destroy");
  state_->entries.erase(std::string(entry.network.id));
  state_->changed();
  return {};
}

std::vector<std::string> Networks::prune(const std::function<bool(const Network&)>& chosen) {
  std::vector<std::string> names;
  for (const Network& network : list()) {
    const NetworkEntry& entry = state_->entries.at(network.id);
    if (network.predefined() || !entry.members.empty() || !chosen(network)) continue;
    if (remove(network.id)) names.push_back(network.name);
  }
  return names;
}

std::vector<NetworkMember> Networks::members(const std::string& id) const {
  std::vector<NetworkMember> all;
  const auto found = state_->find(id);
  if (!found) return all;
  for (const auto& [container, member] : (*found)->members) all.push_back(member);
  return all;
}

// Endpoints ------------------------------------------------------------------------------------

namespace {

// As Docker joins errors: each in a line of its own, with a star where there are several.
std::unexpected<Error> bad_endpoint(const std::vector<std::string>& whys) {
  std::string text = "invalid endpoint settings:";
  for (const std::string& each : whys) text += cat('\n', whys.size() > 1 ? "* " : "", each);
  return fail(Kind::Invalid, std::move(text));
}

// Whether this address may be asked for: of a subnet that somebody has asked for.
void check_wished(const NetworkEntry& entry, const std::string& text, bool v6,
                  std::vector<std::string>& errors) {
  if (text.empty()) return;
  const auto address = parse_address(text);
  const IpamPool* const pool = address && address->v6 == v6 ? entry.ipam_of(*address) : nullptr;
  if (pool != nullptr && !pool->chosen_here) return;
  const bool has_one = std::ranges::any_of(entry.network.pools, [&](const IpamPool& each) {
    return !each.chosen_here && each.subnet.contains(':') == v6;
  });
  errors.push_back(has_one ? cat("no configured subnet or ip-range contain the IP address ", text)
                           : "user specified IP address is supported only when connecting to "
                             "networks with user configured subnets");
}

// What can be said without knowing who has which address.
Result<> check_wish(const NetworkEntry& entry, const Endpoint& wish) {
  const EndpointIpamConfig ipam = wish.ipam_config.value_or(EndpointIpamConfig());
  const bool asks = !ipam.ipv4_address.empty() || !ipam.ipv6_address.empty();
  std::vector<std::string> errors;
  if (entry.network.predefined()) {
    if (asks) {
      errors.emplace_back("user specified IP address is supported on user defined networks only");
    }
    if (!wish.aliases.empty()) {
      errors.emplace_back(
          "network-scoped alias is supported only for containers in user defined networks");
    }
  }
  const std::pair<const std::string&, bool> wished[] = {{ipam.ipv4_address, false},
                                                        {ipam.ipv6_address, true}};
  for (const auto& [text, v6] : wished) {
    const auto address = parse_address(text);
    if (text.empty() || (address && address->v6 == v6)) continue;
    errors.push_back(cat("invalid ", v6 ? "IPv6" : "IPv4", " address: ", text));
  }
  for (const auto& [text, v6] : wished) check_wished(entry, text, v6, errors);
  if (!errors.empty()) return bad_endpoint(errors);
  if (!wish.mac_address.empty() && !is_mac(wish.mac_address)) {
    return fail(Kind::Invalid, cat("invalid MAC address: ", wish.mac_address));
  }
  return {};
}

}  // namespace

Result<> Networks::check(const std::string& network, const Endpoint& wish) const {
  return check_wish(*TRY(state_->find(network)), wish);
}

Result<Address> Networks::State::take_wished(NetworkEntry& entry, const std::string& text) {
  const Address address = parse_address(text).value_or(Address());
  Pool* pool = entry.pool_of(address);
  if (pool == nullptr || !pool->usable(address.number)) {
    return fail(Kind::Denied, "Address already in use");
  }
  pool->taken.insert(address.number);
  return address;
}

Result<Address> Networks::State::choose(NetworkEntry& entry, const Endpoint& wish, bool v6) {
  const EndpointIpamConfig ipam = wish.ipam_config.value_or(EndpointIpamConfig());
  const std::string& wished = v6 ? ipam.ipv6_address : ipam.ipv4_address;
  if (!wished.empty()) return take_wished(entry, wished);
  for (Pool& pool : entry.pools) {
    if (pool.subnet.base.v6 != v6) continue;
    if (const auto address = pool.take_next()) return *address;
  }
  return fail(Kind::Exhausted,
              cat("no available IPv", v6 ? 6 : 4, " addresses on this network's address pools: ",
                  entry.network.name, " (", entry.network.id, ")"));
}

// Both or none. `has_ipv4` false: it is not to be chosen here.
Result<> Networks::State::give_addresses(NetworkEntry& entry, const Endpoint& wish, bool has_ipv4,
                                         core::Interface& interface) {
  if (has_ipv4) {
    const Address address = TRY(choose(entry, wish, false));
    const Pool& pool = *entry.pool_of(address);
    interface.address = address.text();
    interface.prefix_len = static_cast<uint8_t>(pool.subnet.length);
    interface.gateway = pool.gateway.text();
    if (interface.mac.empty()) interface.mac = mac_of(address);
  }
  if (entry.first_pool(true) == nullptr) return {};
  const Result<Address> address = choose(entry, wish, true);
  if (!address) {
    entry.give_back(interface.address);
    return std::unexpected(address.error());
  }
  const Pool& pool = *entry.pool_of(*address);
  interface.address6 = address->text();
  interface.prefix_len6 = static_cast<uint8_t>(pool.subnet.length);
  interface.gateway6 = pool.gateway.text();
  if (interface.mac.empty()) interface.mac = mac_of(*address);
  return {};
}

Result<Networks::Joined> Networks::join(const std::string& network, const std::string& container,
                                        const std::string& name, const Endpoint& wish,
                                        unsigned index, bool address_now) {
  NetworkEntry& entry = *TRY(state_->find(network));
  const Network& about = entry.network;
  if (entry.members.contains(container)) {
    return fail(Kind::Denied,
                cat("endpoint with name ", name, " already exists in network ", about.name));
  }
  TRY(check_wish(entry, wish));
  Joined joined;
  Endpoint& endpoint = joined.endpoint;
  core::Interface& interface = joined.interface;
  endpoint = wish;
  endpoint.network_id = about.id;
  if (!entry.pools.empty()) {
    const bool from_core = about.name == "bridge" && wish.mac_address.empty() && !address_now;
    interface.network = about.id;
    interface.name = cat("eth", index);
    interface.mac = wish.mac_address;
    interface.internal = about.internal;
    interface.isolated = !about.allows_neighbours();
    if (const auto mtu = about.options.find(std::string(mtu_option)); mtu != about.options.end()) {
      interface.mtu = parse_number<uint32_t>(mtu->second).value_or(0);
    }
    if (from_core) {
      const Pool& pool = *entry.first_pool(false);
      interface.prefix_len = static_cast<uint8_t>(pool.subnet.length);
      interface.gateway = pool.gateway.text();
    } else {
      TRY(state_->give_addresses(entry, wish, entry.first_pool(false) != nullptr, interface));
      endpoint.ip_address = interface.address;
      endpoint.mac_address = interface.mac;
    }
    endpoint.ip_prefix_len = interface.prefix_len;
    endpoint.gateway = interface.way_out();
    endpoint.global_ipv6_address = interface.address6;
    endpoint.global_ipv6_prefix_len = interface.prefix_len6;
    endpoint.ipv6_gateway = interface.way_out6();
  }
  endpoint.endpoint_id = random_id();
  entry.members[container] = {.container = container, .name = name, .endpoint = endpoint};
  state_->tell(entry, "connect", container);
  return joined;
}

void Networks::join_done(const std::string& network, const std::string& container,
                         const core::Interface& became) {
  const auto found = state_->find(network);
  if (!found) return;
  NetworkEntry& entry = **found;
  const auto member = entry.members.find(container);
  if (member == entry.members.end()) return;
  Endpoint& endpoint = member->second.endpoint;
  endpoint.ip_address = became.address;
  endpoint.ip_prefix_len = became.prefix_len;
  endpoint.gateway = became.way_out();
  const auto address = parse_address(became.address);
  endpoint.mac_address = became.mac;
  if (became.mac.empty() && address) endpoint.mac_address = mac_of(*address);
  entry.take(became.address);
}

void Networks::leave(const std::string& network, const std::string& container) {
  const auto found = state_->find(network);
  if (!found) return;
  NetworkEntry& entry = **found;
  const auto member = entry.members.find(container);
  if (member == entry.members.end()) return;
  const Endpoint& endpoint = member->second.endpoint;
  const auto address = parse_address(endpoint.ip_address);
  // What is core's to give out comes back by address_free().
  if (address && !entry.leased.contains(address->number)) entry.give_back(endpoint.ip_address);
  entry.give_back(endpoint.global_ipv6_address);
  state_->tell(entry, "disconnect", container);
  entry.members.erase(member);
}

void Networks::rename(const std::string& container, const std::string& name) {
  for (auto& [id, entry] : state_->entries) {
    const auto found = entry.members.find(container);
    if (found != entry.members.end()) found->second.name = name;
  }
}

core::PoolRequest Networks::lease_pool(unsigned addresses, unsigned ready) {
  core::PoolRequest request;
  request.ready = ready;
  const auto found = state_->find("bridge");
  if (!found) return request;
  NetworkEntry& entry = **found;
  Pool& pool = *entry.first_pool(false);
  request.network = entry.network.id;
  request.prefix_len = static_cast<uint8_t>(pool.subnet.length);
  request.gateway = pool.gateway.text();
  request.isolated = !entry.network.allows_neighbours();
  const auto mtu = entry.network.options.find(std::string(mtu_option));
  if (mtu != entry.network.options.end()) {
    request.mtu = parse_number<uint32_t>(mtu->second).value_or(0);
  }
  std::set<std::string> in_use;
  for (const auto& [container, member] : entry.members) in_use.insert(member.endpoint.ip_address);
  if (!std::exchange(entry.lease_renewed, true)) {
    for (const AddressNumber number : entry.leased) {
      std::string text = Address{.number = number, .v6 = false}.text();
      if (!in_use.contains(text)) request.addresses.push_back(std::move(text));
    }
  }
  while (request.addresses.size() < addresses) {
    const auto address = pool.take_next();
    if (!address) break;
    entry.leased.insert(address->number);
    request.addresses.push_back(address->text());
  }
  // If this is not kept, an engine after this one may lease the same addresses again: core, which
  // has them, passes over them.
  (void)state_->keep(entry);
  return request;
}

void Networks::address_free(const std::string& network, const std::string& text) {
  const auto found = state_->find(network);
  const auto address = parse_address(text);
  if (!found || !address) return;
  NetworkEntry& entry = **found;
  Pool* pool = entry.pool_of(*address);
  if (pool == nullptr) return;
  // Somebody may have got it meanwhile.
  for (const auto& [container, member] : entry.members) {
    if (member.endpoint.ip_address == text) return;
  }
  entry.leased.erase(address->number);
  pool->free(address->number);
}

void Networks::adopt(const std::string& network, const std::string& container,
                     const std::string& name, const Endpoint& endpoint) {
  const auto found = state_->find(network);
  if (!found) return;
  NetworkEntry& entry = **found;
  entry.members[container] = {.container = container, .name = name, .endpoint = endpoint};
  entry.take(endpoint.ip_address);
  entry.take(endpoint.global_ipv6_address);
}

}  // namespace nacelle::engine
