// A network policy as the kernel asks it (bpf/policy.h): what rules were compiled into. An address
// has a class, a class has verdicts by direction, protocol and port. Two questions decide about a
// new flow: what class 0, the rules for everyone, says, and what the address's own class says.
// Where either denies, it is denied; where either allows, allowed; else the default holds.
#pragma once

#include <cstdint>
#include <vector>

namespace nacelle::core {

inline constexpr uint8_t policy_ingress = 0, policy_egress = 1;  // seen from the container
inline constexpr uint8_t policy_any_protocol = 0;
inline constexpr uint16_t policy_rules_max = 4096;

struct PolicyAddressRow {
  uint32_t base = 0;  // in the order of the host
  uint8_t length = 32;
  uint32_t address_class = 0;
  bool operator==(const PolicyAddressRow&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(base, length, address_class);
  }
};

// Of several rows that match, the longest decides. A protocol without a row of its own is asked for
// as policy_any_protocol.
struct PolicyPortRow {
  uint32_t address_class = 0;
  uint8_t direction = policy_ingress;
  uint8_t protocol = policy_any_protocol;
  uint16_t port = 0;
  uint8_t length = 0;  // of the port's prefix: 0 to 16
  bool deny = false;
  bool has_verdict = true;  // false: no rule of this class is about it
  uint16_t rule = 0;        // which one decided
  bool operator==(const PolicyPortRow&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(address_class, direction, protocol, port, length, deny, has_verdict, rule);
  }
};

struct PolicyTable {
  bool deny_by_default[2] = {false, false};  // by direction
  std::vector<PolicyAddressRow> addresses;
  std::vector<PolicyPortRow> ports;
  bool operator==(const PolicyTable&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(deny_by_default[0], deny_by_default[1], addresses, ports);
  }
};

// 0: no limit. What may come at once (`*_burst`) is never 0 where there is a limit.
struct PolicyLimit {
  uint64_t packets = 0, packets_burst = 0;  // per second
  uint64_t bytes = 0, bytes_burst = 0;
  bool operator==(const PolicyLimit&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(packets, packets_burst, bytes, bytes_burst);
  }
};

}  // namespace nacelle::core
