// RegistryJob against Debian's docker-registry, beside skopeo.
#include <unistd.h>

#include <chrono>

#include "base/text.h"
#include "tests/root/image_registry/registry_fixture.h"

namespace nacelle::image {
namespace {

using test::run;

constexpr const char* registry_program =
    "/var/cache/nacelle/peers/registry/usr/bin/docker-registry";

#define NEEDS_REGISTRY()                                              \
  if (::access(registry_program, X_OK) != 0) {                        \
    GTEST_SKIP() << "docker-registry is missing: run tools/registry"; \
  }

// docker-registry on a port of loopback, with its storage in `scratch`; `more` is YAML.
class RealRegistry {
 public:
  RealRegistry(const Scratch& scratch, int port, std::string_view more = {},
               std::string_view http = {}) {
    const std::string config = scratch / "config.yml";
    EXPECT_TRUE(test::write_file(
        config,
        cat("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n",
            "storage: {filesystem: {rootdirectory: ", scratch / "data",
            "}, delete: {enabled: true}}\nhttp:\n  addr: 127.0.0.1:", port, "\n", http, more)));
    server_.emplace(std::vector<std::string>{registry_program, "serve", config}, port);
  }

 private:
  std::optional<Server> server_;
};

void push_all(RegistryJob& job, const Content& content, std::string_view tag) {
  CountingAsker asker;
  const struct {
    const codec::Digest& digest;
    const std::string& bytes;
  } blobs[] = {{content.layer_digest, content.layer}, {content.config_digest, content.config}};
  for (const auto& blob : blobs) {
    const auto reply =
        job.push(PushBlobRequest{blob.digest, blob.bytes.size()}, blob_file(blob.bytes), asker);
    ASSERT_TRUE(reply) << reply.error().message();
  }
  const auto reply =
      job.push(PushManifestRequest{.reference = std::string(tag),
                                   .media_type = std::string(oci::media::oci_manifest),
                                   .bytes = content.manifest});
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_EQ(reply->digest, content.manifest_digest);
}

void pull_all(RegistryJob& job, const Content& content, std::string_view tag) {
  const auto manifest = job.fetch(FetchManifestRequest{std::string(tag)});
  ASSERT_TRUE(manifest) << manifest.error().message();
  EXPECT_EQ(manifest->bytes, content.manifest);
  ASSERT_TRUE(manifest->manifest);
  const auto config = job.fetch(FetchConfigRequest{manifest->manifest->config});
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->bytes, content.config);
  const Fd file = blob_file();
  CountingAsker asker;
  const auto blob = job.fetch(content.layer_request(), file, Fd(), asker);
  ASSERT_TRUE(blob) << blob.error().message();
  EXPECT_TRUE(text_of(file) == content.layer);
}

RegistryOpenRequest pushing(RegistryOpenRequest request) {
  request.push = true;
  return request;
}

TEST(RealRegistry, takes_what_we_push_and_gives_it_back) {
  NEEDS_REGISTRY();
  const Scratch scratch("real");
  const RealRegistry registry(scratch, 5000);
  const Content content = make_content(5'000'000);
  const auto job = open_job(pushing(to("http://localhost:5000", "team/app")));
  push_all(*job, content, "one");
  pull_all(*open_job(to("http://localhost:5000", "team/app")), content, "one");
  pull_all(*open_job(to("http://localhost:5000", "team/app")), content,
           content.manifest_digest.text());
  // What is there is not sent again, and what another repository has is not either.
  CountingAsker asker;
  const PushBlobRequest layer{content.layer_digest, content.layer.size()};
  EXPECT_EQ(job->push(layer, blob_file(), asker)->how, PushBlobRequest::Reply::How::Existed);
  RegistryOpenRequest other = pushing(to("http://localhost:5000", "other/app"));
  other.mount_from = {"nobody/here", "team/app"};
  const auto mounted = open_job(other)->push(layer, blob_file(), asker);
  ASSERT_TRUE(mounted) << mounted.error().message();
  EXPECT_EQ(mounted->how, PushBlobRequest::Reply::How::Mounted);
  EXPECT_EQ(mounted->mounted_from, "team/app");
  // A blob under a digest it does not have.
  const auto wrong =
      job->push(PushBlobRequest{codec::digest_of("x"), 5}, blob_file("wrong"), asker);
  ASSERT_FALSE(wrong);
  expect_refusal(wrong.error(), Kind::Invalid, "DIGEST_INVALID", "wrong digest");
  const auto absent = job->fetch(FetchManifestRequest{"absent"});
  ASSERT_FALSE(absent);
  expect_refusal(absent.error(), Kind::NotFound, "manifest for team/app:absent not found",
                 "absent");
}

TEST(RealRegistry, trades_with_skopeo) {
  NEEDS_REGISTRY();
  const Scratch scratch("skopeo");
  const RealRegistry registry(scratch, 5001);
  const Content content = make_content(100'000);
  push_all(*open_job(pushing(to("http://localhost:5001", "ours"))), content, "latest");
  const auto skopeo = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"skopeo", "--insecure-policy"});
    const auto result = run(arguments, {.environment = {"HOME=" + scratch.path()}});
    EXPECT_TRUE(result.ok()) << result.text();
    return result.out;
  };
  EXPECT_TRUE(skopeo({"inspect", "--tls-verify=false", "docker://localhost:5001/ours"})
                  .contains(content.manifest_digest.text()));
  const std::string layout = scratch / "layout";
  skopeo({"copy", "--src-tls-verify=false", "--preserve-digests", "docker://localhost:5001/ours",
          "oci:" + layout + ":x"});
  skopeo({"copy", "--dest-tls-verify=false", "--preserve-digests", "oci:" + layout + ":x",
          "docker://localhost:5001/theirs:x"});
  pull_all(*open_job(to("http://localhost:5001", "theirs")), content, "x");
  skopeo({"copy", "--dest-tls-verify=false", "--format=v2s2", "oci:" + layout + ":x",
          "docker://localhost:5001/docker:x"});
  const auto docker =
      open_job(to("http://localhost:5001", "docker"))->fetch(FetchManifestRequest{"x"});
  ASSERT_TRUE(docker) << docker.error().message();
  EXPECT_EQ(docker->descriptor.media_type, oci::media::docker_manifest);
}

