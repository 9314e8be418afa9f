#include "engine/policy_compile.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"

namespace nacelle::engine {
namespace {

using bpf::PolicyAddressRow;
using bpf::PolicyPortRow;
using bpf::PolicyTable;

constexpr uint8_t with_ports[] = {6, 17, 132};  // tcp, udp, sctp
constexpr uint32_t ports_end = 65536;

// What a set of rules says of a port.
struct Verdict {
  bool has = false, deny = false;
  uint16_t rule = 0;
  bool operator==(const Verdict&) const = default;
  // A deny wins over an allow; of two alike, the one that is written first is given the credit.
  void add(bool is_deny, uint16_t number) {
    if (!has || (is_deny && !deny)) *this = {.has = true, .deny = is_deny, .rule = number};
  }
};

// Rules by their numbers, in ascending order.
using RuleSet = std::vector<uint16_t>;

class Compiler {
 public:
  Compiler(const std::vector<JoinedRule>& rules, const PeerAddresses& addresses_of)
      : rules_(rules), addresses_of_(addresses_of) {}

  Result<> compile(PolicyTable& table) {
    RuleSet everyone;
    for (uint16_t number = 0; number < rules_.size(); ++number) {
      if (rules_[number].rule->peers.empty()) everyone.push_back(number);
    }
    TRY(add_class(table, 0, everyone));
    gather();
    return add_addresses(table);
  }

 private:
  // In the order in which a prefix comes behind all that contain it: by family, address, length.
  struct Base {
    bool v6 = false;
    AddressNumber number = 0;
    unsigned length = 0;
    auto operator<=>(const Base&) const = default;
    Prefix prefix() const { return {.base = {.number = number, .v6 = v6}, .length = length}; }
  };
  static Base base_of(const Address& address, unsigned length) {
    return {.v6 = address.v6, .number = address.number, .length = length};
  }

  // Which rules name which prefix.
  void gather() {
    for (uint16_t number = 0; number < rules_.size(); ++number) {
      for (const PolicyPeer& peer : rules_[number].rule->peers) {
        if (peer.what == PolicyPeer::What::Cidr) {
          named_[base_of(peer.prefix.base, peer.prefix.length)].push_back(number);
          continue;
        }
        const auto found = addresses_of_.find({peer.what, peer.text});
        if (found == addresses_of_.end()) continue;
        for (const Address& address : found->second) {
          named_[base_of(address, address.v6 ? 128 : 32)].push_back(number);
        }
      }
    }
  }

  static void add_address(PolicyTable& table, const Base& base, uint32_t address_class) {
    const auto length = static_cast<uint8_t>(base.length);
    if (!base.v6) {
      table.addresses.push_back({.base = static_cast<uint32_t>(base.number),
                                 .length = length,
                                 .address_class = address_class});
      return;
    }
    bpf::PolicyAddress6Row row{.base = {}, .length = length, .address_class = address_class};
    for (size_t at = 0; at < row.base.size(); ++at) {
      row.base[at] = static_cast<uint8_t>(base.number >> (8 * (row.base.size() - 1 - at)));
    }
    table.addresses6.push_back(row);
  }

  // Those that contain a prefix come before it, so they are a stack.
  Result<> add_addresses(PolicyTable& table) {
    std::vector<std::pair<Base, RuleSet>> around;
    for (auto& [base, rules] : named_) {
      const auto holds = [&](const Base& outer) {
        return outer.prefix().contains(base.prefix().base);
      };
      while (!around.empty() && !holds(around.back().first)) around.pop_back();
      RuleSet all = std::move(rules);
      if (!around.empty()) {
        all.insert(all.end(), around.back().second.begin(), around.back().second.end());
      }
      std::ranges::sort(all);
      all.erase(std::ranges::unique(all).begin(), all.end());
      const auto [known, is_new] =
          classes_.try_emplace(all, static_cast<uint32_t>(classes_.size() + 1));
      if (is_new) TRY(add_class(table, known->second, all));
      add_address(table, base, known->second);
      TRY(check_size(table));
      around.emplace_back(base, std::move(all));
    }
    return {};
  }

  Result<> check_size(const PolicyTable& table) const {
    if (table.rows() <= bpf::policy_rows_max) return {};
    return fail(Kind::Exhausted, cat("these rules need more than ", bpf::policy_rows_max,
                                     " rows: use fewer peers with ports of their own"));
  }

  Result<> add_class(PolicyTable& table, uint32_t number, const RuleSet& rules) {
    for (uint8_t direction = 0; direction < 2; ++direction) {
      RuleSet mine;
      std::set<uint8_t> protocols{bpf::policy_any_protocol};
      for (const uint16_t each : rules) {
        if (rules_[each].direction != direction) continue;
        mine.push_back(each);
        const PolicyRule& rule = *rules_[each].rule;
        if (rule.protocol) {
          protocols.insert(*rule.protocol);
        } else if (!rule.ports.empty()) {
          protocols.insert(std::begin(with_ports), std::end(with_ports));
        }
      }
      if (mine.empty()) continue;
      for (const uint8_t protocol : protocols) {
        add_ports(table, {.address_class = number, .direction = direction, .protocol = protocol},
                  mine);
        TRY(check_size(table));
      }
    }
    return {};
  }

  static bool is_about(const PolicyRule& rule, uint8_t protocol) {
    if (rule.protocol) return *rule.protocol == protocol;
    return rule.ports.empty() || contains(with_ports, protocol);
  }

