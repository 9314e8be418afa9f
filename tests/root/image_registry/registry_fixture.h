// What the registry tests share: contents, servers on loopback, and a job with little patience.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/digest.h"
#include "image/job_registry_client.h"
#include "image/jobs.h"
#include "nacelle/fd.h"
#include "tests/support/command.h"

namespace nacelle::image {

// The same bytes for the same seed, that no compression makes shorter.
std::string noise(size_t size, uint64_t seed = 1);

struct Content {
  std::string layer, config, manifest;
  codec::Digest layer_digest, config_digest, manifest_digest;
  oci::Descriptor config_descriptor() const;
  FetchBlobRequest layer_request() const { return {layer_digest, layer.size()}; }
};
Content make_content(size_t layer_bytes, uint64_t seed = 1);

class CountingAsker final : public Asker {
 public:
  void progress(uint64_t done) override {
    last = done;
    ++calls;
  }
  Result<> mark_opaque(const Fd&) override { return fail(Kind::Internal, "not here"); }
  uint64_t last = 0;
  size_t calls = 0;
};

// A file without a name, for a blob.
Fd blob_file(std::string_view bytes = {});
std::string text_of(const Fd& file);

// A program that listens on `port` by the time the constructor returns (or the test has failed).
class Server {
 public:
  Server(std::vector<std::string> command, int port, std::vector<std::string> environment = {});

 private:
  std::unique_ptr<test::RunningCommand> running_;
};

// A directory on the private host's own /tmp, emptied at its end.
class Scratch {
 public:
  explicit Scratch(std::string_view name);
  ~Scratch();
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

// A certificate for localhost signed by an authority of its own: ca.pem, server.pem, server.key.
void make_certificates(const Scratch& directory);

RegistryOpenRequest to(std::string url, std::string repository);
RegistryPatience little_patience();
// Fails the test when the job cannot be opened.
std::unique_ptr<RegistryJob> open_job(RegistryOpenRequest request,
                                      RegistryPatience patience = little_patience());

// `what` failed with `kind`, and its message has `words`, no line breaks and a sane length.
void expect_refusal(const Error& error, Kind kind, std::string_view words, std::string_view what);

// The servers of evil_registry.py, started once: two without TLS, one with.
class EvilRegistries {
 public:
  static EvilRegistries& get();
  const Content& content() const { return content_; }
  std::string url() const { return "http://localhost:7001"; }
  std::string other_url() const { return "http://localhost:7002"; }
  std::string tls_url() const { return "https://localhost:7003"; }
  const std::string& ca_pem() const { return ca_pem_; }
  // The requests a server has had: "first", "other" or "tls".
  std::string log(std::string_view server) const;
  std::unique_ptr<RegistryJob> job(std::string_view how) {
    return open_job(to(url(), std::string(how)));
  }

 private:
  EvilRegistries();
  Content content_;
  Scratch scratch_{"evil"};
  std::string ca_pem_;
  std::vector<std::unique_ptr<Server>> servers_;
};

}  // namespace nacelle::image
