// Uploads to a registry that sends them astray.
#include "base/text.h"
#include "tests/root/image_registry/registry_fixture.h"

namespace nacelle::image {
namespace {

Result<PushBlobRequest::Reply> push_layer(RegistryOpenRequest request) {
  EvilRegistries& evil = EvilRegistries::get();
  request.push = true;
  const auto job = open_job(std::move(request));
  CountingAsker asker;
  return job->push(PushBlobRequest{evil.content().layer_digest, evil.content().layer.size()},
                   blob_file(evil.content().layer), asker);
}

TEST(EvilUpload, arrives_whatever_stood_in_its_way) {
  EvilRegistries& evil = EvilRegistries::get();
  for (const char* how : {"upload", "cut-upload", "upload-forgotten"}) {
    const auto reply = push_layer(to(evil.url(), how));
    ASSERT_TRUE(reply) << how << ": " << reply.error().message();
    EXPECT_EQ(reply->how, PushBlobRequest::Reply::How::Uploaded) << how;
  }
  EXPECT_EQ(push_layer(to(evil.url(), "good"))->how, PushBlobRequest::Reply::How::Existed);
  RegistryOpenRequest request = to(evil.url(), "mount");
  request.mount_from = {"some/where"};
  const auto reply = push_layer(request);
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_EQ(reply->how, PushBlobRequest::Reply::How::Mounted);
  EXPECT_EQ(reply->mounted_from, "some/where");
}

TEST(EvilUpload, is_refused_in_words) {
  const struct {
    const char* how;
    Kind kind;
    const char* words;
  } cases[] = {
      {"upload-none", Kind::Invalid, "does not say where to send it"},
      {"upload-nonsense", Kind::Invalid, "URL"},
      {"upload-file", Kind::Invalid, "neither http nor https"},
      {"upload-metadata", Kind::Denied, "link-local"},
      {"upload-password", Kind::Invalid, "user name or password"},
      {"upload-accepted", Kind::Invalid, "should have created it"},
      {"upload-other", Kind::Invalid, "says it received sha256:"},
      {"upload-digest-path", Kind::Invalid, "Docker-Content-Digest"},
      {"upload-invalid", Kind::Invalid, "provided digest (DIGEST_INVALID)"},
  };
  for (const auto& each : cases) {
    const auto reply = push_layer(to(EvilRegistries::get().url(), each.how));
    if (reply) {
      ADD_FAILURE() << each.how << " was accepted";
      continue;
    }
    expect_refusal(reply.error(), each.kind, each.words, each.how);
  }
  RegistryOpenRequest request = to(EvilRegistries::get().tls_url(), "upload-plain");
  request.system_ca_pem = EvilRegistries::get().ca_pem();
  const auto reply = push_layer(request);
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Denied, "without TLS", "upload-plain");
}

TEST(EvilUpload, to_another_host_goes_without_credentials) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = to(evil.url(), "basic-upload-elsewhere");
  request.endpoints[0].username = "user";
  request.endpoints[0].password = "secret";
  const auto reply = push_layer(request);
  ASSERT_TRUE(reply) << reply.error().message();
  const std::string log = evil.log("other");
  EXPECT_TRUE(log.contains("PUT /v2/upload/blobs/uploads/one?digest=sha256%3A")) << log;
  EXPECT_FALSE(log.contains("Basic")) << log;
}

// Method: each refused mount begins an upload at the other server, to be abandoned for the next.
TEST(EvilUpload, at_another_host_is_never_deleted) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = to(evil.url(), "upload-away");
  request.mount_from = {"a/one", "a/two", "a/three"};
  const auto reply = push_layer(request);
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_TRUE(evil.log("first").contains("from=a%2Fthree"));
  EXPECT_FALSE(evil.log("other").contains("DELETE")) << evil.log("other");
  // At home it is.
  request = to(evil.url(), "upload");
  request.mount_from = {"a/one", "a/two"};
  ASSERT_TRUE(push_layer(request));
  EXPECT_TRUE(evil.log("first").contains("DELETE /v2/upload/blobs/uploads/one"));
}

// Method: the same servers, whose first one answers at an address of the internet now; what it
// names is on this machine.
TEST(EvilUpload, and_all_else_stays_outside_when_the_registry_is_outside) {
  EvilRegistries& evil = EvilRegistries::get();
  const auto added = test::run({"ip", "address", "add", "198.51.100.7/32", "dev", "lo"});
  ASSERT_TRUE(added.ok()) << added.text();
  const std::string outside = "http://198.51.100.7:7001";
  ASSERT_TRUE(open_job(to(outside, "good"))->fetch(FetchManifestRequest{"latest"}));
  for (const char* how : {"elsewhere", "bearer", "inside-number", "inside-network"}) {
    const auto reply = open_job(to(outside, how))->fetch(FetchManifestRequest{"latest"});
    if (reply) {
      ADD_FAILURE() << how << " was accepted";
      continue;
    }
    expect_refusal(reply.error(), Kind::Denied, "may not send us", how);
  }
  const std::string before = evil.log("other");
  RegistryOpenRequest request = to(outside, "basic-upload-elsewhere");
  request.endpoints[0].username = "user";
  request.endpoints[0].password = "secret";
  const auto reply = push_layer(request);
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Denied, "an address of this machine", "upload");
  EXPECT_EQ(evil.log("other"), before);
  EXPECT_TRUE(test::run({"ip", "address", "del", "198.51.100.7/32", "dev", "lo"}).ok());
}

TEST(EvilUpload, of_a_file_that_is_shorter_than_said_fails) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = to(evil.url(), "upload");
  request.push = true;
  CountingAsker asker;
  const auto reply = open_job(request)->push(
      PushBlobRequest{evil.content().layer_digest, evil.content().layer.size()}, blob_file("short"),
      asker);
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Invalid, "shorter than said", "upload");
}

TEST(EvilUpload, of_a_manifest_must_arrive_as_it_was) {
  EvilRegistries& evil = EvilRegistries::get();
  const PushManifestRequest request{.reference = "latest",
                                    .media_type = std::string(oci::media::oci_manifest),
                                    .bytes = evil.content().manifest};
  const auto good = evil.job("good")->push(request);
  ASSERT_TRUE(good) << good.error().message();
  EXPECT_EQ(good->digest, evil.content().manifest_digest);
  auto bad = evil.job("put-other")->push(request);
  ASSERT_FALSE(bad);
  expect_refusal(bad.error(), Kind::Invalid, "Docker-Content-Digest", "put-other");
  bad = evil.job("put-redirect")->push(request);
  ASSERT_FALSE(bad);
  expect_refusal(bad.error(), Kind::Denied, "redirect of a PUT", "put-redirect");
  PushManifestRequest wrong = request;
  wrong.reference = evil.content().layer_digest.text();
  bad = evil.job("good")->push(wrong);
  ASSERT_FALSE(bad);
  expect_refusal(bad.error(), Kind::Invalid, "another digest", "wrong");
}

}  // namespace
}  // namespace nacelle::image
