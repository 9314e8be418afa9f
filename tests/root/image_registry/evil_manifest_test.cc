// Manifests and configurations from a registry that breaks the rules.
#include <chrono>

#include "base/text.h"
#include "tests/root/image_registry/registry_fixture.h"

namespace nacelle::image {
namespace {

// Goal: the other tests fail for the reason they name. Method: the same servers, behaving.
TEST(EvilManifest, of_a_registry_that_behaves_is_read) {
  EvilRegistries& evil = EvilRegistries::get();
  const auto job = evil.job("good");
  for (const std::string& reference :
       {std::string("latest"), evil.content().manifest_digest.text()}) {
    const auto reply = job->fetch(FetchManifestRequest{reference});
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->bytes, evil.content().manifest);
    EXPECT_EQ(reply->descriptor.digest, evil.content().manifest_digest);
    EXPECT_EQ(reply->descriptor.media_type, oci::media::oci_manifest);
    ASSERT_TRUE(reply->manifest);
    EXPECT_EQ(reply->manifest->layers.at(0).digest, evil.content().layer_digest);
  }
  const auto config = job->fetch(FetchConfigRequest{evil.content().config_descriptor()});
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->bytes, evil.content().config);
}

struct Case {
  const char* how;
  Kind kind;
  const char* words;
};

TEST(EvilManifest, is_refused_in_words) {
  const Case cases[] = {
      {"loop", Kind::Exhausted, "more than 5 redirects"},
      {"basic-loop", Kind::Denied, "user name and password"},
      {"metadata", Kind::Denied, "link-local"},
      {"metadata-name", Kind::Denied, "link-local"},
      {"metadata-6", Kind::Denied, "link-local"},
      {"metadata-mapped", Kind::Denied, "link-local"},
      {"metadata-number", Kind::Denied, "link-local"},
      {"metadata-hex", Kind::Denied, "link-local"},
      {"file", Kind::Invalid, "neither http nor https"},
      {"gopher", Kind::Invalid, "redirect"},
      {"nonsense", Kind::Invalid, "redirect"},
      {"empty-host", Kind::Invalid, "redirect"},
      {"password", Kind::Invalid, "user name or password"},
      {"long", Kind::Invalid, "longer than 16384 bytes"},
      {"headers", Kind::Exhausted, "headers are longer than 65536 bytes"},
      {"giant", Kind::Exhausted, "longer than 4194304 bytes"},
      {"giant-promised", Kind::Exhausted, "longer than 4194304 bytes"},
      {"digest-path", Kind::Invalid, "Docker-Content-Digest"},
      {"digest-other", Kind::Invalid, "Docker-Content-Digest says sha256:"},
      {"type-html", Kind::Invalid, "'text/html', which is neither"},
      {"type-none", Kind::Invalid, "neither a manifest nor an index"},
      {"type-index", Kind::Invalid, "manifest for type-index:latest"},
      {"schema-1", Kind::Unsupported, "schema 1"},
      {"ambiguous", Kind::Invalid, "manifest for ambiguous:latest"},
      {"not-json", Kind::Invalid, "manifest for not-json:latest"},
      {"gzip", Kind::Invalid, "manifest for gzip:latest"},
      {"not-http", Kind::Invalid, "manifest for not-http:latest"},
      {"broken", Kind::Unavailable, "HTTP status 500"},
      {"slow-down-forever", Kind::Unavailable, "too many requests"},
      {"words", Kind::NotFound, "manifest for words:latest not found: no  [31mred  xxx"},
      {"forbidden", Kind::Denied, "requested access to the resource is denied: pay first (DENIED)"},
  };
  EvilRegistries& evil = EvilRegistries::get();
  // A name that leads to where clouds keep their metadata; the file is the private host's own.
  const std::string hosts = "/tmp/hosts";
  ASSERT_TRUE(test::write_file(hosts, "127.0.0.1 localhost\n169.254.169.254 metadata.test\n"));
  const auto bound = test::run({"mount", "--bind", hosts, "/etc/hosts"});
  ASSERT_TRUE(bound.ok()) << bound.text();
  for (const Case& each : cases) {
    const auto reply = evil.job(each.how)->fetch(FetchManifestRequest{"latest"});
    if (reply) {
      ADD_FAILURE() << each.how << " was accepted";
      continue;
    }
    expect_refusal(reply.error(), each.kind, each.words, each.how);
  }
  EXPECT_TRUE(test::run({"umount", "/etc/hosts"}).ok());
}

