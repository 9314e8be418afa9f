#include "dns/way_out.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace nacelle::dns {
namespace {

constexpr std::chrono::milliseconds turn_limit{2000};
constexpr int datagrams_per_turn_max = 64;

uint16_t random16() {
  uint16_t number = 0;
  // Below 256 bytes the kernel neither waits (after boot) nor gives less.
  (void)!::getrandom(&number, sizeof number, 0);
  return number;
}

// As if it were new: no peer, and a port of the kernel's choice at the next use.
void let_go(const Fd& socket) {
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  (void)::connect(socket.get(), &none, sizeof none);
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

bool is_same(const sockaddr_in& a, const sockaddr_in& b) {
  return a.sin_addr.s_addr == b.sin_addr.s_addr && a.sin_port == b.sin_port;
}

}  // namespace

WayOut::WayOut(House& house, Fd udp, Fd tcp)
    : house_(house), udp_(std::move(udp)), tcp_(std::move(tcp)) {
  udp_source_.owner = tcp_source_.owner = this;
  house_.watch(udp_, EPOLLIN, udp_source_);
}

WayOut::~WayOut() {
  house_.forget(udp_, udp_source_);
  house_.forget(tcp_, tcp_source_);
}

void WayOut::ask(Pending pending) {
  pending.deadline = Clock::now() + turn_limit;
  if (pending.asked.by_tcp()) {
    by_tcp_.push_back(std::move(pending));
    if (!tcp_busy_) begin_tcp();
    return;
  }
  if (by_udp_.empty()) let_go(udp_);
  uint16_t id = random16();
  while (by_udp_.contains(id)) id = random16();
  const std::string query = make_upstream_query(pending.asked.query, id);
  const sockaddr_in& to = pending.upstream().address;
  if (::sendto(udp_.get(), query.data(), query.size(), MSG_DONTWAIT | MSG_NOSIGNAL, generic(to),
               sizeof to) < 0) {
    return house_.came_back(std::move(pending), {});
  }
  by_udp_.emplace(id, std::move(pending));
}

void WayOut::udp_ready() {
  std::string& buffer = scratch();
  for (int each = 0; each < datagrams_per_turn_max; ++each) {
    sockaddr_in from{};
    socklen_t from_bytes = sizeof from;
    const ssize_t got =
        ::recvfrom(udp_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC,
                   reinterpret_cast<sockaddr*>(&from), &from_bytes);
    if (got < 0) return;
    const auto size = static_cast<size_t>(got);
    if (size < header_bytes || size > buffer.size() || from_bytes != sizeof from) continue;
    const std::string_view bytes = std::string_view(buffer).substr(0, size);
    const auto id = static_cast<uint16_t>(static_cast<unsigned char>(bytes[0]) << 8 |
                                          static_cast<unsigned char>(bytes[1]));
    const auto found = by_udp_.find(id);
    if (found == by_udp_.end()) continue;
    // Who has guessed a number is not yet who was asked.
    if (!is_same(found->second.upstream().address, from)) continue;
    if (!parse_upstream_reply(bytes, found->second.asked.query)) continue;
    const std::string reply(bytes);
    Pending pending = std::move(found->second);
    by_udp_.erase(found);
    house_.came_back(std::move(pending), reply);
  }
}

void WayOut::begin_tcp() {
  if (by_tcp_.empty()) return;
  Pending& first = by_tcp_.front();
  first.deadline = Clock::now() + turn_limit;
  tcp_busy_ = true;
  tcp_id_ = random16();
  const std::string query = make_upstream_query(first.asked.query, tcp_id_);
  tcp_out_.assign(1, static_cast<char>(query.size() >> 8));
  tcp_out_ += static_cast<char>(query.size() & 0xff);
  tcp_out_ += query;
  tcp_in_.clear();
  const sockaddr_in& to = first.upstream().address;
  if (::connect(tcp_.get(), generic(to), sizeof to) < 0 && errno != EINPROGRESS) {
    return end_tcp({});
  }
  house_.watch(tcp_, EPOLLIN | EPOLLOUT, tcp_source_);
}

bool WayOut::write_tcp() {
  while (!tcp_out_.empty()) {
    const ssize_t sent =
        ::send(tcp_.get(), tcp_out_.data(), tcp_out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    tcp_out_.erase(0, static_cast<size_t>(sent));
  }
  house_.watch(tcp_, EPOLLIN, tcp_source_);
  return true;
}

// A whole reply, or nothing yet; an empty one where there will be none.
std::optional<std::string> WayOut::read_tcp() {
  std::string& buffer = scratch();
  for (;;) {
    const ssize_t got = ::recv(tcp_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return std::nullopt;
    if (got <= 0) return std::string();
    tcp_in_.append(buffer, 0, static_cast<size_t>(got));
    if (tcp_in_.size() < 2) continue;
    const size_t length = size_t{static_cast<unsigned char>(tcp_in_[0])} << 8 |
                          static_cast<unsigned char>(tcp_in_[1]);
    if (tcp_in_.size() >= 2 + length) return tcp_in_.substr(2, length);
  }
}

void WayOut::tcp_ready() {
  if (!tcp_busy_) return;
  if (!write_tcp()) return end_tcp({});
  if (!tcp_out_.empty()) return;
  const std::optional<std::string> reply = read_tcp();
  if (!reply) return;
  const auto parsed = parse_upstream_reply(*reply, by_tcp_.front().asked.query);
  end_tcp(parsed && parsed->id == tcp_id_ ? *reply : std::string_view());
}

void WayOut::end_tcp(std::string_view reply) {
  house_.forget(tcp_, tcp_source_);
  let_go(tcp_);
  tcp_busy_ = false;
  Pending pending = std::move(by_tcp_.front());
  by_tcp_.pop_front();
  house_.came_back(std::move(pending), reply);
  if (!tcp_busy_) begin_tcp();
}

bool WayOut::has_room(const std::string& container) const {
  if (under_way() < of_one_max) return true;
  if (under_way() >= under_way_max) return false;
  const auto by_it = [&](const Pending& each) { return each.asked.container == container; };
  const auto udp =
      std::ranges::count_if(by_udp_, [&](const auto& each) { return by_it(each.second); });
  return static_cast<size_t>(udp + std::ranges::count_if(by_tcp_, by_it)) < of_one_max;
}

void WayOut::forget(const std::string& container) {
  std::erase_if(by_udp_,
                [&](const auto& each) { return each.second.asked.container == container; });
  const bool has_socket = tcp_busy_ && by_tcp_.front().asked.container == container;
  if (has_socket) {
    house_.forget(tcp_, tcp_source_);
    let_go(tcp_);
    tcp_busy_ = false;
  }
  std::erase_if(by_tcp_, [&](const Pending& each) { return each.asked.container == container; });
  if (!tcp_busy_) begin_tcp();
}

void WayOut::tick(Clock::time_point now) {
  std::vector<Pending> late;
  for (auto each = by_udp_.begin(); each != by_udp_.end();) {
    if (each->second.deadline > now) {
      ++each;
      continue;
    }
    late.push_back(std::move(each->second));
    each = by_udp_.erase(each);
  }
  for (Pending& each : late) house_.came_back(std::move(each), {});
  if (tcp_busy_ && by_tcp_.front().deadline <= now) end_tcp({});
}

}  // namespace nacelle::dns
