// Credentials: who gets them, and what comes back for them.
#include "base/text.h"
#include "tests/root/image_registry/registry_fixture.h"

namespace nacelle::image {
namespace {

RegistryOpenRequest as_user(std::string_view how) {
  RegistryOpenRequest request = to(EvilRegistries::get().url(), std::string(how));
  request.endpoints[0].username = "user";
  request.endpoints[0].password = "secret";
  return request;
}

Result<FetchManifestRequest::Reply> ask(RegistryOpenRequest request) {
  return open_job(std::move(request))->fetch(FetchManifestRequest{"latest"});
}

TEST(EvilToken, of_every_honest_kind_opens_the_door) {
  EvilRegistries& evil = EvilRegistries::get();
  for (const char* how : {"bearer", "basic", "bearer-secret"}) {
    const auto reply = ask(as_user(how));
    EXPECT_TRUE(reply) << how << ": " << reply.error().message();
  }
  RegistryOpenRequest request = to(evil.url(), "bearer-refresh");
  request.endpoints[0].identity_token = "identity!";
  const auto reply = ask(request);
  EXPECT_TRUE(reply) << reply.error().message();
}

TEST(EvilToken, that_has_run_out_is_renewed) {
  const auto job = open_job(to(EvilRegistries::get().url(), "bearer-short"));
  for (int each = 0; each < 7; ++each) {
    const auto reply = job->fetch(FetchManifestRequest{"latest"});
    ASSERT_TRUE(reply) << each << ": " << reply.error().message();
  }
}

TEST(EvilToken, never_follows_a_redirect_to_another_host) {
  EvilRegistries& evil = EvilRegistries::get();
  const auto job = open_job(as_user("basic-elsewhere"));
  const auto reply = job->fetch(FetchManifestRequest{"latest"});
  ASSERT_TRUE(reply) << reply.error().message();
  CountingAsker asker;
  const auto blob = job->fetch(evil.content().layer_request(), blob_file(), Fd(), asker);
  ASSERT_TRUE(blob) << blob.error().message();
  // The first server saw them, so they were there to be sent.
  EXPECT_TRUE(evil.log("first").contains(
      "GET /v2/basic-elsewhere/manifests/latest Basic dXNlcjpzZWNyZXQ="));
  const std::string other = evil.log("other");
  EXPECT_TRUE(other.contains("GET /v2/good/manifests/latest -")) << other;
  EXPECT_FALSE(other.contains("Basic")) << other;
  EXPECT_FALSE(other.contains("Bearer")) << other;
}

TEST(EvilToken, is_not_asked_for_where_it_would_be_seen) {
  const struct {
    const char* how;
    Kind kind;
    const char* words;
  } cases[] = {
      {"realm-file", Kind::Invalid, "neither http nor https"},
      {"realm-metadata", Kind::Denied, "link-local"},
      {"realm-none", Kind::Invalid, "names no realm"},
      {"bearer-large", Kind::Exhausted, "longer than 1048576 bytes"},
      {"bearer-endless", Kind::Exhausted, "longer than 1048576 bytes"},
      {"bearer-deep", Kind::Invalid, "the answer of"},
      {"bearer-lines", Kind::Invalid, "characters that a header cannot carry"},
      {"bearer-none", Kind::Invalid, "token: missing"},
      {"bearer-number", Kind::Invalid, "token: expected a string"},
      {"bearer-broken", Kind::Invalid, "the answer of"},
      {"bearer-denied", Kind::Denied, "no [31m such  user"},
      {"garbage-1", Kind::Invalid, "WWW-Authenticate"},
      {"garbage-2", Kind::Invalid, "WWW-Authenticate"},
      {"garbage-3", Kind::Invalid, "WWW-Authenticate"},
      {"garbage-4", Kind::Invalid, "WWW-Authenticate"},
      {"garbage-5", Kind::Exhausted, "WWW-Authenticate"},
      {"garbage-6", Kind::Exhausted, "WWW-Authenticate"},
      {"negotiate", Kind::Unsupported, "'negotiate'"},
      {"never", Kind::Denied, "refuses the password of 'user'"},
      {"never-token", Kind::Denied, "requested access to the resource is denied"},
  };
  for (const auto& each : cases) {
    RegistryOpenRequest request = as_user(each.how);
    if (std::string_view(each.how) == "never") {
      // The second request is refused with the password that was just given.
      const auto job = open_job(request);
      (void)job->fetch(FetchManifestRequest{"latest"});
      const auto reply = job->fetch(FetchManifestRequest{"latest"});
      ASSERT_FALSE(reply);
      expect_refusal(reply.error(), each.kind, each.words, each.how);
      continue;
    }
    const auto reply = ask(request);
    if (reply) {
      ADD_FAILURE() << each.how << " was accepted";
      continue;
    }
    expect_refusal(reply.error(), each.kind, each.words, each.how);
  }
}

TEST(EvilToken, of_a_registry_with_tls_is_not_fetched_without) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = as_user("realm-plain");
  request.endpoints[0].url = evil.tls_url();
  request.system_ca_pem = evil.ca_pem();
  const auto reply = ask(request);
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Denied, "without TLS", "realm-plain");
  EXPECT_FALSE(evil.log("other").contains("/token/good"));
}

