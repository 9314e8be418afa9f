// What nacelle-core says to the names worker, over a SOCK_SEQPACKET pair: values in codec/flat.h's
// form, one per packet, a code byte first. The worker says nothing back. It holds nothing that core
// does not hold too: killed at any moment, its successor is told of every container again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace nacelle::dns {

// Where a container's programs ask, and where its sockets in fact are: a program inside may have
// port 53 of every address for itself (core/names_port.h leads from one to the other).
inline constexpr uint32_t server_address = 0x7f00000b;  // 127.0.0.11
inline constexpr uint16_t server_port = 53, socket_port = 61053;

inline constexpr size_t endpoints_max = 1024, names_max = 4096, upstreams_max = 16;
inline constexpr size_t member_bytes_max = 48u << 10;

// A container on a network.
struct Endpoint {
  std::string network, network_name;
  std::vector<std::string> addresses;  // as text
  std::vector<std::string> names;      // the first is also the address's name
  // Names that are this container's own, and what they stand for on this network.
  std::vector<std::pair<std::string, std::string>> links;
  template <class Visit>
  void fields(Visit& visit) {
    visit(network, network_name, addresses, names, links);
  }
};

// A name server outside.
struct Upstream {
  std::string address;     // IPv4
  bool from_host = false;  // it is reached from the host's network namespace alone
  template <class Visit>
  void fields(Visit& visit) {
    visit(address, from_host);
  }
};

// One container: under which names others find it, and how it is answered itself.
struct Member {
  std::vector<Endpoint> endpoints;  // who comes first is asked first
  std::vector<Upstream> upstreams;
  bool forwards = false;   // what is unknown is asked for outside
  bool ndots_set = false;  // names without a dot are never asked for outside
  template <class Visit>
  void fields(Visit& visit) {
    visit(endpoints, upstreams, forwards, ndots_set);
  }
};

// Takes the place of what was said of it before. Descriptors, where `has_sockets`: those it is
// asked by, a UDP socket and a listening TCP socket; those by which questions go out, UDP and TCP.
// All are in the container's network namespace. Without them, those of before stay.
struct SetMember {
  static constexpr uint8_t code = 1;
  std::string id;
  Member member;
  bool has_sockets = false;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id, member, has_sockets);
  }
};

struct DropMember {
  static constexpr uint8_t code = 2;
  std::string id;
  template <class Visit>
  void fields(Visit& visit) {
    visit(id);
  }
};

}  // namespace nacelle::dns
