// Internet addresses as numbers: parsed strictly, counted, compared. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::engine {

__extension__ typedef unsigned __int128 AddressNumber;

struct Address {
  AddressNumber number = 0;
  bool v6 = false;
  std::string text() const;  // RFC 5952 for IPv6
  auto operator<=>(const Address&) const = default;
};

struct Prefix {
  Address base;  // as written: bits behind the length are kept
  unsigned length = 0;

  unsigned width() const { return base.v6 ? 128 : 32; }
  Address first() const;  // without the bits behind the length
  Address last() const;
  bool contains(const Address& address) const;
  bool overlaps(const Prefix& other) const;
  std::string text() const;  // "172.17.0.0/16"
  bool operator==(const Prefix&) const = default;
};

// No leading zeros, no zones, no IPv4 in IPv6's clothes.
std::optional<Address> parse_address(std::string_view text);
std::optional<Prefix> parse_prefix(std::string_view text);

// "02:42:ac:11:00:02" for 172.17.0.2, as Docker did it for years; of IPv6 the last four bytes.
std::string mac_of(const Address& address);
// Six bytes, with colons; not a multicast address.
bool is_mac(std::string_view text);

}  // namespace nacelle::engine
