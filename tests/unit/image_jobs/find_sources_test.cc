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
  Result<FindSourcesRequest::Reply> find(std::vector<std::string> patterns) {
    return find_sources({.patterns = std::move(patterns)}, root(), asker_);
  }
  const Fd& root() const { return directory_.fd(); }

 private:
  Directory directory_;
  TestAsker asker_;
};

TEST_F(FindSources, by_name_and_by_wildcard) {
  EXPECT_EQ(find({"*.txt"})->paths, (std::vector<std::string>{"a.txt", "b.txt"}));
  EXPECT_EQ(find({"./dir//inner"})->paths, (std::vector<std::string>{"dir/inner"}));
  EXPECT_EQ(find({"d*/i?ner", "/a.txt"})->paths, (std::vector<std::string>{"dir/inner", "a.txt"}));
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

}  // namespace
}  // namespace nacelle::image
