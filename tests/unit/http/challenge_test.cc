#include "http/challenge.h"

#include <gtest/gtest.h>

#include <string>

namespace nacelle::http {
namespace {

TEST(Challenge, of_a_registry_is_read) {
  const auto all = parse_challenges(
      R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io",)"
      R"(scope="repository:a/b:pull,push")");
  ASSERT_TRUE(all) << all.error().message();
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->front().scheme, "bearer");
  EXPECT_EQ(*all->front().find("realm"), "https://auth.docker.io/token");
  EXPECT_EQ(*all->front().find("scope"), "repository:a/b:pull,push");
  EXPECT_EQ(all->front().find("error"), nullptr);
}

TEST(Challenge, of_several_in_one_header_is_told_from_the_next) {
  const auto all = parse_challenges(
      "Negotiate, Basic realm=plain ,NTLM TlRMTVNTUAAB== , , BEARER REALM = \"a\\\"b\" , x=y");
  ASSERT_TRUE(all) << all.error().message();
  ASSERT_EQ(all->size(), 4u);
  EXPECT_EQ((*all)[0].scheme, "negotiate");
  EXPECT_EQ(*(*all)[1].find("realm"), "plain");
  EXPECT_EQ((*all)[2].token, "TlRMTVNTUAAB==");
  EXPECT_EQ((*all)[3].scheme, "bearer");
  EXPECT_EQ(*(*all)[3].find("realm"), "a\"b");
  EXPECT_EQ(*(*all)[3].find("x"), "y");
}

TEST(Challenge, that_is_none_is_refused) {
  const std::string cases[] = {
      "",
      " ",
      ",",
      ",,, ,",
      "=",
      "=x",
      "Bearer realm=\"",
      "Bearer realm=\"x\\",
      "Bearer realm=, x=y",
      "Bearer realm=\"a\"b",
      "Bearer realm=\"a\" x=y",
      "Bearer \"x\"",
      "\"Bearer\"",
      "Bearer/x",
      "Bearer realm=\"a\nb\"",
      std::string("Bearer realm=\"a\0b\"", 18),
      "Bearer realm=\x7f",
      "@ x=y",
      "Bearer realm=a; x=y",
  };
  for (const std::string& text : cases) {
    const auto all = parse_challenges(text);
    EXPECT_FALSE(all) << text;
    if (!all) EXPECT_EQ(all.error().kind(), Kind::Invalid) << text;
  }
}

TEST(Challenge, without_end_is_too_much) {
  std::string schemes, parameters = "A ";
  for (int each = 0; each < 20; ++each) schemes += "A,";
  for (int each = 0; each < 100; ++each) parameters += "a=b,";
  for (const std::string& text : {schemes, parameters, std::string(9000, 'a')}) {
    const auto all = parse_challenges(text);
    ASSERT_FALSE(all);
    EXPECT_EQ(all.error().kind(), Kind::Exhausted);
  }
}

}  // namespace
}  // namespace nacelle::http
