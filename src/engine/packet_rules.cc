#include "engine/packet_rules.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <initializer_list>

#include "base/text.h"
#include "bpf/abi/link.h"
#include "engine/addresses.h"
#include "ring/program.h"
#include "sys/file.h"
#include "sys/netlink.h"
#include "sys/process.h"

namespace nacelle::engine {
namespace {

constexpr std::chrono::seconds nft_patience{20};
constexpr std::array nft_places = {"/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft",
                                   "/usr/bin/nft"};

// An address of every kind there is: what has no other is `published`, what has one `published_at`.
constexpr std::string_view any_address = "0.0.0.0", any_ipv6_address = "::";

// Protocols go by number: names would be looked up in a file that may not be there.
//   within        pairs of subnets whose members may talk to each other: a network with itself
//   networks      every subnet; what goes there otherwise has been published, or is dropped
//   internal      subnets that have no way out, and none in
//   masqueraded   subnets whose packets leave the machine under the machine's own address
//   hairpin       containers that have published something, each with itself: it must not see its
//                 own address as the sender
// Host ends of containers' interfaces are called nv and twelve digits (core/netns_maker.cc). A
// packet from one must come from an address that is routed there.
// The walls are those of bpf/link.bpf.c, which go by links and need none of this; here they hold
// for kernels that take no programs. What the programs cannot see is whether an address was
// translated or something was asked for from outside: that is told them by a mark.
static_assert(NACELLE_MARK_TRANSLATED == 0x20000000);
// Both families have the same table: `$ip`, `$addr` and `$6` stand for what differs by name.
constexpr std::string_view table_text = R"(
table $ip nacelle {
  set within$6 { type $addr . $addr; flags interval; }
  set networks$6 { type $addr; flags interval; }
  set internal$6 { type $addr; flags interval; }
  set masqueraded$6 { type $addr; flags interval; }
  set hairpin$6 { type $addr . $addr; }
  map published$6 { type inet_proto . inet_service : $addr . inet_service; }
  map published_at$6 { type $addr . inet_proto . inet_service : $addr . inet_service; }
  chain arriving {
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" $ip daddr $loopback drop
    iifname "nv*" $nobody fib saddr . iif oif missing drop
  }
  chain translate {
    dnat $ip to $ip daddr . meta l4proto . th dport map @published_at$6
    fib daddr type local dnat $ip to meta l4proto . th dport map @published$6
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto { 6, 17, 132 } jump translate
  }
  chain output {
    type nat hook output priority -100; policy accept;
    meta l4proto { 6, 17, 132 } jump translate
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname != "nv*" ct state established,related meta mark set meta mark or 0x20000000
    ct status dnat meta mark set meta mark or 0x20000000
    ct state established,related accept
    $ip saddr . $ip daddr @within$6 accept
    $ip saddr @internal$6 drop
    $ip daddr @internal$6 drop
    ct status dnat accept
    $ip daddr @networks$6 drop
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    $ip saddr . $ip daddr @hairpin$6 masquerade
    $ip saddr $loopback oifname "nv*" masquerade
    $ip saddr @masqueraded$6 $ip daddr != @networks$6 masquerade
  }
}
)";
using Words = std::initializer_list<std::pair<std::string_view, std::string_view>>;
constexpr Words ipv4_words = {{"$ip", "ip"},
                              {"$addr", "ipv4_addr"},
                              {"$6", ""},
                              {"$loopback", "127.0.0.0/8"},
                              {"$nobody", ""}};
// Without an address yet, a link is asked for neighbours and told of groups.
constexpr Words ipv6_words = {{"$ip", "ip6"},
                              {"$addr", "ipv6_addr"},
                              {"$6", "6"},
                              {"$loopback", "::1"},
                              {"$nobody", "ip6 saddr != ::"}};

// As long as no network has IPv6, so that a host whose kernel cannot translate it has networks.
constexpr std::string_view no_ipv6_text = R"(
table ip6 nacelle {
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "nv*" drop
    oifname "nv*" drop
  }
}
)";

