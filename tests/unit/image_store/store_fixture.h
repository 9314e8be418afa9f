// A store in a directory of its own, with images made by hand: real blobs, real documents.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fault.h"
#include "base/text.h"
#include "image/disk.h"
#include "image/gc.h"
#include "image/layers.h"
#include "image/lease.h"
#include "image/store.h"
#include "nacelle/loop.h"
#include "oci/image.h"
#include "sys/file.h"

namespace nacelle::test {

using codec::Digest;
using image::ImageRecord;

inline Digest digest_of(std::string_view bytes) { return codec::digest_of(bytes); }

// The documents of an image, and its layers' bytes.
struct MadeImage {
  ImageRecord record;
  std::string manifest, config;
  std::vector<std::string> layers;
  std::vector<Digest> chains;

  std::vector<Digest> digests() const {
    std::vector<Digest> all{record.descriptor.digest, record.manifest.config.digest};
    for (const auto& layer : record.manifest.layers) all.push_back(layer.digest);
    all.insert(all.end(), chains.begin(), chains.end());
    return all;
  }
};

inline MadeImage make_image(std::vector<std::string> layers, std::string author = "test") {
  MadeImage made;
  oci::ImageConfig& config = made.record.config;
  config.author = std::move(author);
  config.platform = {.os = "linux", .architecture = "amd64", .variant = {}, .os_version = {}};
  oci::Manifest& manifest = made.record.manifest;
  manifest.media_type = oci::media::oci_manifest;
  for (const std::string& layer : layers) {
    config.diff_ids.push_back(digest_of(layer));
    oci::Descriptor descriptor;
    descriptor.media_type = oci::media::oci_layer;
    descriptor.digest = digest_of(layer);
    descriptor.size = layer.size();
    manifest.layers.push_back(std::move(descriptor));
  }
  made.config = oci::write_image_config(config);
  manifest.config.media_type = oci::media::oci_config;
  manifest.config.digest = digest_of(made.config);
  manifest.config.size = made.config.size();
  made.manifest = oci::write_manifest(manifest);
  made.record.descriptor.media_type = oci::media::oci_manifest;
  made.record.descriptor.digest = digest_of(made.manifest);
  made.record.descriptor.size = made.manifest.size();
  made.chains = oci::chain_ids(config.diff_ids);
  made.layers = std::move(layers);
  return made;
}

inline std::unique_ptr<ring::Loop> open_loop() {
  auto loop = ring::Loop::open({.submissions = 32, .completions = 64});
  EXPECT_TRUE(loop) << loop.error().message();
  return loop ? *std::move(loop) : nullptr;
}

// What a pull does, with bytes from memory.
inline ring::Task<> store_image(ring::Loop& loop, image::Store& store, const MadeImage& made,
                                std::string name) {
  image::Lease lease = co_await image::Lease::take(loop, store);
  co_await lease.protect(loop, made.digests());
  image::Layers layers(store);
  for (size_t at = 0; at < made.layers.size(); ++at) {
    const std::string& bytes = made.layers[at];
    image::Ingest ingest = co_await store.begin_ingest(loop, digest_of(bytes), bytes.size());
    if (!ingest.done()) {
      if (::ftruncate(ingest.file().get(), 0) < 0) co_await fail_errno(errno, "ftruncate");
      co_await sys::write_all(ingest.file(), bytes, "layer");
      co_await store.commit(loop, std::move(ingest));
    }
    image::PartialLayer partial = co_await layers.begin(loop, made.chains[at]);
    if (partial.done()) continue;
    {
      const Fd file =
          co_await sys::open_at(partial.tree().get(), "content", O_WRONLY | O_CREAT | O_EXCL, 0644);
      co_await sys::write_all(file, bytes, "content");
    }
    image::LayerRecord record;
    record.chain = made.chains[at];
    record.diff_id = record.blob = digest_of(bytes);
    if (at > 0) record.parent = made.chains[at - 1];
    record.blob_bytes = record.tree_bytes = bytes.size();
    record.entries = 1;
    co_await layers.finish(loop, std::move(partial), std::move(record));
  }
  co_await store.put_blob(loop, made.config, made.record.manifest.config.digest);
  co_await store.put_blob(loop, made.manifest, made.record.descriptor.digest);
  co_await store.put_record(made.record);
  co_await store.tag(loop, {made.record.descriptor, std::move(name), {}});
}

// Runs `body` in a process of its own and gives its wait status. `fault` is NACELLE_FAULT's value.
template <class Body>
pid_t start_process(Body&& body, const std::string& fault = {}) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::setenv("NACELLE_FAULT", fault.c_str(), 1);
  if (!fault.empty()) arm_faults();
  ::_exit(body());
}
inline int wait_for(pid_t pid) {
  int status = -1;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = cat(parent_, "/nacelle-store-XXXXXX");
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
    path_ = directory_ + "/data";
    loop_ = open_loop();
    ASSERT_NE(loop_, nullptr);
    reopen();
  }
  void TearDown() override {
    const auto parent = sys::open_at(sys::working_directory, parent_, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(parent);
    const std::string name = directory_.substr(directory_.rfind('/') + 1);
    ASSERT_TRUE(image::remove_tree_now(*parent, name));
  }
  void reopen() {
    auto opened = image::Store::open(path_);
    ASSERT_TRUE(opened) << opened.error().message();
    store_ = std::make_unique<image::Store>(*std::move(opened));
  }
  image::Store& store() { return *store_; }
  ring::Loop& loop() { return *loop_; }

  template <class T>
  Result<T> run(ring::Task<T> task) {
    return loop_->run(std::move(task));
  }
  MadeImage add(std::vector<std::string> layers, const std::string& name) {
    MadeImage made = make_image(std::move(layers));
    const auto done = run(store_image(loop(), store(), made, name));
    EXPECT_TRUE(done) << done.error().message();
    return made;
  }
  image::Collected collected(image::CollectOptions options = {}) {
    auto done = run(image::collect(loop(), store(), std::move(options)));
    EXPECT_TRUE(done) << done.error().message();
    return done ? *std::move(done) : image::Collected();
  }
  std::vector<std::string> findings(bool repair = false) {
    std::vector<std::string> messages;
    auto done = run(image::verify(loop(), store(), repair));
    EXPECT_TRUE(done) << done.error().message();
    if (done) {
      for (const auto& each : *done) messages.push_back(each.message);
    }
    return messages;
  }
  // Names in a directory below the data root, sorted.
  std::vector<std::string> names_in(const std::string& where) {
    std::vector<std::string> names;
    const auto directory =
        sys::open_at(sys::working_directory, (path_ + "/" + where).c_str(), O_RDONLY | O_DIRECTORY);
    EXPECT_TRUE(directory);
    if (directory) names = image::list_directory(*directory).value();
    std::ranges::sort(names);
    return names;
  }
  std::string in_store(const std::string& where) { return path_ + "/" + where; }
  void write(const std::string& where, std::string_view bytes) {
    const auto file = sys::open_at(sys::working_directory, in_store(where).c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_TRUE(file) << file.error().message();
    ASSERT_TRUE(sys::write_all(*file, bytes, where));
  }
  std::string read(const std::string& where) {
    return sys::read_file_at(sys::working_directory, in_store(where).c_str(), 1u << 26)
        .value_or("");
  }

  // In memory: on a disk the fsyncs of a hundred images take a minute.
  const char* parent_ = "/dev/shm";
  std::string directory_, path_;
  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<image::Store> store_;
};

}  // namespace nacelle::test
