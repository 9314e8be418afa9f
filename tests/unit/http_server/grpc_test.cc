// gRPC between two of our own ends: messages both ways, bounds, ends of all kinds.
#include "http/grpc.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <functional>
#include <string>

#include "base/text.h"
#include "ring/ops.h"

namespace nacelle::http {
namespace {

using ring::Loop;
using ring::Task;
using namespace std::chrono_literals;

Task<> serve(GrpcCall& call) {
  if (call.path() == "/echo") {
    while (auto message = co_await call.receive()) {
      co_await call.send(cat(call.metadata("x-name"), *message));
    }
    co_return;
  }
  if (call.path() == "/fails") co_await fail(Kind::Invalid, "it went \xc3\xa4 wrong, 100%");
  if (call.path() == "/large") co_return co_await call.send(std::string(5u << 20, 'x'));
  if (call.path() == "/swallow") {
    size_t bytes = 0;
    while (auto message = co_await call.receive()) bytes += message->size();
    co_return co_await call.send(cat(bytes));
  }
  co_await fail(Kind::Unsupported, cat("unknown ", call.path()));
}

class GrpcTest : public ::testing::Test {
 protected:
  // Runs `use` at one end of a connection whose other end is served by `handler`.
  void connect(std::function<Task<>(GrpcConnection&)> use, GrpcConnection::Handler handler = serve,
               GrpcLimits limits = {}) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    GrpcConnection server(*loop_, {Fd(ends[0]), ""}, GrpcConnection::End::Server, handler, limits);
    GrpcConnection client(*loop_, {Fd(ends[1]), ""}, GrpcConnection::End::Client);
    const auto done = loop_->run(drive(server, client, use));
    EXPECT_TRUE(done) << done.error().message();
  }

 private:
  Task<> drive(GrpcConnection& server, GrpcConnection& client,
               std::function<Task<>(GrpcConnection&)>& use) {
    ring::Scope scope(*loop_, [](const Error& error) { ADD_FAILURE() << error.message(); });
    scope.start(server.run());
    scope.start(client.run());
    co_await ring::sleep_for(*loop_, 1ms);  // both run
    Result<> used = co_await as_result(with_deadline(*loop_, use(client), 20s, "the test"));
    scope.cancel();
    co_await scope.join();
    co_await std::move(used);
  }

 public:
  std::unique_ptr<Loop> loop_ = *Loop::open();
};

TEST_F(GrpcTest, messages_go_both_ways) {
  connect([](GrpcConnection& connection) -> Task<> {
    auto call = co_await connection.call("/echo", {{"x-name", "me:"}});
    for (const char* word : {"one", "", "three"}) {
      co_await call->send(word);
      const auto back = co_await call->receive();
      EXPECT_EQ(back, std::optional<std::string>(cat("me:", word)));
    }
    call->end_sending();
    EXPECT_EQ(co_await call->receive(), std::nullopt);
  });
}

TEST_F(GrpcTest, a_status_is_an_error) {
  connect([](GrpcConnection& connection) -> Task<> {
    const auto failed = co_await as_result(grpc_ask(connection, "/fails", "x"));
    EXPECT_FALSE(failed);
    if (!failed) EXPECT_EQ(failed.error().message(), "it went \xc3\xa4 wrong, 100%");
    const auto unknown = co_await as_result(grpc_ask(connection, "/nothing", "x"));
    EXPECT_FALSE(unknown);
    if (!unknown) EXPECT_EQ(unknown.error().kind(), Kind::Unsupported);
  });
}

TEST_F(GrpcTest, messages_may_be_larger_than_a_window) {
  connect([](GrpcConnection& connection) -> Task<> {
    const std::string large = co_await grpc_ask(connection, "/large", "");
    EXPECT_EQ(large.size(), 5u << 20);
    auto call = co_await connection.call("/swallow");
    for (int i = 0; i < 64; ++i) co_await call->send(std::string(300'000, 'y'));
    call->end_sending();
    EXPECT_EQ(co_await call->receive(), std::optional<std::string>("19200000"));
  });
}

TEST_F(GrpcTest, a_message_beyond_the_bound_is_refused) {
  GrpcLimits limits;
  limits.message_bytes_max = 1000;
  connect(
      [](GrpcConnection& connection) -> Task<> {
        EXPECT_EQ(co_await grpc_ask(connection, "/swallow", std::string(1000, 'x')), "1000");
        EXPECT_FALSE(co_await as_result(grpc_ask(connection, "/swallow", std::string(1001, 'x'))));
      },
      serve, limits);
}

TEST_F(GrpcTest, many_calls_at_a_time) {
  connect([this](GrpcConnection& connection) -> Task<> {
    int answered = 0;
    ring::Scope all(*loop_, [](const Error& error) { ADD_FAILURE() << error.message(); });
    const auto ask = [](GrpcConnection* to, int* count, int number) -> Task<> {
      EXPECT_EQ(co_await grpc_ask(*to, "/echo", cat(number)), cat(number));
      ++*count;
    };
    for (int i = 0; i < 100; ++i) all.start(ask(&connection, &answered, i));
    co_await all.join();
    EXPECT_EQ(answered, 100);
  });
}

TEST_F(GrpcTest, dropping_a_call_cancels_who_serves_it) {
  bool cancelled = false;
  connect(
      [this, &cancelled](GrpcConnection& connection) -> Task<> {
        {
          auto call = co_await connection.call("/waits");
          co_await call->send("x");
          EXPECT_EQ(co_await call->receive(), std::optional<std::string>("begun"));
        }
        for (int i = 0; i < 1000 && !cancelled; ++i) co_await ring::sleep_for(*loop_, 5ms);
        EXPECT_TRUE(cancelled);
      },
      [this, &cancelled](GrpcCall& call) -> Task<> {
        co_await call.send("begun");
        const Result<> slept = co_await as_result(ring::sleep_for(*loop_, 1h));
        cancelled = !slept && slept.error().kind() == Kind::Cancelled;
      });
}

TEST_F(GrpcTest, whoever_speaks_nonsense_is_left) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Fd other(ends[1]);
  GrpcConnection server(*loop_, {Fd(ends[0]), "GET / HTTP/1.1\r\n\r\n"},
                        GrpcConnection::End::Server, serve);
  EXPECT_TRUE(loop_->run(with_deadline(*loop_, server.run(), 10s, "the server")));
}

TEST_F(GrpcTest, calls_fail_when_the_other_end_has_gone) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  GrpcConnection client(*loop_, {Fd(ends[0]), ""}, GrpcConnection::End::Client);
  Fd other(ends[1]);
  const auto use = [&]() -> Task<> {
    ring::Scope scope(*loop_, [](const Error&) {});
    scope.start(client.run());
    co_await ring::sleep_for(*loop_, 1ms);
    auto call = co_await client.call("/x");
    co_await call->send("x");
    other = Fd();
    const auto answer = co_await as_result(call->receive());
    EXPECT_FALSE(answer);
    co_await scope.join();
    EXPECT_FALSE(client.call("/y"));
  };
  EXPECT_TRUE(loop_->run(with_deadline(*loop_, use(), 10s, "the client")));
}

}  // namespace
}  // namespace nacelle::http
