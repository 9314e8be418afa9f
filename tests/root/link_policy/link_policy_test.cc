// What the kernel does with a policy's rows, packet by packet: the programs of links are run on
// bytes.
#include <gtest/gtest.h>

#include "engine/policy.h"
#include "engine/policy_compile.h"
#include "tests/support/link_programs.h"

namespace nacelle::test {
namespace {

using engine::Policy;

constexpr uint32_t peer = 0x0a000003, stranger = 0xc0000209;
constexpr uint8_t syn = 0x02, ack = 0x10, syn_ack = 0x12;
constexpr uint32_t number = 7;

class LinkPolicy : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = LinkPrograms::open();
    ASSERT_TRUE(opened) << opened.error().message();
    programs_ = *std::move(opened);
    // Flows are remembered in maps that outlive a test: each has ports of its own.
    port_ = static_cast<uint16_t>(20000 + 100 * ++tests);
  }
  void TearDown() override {
    if (programs_) EXPECT_TRUE(programs_->policies().forget(number));
  }

  // The policy from now on.
  void set(const char* text, const engine::PeerAddresses& addresses = {}) {
    const auto policy = engine::parse_policy(text);
    ASSERT_TRUE(policy) << policy.error().message();
    bpf::PolicyVersion version;
    version.is_enforced = !policy->dry_run;
    version.has_trial = policy->dry_run;
    const auto table = engine::compile_policies({&*policy}, addresses);
    ASSERT_TRUE(table);
    const auto rules = static_cast<uint16_t>(engine::join_rules({&*policy}).size());
    (policy->dry_run ? version.trial : version.enforced) = *table;
    (policy->dry_run ? version.trial_rules : version.rules) = rules;
    for (unsigned each = 0; each < 2; ++each) version.limits[each] = policy->limits[each];
    const auto replaced = programs_->policies().replace(number, version, true);
    ASSERT_TRUE(replaced) << replaced.error().message();
    ASSERT_TRUE(programs_->set_policy(number));
  }
  bool passes(const PacketText& packet) {
    const auto run = programs_->run(packet, packet.destination == container_address);
    EXPECT_TRUE(run) << run.error().message();
    return run && run->passed;
  }
  PacketText to(uint16_t destination_port, uint32_t from = peer, uint8_t protocol = 6) const {
    return {.source = from,
            .destination = container_address,
            .protocol = protocol,
            .source_port = port_,
            .destination_port = destination_port};
  }
  PacketText from(uint16_t destination_port, uint32_t where = peer, uint8_t protocol = 6) const {
    return {.source = container_address,
            .destination = where,
            .protocol = protocol,
            .source_port = port_,
            .destination_port = destination_port};
  }
  static PacketText of_ipv6(PacketText packet) {
    packet.v6 = true;
    return packet;
  }
  // What answers it.
  static PacketText answer(PacketText packet, uint8_t flags = syn_ack) {
    std::swap(packet.source, packet.destination);
    if (packet.protocol != 1 && packet.protocol != 58)
      std::swap(packet.source_port, packet.destination_port);
    packet.tcp_flags = flags;
    packet.icmp_type = 0;
    return packet;
  }
  uint64_t hits(uint16_t rule, bool is_trial = false) {
    const auto counts = programs_->policies().read_counts(number);
    EXPECT_TRUE(counts);
    for (const bpf::PolicyCount& each : *counts) {
      if (each.rule == rule && each.is_trial == is_trial) return each.hits;
    }
    return 0;
  }

  uint64_t drops_for(unsigned reason) {
    return hits(static_cast<uint16_t>(NACELLE_COUNT_REASON + reason));
  }

  static inline unsigned tests = 0;
  std::unique_ptr<LinkPrograms> programs_;
  uint16_t port_ = 0;
};

TEST_F(LinkPolicy, WithoutAPolicyEverythingPasses) {
  EXPECT_TRUE(passes(to(80)));
  EXPECT_TRUE(passes(from(80)));
}

TEST_F(LinkPolicy, APolicyThatIsNotThereLetsNothingPass) {
  ASSERT_TRUE(programs_->set_policy(99));
  EXPECT_FALSE(passes(to(80)));
  EXPECT_FALSE(passes(from(80)));
}

