// Nanoseconds per packet in the program at a container's link (BPF_PROG_TEST_RUN): without a
// policy, with one of no rules, with one of a thousand; of a flow that is known, and of flows that
// are judged, since they are denied. Medians of rounds that take turns, with the spread between
// quartiles.
//
// usage: link_packet [PACKETS [ROUNDS]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "base/check.h"
#include "engine/policy.h"
#include "engine/policy_compile.h"
#include "tests/support/link_programs.h"
#include "tests/support/private_host.h"

namespace nacelle::test {
namespace {

constexpr uint32_t without_rules = 1, with_rules = 2;

// Rules that all differ, in address and port; the last one is about our packets.
std::string many_rules(int count) {
  std::string text = R"({"default":{"ingress":"deny"},"ingress":[)";
  for (int rule = 0; rule < count - 1; ++rule) {
    text += R"({"action":"allow","protocol":"tcp","from":[{"cidr":"10.)" +
            std::to_string(rule / 250 + 1) + "." + std::to_string(rule % 250) +
            R"(.0/24"}],"ports":[)" + std::to_string(rule + 1000) + "]},";
  }
  return text +
         R"({"action":"allow","protocol":"tcp","from":[{"cidr":"192.0.2.0/24"}],"ports":[80]}]})";
}

void set(LinkPrograms& programs, uint32_t number, const std::string& text) {
  const auto policy = engine::parse_policy(text);
  CHECK(policy.has_value());
  bpf::PolicyVersion version;
  const auto table = engine::compile_policies({&*policy}, {});
  CHECK(table.has_value());
  version.enforced = *table;
  version.rules = static_cast<uint16_t>(engine::join_rules({&*policy}).size());
  CHECK(programs.policies().replace(number, version, true).has_value());
}

struct Case {
  const char* name;
  uint32_t policy;
  PacketText packet;
  std::vector<uint32_t> ns = {};
};

int measure(uint32_t packets, int rounds) {
  const auto opened = LinkPrograms::open();
  if (!opened) {
    std::fprintf(stderr, "%s\n", opened.error().message().c_str());
    return 1;
  }
  LinkPrograms& programs = **opened;
  set(programs, without_rules, R"({})");
  set(programs, with_rules, many_rules(1000));
  PacketText known{.source = 0xc0000209,
                   .destination = container_address,
                   .source_port = 40000,
                   .destination_port = 80,
                   .tcp_flags = 0x02};
  for (const uint32_t policy : {without_rules, with_rules}) {
    CHECK(programs.set_policy(policy).has_value());
    CHECK(programs.run(known, true)->passed);
  }
  PacketText denied = known;
  denied.destination_port = 81;
  PacketText begun = known;
  known.tcp_flags = 0x10;
  Case cases[] = {{"no policy", 0, known},
                  {"known flow, no rules", without_rules, known},
                  {"known flow, 1000 rules", with_rules, known},
                  {"new flow, no rules", without_rules, begun},
                  {"new flow, 1000 rules", with_rules, begun},
                  {"denied, 1000 rules", with_rules, denied}};
  for (int round = 0; round < rounds; ++round) {
    for (Case& each : cases) {
      CHECK(programs.set_policy(each.policy).has_value());
      // A flow has the policy that let it pass: it is known again before it is measured.
      CHECK(programs.run(each.packet, true).has_value());
      if (&each < cases + 3) CHECK(programs.run(begun, true)->passed);
      each.ns.push_back(programs.run(each.packet, true, packets)->ns);
    }
  }
  for (Case& each : cases) {
    std::ranges::sort(each.ns);
    const size_t count = each.ns.size();
    std::printf("%-24s %4u ns per packet (%u to %u)\n", each.name, each.ns[count / 2],
                each.ns[count / 4], each.ns[count * 3 / 4]);
  }
  return 0;
}

}  // namespace
}  // namespace nacelle::test

int main(int argc, char** argv) {
  const auto packets = static_cast<uint32_t>(argc > 1 ? std::atoi(argv[1]) : 200000);
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 21;
  return nacelle::test::in_private_host([&] { return nacelle::test::measure(packets, rounds); });
}
