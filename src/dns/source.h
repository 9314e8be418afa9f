// What the rooms of the worker share: sources that epoll reports, and what they need of the worker.
#pragma once

#include <netinet/in.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dns/message.h"
#include "nacelle/fd.h"

namespace nacelle::dns {

using Clock = std::chrono::steady_clock;

class Source {
 public:
  virtual void ready(uint32_t events) = 0;

 protected:
  ~Source() = default;
};

// A question that was asked, and where its answer is to go.
struct Asked {
  std::string container;    // whose id
  uint64_t connection = 0;  // of its TCP connections; 0: by UDP
  sockaddr_in client{};     // by UDP
  Query query;
  bool by_tcp() const { return connection != 0; }
  size_t bytes_max() const { return by_tcp() ? tcp_bytes_max : query.udp_bytes; }
};

struct UpstreamAddress {
  sockaddr_in address{};
  bool from_host = false;
};

// A question on its way outside.
struct Pending {
  Asked asked;
  std::vector<UpstreamAddress> upstreams;  // each is tried in turn
  size_t turn = 0;
  Clock::time_point deadline;  // of this turn

  const UpstreamAddress& upstream() const { return upstreams[turn]; }
};

class House {
 public:
  // Also when it is watched already: with other events.
  virtual void watch(const Fd& file, uint32_t events, Source& source) = 0;
  virtual void forget(const Fd& file, Source& source) = 0;
  // `reply` is the upstream's, checked; empty: this upstream has none.
  virtual void came_back(Pending pending, std::string_view reply) = 0;
  // Tables are as those want them who have changed them by now.
  virtual void catch_up() = 0;
  virtual void asked(Asked asked) = 0;

 protected:
  ~House() = default;
};

// One datagram or piece of a stream at a time: what every receiver reads into.
std::string& scratch();

}  // namespace nacelle::dns
