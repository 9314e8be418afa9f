// Files of URLs: what they are called, and the digest of what came.
#include "image/remote_file.h"

#include "tests/unit/image_jobs/job_test.h"

namespace nacelle::image {
namespace {

TEST(RemoteFile, is_called_after_the_end_of_its_path) {
  struct Case {
    const char* url;
    const char* name;
  };
  const Case cases[] = {
      {"http://a/b/c.tar.gz", "c.tar.gz"},
      {"https://a:1/b/?c=/d", "b"},
      {"http://a/b%20c#d", "b c"},
      {"http://a/x%2Fy", "y"},
      {"http://a", "__unnamed__"},
      {"http://a/?b", "__unnamed__"},
      {"http://a/b/../c", "c"},
  };
  for (const Case& each : cases) {
    const auto name = remote_file_name(each.url);
    ASSERT_TRUE(name) << each.url << ": " << complaint(name);
    EXPECT_EQ(*name, each.name) << each.url;
  }
}

TEST(RemoteFile, has_a_name_that_leads_nowhere_else) {
  const std::string long_name = cat("http://a/", std::string(256, 'b'));
  for (const std::string& url :
       {std::string("http://a/b%2F.."), std::string("http://a/%00"), std::string("http://a/b%0"),
        std::string("ftp://a/b"), std::string("b"), long_name}) {
    EXPECT_FALSE(remote_file_name(url)) << url;
  }
}

TEST(HashFile, counts_every_byte_from_the_first) {
  const std::string bytes(700'000, 'x');
  const Fd file = memory_file(bytes);
  ::lseek(file.get(), 5, SEEK_SET);
  TestAsker asker;
  for (const auto algorithm : {codec::DigestAlgorithm::Sha256, codec::DigestAlgorithm::Sha512}) {
    const auto hashed = hash_file({.algorithm = algorithm}, file, asker);
    ASSERT_TRUE(hashed) << complaint(hashed);
    EXPECT_EQ(hashed->digest, codec::digest_of(bytes, algorithm));
  }
  EXPECT_EQ(asker.last, bytes.size());
}

}  // namespace
}  // namespace nacelle::image
