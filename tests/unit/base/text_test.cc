#include "base/text.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace nacelle {
namespace {

TEST(Text, a_number_is_the_whole_text_or_nothing) {
  EXPECT_EQ(parse_number<uint32_t>("4294967295"), 4294967295u);
  for (const char* bad : {"", " 1", "1 ", "+1", "-1", "1x", "0x1", "4294967296"}) {
    EXPECT_FALSE(parse_number<uint32_t>(bad)) << bad;
  }
}

TEST(Text, utf8_refuses_overlong_surrogates_and_cut_sequences) {
  EXPECT_TRUE(is_utf8("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x9A\x80"));
  for (const char* bad : {"\xC0\xAF", "\xED\xA0\x80", "\xE2\x82", "\xF5\x80\x80\x80", "\xFF",
                          "\xE0\x80\xAF", "\x80"}) {
    EXPECT_FALSE(is_utf8(bad));
  }
}

}  // namespace
}  // namespace nacelle