TEST(EvilManifest, that_takes_too_long_is_given_up) {
  for (const char* how : {"silent", "trickle"}) {
    auto patience = little_patience();
    patience.attempts = 1;
    const auto begin = std::chrono::steady_clock::now();
    const auto reply = open_job(to(EvilRegistries::get().url(), how), patience)
                           ->fetch(FetchManifestRequest{"latest"});
    ASSERT_FALSE(reply) << how;
    EXPECT_EQ(reply.error().kind(), Kind::Unavailable) << reply.error().message();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(9)) << how;
  }
}

TEST(EvilManifest, by_digest_must_have_it) {
  EvilRegistries& evil = EvilRegistries::get();
  for (const char* how : {"other-bytes", "gzip"}) {
    const auto reply =
        evil.job(how)->fetch(FetchManifestRequest{evil.content().manifest_digest.text()});
    ASSERT_FALSE(reply) << how;
    expect_refusal(reply.error(), Kind::Invalid, "have the digest sha256:", how);
  }
}

// Method: references that would change the path of the request.
TEST(EvilManifest, is_not_even_asked_for_by_a_strange_reference) {
  EvilRegistries& evil = EvilRegistries::get();
  for (const char* reference : {"", "../../x", "a/b", "a b", "a\r\nX: 1", "-a", ".a", "a?b",
                                "sha256:../../x", "a#b", "%2e"}) {
    const auto reply = evil.job("unasked")->fetch(FetchManifestRequest{reference});
    ASSERT_FALSE(reply) << reference;
    EXPECT_EQ(reply.error().kind(), Kind::Invalid) << reply.error().message();
  }
  EXPECT_FALSE(evil.log("first").contains("unasked"));
  for (const char* name :
       {"", "../x", "A", "a//b", "a/", "/a", "a..b", "a b", "a?x", "a_", "a___b"}) {
    EXPECT_FALSE(open_registry(to(evil.url(), name), little_patience())) << name;
  }
}

TEST(EvilManifest, is_asked_for_again_when_that_may_help) {
  EvilRegistries& evil = EvilRegistries::get();
  for (const char* how : {"slow-down", "stumble", "relative", "elsewhere"}) {
    const auto reply = evil.job(how)->fetch(FetchManifestRequest{"latest"});
    ASSERT_TRUE(reply) << how << ": " << reply.error().message();
    EXPECT_EQ(reply->bytes, evil.content().manifest);
  }
}

TEST(EvilManifest, is_never_read_without_tls_after_it_was_asked_for_with) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = to(evil.tls_url(), "elsewhere");
  request.system_ca_pem = evil.ca_pem();
  const auto reply = open_job(request)->fetch(FetchManifestRequest{"latest"});
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Denied,
                 "redirect from https to http://localhost:7002 refused", "elsewhere");
}

TEST(EvilManifest, of_a_server_nobody_vouches_for_is_not_read) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = to(evil.tls_url(), "good");
  auto reply = open_job(request)->fetch(FetchManifestRequest{"latest"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind(), Kind::Denied) << reply.error().message();
  // Right authority, wrong name.
  request.system_ca_pem = evil.ca_pem();
  request.endpoints[0].url = "https://127.0.0.2:7003";
  reply = open_job(request)->fetch(FetchManifestRequest{"latest"});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind(), Kind::Denied) << reply.error().message();
  // And the three ways in which it is read.
  request.endpoints[0].url = evil.tls_url();
  EXPECT_TRUE(open_job(request)->fetch(FetchManifestRequest{"latest"}));
  request.system_ca_pem.clear();
  request.endpoints[0].ca_pem = evil.ca_pem();
  EXPECT_TRUE(open_job(request)->fetch(FetchManifestRequest{"latest"}));
  request.endpoints[0].ca_pem.clear();
  request.endpoints[0].skip_verify = true;
  EXPECT_TRUE(open_job(request)->fetch(FetchManifestRequest{"latest"}));
}

