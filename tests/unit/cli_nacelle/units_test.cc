// Sizes, durations and times in Docker's words.
#include "cli/nacelle/units.h"

#include <gtest/gtest.h>

namespace nacelle::cli {
namespace {

TEST(Units, sizes_have_four_digits) {
  EXPECT_EQ(decimal_size(0), "0B");
  EXPECT_EQ(decimal_size(1000), "1kB");
  EXPECT_EQ(decimal_size(1024), "1.024kB");
  EXPECT_EQ(decimal_size(3.42e9), "3.42GB");
  EXPECT_EQ(binary_size(1024), "1KiB");
  EXPECT_EQ(binary_size(1024 * 1024 * 1.5), "1.5MiB");
}

TEST(Units, durations_are_dockers_words) {
  const struct {
    int64_t seconds;
    const char* words;
  } cases[] = {{0, "Less than a second"}, {1, "1 second"},          {59, "59 seconds"},
               {60, "About a minute"},    {119, "About a minute"},  {120, "2 minutes"},
               {3600, "About an hour"},   {3600 * 47, "47 hours"},  {3600 * 48, "2 days"},
               {86400 * 14, "2 weeks"},   {86400 * 60, "2 months"}, {86400L * 365 * 2, "2 years"}};
  for (const auto& [seconds, words] : cases) EXPECT_EQ(human_duration(seconds), words);
}

TEST(Units, sizes_are_read_in_powers_of_1024) {
  const struct {
    const char* text;
    int64_t bytes;
  } cases[] = {{"1", 1},       {"1k", 1024},      {"1K", 1024},       {"1kb", 1024},
               {"1KiB", 1024}, {"1.5m", 1572864}, {"2g", 2147483648}, {"1 gb", 1073741824},
               {"32b", 32},    {"0", 0}};
  for (const auto& [text, bytes] : cases) {
    const auto read = parse_binary_size(text);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(*read, bytes) << text;
  }
  for (const char* text :
       {"", "-1", "k", "1q", "1kk", "1.2.3", "1 0", "99999999999t", "1kib2", "."}) {
    EXPECT_FALSE(parse_binary_size(text)) << text;
  }
}

TEST(Units, durations_are_read_as_go_does) {
  const struct {
    const char* text;
    int64_t ns;
  } cases[] = {{"0", 0},
               {"5s", 5'000'000'000},
               {"1m30s", 90'000'000'000},
               {"1.5s", 1'500'000'000},
               {"100ms", 100'000'000},
               {"3us", 3'000},
               {"-2h", -7'200'000'000'000},
               {"7ns", 7}};
  for (const auto& [text, ns] : cases) {
    const auto read = parse_duration(text);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(*read, ns) << text;
  }
  for (const char* text : {"", "5", "s", "1x", "1h1", "--1s", "1..5s", "9999999999h"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Units, times_keep_their_zone_and_fraction) {
  const auto time = parse_rfc3339("2024-01-02T03:04:05.5+01:00");
  ASSERT_TRUE(time);
  EXPECT_EQ(time->seconds, 1704161045);
  EXPECT_EQ(time->nanoseconds, 500'000'000);
  EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00Z")->seconds, 0);
  for (const char* text : {"", "2024-01-02", "2024-01-02T03:04:05", "2024-01-02T03:04:05+1", "x"}) {
    EXPECT_FALSE(parse_rfc3339(text)) << text;
  }
}

TEST(Units, since_is_what_the_api_takes) {
  EXPECT_EQ(*parse_since("2024-01-02T02:04:05.5Z"), "1704161045.500000000");
  EXPECT_EQ(*parse_since("1700000000"), "1700000000");
  EXPECT_EQ(*parse_since("1700000000.25"), "1700000000.250000000");
  EXPECT_TRUE(parse_since("10m"));
  EXPECT_TRUE(parse_since("2024-01-02"));
  for (const char* text : {"yesterday", "", "1x", "2024-13"})
    EXPECT_FALSE(parse_since(text)) << text;
}

}  // namespace
}  // namespace nacelle::cli
