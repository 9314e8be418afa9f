#include "container/net_devices.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "base/text.h"
#include "codec/json.h"
#include "sys/file.h"
#include "sys/netlink.h"

namespace nacelle::container {
namespace {

using sys::NetlinkMessage;
using sys::NetlinkRequest;
using sys::NetlinkSocket;

// A name for the time between two namespaces, so that a template counts from the lowest number that
// is free: the device's own old name would count as taken.
constexpr std::string_view passing_name = "nacelle%d";
// What the kernel calls a device that comes home to a name taken meanwhile.
constexpr std::string_view homeless_name = "dev%d";

// What of an address is its owner's choice. The rest of its flags the kernel finds by itself.
constexpr uint32_t chosen_flags = IFA_F_NODAD | IFA_F_OPTIMISTIC | IFA_F_HOMEADDRESS |
                                  IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN;

struct Address {
  ifaddrmsg fixed;
  uint32_t flags = 0;
  std::string local, address, broadcast, anycast, priority, protocol, lifetimes;
  std::string label;

  bool travels() const {
    return (flags & IFA_F_PERMANENT) != 0 && fixed.ifa_scope == RT_SCOPE_UNIVERSE;
  }
};

struct Device {
  std::string host_name;
  std::string name;  // wanted inside, maybe a template
  uint32_t host_index = 0;
  uint32_t index = 0;  // inside
  bool was_up = false;
  uint32_t master = 0;
  std::vector<Address> addresses;

  bool has_template() const { return name.contains('%'); }
  std::string where() const { return cat("linux.netDevices", codec::json::path_step(host_name)); }
};

Result<NetlinkMessage> find_link(NetlinkSocket& socket, std::string_view name) {
  NetlinkRequest request(RTM_GETLINK, 0, ifinfomsg{});
  return socket.get(std::move(request.put_name(IFLA_IFNAME, name)), "looking for the device");
}

Result<NetlinkMessage> find_link(NetlinkSocket& socket, uint32_t index) {
  ifinfomsg link{};
  link.ifi_index = static_cast<int>(index);
  return socket.get(NetlinkRequest(RTM_GETLINK, 0, link), "looking for the device");
}

bool is_absent(const Error& error) { return error.error_number() == ENODEV; }

NetlinkRequest set_link(uint32_t index, unsigned flags = 0) {
  ifinfomsg link{};
  link.ifi_index = static_cast<int>(index);
  link.ifi_flags = flags;
  link.ifi_change = flags;
  return NetlinkRequest(RTM_SETLINK, 0, link);
}

Result<std::set<uint32_t>> read_link_indexes(NetlinkSocket& socket) {
  std::set<uint32_t> indexes;
  for (const NetlinkMessage& link :
       TRY(socket.dump(NetlinkRequest(RTM_GETLINK, 0, ifinfomsg{}), "listing devices"))) {
    indexes.insert(static_cast<uint32_t>(link.fixed<ifinfomsg>().ifi_index));
  }
  return indexes;
}

Address read_address(const NetlinkMessage& message) {
  const auto value = [&](uint16_t type) {
    return std::string(message.attribute(sizeof(ifaddrmsg), type));
  };
  Address one;
  one.fixed = message.fixed<ifaddrmsg>();
  one.flags = sys::netlink_number<uint32_t>(value(IFA_FLAGS), one.fixed.ifa_flags);
  one.local = value(IFA_LOCAL);
  one.address = value(IFA_ADDRESS);
  one.broadcast = value(IFA_BROADCAST);
  one.anycast = value(IFA_ANYCAST);
  one.priority = value(IFA_RT_PRIORITY);
  one.protocol = value(IFA_PROTO);
  one.lifetimes = value(IFA_CACHEINFO);
  one.label = sys::netlink_name(value(IFA_LABEL));
  return one;
}

// In the order in which adding them again gives the same: the kernel puts a new IPv6 address before
// the others, and picks source addresses by that order.
Result<std::vector<Address>> read_addresses(NetlinkSocket& socket, uint32_t index) {
  ifaddrmsg wanted{};
  wanted.ifa_index = index;
  std::vector<Address> found;
  std::vector<Address> ipv6;
  for (const NetlinkMessage& message :
       TRY(socket.dump(NetlinkRequest(RTM_GETADDR, 0, wanted), "listing addresses"))) {
    const auto fixed = message.fixed<ifaddrmsg>();
    if (message.type() != RTM_NEWADDR || fixed.ifa_index != index) continue;
    if (fixed.ifa_family == AF_INET) found.push_back(read_address(message));
    if (fixed.ifa_family == AF_INET6) ipv6.push_back(read_address(message));
  }
  for (; !ipv6.empty(); ipv6.pop_back()) found.push_back(std::move(ipv6.back()));
  return found;
}

Result<> add_address(NetlinkSocket& socket, const Address& address, uint32_t index,
                     std::string_view label) {
  ifaddrmsg fixed = address.fixed;
  fixed.ifa_index = index;
  fixed.ifa_flags = 0;
  NetlinkRequest request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  const auto put = [&](uint16_t type, const std::string& value) {
    if (!value.empty()) request.put(type, value);
  };
  put(IFA_LOCAL, address.local);
  put(IFA_ADDRESS, address.address);
  put(IFA_BROADCAST, address.broadcast);
  put(IFA_ANYCAST, address.anycast);
  put(IFA_RT_PRIORITY, address.priority);
  put(IFA_PROTO, address.protocol);
  if ((address.flags & IFA_F_PERMANENT) == 0) put(IFA_CACHEINFO, address.lifetimes);
  if (!label.empty()) request.put_name(IFA_LABEL, label);
  request.put_number(IFA_FLAGS, address.flags & chosen_flags);
  return socket.change(std::move(request), "adding an address");
}

// "eth0:web" is "c0:web" where eth0 is c0; the plain name is the kernel's to put there.
std::string label_inside(const Address& address, std::string_view host_name,
                         std::string_view name) {
  const std::string_view label = address.label;
  if (label.size() <= host_name.size() || !label.starts_with(host_name)) return {};
  std::string inside = cat(name, label.substr(host_name.size()));
  return inside.size() < IFNAMSIZ ? inside : std::string();
}

}  // namespace

class NetDevices::Impl {
 public:
  Impl(NetlinkSocket host, NetlinkSocket inside)
      : host_(std::move(host)), inside_(std::move(inside)) {}

