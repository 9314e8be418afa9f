#include "engine/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "engine/policy_compile.h"

namespace nacelle::test {
namespace {

using bpf::PolicyPortRow;
using bpf::PolicyTable;
using engine::Address;
using engine::AddressNumber;
using engine::compile_policies;
using engine::JoinedRule;
using engine::parse_policy;
using engine::PeerAddresses;
using engine::Policy;
using engine::PolicyPeer;
using engine::PolicyRule;

std::string written(const Policy& policy) {
  codec::json::Writer json;
  write_json(json, policy);
  return std::move(json).take();
}

TEST(Policy, WhatIsWrittenReadsAsTheSame) {
  const char* const text = R"({"mode":"dry-run","default":{"ingress":"deny"},
      "ingress":[{"action":"allow","from":[{"container":"web"},{"label":"role=db"},
                                           {"cidr":"10.0.0.0/8"},{"name":"example.org"}],
                  "protocol":"tcp","ports":[80,"443","8000-8100"]},
                 {"action":"deny","protocol":47}],
      "egress":[{"action":"allow","to":[{"cidr":"192.0.2.1"}]}],
      "limits":{"egress":{"packets_per_second":1000,"bytes_per_second":2000000}}})";
  const auto policy = parse_policy(text);
  ASSERT_TRUE(policy) << policy.error().message();
  EXPECT_TRUE(policy->dry_run);
  EXPECT_TRUE(policy->deny_by_default[0]);
  EXPECT_FALSE(policy->deny_by_default[1]);
  EXPECT_EQ(policy->limits[1].packets_burst, 100u);
  EXPECT_EQ(policy->limits[1].bytes_burst, 200000u);
  const auto again = parse_policy(written(*policy));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(*again, *policy);
  EXPECT_EQ(to_text(policy->rules[0][0], 0),
            "allow from container web,label role=db,cidr 10.0.0.0/8,name example.org tcp "
            "80,443,8000-8100");
}

// Goal: who has mistyped something is told where, and never gets a policy without it.
TEST(Policy, NamesThePlaceOfWhatItCannotRead) {
  struct Case {
    const char* text;
    const char* complaint;
  };
  const Case cases[] = {
      {R"([])", "expected an object"},
      {R"({"defaults":"deny"})", "defaults: is no member of a policy at this place"},
      {R"({"mode":"audit"})", R"(mode: 'audit' is neither enforce nor dry-run)"},
      {R"({"default":"drop"})", R"(default: 'drop' is neither allow nor deny)"},
      {R"({"default":{"in":"deny"}})", "default.in: is no member of a policy at this place"},
      {R"({"ingress":[{}]})", "ingress[0].action: missing"},
      {R"({"ingress":[{"action":"allow","to":[]}]})",
       "ingress[0].to: is no member of a policy at this place"},
      {R"({"egress":[{"action":"allow","to":[]}]})",
       "egress[0].to: names nobody; without it, everyone is meant"},
      {R"({"egress":[{"action":"allow","to":[{}]}]})",
       "egress[0].to[0]: must be one of container, label, cidr and name"},
      {R"({"egress":[{"action":"allow","to":[{"cidr":"10.0.0.0/8","label":"a"}]}]})",
       "egress[0].to[0]: must be one of container, label, cidr and name"},
      {R"({"egress":[{"action":"allow","to":[{"cidr":"10.0.0.1/8"}]}]})",
       "egress[0].to[0].cidr: 10.0.0.1/8 has bits behind its length: it should be 10.0.0.0/8"},
      {R"({"egress":[{"action":"allow","to":[{"cidr":"10.0.0.0/33"}]}]})",
       R"(egress[0].to[0].cidr: '10.0.0.0/33' is no address or prefix)"},
      {R"({"egress":[{"action":"allow","to":[{"cidr":"fd00::1/64"}]}]})",
       "egress[0].to[0].cidr: fd00::1/64 has bits behind its length: it should be fd00::/64"},
      {R"({"egress":[{"action":"allow","to":[{"cidr":"::ffff:10.0.0.0/104"}]}]})",
       R"(egress[0].to[0].cidr: '::ffff:10.0.0.0/104' is no address or prefix)"},
      {R"({"egress":[{"action":"allow","to":[{"name":"a..b"}]}]})",
       R"(egress[0].to[0].name: 'a..b' is no name of DNS)"},
      {R"({"egress":[{"action":"allow","to":[{"name":"a.."}]}]})",
       R"(egress[0].to[0].name: 'a..' is no name of DNS)"},
      {R"({"egress":[{"action":"allow","to":[{"label":""}]}]})", "egress[0].to[0].label: is empty"},
      {R"({"ingress":[{"action":"deny"},{"action":"deny"},{"action":"deny","ports":[99999]}]})",
       "ingress[2].ports[0]: '99999' is no port"},
      {R"({"ingress":[{"action":"deny","ports":[0]}]})", "ingress[0].ports[0]: '0' is no port"},
      {R"({"ingress":[{"action":"deny","ports":["90-80"]}]})",
       "ingress[0].ports[0]: 90-80 ends before it begins"},
      {R"({"ingress":[{"action":"deny","ports":["80-"]}]})", "ingress[0].ports[0]: '' is no port"},
      {R"({"ingress":[{"action":"deny","protocol":"icmp","ports":[1]}]})",
       "ingress[0].ports: this protocol has no ports"},
      {R"({"ingress":[{"action":"deny","protocol":0}]})", "ingress[0].protocol: 0 is no protocol"},
      {R"({"ingress":[{"action":"deny","protocol":"http"}]})",
       R"(ingress[0].protocol: 'http' is no protocol: tcp, udp, sctp, icmp, icmpv6, or a number)"},
      {R"({"limits":{"ingress":{"bytes_per_second":0}}})",
       "limits.ingress.bytes_per_second: must be from 1 to 1099511627776"},
      {R"({"limits":{"ingress":{"bytes_burst":1}}})",
       "limits.ingress.bytes_burst: needs bytes_per_second"},
  };
  for (const Case& each : cases) {
    const auto policy = parse_policy(each.text);
    ASSERT_FALSE(policy) << each.text;
    EXPECT_EQ(policy.error().message(), each.complaint);
    EXPECT_EQ(policy.error().kind(), Kind::Invalid);
  }
}

