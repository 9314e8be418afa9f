#include "tests/root/image_registry/registry_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

namespace nacelle::image {

using test::run;

std::string noise(size_t size, uint64_t seed) {
  std::string out(size, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (size_t at = 0; at < size; ++at) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    out[at] = static_cast<char>(state >> 32);
  }
  return out;
}

oci::Descriptor Content::config_descriptor() const {
  oci::Descriptor descriptor;
  descriptor.media_type = oci::media::oci_config;
  descriptor.digest = config_digest;
  descriptor.size = config.size();
  return descriptor;
}

Content make_content(size_t layer_bytes, uint64_t seed) {
  Content content;
  content.layer = noise(layer_bytes, seed);
  content.layer_digest = codec::digest_of(content.layer);
  content.config =
      cat(R"({"architecture":"amd64","os":"linux","config":{},)",
          R"("rootfs":{"type":"layers","diff_ids":[")", content.layer_digest.text(), "\"]}}");
  content.config_digest = codec::digest_of(content.config);
  oci::Manifest manifest;
  manifest.media_type = oci::media::oci_manifest;
  manifest.config = content.config_descriptor();
  oci::Descriptor layer;
  layer.media_type = oci::media::oci_layer;
  layer.digest = content.layer_digest;
  layer.size = layer_bytes;
  manifest.layers.push_back(layer);
  content.manifest = oci::write_manifest(manifest);
  content.manifest_digest = codec::digest_of(content.manifest);
  return content;
}

Fd blob_file(std::string_view bytes) {
  Fd file(::memfd_create("blob", MFD_CLOEXEC));
  EXPECT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  return file;
}

std::string text_of(const Fd& file) {
  struct stat status;
  if (::fstat(file.get(), &status) < 0) return "?";
  std::string text(static_cast<size_t>(status.st_size), '\0');
  EXPECT_EQ(::pread(file.get(), text.data(), text.size(), 0), status.st_size);
  return text;
}

namespace {

bool listens(int port) {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Server::Server(std::vector<std::string> command, int port, std::vector<std::string> environment) {
  test::CommandOptions options;
  options.environment = std::move(environment);
  running_ = std::make_unique<test::RunningCommand>(command, options);
  EXPECT_TRUE(test::eventually([&] { return listens(port); }, test::milliseconds(15'000)))
      << running_->out_now() << running_->err_now();
}

Scratch::Scratch(std::string_view name) : path_(cat("/tmp/", name, ".XXXXXX")) {
  EXPECT_NE(::mkdtemp(path_.data()), nullptr);
}
Scratch::~Scratch() { (void)run({"rm", "-rf", path_}); }

void make_certificates(const Scratch& directory) {
  const auto openssl = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "openssl");
    const auto result = run(arguments, {.directory = directory.path()});
    EXPECT_TRUE(result.ok()) << result.text();
  };
  openssl({"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
           "-subj", "/CN=tests", "-days", "30"});
  openssl({"req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr",
           "-subj", "/CN=localhost"});
  EXPECT_TRUE(
      test::write_file(directory / "ext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n"));
  openssl({"x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
           "-CAcreateserial", "-out", "server.pem", "-days", "30", "-extfile", "ext"});
}

RegistryOpenRequest to(std::string url, std::string repository) {
  RegistryOpenRequest request;
  request.endpoints.push_back({.url = std::move(url)});
  request.repository = std::move(repository);
  request.user_agent = "nacelle-tests";
  return request;
}

RegistryPatience little_patience() {
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  RegistryPatience patience;
  patience.timeouts = {.connect = milliseconds(2000), .stall = seconds(2)};
  patience.commit_stall = seconds(5);
  patience.document = milliseconds(3000);
  patience.backoff_first = milliseconds(1);
  patience.backoff_max = milliseconds(10);
  patience.retry_after_max = seconds(1);
  return patience;
}

std::unique_ptr<RegistryJob> open_job(RegistryOpenRequest request, RegistryPatience patience) {
  auto job = open_registry(std::move(request), patience);
  EXPECT_TRUE(job) << job.error().message();
  return job ? *std::move(job) : nullptr;
}

void expect_refusal(const Error& error, Kind kind, std::string_view words, std::string_view what) {
  EXPECT_EQ(error.kind(), kind) << what << ": " << error.message();
  EXPECT_TRUE(error.message().contains(words)) << what << ": " << error.message();
  EXPECT_LT(error.message().size(), 2500u) << what;
  EXPECT_TRUE(is_utf8(error.message())) << what;
  for (const char c : error.message()) {
    EXPECT_FALSE(static_cast<unsigned char>(c) < ' ' || c == 0x7f) << what << error.message();
  }
}

EvilRegistries& EvilRegistries::get() {
  static auto* all = new EvilRegistries;  // the private host ends them
  return *all;
}

EvilRegistries::EvilRegistries() : content_(make_content(300'000)) {
  make_certificates(scratch_);
  ca_pem_ = test::read_file(scratch_ / "ca.pem");
  EXPECT_TRUE(test::write_file(scratch_ / "manifest", content_.manifest));
  EXPECT_TRUE(test::write_file(scratch_ / "config", content_.config));
  EXPECT_TRUE(test::write_file(scratch_ / "layer", content_.layer));
  const auto start = [&](std::string_view name, int port, std::string other, bool tls) {
    std::vector<std::string> command = {"python3",       NACELLE_SUPPORT_DIR "/evil_registry.py",
                                        cat(port),       scratch_.path(),
                                        scratch_ / name, std::move(other)};
    if (tls) {
      command.push_back(scratch_ / "server.pem");
      command.push_back(scratch_ / "server.key");
    }
    servers_.push_back(std::make_unique<Server>(command, port));
  };
  start("first", 7001, other_url(), false);
  start("other", 7002, url(), false);
  start("tls", 7003, other_url(), true);
}

std::string EvilRegistries::log(std::string_view server) const {
  return test::read_file(scratch_ / server);
}

}  // namespace nacelle::image
