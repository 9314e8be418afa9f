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
  Network both = network("10.1.0.0/16");
  both.ipv6 = true;
  both.pools.emplace_back().subnet = "fd00::/64";
  RuleElements more = wanted;
  more.insert({{"networks6", "fd00::/64"},
               {"masqueraded6", "fd00::/64"},
               {"within6", "fd00::/64 . fd00::/64"}});
  EXPECT_EQ(elements_of_networks({both}), more);
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
  EXPECT_EQ(elements_of_ports({"172.17.0.2", ""}, ports), wanted);
  EXPECT_EQ(elements_of_ports({"172.17.0.2", ""}, {}), RuleElements());
}

TEST(packet_rules, ports_of_ipv6_lead_to_its_address_or_nowhere) {
  const PortMap ports{{"80/tcp", {{"::", "8080"}, {"::1", "8081"}}}};
  const RuleElements wanted{{"published6", "6 . 8080 : fd00::2 . 80"},
                            {"published_at6", "::1 . 6 . 8081 : fd00::2 . 80"},
                            {"hairpin6", "fd00::2 . fd00::2"}};
  EXPECT_EQ(elements_of_ports({"172.17.0.2", "fd00::2"}, ports), wanted);
  EXPECT_EQ(elements_of_ports({"172.17.0.2", ""}, ports), RuleElements());
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
  EXPECT_EQ(batch_of_difference({}, {{"networks", "a"}, {"networks6", "b"}}),
            "add element ip nacelle networks { a }\nadd element ip6 nacelle networks6 { b }\n");
}

TEST(packet_rules, the_tables_of_both_families_are_one_but_for_names) {
  const std::string all = batch_of_all({{"networks6", "fd00::/64"}});
  EXPECT_FALSE(all.contains('$'));
  const size_t second = all.rfind("table ip6 nacelle {");
  ASSERT_NE(second, std::string::npos);
  EXPECT_TRUE(all.find("ip daddr 127.0.0.0/8 drop") < second);
  EXPECT_TRUE(all.find("ip6 daddr ::1 drop") > second);
  EXPECT_FALSE(all.substr(second).contains(" ip "));
}

TEST(packet_rules, without_ipv6_its_table_asks_nothing_of_the_kernel) {
  const std::string all = batch_of_all({{"networks", "10.1.0.0/16"}});
  const std::string its = all.substr(all.rfind("table ip6 nacelle {"));
  EXPECT_TRUE(its.contains("oifname \"nv*\" drop"));
  for (const char* word : {"fib", "nat", "ct", "networks6"})
    EXPECT_FALSE(its.contains(word)) << word;
}

std::string text_of(const PortWishes& ports) {
  std::string text;
  for (const auto& [key, wishes] : ports) {
    for (const PortWish& each : wishes) {
      for (const std::string& address : each.addresses) text += address + "|";
      text.back() = ':';
      text += each.port + "->" + key + " ";
    }
  }
  return text;
}

TEST(host_ports, what_is_to_be_published_has_an_address_and_a_protocol) {
  Container container;
  container.config.exposed_ports = {{"80/tcp", {}}, {"90", {}}, {"53/udp", {}}};
  container.host.port_bindings = {{"80", {{"", "8080"}, {"127.0.0.1", ""}}}, {"70/tcp", {}}};
  EXPECT_EQ(text_of(ports_to_publish(container, {"0.0.0.0", "::"})),
            "0.0.0.0|:::8080->80/tcp 127.0.0.1:->80/tcp ");
  container.host.publish_all_ports = true;
  EXPECT_EQ(text_of(ports_to_publish(container, {"192.0.2.1"})),
            "192.0.2.1:->53/udp 192.0.2.1:->70/tcp 192.0.2.1:8080->80/tcp 127.0.0.1:->80/tcp "
            "192.0.2.1:->90/tcp ");
}

TEST(host_ports, one_number_is_had_at_every_address_or_none_is) {
  HostPorts ports;
  const PortWishes anywhere{{"80/tcp", {{{"0.0.0.0", "::"}, ""}}}};
  const auto first = ports.take("a", anywhere);
  ASSERT_TRUE(first) << first.error().message();
  const std::vector<PortBinding>& bound = first->at("80/tcp");
  ASSERT_EQ(bound.size(), 2u);
  EXPECT_EQ(bound[0].host_ip, "0.0.0.0");
  EXPECT_EQ(bound[1].host_ip, "::");
  EXPECT_EQ(bound[0].host_port, bound[1].host_port);
  const std::string& port = bound[0].host_port;
  const auto at = [&](std::vector<std::string> addresses) {
    const auto taken = ports.take("b", {{"80/tcp", {{std::move(addresses), port}}}});
    return taken ? std::string() : taken.error().message();
  };
  EXPECT_EQ(at({"::1"}), "Bind for [::1]:" + port + " failed: port is already allocated");
  EXPECT_EQ(at({"127.0.0.1"}), "Bind for 127.0.0.1:" + port + " failed: port is already allocated");
  ports.release("a");
  // The families do not share their ports.
  EXPECT_EQ(at({"::1"}), "");
  EXPECT_TRUE(ports.take("c", {{"80/tcp", {{{"127.0.0.1"}, port}}}}));
  EXPECT_FALSE(ports.take("d", {{"80/tcp", {{{"0.0.0.0", "::"}, port}}}}));
  ports.release("b");
  ports.release("c");
  EXPECT_TRUE(ports.take("d", {{"80/tcp", {{{"0.0.0.0", "::"}, port}}}})) << "nothing is held";
}

}  // namespace
}  // namespace nacelle::engine