TEST_F(LinkPolicy, RulesAreByAddressPortAndProtocol) {
  set(R"({"default":"deny","ingress":[{"action":"allow","from":[{"cidr":"10.0.0.0/24"}],
          "protocol":"tcp","ports":[80,"8000-8003"]}]})");
  EXPECT_TRUE(passes(to(80)));
  EXPECT_TRUE(passes(to(8003)));
  EXPECT_FALSE(passes(to(8004)));
  EXPECT_FALSE(passes(to(80, stranger)));
  EXPECT_FALSE(passes(to(80, peer, 17)));
  EXPECT_FALSE(passes(from(80)));
  EXPECT_EQ(hits(0), 2u);
  EXPECT_EQ(hits(NACELLE_COUNT_DEFAULT + 0), 3u);
  EXPECT_EQ(hits(NACELLE_COUNT_DEFAULT + 1), 1u);
}

TEST_F(LinkPolicy, RulesOfIPv6AreByItsAddresses) {
  set(R"({"default":"deny","ingress":[
          {"action":"allow","from":[{"cidr":"fd00::a00:0/120"}],"protocol":"tcp","ports":[80]},
          {"action":"deny","from":[{"cidr":"fd00::a00:9"}]},
          {"action":"allow","from":[{"cidr":"10.0.0.3"}],"protocol":"udp"}]})");
  EXPECT_TRUE(passes(of_ipv6(to(80))));
  EXPECT_FALSE(passes(of_ipv6(to(81))));
  EXPECT_FALSE(passes(of_ipv6(to(80, stranger))));
  EXPECT_FALSE(passes(of_ipv6(to(80, 0x0a000009))));
  EXPECT_FALSE(passes(to(80))) << "a rule of IPv6 is about nobody of IPv4";
  EXPECT_TRUE(passes(to(53, peer, 17)));
  EXPECT_FALSE(passes(of_ipv6(to(53, peer, 17)))) << "nor the other way round";
  EXPECT_TRUE(passes(of_ipv6(answer(to(80)))));
  EXPECT_FALSE(passes(of_ipv6(from(80))));
}

TEST_F(LinkPolicy, RulesForEveryoneAreForBothFamilies) {
  set(R"({"default":"deny","ingress":[{"action":"allow","protocol":"tcp","ports":[80]}]})");
  EXPECT_TRUE(passes(to(80)));
  EXPECT_TRUE(passes(of_ipv6(to(80))));
  set(R"({"default":"deny","ingress":[{"action":"allow","from":[{"cidr":"::/0"}]}]})");
  EXPECT_FALSE(passes(to(81)));
  EXPECT_TRUE(passes(of_ipv6(to(81))));
}

TEST_F(LinkPolicy, OfICMPv6AnswersAndErrorsBelongToWhatWasSent) {
  set(R"({"default":"deny","egress":[{"action":"allow"}]})");
  PacketText echo = of_ipv6(from(0, peer, 58));
  echo.icmp_type = 128;
  EXPECT_TRUE(passes(echo));
  PacketText reply = of_ipv6(answer(echo));
  reply.source_port = echo.source_port;  // which echo
  reply.icmp_type = 129;
  EXPECT_TRUE(passes(reply));
  reply.source_port = static_cast<uint16_t>(reply.source_port + 1);
  EXPECT_FALSE(passes(reply));
  const PacketText sent = of_ipv6(from(80));
  PacketText error = of_ipv6(to(0, stranger, 58));
  error.icmp_type = 2;  // too big
  error.payload = sent.bytes().substr(14);
  EXPECT_FALSE(passes(error)) << "nobody has sent that";
  EXPECT_TRUE(passes(sent));
  EXPECT_TRUE(passes(error));
  error.payload.resize(44);
  EXPECT_FALSE(passes(error)) << "it quotes too little";
}

TEST_F(LinkPolicy, TheRestOfAnIPv6PacketGoesWhereItsBeginningWent) {
  set(R"({"default":"deny","ingress":[{"action":"allow","protocol":"udp","ports":[53]}]})");
  PacketText first = of_ipv6(to(53, peer, 17));
  first.id = port_;
  first.fragment = 0x2000;
  PacketText rest = first;
  rest.fragment = 4;
  EXPECT_FALSE(passes(rest));
  EXPECT_TRUE(passes(first));
  EXPECT_TRUE(passes(rest));
  rest.id = static_cast<uint16_t>(rest.id + 1);
  EXPECT_FALSE(passes(rest));
  first.destination_port = 54;
  first.id = rest.id;
  EXPECT_FALSE(passes(first));
  EXPECT_FALSE(passes(rest));
}

TEST_F(LinkPolicy, ADenyWins) {
  set(R"({"ingress":[{"action":"allow","from":[{"cidr":"10.0.0.3"}]},
                     {"action":"deny","from":[{"cidr":"10.0.0.0/8"}],"protocol":"tcp"},
                     {"action":"deny","ports":[53]}]})");
  EXPECT_FALSE(passes(to(80)));
  EXPECT_TRUE(passes(to(80, peer, 17)));
  EXPECT_FALSE(passes(to(53, peer, 17)));
  EXPECT_EQ(hits(1), 1u);
  EXPECT_EQ(hits(2), 1u);
}

