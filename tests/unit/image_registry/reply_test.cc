#include <gtest/gtest.h>

#include <string>

#include "image/job_registry_reply.h"

namespace nacelle::image {
namespace {

TEST(TokenReply, has_a_token_and_a_life) {
  const auto token = parse_token_reply(R"({"token":"a.b-c","expires_in":300,"x":{}})");
  ASSERT_TRUE(token) << token.error().message();
  EXPECT_EQ(token->text, "a.b-c");
  EXPECT_EQ(token->life.count(), 300);
  EXPECT_EQ(parse_token_reply(R"({"access_token":"t"})")->life, token_life_default);
  for (const char* life : {"1", "-5", "\"x\"", "null", "1.5", "99999999999999999999"}) {
    const auto odd = parse_token_reply(std::string(R"({"token":"t","expires_in":)") + life + "}");
    ASSERT_TRUE(odd) << life;
    EXPECT_EQ(odd->life, token_life_default) << life;
  }
  EXPECT_EQ(parse_token_reply(R"({"token":"t","expires_in":9000000000})")->life, token_life_max);
}

TEST(TokenReply, that_is_none_is_refused) {
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{}"),
        std::string(R"({"token":""})"), std::string(R"({"token":{}})"),
        std::string(R"({"token":"a b"})"), std::string(R"({"token":"a\nb"})"),
        std::string(R"({"token":"a\u0000"})"), std::string(R"({"token":"é"})"),
        std::string(R"({"token":"t"} x)"), std::string(100, '['),
        R"({"token":")" + std::string(token_bytes_max + 1, 't') + "\"}"}) {
    EXPECT_FALSE(parse_token_reply(text)) << text.substr(0, 50);
  }
}

TEST(RegistryWords, are_those_of_its_errors) {
  EXPECT_EQ(registry_words(R"({"errors":[{"code":"DENIED","message":"pay","detail":[1]},
                               {"message":"more"},{"code":"X"},{"code":"Y"}]})"),
            "pay (DENIED); more; X");
  EXPECT_EQ(registry_words(R"({"details":"wrong password"})"), "wrong password");
  for (const char* text : {"", "<html>", "[]", "{}", R"({"errors":7})", R"({"errors":[7,[],{}]})",
                           R"({"errors":[{"message":7}]})", R"({"errors":{"message":"x"}})"}) {
    EXPECT_EQ(registry_words(text), "") << text;
  }
  const std::string long_words =
      registry_words(R"({"errors":[{"message":")" + std::string(10'000, 'x') + "\"}]}");
  EXPECT_LT(long_words.size(), 400u);
}

TEST(ContentRange, is_exact) {
  const auto range = parse_content_range("bytes 5-9/10");
  ASSERT_TRUE(range) << range.error().message();
  EXPECT_EQ(range->first, 5u);
  EXPECT_EQ(range->last, 9u);
  EXPECT_EQ(range->total, 10u);
  EXPECT_FALSE(parse_content_range("bytes 0-0/*")->total);
  for (const char* text :
       {"", "bytes", "bytes ", "bytes 1-2", "bytes 2-1/10", "bytes 0-10/10", "bytes -1/5",
        "bytes */5", "items 0-1/2", "bytes 0-1/x", "bytes 0 - 1/2", "bytes +0-1/2", "bytes 0-1/2 ",
        "bytes=0-1/2", "bytes 18446744073709551616-1/2",
        "bytes 0-18446744073709551615/18446744073709551615"}) {
    EXPECT_FALSE(parse_content_range(text)) << text;
  }
}

TEST(RetryAfter, is_a_number_of_seconds) {
  EXPECT_EQ(parse_retry_after("7")->count(), 7);
  for (const char* text : {"", "-1", "1.5", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999", "7 "}) {
    EXPECT_FALSE(parse_retry_after(text)) << text;
  }
}

TEST(Names, that_would_change_a_path_are_none) {
  for (const char* tag : {"latest", "1.0", "_x", "A-b_c.d"}) EXPECT_TRUE(is_tag(tag)) << tag;
  for (const std::string& tag :
       {std::string(), std::string(".x"), std::string("-x"), std::string("a/b"), std::string("a:b"),
        std::string("a b"), std::string(129, 'a')}) {
    EXPECT_FALSE(is_tag(tag)) << tag;
  }
  for (const char* name : {"a", "library/busybox", "a/b/c", "a.b", "a_b", "a__b", "a--b", "0"}) {
    EXPECT_TRUE(is_repository(name)) << name;
  }
  for (const std::string& name :
       {std::string(), std::string("/"), std::string("a/"), std::string("/a"), std::string("a//b"),
        std::string(".."), std::string("a/../b"), std::string("a..b"), std::string("a___b"),
        std::string("-a"), std::string("a-"), std::string("A"), std::string("a%2e"),
        std::string(256, 'a')}) {
    EXPECT_FALSE(is_repository(name)) << name;
  }
}

}  // namespace
}  // namespace nacelle::image
