#include "http/client.h"

#include <gtest/gtest.h>

#include <string>

#include "base/text.h"

namespace nacelle::http {
namespace {

// No packet leaves: every one of these ends before there is a connection.
TEST(Client, sends_no_header_with_a_line_break) {
  auto client = Client::make({.home = *parse_url("http://localhost:1/")});
  ASSERT_TRUE(client);
  for (const char* text : {"a\r\nX: 1", "a\n", "\r"}) {
    Request request{.url = *parse_url("http://localhost:1/")};
    request.authorization = text;
    EXPECT_EQ(client->perform(request).error().kind(), Kind::Invalid);
    request.authorization.clear();
    request.headers.push_back({"X", text});
    EXPECT_EQ(client->perform(request).error().kind(), Kind::Invalid);
  }
}

TEST(Client, goes_to_no_link_local_address_but_home) {
  auto client = Client::make({.home = *parse_url("http://localhost:1/")});
  ASSERT_TRUE(client);
  const auto answer = client->perform({.url = *parse_url("http://169.254.169.254/")});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind(), Kind::Denied) << answer.error().message();
}

TEST(PlainWords, have_nothing_a_terminal_would_act_on) {
  EXPECT_EQ(plain_words("no\x1b[31m\n\tred\x7f"), "no [31m  red?");
  EXPECT_EQ(plain_words("caf\xc3\xa9 \xc2\x9b\x33"), "caf\xc3\xa9 ?3");
  EXPECT_EQ(plain_words("\xff\xfe"), "??");
  EXPECT_EQ(plain_words(std::string("a\0b", 3)), "a b");
  // Cut in the middle of a character.
  for (size_t bytes_max = 0; bytes_max < 8; ++bytes_max) {
    const std::string words = plain_words("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", bytes_max);
    EXPECT_TRUE(is_utf8(words)) << bytes_max;
    EXPECT_FALSE(words.contains('?')) << bytes_max << words;
    EXPECT_TRUE(words.ends_with("...")) << bytes_max;
  }
}

}  // namespace
}  // namespace nacelle::http