TEST_F(LinkPolicy, AnswersToWhatWasAllowedPass) {
  set(R"({"default":"deny","egress":[{"action":"allow"}]})");
  EXPECT_FALSE(passes(answer(from(443))));
  EXPECT_TRUE(passes(from(443)));
  EXPECT_TRUE(passes(answer(from(443))));
  EXPECT_FALSE(passes(answer(from(444))));
  EXPECT_TRUE(passes(from(53, peer, 17)));
  EXPECT_TRUE(passes(answer(from(53, peer, 17))));
  EXPECT_TRUE(passes(from(0, peer, 1)));
  EXPECT_TRUE(passes(answer(from(0, peer, 1))));
  // Who answers may not begin.
  EXPECT_FALSE(passes(answer(from(443), syn)));
  EXPECT_TRUE(passes(answer(from(443), ack)));
}

TEST_F(LinkPolicy, AChangeEndsAFlowAndLetsItGoOn) {
  constexpr const char* allowed =
      R"({"default":{"ingress":"deny"},"ingress":[{"action":"allow","ports":[80]}]})";
  constexpr const char* denied = R"({"default":{"ingress":"deny"}})";
  set(allowed);
  EXPECT_TRUE(passes(to(80)));
  PacketText more = to(80);
  more.tcp_flags = ack;
  set(denied);
  // The container may begin flows, but this one it has not begun.
  EXPECT_FALSE(passes(answer(to(80), ack)));
  EXPECT_FALSE(passes(more));
  EXPECT_FALSE(passes(answer(to(80), ack)));
  EXPECT_GT(drops_for(NACELLE_POLICY_CUT), 0u);
  set(allowed);
  EXPECT_TRUE(passes(answer(to(80), ack)));
  EXPECT_TRUE(passes(more));
}

TEST_F(LinkPolicy, TheMiddleOfAConnectionPassesOnlyIfBothMightHaveBegunIt) {
  set(R"({"default":{"ingress":"deny"}})");
  PacketText middle = from(80);
  middle.tcp_flags = ack;
  EXPECT_FALSE(passes(middle));
  EXPECT_EQ(drops_for(NACELLE_POLICY_MIDSTREAM), 1u);
  set(R"({"ingress":[{"action":"deny","ports":[1]}]})");
  EXPECT_TRUE(passes(middle));
}

TEST_F(LinkPolicy, AnErrorBelongsToItsFlow) {
  set(R"({"default":"deny","egress":[{"action":"allow"}]})");
  const PacketText sent = from(53, peer, 17);
  const auto unreachable = [](const PacketText& about) {
    PacketText error{.source = stranger,
                     .destination = container_address,
                     .protocol = 1,
                     .icmp_type = 3,
                     .payload = about.bytes().substr(14)};
    return error;
  };
  EXPECT_FALSE(passes(unreachable(sent)));
  EXPECT_TRUE(passes(sent));
  EXPECT_TRUE(passes(unreachable(sent)));
  EXPECT_FALSE(passes(unreachable(from(54, peer, 17))));
}

TEST_F(LinkPolicy, FragmentsGoWhereTheFirstOneWent) {
  set(R"({"default":{"ingress":"deny"},"ingress":[{"action":"allow","protocol":"udp","ports":[53]}]})");
  constexpr uint16_t more_fragments = 0x2000;
  PacketText first = to(53, peer, 17), rest = first, other = first;
  first.id = rest.id = port_;
  first.fragment = more_fragments;
  rest.fragment = 5;
  other.id = static_cast<uint16_t>(port_ + 1);
  other.fragment = 5;
  EXPECT_FALSE(passes(rest));
  EXPECT_TRUE(passes(first));
  EXPECT_TRUE(passes(rest));
  EXPECT_FALSE(passes(other));
  EXPECT_EQ(drops_for(NACELLE_POLICY_FRAGMENT), 2u);
  PacketText denied = first;
  denied.destination_port = 54;
  denied.id = rest.id = static_cast<uint16_t>(port_ + 2);
  EXPECT_FALSE(passes(denied));
  EXPECT_FALSE(passes(rest));
}

