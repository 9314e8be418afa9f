// Tables, and what --format makes of lists.
#include "cli/nacelle/format.h"

#include <gtest/gtest.h>

namespace nacelle::cli {
namespace {

const Headings headings = {{"ID", "CONTAINER ID"}, {"Names", "NAMES"}, {"Ports", "PORTS"}};

std::vector<Datum> rows() {
  std::vector<Datum> all;
  all.push_back(*Datum::parse(R"({"Names":"web","ID":"0123456789ab","Ports":""})"));
  all.push_back(
      *Datum::parse(R"({"Names":"a-long-name-of-one","ID":"ffffffffffff","Ports":"80/tcp"})"));
  all[0].set("\x01labels", *Datum::parse(R"({"x":"y"})"));
  all[1].set("\x01labels", Datum::object());
  return all;
}

constexpr const char* usual = "{{.ID}}\\t{{.Names}}\\t{{.Ports}}";

TEST(Format, a_table_has_headings_and_columns_three_blanks_apart) {
  EXPECT_EQ(*format_list("", usual, headings, rows()),
            "CONTAINER ID   NAMES                PORTS\n"
            "0123456789ab   web                  \n"
            "ffffffffffff   a-long-name-of-one   80/tcp\n");
  EXPECT_EQ(*format_list("table", usual, headings, {}), "CONTAINER ID   NAMES     PORTS\n");
}

TEST(Format, a_table_of_ones_own) {
  EXPECT_EQ(*format_list("table {{.Names}}\\t{{upper .ID}}", usual, headings, rows()),
            "NAMES                CONTAINER ID\n"
            "web                  0123456789AB\n"
            "a-long-name-of-one   FFFFFFFFFFFF\n");
}

TEST(Format, a_template_has_a_line_for_each_row) {
  EXPECT_EQ(*format_list("{{.Names}}:{{.Label \"x\"}}", usual, headings, rows()),
            "web:y\na-long-name-of-one:\n");
}

TEST(Format, json_is_a_line_for_each_row_with_its_members_in_order) {
  EXPECT_EQ(*format_list("json", usual, headings, rows()),
            "{\"ID\":\"0123456789ab\",\"Names\":\"web\",\"Ports\":\"\"}\n"
            "{\"ID\":\"ffffffffffff\",\"Names\":\"a-long-name-of-one\",\"Ports\":\"80/tcp\"}\n");
}

TEST(Format, what_is_wrong_is_told) {
  EXPECT_FALSE(format_list("{{.Nope}}", usual, headings, rows()));
  EXPECT_FALSE(format_list("{{", usual, headings, rows()));
  EXPECT_FALSE(format_list("table {{.Nope}}", usual, headings, rows()));
}

TEST(Format, a_name_cannot_steer_the_terminal) {
  std::vector<Datum> evil;
  evil.push_back(*Datum::parse(R"({"Names":"a\u001b[2J","ID":"x","Ports":""})"));
  EXPECT_EQ(format_list("", usual, headings, evil)->find('\x1b'), std::string::npos);
}

TEST(Datum, parts_that_are_missing_are_null_as_deep_as_one_asks) {
  const Datum data = *Datum::parse(R"({"a":[{"b":"c"}],"n":12})");
  EXPECT_EQ(data["a"][0]["b"].text(), "c");
  EXPECT_TRUE(data["x"]["y"][3]["z"].is_null());
  EXPECT_EQ(data["n"].integer(), 12);
  EXPECT_EQ(data["a"].integer(), 0);
  EXPECT_FALSE(Datum::parse("{"));
  EXPECT_FALSE(Datum::parse(""));
}

TEST(Datum, json_comes_out_as_it_went_in) {
  for (const char* text :
       {R"({"b":1,"a":[true,null,"x\n",1.5e10,18446744073709551615]})", "[]", "{}", "\"\""}) {
    EXPECT_EQ(Datum::parse(text)->json(), text);
  }
}

}  // namespace
}  // namespace nacelle::cli
