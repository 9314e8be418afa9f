#include "dns/answer.h"

#include <gtest/gtest.h>

#include <string>

#include "wire.h"

namespace nacelle::dns {
namespace {

class DnsAnswer : public testing::Test {
 protected:
  DnsAnswer() {
    for (int each = 1; each <= 3; ++each) {
      Endpoint endpoint;
      endpoint.network = endpoint.network_name = "one";
      endpoint.addresses = {"10.1.0." + std::to_string(each)};
      endpoint.names = {"c" + std::to_string(each), "all"};
      Member member;
      member.endpoints = {endpoint};
      table.set("c" + std::to_string(each), member);
    }
  }
  // Nothing: it is for others.
  std::optional<std::string> ask(std::string_view name, unsigned type = 1, unsigned turn = 0) {
    return answer(table, *table.find("c1"), *parse_query(head(0x0100) + question(name, type)), 512,
                  turn);
  }
  Table table;
};

TEST_F(DnsAnswer, begins_with_another_address_each_time) {
  for (unsigned turn = 0; turn < 6; ++turn) {
    const auto reply = ask("all", 1, turn);
    ASSERT_TRUE(reply);
    const size_t first = head(0x8180).size() + question("all").size() + 15;
    EXPECT_EQ((*reply)[7], 3);
    EXPECT_EQ((*reply)[first], static_cast<char>(turn % 3 + 1));
  }
}

TEST_F(DnsAnswer, of_a_name_of_ours_is_never_asked_for_outside) {
  for (const unsigned type : {28u, 15u, 16u, 33u, 65u, 255u}) {
    EXPECT_EQ(ask("c2", type), head(0x8180) + question("c2", type)) << type;
  }
}

TEST_F(DnsAnswer, is_the_name_of_an_address) {
  const auto reply = ask("2.0.1.10.in-addr.arpa", 12);
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->ends_with("\x02"s + "c2" + "\x03one\0"s));
  EXPECT_FALSE(ask("9.0.1.10.in-addr.arpa", 12));
}

TEST_F(DnsAnswer, is_left_to_others) {
  EXPECT_FALSE(ask("www.example"));
  EXPECT_FALSE(ask("unknown"));
  EXPECT_FALSE(ask(""));
  auto other_class = *parse_query(head(0x0100) + question("c1"));
  other_class.klass = 3;
  EXPECT_FALSE(answer(table, *table.find("c1"), other_class, 512, 0));
}

TEST_F(DnsAnswer, of_a_name_without_a_dot_is_none_where_dots_are_counted) {
  Member counting = *table.find("c1");
  counting.ndots_set = true;
  table.set("c1", counting);
  EXPECT_EQ(ask("unknown"), head(0x8180) + question("unknown"));
  EXPECT_FALSE(ask("www.example"));
  EXPECT_FALSE(ask("unknown", 15));
}

TEST_F(DnsAnswer, to_what_is_wrong_says_so) {
  const auto query = parse_query(head(0x0100, {.questions = 2}));
  EXPECT_EQ(answer(table, *table.find("c1"), *query, 512, 0), head(0x8181, {.questions = 0}));
}

}  // namespace
}  // namespace nacelle::dns
