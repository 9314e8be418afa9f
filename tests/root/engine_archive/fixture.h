// A process with a root of its own, as a container's first one has: a tmpfs, procfs, a volume and
// a read-only volume, in its own mount and pid namespaces. What it does there is the test's.
// Around it are files of the host's that must stay as they are.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "codec/tar.h"
#include "image/worker.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace nacelle::test {

struct ArchivedFile {
  codec::tar::Entry entry;
  std::string content;
};
std::string make_archive(const std::vector<ArchivedFile>& files);
// Name to content; of links "-> target", of directories "/".
std::vector<std::pair<std::string, std::string>> read_archive_text(std::string_view bytes);
std::vector<ArchivedFile> parse_archive(std::string_view bytes);
ArchivedFile file_entry(std::string name, std::string content, uint32_t mode = 0644);
ArchivedFile directory_entry(std::string name, uint32_t mode = 0755);
ArchivedFile symlink_entry(std::string name, std::string target);
ArchivedFile hard_link_entry(std::string name, std::string target);

class InsideTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Makes the container; `life` runs in it when its files are there, forever.
  void live(const std::function<void()>& prepare, const std::function<void()>& life = {});
  // Files in the root of the container while it lives, seen from the host.
  std::string host_path(std::string_view path) const;

  image::Worker enter(image::WorkerKind kind, bool read_only,
                      image::RootIs root_is = image::RootIs::Process);
  Result<image::FileStat> stat(const std::string& path);
  // The archive, or what went wrong.
  Result<std::string> read(const std::string& path);
  Result<image::WritePathRequest::Reply> write(const std::string& path, std::string_view archive,
                                               image::WritePathRequest request = {});
  Result<std::string> export_all();

  template <class Request>
  Result<typename Request::Reply> run_request(image::Worker& worker, Request request,
                                              std::vector<const Fd*> descriptors);

  std::optional<Census> before_;
  std::unique_ptr<ring::Loop> loop_;
  std::string outer_ = "/tmp/archive-test";
  Fd process_;
  pid_t pid_ = -1;
};

template <class Request>
ring::Task<typename Request::Reply> ask_worker(image::Worker& worker, Request request,
                                               std::vector<const Fd*> descriptors) {
  co_return co_await worker.call(std::move(request), std::move(descriptors));
}
inline ring::Task<> stop_worker(image::Worker& worker) { co_await worker.stop(); }

template <class Request>
Result<typename Request::Reply> InsideTest::run_request(image::Worker& worker, Request request,
                                                        std::vector<const Fd*> descriptors) {
  auto reply = loop_->run(ask_worker(worker, std::move(request), std::move(descriptors)));
  EXPECT_TRUE(loop_->run(stop_worker(worker)));
  return reply;
}

}  // namespace nacelle::test
