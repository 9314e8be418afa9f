// One container that is answered: its UDP socket, its TCP connections, its way out.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "dns/source.h"
#include "dns/way_out.h"
#include "nacelle/fd.h"

namespace nacelle::dns {

class Served;

// A TCP connection of a program inside: one question at a time, each behind its length.
class Connection final : public Source {
 public:
  Connection(House& house, Served& served, uint64_t number, Fd socket);
  ~Connection();
  void ready(uint32_t events) override;
  void reply(std::string_view bytes);
  bool is_idle(Clock::time_point now) const { return !waiting_ && now >= idle_at_; }

 private:
  void look_at_input();
  bool flush();  // false: it is over
  void watch_again();

  House& house_;
  Served& served_;
  uint64_t number_;
  Fd socket_;
  std::string in_, out_;
  bool waiting_ = false;  // for the answer
  bool ended_ = false;    // nothing more comes
  Clock::time_point idle_at_;
};

class Served {
 public:
  struct Sockets {
    Fd udp, tcp, out_udp, out_tcp;
  };
  static constexpr size_t connections_max = 64;

  Served(House& house, std::string id, Sockets sockets);
  ~Served();
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;

  const std::string& id() const { return id_; }
  WayOut& way_out() { return way_out_; }
  void reply(const Asked& asked, std::string_view bytes);
  void tick(Clock::time_point now);
  bool has_connections() const { return !connections_.empty(); }
  // Destroyed when its turn is over.
  void is_over(uint64_t connection) { over_.push_back(connection); }
  void clear_over();

 private:
  struct UdpSource final : Source {
    Served* owner = nullptr;
    void ready(uint32_t) override { owner->udp_ready(); }
  };
  struct TcpSource final : Source {
    Served* owner = nullptr;
    void ready(uint32_t) override { owner->tcp_ready(); }
  };
  void udp_ready();
  void tcp_ready();

  House& house_;
  std::string id_;
  Fd udp_, tcp_;
  UdpSource udp_source_;
  TcpSource tcp_source_;
  WayOut way_out_;
  uint64_t last_connection_ = 0;
  std::map<uint64_t, std::unique_ptr<Connection>> connections_;
  std::vector<uint64_t> over_;
};

}  // namespace nacelle::dns
