#include "codec/base64.h"

#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace nacelle::codec {
namespace {

using namespace std::string_view_literals;

struct Pair {
  std::string_view bytes;
  std::string_view text;
};

// RFC 4648 section 10, and bytes that take the last two digits of the alphabet.
constexpr Pair pairs[] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
    {"\0"sv, "AA=="},
    {"\xff\xef\xff\xbe"sv, "/+//vg=="},
};

TEST(Base64, writes_what_the_rfc_says) {
  for (const Pair& each : pairs) EXPECT_EQ(to_base64(each.bytes), each.text);
}

TEST(Base64, reads_it_with_and_without_padding) {
  for (const Pair& each : pairs) {
    const auto padded = from_base64(each.text);
    ASSERT_TRUE(padded) << each.text;
    EXPECT_EQ(*padded, each.bytes);
    const auto bare = from_base64(each.text.substr(0, each.text.find('=')));
    ASSERT_TRUE(bare) << each.text;
    EXPECT_EQ(*bare, each.bytes);
  }
}

TEST(Base64, every_byte_comes_back) {
  std::string bytes;
  for (int each = 0; each < 256; ++each) bytes += static_cast<char>(each);
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const auto back = from_base64(to_base64(std::string_view(bytes).substr(0, size)));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, bytes.substr(0, size));
  }
}

TEST(Base64, refuses_everything_else) {
  const std::string_view wrong[] = {
      "=",          "==",       "===",   "====",  "A",        "A=",      "A==",
      "A===",       "Zg=",      "Zg===", "Zm8==", "Zm9v=",    "Zm9v==",  "Zm9v====",
      "Zg==Zg==",   "Z=g=",     "=Zg=",  "Zm9vY", "Zm9vYg=",  "Zm 9v",   " Zm9v",
      "Zm9v\n",     "Zm9v\r\n", "Zm9-",  "Zm9_",  "Zm9v\0"sv, "Zm\0v"sv, "Zm9v*",
      "\xc3\xa4mm", "Zm9\x80",  "Zh==",  "Zm9=",  "Zh",       "Zm9",
  };
  for (const std::string_view text : wrong) {
    const auto bytes = from_base64(text);
    ASSERT_FALSE(bytes) << text;
    EXPECT_EQ(bytes.error().kind(), Kind::Invalid);
  }
}

// Goal: a credential does not end up in a log because it was mistyped.
TEST(Base64, does_not_repeat_the_text) {
  const auto bytes = from_base64("c2VjcmV0!");
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().message().find("c2Vj"), std::string::npos);
}

}  // namespace
}  // namespace nacelle::codec
