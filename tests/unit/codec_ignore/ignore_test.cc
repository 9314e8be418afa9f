// .dockerignore. Method: a list of patterns, a path, and whether it is left out.
#include "codec/ignore.h"

#include <gtest/gtest.h>

namespace nacelle::codec {
namespace {

IgnoreList list(std::string_view text) {
  auto parsed = parse_ignore(text);
  EXPECT_TRUE(parsed) << text << ": " << (parsed ? "" : parsed.error().message());
  return parsed ? *std::move(parsed) : IgnoreList();
}

TEST(Ignore, matches_patterns) {
  struct Case {
    const char* patterns;
    const char* path;
    bool ignored;
  };
  const Case cases[] = {
      {"a", "a", true},
      {"a", "ab", false},
      {"a", "a/b/c", true},
      {"a", "b/a", false},
      {"a/", "a", true},
      {"/a", "a", true},
      {"./a//b/../c", "a/c", true},
      {"*", "a", true},
      {"*", "a/b", true},
      {"*.go", "a.go", true},
      {"*.go", "a/b.go", false},
      {"*/*.go", "a/b.go", true},
      {"*/b", "a/b", true},
      {"*/b", "b", false},
      {"a?", "ab", true},
      {"a?", "a", false},
      {"a?b", "a/b", false},
      {"a?b", "aäb", true},
      {"a*b*c", "axbxbxc", true},
      {"a*b*c", "axbxbx", false},
      {"**", "a/b", true},
      {"**/a", "a", true},
      {"**/a", "x/y/a", true},
      {"**/a", "x/ya", false},
      {"**/*.md", "a.md", true},
      {"**/*.md", "x/y/a.md", true},
      {"**/*.md", "x/y/a.mdx", false},
      {"**a", "x/ya", true},  // an end of the whole path
      {"a/**", "a", false},
      {"a/**", "a/b/c", true},
      {"a/**", "ab/c", false},
      {"a/**/b", "a/b", true},
      {"a/**/b", "a/x/y/b", true},
      {"a/**/b", "a/xb", false},
      {"**/a/**/b", "x/a/y/b", true},
      {"a**/b", "ax/b", true},
      {"**/**/*.t", "x/y/z.t", true},
      {"**/node_modules", "p/node_modules/q/r", true},
      {"[a-c]x", "bx", true},
      {"[a-c]x", "dx", false},
      {"[^a-c]x", "dx", true},
      {"[^a-c]x", "bx", false},
      {"[\\]]x", "]x", true},
      {"\\*", "*", true},
      {"\\*", "a", false},
      {"a.b", "axb", false},
      {"a+(b)|{c}$", "a+(b)|{c}$", true},
      {".", "a", false},
      {"../a", "a", false},
      {"# a\n#b", "#b", false},
      {" #b", "#b", true},
      {"\xEF\xBB\xBF"
       "a\r\n\r\n  b  \r\n",
       "b", true},
      {"a b", "a b", true},
      {"*\n!b", "b", false},
      {"*\n!b", "b/c", false},
      {"*\n!b\nb/c", "b/c", true},
      {"*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true},
      {"*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false},
      {"!a\na", "a", true},
      {"a\n!a/b", "a/b", false},
      {"a\n!a/b", "a/c", true},
      {"a\n! /a/b", "a/b", false},
      {"**\n!**/*.go", "x/y.go", false},
      {"a", ".", false},
      {"a\n!a/b/c\na/b", "a/b/c", true},
  };
  for (const Case& c : cases)
    EXPECT_EQ(list(c.patterns).ignores(c.path), c.ignored) << c.patterns << " on " << c.path;
}

// Goal: a walk that hands down what it knows comes to the same answers.
TEST(Ignore, walking_down_answers_the_same) {
  const char* texts[] = {"a\n!a/b\n*.x", "**\n!a/**/c", "*/b\n!*/b/c",   "a/*\n!a/b",
                         "!a\n*",        "a\n!**/c",    "a\n!a/b/c\na/b"};
  const char* paths[] = {"a/b/c", "a/c/b", "b/b/c", "a/x.x/c", "x/b/c"};
  for (const char* text : texts) {
    const IgnoreList patterns = list(text);
    for (const std::string_view path : paths) {
      IgnoreList::Matched parent, matched;
      for (size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
        const std::string_view part = path.substr(0, slash);
        EXPECT_EQ(patterns.ignores(part, parent, matched), patterns.ignores(part))
            << text << " on " << part;
        parent = matched;
        if (slash == path.npos) break;
      }
    }
  }
}

TEST(Ignore, says_which_directories_need_not_be_entered) {
  const IgnoreList patterns = list("*\n!a/b\n!c*/d\n!x/y/z");
  EXPECT_TRUE(patterns.may_keep_below("a"));
  EXPECT_TRUE(patterns.may_keep_below("x/y"));
  EXPECT_FALSE(patterns.may_keep_below("b"));
  EXPECT_FALSE(patterns.may_keep_below("x/q"));
  EXPECT_TRUE(patterns.may_keep_below("cc"));
  EXPECT_FALSE(list("a\nb").may_keep_below("a"));
  EXPECT_TRUE(list("a\n!**/x").may_keep_below("a"));
}

TEST(Ignore, complains_about_patterns) {
  for (const char* text : {"!", " ! ", "[", "[^", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]",
                           "[^bc", "a\\", "[a\\", "ok\n["}) {
    const auto parsed = parse_ignore(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().kind(), Kind::Invalid);
    EXPECT_TRUE(parsed.error().message().starts_with("line ")) << parsed.error().message();
  }
  EXPECT_EQ(parse_ignore("a\n\nb[").error().message(),
            "line 3: pattern 'b[' has a [ without its ]");
}

TEST(Ignore, is_bounded) {
  EXPECT_EQ(parse_ignore(std::string(ignore_bytes_max + 1, 'a')).error().kind(), Kind::Exhausted);
  EXPECT_EQ(parse_ignore(std::string(ignore_pattern_bytes_max + 1, 'a')).error().kind(),
            Kind::Exhausted);
  std::string many;
  for (size_t i = 0; i <= ignore_patterns_max; ++i) many += "a\n";
  EXPECT_EQ(parse_ignore(many).error().kind(), Kind::Exhausted);
  // What a backtracking matcher would never finish.
  std::string stars;
  for (int i = 0; i < 300; ++i) stars += "*a";
  EXPECT_FALSE(list(stars + "b").ignores(std::string(1000, 'a')));
}

TEST(Ignore, lists_may_come_from_elsewhere) {
  const auto patterns = make_ignore_list({"*.a", "", "!b.a"});
  ASSERT_TRUE(patterns);
  EXPECT_TRUE(patterns->ignores("c.a"));
  EXPECT_FALSE(patterns->ignores("b.a"));
  EXPECT_EQ(patterns->patterns().size(), 2u);
  EXPECT_FALSE(make_ignore_list({"["}));
}

}  // namespace
}  // namespace nacelle::codec
