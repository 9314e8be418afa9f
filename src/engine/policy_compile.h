// Policies as the rows the kernel looks up (bpf/policies.h). Pure. What is compiled is the
// union of the policies that hold for one link, its network's and its container's: a deny of either
// wins, and what either denies by default needs an allow of either.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bpf/policies.h"
#include "engine/policy.h"
#include "nacelle/result.h"

namespace nacelle::engine {

// A rule of the union. Its place in it is its number in rows and counters.
struct JoinedRule {
  const PolicyRule* rule = nullptr;
  uint8_t direction = 0;
  uint8_t policy = 0;  // which of the policies, and which of its rules of this direction
  uint32_t index = 0;
};
std::vector<JoinedRule> join_rules(const std::vector<const Policy*>& policies);
// The tighter one of each direction's limits.
bpf::PolicyLimit join_limits(const std::vector<const Policy*>& policies, unsigned direction);

// `addresses_of`: which addresses a peer that is no Cidr stands for now. Exhausted where the rules
// have too many rows.
using PeerAddresses = std::map<std::pair<PolicyPeer::What, std::string>, std::vector<Address>>;
Result<bpf::PolicyTable> compile_policies(const std::vector<const Policy*>& policies,
                                          const PeerAddresses& addresses_of);

}  // namespace nacelle::engine
