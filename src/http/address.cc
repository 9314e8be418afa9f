#include "http/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>

#include "base/text.h"
#include "http/url.h"

namespace nacelle::http {

namespace {

using V4 = std::array<uint8_t, 4>;
using V6 = std::array<uint8_t, 16>;

// Metadata services outside of 169.254.0.0/16: Alibaba's, Oracle's, Amazon's.
constexpr V4 alibaba{100, 100, 100, 200};
constexpr V4 oracle{192, 0, 0, 192};
constexpr V6 amazon{0xfd, 0x00, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x54};

struct V4Network {
  uint32_t address;
  int bits;
  Reach reach;
};
constexpr std::array networks{
    V4Network{0xa9fe0000, 16, Reach::Forbidden},  // 169.254.0.0
    V4Network{0x7f000000, 8, Reach::Loopback},
    V4Network{0x00000000, 8, Reach::Loopback},  // Linux connects 0.0.0.0 to itself
    V4Network{0x0a000000, 8, Reach::Private},
    V4Network{0xac100000, 12, Reach::Private},
    V4Network{0xc0a80000, 16, Reach::Private},
    V4Network{0x64400000, 10, Reach::Private},  // RFC 6598
    V4Network{0xc0000000, 24, Reach::Private},  // RFC 6890
    V4Network{0xc6120000, 15, Reach::Private},  // RFC 2544
    V4Network{0xe0000000, 3, Reach::Private},   // multicast and what is reserved
};

Reach reach_of_v4(const V4& bytes) {
  if (bytes == alibaba || bytes == oracle) return Reach::Forbidden;
  const uint32_t address = uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 |
                           uint32_t{bytes[2]} << 8 | uint32_t{bytes[3]};
  for (const V4Network& network : networks) {
    if ((address ^ network.address) >> (32 - network.bits) == 0) return network.reach;
  }
  return Reach::Public;
}

V4 four(const V6& bytes, size_t at) {
  return {bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]};
}

// The IPv4 address that an IPv6 one stands for.
std::optional<V4> embedded(const V6& bytes) {
  static constexpr V6 zero{};
  static constexpr std::array<uint8_t, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  static constexpr std::array<uint8_t, 12> translated{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0};
  static constexpr std::array<uint8_t, 12> nat64{0, 0x64, 0xff, 0x9b};         // RFC 6052
  static constexpr std::array<uint8_t, 6> local64{0, 0x64, 0xff, 0x9b, 0, 1};  // RFC 8215
  static constexpr std::array<uint8_t, 4> teredo{0x20, 0x01, 0, 0};
  const auto begins = [&](const auto& prefix) {
    return std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
  };
  if (begins(mapped) || begins(translated) || begins(nat64) || begins(local64)) {
    return four(bytes, 12);
  }
  // Compatible: RFC 4291 section 2.5.5.1. What begins with another zero is no address of a host.
  if (std::memcmp(bytes.data(), zero.data(), 12) == 0 && bytes[12] != 0) {
    return four(bytes, 12);
  }
  if (bytes[0] == 0x20 && bytes[1] == 0x02) return four(bytes, 2);  // 6to4
  if (begins(teredo)) {
    V4 client = four(bytes, 12);
    for (uint8_t& byte : client) byte = static_cast<uint8_t>(~byte);
    return client;
  }
  return std::nullopt;
}

Reach reach_of_v6(const V6& bytes) {
  if (const auto v4 = embedded(bytes)) return reach_of_v4(*v4);
  if (bytes == amazon) return Reach::Forbidden;
  if (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) return Reach::Forbidden;  // link-local
  const auto none = [](uint8_t byte) { return byte == 0; };
  if (bytes[15] <= 1 && std::all_of(bytes.begin(), bytes.end() - 1, none)) {
    return Reach::Loopback;  // :: and ::1
  }
  if (bytes[0] == 0) return Reach::Private;  // RFC 4291: 0000::/8 is no one's
  const bool unique_local = (bytes[0] & 0xfe) == 0xfc;
  const bool site_local = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0xc0;
  return unique_local || site_local || bytes[0] == 0xff ? Reach::Private : Reach::Public;
}

// IPv4 as its mapped form, so that one comparison serves both.
struct Address {
  V6 bytes{};
  bool v4 = false;
};

std::optional<Address> parse_address(std::string_view host) {
  std::string text(host);
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  text = text.substr(0, text.find('%'));  // a zone
  Address out;
  if (::inet_pton(AF_INET, text.c_str(), out.bytes.data() + 12) == 1) {
    out.bytes[10] = out.bytes[11] = 0xff;
    out.v4 = true;
    return out;
  }
  if (::inet_pton(AF_INET6, text.c_str(), out.bytes.data()) == 1) return out;
  return std::nullopt;
}

bool is_within(const Address& address, std::string_view cidr) {
  const auto network = parse_address(take_until(cidr, '/'));
  if (!network || network->v4 != address.v4) return false;
  const auto given = parse_number<unsigned>(cidr);
  if (!given || *given > (address.v4 ? 32u : 128u)) return false;
  const unsigned bits = *given + (address.v4 ? 96 : 0);
  for (unsigned each = 0; each < bits; ++each) {
    const int differing = address.bytes[each / 8] ^ network->bytes[each / 8];
    if ((differing >> (7 - each % 8) & 1) != 0) return false;
  }
  return true;
}

}  // namespace