std::string table_of(const Words& words) {
  std::string text(table_text);
  for (const auto& [name, word] : words) {
    for (size_t at = text.find(name); at != std::string::npos;
         at = text.find(name, at + word.size())) {
      text.replace(at, name.size(), word);
    }
  }
  return text;
}

// Deleting what is not there is an error, making what is there is none.
constexpr std::string_view no_table_text =
    "table ip nacelle\ndelete table ip nacelle\ntable ip6 nacelle\ndelete table ip6 nacelle\n";

std::string protocol_number(std::string_view key) {
  const std::string_view name = key.substr(std::min(key.find('/'), key.size()));
  return name == "/udp" ? "17" : name == "/sctp" ? "132" : "6";
}

// `add element ip nacelle networks { a, b }`, a line per set.
template <class Elements>
std::string lines_of(std::string_view verb, const Elements& elements) {
  std::string text, last;
  for (const auto& [set, element] : elements) {
    if (set != last) {
      const std::string_view family = set.ends_with('6') ? "ip6" : "ip";
      text += cat(last.empty() ? "" : " }\n", verb, " element ", family, " nacelle ", set, " { ");
    } else {
      text += ", ";
    }
    text += element;
    last = set;
  }
  if (!last.empty()) text += " }\n";
  return text;
}

Result<Fd> find_nft() {
  for (const char* place : nft_places) {
    if (auto program = sys::open_at(sys::working_directory, place, O_PATH)) return program;
  }
  return fail(Kind::Unavailable, "nft is not there: networks need it (Debian's package nftables)");
}

Result<Fd> memory_file(const char* name, std::string_view text) {
  Fd file(::memfd_create(name, MFD_CLOEXEC));
  if (!file) return fail_errno(errno, "memfd_create");
  if (!text.empty()) TRY(sys::write_all(file, text, name));
  return file;
}

// Names of addresses as sets have them.
std::string set_of(std::string_view name, bool v6) { return cat(name, v6 ? "6" : ""); }

// UDP has no connections, but the kernel remembers where what went, and goes on so for as long as
// somebody sends: with a port that now leads elsewhere, it has to forget. By Linux 6.11; before,
// such a flow ends when it has been quiet for half a minute or two.
Result<> forget_udp_flows(uint16_t port, uint8_t family) {
  constexpr uint32_t by_protocol = 1u << 3, by_port_to = 1u << 5;  // CTA_FILTER_F_CTA_PROTO_*
  constexpr uint8_t udp = IPPROTO_UDP;
  const uint16_t port_to = htons(port);
  const nfgenmsg fixed{.nfgen_family = family, .version = 1, .res_id = 0};
  const auto type = static_cast<uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE);
  sys::NetlinkRequest request(type, 0, fixed);
  const std::string which = sys::netlink_attribute_number(CTA_PROTO_NUM, udp) +
                            sys::netlink_attribute_number(CTA_PROTO_DST_PORT, port_to);
  request.put(CTA_TUPLE_ORIG | NLA_F_NESTED,
              sys::netlink_attribute(CTA_TUPLE_PROTO | NLA_F_NESTED, which));
  request.put(CTA_FILTER | NLA_F_NESTED,
              sys::netlink_attribute_number(CTA_FILTER_ORIG_FLAGS, by_protocol | by_port_to));
  sys::NetlinkSocket socket = TRY(sys::NetlinkSocket::open(NETLINK_NETFILTER));
  return socket.change(std::move(request), "forgetting flows");
}

// Of the ports that have come or gone.
void forget_flows(const RuleElements& before, const RuleElements& now) {
  std::vector<RuleElements::value_type> changed;
  std::ranges::set_symmetric_difference(before, now, std::back_inserter(changed));
  std::set<std::pair<uint8_t, uint16_t>> ports;
  for (const auto& [set, element] : changed) {
    std::string_view rest = element;  // "17 . 53 : ..." or "192.0.2.1 . 17 . 53 : ..."
    if (set.starts_with("published_at")) {
      rest.remove_prefix(std::min(rest.find(" . ") + 3, rest.size()));
    }
    if (!set.starts_with("published") || !rest.starts_with("17 . ")) continue;
    rest.remove_prefix(5);
    ports.emplace(set.ends_with('6') ? AF_INET6 : AF_INET,
                  parse_number<uint16_t>(take_until(rest, ' ')).value_or(0));
  }
  for (const auto& [family, port] : ports) {
    if (!forget_udp_flows(port, family)) break;
  }
}

}  // namespace