  void add_ports(PolicyTable& table, PolicyPortRow row, const RuleSet& rules) const {
    // What holds for all ports, and at which ports anything changes.
    Verdict everywhere;
    std::vector<std::pair<PortRange, uint16_t>> ranges;
    std::set<uint32_t> edges{0, ports_end};
    for (const uint16_t each : rules) {
      const PolicyRule& rule = *rules_[each].rule;
      if (!is_about(rule, row.protocol)) continue;
      if (rule.ports.empty()) everywhere.add(rule.deny, each);
      for (const PortRange& range : rule.ports) {
        ranges.emplace_back(range, each);
        edges.insert(range.first);
        edges.insert(uint32_t{range.last} + 1);
      }
    }
    add_row(table, row, 0, 0, everywhere);
    if (ranges.empty()) return;
    Sweep sweep{.rules = rules_};
    uint32_t begin = 0;
    Verdict now = everywhere;
    std::ranges::sort(ranges, {}, [](const auto& each) { return each.first.first; });
    size_t next = 0;
    for (const uint32_t edge : edges) {
      sweep.leave(edge);
      for (; next < ranges.size() && ranges[next].first.first == edge; ++next) {
        sweep.enter(ranges[next].first.last, ranges[next].second);
      }
      const Verdict then =
          edge == ports_end ? Verdict{.has = true, .rule = UINT16_MAX} : sweep.verdict(everywhere);
      if (then == now) continue;
      if (now != everywhere) add_range(table, row, begin, edge, now);
      begin = edge;
      now = then;
    }
  }

  // The rules whose ranges hold at the present port.
  struct Sweep {
    const std::vector<JoinedRule>& rules;
    std::multiset<std::pair<uint16_t, uint16_t>> ends = {};  // last port, rule
    std::multiset<uint16_t> kinds[2] = {};                   // rules; by whether they deny

    void enter(uint16_t last, uint16_t rule) {
      ends.emplace(last, rule);
      kinds[rules[rule].rule->deny].insert(rule);
    }
    void leave(uint32_t port) {
      while (!ends.empty() && ends.begin()->first < port) {
        const uint16_t rule = ends.begin()->second;
        auto& kind = kinds[rules[rule].rule->deny];
        kind.erase(kind.find(rule));
        ends.erase(ends.begin());
      }
    }
    Verdict verdict(Verdict everywhere) const {
      for (const bool deny : {true, false}) {
        if (everywhere.has && everywhere.deny && !deny) break;
        const bool rival = everywhere.has && everywhere.deny == deny;
        if (kinds[deny].empty()) {
          if (rival) return everywhere;
          continue;
        }
        const uint16_t first = *kinds[deny].begin();
        if (rival && everywhere.rule < first) return everywhere;
        return {.has = true, .deny = deny, .rule = first};
      }
      return everywhere;
    }
  };

  static void add_row(PolicyTable& table, PolicyPortRow row, uint32_t port, uint8_t length,
                      const Verdict& verdict) {
    row.port = static_cast<uint16_t>(port);
    row.length = length;
    row.has_verdict = verdict.has;
    row.deny = verdict.deny;
    row.rule = verdict.rule;
    table.ports.push_back(row);
  }

  // [begin, end) as prefixes: the largest that fits, again and again.
  static void add_range(PolicyTable& table, const PolicyPortRow& row, uint32_t begin, uint32_t end,
                        const Verdict& verdict) {
    while (begin < end) {
      uint8_t free_bits = 0;
      while (free_bits < 16) {
        const uint32_t size = uint32_t{2} << free_bits;
        if (begin % size != 0 || begin + size > end) break;
        ++free_bits;
      }
      add_row(table, row, begin, static_cast<uint8_t>(16 - free_bits), verdict);
      begin += uint32_t{1} << free_bits;
    }
  }

  const std::vector<JoinedRule>& rules_;
  const PeerAddresses& addresses_of_;
  std::map<Base, RuleSet> named_;
  std::map<RuleSet, uint32_t> classes_;
};

}  // namespace

std::vector<JoinedRule> join_rules(const std::vector<const Policy*>& policies) {
  std::vector<JoinedRule> all;
  for (size_t policy = 0; policy < policies.size(); ++policy) {
    for (uint8_t direction = 0; direction < 2; ++direction) {
      const auto& rules = policies[policy]->rules[direction];
      for (uint32_t index = 0; index < rules.size(); ++index) {
        all.push_back({.rule = &rules[index],
                       .direction = direction,
                       .policy = static_cast<uint8_t>(policy),
                       .index = index});
      }
    }
  }
  return all;
}

bpf::PolicyLimit join_limits(const std::vector<const Policy*>& policies, unsigned direction) {
  bpf::PolicyLimit joined;
  for (const Policy* policy : policies) {
    const bpf::PolicyLimit& limit = policy->limits[direction];
    if (limit.packets != 0 && (joined.packets == 0 || limit.packets < joined.packets)) {
      joined.packets = limit.packets;
      joined.packets_burst = limit.packets_burst;
    }
    if (limit.bytes != 0 && (joined.bytes == 0 || limit.bytes < joined.bytes)) {
      joined.bytes = limit.bytes;
      joined.bytes_burst = limit.bytes_burst;
    }
  }
  return joined;
}

Result<bpf::PolicyTable> compile_policies(const std::vector<const Policy*>& policies,
                                          const PeerAddresses& addresses_of) {
  bpf::PolicyTable table;
  for (const Policy* policy : policies) {
    for (unsigned direction = 0; direction < 2; ++direction) {
      table.deny_by_default[direction] |= policy->deny_by_default[direction];
    }
  }
  const std::vector<JoinedRule> rules = join_rules(policies);
  TRY(Compiler(rules, addresses_of).compile(table));
  return table;
}

}  // namespace nacelle::engine
