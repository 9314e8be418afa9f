#include "http/url.h"

#include <gtest/gtest.h>

#include <string>

namespace nacelle::http {
namespace {

TEST(Url, is_taken_apart) {
  const auto url = parse_url("HTTPS://Registry.Example:5000/v2/a%20b?x=y&z=#part");
  ASSERT_TRUE(url) << url.error().message();
  EXPECT_EQ(url->text, "https://registry.example:5000/v2/a%20b?x=y&z=");
  EXPECT_EQ(url->origin(), "https://registry.example:5000");
  EXPECT_EQ(url->path, "/v2/a%20b");
  const auto plain = parse_url("http://[::1]");
  ASSERT_TRUE(plain) << plain.error().message();
  EXPECT_EQ(plain->host, "[::1]");
  EXPECT_EQ(plain->port, 80);
  EXPECT_EQ(plain->text, "http://[::1]/");
  EXPECT_EQ(parse_url("https://a:443/")->authority(), "a");
}

TEST(Url, of_another_kind_is_refused) {
  const std::string cases[] = {
      "",
      "registry",
      "registry/x",
      "//registry/x",
      "/x",
      "ftp://a/",
      "file:///etc/passwd",
      "unix:/x",
      "http://",
      "http://[::1",
      "http://a:0/",
      "http://a:65536/",
      "http://a:x/",
      "http://user@a/",
      "http://user:secret@a/",
      "http://a b/",
      "http://a/b c",
      "http://a/\r\nX: 1",
      "http://a/\x7f",
      std::string("http://a/\0", 10),
      "http://a/" + std::string(url_bytes_max, 'a'),
      "javascript:1",
  };
  for (const std::string& text : cases) {
    const auto url = parse_url(text);
    ASSERT_FALSE(url) << text << " is " << url->text;
    EXPECT_EQ(url.error().kind(), Kind::Invalid);
    EXPECT_FALSE(url.error().message().contains("secret")) << url.error().message();
  }
}

TEST(Url, that_is_relative_means_something_beside_another) {
  const Url base = *parse_url("https://a:5000/v2/x/blobs/uploads/?q=1");
  const struct {
    const char* location;
    const char* meant;
  } cases[] = {
      {"/v2/y?z", "https://a:5000/v2/y?z"},
      {"one", "https://a:5000/v2/x/blobs/uploads/one"},
      {"../x", "https://a:5000/v2/x/blobs/x"},
      {"http://b/c", "http://b/c"},
      {"//b/c", "https://b/c"},
      {"?n=2", "https://a:5000/v2/x/blobs/uploads/?n=2"},
  };
  for (const auto& each : cases) {
    const auto url = join_url(base, each.location);
    ASSERT_TRUE(url) << each.location << url.error().message();
    EXPECT_EQ(url->text, each.meant) << each.location;
  }
  for (const char* location : {"", "file:///x", "http://u:p@b/", "gopher://b/", "http://[", " "}) {
    EXPECT_FALSE(join_url(base, location)) << location;
  }
}

TEST(Url, takes_another_pair_into_its_query) {
  EXPECT_EQ(with_query(*parse_url("http://a/b"), "digest", "sha256:1/2").text,
            "http://a/b?digest=sha256%3A1%2F2");
  EXPECT_EQ(with_query(*parse_url("http://a/b?c=d"), "e", "&").text, "http://a/b?c=d&e=%26");
}

TEST(Url, has_an_origin_that_others_do_not_share) {
  const Url url = *parse_url("https://a/");
  EXPECT_TRUE(same_origin(url, *parse_url("https://A:443/other")));
  for (const char* other : {"http://a/", "https://a:444/", "https://b/", "http://a:443/"}) {
    EXPECT_FALSE(same_origin(url, *parse_url(other))) << other;
  }
}

TEST(Url, knows_addresses_that_are_nobodys_business) {
  for (const char* host :
       {"169.254.169.254", "169.254.0.1", "[fe80::1]", "[febf::1]", "[fe80::1%eth0]",
        "[::ffff:169.254.1.1]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]", "100.100.100.200",
        "192.0.0.192", "[::169.254.169.254]", "[::ffff:0:169.254.169.254]", "[2002:a9fe:a9fe::1]",
        "[2002:6464:64c8::]", "[::ffff:192.0.0.192]", "[64:ff9b:1::a9fe:a9fe]",
        "[2001:0:1:2:3:4:5601:5601]"}) {
    EXPECT_TRUE(is_link_local(host)) << host;
  }
  for (const char* host : {"169.253.1.1", "169.255.1.1", "10.0.0.1", "[fec0::1]", "[fd00:ec2::253]",
                           "100.100.100.201", "192.0.0.193", "[2002:808:808::1]", "example.com", "",
                           "[", "169.254.169.254.example.com"}) {
    EXPECT_FALSE(is_link_local(host)) << host;
  }
  for (const char* host : {"localhost", "127.0.0.1", "127.9.9.9", "[::1]", "a.localhost"}) {
    EXPECT_TRUE(is_loopback(host)) << host;
  }
  for (const char* host : {"localhost.example", "128.0.0.1", "[::2]", "", "xlocalhost"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
  // Numbers that libcurl would take for addresses are written out before anyone looks.
  EXPECT_EQ(parse_url("http://2852039166/")->host, "169.254.169.254");
  EXPECT_EQ(parse_url("http://0xa9.0xfe.43518/")->host, "169.254.169.254");
}

}  // namespace
}  // namespace nacelle::http
