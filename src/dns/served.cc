#include "dns/served.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <utility>

namespace nacelle::dns {
namespace {

constexpr std::chrono::seconds idle_limit{10};
constexpr int datagrams_per_turn_max = 32;
constexpr size_t query_bytes_max = 4096;

}  // namespace

std::string& scratch() {
  static std::string buffer(tcp_bytes_max + 2, '\0');
  return buffer;
}

// One connection. ---------------------------------------------------------------------------------

Connection::Connection(House& house, Served& served, uint64_t number, Fd socket)
    : house_(house),
      served_(served),
      number_(number),
      socket_(std::move(socket)),
      idle_at_(Clock::now() + idle_limit) {
  watch_again();
}

Connection::~Connection() { house_.forget(socket_, *this); }

// Nothing is read while an answer is waited for or not taken: who does not read is not read.
void Connection::watch_again() {
  uint32_t events = 0;
  if (!out_.empty()) {
    events = EPOLLOUT;
  } else if (!waiting_ && !ended_) {
    events = EPOLLIN;
  }
  house_.watch(socket_, events, *this);
}

void Connection::ready(uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return served_.is_over(number_);
  if (!flush()) return served_.is_over(number_);
  if (!waiting_ && out_.empty() && !ended_) {
    std::string& buffer = scratch();
    const ssize_t got = ::recv(socket_.get(), buffer.data(), query_bytes_max, MSG_DONTWAIT);
    if (got < 0 && errno != EAGAIN) return served_.is_over(number_);
    if (got == 0) ended_ = true;
    if (got > 0) in_.append(buffer, 0, static_cast<size_t>(got));
  }
  look_at_input();
}

// As long as there are whole questions, and each has its answer.
void Connection::look_at_input() {
  while (!waiting_ && out_.empty() && in_.size() >= 2) {
    const size_t length =
        size_t{static_cast<unsigned char>(in_[0])} << 8 | static_cast<unsigned char>(in_[1]);
    if (length > query_bytes_max) return served_.is_over(number_);
    if (in_.size() < 2 + length) break;
    std::optional<Query> query = parse_query(std::string_view(in_).substr(2, length));
    in_.erase(0, 2 + length);
    if (!query) return served_.is_over(number_);
    waiting_ = true;
    idle_at_ = Clock::now() + idle_limit;
    Asked asked{.container = served_.id(), .connection = number_, .query = *std::move(query)};
    house_.asked(std::move(asked));
  }
  if (ended_ && !waiting_ && out_.empty()) return served_.is_over(number_);
  watch_again();
}

bool Connection::flush() {
  while (!out_.empty()) {
    const ssize_t sent =
        ::send(socket_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN;
    out_.erase(0, static_cast<size_t>(sent));
  }
  return true;
}

void Connection::reply(std::string_view bytes) {
  waiting_ = false;
  out_ += static_cast<char>(bytes.size() >> 8);
  out_ += static_cast<char>(bytes.size() & 0xff);
  out_ += bytes;
  idle_at_ = Clock::now() + idle_limit;
  if (!flush()) return served_.is_over(number_);
  // What was read already is looked at in a turn of its own.
  house_.watch(socket_, EPOLLIN | EPOLLOUT, *this);
}

// One container. ----------------------------------------------------------------------------------

Served::Served(House& house, std::string id, Sockets sockets)
    : house_(house),
      id_(std::move(id)),
      udp_(std::move(sockets.udp)),
      tcp_(std::move(sockets.tcp)),
      way_out_(house, std::move(sockets.out_udp), std::move(sockets.out_tcp)) {
  udp_source_.owner = tcp_source_.owner = this;
  house_.watch(udp_, EPOLLIN, udp_source_);
  house_.watch(tcp_, EPOLLIN, tcp_source_);
}

Served::~Served() {
  house_.forget(udp_, udp_source_);
  house_.forget(tcp_, tcp_source_);
}

// Read first, then answered by the table as it is now: a change that was there before the question
// is known by then.
void Served::udp_ready() {
  std::vector<Asked> questions;
  std::string& buffer = scratch();
  for (int each = 0; each < datagrams_per_turn_max; ++each) {
    sockaddr_in from{};
    socklen_t from_bytes = sizeof from;
    const ssize_t got =
        ::recvfrom(udp_.get(), buffer.data(), query_bytes_max, MSG_DONTWAIT | MSG_TRUNC,
                   reinterpret_cast<sockaddr*>(&from), &from_bytes);
    if (got < 0) break;
    if (static_cast<size_t>(got) > query_bytes_max || from_bytes != sizeof from) continue;
    auto query = parse_query(std::string_view(buffer).substr(0, static_cast<size_t>(got)));
    if (!query) continue;
    questions.push_back({.container = id_, .client = from, .query = *std::move(query)});
  }
  House& house = house_;  // catching up may be the end of us
  house.catch_up();
  for (Asked& each : questions) house.asked(std::move(each));
}

void Served::tcp_ready() {
  Fd socket(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket || connections_.size() >= connections_max) return;
  const uint64_t number = ++last_connection_;
  connections_.emplace(number,
                       std::make_unique<Connection>(house_, *this, number, std::move(socket)));
}

void Served::reply(const Asked& asked, std::string_view bytes) {
  if (!asked.by_tcp()) {
    (void)::sendto(udp_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&asked.client), sizeof asked.client);
    return;
  }
  const auto found = connections_.find(asked.connection);
  if (found != connections_.end()) found->second->reply(bytes);
}

void Served::clear_over() {
  for (const uint64_t number : over_) connections_.erase(number);
  over_.clear();
}

void Served::tick(Clock::time_point now) {
  way_out_.tick(now);
  for (const auto& [number, connection] : connections_) {
    if (connection->is_idle(now)) over_.push_back(number);
  }
}

}  // namespace nacelle::dns
