// The way to name servers from one network namespace: a UDP socket for all questions that are on
// their way by UDP, and a TCP socket for one question after the other. Each UDP question has an id
// that cannot be guessed; the socket's port is another one whenever nothing was under way.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>

#include "dns/source.h"
#include "nacelle/fd.h"

namespace nacelle::dns {

class WayOut {
 public:
  // Of one container, and of all: the host's is shared.
  static constexpr size_t of_one_max = 256, under_way_max = 2048;

  WayOut(House& house, Fd udp, Fd tcp);
  ~WayOut();
  WayOut(const WayOut&) = delete;
  WayOut& operator=(const WayOut&) = delete;

  // Its deadline is set. What cannot be sent comes back at once.
  void ask(Pending pending);
  bool has_room(const std::string& container) const;
  size_t under_way() const { return by_udp_.size() + by_tcp_.size(); }
  // Those of `container` are given up without a word.
  void forget(const std::string& container);
  void tick(Clock::time_point now);

 private:
  struct UdpSource final : Source {
    WayOut* owner = nullptr;
    void ready(uint32_t) override { owner->udp_ready(); }
  };
  struct TcpSource final : Source {
    WayOut* owner = nullptr;
    void ready(uint32_t) override { owner->tcp_ready(); }
  };
  void udp_ready();
  void begin_tcp();
  void tcp_ready();
  // With the reply, or with nothing; then the next.
  void end_tcp(std::string_view reply);
  bool write_tcp();
  std::optional<std::string> read_tcp();

  House& house_;
  Fd udp_, tcp_;
  UdpSource udp_source_;
  TcpSource tcp_source_;
  std::map<uint16_t, Pending> by_udp_;
  std::deque<Pending> by_tcp_;  // the first one has the socket
  bool tcp_busy_ = false;
  uint16_t tcp_id_ = 0;
  std::string tcp_out_, tcp_in_;
};

}  // namespace nacelle::dns
