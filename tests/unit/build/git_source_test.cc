// URLs of git repositories: what is one, its parts, and what would be taken for something else.
#include "build/git_source.h"

#include <gtest/gtest.h>

namespace nacelle::build {
namespace {

TEST(GitSource, parts_are_read) {
  struct Case {
    const char* text;
    GitSource source;
  };
  const auto made = [](std::string remote, std::string ref, std::string directory) {
    return GitSource{.remote = std::move(remote),
                     .ref = std::move(ref),
                     .directory = std::move(directory),
                     .checksum = {},
                     .keep_git_dir = {}};
  };
  const Case cases[] = {
      {"https://h/a/b.git", made("https://h/a/b.git", "", "")},
      {"https://h/a.git#main", made("https://h/a.git", "main", "")},
      {"https://h:8443/a.git#v1.2:sub/dir", made("https://h:8443/a.git", "v1.2", "sub/dir")},
      {"git://h/a#:sub", made("git://h/a", "", "sub")},
      {"git@h:a/b.git#refs/tags/x", made("git@h:a/b.git", "refs/tags/x", "")},
      {"ssh://git@h:22/a", made("ssh://git@h:22/a", "", "")},
      {"github.com/a/b", made("https://github.com/a/b", "", "")},
      {"https://h/a.git?branch=b&subdir=s", made("https://h/a.git", "refs/heads/b", "s")},
      {"https://h/a.git#r:../..", made("https://h/a.git", "r", "../..")},
  };
  for (const Case& each : cases) {
    const auto source = parse_git_source(each.text);
    ASSERT_TRUE(source) << each.text << ": " << source.error().message();
    ASSERT_TRUE(*source) << each.text;
    EXPECT_EQ(**source, each.source) << each.text;
  }
  const auto kept = *parse_git_source("https://h/a.git?keep-git-dir=1&checksum=abc");
  EXPECT_EQ(kept->keep_git_dir, true);
  EXPECT_EQ(kept->checksum, "abc");
}

TEST(GitSource, others_are_none) {
  for (const char* text : {"", "a", "./a.git", "/a/b.git", "https://h/a", "https://h/a.git/b",
                           "https://h/a.git.tar", "docker-image://a", "dir:with/a", "C:/x"}) {
    const auto source = parse_git_source(text);
    ASSERT_TRUE(source) << text;
    EXPECT_FALSE(*source) << text;
  }
}

// Pitfalls of others: CVE-2017-1000117 (hosts that are options), CVE-2019-13139 (refs that are).
TEST(GitSource, what_could_be_an_option_or_a_refspec_is_refused) {
  for (const char* text :
       {"https://h/a.git#-u", "https://h/a.git#--upload-pack=x", "https://h/a.git#a b",
        "https://h/a.git#+x", "https://h/a.git#a^b", "ssh://-oProxyCommand=x/a", "git://-x/a",
        "ssh://git@-oProxyCommand=x/a", "git://h/a;b", "git://h/$(x)", "git://h/a\nb",
        "https://h/a.git?checksum=-x", "https://h/a.git?nonsense=1", "git:///a"}) {
    EXPECT_FALSE(parse_git_source(text)) << text;
  }
}

}  // namespace
}  // namespace nacelle::build
