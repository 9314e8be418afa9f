#include "core/netns_maker.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <utility>

#include "base/text.h"
#include "codec/flat.h"
#include "core/netns_pool.h"
#include "dns/message.h"
#include "sys/file.h"

namespace nacelle::core {
namespace {

using sys::NetlinkRequest;
using sys::NetlinkSocket;

constexpr uint32_t loopback_index = 1;
constexpr int control_number = 3;

// Addresses are their bytes, in network order: four or sixteen of them.
using Bytes = std::string;

constexpr size_t ipv6_bytes = 16;

uint8_t family_of(const Bytes& address) {
  return address.size() == ipv6_bytes ? AF_INET6 : AF_INET;
}
uint8_t bits_of(const Bytes& address) { return static_cast<uint8_t>(address.size() * 8); }

// What an interface has of one family.
struct Leg {
  Bytes address, gateway;
  uint8_t prefix_len = 0;
  bool is_v6() const { return address.size() == ipv6_bytes; }
};

Result<Bytes> parse_address(const std::string& text, bool v6, std::string_view what) {
  Bytes address = dns::parse_address_bytes(text);
  if (!address.empty() && (address.size() == ipv6_bytes) == v6) return address;
  return fail(Kind::Invalid, cat(what, " '", text, "': not an IPv", v6 ? 6 : 4, " address"));
}

Result<Leg> parse_leg(const std::string& address, const std::string& gateway, uint8_t prefix_len,
                      bool v6) {
  Leg leg;
  leg.address = TRY(parse_address(address, v6, "address"));
  leg.gateway = TRY(parse_address(gateway, v6, "gateway"));
  leg.prefix_len = prefix_len;
  if (prefix_len <= bits_of(leg.address)) return leg;
  return fail(Kind::Invalid, cat("prefix length: above ", bits_of(leg.address)));
}

Result<std::vector<Leg>> legs_of(const Interface& interface) {
  std::vector<Leg> legs;
  // Without any address it is the first that is missing.
  if (!interface.address.empty() || interface.address6.empty()) {
    legs.push_back(
        TRY(parse_leg(interface.address, interface.gateway, interface.prefix_len, false)));
  }
  if (!interface.address6.empty()) {
    legs.push_back(
        TRY(parse_leg(interface.address6, interface.gateway6, interface.prefix_len6, true)));
  }
  return legs;
}

// "02:42:ac:11:00:02" as its six bytes.
Result<std::string> parse_mac(const std::string& text) {
  std::string bytes;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto byte = parse_number<uint8_t>(take_until(rest, ':'), 16);
    if (!byte) break;
    bytes += static_cast<char>(*byte);
  }
  // Six of them, and not a group's address.
  if (bytes.size() == 6 && text.size() == 17 && (bytes[0] & 1) == 0) return bytes;
  return fail(Kind::Invalid, cat("MAC address '", text, "': must be six pairs of digits"));
}

template <class T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string named(std::string_view name) {
  std::string with_end(name);
  with_end += '\0';
  return with_end;
}

// A name nothing else has: a pair that is on its way out may keep its own for a while.
Result<std::string> host_name() {
  uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random)
    return fail_errno(errno, "getrandom");
  std::string name = "nv";
  for (int digit = 0; digit < 12; ++digit, random >>= 4) name += "0123456789abcdef"[random & 15];
  return name;
}

Result<> set_up(NetlinkSocket& socket, uint32_t index) {
  ifinfomsg link{};
  link.ifi_index = static_cast<int>(index);
  link.ifi_flags = link.ifi_change = IFF_UP;
  return socket.change(NetlinkRequest(RTM_SETLINK, 0, link), "setting a link up");
}

