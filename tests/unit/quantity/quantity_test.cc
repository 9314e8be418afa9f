#include "codec/quantity.h"

#include <gtest/gtest.h>

namespace nacelle::codec {
namespace {

TEST(Quantity, sizes_are_powers_of_1024_with_fractions) {
  const struct {
    const char* text;
    int64_t bytes;
  } cases[] = {{"-1", -1},
               {"0", 0},
               {"1024", 1024},
               {"10b", 10},
               {"2 k", 2048},
               {"2k", 2048},
               {"2K", 2048},
               {"512m", 536870912},
               {"512MB", 536870912},
               {"512 MiB", 536870912},
               {"1.5GiB", 1610612736},
               {"0.5k", 512},
               {"1.25kb", 1280},
               {"0.1k", 102},
               {"1.9", 1},
               {"1t", 1099511627776},
               {"1p", 1125899906842624},
               {"8191p", 8191 * 1125899906842624},
               {"1.00000000000000000000000000009k", 1024},
               {"9223372036854775807", INT64_MAX}};
  for (const auto& one : cases) {
    const auto size = parse_size(one.text);
    ASSERT_TRUE(size) << one.text;
    EXPECT_EQ(*size, one.bytes) << one.text;
  }
}

TEST(Quantity, what_is_no_size_is_quoted) {
  for (const char* text : {"",
                           " ",
                           "m",
                           "b",
                           "ib",
                           "1.",
                           "1.m",
                           ".5g",
                           "1.2.3g",
                           "-2",
                           "+1",
                           "-1k",
                           "- 1",
                           " 1",
                           "1 ",
                           "1  k",
                           "1 2",
                           "1kk",
                           "1ib",
                           "1kib ",
                           "1kix",
                           "1kbb",
                           "12q",
                           "0x10",
                           "1e3",
                           "1,5k",
                           "inf",
                           "8192p",
                           "8388608t",
                           "9007199254740992k",
                           "9223372036854775808",
                           "99999999999999999999"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().message(),
              std::string("'") + text + "': must be a size such as 512m, or -1");
    EXPECT_EQ(size.error().kind(), Kind::Invalid);
  }
}

TEST(Quantity, times_are_sums_of_parts_with_units) {
  const struct {
    const char* text;
    int64_t nanoseconds;
  } cases[] = {{"0", 0},
               {"0s", 0},
               {"1ns", 1},
               {"10us", 10'000},
               {"10\u00b5s", 10'000},
               {"10\u03bcs", 10'000},
               {"300ms", 300'000'000},
               {"5s", 5'000'000'000},
               {"1m30s", 90'000'000'000},
               {"1.5h", 5'400'000'000'000},
               {"1h0.5s1ns", 3'600'500'000'001},
               {"9223372036854775807ns", INT64_MAX}};
  for (const auto& one : cases) {
    const auto time = parse_duration_ns(one.text);
    ASSERT_TRUE(time) << one.text;
    EXPECT_EQ(*time, one.nanoseconds) << one.text;
  }
}

TEST(Quantity, what_is_no_time_is_quoted) {
  for (const char* text :
       {"", "5", "s", "-1s", "+1s", "1x", "1s2", "1..5s", "1.s", ".5s", "1 s", "1s ", "1d", "1S",
        "0x1s", "9223372036854775808ns", "9223372037s", "9999999h", "9223372036s1s"}) {
    const auto time = parse_duration_ns(text);
    ASSERT_FALSE(time) << text;
    EXPECT_EQ(time.error().message(),
              std::string("'") + text + "': must be a time such as 5s or 1m30s");
  }
}

}  // namespace
}  // namespace nacelle::codec
