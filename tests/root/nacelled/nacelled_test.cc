// nacelled in a private host: how it comes up, whom it lets in, and how it goes.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/text.h"
#include "http/stream_client.h"
#include "tests/support/command.h"
#include "tests/support/engine_program.h"

namespace nacelle::test {
namespace {

using namespace std::chrono_literals;

class Nacelled : public ::testing::Test {
 protected:
  Nacelled() {
    static int number = 0;
    work_ = cat("/tmp/nacelled-", ++number);
    EXPECT_EQ(::mkdir(work_.c_str(), 0755), 0);
  }

  std::vector<std::string> arguments(std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {NACELLED, "--data-root", work_ + "/data", "--exec-root",
                                    work_ + "/run"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string socket_path() const { return work_ + "/run/n.sock"; }
  std::vector<std::string> listening(std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"-H", "unix://" + socket_path()});
    return arguments(std::move(more));
  }
  static std::string ping(const std::string& path) { return ping_engine(path); }
  std::string info() const {
    auto client = http::StreamClient::connect("unix://" + socket_path());
    if (!client || !client->call({.method = "GET", .target = "/info"})) return "none";
    return client->read_all(1 << 20).value_or("cut");
  }
  // Ends it with a signal; its exit code.
  static int end(RunningCommand& engine, int signal = SIGTERM) {
    ::kill(engine.pid(), signal);
    const CommandResult result = engine.wait();
    EXPECT_FALSE(result.timed_out) << result.text();
    return result.exit_code;
  }

  std::string work_;
};

TEST_F(Nacelled, AnswersAndEndsWhenAsked) {
  for (const int signal : {SIGTERM, SIGINT}) {
    RunningCommand engine(listening({"--pidfile", work_ + "/pid"}));
    ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
    std::string pid;
    std::ifstream(work_ + "/pid") >> pid;
    EXPECT_EQ(pid, cat(engine.pid()));
    EXPECT_EQ(end(engine, signal), 0);
    EXPECT_EQ(::access(socket_path().c_str(), F_OK), -1);
    EXPECT_EQ(::access((work_ + "/pid").c_str(), F_OK), -1);
  }
}

TEST_F(Nacelled, ItsDirectoriesAreClosedAndItsSocketIsRoots) {
  ASSERT_EQ(::mkdir((work_ + "/data").c_str(), 0755), 0);  // as somebody careless left it
  RunningCommand engine(listening());
  ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
  EXPECT_EQ(mode_of(work_ + "/data"), 0700u);
  EXPECT_EQ(mode_of(work_ + "/run"), 0700u);
  EXPECT_EQ(mode_of(socket_path()), 0660u);
  EXPECT_EQ(end(engine), 0);
}

TEST_F(Nacelled, AGroupMayPassThroughToItsSocket) {
  RunningCommand engine(listening({"--group", "12345"}));
  ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
  struct stat status{};
  ASSERT_EQ(::stat(socket_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_gid, 12345u);
  ASSERT_EQ(::stat((work_ + "/run").c_str(), &status), 0);
  EXPECT_EQ(status.st_gid, 12345u);
  EXPECT_EQ(status.st_mode & 07777, 0710u);
  EXPECT_EQ(mode_of(work_ + "/data"), 0700u);
  EXPECT_EQ(end(engine), 0);
}

TEST_F(Nacelled, ASecondOneOnTheSameDataIsRefused) {
  RunningCommand engine(listening());
  ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
  std::vector<std::string> again = arguments({"-H", "unix://" + work_ + "/other.sock"});
  again[4] = work_ + "/run2";
  RunningCommand second(again);
  const CommandResult refused = second.wait();
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(refused.err.contains("another nacelled uses it")) << refused.err;
  EXPECT_EQ(ping(socket_path()), "OK");
  EXPECT_EQ(end(engine), 0);
}

TEST_F(Nacelled, AfterASuddenDeathTheNextOneServes) {
  for (int i = 0; i < 2; ++i) {
    RunningCommand engine(listening());
    ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
    ::kill(engine.pid(), SIGKILL);
    EXPECT_EQ(engine.wait().signal, SIGKILL);
  }
  RunningCommand engine(listening());
  EXPECT_EQ(ping(socket_path()), "OK") << engine.err_now();
  EXPECT_EQ(end(engine), 0);
}

TEST_F(Nacelled, WithNothingToDoItEndsByItself) {
  RunningCommand engine(listening({"--idle-exit", "1"}));
  ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
  const CommandResult result = engine.wait();
  EXPECT_EQ(result.exit_code, 0) << result.text();
  EXPECT_FALSE(result.timed_out);
}

TEST_F(Nacelled, SaysThatItIsReady) {
  const std::string path = work_ + "/notify";
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  RunningCommand engine(listening(), {.environment = {"NOTIFY_SOCKET=" + path}});
  char bytes[100];
  const ssize_t count = ::recv(socket.get(), bytes, sizeof bytes, 0);
  ASSERT_GT(count, 0) << engine.err_now();
  EXPECT_EQ(std::string_view(bytes, static_cast<size_t>(count)), "READY=1");
  EXPECT_EQ(ping(socket_path()), "OK");
  EXPECT_EQ(end(engine), 0);
}

TEST_F(Nacelled, ServesOnASocketThatIsHandedOver) {
  const std::string path = work_ + "/handed.sock";
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 10), 0);
  const int number = listener.get();
  std::string line = "export LISTEN_FDS=1 LISTEN_PID=\x24\x24; exec";
  for (const std::string& each : arguments({"-H", "fd://"})) line += cat(" '", each, "'");
  line += cat(" 3<&", number);
  RunningCommand engine({"/bin/bash", "-c", line}, {.keep = {number}});
  EXPECT_EQ(ping(path), "OK") << engine.err_now();
  EXPECT_EQ(end(engine), 0);
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
}

TEST_F(Nacelled, ATcpSocketThatIsHandedOverIsRefused) {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::listen(listener.get(), 10), 0);
  const int number = listener.get();
  std::string line = "export LISTEN_FDS=1 LISTEN_PID=\x24\x24; exec";
  for (const std::string& each : arguments({"-H", "fd://"})) line += cat(" '", each, "'");
  line += cat(" 3<&", number);
  const CommandResult result = run({"/bin/bash", "-c", line}, {.keep = {number}});
  EXPECT_EQ(result.exit_code, 1) << result.text();
  EXPECT_TRUE(result.err.contains("must be a unix socket")) << result.err;
}