// Values -----------------------------------------------------------------------------------------

RuleElements elements_of_networks(const std::vector<Network>& networks) {
  RuleElements elements;
  for (const Network& network : networks) {
    std::vector<std::pair<std::string, bool>> subnets;  // and whether it is of IPv6
    for (const IpamPool& pool : network.pools) {
      const auto subnet = parse_prefix(pool.subnet);
      if (!subnet || !network.has_family(subnet->base.v6)) continue;
      subnets.emplace_back(cat(subnet->first().text(), '/', subnet->length), subnet->base.v6);
    }
    for (const auto& [subnet, v6] : subnets) {
      elements.emplace(set_of("networks", v6), subnet);
      if (network.internal) {
        elements.emplace(set_of("internal", v6), subnet);
      } else if (network.is_on("com.docker.network.bridge.enable_ip_masquerade")) {
        elements.emplace(set_of("masqueraded", v6), subnet);
      }
      if (!network.allows_neighbours()) continue;
      for (const auto& [other, other_v6] : subnets) {
        if (other_v6 == v6) elements.emplace(set_of("within", v6), cat(subnet, " . ", other));
      }
    }
  }
  return elements;
}

RuleElements elements_of_ports(const PublishedTo& to, const PortMap& ports) {
  RuleElements elements;
  for (const auto& [key, bindings] : ports) {
    const std::string protocol = protocol_number(key);
    const std::string_view port = std::string_view(key).substr(0, key.find('/'));
    for (const PortBinding& binding : bindings) {
      const bool v6 = binding.host_ip.contains(':');
      const std::string& address = v6 ? to.address6 : to.address;
      if (address.empty()) continue;
      const std::string target = cat(address, " . ", port);
      const std::string from = cat(protocol, " . ", binding.host_port);
      if (binding.host_ip == (v6 ? any_ipv6_address : any_address)) {
        elements.emplace(set_of("published", v6), cat(from, " : ", target));
      } else {
        elements.emplace(set_of("published_at", v6),
                         cat(binding.host_ip, " . ", from, " : ", target));
      }
      elements.emplace(set_of("hairpin", v6), cat(address, " . ", address));
    }
  }
  return elements;
}

std::string batch_of_all(const RuleElements& wanted) {
  const bool has_ipv6 =
      std::ranges::any_of(wanted, [](const auto& each) { return each.first.ends_with('6'); });
  return cat(no_table_text, table_of(ipv4_words),
             has_ipv6 ? table_of(ipv6_words) : std::string(no_ipv6_text), lines_of("add", wanted));
}

std::string batch_of_difference(const RuleElements& known, const RuleElements& wanted) {
  std::vector<RuleElements::value_type> gone, come;
  std::ranges::set_difference(known, wanted, std::back_inserter(gone));
  std::ranges::set_difference(wanted, known, std::back_inserter(come));
  return cat(lines_of("delete", gone), lines_of("add", come));
}

// The kernel -------------------------------------------------------------------------------------

PacketRules::PacketRules(ring::Loop& loop)
    : loop_(loop),
      background_(loop, [](const Error&) {}),
      kernel_(background_, [this] { return tell_kernel(); }) {}

void PacketRules::set_networks(const std::vector<Network>& networks) {
  kernel_.begin();
  networks_ = elements_of_networks(networks);
  kernel_.ask();
}

void PacketRules::publish(const std::string& container, const PublishedTo& to,
                          const PortMap& ports) {
  RuleElements elements = elements_of_ports(to, ports);
  if (elements.empty()) return;
  published_[container] = std::move(elements);
  kernel_.ask();
}