TEST(Policy, AComplaintIsNotCutWithinACharacter) {
  std::string port;
  for (int i = 0; i < 100; ++i) port += "\u20ac";
  const auto policy =
      parse_policy(cat(R"({"ingress":[{"action":"deny","ports":[")", port, R"("]}]})"));
  ASSERT_FALSE(policy);
  EXPECT_EQ(policy.error().message(),
            cat("ingress[0].ports[0]: '", port.substr(0, size_t{21} * 3), "...' is no port"));
}

TEST(Policy, KnowsContainersByNameIdAndLabel) {
  const engine::Labels labels{{"role", "db"}, {"tier", ""}};
  const std::string id(64, 'a');
  const auto is = [&](PolicyPeer::What what, const char* text) {
    return engine::is_peer({.what = what, .text = text}, id, "web", labels);
  };
  using enum PolicyPeer::What;
  EXPECT_TRUE(is(Container, "web"));
  EXPECT_TRUE(is(Container, "aaaaaaaaaaaa"));
  EXPECT_FALSE(is(Container, "aaaaaaaaaaa"));  // half an id may be another's tomorrow
  EXPECT_FALSE(is(Container, "we"));
  EXPECT_TRUE(is(Label, "role"));
  EXPECT_TRUE(is(Label, "role=db"));
  EXPECT_FALSE(is(Label, "role=d"));
  EXPECT_TRUE(is(Label, "tier="));
  EXPECT_FALSE(is(Label, "rol"));
  EXPECT_FALSE(is(Name, "web"));
}

// Compiled rows against the rules themselves ------------------------------------------------------

struct Packet {
  uint8_t direction;
  Address remote;
  uint8_t protocol;
  uint16_t port;
};
struct Outcome {
  bool deny;
  int rule;  // -1: the default
  bool operator==(const Outcome&) const = default;
};

bool is_from(const PolicyPeer& peer, const Address& address, const PeerAddresses& addresses) {
  if (peer.what == PolicyPeer::What::Cidr) return peer.prefix.contains(address);
  const auto found = addresses.find({peer.what, peer.text});
  return found != addresses.end() && std::ranges::count(found->second, address) > 0;
}

bool matches(const PolicyRule& rule, const Packet& packet, const PeerAddresses& addresses) {
  const bool has_ports = packet.protocol == 6 || packet.protocol == 17 || packet.protocol == 132;
  if (rule.protocol && *rule.protocol != packet.protocol) return false;
  if (!rule.ports.empty() &&
      (!has_ports || std::ranges::none_of(rule.ports, [&](const engine::PortRange& range) {
        return range.first <= packet.port && packet.port <= range.last;
      }))) {
    return false;
  }
  return rule.peers.empty() || std::ranges::any_of(rule.peers, [&](const PolicyPeer& peer) {
           return is_from(peer, packet.remote, addresses);
         });
}

