#include "engine/host_ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "engine/addresses.h"

namespace nacelle::engine {
namespace {

// How often the kernel is asked for a number that is free at every address.
constexpr int choices_max = 16;

struct Range {
  uint16_t first = 0, last = 0;  // 0: any
};

// Checked when the container was made (spec_check.cc).
Range range_of(std::string_view text) {
  const std::string_view first = take_until(text, '-');
  const uint16_t from = parse_number<uint16_t>(first).value_or(0);
  return {from, parse_number<uint16_t>(text).value_or(from)};
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  sockaddr* generic() { return reinterpret_cast<sockaddr*>(&storage); }
  // Of both families it is at the same place.
  in_port_t& port() { return reinterpret_cast<sockaddr_in*>(&storage)->sin_port; }
};
static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

Result<SocketAddress> socket_address(const std::string& text) {
  SocketAddress made;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&made.storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&made.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    made.length = sizeof *v4;
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    made.length = sizeof *v6;
  } else {
    return fail(Kind::Invalid, cat("address ", text, ": not an IP address"));
  }
  return made;
}

// A socket bound there; the port is the kernel's choice where it is 0.
Result<Fd> bind_port(const std::string& protocol, const std::string& address, uint16_t& port) {
  SocketAddress at = TRY(socket_address(address));
  const int type = protocol == "udp" ? SOCK_DGRAM : SOCK_STREAM;
  Fd socket(::socket(at.storage.ss_family, type | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "socket");
  const auto set = [&](int level, int option, int value) {
    ::setsockopt(socket.get(), level, option, &value, sizeof value);
  };
  // Each family has its own ports.
  if (at.storage.ss_family == AF_INET6) set(IPPROTO_IPV6, IPV6_V6ONLY, 1);
  // What a server of the host left behind an hour ago (TIME_WAIT) is no reason to refuse; that
  // somebody binds the same port after us is one to refuse him.
  if (type == SOCK_STREAM) set(SOL_SOCKET, SO_REUSEADDR, 1);
  at.port() = htons(port);
  if (::bind(socket.get(), at.generic(), at.length) != 0) return fail_errno(errno, "bind");
  if (type == SOCK_STREAM) set(SOL_SOCKET, SO_REUSEADDR, 0);
  if (::getsockname(socket.get(), at.generic(), &at.length) != 0) {
    return fail_errno(errno, "getsockname");
  }
  port = ntohs(at.port());
  return socket;
}

bool is_ipv6(std::string_view address) { return address.contains(':'); }
bool is_any(std::string_view address) { return address == "0.0.0.0" || address == "::"; }

// "[::1]:80"
std::string place_text(const std::string& address, uint16_t port) {
  return is_ipv6(address) ? cat('[', address, "]:", port) : cat(address, ':', port);
}

std::string protocol_of(std::string_view key) {
  take_until(key, '/');
  return key.empty() ? "tcp" : std::string(key);
}

}  // namespace

PortWishes ports_to_publish(const Container& container,
                            const std::vector<std::string>& default_addresses) {
  PortMap bound;
  for (const auto& [key, bindings] : container.host.port_bindings) {
    std::vector<PortBinding>& all = bound[cat(key.substr(0, key.find('/')), '/', protocol_of(key))];
    all.insert(all.end(), bindings.begin(), bindings.end());
  }
  if (container.host.publish_all_ports) {
    for (const auto& [key, nothing] : container.config.exposed_ports) {
      bound[cat(key.substr(0, key.find('/')), '/', protocol_of(key))];
    }
    for (auto& [key, bindings] : bound) {
      if (bindings.empty()) bindings.emplace_back();
    }
  }
  PortWishes wanted;
  for (const auto& [key, bindings] : bound) {
    for (const PortBinding& binding : bindings) {
      std::vector<std::string> addresses = default_addresses;
      // In the one form that is compared with others'.
      const auto named = parse_address(binding.host_ip);
      if (!binding.host_ip.empty()) addresses = {named ? named->text() : binding.host_ip};
      wanted[key].push_back({std::move(addresses), binding.host_port});
    }
  }
  return wanted;
}

bool HostPorts::is_taken(const Key& key, const std::string& address) const {
  const auto found = held_.find(key);
  if (found == held_.end()) return false;
  return std::ranges::any_of(found->second, [&](const auto& each) {
    const std::string& other = each.second.address;
    return is_ipv6(address) == is_ipv6(other) &&
           (is_any(address) || is_any(other) || other == address);
  });
}

// One number at all of them; where it is 0, what the kernel chooses for the first.
Result<std::vector<HostPorts::Held>> HostPorts::hold(const std::string& protocol,
                                                     const std::vector<std::string>& addresses,
                                                     uint16_t& port) const {
  std::vector<Held> all;
  for (const std::string& address : addresses) {
    if (port != 0 && is_taken({protocol, port}, address)) {
      return fail(Kind::Internal, cat("Bind for ", place_text(address, port),
                                      " failed: port is already allocated"));
    }
    Held& held = all.emplace_back(Held{address, Fd()});
    if (protocol == "sctp") continue;
    Result<Fd> bound = bind_port(protocol, address, port);
    if (!bound) {
      return fail(
          Kind::Internal,
          cat("failed to bind host port for ", place_text(address, port), "/", protocol, ": ",
              bound.error().error_number() == EADDRINUSE ? "address already in use"
                                                         : bound.error().message()));
    }
    held.socket = *std::move(bound);
  }
  return all;
}

Result<uint16_t> HostPorts::take_one(const std::string& container, const std::string& protocol,
                                     const PortWish& wish) {
  const Range range = range_of(wish.port);
  if (range.first == 0 && protocol == "sctp") {
    return fail(Kind::Internal, "a port of the host must be named for sctp");
  }
  Result<std::vector<Held>> held = fail(Kind::Internal, "");
  const uint32_t tries = range.first == 0 ? choices_max : range.last - range.first + 1u;
  for (uint32_t turn = 0; turn < tries; ++turn) {
    auto port = static_cast<uint16_t>(range.first == 0 ? 0 : range.first + turn);
    held = hold(protocol, wish.addresses, port);
    if (!held) continue;
    for (Held& each : *held) held_[{protocol, port}].emplace(container, std::move(each));
    return port;
  }
  return std::unexpected(std::move(held).error());
}

Result<PortMap> HostPorts::take(const std::string& container, const PortWishes& wanted) {
  PortMap became;
  for (const auto& [key, wishes] : wanted) {
    if (!parse_number<uint16_t>(std::string_view(key).substr(0, key.find('/')))) {
      release(container);
      return fail(Kind::Invalid, cat("invalid port specification: \"", key, "\""));
    }
    for (const PortWish& wish : wishes) {
      Result<uint16_t> port = take_one(container, protocol_of(key), wish);
      if (!port) {
        release(container);
        return std::unexpected(std::move(port).error());
      }
      for (const std::string& address : wish.addresses)
        became[key].push_back({address, cat(*port)});
    }
  }
  return became;
}

void HostPorts::adopt(const std::string& container, const PortMap& ports) {
  for (const auto& [key, bindings] : ports) {
    const std::string protocol = protocol_of(key);
    for (const PortBinding& binding : bindings) {
      uint16_t port = parse_number<uint16_t>(binding.host_port).value_or(0);
      if (port == 0) continue;
      Fd socket;
      if (protocol != "sctp") {
        if (auto bound = bind_port(protocol, binding.host_ip, port)) socket = *std::move(bound);
      }
      held_[{protocol, port}].emplace(container, Held{binding.host_ip, std::move(socket)});
    }
  }
}

void HostPorts::release(const std::string& container) {
  for (auto at = held_.begin(); at != held_.end();) {
    at->second.erase(container);
    at = at->second.empty() ? held_.erase(at) : std::next(at);
  }
}

}  // namespace nacelle::engine
