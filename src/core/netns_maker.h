// What the pool and its maker process say to each other, and the maker's work by itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/messages.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "sys/netlink.h"

namespace nacelle::core {

// One packet each way; a namespace comes with the answer as a descriptor.
struct MakeRequest {
  std::vector<Interface> interfaces;
  template <class Visit>
  void fields(Visit& visit) {
    visit(interfaces);
  }
};
struct MakeReply {
  uint8_t error_kind = 0;
  std::string error;  // empty: it was made
  template <class Visit>
  void fields(Visit& visit) {
    visit(error_kind, error);
  }
};
inline constexpr size_t maker_packet_bytes_max = 32u << 10;

class NetnsMaker {
 public:
  // In the network namespace the caller is in, which is the host's.
  static Result<NetnsMaker> open();
  // Leaves the calling process in the host's namespace, whatever happens.
  Result<Fd> make(const std::vector<Interface>& interfaces);

 private:
  NetnsMaker(Fd host, sys::NetlinkSocket netlink, Fd any_socket)
      : host_(std::move(host)), netlink_(std::move(netlink)), any_socket_(std::move(any_socket)) {}
  Result<> connect(const Interface& interface, const Fd& there, sys::NetlinkSocket& inside,
                   uint32_t index, bool is_way_out);

  Fd host_;
  sys::NetlinkSocket netlink_;
  Fd any_socket_;  // for ioctl(2) on links of the host
  uint32_t made_ = 0;
};

// "02:42:" and the address, as Docker names its interfaces.
std::string mac_of_address(const std::string& address);

}  // namespace nacelle::core
