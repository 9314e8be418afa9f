#include "engine/policy_names.h"

#include <gtest/gtest.h>

#include <string>

namespace nacelle::test {
namespace {

using engine::Address;
using engine::parse_name_answer;

std::string text(std::initializer_list<int> bytes) {
  std::string out;
  for (const int each : bytes) out += static_cast<char>(each);
  return out;
}

// "a.b" has one question about itself.
std::string head(int answers) {
  return text({0, 1, 0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0, 1, 'a', 1, 'b', 0, 0, 1, 0, 1});
}
std::string address(int last, int ttl) {
  return text({0xc0, 12, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4, 192, 0, 2, last});
}

TEST(PolicyNames, AddressesAreThoseOfAllRecords) {
  const auto answer = parse_name_answer(head(3) + address(7, 60) + address(5, 30) + address(7, 60));
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(answer->addresses,
            (std::vector<Address>{{.number = 0xc0000205}, {.number = 0xc0000207}}));
  EXPECT_EQ(answer->ttl_s, 30u);
}

TEST(PolicyNames, AnotherNameOnTheWayCountsWithItsTtl) {
  const std::string alias = text({0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, 'c', 0xc0, 14});
  const auto answer = parse_name_answer(head(2) + alias + address(7, 60));
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(answer->addresses, std::vector<Address>{{.number = 0xc0000207}});
  EXPECT_EQ(answer->ttl_s, 9u);
}

TEST(PolicyNames, AddressesOfIPv6AreAddresses) {
  const std::string v6 = text({0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 9, 0, 16, 0xfd, 0,
                               0,    0,  0, 0,  0, 0, 0, 0, 0, 0, 0, 0,  0,    7});
  const auto answer = parse_name_answer(head(2) + v6 + address(7, 60));
  ASSERT_TRUE(answer) << answer.error().message();
  ASSERT_EQ(answer->addresses.size(), 2u);
  EXPECT_EQ(answer->addresses[0].text(), "192.0.2.7");
  EXPECT_EQ(answer->addresses[1].text(), "fd00::7");
  EXPECT_EQ(answer->ttl_s, 9u);
}

TEST(PolicyNames, OtherKindsOfRecordsAreNoAddresses) {
  std::string text_record = text({0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 9, 0, 16}) + std::string(16, 'x');
  const auto answer = parse_name_answer(head(1) + text_record);
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->addresses.empty());
}

TEST(PolicyNames, WhatIsCutShortIsAnError) {
  const std::string whole = head(2) + address(7, 60) + address(5, 30);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(parse_name_answer(whole.substr(0, length))) << length;
  }
  EXPECT_FALSE(parse_name_answer(head(9) + address(7, 60)));
}

}  // namespace
}  // namespace nacelle::test