TEST_F(LinkPolicy, ATrialCountsAndDropsNothing) {
  set(R"({"mode":"dry-run","default":"deny","ingress":[{"action":"allow","ports":[80]}]})");
  EXPECT_TRUE(passes(to(80)));
  EXPECT_TRUE(passes(to(81)));
  PacketText more = to(81);
  more.tcp_flags = ack;
  EXPECT_TRUE(passes(more));
  EXPECT_EQ(hits(0, true), 1u);
  EXPECT_EQ(hits(NACELLE_COUNT_DEFAULT, true), 2u);
  EXPECT_EQ(hits(NACELLE_COUNT_DEFAULT, false), 0u);
}

TEST_F(LinkPolicy, WhatComesTooFastIsDropped) {
  set(R"({"limits":{"ingress":{"packets_per_second":1,"packets_burst":5}}})");
  int passed = 0;
  for (int packets = 0; packets < 50; ++packets) passed += passes(to(80, peer, 17));
  // Five at once, and one more for each second this takes.
  EXPECT_GE(passed, 5);
  EXPECT_LE(passed, 40);
  EXPECT_TRUE(passes(from(80, peer, 17)));
  EXPECT_GT(drops_for(NACELLE_POLICY_PACKET_RATE), 0u);
}

TEST_F(LinkPolicy, HeadersThatEndTooEarlyAreDropped) {
  set(R"({"ingress":[{"action":"deny","ports":[1]}]})");
  PacketText cut = to(80, peer, 1);
  cut.payload.clear();
  EXPECT_TRUE(passes(cut));
  PacketText quoting{.source = peer,
                     .destination = container_address,
                     .protocol = 1,
                     .icmp_type = 3,
                     .payload = "x"};
  EXPECT_TRUE(passes(quoting));  // as what it is: an ICMP packet that is allowed
}

TEST_F(LinkPolicy, WhatIsForgottenLeavesNoRow) {
  set(R"({"ingress":[{"action":"deny","from":[{"cidr":"10.0.0.0/8"}],"ports":[1,2,3]}]})");
  ASSERT_TRUE(programs_->policies().forget(number));
  const auto counts = programs_->policies().read_counts(number);
  ASSERT_TRUE(counts);
  EXPECT_TRUE(counts->empty());
  EXPECT_FALSE(passes(to(80)));
}

TEST_F(LinkPolicy, VerdictsAreToldWhileSomebodyListens) {
  auto events = bpf::PolicyEvents::open(LinkPrograms::directory);
  ASSERT_TRUE(events) << events.error().message();
  set(R"({"ingress":[{"action":"deny","ports":[81]}]})");
  std::vector<nacelle_policy_event> told;
  const auto read = [&] {
    events->read([&](const nacelle_policy_event& event) { told.push_back(event); });
  };
  passes(to(81));
  read();
  EXPECT_TRUE(told.empty());
  ASSERT_TRUE(programs_->policies().set_trace(UINT64_MAX, 0));
  passes(to(81));
  passes(to(82));
  read();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].is_deny, 1);
  EXPECT_EQ(told[0].reason, NACELLE_POLICY_RULE);
  EXPECT_EQ(told[0].rule, 0);
  EXPECT_EQ(told[0].policy, number);
  EXPECT_EQ(told[0].direction, NACELLE_INGRESS);
  EXPECT_EQ(told[0].remote_port, __builtin_bswap16(port_));
  ASSERT_TRUE(programs_->policies().set_trace(UINT64_MAX, UINT64_MAX));
  passes(to(83));
  read();
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[1].is_deny, 0);
  ASSERT_TRUE(programs_->policies().set_trace(0, 0));
}

// Goal: the kernel means by the rows what the rules mean. What the rows are is tested without it
// (tests/unit/engine_side/policy_test.cc): here it is that their bytes are read as they are
// written.
TEST_F(LinkPolicy, ManyRulesAreEachFound) {
  std::string text = R"({"default":"deny","ingress":[)";
  for (int rule = 0; rule < 1000; ++rule) {
    text += (rule == 0 ? "" : ",");
    text += R"({"action":"allow","protocol":"tcp","from":[{"cidr":"10.)" +
            std::to_string(rule / 250 + 1) + "." + std::to_string(rule % 250) +
            R"(.0/24"}],"ports":[)" + std::to_string(rule + 1) + "]}";
  }
  set((text + "]}").c_str());
  for (uint32_t rule = 0; rule < 1000; rule += 37) {
    const uint32_t source = 0x0a000005 + ((rule / 250 + 1) << 16) + (rule % 250 << 8);
    EXPECT_TRUE(passes(to(static_cast<uint16_t>(rule + 1), source))) << rule;
    EXPECT_FALSE(passes(to(static_cast<uint16_t>(rule + 2), source))) << rule;
    EXPECT_EQ(hits(static_cast<uint16_t>(rule)), 1u) << rule;
  }
}

}  // namespace
}  // namespace nacelle::test
