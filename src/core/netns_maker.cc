#include "core/netns_maker.h"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
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

#include "base/text.h"
#include "codec/flat.h"
#include "core/netns_pool.h"
#include "sys/file.h"

namespace nacelle::core {
namespace {

using sys::NetlinkRequest;
using sys::NetlinkSocket;

constexpr uint32_t loopback_index = 1;
constexpr int control_number = 3;

Result<in_addr> parse_address(const std::string& text, std::string_view what) {
  in_addr address{};
  if (::inet_pton(AF_INET, text.c_str(), &address) == 1) return address;
  return fail(Kind::Invalid, cat(what, " '", text, "': not an IPv4 address"));
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

Result<> add_address(NetlinkSocket& socket, uint32_t index, in_addr address, uint8_t prefix_len) {
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_prefixlen = prefix_len;
  fixed.ifa_index = index;
  NetlinkRequest request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  request.put(IFA_LOCAL, bytes_of(address)).put(IFA_ADDRESS, bytes_of(address));
  // The subnet is not on the link: everything goes by the gateway.
  request.put_number(IFA_FLAGS, uint32_t{IFA_F_NOPREFIXROUTE | IFA_F_PERMANENT});
  return socket.change(std::move(request), "adding an address");
}

struct Destination {
  in_addr base{};
  uint8_t prefix_len = 0;  // 0: everything
};
Destination only(in_addr address) { return {.base = address, .prefix_len = 32}; }
Destination subnet_of(in_addr address, uint8_t prefix_len) {
  const uint64_t mask = uint64_t{0xffffffff} << (32 - prefix_len);
  address.s_addr &= htonl(static_cast<uint32_t>(mask));
  return {.base = address, .prefix_len = prefix_len};
}

// By the link, or by the gateway behind it.
Result<> add_route(NetlinkSocket& socket, uint32_t index, const Destination& to,
                   const in_addr* gateway) {
  rtmsg fixed{};
  fixed.rtm_family = AF_INET;
  fixed.rtm_dst_len = to.prefix_len;
  fixed.rtm_table = RT_TABLE_MAIN;
  fixed.rtm_protocol = RTPROT_BOOT;
  fixed.rtm_scope = gateway != nullptr ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  fixed.rtm_type = RTN_UNICAST;
  // An address may still be routed to a pair that is on its way out.
  NetlinkRequest request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  if (to.prefix_len > 0) request.put(RTA_DST, bytes_of(to.base));
  if (gateway != nullptr) request.put(RTA_GATEWAY, bytes_of(*gateway));
  request.put_number(RTA_OIF, index);
  return socket.change(std::move(request), "adding a route");
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

bool leads_out(const std::vector<Interface>& interfaces) {
  for (const Interface& each : interfaces) {
    if (!each.internal) return true;
  }
  return false;
}

// Routing between links is what a routed network is; written only where it is not so yet.
Result<> allow_forwarding() {
  constexpr const char* path = "/proc/sys/net/ipv4/ip_forward";
  const std::string now = TRY(sys::read_file_at(sys::working_directory, path, 16));
  if (now.starts_with('1')) return {};
  return sys::write_file_at(sys::working_directory, path, "1");
}

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
  bool has_way_out = false;
  for (Interface& each : interfaces) {
    // The first interface that leads anywhere is the way out.
    const bool is_way_out = !each.internal && !has_way_out;
    has_way_out |= is_way_out;
    TRY(connect(each, descriptor, socket, ++index, is_way_out).context([&] {
      return cat("interface ", each.name, " of network ", each.network);
    }));
  }
  return made;
}

Result<> NetnsMaker::add(const Fd& place, std::vector<Interface>& interfaces,
                         const std::vector<Interface>& rest) {
  NetlinkSocket inside = TRY(NetlinkSocket::open_in(place));
  const Fd there = TRY(inside.open_namespace());
  bool has_way_out = leads_out(rest);
  for (Interface& each : interfaces) {
    const bool is_way_out = !each.internal && !has_way_out;
    has_way_out |= is_way_out;
    TRY(connect(each, there, inside, 0, is_way_out).context([&] {
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
  for (const Interface& each : rest) {
    if (each.internal) continue;
    const in_addr gateway = TRY(parse_address(each.gateway, "gateway"));
    return add_route(inside, TRY(find_link(inside, each.name)), Destination(), &gateway);
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
Result<> NetnsMaker::watch(const Interface& interface, const std::string& host_name) {
  if (!links_) return {};
  NetlinkRequest request(RTM_GETLINK, 0, ifinfomsg{});
  request.put_name(IFLA_IFNAME, host_name);
  const sys::NetlinkMessage found = TRY(netlink_.get(std::move(request), "the host's end"));
  const std::string_view host_mac = found.attribute(sizeof(ifinfomsg), IFLA_ADDRESS);
  const std::string mac = TRY(parse_mac(interface.mac));
  nacelle_link row{};
  row.network = bpf::network_number(interface.network);
  row.link = interface.link;
  row.policy = interface.policy;
  row.peer = sys::netlink_number<uint32_t>(found.attribute(sizeof(ifinfomsg), IFLA_LINK));
  row.address = TRY(parse_address(interface.address, "address")).s_addr;
  row.gateway = TRY(parse_address(interface.gateway, "gateway")).s_addr;
  if (interface.internal) row.flags |= NACELLE_LINK_INTERNAL;
  if (interface.isolated) row.flags |= NACELLE_LINK_ISOLATED;
  mac.copy(reinterpret_cast<char*>(row.mac), sizeof row.mac);
  host_mac.copy(reinterpret_cast<char*>(row.host_mac), sizeof row.host_mac);
  return links_->add(row);
}

Result<> NetnsMaker::connect(Interface& interface, const Fd& there, NetlinkSocket& inside,
                             uint32_t index, bool is_way_out) {
  const in_addr address = TRY(parse_address(interface.address, "address"));
  const in_addr gateway = TRY(parse_address(interface.gateway, "gateway"));
  if (interface.prefix_len > 32) return fail(Kind::Invalid, "prefix length: above 32");
  if (interface.name.empty() || interface.name.size() >= IFNAMSIZ) {
    return fail(Kind::Invalid, cat("interface name '", interface.name, "': 1 to 15 characters"));
  }
  const std::string mac = TRY(parse_mac(interface.mac));
  if (made_++ == 0) TRY(allow_forwarding().context("net.ipv4.ip_forward"));

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

  const unsigned host_index = ::if_nametoindex(name.c_str());
  if (host_index == 0) return fail_errno(errno, cat("if_nametoindex ", name));
  interface.link = host_index;
  TRY(watch(interface, name));
  TRY(set_up(netlink_, host_index));
  TRY(add_address(netlink_, host_index, gateway, 32));
  TRY(add_route(netlink_, host_index, only(address), nullptr));
  if (index == 0) index = TRY(find_link(inside, interface.name));
  TRY(set_up(inside, index));
  TRY(wait_for_carrier(any_socket_, name));
  TRY(add_address(inside, index, address, interface.prefix_len));
  TRY(add_route(inside, index, only(gateway), nullptr));
  if (is_way_out) TRY(add_route(inside, index, Destination(), &gateway));
  // Who is in the same network is reached by it, and is told its address, whatever the way out is.
  if (!is_way_out && interface.prefix_len < 32) {
    TRY(add_route(inside, index, subnet_of(address, interface.prefix_len), &gateway));
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
