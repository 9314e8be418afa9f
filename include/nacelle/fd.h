// Fd: sole owner of one open file descriptor. Only Fd closes; borrowers take `const Fd&`.
#pragma once

#include <unistd.h>

#include <utility>

namespace nacelle {

// An empty Fd owns nothing.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);  // never retried: Linux frees it even on EINTR
  }

  int get() const { return fd_; }                      // borrows
  int release() && { return std::exchange(fd_, -1); }  // gives away
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

}  // namespace nacelle
