#include "tests/unit/image_jobs/job_test.h"

namespace nacelle::image {
namespace {

using codec::Compression;

std::string layer() {
  Tar tar;
  for (int each = 0; each < 300; ++each) {
    tar.file(cat("usr/share/", each), std::string(static_cast<size_t>(each) * 37, 'c'));
  }
  return tar.end();
}

struct Copied {
  Fd output = memory_file();
  TestAsker asker;
  Result<CopyLayerRequest::Reply> reply = fail(Kind::Internal, "not run");

  Copied(std::string bytes, Compression compression) {
    const Piped input(std::move(bytes), 4000);
    reply = copy_layer({.compression = compression}, input.fd(), output, asker);
  }
};

TEST(CopyLayer, compresses_as_asked) {
  const std::string plain = layer();
  for (const Compression compression : {Compression::None, Compression::Gzip, Compression::Zstd}) {
    const Copied copied(plain, compression);
    ASSERT_TRUE(copied.reply) << complaint(copied.reply);
    const std::string written = content_of(copied.output);
    EXPECT_EQ(copied.reply->compression, compression);
    EXPECT_EQ(copied.reply->blob, codec::digest_of(written));
    EXPECT_EQ(copied.reply->size, written.size());
    EXPECT_EQ(copied.reply->diff_id, codec::digest_of(plain));
    EXPECT_EQ(codec::detect_compression(written), compression);
    EXPECT_EQ(copied.asker.last, plain.size());
  }
}

TEST(CopyLayer, leaves_what_is_compressed_already_as_it_is) {
  const std::string plain = layer();
  for (const Compression is : {Compression::Gzip, Compression::Zstd}) {
    const std::string input = compressed(plain, is);
    for (const Compression asked : {Compression::None, Compression::Gzip, Compression::Zstd}) {
      const Copied copied(input, asked);
      ASSERT_TRUE(copied.reply) << complaint(copied.reply);
      EXPECT_TRUE(content_of(copied.output) == input);
      EXPECT_EQ(copied.reply->compression, is);
      EXPECT_EQ(copied.reply->blob, codec::digest_of(input));
      EXPECT_EQ(copied.reply->diff_id, codec::digest_of(plain));
      EXPECT_EQ(copied.reply->size, input.size());
    }
  }
}

// Nobody would know what it is, as a layer.
TEST(CopyLayer, what_is_compressed_so_that_no_layer_can_be_is_compressed_as_asked) {
  const std::string plain = layer();
  for (const std::string& input : {as_bzip2(plain), as_xz(plain)}) {
    const Copied copied(input, Compression::Gzip);
    ASSERT_TRUE(copied.reply) << complaint(copied.reply);
    EXPECT_EQ(copied.reply->compression, Compression::Gzip);
    EXPECT_EQ(copied.reply->diff_id, codec::digest_of(plain));
    EXPECT_EQ(codec::detect_compression(content_of(copied.output)), Compression::Gzip);
    EXPECT_FALSE(Copied(input.substr(0, input.size() - 5), Compression::Gzip).reply);
  }
}

TEST(CopyLayer, refuses_what_is_no_archive) {
  const std::string plain = layer();
  const std::string zipped = compressed(plain, Compression::Gzip);
  struct Case {
    std::string bytes;
    const char* complaint;
  };
  const Case cases[] = {
      {"", "layer archive: not a tar archive: it is empty"},
      {"hello", "ends in the middle of a header"},
      {std::string(600, 'x'), "not a tar header"},
      {plain.substr(0, plain.size() / 2), "ends in the middle of"},
      {compressed("", Compression::Gzip), "not a tar archive: it is empty"},
      {compressed("hello", Compression::Zstd), "ends in the middle of a header"},
      {compressed(plain.substr(0, 3000), Compression::Gzip), "ends in the middle of"},
      {compressed(zipped, Compression::Gzip), "not a tar header"},
      {zipped.substr(0, zipped.size() - 4), "the stream ends in the middle"},
      {cat(zipped, "tail"), "bytes after the end"},
      {std::string("\xfd"
                   "7zXZ\0\0\0",
                   8),
       "xz"},
  };
  for (const Case& c : cases) {
    const Copied copied(c.bytes, Compression::Gzip);
    ASSERT_FALSE(copied.reply) << c.complaint;
    EXPECT_NE(copied.reply.error().message().find(c.complaint), std::string::npos)
        << copied.reply.error().message();
  }
}

TEST(CopyLayer, takes_an_empty_archive) {
  const Copied copied(Tar().end(), Compression::None);
  EXPECT_TRUE(copied.reply) << complaint(copied.reply);
}

}  // namespace
}  // namespace nacelle::image
