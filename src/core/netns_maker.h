// What the pool and its maker process say to each other, and the maker's work by itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bpf/links.h"
#include "core/messages.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "sys/netlink.h"

namespace nacelle::core {

enum class MakerTask : uint8_t {
  Make,    // a namespace with `interfaces`: it comes with the answer as a descriptor
  Add,     // `interfaces` to the namespace that comes along (its descriptor, or a pidfd)
  Remove,  // takes them away again; what is in `rest` stays
  Forget,  // whoever is at the links of `interfaces` by now, he is not heard and gets nothing
  Serve,   // sockets for names in the namespace that comes along
};
// One packet each way.
struct MakeRequest {
  MakerTask task = MakerTask::Make;
  std::vector<Interface> interfaces, rest;
  bool serves = false;  // Make: with sockets for names, behind the namespace
  template <class Visit>
  void fields(Visit& visit) {
    visit(task, interfaces, rest, serves);
  }
};
struct MakeReply {
  uint8_t error_kind = 0;
  std::string error;            // empty: it was made
  std::vector<uint32_t> links;  // of `interfaces`, where any were made (Interface::link)
  template <class Visit>
  void fields(Visit& visit) {
    visit(error_kind, error, links);
  }
};
inline constexpr size_t maker_packet_bytes_max = 32u << 10;
inline constexpr size_t maker_descriptors_max = 5;

class NetnsMaker {
 public:
  // In the network namespace the caller is in, which is the host's. `pins`: of the programs that
  // watch links; empty: none do.
  static Result<NetnsMaker> open(const std::string& pins);
  // All of them leave the calling process in the host's namespace, whatever happens. Those that
  // make interfaces fill in their links.
  // The namespace, and where it `serves` the sockets of dns::SetMember.
  Result<std::vector<Fd>> make(std::vector<Interface>& interfaces, bool serves);
  Result<std::vector<Fd>> serve(const Fd& place);
  // `rest`: what is there already.
  Result<> add(const Fd& place, std::vector<Interface>& interfaces,
               const std::vector<Interface>& rest);
  Result<> remove(const Fd& place, const std::vector<Interface>& interfaces,
                  const std::vector<Interface>& rest);
  Result<> forget(const std::vector<Interface>& interfaces);

 private:
  NetnsMaker(Fd host, sys::NetlinkSocket netlink, Fd any_socket)
      : host_(std::move(host)), netlink_(std::move(netlink)), any_socket_(std::move(any_socket)) {}
  struct Families {
    bool v4 = false, v6 = false;
    bool& of(bool is_v6) { return is_v6 ? v6 : v4; }
  };
  // `index`: of the new interface; 0: the kernel's choice. `has`: of which there is a way out
  // already, and with it; an interface may be one of a single family.
  Result<> connect(Interface& interface, const Fd& there, sys::NetlinkSocket& inside,
                   uint32_t index, Families& has);
  Result<> watch(const Interface& interface, const sys::NetlinkMessage& host_end);
  Result<> set_ipv6(const Interface& interface, const std::string& host_name, const Fd& there);
  Result<> allow_forwarding(const Interface& interface);

  Fd host_;
  sys::NetlinkSocket netlink_;
  Fd any_socket_;  // for ioctl(2) on links of the host
  std::optional<bpf::Links> links_;
  Families forwards_;  // whether we have seen to it that the host does
};

// "02:42:" and the address, as Docker names its interfaces.
std::string mac_of_address(const std::string& address);

}  // namespace nacelle::core