Result<> add_address(NetlinkSocket& socket, uint32_t index, const Bytes& address,
                     uint8_t prefix_len) {
  ifaddrmsg fixed{};
  fixed.ifa_family = family_of(address);
  fixed.ifa_prefixlen = prefix_len;
  fixed.ifa_index = index;
  NetlinkRequest request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  request.put(IFA_LOCAL, address).put(IFA_ADDRESS, address);
  // The subnet is not on the link: everything goes by the gateway. Nobody else can have the
  // address there, so of IPv6 nobody is asked whether he has, and it is ready at once.
  const uint32_t unique = fixed.ifa_family == AF_INET6 ? IFA_F_NODAD : 0;
  request.put_number(IFA_FLAGS, uint32_t{IFA_F_NOPREFIXROUTE | IFA_F_PERMANENT} | unique);
  return socket.change(std::move(request), "adding an address");
}

struct Destination {
  Bytes base;
  uint8_t prefix_len = 0;  // 0: everything of its family
};
Destination only(const Bytes& address) { return {.base = address, .prefix_len = bits_of(address)}; }
Destination everything_beside(const Bytes& address) { return {.base = address, .prefix_len = 0}; }
Destination subnet_of(const Leg& leg) {
  Destination subnet{.base = leg.address, .prefix_len = leg.prefix_len};
  for (size_t bit = leg.prefix_len; bit < bits_of(leg.address); ++bit) {
    subnet.base[bit / 8] = static_cast<char>(subnet.base[bit / 8] & ~(0x80 >> bit % 8));
  }
  return subnet;
}

// By the link, or by the gateway behind it.
Result<> add_route(NetlinkSocket& socket, uint32_t index, const Destination& to,
                   const Bytes* gateway) {
  rtmsg fixed{};
  fixed.rtm_family = family_of(to.base);
  fixed.rtm_dst_len = to.prefix_len;
  fixed.rtm_table = RT_TABLE_MAIN;
  fixed.rtm_protocol = RTPROT_BOOT;
  fixed.rtm_scope = gateway != nullptr ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  fixed.rtm_type = RTN_UNICAST;
  // An address may still be routed to a pair that is on its way out.
  NetlinkRequest request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  if (to.prefix_len > 0) request.put(RTA_DST, to.base);
  if (gateway != nullptr) request.put(RTA_GATEWAY, *gateway);
  request.put_number(RTA_OIF, index);
  return socket.change(std::move(request), "adding a route");
}

// Whose MAC address it is, for good: nobody is asked, and who says otherwise is not believed.
Result<> add_neighbour(NetlinkSocket& socket, uint32_t index, const Bytes& address,
                       std::string_view mac) {
  ndmsg fixed{};
  fixed.ndm_family = family_of(address);
  fixed.ndm_ifindex = static_cast<int>(index);
  fixed.ndm_state = NUD_PERMANENT;
  NetlinkRequest request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  request.put(NDA_DST, address).put(NDA_LLADDR, mac);
  return socket.change(std::move(request), "adding a neighbour");
}

// The end that came up first has no carrier until the other is up, and then drops what it is to
// send until a worker of the kernel has seen that, up to a second later. Being asked for its state
// makes it look at once.
Result<> wait_for_carrier(const Fd& socket, const std::string& name) {
  ethtool_value link{};
  link.cmd = ETHTOOL_GLINK;
  ifreq request{};
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_data = reinterpret_cast<char*>(&link);
  if (::ioctl(socket.get(), SIOCETHTOOL, &request) == 0) return {};
  return fail_errno(errno, "ETHTOOL_GLINK");
}

// By name, in the namespace the socket is in.
Result<uint32_t> find_link(NetlinkSocket& socket, const std::string& name) {
  NetlinkRequest request(RTM_GETLINK, 0, ifinfomsg{});
  request.put_name(IFLA_IFNAME, name);
  const sys::NetlinkMessage found = TRY(socket.get(std::move(request), cat("link ", name)));
  return static_cast<uint32_t>(found.fixed<ifinfomsg>().ifi_index);
}