TEST(RealRegistry, with_tls_and_a_password_lets_us_in) {
  NEEDS_REGISTRY();
  const Scratch scratch("tls");
  make_certificates(scratch);
  const auto password = run({"htpasswd", "-Bbn", "user", "se:cret"});
  ASSERT_TRUE(password.ok()) << password.text();
  ASSERT_TRUE(test::write_file(scratch / "htpasswd", password.out));
  const RealRegistry registry(
      scratch, 5002, cat("auth: {htpasswd: {realm: here, path: ", scratch / "htpasswd", "}}\n"),
      cat("  tls: {certificate: ", scratch / "server.pem", ", key: ", scratch / "server.key",
          "}\n"));
  const Content content = make_content(2'000'000);
  RegistryOpenRequest request = to("https://localhost:5002", "app");
  request.system_ca_pem = test::read_file(scratch / "ca.pem");
  const auto nobody = open_job(request)->fetch(FetchManifestRequest{"x"});
  ASSERT_FALSE(nobody);
  expect_refusal(nobody.error(), Kind::Denied, "log in first", "nobody");
  request.endpoints[0].username = "user";
  request.endpoints[0].password = "wrong";
  const auto wrong = open_job(request)->fetch(FetchManifestRequest{"x"});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind(), Kind::Denied) << wrong.error().message();
  request.endpoints[0].password = "se:cret";
  push_all(*open_job(pushing(request)), content, "x");
  pull_all(*open_job(request), content, "x");
}

TEST(RealRegistry, with_a_token_server_lets_us_in) {
  NEEDS_REGISTRY();
  const Scratch scratch("token");
  make_certificates(scratch);
  const Server tokens(
      {"python3", NACELLE_SUPPORT_DIR "/token_server.py", "5004", scratch / "server.key",
       scratch / "server.pem", "user", "secret", scratch / "log"},
      5004);
  const RealRegistry registry(
      scratch, 5003,
      cat("auth: {token: {realm: 'http://localhost:5004/token', service: tests, issuer: ",
          "nacelle-tests, rootcertbundle: ", scratch / "ca.pem", "}}\n"));
  const Content content = make_content(100'000);
  RegistryOpenRequest request = to("http://localhost:5003", "open/app");
  request.endpoints[0].username = "user";
  request.endpoints[0].password = "secret";
  push_all(*open_job(pushing(request)), content, "x");
  // Everyone may pull this one.
  const RegistryOpenRequest anyone = to("http://localhost:5003", "open/app");
  pull_all(*open_job(anyone), content, "x");
  CountingAsker asker;
  const auto refused =
      open_job(pushing(anyone))
          ->push(PushBlobRequest{codec::digest_of("new"), 3}, blob_file("new"), asker);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), Kind::Denied) << refused.error().message();
  // A mount needs a token that is good for both repositories.
  RegistryOpenRequest other = pushing(request);
  other.repository = "closed/app";
  other.mount_from = {"open/app"};
  const auto mounted = open_job(other)->push(
      PushBlobRequest{content.layer_digest, content.layer.size()}, blob_file(), asker);
  ASSERT_TRUE(mounted) << mounted.error().message();
  EXPECT_EQ(mounted->how, PushBlobRequest::Reply::How::Mounted);
  request.endpoints[0].password = "wrong";
  const auto wrong = open_job(request)->fetch(FetchManifestRequest{"x"});
  ASSERT_FALSE(wrong);
  expect_refusal(wrong.error(), Kind::Denied, "incorrect username or password", "wrong");
  // One token for a job, however many requests.
  const std::string log = test::read_file(scratch / "log");
  EXPECT_TRUE(log.contains("scope=repository%3Aopen%2Fapp%3Apull%2Cpush")) << log;
}

TEST(RealRegistry, is_read_at_the_speed_of_loopback) {
  NEEDS_REGISTRY();
  const Scratch scratch("speed");
  const RealRegistry registry(scratch, 5005);
  const size_t size = (::getenv("NACELLE_BLOB_MB") ? std::stoul(::getenv("NACELLE_BLOB_MB")) : 30)
                      << 20;
  const Content content = make_content(size);
  const auto timed = [&](const char* what, auto&& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%s: %.0f MB/s\n", what, static_cast<double>(size) / 1e6 / seconds);
  };
  CountingAsker asker;
  const auto job = open_job(pushing(to("http://localhost:5005", "large")));
  const Fd source = blob_file(content.layer);
  timed("push", [&] {
    const auto reply = job->push(PushBlobRequest{content.layer_digest, size}, source, asker);
    ASSERT_TRUE(reply) << reply.error().message();
  });
  for (int each = 0; each < 3; ++each) {
    const Fd file = blob_file();
    timed("pull", [&] {
      const auto reply = job->fetch(content.layer_request(), file, Fd(), asker);
      ASSERT_TRUE(reply) << reply.error().message();
    });
  }
}

}  // namespace
}  // namespace nacelle::image