Reach reach_of(const sockaddr* address) {
  if (address->sa_family == AF_INET6) {
    V6 bytes;
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, 16);
    return reach_of_v6(bytes);
  }
  if (address->sa_family == AF_INET) {
    V4 bytes;
    std::memcpy(bytes.data(), &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, 4);
    return reach_of_v4(bytes);
  }
  return Reach::Forbidden;  // nothing else is the internet
}

std::optional<Reach> reach_of_literal(std::string_view host) {
  const auto address = parse_address(host);
  if (!address) return std::nullopt;
  return reach_of_v6(address->bytes);
}

std::optional<ReachRange> reach_of_name(std::string_view host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(std::string(host).c_str(), nullptr, &hints, &found) != 0) return std::nullopt;
  const std::unique_ptr<addrinfo, decltype([](addrinfo* list) { ::freeaddrinfo(list); })> list(
      found);
  std::optional<ReachRange> range;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const Reach reach = reach_of(each->ai_addr);
    if (!range) range = ReachRange{reach, reach};
    range->least = std::min(range->least, reach);
    range->most = std::max(range->most, reach);
  }
  return range;
}

bool may_send(Reach home, Reach to) {
  switch (to) {
    case Reach::Public: return true;
    case Reach::Private: return home == Reach::Private || home == Reach::Loopback;
    case Reach::Loopback: return home == Reach::Loopback;
    case Reach::Forbidden: return false;
  }
  return false;
}

bool is_listed(std::string_view host, std::string_view no_proxy) {
  const auto address = parse_address(host);
  while (host.ends_with('.')) host.remove_suffix(1);
  while (!no_proxy.empty()) {
    const size_t end = no_proxy.find_first_of(", \t");
    std::string entry(no_proxy.substr(0, end));
    no_proxy.remove_prefix(end == std::string_view::npos ? no_proxy.size() : end + 1);
    for (char& c : entry) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    while (entry.ends_with('.')) entry.pop_back();
    if (entry.starts_with('.')) entry.erase(0, 1);
    if (entry.empty()) continue;
    if (entry == "*") return true;
    if (address) {
      const auto other = parse_address(entry);
      if (other ? other->bytes == address->bytes : is_within(*address, entry)) return true;
    } else if (host == entry || host.ends_with(cat(".", entry))) {
      return true;
    }
  }
  return false;
}

bool is_link_local(std::string_view host) { return reach_of_literal(host) == Reach::Forbidden; }

bool is_loopback(std::string_view host) {
  return host == "localhost" || host.ends_with(".localhost") ||
         reach_of_literal(host) == Reach::Loopback;
}

}  // namespace nacelle::http