// Written only where it is not so yet.
Result<> ensure_setting(const char* path) {
  const std::string now = TRY(sys::read_file_at(sys::working_directory, path, 16));
  if (!now.starts_with('0')) return {};
  return sys::write_file_at(sys::working_directory, path, "1");
}

struct Ipv6Setting {
  const char *name, *value;
};
// Of an interface, in the namespace we are in.
Result<> write_settings(const std::string& interface, std::initializer_list<Ipv6Setting> settings) {
  for (const Ipv6Setting& each : settings) {
    const std::string path = cat("/proc/sys/net/ipv6/conf/", interface, '/', each.name);
    TRY(sys::write_file_at(sys::working_directory, path.c_str(), each.value));
  }
  return {};
}

// Its addresses are those that we give it, and no router tells it anything: without a link-local
// address of its own making it has nothing to say by itself, either.
constexpr std::initializer_list<Ipv6Setting> with_ipv6 = {
    {"disable_ipv6", "0"}, {"addr_gen_mode", "1"}, {"accept_ra", "0"}};
constexpr std::initializer_list<Ipv6Setting> without_ipv6 = {{"disable_ipv6", "1"}};

}  // namespace

std::string mac_of_address(const std::string& address) {
  in_addr parsed{};
  if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1) return {};
  std::string mac = "02:42";
  for (const unsigned char byte : bytes_of(parsed)) {
    mac += ':';
    mac += "0123456789abcdef"[byte >> 4];
    mac += "0123456789abcdef"[byte & 15];
  }
  return mac;
}

Result<NetnsMaker> NetnsMaker::open(const std::string& pins) {
  Fd host = TRY(sys::open_at(sys::working_directory, "/proc/self/ns/net", O_RDONLY));
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "socket");
  NetnsMaker maker(std::move(host), TRY(NetlinkSocket::open()), std::move(socket));
  if (!pins.empty()) {
    maker.links_ = TRY(bpf::Links::open(pins).context("programs that watch links"));
  }
  return maker;
}

