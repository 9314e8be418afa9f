// A data root in memory, a loop, and the rooms beside the containers' on top of them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "base/text.h"
#include "engine/events.h"
#include "image/disk.h"
#include "nacelle/loop.h"
#include "sys/file.h"

namespace nacelle::test {

class SideTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = "/dev/shm/nacelle-side-XXXXXX";
    ASSERT_NE(::mkdtemp(root_.data()), nullptr);
    auto loop = ring::Loop::open({.submissions = 32, .completions = 64});
    ASSERT_TRUE(loop) << loop.error().message();
    loop_ = *std::move(loop);
    events_ = std::make_unique<engine::Events>(*loop_);
  }
  void TearDown() override {
    const auto parent = sys::open_at(sys::working_directory, "/dev/shm", O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(parent);
    ASSERT_TRUE(image::remove_tree_now(*parent, root_.substr(root_.rfind('/') + 1)));
  }

  template <class T>
  Result<T> run(ring::Task<T> task) {
    return loop_->run(std::move(task));
  }
  void write(const std::string& where, std::string_view bytes) {
    const auto file = sys::open_at(sys::working_directory, cat(root_, "/", where).c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_TRUE(file) << file.error().message();
    ASSERT_TRUE(sys::write_all(*file, bytes, where));
  }
  bool exists(const std::string& where) {
    return ::access(cat(root_, "/", where).c_str(), F_OK) == 0;
  }
  // "type action actor" of every event so far.
  std::string told() {
    std::string text;
    for (const engine::Event& each : events_->past(0, 0)) {
      text += cat(text.empty() ? "" : "\n", each.type, ' ', each.action);
    }
    return text;
  }

  std::string root_;
  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<engine::Events> events_;
};

// The message of a failure, with its kind.
template <class T>
std::string failure(const Result<T>& result) {
  if (result) return "no failure";
  return cat(to_string(result.error().kind()), ": ", result.error().message());
}

}  // namespace nacelle::test
