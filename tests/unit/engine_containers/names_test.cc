#include "engine/names.h"

#include <gtest/gtest.h>

#include <set>

#include "base/text.h"

namespace nacelle::engine {
namespace {

TEST(Names, that_docker_takes_are_taken) {
  for (const char* name : {"ab", "a1", "9z", "web-1", "a.b_c-d", "A_", "x--", "0."}) {
    EXPECT_TRUE(is_container_name(name)) << name;
    EXPECT_TRUE(check_container_name(name)) << name;
  }
}

TEST(Names, that_docker_refuses_are_refused_in_its_words) {
  for (const char* name :
       {"",    "a",   "-a",  "_a", ".a",   "/ab", "a/b", "a b", "ab\n", "a\xc3\xa4",
        "a:b", "a@b", "a,b", "..", "a\\b", "ab ", " ab", "$x",  "a*",   "a?"}) {
    const Result<> checked = check_container_name(name);
    ASSERT_FALSE(checked) << name;
    EXPECT_EQ(checked.error().kind(), Kind::Invalid);
    EXPECT_EQ(checked.error().message(), cat("Invalid container name (", name,
                                             "), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"));
  }
}

TEST(Names, made_up_are_names_and_differ) {
  std::set<std::string> seen;
  for (int each = 0; each < 2000; ++each) {
    const std::string name =
        make_up_name([&](const std::string& taken) { return seen.contains(taken); });
    EXPECT_TRUE(is_container_name(name)) << name;
    EXPECT_TRUE(seen.insert(name).second) << name;
  }
}

TEST(Names, are_made_up_even_when_all_plain_ones_are_taken) {
  const std::string name = make_up_name([](const std::string& each) {
    return each.find_first_of("0123456789") == std::string::npos;
  });
  EXPECT_TRUE(is_container_name(name)) << name;
}

TEST(Ids, are_64_digits_that_do_not_begin_like_a_number) {
  std::set<std::string> seen;
  for (int each = 0; each < 5000; ++each) {
    const std::string id = random_id();
    EXPECT_TRUE(is_id(id)) << id;
    EXPECT_LT(id.find_first_not_of("0123456789"), 12u) << id;
    EXPECT_TRUE(seen.insert(id).second);
  }
}

TEST(Ids, are_nothing_else) {
  EXPECT_FALSE(is_id(""));
  EXPECT_FALSE(is_id(std::string(63, 'a')));
  EXPECT_FALSE(is_id(std::string(65, 'a')));
  EXPECT_FALSE(is_id(std::string(64, 'A')));
  EXPECT_FALSE(is_id(std::string(63, 'a') + "g"));
  EXPECT_FALSE(is_id(std::string(63, 'a') + "/"));
}

}  // namespace
}  // namespace nacelle::engine