namespace {

// Asked by programs of the namespace we are in, whose loopback device is up.
Result<Fd> open_asked_socket(int type) {
  Fd made(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return fail_errno(errno, "socket");
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(dns::server_address);
  address.sin_port = htons(dns::socket_port);
  if (type == SOCK_STREAM &&
      ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    return fail_errno(errno, "setsockopt");
  }
  if (::bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno(errno, "binding a socket for names");
  }
  constexpr int backlog = 64;
  if (type == SOCK_STREAM && ::listen(made.get(), backlog) != 0) return fail_errno(errno, "listen");
  return made;
}

// In the order of dns::SetMember.
Result<std::vector<Fd>> open_name_sockets() {
  std::vector<Fd> sockets;
  for (const int type : {SOCK_DGRAM, SOCK_STREAM}) sockets.push_back(TRY(open_asked_socket(type)));
  for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {
    sockets.emplace_back(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!sockets.back()) return fail_errno(errno, "socket");
  }
  return sockets;
}

}  // namespace

Result<std::vector<Fd>> NetnsMaker::serve(const Fd& place) {
  if (::setns(place.get(), CLONE_NEWNET) != 0) return fail_errno(errno, "setns");
  Result<std::vector<Fd>> sockets = open_name_sockets();
  if (::setns(host_.get(), CLONE_NEWNET) != 0) return fail_errno(errno, "setns to the host");
  return sockets;
}

Result<std::vector<Fd>> NetnsMaker::make(std::vector<Interface>& interfaces, bool serves) {
  // unshare(2) moves us there; what is to be done inside needs sockets of inside only.
  if (::unshare(CLONE_NEWNET) != 0) return fail_errno(errno, "unshare of a network namespace");
  Result<Fd> there = sys::open_at(sys::working_directory, "/proc/self/ns/net", O_RDONLY);
  Result<NetlinkSocket> inside = NetlinkSocket::open();
  const Result<> up = inside ? set_up(*inside, loopback_index) : Result<>();
  Result<std::vector<Fd>> sockets = std::vector<Fd>();
  if (serves) sockets = open_name_sockets();
  if (::setns(host_.get(), CLONE_NEWNET) != 0) return fail_errno(errno, "setns to the host");
  NetlinkSocket socket = TRY(std::move(inside));
  TRY(up);
  std::vector<Fd> made = TRY(std::move(sockets));
  const Fd& descriptor = *made.insert(made.begin(), TRY(std::move(there)));
  uint32_t index = loopback_index;
  Families has;
  for (Interface& each : interfaces) {
    TRY(connect(each, descriptor, socket, ++index, has).context([&] {
      return cat("interface ", each.name, " of network ", each.network);
    }));
  }
  return made;
}

Result<> NetnsMaker::add(const Fd& place, std::vector<Interface>& interfaces,
                         const std::vector<Interface>& rest) {
  NetlinkSocket inside = TRY(NetlinkSocket::open_in(place));
  const Fd there = TRY(inside.open_namespace());
  Families has;
  for (const Interface& each : rest) {
    has.v4 |= !each.internal && !each.address.empty();
    has.v6 |= !each.internal && !each.address6.empty();
  }
  for (Interface& each : interfaces) {
    TRY(connect(each, there, inside, 0, has).context([&] {
      return cat("interface ", each.name, " of network ", each.network);
    }));
  }
  return {};
}

Result<> NetnsMaker::remove(const Fd& place, const std::vector<Interface>& interfaces,
                            const std::vector<Interface>& rest) {
  NetlinkSocket inside = TRY(NetlinkSocket::open_in(place));
  for (const Interface& each : interfaces) {
    const uint32_t index = TRY(find_link(inside, each.name));
    ifinfomsg link{};
    link.ifi_index = static_cast<int>(index);
    // The other end goes with it.
    TRY(inside.change(NetlinkRequest(RTM_DELLINK, 0, link), "removing a link"));
  }
  TRY(forget(interfaces));
  Families has;
  for (const Interface& each : rest) {
    for (const Leg& leg : TRY(legs_of(each))) {
      if (each.internal || std::exchange(has.of(leg.is_v6()), true)) continue;
      const uint32_t index = TRY(find_link(inside, each.name));
      TRY(add_route(inside, index, everything_beside(leg.address), &leg.gateway));
    }
  }
  return {};
}

Result<> NetnsMaker::forget(const std::vector<Interface>& interfaces) {
  for (const Interface& each : interfaces) {
    if (links_ && each.link != 0) TRY(links_->remove(each.link));
  }
  return {};
}

// From here on its packets are those of this address and network, or nobody's.
Result<> NetnsMaker::watch(const Interface& interface, const sys::NetlinkMessage& host_end) {
  if (!links_) return {};
  const std::string_view host_mac = host_end.attribute(sizeof(ifinfomsg), IFLA_ADDRESS);
  const std::string mac = TRY(parse_mac(interface.mac));
  nacelle_link row{};
  row.network = bpf::network_number(interface.network);
  row.link = interface.link;
  row.policy = interface.policy;
  row.peer = sys::netlink_number<uint32_t>(host_end.attribute(sizeof(ifinfomsg), IFLA_LINK));
  for (const Leg& leg : TRY(legs_of(interface))) {
    void* const address = leg.is_v6() ? static_cast<void*>(&row.address6) : &row.address;
    void* const gateway = leg.is_v6() ? static_cast<void*>(&row.gateway6) : &row.gateway;
    std::memcpy(address, leg.address.data(), leg.address.size());
    std::memcpy(gateway, leg.gateway.data(), leg.gateway.size());
  }
  if (interface.internal) row.flags |= NACELLE_LINK_INTERNAL;
  if (interface.isolated) row.flags |= NACELLE_LINK_ISOLATED;
  mac.copy(reinterpret_cast<char*>(row.mac), sizeof row.mac);
  host_mac.copy(reinterpret_cast<char*>(row.host_mac), sizeof row.host_mac);
  return links_->add(row);
}

// As Docker has it: where a network has no IPv6, its interface has none either.
Result<> NetnsMaker::set_ipv6(const Interface& interface, const std::string& host_name,
                              const Fd& there) {
  const bool has_it = !interface.address6.empty();
  if (has_it) TRY(write_settings(host_name, with_ipv6));
  if (::setns(there.get(), CLONE_NEWNET) != 0) return fail_errno(errno, "setns");
  const Result<> set = write_settings(interface.name, has_it ? with_ipv6 : without_ipv6);
  if (::setns(host_.get(), CLONE_NEWNET) != 0) return fail_errno(errno, "setns to the host");
  // A kernel that has no IPv6 has nothing to be turned off.
  return set || (!has_it && set.error().error_number() == ENOENT) ? Result<>() : set;
}

// Routing between links is what a routed network is.
Result<> NetnsMaker::allow_forwarding(const Interface& interface) {
  if (!interface.address.empty() && !std::exchange(forwards_.v4, true)) {
    TRY(ensure_setting("/proc/sys/net/ipv4/ip_forward").context("net.ipv4.ip_forward"));
  }
  if (!interface.address6.empty() && !std::exchange(forwards_.v6, true)) {
    TRY(ensure_setting("/proc/sys/net/ipv6/conf/all/forwarding").context("net.ipv6 forwarding"));
  }
  return {};
}

Result<> NetnsMaker::connect(Interface& interface, const Fd& there, NetlinkSocket& inside,
                             uint32_t index, Families& has) {
  const std::vector<Leg> legs = TRY(legs_of(interface));
  if (interface.name.empty() || interface.name.size() >= IFNAMSIZ) {
    return fail(Kind::Invalid, cat("interface name '", interface.name, "': 1 to 15 characters"));
  }
  const std::string mac = TRY(parse_mac(interface.mac));
  TRY(allow_forwarding(interface));

  // Both ends in one message, the far one where it is to be. Neither can be up before both are
  // there.
  const std::string name = TRY(host_name());
  ifinfomsg far{};
  far.ifi_index = static_cast<int>(index);
  std::string peer(bytes_of(far));
  peer += sys::netlink_attribute(IFLA_IFNAME, named(interface.name));
  peer += sys::netlink_attribute(IFLA_ADDRESS, mac);
  const int there_number = there.get();
  peer += sys::netlink_attribute(IFLA_NET_NS_FD, bytes_of(there_number));
  if (interface.mtu != 0) peer += sys::netlink_attribute(IFLA_MTU, bytes_of(interface.mtu));
  const std::string info =
      sys::netlink_attribute(IFLA_INFO_KIND, "veth") +
      sys::netlink_attribute(IFLA_INFO_DATA, sys::netlink_attribute(VETH_INFO_PEER, peer));
  NetlinkRequest pair(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
  pair.put_name(IFLA_IFNAME, name).put(IFLA_LINKINFO, info);
  if (interface.mtu != 0) pair.put_number(IFLA_MTU, interface.mtu);
  TRY(netlink_.change(std::move(pair), "making a veth pair"));

  NetlinkRequest request(RTM_GETLINK, 0, ifinfomsg{});
  request.put_name(IFLA_IFNAME, name);
  const sys::NetlinkMessage host_end = TRY(netlink_.get(std::move(request), "the host's end"));
  const std::string host_mac(host_end.attribute(sizeof(ifinfomsg), IFLA_ADDRESS));
  interface.link = static_cast<uint32_t>(host_end.fixed<ifinfomsg>().ifi_index);
  TRY(watch(interface, host_end));
  TRY(set_ipv6(interface, name, there));
  TRY(set_up(netlink_, interface.link));
  for (const Leg& leg : legs) {
    TRY(add_address(netlink_, interface.link, leg.gateway, bits_of(leg.gateway)));
    TRY(add_route(netlink_, interface.link, only(leg.address), nullptr));
    if (leg.is_v6()) TRY(add_neighbour(netlink_, interface.link, leg.address, mac));
  }
  if (index == 0) index = TRY(find_link(inside, interface.name));
  TRY(set_up(inside, index));
  TRY(wait_for_carrier(any_socket_, name));
  for (const Leg& leg : legs) {
    TRY(add_address(inside, index, leg.address, leg.prefix_len));
    TRY(add_route(inside, index, only(leg.gateway), nullptr));
    if (leg.is_v6()) TRY(add_neighbour(inside, index, leg.gateway, host_mac));
    // The first interface that leads anywhere is the way out.
    if (!interface.internal && !std::exchange(has.of(leg.is_v6()), true)) {
      TRY(add_route(inside, index, everything_beside(leg.address), &leg.gateway));
    } else if (leg.prefix_len < bits_of(leg.address)) {
      // Who is in the same network is reached by it, and is told its address, whatever the way out
      // is.
      TRY(add_route(inside, index, subnet_of(leg), &leg.gateway));
    }
  }
  return {};
}

namespace {

// A request with the namespace it is about, if any; nothing at the end.
ssize_t receive_request(const Fd& control, std::string& buffer, Fd& place) {
  iovec part{buffer.data(), buffer.size()};
  alignas(cmsghdr) char rights[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = rights;
  message.msg_controllen = sizeof rights;
  const ssize_t got = ::recvmsg(control.get(), &message, MSG_CMSG_CLOEXEC);
  place = Fd();
  const cmsghdr* header = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    int number = -1;
    std::memcpy(&number, CMSG_DATA(header), sizeof number);
    place = Fd(number);
  }
  return got;
}

// What comes with the answer.
Result<std::vector<Fd>> perform(NetnsMaker& maker, MakeRequest& request, const Fd& place) {
  if (request.task == MakerTask::Make) return maker.make(request.interfaces, request.serves);
  if (request.task == MakerTask::Forget) {
    TRY(maker.forget(request.interfaces));
    return std::vector<Fd>();
  }
  if (!place) return fail(Kind::Invalid, "a request about a namespace came without one");
  if (request.task == MakerTask::Serve) return maker.serve(place);
  TRY(request.task == MakerTask::Add ? maker.add(place, request.interfaces, request.rest)
                                     : maker.remove(place, request.interfaces, request.rest));
  return std::vector<Fd>();
}

}  // namespace

int netns_maker_main(const char* pins) {
  Fd control(control_number);
  Result<NetnsMaker> maker = NetnsMaker::open(pins);
  std::string buffer(maker_packet_bytes_max, '\0');
  for (;;) {
    Fd place;
    const ssize_t got = receive_request(control, buffer, place);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    auto request = codec::flat::decode<MakeRequest>(
        std::string_view(buffer.data(), static_cast<size_t>(got)), "a request for a namespace");
    Result<std::vector<Fd>> made = !maker     ? std::unexpected(maker.error())
                                   : !request ? std::unexpected(request.error())
                                              : perform(*maker, *request, place);
    MakeReply reply;
    if (!made) reply = {static_cast<uint8_t>(made.error().kind()), made.error().message(), {}};
    if (made) {
      for (const Interface& each : request->interfaces) reply.links.push_back(each.link);
    }
    const std::string bytes = codec::flat::encode(reply);

    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char rights[CMSG_SPACE(maker_descriptors_max * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (made && !made->empty()) {
      message.msg_control = rights;
      message.msg_controllen = CMSG_SPACE(made->size() * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(made->size() * sizeof(int));
      for (size_t each = 0; each < made->size(); ++each) {
        const int number = (*made)[each].get();
        std::memcpy(CMSG_DATA(header) + each * sizeof number, &number, sizeof number);
      }
    }
    if (::sendmsg(control.get(), &message, MSG_NOSIGNAL) < 0) return 1;
  }
}

}  // namespace nacelle::core
