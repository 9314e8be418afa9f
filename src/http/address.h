// What kind of place an address is, and who may send us there. A registry names hosts in redirects,
// upload locations and token realms; one on the internet must not make us talk to this machine or
// to the private network around it, and nobody to where clouds keep their metadata.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

struct sockaddr;

namespace nacelle::http {

// In the order of how much there is to lose.
enum class Reach : uint8_t {
  Public,
  Private,    // RFC 1918, RFC 4193, carrier NAT and other networks of one site
  Loopback,   // this machine, 0.0.0.0 included
  Forbidden,  // link-local, or a known metadata service
};

// An IPv4 address inside an IPv6 one (mapped, compatible, translated, 6to4, Teredo) is what counts.
Reach reach_of(const sockaddr* address);
// Of an address literal, with or without brackets and zone; nothing for a name.
std::optional<Reach> reach_of_literal(std::string_view host);
// Of what a name resolves to here; nothing where it does not resolve. Blocks.
struct ReachRange {
  Reach least, most;
};
std::optional<ReachRange> reach_of_name(std::string_view host);

// Whether a server at `home` may send us to an address of the kind `to`.
bool may_send(Reach home, Reach to);

// Whether `no_proxy` (names with their subdomains, addresses, CIDRs, or "*") lists the host.
bool is_listed(std::string_view host, std::string_view no_proxy);

}  // namespace nacelle::http
