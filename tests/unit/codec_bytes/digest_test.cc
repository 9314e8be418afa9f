#include "codec/digest.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace nacelle::codec {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

// The vectors of FIPS 180-4's examples, and of no bytes at all.
TEST(Digest, of_known_vectors) {
  struct Case {
    std::string bytes;
    DigestAlgorithm algorithm;
    std::string_view expected;
  };
  const Case cases[] = {
      {"", DigestAlgorithm::Sha256,
       "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", DigestAlgorithm::Sha256,
       "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", DigestAlgorithm::Sha256,
       "sha256:248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {std::string(1'000'000, 'a'), DigestAlgorithm::Sha256,
       "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
      {"", DigestAlgorithm::Sha512,
       "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
       "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"},
      {"abc", DigestAlgorithm::Sha512,
       "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
       "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
  };
  for (const Case& each : cases) {
    const Digest digest = digest_of(each.bytes, each.algorithm);
    EXPECT_EQ(digest.text(), each.expected);
    EXPECT_EQ(digest.algorithm(), each.algorithm);
    EXPECT_EQ(digest.algorithm_name(), each.expected.substr(0, 6));
    EXPECT_EQ(digest.hex(), each.expected.substr(7));
    const auto parsed = Digest::parse(each.expected);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(*parsed, digest);
  }
}

TEST(Digest, is_the_same_however_the_bytes_are_cut) {
  const std::string bytes(1000, 'x');
  const Digest whole = digest_of(bytes);
  for (const size_t cut : {0, 1, 63, 64, 65, 999, 1000}) {
    Hasher hasher;
    hasher.update(std::string_view(bytes).substr(0, cut));
    hasher.update("");
    Hasher moved = std::move(hasher);
    moved.update(std::string_view(bytes).substr(cut));
    EXPECT_EQ(moved.finish(), whole) << cut;
  }
  EXPECT_NE(digest_of(bytes + "x"), whole);
}

TEST(Digest, of_nothing_yet_is_empty) {
  const Digest digest;
  EXPECT_TRUE(digest.empty());
  EXPECT_EQ(digest.text(), "");
  EXPECT_EQ(digest.hex(), "");
  EXPECT_EQ(digest.algorithm_name(), "");
  EXPECT_NE(digest, digest_of(""));
}

// Goal: the text of a Digest is a file name in the store, so nothing but the canonical form passes.
TEST(Digest, refuses_every_other_text) {
  const std::string hex = digest_of("abc").text().substr(7);
  const std::string long_hex = digest_of("abc", DigestAlgorithm::Sha512).text().substr(7);
  std::string upper = hex;
  upper[0] = 'B';
  std::string with_nul = "sha256:" + hex;
  with_nul[20] = '\0';
  std::string with_slash = "sha256:" + hex;
  with_slash[30] = '/';
  const std::vector<std::string> wrong = {
      "",
      "sha256",
      "sha256:",
      hex,
      "sha256:" + upper,
      "SHA256:" + hex,
      "Sha256:" + hex,
      "sha256:" + hex.substr(1),
      "sha256:" + hex + "0",
      "sha256:" + hex + "\n",
      "sha256:" + hex + "\0"s,
      " sha256:" + hex,
      "sha256: " + hex,
      "sha256:" + hex.substr(1) + " ",
      "sha256=" + hex,
      "sha256-" + hex,
      "sha256" + hex,
      "sha256::" + hex,
      "sha256:" + hex.substr(1) + "g",
      "sha256:" + hex.substr(2) + "0x",
      "sha256:../../x",
      "sha256:../../../../../../../../../../../../../../../../../../../../../../.",
      "sha256:" + long_hex,
      "sha512:" + hex,
      "sha512:" + long_hex + "00",
      "sha384:" + hex,
      "md5:d41d8cd98f00b204e9800998ecf8427e",
      "sha256+b64:" + hex,
      "tarsum.v1+sha256:" + hex,
      "../sha256:" + hex,
      with_nul,
      with_slash,
  };
  for (const std::string& text : wrong) {
    const auto digest = Digest::parse(text);
    ASSERT_FALSE(digest) << text;
    EXPECT_EQ(digest.error().kind(), Kind::Invalid);
    EXPECT_TRUE(digest.error().message().starts_with("digest '")) << digest.error().message();
  }
}

// Goal: a registry's bytes do not reach a terminal through our own message.
TEST(Digest, shows_a_wrong_text_without_control_characters_and_bounded) {
  const auto escape = Digest::parse("sha256:\x1b[2J\n\0x"sv);
  ASSERT_FALSE(escape);
  EXPECT_NE(escape.error().message().find("'sha256:?[2J??x'"), std::string::npos)
      << escape.error().message();
  const auto huge = Digest::parse(std::string(1 << 20, 'a'));
  ASSERT_FALSE(huge);
  EXPECT_LT(huge.error().message().size(), 400u);
}

}  // namespace
}  // namespace nacelle::codec
