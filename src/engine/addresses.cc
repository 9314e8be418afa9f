#include "engine/addresses.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace nacelle::engine {
namespace {

AddressNumber host_bits(unsigned width, unsigned length) {
  const unsigned bits = width - length;
  if (bits == 128) return ~AddressNumber{0};
  return (AddressNumber{1} << bits) - 1;
}

std::optional<unsigned> hexadecimal_byte(std::string_view text) {
  if (text.size() != 2) return std::nullopt;
  return parse_number<unsigned>(text, 16);
}

}  // namespace

std::string Address::text() const {
  std::array<unsigned char, 16> bytes{};
  const size_t count = v6 ? 16 : 4;
  for (size_t at = 0; at < count; ++at) {
    bytes[at] = static_cast<unsigned char>(number >> (8 * (count - 1 - at)));
  }
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), text, sizeof text);
  return text;
}

Address Prefix::first() const {
  return {.number = base.number & ~host_bits(width(), length), .v6 = base.v6};
}

Address Prefix::last() const {
  return {.number = base.number | host_bits(width(), length), .v6 = base.v6};
}

bool Prefix::contains(const Address& address) const {
  return address.v6 == base.v6 && first().number <= address.number &&
         address.number <= last().number;
}

bool Prefix::overlaps(const Prefix& other) const {
  return contains(other.first()) || other.contains(first());
}

std::string Prefix::text() const { return cat(base.text(), '/', length); }

std::optional<Address> parse_address(std::string_view text) {
  if (text.size() >= INET6_ADDRSTRLEN || text.contains('\0')) return std::nullopt;
  const std::string copy(text);
  std::array<unsigned char, 16> bytes{};
  Address address{.number = 0, .v6 = text.contains(':')};
  if (::inet_pton(address.v6 ? AF_INET6 : AF_INET, copy.c_str(), bytes.data()) != 1) {
    return std::nullopt;
  }
  const size_t count = address.v6 ? 16 : 4;
  for (size_t at = 0; at < count; ++at) address.number = address.number << 8 | bytes[at];
  // ::ffff:1.2.3.4 is an IPv4 address to some readers and an IPv6 address to others.
  if (address.v6 && address.number >> 32 == 0xffff) return std::nullopt;
  return address;
}

std::optional<Prefix> parse_prefix(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto base = parse_address(text.substr(0, slash));
  const std::string_view digits = text.substr(slash + 1);
  const auto length = parse_number<unsigned>(digits);
  if (!base || !length || (digits.size() > 1 && digits.starts_with('0'))) return std::nullopt;
  const Prefix prefix{.base = *base, .length = *length};
  if (prefix.length > prefix.width()) return std::nullopt;
  return prefix;
}

std::string mac_of(const Address& address) {
  std::string text = "02:42";
  for (int shift = 24; shift >= 0; shift -= 8) {
    const auto byte = static_cast<unsigned char>(address.number >> shift);
    text += ':';
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

bool is_mac(std::string_view text) {
  if (text.size() != 17) return false;
  for (size_t at = 2; at < text.size(); at += 3) {
    if (text[at] != ':') return false;
  }
  for (size_t at = 0; at < text.size(); at += 3) {
    const auto byte = hexadecimal_byte(text.substr(at, 2));
    if (!byte) return false;
    if (at == 0 && *byte % 2 == 1) return false;
  }
  return true;
}

}  // namespace nacelle::engine
