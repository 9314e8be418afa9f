// COPY into a root: what of a source comes, under which names, with which modes. Files belong to
// whoever runs the test, so that no privilege is needed.
#include <sys/stat.h>

#include "tests/unit/image_jobs/job_test.h"

namespace nacelle::image {
namespace {

class CopyFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::mkdirat(source_.fd().get(), "a", 0750), 0);
    ASSERT_EQ(::mkdirat(source_.fd().get(), "a/b", 0700), 0);
    ASSERT_EQ(::mkdirat(source_.fd().get(), "a/empty", 0700), 0);
    for (const char* name : {"a/b/x", "a/b/y", "a/x"}) {
      ASSERT_TRUE(sys::replace_file_at(source_.fd().get(), name, name, 0600));
    }
  }

  CopyFilesRequest request(CopySource source) const {
    CopyFilesRequest request;
    request.sources.push_back(std::move(source));
    request.destination = "/to/";
    request.uid = ::getuid();
    request.gid = ::getgid();
    return request;
  }
  Result<CopyFilesRequest::Reply> copy(const CopyFilesRequest& request) {
    return copy_files(request, root_.fd(), source_.fd(), asker_);
  }
  // All below the destination, with their modes.
  std::string listing() const {
    std::string out =
        test::run({"sh", "-c", "cd \"$1\" && find to -mindepth 1 -printf '%P %m\\n' | sort", "sh",
                   root_.path()})
            .out;
    std::ranges::replace(out, '\n', ',');
    return out;
  }

  Directory source_, root_;

 private:
  TestAsker asker_;
};

TEST_F(CopyFiles, all_of_a_directory) {
  ASSERT_TRUE(copy(request({.path = "a", .pattern = {}})));
  EXPECT_EQ(listing(), "b 700,b/x 600,b/y 600,empty 700,x 600,");
}

TEST_F(CopyFiles, what_is_excluded_does_not_come) {
  CopyFilesRequest without = request({.path = "a", .pattern = {}});
  without.exclude = {"*/x", "empty"};
  ASSERT_TRUE(copy(without));
  EXPECT_EQ(listing(), "b 700,b/y 600,x 600,");
}

TEST_F(CopyFiles, a_directory_comes_for_what_is_taken_back_in_it) {
  CopyFilesRequest without = request({.path = "a", .pattern = {}});
  without.exclude = {"*", "!b/y", "!none/x"};
  ASSERT_TRUE(copy(without));
  EXPECT_EQ(listing(), "b 700,b/y 600,");
}

TEST_F(CopyFiles, parents_come_as_they_are_and_for_what_is_meant_alone) {
  ASSERT_TRUE(copy(request({.path = "", .pattern = "a/*/x"})));
  EXPECT_EQ(listing(), "a 750,a/b 700,a/b/x 600,");
}

TEST_F(CopyFiles, modes_are_changed_file_by_file) {
  CopyFilesRequest changing = request({.path = "a", .pattern = {}});
  changing.mode = "go=u-w,a+X";
  ASSERT_TRUE(copy(changing));
  EXPECT_EQ(listing(), "b 755,b/x 644,b/y 644,empty 755,x 644,");
  changing.mode = "nonsense";
  EXPECT_EQ(copy(changing).error().kind(), Kind::Invalid);
}

// As BuildKit has it: a number is the mode of directories that are made on the way, too.
TEST_F(CopyFiles, a_number_is_the_mode_of_the_way) {
  CopyFilesRequest changing = request({.path = "a/b", .pattern = {}});
  changing.destination = "/to/number/";
  changing.mode = "0711";
  ASSERT_TRUE(copy(changing));
  changing.destination = "/to/words/";
  changing.mode = "u=rwx,go=x";
  ASSERT_TRUE(copy(changing));
  EXPECT_EQ(listing(), "number 711,number/x 711,number/y 711,words 755,words/x 711,words/y 711,");
}

TEST_F(CopyFiles, a_directory_hands_on_its_group) {
  ASSERT_EQ(::mkdirat(root_.fd().get(), "to", 0755), 0);
  ASSERT_EQ(::fchmodat(root_.fd().get(), "to", 02755, 0), 0);
  CopyFilesRequest below = request({.path = "a/b", .pattern = {}});
  below.destination = "/to/way/deep/";
  ASSERT_TRUE(copy(below));
  EXPECT_EQ(listing(), "way 2755,way/deep 2755,way/deep/x 600,way/deep/y 600,");
}

}  // namespace
}  // namespace nacelle::image
