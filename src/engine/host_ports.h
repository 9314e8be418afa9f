// Which ports of the host are whose. A published port is held by a socket that is bound and never
// listens: so neither another container nor a program of the host gets it, and the kernel chooses
// where nobody said which. Nothing ever arrives at these sockets: the table of packet_rules.h
// translates before. They go with the engine, translation stays; the next engine binds again.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/containers.h"
#include "engine/model.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::engine {

// A port that is to be had at each of these addresses, under one number. Empty: any.
struct PortWish {
  std::vector<std::string> addresses;
  std::string port;
};
using PortWishes = std::map<std::string, std::vector<PortWish>>;  // by "80/tcp"

// What is to be published of a container. `default_addresses`: where no address of the host was
// named.
PortWishes ports_to_publish(const Container& container,
                            const std::vector<std::string>& default_addresses);

class HostPorts {
 public:
  // All or none: as they became, each with a number. Conflict in dockerd's words.
  Result<PortMap> take(const std::string& container, const PortWishes& wanted);
  // What an engine before this one had published. A port that somebody else has bound meanwhile
  // stays the container's: packets are translated in any case.
  void adopt(const std::string& container, const PortMap& ports);
  void release(const std::string& container);

 private:
  struct Held {
    std::string address;
    Fd socket;  // empty for what cannot be held
  };
  struct Key {
    std::string protocol;
    uint16_t port;
    auto operator<=>(const Key&) const = default;
  };
  Result<uint16_t> take_one(const std::string& container, const std::string& protocol,
                            const PortWish& wish);
  Result<std::vector<Held>> hold(const std::string& protocol,
                                 const std::vector<std::string>& addresses, uint16_t& port) const;
  bool is_taken(const Key& key, const std::string& address) const;

  std::map<Key, std::multimap<std::string, Held>> held_;  // by container
};

}  // namespace nacelle::engine
