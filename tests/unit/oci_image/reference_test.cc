// Goal: names mean what they mean to Docker. Method: tables; which names are good and which are not
// was checked against the docker 28.2 command line.
#include <gtest/gtest.h>

#include "base/text.h"
#include "oci/reference.h"

namespace nacelle::oci {
namespace {

const std::string hex64(64, 'a');
const std::string sha256 = "sha256:" + hex64;

struct Good {
  std::string text, full, familiar;
};

TEST(Reference, IsNormalizedAsDockerDoes) {
  const Good cases[] = {
      {"busybox", "docker.io/library/busybox:latest", "busybox:latest"},
      {"busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"},
      {"library/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
      {"docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
      {"docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
      {"index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"},
      {"index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"},
      {"a/b", "docker.io/a/b:latest", "a/b:latest"},
      {"a/b/c", "docker.io/a/b/c:latest", "a/b/c:latest"},
      {"library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"},
      {"localhost", "docker.io/library/localhost:latest", "localhost:latest"},
      {"localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"},
      {"localhost/a", "localhost/a:latest", "localhost/a:latest"},
      {"localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"},
      {"localhost/library/a", "localhost/library/a:latest", "localhost/library/a:latest"},
      {"example.com/a", "example.com/a:latest", "example.com/a:latest"},
      {"example.com", "docker.io/library/example.com:latest", "example.com:latest"},
      {"example.com:80/a", "example.com:80/a:latest", "example.com:80/a:latest"},
      {"example:80/a:b", "example:80/a:b", "example:80/a:b"},
      {"Example.COM/a", "Example.COM/a:latest", "Example.COM/a:latest"},
      {"Foo/bar", "Foo/bar:latest", "Foo/bar:latest"},
      {"127.0.0.1/a", "127.0.0.1/a:latest", "127.0.0.1/a:latest"},
      {"127.0.0.1:5000/a", "127.0.0.1:5000/a:latest", "127.0.0.1:5000/a:latest"},
      {"[::1]/a", "[::1]/a:latest", "[::1]/a:latest"},
      {"[::1]:5000/a/b:c", "[::1]:5000/a/b:c", "[::1]:5000/a/b:c"},
      {"[2001:DB8::1]:5000/a", "[2001:DB8::1]:5000/a:latest", "[2001:DB8::1]:5000/a:latest"},
      {"xn--n3h.com/a", "xn--n3h.com/a:latest", "xn--n3h.com/a:latest"},
      {"a-b.c-d.com/a", "a-b.c-d.com/a:latest", "a-b.c-d.com/a:latest"},
      {"a.b/c.d", "a.b/c.d:latest", "a.b/c.d:latest"},
      {"a_b", "docker.io/library/a_b:latest", "a_b:latest"},
      {"a__b", "docker.io/library/a__b:latest", "a__b:latest"},
      {"a---b", "docker.io/library/a---b:latest", "a---b:latest"},
      {"a.b-c_d", "docker.io/library/a.b-c_d:latest", "a.b-c_d:latest"},
      {"0", "docker.io/library/0:latest", "0:latest"},
      {"a:_", "docker.io/library/a:_", "a:_"},
      {"a:A.b-C_9", "docker.io/library/a:A.b-C_9", "a:A.b-C_9"},
      {"a:" + std::string(128, 'x'), "docker.io/library/a:" + std::string(128, 'x'),
       "a:" + std::string(128, 'x')},
      {sha256, "docker.io/library/" + sha256, sha256},  // ask may_be_image_id() first
      {"a@" + sha256, "docker.io/library/a@" + sha256, "a@" + sha256},
      {"a:b@" + sha256, "docker.io/library/a:b@" + sha256, "a:b@" + sha256},
      {"h:1/a/b:c@" + sha256, "h:1/a/b:c@" + sha256, "h:1/a/b:c@" + sha256},
      {"a@sha512:" + std::string(128, '0'), "docker.io/library/a@sha512:" + std::string(128, '0'),
       "a@sha512:" + std::string(128, '0')},
      {hex64 + ":x", "docker.io/library/" + hex64 + ":x",
       "docker.io/library/" + hex64 + ":x"},  // "aaa...:x" alone would do, but not its name
      {"docker.io/" + hex64, "docker.io/library/" + hex64 + ":latest",
       "docker.io/library/" + hex64 + ":latest"},
      {hex64.substr(1), "docker.io/library/" + hex64.substr(1) + ":latest",
       hex64.substr(1) + ":latest"},
      {std::string(247, 'a'), "docker.io/library/" + std::string(247, 'a') + ":latest",
       std::string(247, 'a') + ":latest"},
      // What would be taken for a registry keeps the one it has.
      {"docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"},
      {"docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c:latest"},
  };
  for (const Good& each : cases) {
    const auto reference = parse_reference(each.text);
    ASSERT_TRUE(reference.has_value()) << each.text << ": " << reference.error().message();
    EXPECT_EQ(reference->text(), each.full);
    EXPECT_EQ(reference->familiar(), each.familiar);
    EXPECT_EQ(*parse_reference(reference->text()), *reference) << each.text;
    EXPECT_EQ(*parse_reference(reference->familiar()), *reference) << each.text;
    EXPECT_EQ(parse_reference_name(reference->familiar_name())->name(), reference->name());
  }
}

TEST(Reference, IsRefused) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "the name is empty"},
      {" ", "is not a repository name"},
      {"/", "is not a repository name"},
      {"/a", "is not a repository name"},
      {"a/", "is not a repository name"},
      {"a//b", "is not a repository name"},
      {"docker.io/", "the repository name is missing"},
      {"localhost/", "the repository name is missing"},
      {"localhost:5000/", "the repository name is missing"},
      {"index.docker.io/", "the repository name is missing"},
      {":tag", "the repository name is missing"},
      {"@" + sha256, "the repository name is missing"},
      {"Busybox", "repository name ('library/Busybox') must be lowercase"},
      {"a/B", "repository name ('a/B') must be lowercase"},
      {"example.com/A", "repository name ('A') must be lowercase"},
      {"BUSYBOX:latest", "must be lowercase"},
      {"a@SHA256:" + hex64, "expected 'sha256:'"},
      {hex64, "cannot specify 64-byte hexadecimal strings"},
      {"a:", "is not a tag"},
      {"a:b:c", "is not a tag"},
      {"a:-b", "is not a tag"},
      {"a:.b", "is not a tag"},
      {"a:b/c", "is not a registry's host"},
      {"a:b c", "is not a tag"},
      {"a:\u00fc", "is not a tag"},
      {"a:" + std::string(129, 'x'), "is not a tag"},
      {"a@", "digest"},
      {"a@sha256:", "digest"},
      {"a@sha256:" + hex64.substr(1), "digest"},
      {"a@sha256:" + hex64 + "a", "digest"},
      {"a@sha256:" + std::string(64, 'A'), "digest"},
      {"a@sha256:" + std::string(64, 'g'), "digest"},
      {"a@md5:" + std::string(32, 'a'), "digest"},
      {"a@sha256:../../x", "is not a registry's host"},
      {"a@" + sha256 + "@" + sha256, "digest"},
      {"a@" + sha256 + ":b", "digest"},
      {"-a", "is not a repository name"},
      {"a-", "is not a repository name"},
      {".a", "is not a repository name"},
      {"a.", "is not a repository name"},
      {"_a", "is not a repository name"},
      {"a_", "is not a repository name"},
      {"a..b", "is not a repository name"},
      {"a___b", "is not a repository name"},
      {"a._b", "is not a repository name"},
      {"a.-b", "is not a repository name"},
      {"a-_b", "is not a repository name"},
      {"..", "is not a repository name"},
      {"../a", "is not a registry's host"},
      {"a/../b", "is not a repository name"},
      {"a/./b", "is not a repository name"},
      {"./a", "is not a registry's host"},
      {"a b", "is not a repository name"},
      {"a\nb", "is not a repository name"},
      {std::string("a\0b", 3), "is not a repository name"},
      {"a%2fb", "is not a repository name"},
      {"a?b=c", "is not a repository name"},
      {"a#b", "is not a repository name"},
      {"\u00e4", "is not a repository name"},
      {"\xff", "is not a repository name"},
      {"https://example.com/a", "leave out what is before the host"},
      {"http://a", "leave out what is before the host"},
      {"docker://a", "is not a registry's host"},
      {"user@example.com/a", "is not a registry's host"},
      {"user:pass@example.com/a", "is not a registry's host"},
      {"-example.com/a", "is not a registry's host"},
      {"example-.com/a", "is not a registry's host"},
      {"example..com/a", "is not a registry's host"},
      {"example.com./a", "is not a registry's host"},
      {".example.com/a", "is not a registry's host"},
      {"exa_mple.com/a", "is not a registry's host"},
      {"example.com:/a", "is not a registry's host"},
      {"example.com:port/a", "is not a registry's host"},
      {"example.com:-1/a", "is not a registry's host"},
      {"example.com:80:80/a", "is not a registry's host"},
      {":80/a", "is not a registry's host"},
      {"::1/a", "is not a registry's host"},
      {"[::1/a", "is not a registry's host"},
      {"[]/a", "is not a repository name"},
      {"[]:1/a", "is not a registry's host"},
      {"[::1]5000/a", "is not a registry's host"},
      {"[::1%25eth0]/a", "is not a registry's host"},
      {"[::1]:/a", "is not a registry's host"},
      {"[::g]/a", "is not a registry's host"},
      {"a:b@c/d", "is not a registry's host"},
      {std::string(248, 'a'), "not be more than 255 characters"},
      {"example.com/" + std::string(256, 'a'), "not be more than 255 characters"},
      {std::string(256, 'a') + ".com/a", "is not a registry's host"},
  };
  for (const auto& [text, complaint] : cases) {
    const auto reference = parse_reference(text);
    if (reference) {
      ADD_FAILURE() << text << " accepted as " << reference->text();
      continue;
    }
    const std::string& message = reference.error().message();
    EXPECT_EQ(reference.error().kind(), Kind::Invalid);
    EXPECT_NE(message.find(complaint), std::string::npos) << text << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_TRUE(is_utf8(message)) << text;
    EXPECT_LT(message.size(), 1000u);
  }
}

TEST(Reference, WithoutATagGetsNoneWhenANameWasAskedFor) {
  EXPECT_EQ(parse_reference_name("busybox")->text(), "docker.io/library/busybox");
  EXPECT_EQ(parse_reference_name("busybox:x")->tag, "x");
  EXPECT_EQ(parse_reference_name("a/b@" + sha256)->digest, sha256);
  EXPECT_FALSE(parse_reference_name("A").has_value());
}

TEST(Reference, KnowsItsPartsAndWhoAnswersForIt) {
  const auto reference = parse_reference("[::1]:5000/a/b:c@" + sha256);
  ASSERT_TRUE(reference.has_value());
  EXPECT_EQ(reference->registry, "[::1]:5000");
  EXPECT_EQ(reference->repository, "a/b");
  EXPECT_EQ(reference->tag, "c");
  EXPECT_EQ(reference->digest, sha256);
  EXPECT_EQ(reference->name(), "[::1]:5000/a/b");
  EXPECT_EQ(reference->familiar_name(), "[::1]:5000/a/b");
  EXPECT_EQ(reference->api_host(), "[::1]:5000");
  EXPECT_EQ(parse_reference("busybox")->api_host(), "registry-1.docker.io");
  EXPECT_EQ(parse_reference("busybox")->familiar_name(), "busybox");
}

TEST(ImageId, IsHexadecimalOfBoundedLength) {
  for (const std::string& good : {std::string("a"), std::string("0123456789abcdef"), hex64, sha256,
                                  std::string("sha256:0")}) {
    EXPECT_TRUE(may_be_image_id(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("sha256:"), std::string("g"), std::string("A"), hex64 + "a",
        sha256 + "a", std::string("sha512:aa"), std::string("sha256:sha256:a"), std::string("a b"),
        std::string("../a"), std::string("busybox")}) {
    EXPECT_FALSE(may_be_image_id(bad)) << bad;
  }
}

}  // namespace
}  // namespace nacelle::oci
