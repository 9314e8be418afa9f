// Network policies as people write them: rules about who may talk to a container, and to whom it
// may. Pure: JSON in both directions, checked strictly, since a member that is passed over is a
// wall that is not there. What the kernel gets is made by policy_compile.h.
//
//   { "mode": "enforce" | "dry-run",
//     "default": "allow" | "deny" | {"ingress": ..., "egress": ...},
//     "ingress": [ {"action": "allow" | "deny",
//                   "from": [ {"container": "web"}, {"label": "role=db"},
//                             {"cidr": "10.0.0.0/8"}, {"name": "example.org"} ],
//                   "protocol": "tcp" | "udp" | "sctp" | "icmp" | "icmpv6" | 47,
//                   "ports": [ 80, "8000-8100" ]} ],
//     "egress": [ the same, with "to" ],
//     "limits": {"ingress": {"packets_per_second": 1000, "bytes_per_second": 1000000,
//                            "packets_burst": 100, "bytes_burst": 100000}, "egress": ...} }
//
// A rule without `from` or `to` is about everyone, one without `ports` about every port, one
// without `protocol` about all of them; with ports alone, about those protocols that have ports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/policies.h"
#include "codec/json_writer.h"
#include "engine/addresses.h"
#include "engine/model.h"
#include "nacelle/result.h"

namespace nacelle::engine {

struct PolicyPeer {
  enum class What : uint8_t {
    Container,  // a name, an id, or twelve digits of one
    Label,      // "key" or "key=value"
    Cidr,
    Name,  // the addresses of a name of DNS
  };
  What what = What::Cidr;
  std::string text;
  Prefix prefix;  // of a Cidr
  bool operator==(const PolicyPeer&) const = default;
};

struct PortRange {
  uint16_t first = 0, last = 65535;
  bool operator==(const PortRange&) const = default;
};

struct PolicyRule {
  bool deny = false;
  std::vector<PolicyPeer> peers;    // none: everyone
  std::optional<uint8_t> protocol;  // none: every one
  std::vector<PortRange> ports;     // none: every one
  bool operator==(const PolicyRule&) const = default;
};

struct Policy {
  bool dry_run = false;
  bool deny_by_default[2] = {false, false};  // bpf::policy_ingress, bpf::policy_egress
  std::vector<PolicyRule> rules[2];
  bpf::PolicyLimit limits[2];
  bool operator==(const Policy&) const = default;
};

// Errors name the place: `ingress[2].ports[0]: '99999' is no port`.
Result<Policy> parse_policy(std::string_view text);
void write_json(codec::json::Writer& json, const Policy& policy);
std::string to_text(const PolicyRule& rule,
                    unsigned direction);  // "allow from label role=db tcp 80"

// Whether a peer is this container. A Cidr and a Name are nobody's.
bool is_peer(const PolicyPeer& peer, std::string_view id, std::string_view name,
             const Labels& labels);

}  // namespace nacelle::engine
