// What is said to nft, as text.
#include "engine/packet_rules.h"

#include <gtest/gtest.h>

#include "engine/host_ports.h"
#include "engine/spec_parts.h"

namespace nacelle::engine {
namespace {

Network network(std::string subnet, Labels options = {}, bool internal = false) {
  Network made;
  made.pools.emplace_back().subnet = std::move(subnet);
  made.options = std::move(options);
  made.internal = internal;
  return made;
}

TEST(packet_rules, a_network_may_talk_within_itself_and_go_out) {
  const RuleElements wanted{{"networks", "10.1.0.0/16"},
                            {"masqueraded", "10.1.0.0/16"},
                            {"within", "10.1.0.0/16 . 10.1.0.0/16"}};
  EXPECT_EQ(elements_of_networks({network("10.1.0.0/16")}), wanted);
  EXPECT_EQ(elements_of_networks({network("fd00::/64"), Network()}), RuleElements());
}

TEST(packet_rules, options_take_away) {
  const RuleElements internal{{"networks", "10.1.0.0/16"},
                              {"internal", "10.1.0.0/16"},
                              {"within", "10.1.0.0/16 . 10.1.0.0/16"}};
  EXPECT_EQ(elements_of_networks({network("10.1.0.0/16", {}, true)}), internal);
  const RuleElements alone{{"networks", "10.1.0.0/16"}};
  EXPECT_EQ(elements_of_networks({network(
                "10.1.0.0/16", {{"com.docker.network.bridge.enable_icc", "false"},
                                {"com.docker.network.bridge.enable_ip_masquerade", "false"}})}),
            alone);
}

TEST(packet_rules, ports_go_by_number_and_by_address) {
  const PortMap ports{{"80/tcp", {{"0.0.0.0", "8080"}, {"127.0.0.1", "8081"}}},
                      {"53/udp", {{"0.0.0.0", "5353"}}}};
  const RuleElements wanted{{"published", "6 . 8080 : 172.17.0.2 . 80"},
                            {"published", "17 . 5353 : 172.17.0.2 . 53"},
                            {"published_at", "127.0.0.1 . 6 . 8081 : 172.17.0.2 . 80"},
                            {"hairpin", "172.17.0.2 . 172.17.0.2"}};
  EXPECT_EQ(elements_of_ports("172.17.0.2", ports), wanted);
  EXPECT_EQ(elements_of_ports("172.17.0.2", {}), RuleElements());
}

TEST(packet_rules, a_batch_takes_away_before_it_adds) {
  const RuleElements known{{"networks", "a"}, {"published", "6 . 80 : x . 1"}};
  const RuleElements wanted{
      {"networks", "a"}, {"networks", "b"}, {"networks", "c"}, {"published", "6 . 80 : y . 1"}};
  EXPECT_EQ(batch_of_difference(known, wanted),
            "delete element ip nacelle published { 6 . 80 : x . 1 }\n"
            "add element ip nacelle networks { b, c }\n"
            "add element ip nacelle published { 6 . 80 : y . 1 }\n");
  EXPECT_EQ(batch_of_difference(wanted, wanted), "");
  EXPECT_TRUE(
      batch_of_all(known).ends_with("}\nadd element ip nacelle networks { a }\n"
                                    "add element ip nacelle published { 6 . 80 : x . 1 }\n"));
}

std::string text_of(const PortMap& ports) {
  std::string text;
  for (const auto& [key, bindings] : ports) {
    for (const PortBinding& each : bindings) {
      text += each.host_ip + ":" + each.host_port + "->" + key + " ";
    }
  }
  return text;
}

TEST(host_ports, what_is_to_be_published_has_an_address_and_a_protocol) {
  Container container;
  container.config.exposed_ports = {{"80/tcp", {}}, {"90", {}}, {"53/udp", {}}};
  container.host.port_bindings = {{"80", {{"", "8080"}, {"127.0.0.1", ""}}}, {"70/tcp", {}}};
  EXPECT_EQ(text_of(ports_to_publish(container, "0.0.0.0")),
            "0.0.0.0:8080->80/tcp 127.0.0.1:->80/tcp ");
  container.host.publish_all_ports = true;
  EXPECT_EQ(text_of(ports_to_publish(container, "192.0.2.1")),
            "192.0.2.1:->53/udp 192.0.2.1:->70/tcp 192.0.2.1:8080->80/tcp 127.0.0.1:->80/tcp "
            "192.0.2.1:->90/tcp ");
}

}  // namespace
}  // namespace nacelle::engine