TEST(EvilToken, in_a_body_is_not_redirected) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = to(evil.url(), "bearer-redirect");
  request.endpoints[0].identity_token = "identity!";
  const auto reply = ask(request);
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Denied, "redirects, which is refused here",
                 "bearer-redirect");
  EXPECT_FALSE(evil.log("other").contains("/token/"));
}

TEST(EvilToken, is_the_mirrors_or_the_registrys_and_never_both) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = as_user("basic");
  request.endpoints.push_back({.url = evil.other_url()});
  request.endpoints[0].password = "wrong";
  const auto reply = ask(request);
  ASSERT_FALSE(reply);
  EXPECT_FALSE(evil.log("other").contains("GET /v2/basic/manifests/latest Basic"));
}

TEST(EvilToken, of_another_host_is_asked_for_without_credentials) {
  EvilRegistries& evil = EvilRegistries::get();
  const auto open = ask(as_user("realm-open"));
  EXPECT_TRUE(open) << open.error().message();
  RegistryOpenRequest identity = to(evil.url(), "realm-open");
  identity.endpoints[0].identity_token = "identity!";
  EXPECT_TRUE(ask(identity));
  const auto denied = ask(as_user("realm-host"));
  ASSERT_FALSE(denied);
  expect_refusal(denied.error(), Kind::Denied, "were not sent to its token server 127.0.0.1:7001",
                 "realm-host");
  EXPECT_FALSE(evil.log("first").contains("realm-host/manifests/latest Basic"));
  for (const char* asked : {"GET /token/good", "GET /token/secret"}) {
    EXPECT_TRUE(evil.log("first").contains(asked)) << asked;
  }
}

TEST(EvilToken, of_the_same_owner_is_asked_for_with_them) {
  const auto may = [](const char* home, const char* realm, bool skip_verify = false) {
    return may_see_credentials(*http::parse_url(home), skip_verify, *http::parse_url(realm));
  };
  EXPECT_TRUE(may("https://registry-1.docker.io", "https://auth.docker.io/token"));
  EXPECT_TRUE(may("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"));
  EXPECT_TRUE(may("https://ghcr.io", "https://ghcr.io/token"));
  EXPECT_TRUE(may("http://a.test:5000", "http://a.test:5001/"));
  EXPECT_TRUE(may("http://10.0.0.1", "http://10.0.0.1:1/"));
  EXPECT_FALSE(may("https://a.test", "http://a.test"));
  EXPECT_FALSE(may("https://registry-1.docker.io", "https://auth.docker.io/", true));
  EXPECT_FALSE(may("http://registry-1.docker.io", "https://auth.docker.io/"));
  EXPECT_FALSE(may("https://a.co.uk", "https://b.co.uk/"));
  EXPECT_FALSE(may("https://a.s3.amazonaws.com", "https://b.s3.amazonaws.com/"));
  EXPECT_FALSE(may("https://10.0.0.1", "https://11.1.0.1/"));
  EXPECT_FALSE(may("https://docker.io", "https://evildocker.io/"));
  EXPECT_FALSE(may("https://ghcr.io", "https://quay.io/"));
  EXPECT_FALSE(may("https://[::1]", "https://[::2]/"));
}

}  // namespace
}  // namespace nacelle::image
