#include "engine/host_ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "engine/addresses.h"

namespace nacelle::engine {
namespace {

constexpr std::string_view any_address = "0.0.0.0";

struct Range {
  uint16_t first = 0, last = 0;  // 0: any
};

// Checked when the container was made (spec_check.cc).
Range range_of(std::string_view text) {
  const std::string_view first = take_until(text, '-');
  const uint16_t from = parse_number<uint16_t>(first).value_or(0);
  return {from, parse_number<uint16_t>(text).value_or(from)};
}

// A socket bound there; the port is the kernel's choice where it is 0.
Result<Fd> bind_port(const std::string& protocol, const std::string& address, uint16_t& port) {
  const int type = protocol == "udp" ? SOCK_DGRAM : SOCK_STREAM;
  Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "socket");
  // What a server of the host left behind an hour ago (TIME_WAIT) is no reason to refuse; that
  // somebody binds the same port after us is one to refuse him.
  int reuse = 1;
  if (type == SOCK_STREAM) {
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  }
  sockaddr_in at{.sin_family = AF_INET, .sin_port = htons(port)};
  if (::inet_pton(AF_INET, address.c_str(), &at.sin_addr) != 1) {
    return fail(Kind::Invalid, cat("address ", address, ": not an IPv4 address"));
  }
  auto* const generic = reinterpret_cast<sockaddr*>(&at);
  if (::bind(socket.get(), generic, sizeof at) != 0) return fail_errno(errno, "bind");
  reuse = 0;
  if (type == SOCK_STREAM) {
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  }
  socklen_t length = sizeof at;
  if (::getsockname(socket.get(), generic, &length) != 0) return fail_errno(errno, "getsockname");
  port = ntohs(at.sin_port);
  return socket;
}

std::string protocol_of(std::string_view key) {
  take_until(key, '/');
  return key.empty() ? "tcp" : std::string(key);
}

}  // namespace

PortMap ports_to_publish(const Container& container, const std::string& default_address) {
  PortMap wanted;
  for (const auto& [key, bindings] : container.host.port_bindings) {
    std::vector<PortBinding>& all =
        wanted[cat(key.substr(0, key.find('/')), '/', protocol_of(key))];
    all.insert(all.end(), bindings.begin(), bindings.end());
  }
  if (container.host.publish_all_ports) {
    for (const auto& [key, nothing] : container.config.exposed_ports) {
      wanted[cat(key.substr(0, key.find('/')), '/', protocol_of(key))];
    }
    for (auto& [key, bindings] : wanted) {
      if (bindings.empty()) bindings.emplace_back();
    }
  }
  std::erase_if(wanted, [](const auto& each) { return each.second.empty(); });
  for (auto& [key, bindings] : wanted) {
    for (PortBinding& binding : bindings) {
      if (binding.host_ip.empty()) binding.host_ip = default_address;
    }
  }
  return wanted;
}

bool HostPorts::is_taken(const Key& key, const std::string& address) const {
  const auto found = held_.find(key);
  if (found == held_.end()) return false;
  return std::ranges::any_of(found->second, [&](const auto& each) {
    const std::string& other = each.second.address;
    return address == any_address || other == any_address || other == address;
  });
}

Result<uint16_t> HostPorts::take_one(const std::string& container, const std::string& protocol,
                                     const PortBinding& binding) {
  const Range range = range_of(binding.host_port);
  const auto refuse = [&](std::string_view why) { return fail(Kind::Internal, cat(why)); };
  std::string why;
  for (uint32_t number = range.first; number <= range.last; ++number) {
    auto port = static_cast<uint16_t>(number);
    if (port != 0 && is_taken({protocol, port}, binding.host_ip)) {
      why = cat("Bind for ", binding.host_ip, ":", port, " failed: port is already allocated");
      continue;
    }
    Fd socket;
    if (protocol != "sctp") {
      Result<Fd> bound = bind_port(protocol, binding.host_ip, port);
      if (!bound) {
        why = cat("failed to bind host port for ", binding.host_ip, ":", port, "/", protocol, ": ",
                  bound.error().error_number() == EADDRINUSE ? "address already in use"
                                                             : bound.error().message());
        continue;
      }
      socket = *std::move(bound);
    } else if (port == 0) {
      return refuse("a port of the host must be named for sctp");
    }
    held_[{protocol, port}].emplace(container, Held{binding.host_ip, std::move(socket)});
    return port;
  }
  return refuse(why);
}

Result<PortMap> HostPorts::take(const std::string& container, const PortMap& wanted) {
  PortMap became;
  for (const auto& [key, bindings] : wanted) {
    if (!parse_number<uint16_t>(std::string_view(key).substr(0, key.find('/')))) {
      release(container);
      return fail(Kind::Invalid, cat("invalid port specification: \"", key, "\""));
    }
    for (const PortBinding& binding : bindings) {
      const auto address = parse_address(binding.host_ip);
      Result<uint16_t> port =
          !address || address->v6
              ? fail(Kind::Unsupported,
                     cat("Bind for ", binding.host_ip, ": ports are published on IPv4 only"))
              : take_one(container, protocol_of(key), binding);
      if (!port) {
        release(container);
        return std::unexpected(std::move(port).error());
      }
      became[key].push_back({binding.host_ip, cat(*port)});
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
