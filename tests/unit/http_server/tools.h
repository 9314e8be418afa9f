// A server on a loop in a thread of its own (one loop, one thread), and clients that speak to it in
// bytes: what they say and when is what the tests are about.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "base/text.h"
#include "http/server.h"
#include "ring/ops.h"
#include "sys/unix_socket.h"

namespace nacelle::http::test {

using ring::Loop;
using ring::Task;

class Directory {
 public:
  Directory() { path_ = ::mkdtemp(path_.data()); }
  ~Directory() { (void)!std::system(cat("rm -rf '", path_, "'").c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/nacelle-http.XXXXXX";
};

// What clients see: bytes until `until` is among them, the end, or `timeout_ms` without any.
inline std::string read_until(const Fd& socket, std::string_view until, int timeout_ms = 5000) {
  std::string all;
  char bytes[64 << 10];
  while (until.empty() || !all.contains(until)) {
    pollfd one{.fd = socket.get(), .events = POLLIN, .revents = 0};
    if (::poll(&one, 1, timeout_ms) <= 0) return all + "<timeout>";
    const ssize_t count = ::recv(socket.get(), bytes, sizeof bytes, 0);
    if (count <= 0) return all + (count == 0 ? "<end>" : "<reset>");
    all.append(bytes, static_cast<size_t>(count));
  }
  return all;
}

inline void say(const Fd& socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

class Running {
 public:
  using Prepare = std::function<Result<>(Server&)>;

  explicit Running(Handler handler, ServerLimits limits = {}, Prepare prepare = {})
      : stop_(::eventfd(0, EFD_CLOEXEC)), ready_(::eventfd(0, EFD_CLOEXEC)) {
    thread_ = std::thread(
        [this, handler = std::move(handler), limits, prepare] { life(handler, limits, prepare); });
    uint64_t one = 0;
    (void)!::read(ready_.get(), &one, sizeof one);
  }
  ~Running() { stop(); }

  void stop() {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    (void)!::write(stop_.get(), &one, sizeof one);
    thread_.join();
  }

  std::string socket_path() const { return directory_.path() + "/http.sock"; }
  Fd connect() const {
    auto socket = sys::connect_unix(socket_path());
    EXPECT_TRUE(socket.has_value());
    return socket ? *std::move(socket) : Fd();
  }
  // One request on a connection of its own.
  std::string ask(std::string_view bytes, std::string_view until = {}) const {
    const Fd socket = connect();
    say(socket, bytes);
    return read_until(socket, until);
  }
  std::chrono::milliseconds grace{300};

 private:
  void life(const Handler& handler, ServerLimits limits, const Prepare& prepare) {
    auto loop = Loop::open();
    ASSERT_TRUE(loop.has_value()) << loop.error().message();
    Server server(**loop, handler, {{"Server", "test"}}, limits);
    const Result<> listening = prepare ? prepare(server) : server.listen_unix(socket_path());
    EXPECT_TRUE(listening.has_value()) << listening.error().message();
    const uint64_t one = 1;
    (void)!::write(ready_.get(), &one, sizeof one);
    const Result<> ran = (*loop)->run(until_stopped(**loop, server, *this));
    EXPECT_TRUE(ran.has_value()) << ran.error().message();
  }
  static Task<> until_stopped(Loop& loop, Server& server, Running& running) {
    ring::Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
    scope.start(server.serve(running.grace));
    uint64_t one = 0;
    co_await ring::read_some(loop, running.stop_, {reinterpret_cast<char*>(&one), sizeof one});
    scope.cancel();
    co_await scope.join();
  }

  Directory directory_;
  Fd stop_, ready_;
  std::thread thread_;
};

}  // namespace nacelle::http::test