// Every rule, one after the other.
Outcome judge(const std::vector<const Policy*>& policies, const Packet& packet,
              const PeerAddresses& addresses) {
  Outcome outcome{.deny = false, .rule = -1};
  for (const Policy* each : policies) outcome.deny |= each->deny_by_default[packet.direction];
  const std::vector<JoinedRule> rules = join_rules(policies);
  for (const bool deny : {true, false}) {
    for (size_t number = 0; number < rules.size(); ++number) {
      const JoinedRule& each = rules[number];
      if (each.direction != packet.direction || each.rule->deny != deny) continue;
      if (matches(*each.rule, packet, addresses)) {
        return {.deny = deny, .rule = static_cast<int>(number)};
      }
    }
  }
  return outcome;
}

// What the kernel does with the rows: bpf/policy.h, over lists.
const PolicyPortRow* longest(const PolicyTable& table, uint32_t number, const Packet& packet,
                             uint8_t protocol) {
  const PolicyPortRow* best = nullptr;
  for (const PolicyPortRow& row : table.ports) {
    if (row.address_class != number || row.direction != packet.direction ||
        row.protocol != protocol || (row.port ^ packet.port) >> (16 - row.length) != 0) {
      continue;
    }
    if (best == nullptr || row.length > best->length) best = &row;
  }
  return best;
}

Outcome look_up(const PolicyTable& table, const Packet& packet) {
  uint32_t number = 0;
  int length = -1;
  const auto consider = [&](const Address& base, uint8_t bits, uint32_t address_class) {
    if (bits <= length || base.v6 != packet.remote.v6) return;
    const unsigned behind = (base.v6 ? 128u : 32u) - bits;
    if (bits > 0 && (base.number ^ packet.remote.number) >> behind != 0) return;
    length = bits;
    number = address_class;
  };
  for (const auto& row : table.addresses) {
    consider({.number = row.base}, row.length, row.address_class);
  }
  for (const auto& row : table.addresses6) {
    Address base{.number = 0, .v6 = true};
    for (const uint8_t byte : row.base) base.number = base.number << 8 | byte;
    consider(base, row.length, row.address_class);
  }
  Outcome outcome{.deny = table.deny_by_default[packet.direction], .rule = -1};
  for (const uint32_t each : {0u, number}) {
    const PolicyPortRow* row = longest(table, each, packet, packet.protocol);
    if (row == nullptr) row = longest(table, each, packet, bpf::policy_any_protocol);
    if (row == nullptr || !row->has_verdict) continue;
    const bool wins = outcome.rule < 0 || (row->deny && !outcome.deny) ||
                      (row->deny == outcome.deny && static_cast<int>(row->rule) < outcome.rule);
    if (wins) outcome = {.deny = row->deny, .rule = row->rule};
  }
  return outcome;
}

// Few addresses, ports and names, so that rules overlap again and again.
class Dice {
 public:
  explicit Dice(unsigned seed) : random_(seed) {}
  unsigned roll(unsigned sides) { return static_cast<unsigned>(random_() % sides); }
  // Of both families with the same bits at their end.
  Address address() {
    const Address v4{.number = 0x0a000000u | roll(4) << 16 | roll(3) << 8 | roll(8)};
    if (roll(2) == 0) return v4;
    return {.number = AddressNumber{0xfd} << 120 | v4.number, .v6 = true};
  }
  uint16_t port() {
    constexpr uint16_t few[] = {1, 79, 80, 81, 1023, 1024, 8000, 32768, 65534, 65535};
    return roll(3) == 0 ? static_cast<uint16_t>(1 + roll(65535)) : few[roll(std::size(few))];
  }
  uint8_t protocol() {
    constexpr uint8_t few[] = {6, 6, 17, 17, 1, 132, 47};
    return few[roll(std::size(few))];
  }
  PolicyPeer peer() {
    PolicyPeer peer;
    constexpr unsigned lengths[] = {0, 8, 14, 15, 16, 22, 24, 29, 30, 32};
    if (roll(3) == 0) {
      peer.what = roll(2) == 0 ? PolicyPeer::What::Label : PolicyPeer::What::Name;
      peer.text = std::string(1, static_cast<char>('a' + roll(4)));
      return peer;
    }
    peer.prefix = {.base = address(), .length = lengths[roll(std::size(lengths))]};
    if (peer.prefix.base.v6 && peer.prefix.length > 8) peer.prefix.length += 96;
    peer.prefix.base = peer.prefix.first();
    return peer;
  }
  PolicyRule rule() {
    PolicyRule rule;
    rule.deny = roll(3) == 0;
    for (unsigned left = roll(4); left > 0; --left) rule.peers.push_back(peer());
    for (unsigned left = roll(3); left > 0; --left) {
      const uint16_t one = port(), other = roll(2) == 0 ? one : port();
      rule.ports.push_back({std::min(one, other), std::max(one, other)});
    }
    if (roll(2) == 0) rule.protocol = protocol();
    if (rule.protocol && *rule.protocol != 6 && *rule.protocol != 17) rule.ports.clear();
    return rule;
  }
  Policy policy(unsigned rules) {
    Policy policy;
    for (unsigned direction = 0; direction < 2; ++direction) {
      policy.deny_by_default[direction] = roll(2) == 0;
      for (unsigned left = roll(rules); left > 0; --left) {
        policy.rules[direction].push_back(rule());
      }
    }
    return policy;
  }

