#include "dns/table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dns/message.h"

namespace nacelle::dns {
namespace {

Endpoint on(std::string network, std::string address, std::vector<std::string> names) {
  Endpoint endpoint;
  endpoint.network = "id-" + network;
  endpoint.network_name = std::move(network);
  endpoint.addresses = {std::move(address)};
  endpoint.names = std::move(names);
  return endpoint;
}
Member member(std::vector<Endpoint> endpoints) { return {.endpoints = std::move(endpoints)}; }

class DnsTable : public testing::Test {
 protected:
  DnsTable() {
    table.set("a", member({on("one", "10.1.0.2", {"Ax", "many"})}));
    table.set("b", member({on("one", "10.1.0.3", {"bx", "many"})}));
    table.set("c", member({on("two", "10.2.0.2", {"cx"})}));
    table.set("d", member({on("one", "10.1.0.4", {"dx"}), on("two", "10.2.0.3", {"dx"})}));
  }
  std::string find(const std::string& who, std::string_view name) const {
    std::string text;
    for (const std::string_view each : table.resolve(*table.find(who), name)) {
      for (const char c : each) text += std::to_string(static_cast<unsigned char>(c)) + ".";
      text.back() = ' ';
    }
    if (!text.empty()) text.pop_back();
    return text;
  }
  Table table;
};

TEST_F(DnsTable, knows_names_of_the_askers_networks) {
  EXPECT_EQ(find("b", "ax"), "10.1.0.2");
  EXPECT_EQ(find("b", "bx"), "10.1.0.3");
  EXPECT_EQ(find("b", "many"), "10.1.0.2 10.1.0.3");
  EXPECT_EQ(find("b", "cx"), "");
  EXPECT_EQ(find("c", "ax"), "");
  EXPECT_EQ(find("d", "cx"), "10.2.0.2");
}

TEST_F(DnsTable, knows_a_name_with_its_network) {
  EXPECT_EQ(find("b", "ax.one"), "10.1.0.2");
  EXPECT_EQ(find("b", "ax.two"), "");
  EXPECT_EQ(find("b", "cx.two"), "");
  EXPECT_EQ(find("d", "dx.two"), "10.2.0.3");
  EXPECT_EQ(find("d", "dx"), "10.1.0.4");  // the first network that knows it decides
  EXPECT_EQ(find("b", ".one"), "");
  EXPECT_EQ(find("b", "one"), "");
}

TEST_F(DnsTable, dots_may_be_in_either) {
  table.set("e", member({on("a.b", "10.3.0.2", {"x.y", "y.a"})}));
  EXPECT_EQ(find("e", "x.y"), "10.3.0.2");
  EXPECT_EQ(find("e", "x.y.a.b"), "10.3.0.2");
  EXPECT_EQ(find("e", "y.a.a.b"), "10.3.0.2");
  EXPECT_EQ(find("e", "x.y.a"), "");
}

TEST_F(DnsTable, a_link_is_its_owners_alone) {
  Member linked = member({on("one", "10.1.0.5", {"ex"})});
  linked.endpoints[0].links = {{"DB", "aX"}, {"bx", "ax"}, {"gone", "nobody"}};
  table.set("e", linked);
  EXPECT_EQ(find("e", "db"), "10.1.0.2");
  EXPECT_EQ(find("e", "db.one"), "10.1.0.2");
  EXPECT_EQ(find("e", "bx"), "10.1.0.2");  // it hides who is called that
  EXPECT_EQ(find("e", "gone"), "");
  EXPECT_EQ(find("b", "db"), "");
}

TEST_F(DnsTable, forgets_who_goes_and_what_is_replaced) {
  table.remove("a");
  EXPECT_EQ(find("b", "ax"), "");
  EXPECT_EQ(find("b", "many"), "10.1.0.3");
  table.set("b", member({on("two", "10.2.0.9", {"by"})}));
  EXPECT_EQ(find("d", "many"), "");
  EXPECT_EQ(find("d", "bx"), "");
  EXPECT_EQ(find("d", "by"), "10.2.0.9");
  table.remove("nobody");
  for (const char* each : {"b", "c", "d"}) table.remove(each);
  EXPECT_EQ(table.find("b"), nullptr);
}

TEST_F(DnsTable, has_the_first_name_of_an_address) {
  const auto name = [&](const char* who, const char* address) {
    return table.name_of(*table.find(who), parse_address_bytes(address));
  };
  EXPECT_EQ(name("b", "10.1.0.2"), "ax.one");
  EXPECT_EQ(name("b", "10.2.0.2"), "");
  EXPECT_EQ(name("d", "10.2.0.2"), "cx.two");
  EXPECT_EQ(name("b", "10.1.0.99"), "");
  EXPECT_EQ(table.name_of(*table.find("b"), ""), "");
}

TEST_F(DnsTable, passes_over_what_is_no_address) {
  table.set("e", member({on("one", "10.1.0", {"ex"})}));
  EXPECT_EQ(find("a", "ex"), "");
}

}  // namespace
}  // namespace nacelle::dns
