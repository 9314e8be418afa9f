#include "http/date.h"

#include <gtest/gtest.h>

#include <string>

namespace nacelle::http {
namespace {

TEST(Date, is_read_in_its_three_forms) {
  constexpr int64_t wanted = 784111777;
  EXPECT_EQ(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), wanted);
  EXPECT_EQ(parse_date("Sunday, 06-Nov-94 08:49:37 GMT"), wanted);
  EXPECT_EQ(parse_date("Sun Nov  6 08:49:37 1994"), wanted);
  EXPECT_EQ(parse_date("Thu, 01 Jan 1970 00:00:00 GMT"), 0);
}

TEST(Date, that_is_none_is_nothing) {
  const std::string with_nul("Sun, 06 Nov 1994 08:49:37 GMT\0", 30);
  for (const std::string& text :
       {std::string(), std::string("yesterday"), std::string("Sun, 06 Nov 1994 08:49:37"),
        std::string("Sun, 06 Nov 1994 08:49:37 GMT and more"), with_nul,
        std::string("Sun, 06 Nov 1894 08:49:37 GMT"), std::string(100, ' ')}) {
    EXPECT_EQ(parse_date(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace nacelle::http
