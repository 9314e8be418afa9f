#include "tests/unit/image_jobs/load_image.h"

namespace nacelle::image {
namespace {

Result<ParseRequest::Reply> parsed(std::string_view document, ParseRequest request = {}) {
  const Fd file = memory_file(document);
  return parse(request, file);
}

TEST(Parse, tells_manifests_from_indexes_and_configurations) {
  const SmallImage image;
  const std::string index = index_of(image.descriptor());
  for (const std::string_view type : {std::string_view(), oci::media::oci_manifest}) {
    const auto reply = parsed(image.manifest, {.media_type = std::string(type)});
    ASSERT_TRUE(reply) << complaint(reply);
    EXPECT_TRUE(reply->manifest && !reply->index && !reply->config);
    EXPECT_EQ(reply->manifest->layers.size(), 2u);
  }
  for (const std::string_view type : {std::string_view(), oci::media::oci_index}) {
    const auto reply = parsed(index, {.media_type = std::string(type)});
    ASSERT_TRUE(reply) << complaint(reply);
    EXPECT_TRUE(!reply->manifest && reply->index && !reply->config);
  }
  const auto reply = parsed(image.config, {.is_config = true});
  ASSERT_TRUE(reply) << complaint(reply);
  EXPECT_TRUE(!reply->manifest && !reply->index && reply->config);
  EXPECT_EQ(reply->config->diff_ids.size(), 2u);
}

TEST(Parse, refuses_what_is_not_as_announced) {
  const SmallImage image;
  const auto wrong = codec::digest_of("something else");
  struct Case {
    std::string document;
    ParseRequest request;
    const char* complaint;
  };
  const Case cases[] = {
      {image.manifest, {.digest = wrong}, "digest mismatch"},
      {"", {.digest = wrong}, "digest mismatch"},
      {image.config, {.is_config = true, .digest = wrong}, "digest mismatch"},
      {image.manifest, {.media_type = std::string(oci::media::oci_index)}, "image index"},
      {image.manifest, {.media_type = "text/html"}, "'text/html' is neither"},
      {image.manifest, {.media_type = std::string(oci::media::oci_config)}, "is neither"},
      {"", {}, "the document: "},
      {"[]", {}, "the document: "},
      {"<html>", {}, "the document: "},
      {"{}", {.is_config = true}, "the document: "},
      {std::string((4u << 20) + 1, ' '), {}, "more than 4194304 bytes"},
      {std::string((8u << 20) + 1, ' '), {.is_config = true}, "more than 8388608 bytes"},
      {std::string(1000, '['), {}, "the document: "},
      {std::string(1u << 20, '['), {}, "the document: more than 262144 values"},
  };
  for (const Case& c : cases) {
    const auto reply = parsed(c.document, c.request);
    ASSERT_FALSE(reply) << c.complaint;
    EXPECT_NE(reply.error().message().find(c.complaint), std::string::npos)
        << reply.error().message();
  }
}

TEST(Parse, checks_the_digest_in_the_algorithm_it_is_given_in) {
  const SmallImage image;
  for (const auto algorithm : {codec::DigestAlgorithm::Sha256, codec::DigestAlgorithm::Sha512}) {
    EXPECT_TRUE(parsed(image.manifest, {.digest = codec::digest_of(image.manifest, algorithm)}));
  }
}

}  // namespace
}  // namespace nacelle::image
