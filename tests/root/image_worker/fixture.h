// Workers under test: a loop, a directory to unpack into with canaries around it, and a census.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "image/worker.h"
#include "nacelle/loop.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace nacelle::test {

template <class Request>
ring::Task<typename Request::Reply> ask(image::Worker& worker, Request request,
                                        std::vector<const Fd*> descriptors,
                                        image::ProgressHandler on_progress = {}) {
  co_return co_await worker.call(std::move(request), std::move(descriptors),
                                 std::move(on_progress));
}
inline ring::Task<> stop(image::Worker& worker) { co_await worker.stop(); }

class WorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    ::unsetenv("NACELLE_WORKER_FAULT");
    use(NACELLE_BUILT_WORKER);
    before_.emplace(take_census());
    loop_ = *ring::Loop::open();
    outer_ = "/tmp/worker-test";
    run({"rm", "-rf", outer_});
    ASSERT_EQ(::mkdir(outer_.c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(target().c_str(), 0755), 0);
    ASSERT_TRUE(write_file(outer_ + "/canary", "sings"));
    ASSERT_TRUE(write_file("/tmp/nacelle-canary", "sings"));
    root_ = Fd(::open(target().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override {
    EXPECT_EQ(read_file(outer_ + "/canary"), "sings");
    EXPECT_EQ(read_file("/tmp/nacelle-canary"), "sings");
    root_ = Fd();
    loop_.reset();
    run({"rm", "-rf", outer_, "/tmp/nacelle-canary"});
    EXPECT_TRUE(nothing_left_since(*before_));
  }

  static void use(const char* program) { ::setenv("NACELLE_WORKER", program, 1); }
  std::string target() const { return outer_ + "/target"; }
  std::string in_target(std::string_view path) const { return cat(target(), "/", path); }
  void empty_target() {
    root_ = Fd();
    run({"rm", "-rf", target()});
    ASSERT_EQ(::mkdir(target().c_str(), 0755), 0);
    root_ = Fd(::open(target().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }

  image::Worker start(image::WorkerKind kind, bool with_root = true,
                      std::chrono::seconds silence = std::chrono::seconds(60)) {
    auto worker = image::Worker::start(
        *loop_, {.kind = kind, .root = with_root ? &root_ : nullptr, .silence_max = silence});
    if (!worker) ADD_FAILURE() << worker.error().message();
    return *std::move(worker);
  }

  template <class Request>
  Result<typename Request::Reply> run_request(image::Worker& worker, Request request,
                                              std::vector<const Fd*> descriptors = {}) {
    return loop_->run(ask(worker, std::move(request), std::move(descriptors)));
  }

  // A blob that is in memory.
  static Fd blob(std::string_view bytes) {
    Fd file(::memfd_create("blob", MFD_CLOEXEC));
    EXPECT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    ::lseek(file.get(), 0, SEEK_SET);
    return file;
  }

  Result<image::UnpackRequest::Reply> unpack_blob(const Fd& input,
                                                  image::UnpackRequest request = {}) {
    if (request.label.empty()) request.label = "layer 1 of 1";
    image::Worker worker = start(image::WorkerKind::Unpack);
    auto reply = run_request(worker, std::move(request), {&input});
    EXPECT_TRUE(loop_->run(stop(worker)));
    return reply;
  }
  Result<image::UnpackRequest::Reply> unpack(std::string_view bytes,
                                             image::UnpackRequest request = {}) {
    return unpack_blob(blob(bytes), std::move(request));
  }

  struct stat status_of(std::string_view path) const {
    struct stat status{};
    EXPECT_EQ(::lstat(in_target(path).c_str(), &status), 0) << path;
    return status;
  }
  bool is_there(std::string_view path) const {
    struct stat status{};
    return ::lstat(in_target(path).c_str(), &status) == 0;
  }
  std::string xattr(std::string_view path, const char* name) const {
    char value[256];
    const ssize_t size = ::lgetxattr(in_target(path).c_str(), name, value, sizeof value);
    return size < 0 ? std::string("none") : std::string(value, static_cast<size_t>(size));
  }
  bool is_opaque(std::string_view path) const {
    return xattr(path, "trusted.overlay.opaque") == "y";
  }
  bool is_whiteout(std::string_view path) const {
    const struct stat status = status_of(path);
    return S_ISCHR(status.st_mode) && status.st_rdev == 0;
  }

  std::optional<Census> before_;
  std::unique_ptr<ring::Loop> loop_;
  std::string outer_;
  Fd root_;
};

}  // namespace nacelle::test
