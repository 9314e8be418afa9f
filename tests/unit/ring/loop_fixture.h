// A loop for one test, and small tools to fill it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/loop.h"

namespace nacelle::ring {

using namespace std::chrono_literals;

class LoopTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Loop::open();
    ASSERT_TRUE(opened) << opened.error().message();
    owned_ = std::move(*opened);
  }
  Loop& loop() { return *owned_; }

  // Nothing may be left with the kernel when a test is done.
  void TearDown() override {
    if (owned_) EXPECT_EQ(owned_->stats().in_flight, 0u);
  }

 private:
  std::unique_ptr<Loop> owned_;
};

struct Pair {
  Fd first;
  Fd second;
};
inline Pair make_pipe() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}
inline Pair make_sockets(int type = SOCK_STREAM) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

// Writes its name when it is destroyed.
class Witness {
 public:
  Witness(std::vector<std::string>& log, std::string name) : log_(&log), name_(std::move(name)) {}
  Witness(Witness&& other) noexcept
      : log_(std::exchange(other.log_, nullptr)), name_(std::move(other.name_)) {}
  Witness& operator=(Witness&&) = delete;
  ~Witness() {
    if (log_ != nullptr) log_->push_back(name_);
  }

 private:
  std::vector<std::string>* log_;
  std::string name_;
};

using Log = std::vector<std::string>;

}  // namespace nacelle::ring