void PacketRules::withdraw(const std::string& container) {
  if (published_.erase(container) > 0) kernel_.ask();
}

ring::Task<> PacketRules::tell_kernel() {
  RuleElements wanted = networks_;
  for (const auto& [container, elements] : published_) {
    wanted.insert(elements.begin(), elements.end());
  }
  Result<> told;
  if (!known_ || *known_ != wanted) {
    if (known_) told = co_await ring::as_result(run_nft(batch_of_difference(*known_, wanted)));
    if (!known_ || !told) told = co_await ring::as_result(run_nft(batch_of_all(wanted)));
  }
  if (told) forget_flows(known_.value_or(RuleElements()), wanted);
  known_.reset();
  co_await std::move(told);
  known_ = std::move(wanted);
}

ring::Task<> PacketRules::run_nft(std::string batch) {
  const Fd program = co_await find_nft();
  const Fd input = co_await memory_file("nacelle-rules", batch);
  sys::SpawnOptions options;
  options.program = &program;
  options.arguments = {"nft", "-f", "/proc/self/fd/3"};
  options.descriptors = {&input};
  ring::Ended ended = co_await ring::run_program(loop_, options, nft_patience, "nft");
  if (ended.status == 0) co_return;
  std::ranges::replace(ended.words, '\n', ' ');
  co_await fail(Kind::Internal,
                cat("telling the kernel who may send packets to whom: nft: ", ended.words));
}

ring::Task<> PacketRules::close(bool nothing_runs) {
  background_.cancel();
  co_await background_.join();
  // Without containers there is nothing to be kept apart.
  if (nothing_runs && known_) {
    (void)co_await ring::as_result(run_nft(std::string(no_table_text)));
  }
}

namespace {

// Behind the loopback device's own, and of this link alone.
Result<> add_loopback_route(sys::NetlinkSocket& socket, uint32_t link) {
  constexpr uint32_t metric = 4096;
  rtmsg fixed{};
  fixed.rtm_family = AF_INET6;
  fixed.rtm_dst_len = 128;
  fixed.rtm_table = RT_TABLE_LOCAL;
  fixed.rtm_protocol = RTPROT_BOOT;
  fixed.rtm_type = RTN_LOCAL;
  sys::NetlinkRequest request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_APPEND, fixed);
  request.put_number(RTA_DST, in6addr_loopback);
  request.put_number(RTA_OIF, link).put_number(RTA_PRIORITY, metric);
  Result<> added = socket.change(std::move(request), "a route to ::1");
  return !added && added.error().error_number() == EEXIST ? Result<>() : added;
}

}  // namespace

Result<> allow_loopback_source(const std::string& address) {
  const auto parsed = parse_address(address);
  std::array<char, sizeof(in6_addr)> to{};
  if (!parsed || ::inet_pton(parsed->v6 ? AF_INET6 : AF_INET, address.c_str(), to.data()) != 1) {
    return fail(Kind::Invalid, cat("address '", address, "'"));
  }
  sys::NetlinkSocket socket = TRY(sys::NetlinkSocket::open());
  rtmsg fixed{};
  fixed.rtm_family = parsed->v6 ? AF_INET6 : AF_INET;
  fixed.rtm_dst_len = parsed->v6 ? 128 : 32;
  sys::NetlinkRequest request(RTM_GETROUTE, 0, fixed);
  request.put(RTA_DST, {to.data(), fixed.rtm_dst_len / 8u});
  const sys::NetlinkMessage route =
      TRY(socket.get(std::move(request), cat("the route to ", address)));
  const auto index = sys::netlink_number<uint32_t>(route.attribute(sizeof fixed, RTA_OIF));
  if (parsed->v6) return add_loopback_route(socket, index);
  char name[IF_NAMESIZE] = {};
  if (::if_indextoname(index, name) == nullptr) return fail_errno(errno, "if_indextoname");
  const std::string path = cat("/proc/sys/net/ipv4/conf/", name, "/route_localnet");
  return sys::write_file_at(sys::working_directory, path.c_str(), "1");
}

}  // namespace nacelle::engine
