#include "engine/addresses.h"

#include <gtest/gtest.h>

namespace nacelle::test {
namespace {

using engine::parse_address;
using engine::parse_prefix;

TEST(Addresses, AreReadAndWritten) {
  for (const char* text :
       {"0.0.0.0", "172.17.0.2", "255.255.255.255", "::", "fd00::1", "2001:db8::ffff:0:1"}) {
    const auto address = parse_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
}

TEST(Addresses, WhatTwoReadersCouldTakeForDifferentOnesIsRefused) {
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {""sv, "1"sv, "1.2.3"sv, "1.2.3.4.5"sv, "01.2.3.4"sv, "1.2.3.256"sv, " 1.2.3.4"sv,
        "1.2.3.4 "sv, "0x1.2.3.4"sv, "1.2.3.4\0"sv, "fe80::1%eth0"sv, "::ffff:1.2.3.4"sv, "g::"sv,
        ":::"sv, "1.2.3.-4"sv}) {
    EXPECT_FALSE(parse_address(text)) << text;
  }
}

TEST(Prefixes, WhatIsNoneIsRefused) {
  for (const char* text : {"", "10.0.0.0", "10.0.0.0/", "/8", "10.0.0.0/33", "10.0.0.0/-1",
                           "10.0.0.0/08", "10.0.0.0/8/8", "10.0.0.0/8 ", "fd00::/129", "::/x"}) {
    EXPECT_FALSE(parse_prefix(text)) << text;
  }
}

TEST(Prefixes, KnowTheirEnds) {
  const auto prefix = parse_prefix("172.17.3.9/20").value();
  EXPECT_EQ(prefix.first().text(), "172.17.0.0");
  EXPECT_EQ(prefix.last().text(), "172.17.15.255");
  EXPECT_EQ(prefix.text(), "172.17.3.9/20");
  EXPECT_EQ(parse_prefix("1.2.3.4/32")->first(), parse_prefix("1.2.3.4/32")->last());
  EXPECT_EQ(parse_prefix("9.9.9.9/0")->last().text(), "255.255.255.255");
  EXPECT_EQ(parse_prefix("::/0")->last().text(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

TEST(Prefixes, OverlapInBothDirections) {
  const auto large = parse_prefix("10.0.0.0/8").value();
  const auto small = parse_prefix("10.5.0.0/16").value();
  EXPECT_TRUE(large.overlaps(small));
  EXPECT_TRUE(small.overlaps(large));
  EXPECT_FALSE(parse_prefix("10.4.0.0/16")->overlaps(small));
  EXPECT_FALSE(parse_prefix("::/0")->overlaps(small));
}

TEST(Macs, AreMadeOfTheAddress) {
  EXPECT_EQ(engine::mac_of(parse_address("172.17.0.2").value()), "02:42:ac:11:00:02");
}

TEST(Macs, WhatIsNoneIsRefused) {
  EXPECT_TRUE(engine::is_mac("02:42:ac:11:00:02"));
  EXPECT_TRUE(engine::is_mac("92:D0:C6:0a:29:33"));
  for (const char* text :
       {"", "02:42:ac:11:00", "02:42:ac:11:00:0", "02-42-ac-11-00-02", "02:42:ac:11:00:0g",
        "01:42:ac:11:00:02", "02:42:ac:11:00:02:", "+2:42:ac:11:00:02", "02:42:ac:11:00:-2"}) {
    EXPECT_FALSE(engine::is_mac(text)) << text;
  }
}

}  // namespace
}  // namespace nacelle::test