TEST(EvilManifest, of_a_mirror_is_passed_over_for_the_next_one) {
  EvilRegistries& evil = EvilRegistries::get();
  // The path before /v2 makes each mirror one that answers 404 to everything; port 1 answers
  // nobody.
  for (const char* mirror : {"http://localhost:7001/nothing", "http://localhost:1",
                             "https://localhost:7001", "http://localhost:7003"}) {
    RegistryOpenRequest request = to(mirror, "good");
    request.endpoints.push_back({.url = evil.other_url()});
    const auto reply = open_job(request)->fetch(FetchManifestRequest{"latest"});
    ASSERT_TRUE(reply) << mirror << reply.error().message();
  }
  // A registry on loopback is tried with TLS first, and then without.
  RegistryOpenRequest request = to("https://localhost:7001", "good");
  request.endpoints[0].skip_verify = true;
  request.endpoints.push_back({.url = "http://localhost:7001"});
  EXPECT_TRUE(open_job(request)->fetch(FetchManifestRequest{"latest"}));
  // But not without when it has answered with TLS.
  request = to(evil.tls_url(), "forbidden");
  request.endpoints[0].skip_verify = true;
  request.endpoints.push_back({.url = "http://localhost:7003"});
  const auto reply = open_job(request)->fetch(FetchManifestRequest{"latest"});
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Denied, "pay first", "forbidden");
}

TEST(EvilManifest, of_a_silent_mirror_costs_little_time) {
  EvilRegistries& evil = EvilRegistries::get();
  auto patience = little_patience();
  patience.timeouts.stall = std::chrono::seconds(60);
  patience.document = std::chrono::milliseconds(30'000);
  patience.mirror = std::chrono::milliseconds(500);
  RegistryOpenRequest request = to(evil.url(), "silent-mirror");
  request.endpoints.push_back({.url = evil.other_url()});
  const auto begin = std::chrono::steady_clock::now();
  const auto reply = open_job(request, patience)->fetch(FetchManifestRequest{"latest"});
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_TRUE(evil.log("first").contains("GET /v2/silent-mirror/manifests/latest"));
}

TEST(EvilConfig, must_be_what_its_descriptor_says) {
  EvilRegistries& evil = EvilRegistries::get();
  const struct {
    const char* how;
    Kind kind;
    const char* words;
  } cases[] = {
      {"wrong-bytes", Kind::Invalid, "another digest"},
      {"longer", Kind::Exhausted, "longer than"},
      {"longer-unsaid", Kind::Exhausted, "longer than"},
      {"shorter", Kind::Invalid, "another digest"},
      {"gzip", Kind::Invalid, ""},
      {"absent", Kind::NotFound, "not found"},
  };
  for (const auto& each : cases) {
    const auto reply =
        evil.job(each.how)->fetch(FetchConfigRequest{evil.content().config_descriptor()});
    ASSERT_FALSE(reply) << each.how;
    if (std::string_view(each.how) == "gzip") continue;  // longer or shorter, who knows
    expect_refusal(reply.error(), each.kind, each.words, each.how);
  }
  oci::Descriptor large = evil.content().config_descriptor();
  large.size = oci::config_bytes_max + 1;
  const auto reply = evil.job("good")->fetch(FetchConfigRequest{large});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().kind(), Kind::Exhausted);
}

}  // namespace
}  // namespace nacelle::image
