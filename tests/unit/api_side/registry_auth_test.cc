#include "api/registry_auth.h"

#include <gtest/gtest.h>

#include "codec/base64.h"
#include "failure.h"

namespace nacelle::test {
namespace {

std::string header(std::string_view json) {
  std::string text = codec::to_base64(json);
  for (char& c : text) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
  }
  return text;
}

TEST(RegistryAuth, ANameAndAPasswordAreRead) {
  const auto auth = api::decode_registry_auth(
      header(R"({"username":"mæ","password":"p>?~","serveraddress":"localhost:5000"})"));
  ASSERT_TRUE(auth) << auth.error().message();
  EXPECT_EQ(auth->credentials.username, "mæ");
  EXPECT_EQ(auth->credentials.password, "p>?~");
  EXPECT_EQ(auth->server, "localhost:5000");
}

TEST(RegistryAuth, BothInOneAreRead) {
  const auto auth =
      api::read_registry_auth(cat(R"({"auth":")", codec::to_base64("me:se:cret"), R"("})"));
  ASSERT_TRUE(auth) << auth.error().message();
  EXPECT_EQ(auth->credentials.username, "me");
  EXPECT_EQ(auth->credentials.password, "se:cret");
}

TEST(RegistryAuth, ATokenIsRead) {
  const auto auth = api::read_registry_auth(R"({"identitytoken":"t","registrytoken":"r"})");
  ASSERT_TRUE(auth);
  EXPECT_EQ(auth->credentials.identity_token, "t");
  EXPECT_TRUE(auth->credentials.username.empty());
}

TEST(RegistryAuth, NothingIsNobody) {
  EXPECT_TRUE(api::read_registry_auth("{}")->credentials.empty());
  EXPECT_TRUE(api::registry_login({}).empty());
  EXPECT_TRUE(api::registry_login({{"x-registry-auth", ""}}).empty());
  EXPECT_TRUE(api::registry_login({{"x-registry-auth", header("{}")}}).empty());
}

TEST(RegistryAuth, PaddingMayBeMissing) {
  std::string text = header(R"({"username":"a"})");
  while (text.ends_with('=')) text.pop_back();
  EXPECT_EQ(api::decode_registry_auth(text)->credentials.username, "a");
}

TEST(RegistryAuth, WhatIsNoneIsRefused) {
  for (const std::string& json :
       {std::string("["), std::string("null"), std::string("\"x\""),
        std::string("{\"username\":1}"), std::string("{\"username\":\"a\"} x"),
        std::string(R"({"auth":"%%%"})"), cat(R"({"auth":")", codec::to_base64("nocolon"), R"("})"),
        cat(R"({"auth":")", codec::to_base64(":nobody"), R"("})"),
        std::string(R"({"username":"a\r\nX-Evil: b"})"), std::string(R"({"password":"a\n"})"),
        std::string(R"({"identitytoken":"a\nb"})")}) {
    EXPECT_FALSE(api::read_registry_auth(json)) << json;
    EXPECT_FALSE(api::decode_registry_auth(header(json))) << json;
    // As dockerd: a header nobody can read is as none.
    EXPECT_TRUE(api::registry_login({{"x-registry-auth", header(json)}}).empty()) << json;
  }
  EXPECT_FALSE(api::decode_registry_auth("not base 64!"));
  EXPECT_FALSE(api::decode_registry_auth(std::string(100'000, 'A')));
}

TEST(RegistryAuth, DockerHubHasManyNames) {
  for (const char* server : {"", "https://index.docker.io/v1/", "docker.io", "registry-1.docker.io",
                             "index.docker.io"}) {
    EXPECT_EQ(api::registry_of(server), "docker.io") << server;
  }
  EXPECT_EQ(api::registry_of("http://localhost:5000"), "localhost:5000");
  EXPECT_EQ(api::registry_of("https://quay.io/v2/"), "quay.io");
}

}  // namespace
}  // namespace nacelle::test