 private:
  std::mt19937 random_;
};

// Goal: the rows mean what the rules mean. Method: random policies, random packets, both ways.
TEST(PolicyCompile, RowsDecideAsTheRulesDo) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Dice dice(seed);
    const Policy network = dice.policy(seed % 10 == 0 ? 60 : 8), container = dice.policy(5);
    std::vector<const Policy*> both{&network};
    if (seed % 2 == 0) both.push_back(&container);
    PeerAddresses addresses;
    for (const char* name : {"a", "b", "c"}) {
      for (const auto what : {PolicyPeer::What::Label, PolicyPeer::What::Name}) {
        for (unsigned left = dice.roll(4); left > 0; --left) {
          addresses[{what, name}].push_back(dice.address());
        }
      }
    }
    const auto table = compile_policies(both, addresses);
    ASSERT_TRUE(table) << table.error().message();
    for (int packets = 0; packets < 400; ++packets) {
      Packet packet{.direction = static_cast<uint8_t>(dice.roll(2)),
                    .remote = dice.roll(10) == 0 ? Address{.number = 0xc0000201u} : dice.address(),
                    .protocol = dice.protocol(),
                    .port = dice.port()};
      if (packet.protocol == 1 || packet.protocol == 47) packet.port = 0;
      const Outcome expected = judge(both, packet, addresses);
      ASSERT_EQ(look_up(*table, packet), expected)
          << "seed " << seed << ": " << packet.remote.text() << " protocol " << int{packet.protocol}
          << " port " << packet.port << " direction " << int{packet.direction} << ", rule "
          << expected.rule << "\n"
          << written(network) << "\n"
          << written(container);
    }
  }
}

TEST(PolicyCompile, AThousandRulesAreAFewThousandRows) {
  Policy policy;
  for (uint32_t number = 0; number < 1000; ++number) {
    PolicyRule rule;
    rule.protocol = 6;
    rule.peers.push_back(
        {.prefix = {.base = {.number = 0x0a000000u + (number << 8)}, .length = 24}});
    rule.ports.push_back({static_cast<uint16_t>(number + 1), static_cast<uint16_t>(number + 1)});
    policy.rules[0].push_back(rule);
  }
  const auto table = compile_policies({&policy}, {});
  ASSERT_TRUE(table);
  EXPECT_EQ(table->addresses.size(), 1000u);
  EXPECT_LE(table->ports.size(), 3000u);
}

TEST(PolicyCompile, ARangeOfPortsIsFewPrefixes) {
  Policy policy;
  PolicyRule rule;
  rule.protocol = 6;
  rule.ports.push_back({1, 65534});
  policy.rules[0].push_back(rule);
  const auto table = compile_policies({&policy}, {});
  ASSERT_TRUE(table);
  // One for what is outside (twice: tcp, others), and the worst case of a range: 2 x 15.
  EXPECT_EQ(table->ports.size(), 32u);
}

TEST(PolicyCompile, TooManyRowsAreAnErrorAndNotAHole) {
  Policy policy;
  for (uint32_t number = 0; number < 600; ++number) {
    PolicyRule rule;
    // Each holds all that come behind it, so every class has the ports of all before.
    rule.peers.push_back({.prefix = {.base = {.number = 0}, .length = number % 33}});
    for (uint16_t port = 0; port < 40; ++port) {
      const auto at = static_cast<uint16_t>(1 + number * 80 + port * 2);
      rule.ports.push_back({at, at});
    }
    policy.rules[0].push_back(rule);
  }
  const auto table = compile_policies({&policy}, {});
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().kind(), Kind::Exhausted);
}

TEST(PolicyCompile, OfTwoLimitsTheTighterHolds) {
  Policy network, container;
  network.limits[1] = {.packets = 100, .packets_burst = 10, .bytes = 5000, .bytes_burst = 70000};
  container.limits[1] = {.packets = 200, .packets_burst = 1, .bytes = 4000, .bytes_burst = 80000};
  const bpf::PolicyLimit joined = engine::join_limits({&network, &container}, 1);
  EXPECT_EQ(joined, (bpf::PolicyLimit{
                        .packets = 100, .packets_burst = 10, .bytes = 4000, .bytes_burst = 80000}));
  EXPECT_EQ(engine::join_limits({&network, &container}, 0), bpf::PolicyLimit());
}

}  // namespace
}  // namespace nacelle::test