TEST_F(Nacelled, WhatItCannotDoItSaysAndEnds) {
  const auto refused = [&](std::vector<std::string> more, std::string_view words) {
    RunningCommand engine(arguments(std::move(more)));
    const CommandResult result = engine.wait();
    EXPECT_EQ(result.exit_code, 1) << result.text();
    EXPECT_TRUE(result.err.contains(words)) << result.err;
  };
  // Docker Desktop's CVE-2025-9074: who can reach TCP is root, also from the host itself.
  for (const char* host : {"tcp://0.0.0.0:2375", "tcp://127.0.0.1:2375", "tcp://[::1]:2375",
                           "tcp://:2375", "tcp://localhost:2375"}) {
    refused({"-H", host}, "tlsverify");
    refused({"-H", "unix://" + work_ + "/s", "-H", host}, "tlsverify");
    refused({"-H", host, "--tls"}, "tlsverify");
    refused({"-H", host, "--tlsverify", "--tlscert", "/c", "--tlskey", "/k"}, "tlsverify");
    refused({"-H", host, "--tlscacert", "/a", "--tlscert", "/c", "--tlskey", "/k"}, "tlsverify");
  }
  const std::string file = work_ + "/tcp.json";
  std::ofstream(file) << R"({"hosts":["tcp://127.0.0.1:2375"]})";
  refused({"--config-file", file}, "tlsverify");
  refused({"-H", "fd://"}, "LISTEN_FDS");
  refused({"--no-such"}, "unknown option");
  refused({"--config-file", "/none"}, "/none");
  refused({"-H", cat("unix://", work_, "/", std::string(120, 'x'))}, "107");
  refused({"-H", "unix://" + work_ + "/s", "--group", "no-such-group"}, "no-such-group");
}

TEST_F(Nacelled, AHangupTakesTheFileUpAgain) {
  const std::string file = work_ + "/config.json";
  std::ofstream(file) << R"({"labels":["first=1"]})";
  RunningCommand engine(listening({"--config-file", file}));
  ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
  EXPECT_TRUE(info().contains("first=1")) << info();
  std::ofstream(file) << R"({"labels":["second=2"]})";
  ::kill(engine.pid(), SIGHUP);
  for (int i = 0; i < 300 && !info().contains("second=2"); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(info().contains("second=2")) << info();
  std::ofstream(file) << "{ broken";
  ::kill(engine.pid(), SIGHUP);
  for (int i = 0; i < 300 && !engine.err_now().contains("SIGHUP"); ++i) {
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_TRUE(engine.err_now().contains("SIGHUP")) << engine.err_now();
  EXPECT_TRUE(info().contains("second=2"));
  EXPECT_EQ(end(engine), 0);
}

TEST_F(Nacelled, AHangupWithoutAFileChangesNothing) {
  RunningCommand engine(listening({"--log-level", "debug", "--label", "said=1"}));
  ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
  for (int i = 0; i < 2; ++i) {
    ::kill(engine.pid(), SIGHUP);
    for (int tries = 0; tries < 300 && !engine.err_now().contains("SIGHUP"); ++tries) {
      std::this_thread::sleep_for(10ms);
    }
  }
  EXPECT_TRUE(engine.err_now().contains("there is no configuration file")) << engine.err_now();
  EXPECT_FALSE(engine.err_now().contains("level=error")) << engine.err_now();
  EXPECT_TRUE(info().contains("said=1"));
  EXPECT_EQ(end(engine), 0);
}

// A flag is not forgotten when the file is read again: neither its level nor that a key which it
// gives may not be in the file.
TEST_F(Nacelled, AHangupForgetsNoFlag) {
  const std::string file = work_ + "/config.json";
  std::ofstream(file) << "{}";
  RunningCommand engine(
      listening({"--config-file", file, "--log-level", "error", "--label", "flag=1"}));
  ASSERT_EQ(ping(socket_path()), "OK") << engine.err_now();
  std::ofstream(file) << R"({"labels":["file=1"]})";
  ::kill(engine.pid(), SIGHUP);
  for (int i = 0; i < 300 && !engine.err_now().contains("SIGHUP"); ++i) {
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_TRUE(engine.err_now().contains("both as a flag and in")) << engine.err_now();
  EXPECT_TRUE(info().contains("flag=1")) << info();
  std::ofstream(file) << R"({"debug-is-no-key":1})";
  ::kill(engine.pid(), SIGHUP);
  for (int i = 0; i < 300 && !engine.err_now().contains("debug-is-no-key"); ++i) {
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_FALSE(engine.err_now().contains("level=info")) << engine.err_now();
  EXPECT_EQ(end(engine), 0);
}

}  // namespace
}  // namespace nacelle::test