  ~Impl() {
    for (; !sent_.empty(); sent_.pop_back()) (void)bring_back(sent_.back());
  }

  void keep() { sent_.clear(); }

  Result<> move(const PlanView& plan) {
    host_namespace_ = TRY(host_.open_namespace());
    namespace_inside_ = TRY(inside_.open_namespace());
    if (TRY(sys::stat_fd(host_namespace_)).st_ino == TRY(sys::stat_fd(namespace_inside_)).st_ino) {
      return fail(Kind::Invalid,
                  "linux.netDevices: the container's network namespace is the runtime's own");
    }
    // Whatever can be seen to be wrong is seen before anything moves.
    indexes_ = TRY(read_link_indexes(inside_));
    std::vector<Device> devices;
    for (const NetDeviceStep& step : plan.items(plan.header().net_devices)) {
      Device device;
      device.host_name = plan.view(step.host_name);
      device.name = plan.view(step.name);
      TRY(look_at(device).context([&] { return device.where(); }));
      devices.push_back(std::move(device));
    }
    for (Device& device : devices) {
      const std::string where = device.where();
      TRY(send(std::move(device)).context(where));
    }
    return {};
  }

 private:
  Result<> look_at(Device& device) {
    const NetlinkMessage link = TRY(find_link(host_, device.host_name));
    const auto fixed = link.fixed<ifinfomsg>();
    if ((fixed.ifi_flags & IFF_LOOPBACK) != 0) {
      return fail(Kind::Invalid, "a loopback device cannot leave its network namespace");
    }
    device.host_index = static_cast<uint32_t>(fixed.ifi_index);
    device.was_up = (fixed.ifi_flags & IFF_UP) != 0;
    device.master = sys::netlink_number<uint32_t>(link.attribute(sizeof(ifinfomsg), IFLA_MASTER));
    device.addresses = TRY(read_addresses(host_, device.host_index));
    // The kernel would choose a number by itself, and not say which.
    const bool taken = indexes_.contains(device.host_index);
    device.index = taken ? *indexes_.rbegin() + 1 : device.host_index;
    indexes_.insert(device.index);
    if (device.has_template()) return {};
    const auto there = find_link(inside_, device.name);
    if (there) {
      return fail(Kind::Conflict, cat("the container's network namespace has a device '",
                                      device.name, "' already"));
    }
    if (!is_absent(there.error())) return std::unexpected(there.error());
    return {};
  }

