// What COPY's sources mean: wildcards, links that stay inside, and a digest of all that counts.
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/image_jobs/job_test.h"

namespace nacelle::image {
namespace {

class FindSources : public ::testing::Test {
 protected:
  void SetUp() override {
    write("a.txt", "a");
    write("b.txt", "b");
    ASSERT_EQ(::mkdirat(root().get(), "dir", 0755), 0);
    write("dir/inner", "inner");
    ASSERT_EQ(::symlinkat("dir/inner", root().get(), "link"), 0);
    ASSERT_EQ(::symlinkat("/etc", root().get(), "etc"), 0);
    ASSERT_EQ(::symlinkat("../../../../../..", root().get(), "up"), 0);
  }
  void write(const char* name, std::string_view text) {
    ASSERT_TRUE(sys::replace_file_at(root().get(), name, text, 0644));
  }
  Result<FindSourcesRequest::Reply> find(std::vector<std::string> patterns,
                                         std::vector<std::string> exclude = {},
                                         bool parents = false) {
    return find_sources(
        {.patterns = std::move(patterns), .exclude = std::move(exclude), .parents = parents},
        root(), asker_);
  }
  std::vector<std::string> paths(std::vector<std::string> patterns,
                                 std::vector<std::string> exclude = {}) {
    std::vector<std::string> found;
    for (const CopySource& each : find(std::move(patterns), std::move(exclude))->sources) {
      found.push_back(each.path);
    }
    return found;
  }
  const Fd& root() const { return directory_.fd(); }

 private:
  Directory directory_;
  TestAsker asker_;
};

TEST_F(FindSources, by_name_and_by_wildcard) {
  EXPECT_EQ(paths({"*.txt"}), (std::vector<std::string>{"a.txt", "b.txt"}));
  EXPECT_EQ(paths({"./dir//inner"}), (std::vector<std::string>{"dir/inner"}));
  EXPECT_EQ(paths({"d*/i?ner", "/a.txt"}), (std::vector<std::string>{"dir/inner", "a.txt"}));
  EXPECT_TRUE(find({"dir"})->all_are_directories);
  EXPECT_FALSE(find({"dir", "a.txt"})->all_are_directories);
}

TEST_F(FindSources, what_is_not_there_is_an_error) {
  EXPECT_EQ(find({"none"}).error().kind(), Kind::NotFound);
  EXPECT_EQ(find({"a.txt", "none"}).error().kind(), Kind::NotFound);
  EXPECT_FALSE(find({"none*"}));
  EXPECT_FALSE(find({"../a.txt"}));
  EXPECT_FALSE(find({"dir/../../a.txt"}));
}

TEST_F(FindSources, links_lead_nowhere_outside) {
  EXPECT_TRUE(find({"link"}));
  EXPECT_FALSE(find({"etc/passwd"}));
  EXPECT_FALSE(find({"up/etc/passwd"}));
  EXPECT_FALSE(find({"etc/*"}));
}

TEST_F(FindSources, the_digest_is_of_what_counts_and_of_nothing_else) {
  const auto before = find({"dir"})->digest;
  const timespec then[2] = {{.tv_sec = 1, .tv_nsec = 0}, {.tv_sec = 1, .tv_nsec = 0}};
  ASSERT_EQ(::utimensat(root().get(), "dir/inner", then, 0), 0);
  EXPECT_EQ(find({"dir"})->digest, before);
  ASSERT_EQ(::fchmodat(root().get(), "dir/inner", 0755, 0), 0);
  EXPECT_NE(find({"dir"})->digest, before);
  ASSERT_EQ(::fchmodat(root().get(), "dir/inner", 0644, 0), 0);
  EXPECT_EQ(find({"dir"})->digest, before);
  write("dir/inner", "other");
  EXPECT_NE(find({"dir"})->digest, before);
  write("dir/inner", "inner");
  write("dir/more", "");
  EXPECT_NE(find({"dir"})->digest, before);
}

TEST_F(FindSources, what_is_excluded_is_neither_found_nor_counted) {
  EXPECT_EQ(paths({"*.txt"}, {"a*"}), (std::vector<std::string>{"b.txt"}));
  EXPECT_EQ(paths({"*.txt"}, {"*"}), (std::vector<std::string>{}));
  // In a directory, patterns are relative to it.
  const auto whole = find({"dir"})->digest;
  EXPECT_EQ(find({"dir"}, {"dir/inner"})->digest, whole);
  const auto without = find({"dir"}, {"inner"})->digest;
  EXPECT_NE(without, whole);
  write("dir/inner", "changed");
  EXPECT_EQ(find({"dir"}, {"inner"})->digest, without);
  EXPECT_FALSE(find({"dir"}, {"["}));
  EXPECT_FALSE(find({"none*"}, {"*"}));
}

TEST_F(FindSources, parents_stand_before_what_is_found_below_them) {
  using Sources = std::vector<CopySource>;
  const auto with_parents = [&](const char* pattern) { return find({pattern}, {}, true); };
  EXPECT_EQ(with_parents("dir/inner")->sources, (Sources{{"", "dir/inner"}}));
  EXPECT_EQ(with_parents("./dir/./inner")->sources, (Sources{{"dir", "inner"}}));
  EXPECT_EQ(with_parents("d*/./i*")->sources, (Sources{{"dir", "i*"}}));
  EXPECT_EQ(with_parents("a.txt/./x*")->sources, Sources{});
  EXPECT_EQ(with_parents("none*")->sources, (Sources{{"", "none*"}}));
  EXPECT_EQ(with_parents("dir/none").error().kind(), Kind::NotFound);
  EXPECT_EQ(with_parents("none/./x").error().kind(), Kind::NotFound);
  EXPECT_FALSE(with_parents("../a.txt"));
  EXPECT_FALSE(with_parents("dir/./../../a.txt"));
  const auto before = with_parents("dir/inn*")->digest;
  write("dir/other", "not meant");
  write("a.txt", "nor this");
  EXPECT_EQ(with_parents("dir/inn*")->digest, before);
  ASSERT_EQ(::fchmodat(root().get(), "dir", 0700, 0), 0);
  EXPECT_NE(with_parents("dir/inn*")->digest, before);
}

}  // namespace
}  // namespace nacelle::image
