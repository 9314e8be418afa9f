// A small rtnetlink client (rtnetlink(7)) over one socket: one request at a time, each with its
// answer. The socket stays in the network namespace it was made in, so work in another namespace
// needs no process there. Refuses: requests and answers above their bounds, waiting for ever, and
// listening for events.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::sys {

// One message to the kernel: a fixed header of its type, then attributes.
class NetlinkRequest {
 public:
  // `flags` besides NLM_F_REQUEST and NLM_F_ACK; `fixed` is a struct such as ifinfomsg.
  template <class Fixed>
  NetlinkRequest(uint16_t type, uint16_t flags, const Fixed& fixed) {
    static_assert(sizeof fixed % NLMSG_ALIGNTO == 0);
    bytes_.resize(sizeof(nlmsghdr));
    bytes_.append(reinterpret_cast<const char*>(&fixed), sizeof fixed);
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = flags;
    std::memcpy(bytes_.data(), &header, sizeof header);
  }

  NetlinkRequest& put(uint16_t attribute, std::string_view value);
  NetlinkRequest& put_name(uint16_t attribute, std::string_view name);  // with a NUL
  template <class Number>
  NetlinkRequest& put_number(uint16_t attribute, Number number) {
    return put(attribute, {reinterpret_cast<const char*>(&number), sizeof number});
  }

 private:
  friend class NetlinkSocket;
  std::string bytes_;
};

// One message from the kernel.
class NetlinkMessage {
 public:
  uint16_t type() const;
  // The fixed part; zeros where the message is shorter.
  template <class Fixed>
  Fixed fixed() const {
    Fixed result{};
    if (bytes_.size() >= sizeof(nlmsghdr) + sizeof result) {
      std::memcpy(&result, bytes_.data() + sizeof(nlmsghdr), sizeof result);
    }
    return result;
  }
  // The value of an attribute after a fixed part of that size; a null view when there is none.
  std::string_view attribute(size_t fixed_bytes, uint16_t type) const;

 private:
  friend class NetlinkSocket;
  explicit NetlinkMessage(std::string bytes) : bytes_(std::move(bytes)) {}
  std::string bytes_;
};

// Attribute values as what they hold; nothing is assumed of their length.
template <class Number>
Number netlink_number(std::string_view value, Number otherwise = {}) {
  if (value.size() < sizeof otherwise) return otherwise;
  std::memcpy(&otherwise, value.data(), sizeof otherwise);
  return otherwise;
}
inline std::string_view netlink_name(std::string_view value) {
  return value.substr(0, value.find('\0'));
}

// An attribute by itself, as part of one that holds others (which says so: NLA_F_NESTED).
std::string netlink_attribute(uint16_t type, std::string_view value);
template <class Number>
std::string netlink_attribute_number(uint16_t type, Number number) {
  return netlink_attribute(type, {reinterpret_cast<const char*>(&number), sizeof number});
}

class NetlinkSocket {
 public:
  // In the caller's own network namespace. `family`: another than rtnetlink's.
  static Result<NetlinkSocket> open(int family = NETLINK_ROUTE);
  // In that of a process (a pidfd), or in one given by a namespace's descriptor. The calling
  // process stays where it is.
  static Result<NetlinkSocket> open_in(const Fd& place);

  // The network namespace this socket is in.
  Result<Fd> open_namespace() const;

  // Sends and waits for the acknowledgement. An error carries the kernel's own words where it has
  // some; `doing` names what was asked, as in "setting link up".
  Result<> change(NetlinkRequest request, std::string_view doing);
  // Asks for one thing, as RTM_GETLINK for one link does.
  Result<NetlinkMessage> get(NetlinkRequest request, std::string_view doing);
  // Asks for all there is (NLM_F_DUMP).
  Result<std::vector<NetlinkMessage>> dump(NetlinkRequest request, std::string_view doing);

 private:
  explicit NetlinkSocket(Fd socket) : socket_(std::move(socket)) {}
  static Result<NetlinkSocket> set_up(Fd socket);
  Result<> send(NetlinkRequest& request, uint16_t flags, std::string_view doing);
  // Reads until the end of the answer; what is neither end nor error goes into `messages`. False: a
  // dump was cut across by a change and must be asked for again.
  Result<bool> receive(std::vector<NetlinkMessage>& messages, std::string_view doing);

  Fd socket_;
  uint32_t sequence_ = 0;
};

}  // namespace nacelle::sys