  Result<> send(Device one) {
    sent_.push_back(std::move(one));
    const Device& device = sent_.back();
    const bool numbered = device.has_template();
    NetlinkRequest request = set_link(device.host_index);
    request.put_number(IFLA_NET_NS_FD, namespace_inside_.get());
    request.put_number(IFLA_NEW_IFINDEX, device.index);
    request.put_name(IFLA_IFNAME, numbered ? passing_name : std::string_view(device.name));
    TRY(host_.change(std::move(request), cat("moving it as '", device.name, "'")));
    if (numbered) {
      TRY(inside_.change(std::move(set_link(device.index).put_name(IFLA_IFNAME, device.name)),
                         cat("naming it '", device.name, "'")));
    }
    const NetlinkMessage link = TRY(find_link(inside_, device.index));
    const std::string_view name = sys::netlink_name(link.attribute(sizeof(ifinfomsg), IFLA_IFNAME));
    for (const Address& address : device.addresses) {
      if (!address.travels()) continue;
      TRY(add_address(inside_, address, device.index,
                      label_inside(address, device.host_name, name)));
    }
    return inside_.change(set_link(device.index, IFF_UP), "setting it up");
  }

  Result<> bring_back(const Device& device) {
    // A move that failed may have left it where it was, or have done all but the rename.
    if (!find_link(host_, device.host_index)) {
      const auto request = [&](std::string_view name) {
        NetlinkRequest back = set_link(device.index);
        back.put_number(IFLA_NET_NS_FD, host_namespace_.get());
        back.put_number(IFLA_NEW_IFINDEX, device.host_index);
        return std::move(back.put_name(IFLA_IFNAME, name));
      };
      const auto moved = inside_.change(request(device.host_name), "moving a device back");
      if (!moved) TRY(inside_.change(request(homeless_name), "moving a device back"));
    }
    if (device.master != 0) {
      (void)host_.change(
          std::move(set_link(device.host_index).put_number(IFLA_MASTER, device.master)),
          "setting its master");
    }
    for (const Address& address : device.addresses) {
      (void)add_address(host_, address, device.host_index, address.label);
    }
    if (!device.was_up) return {};
    return host_.change(set_link(device.host_index, IFF_UP), "setting it up");
  }

  NetlinkSocket host_;
  NetlinkSocket inside_;  // keeps the namespace alive
  Fd host_namespace_;
  Fd namespace_inside_;
  std::set<uint32_t> indexes_;  // taken inside
  std::vector<Device> sent_;    // what is to be brought back
};

NetDevices::NetDevices(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NetDevices::~NetDevices() = default;
void NetDevices::keep() { impl_->keep(); }

Result<std::unique_ptr<NetDevices>> NetDevices::move(const PlanView& plan, const Fd& process) {
  NetlinkSocket host = TRY(NetlinkSocket::open());
  NetlinkSocket inside = TRY(NetlinkSocket::open_in(process).context("linux.netDevices"));
  auto impl = std::make_unique<Impl>(std::move(host), std::move(inside));
  TRY(impl->move(plan));
  return std::unique_ptr<NetDevices>(new NetDevices(std::move(impl)));
}

}  // namespace nacelle::container
