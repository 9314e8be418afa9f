// How `nacelle` reads a command line and writes tables.
#include <gtest/gtest.h>
#include <time.h>

#include <string>
#include <vector>

#include "cli/nacelle/options.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/text.h"

namespace nacelle::cli {
namespace {

using Words = std::vector<std::string>;

struct Line {
  bool force = false, quiet = false;
  std::string format = "table";
  Words filters;
  Result<Options::Parsed> parse(const Words& arguments) {
    Options options("thing do [OPTIONS] WHAT [TO]", "Does it.");
    options.flag("force", 'f', force, "Do not ask")
        .flag("quiet", 'q', quiet, "Say less")
        .value("format", 0, format, "FORMAT", "How")
        .list("filter", 'F', filters, "KEY=VALUE", "Which")
        .operands(1, 2);
    return options.parse(arguments);
  }
};

TEST(Options, stand_anywhere_among_the_operands) {
  Line line;
  const auto parsed = line.parse({"a", "-f", "--format", "json", "b", "-Fx=1", "--filter=y=2"});
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(parsed->operands, (Words{"a", "b"}));
  EXPECT_TRUE(line.force);
  EXPECT_FALSE(line.quiet);
  EXPECT_EQ(line.format, "json");
  EXPECT_EQ(line.filters, (Words{"x=1", "y=2"}));
}

TEST(Options, letters_stand_in_a_row_and_switches_take_a_truth) {
  Line line;
  ASSERT_TRUE(line.parse({"-qf", "a"}));
  EXPECT_TRUE(line.force && line.quiet);
  ASSERT_TRUE(line.parse({"--force=false", "-F", "k=v", "a"}));
  EXPECT_FALSE(line.force);
  EXPECT_EQ(line.filters, Words{"k=v"});
}

TEST(Options, after_two_dashes_everything_is_an_operand_and_so_is_one_dash) {
  Line line;
  const auto parsed = line.parse({"-", "--", "-f"});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->operands, (Words{"-", "-f"}));
  EXPECT_FALSE(line.force);
}

TEST(Options, what_is_wrong_is_named) {
  const struct {
    Words arguments;
    std::string complaint;
  } cases[] = {
      {{}, "at least 1 operand;"},
      {{"a", "b", "c"}, "at most 2 operands;"},
      {{"--colour", "a"}, "unknown flag: --colour"},
      {{"-x", "a"}, "unknown shorthand flag: 'x' in -x"},
      {{"-fx", "a"}, "unknown shorthand flag: 'x' in -fx"},
      {{"a", "--format"}, "flag needs an argument: --format"},
      {{"a", "-F"}, "flag needs an argument: -F"},
      {{"a", "--force=maybe"}, "neither true nor false"},
      {{"a", "--=x"}, "unknown flag: --"},
  };
  for (const auto& [arguments, complaint] : cases) {
    Line line;
    const auto parsed = line.parse(arguments);
    ASSERT_FALSE(parsed) << complaint;
    EXPECT_EQ(parsed.error().kind(), Kind::Invalid);
    EXPECT_NE(parsed.error().message().find(complaint), std::string::npos)
        << parsed.error().message();
  }
}

TEST(Table, columns_are_as_wide_as_their_widest_cell) {
  EXPECT_EQ(table({"A", "B"}, {{"long", "x"}, {"é", "y"}}), "A      B\nlong   x\né      y\n");
}

TEST(Table, what_an_image_says_cannot_steer_the_terminal) {
  EXPECT_EQ(table({"A"}, {{"\x1b[2Jx\r\n\x7f"}}), "A\n [2Jx   \n");
}

TEST(HumanSize, has_three_digits) {
  EXPECT_EQ(human_size(0), "0B");
  EXPECT_EQ(human_size(999), "999B");
  EXPECT_EQ(human_size(1000), "1kB");
  EXPECT_EQ(human_size(1234567), "1.23MB");
  EXPECT_EQ(human_size(999'700), "1MB");
}

TEST(Age, is_dockers_wording) {
  const auto before = [](long seconds) {
    const time_t then = ::time(nullptr) - seconds;
    tm utc{};
    ::gmtime_r(&then, &utc);
    char text[40];
    ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return age_of(text);
  };
  EXPECT_EQ(before(60 * 5), "5 minutes ago");
  EXPECT_EQ(before(3600 * 3), "3 hours ago");
  EXPECT_EQ(before(86400 * 3), "3 days ago");
  EXPECT_EQ(before(86400L * 365 * 4), "4 years ago");
  EXPECT_EQ(before(-1000), "Less than a second ago");
  EXPECT_EQ(age_of(""), "N/A");
  EXPECT_EQ(age_of("yesterday"), "N/A");
}

}  // namespace
}  // namespace nacelle::cli
