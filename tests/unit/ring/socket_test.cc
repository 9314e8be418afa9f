#include <sys/un.h>

#include <array>
#include <cstring>

#include "ring/ops.h"
#include "tests/unit/ring/loop_fixture.h"

namespace nacelle::ring {
namespace {

// Abstract unix sockets: no packet leaves, no file is left.
class SocketOps : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address_.sun_family = AF_UNIX;
    const std::string name = "nacelle-ring-test-" + std::to_string(::getpid());
    std::memcpy(address_.sun_path + 1, name.data(), name.size());
    ASSERT_EQ(::bind(listener_.get(), address(), sizeof address_), 0);
    ASSERT_EQ(::listen(listener_.get(), 256), 0);
  }
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
  const Fd& listener() const { return listener_; }

  sockaddr_un address_{};

 private:
  Fd listener_;
};

void unexpected(const Error& error) { ADD_FAILURE() << error.message(); }

Task<Fd> dial(Loop& loop, const sockaddr* address) {
  Fd file = co_await ring::socket(loop, AF_UNIX, SOCK_STREAM);
  co_await ring::connect(loop, file, address, sizeof(sockaddr_un));
  co_return file;
}
Task<> talk(Loop& loop, const Fd& listener, const sockaddr* address) {
  Fd client = co_await dial(loop, address);
  Fd server = co_await ring::accept(loop, listener);
  EXPECT_EQ(co_await ring::send(loop, client, "ping"), 4u);
  char text[16];
  EXPECT_EQ(co_await receive(loop, server, text), 4u);
  EXPECT_EQ(std::string(text, 4), "ping");
  server = Fd();
  const auto gone = co_await as_result(ring::send(loop, client, "into the void"));
  EXPECT_FALSE(gone);
  EXPECT_EQ(gone.error().error_number(), EPIPE);
}

TEST_F(SocketOps, two_ends_talk_and_a_lost_peer_is_an_error_and_no_signal) {
  const auto result = loop().run(talk(loop(), listener(), address()));
  EXPECT_TRUE(result) << result.error().message();
}

TEST_F(SocketOps, connecting_to_nobody_fails) {
  address_.sun_path[1] = 'X';
  const auto result = loop().run(dial(loop(), address()));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "connect: Connection refused");
}

Task<> accept_one(Loop& loop, const Fd& listener) { co_await ring::accept(loop, listener); }

TEST_F(SocketOps, a_deadline_ends_an_accept) {
  const auto result =
      loop().run(with_deadline(loop(), accept_one(loop(), listener()), 10ms, "accept"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "accept: timed out after 10 ms");
}

Task<> take(Acceptor& acceptor, std::vector<Fd>& taken, size_t count) {
  while (taken.size() < count) taken.push_back(co_await acceptor.next());
}
Task<> accept_many(Loop& loop, const Fd& listener, const sockaddr* address, size_t count) {
  Acceptor acceptor(loop, listener);
  std::vector<Fd> taken;
  Scope scope(loop, unexpected);
  scope.start(take(acceptor, taken, count));
  std::vector<Fd> dialled;
  for (size_t i = 0; i < count; ++i) dialled.push_back(co_await dial(loop, address));
  co_await scope.join();
  EXPECT_EQ(taken.size(), count);
  EXPECT_NE(::fcntl(taken[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  co_await acceptor.stop();
  const auto stopped = co_await as_result(acceptor.next());
  EXPECT_FALSE(stopped);
}

TEST_F(SocketOps, one_armed_request_takes_many_connections) {
  const auto result = loop().run(accept_many(loop(), listener(), address(), 100));
  EXPECT_TRUE(result) << result.error().message();
}

// Goal: a burst that nobody takes is bounded here and complete afterwards. Method: three times as
// many connections as the acceptor keeps, taken only when all have been made.
Task<> accept_a_burst(Loop& loop, const Fd& listener, const sockaddr* address) {
  const size_t count = 3 * Acceptor::waiting_max;
  Acceptor acceptor(loop, listener);
  std::vector<Fd> dialled;
  dialled.push_back(co_await dial(loop, address));
  std::vector<Fd> taken;
  taken.push_back(co_await acceptor.next());
  while (dialled.size() < count) dialled.push_back(co_await dial(loop, address));
  co_await sleep_for(loop, 1ms);
  co_await take(acceptor, taken, count);
  EXPECT_EQ(taken.size(), count);
  co_await acceptor.stop();
}

TEST_F(SocketOps, a_burst_beyond_the_acceptors_limit_loses_no_connection) {
  const auto result = loop().run(accept_a_burst(loop(), listener(), address()));
  EXPECT_TRUE(result) << result.error().message();
}

Task<> cancel_accept(Loop& loop, const Fd& listener, const sockaddr* address) {
  Acceptor acceptor(loop, listener);
  std::vector<Fd> taken;
  Scope scope(loop, unexpected);
  scope.start(take(acceptor, taken, 1));
  co_await sleep_for(loop, 1ms);
  scope.cancel();
  co_await scope.join();
  EXPECT_TRUE(taken.empty());
  Fd client = co_await dial(loop, address);
  Fd server = co_await acceptor.next();
  co_await acceptor.stop();
}

TEST_F(SocketOps, a_cancelled_wait_leaves_the_acceptor_as_it_was) {
  const auto result = loop().run(cancel_accept(loop(), listener(), address()));
  EXPECT_TRUE(result) << result.error().message();
}

Task<> accept_on(Loop& loop, const Fd& file) {
  Acceptor acceptor(loop, file);
  const auto result = co_await as_result(acceptor.next());
  EXPECT_FALSE(result);
  if (!result) EXPECT_EQ(result.error().message(), "accept: Invalid argument");
  co_await acceptor.stop();
}

TEST_F(SocketOps, accepting_on_what_does_not_listen_is_an_error) {
  const Pair sockets = make_sockets();
  const auto result = loop().run(accept_on(loop(), sockets.first));
  EXPECT_TRUE(result) << result.error().message();
}

// Descriptors in messages.
// -------------------------------------------------------------------------

Task<Message> pass(Loop& loop, const Pair& sockets, size_t count, size_t accepted) {
  const Pair pipe = make_pipe();
  std::vector<const Fd*> descriptors(count, &pipe.second);
  co_await send_message(loop, sockets.first, "plan", descriptors);
  char text[16];
  Message message = co_await receive_message(loop, sockets.second, text, accepted);
  EXPECT_EQ(std::string(text, message.bytes), "plan");
  for (const Fd& descriptor : message.descriptors) {
    EXPECT_NE(::fcntl(descriptor.get(), F_GETFD) & FD_CLOEXEC, 0);
    co_await write_all(loop, descriptor, "x");
  }
  std::string bytes(1024, '\0');
  if (count > 0) bytes.resize(co_await read_some(loop, pipe.first, bytes));
  EXPECT_EQ(count > 0 ? bytes.size() : 0, count);
  co_return message;
}

size_t count_open_descriptors() {
  size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) != -1 ? 1 : 0;
  return count;
}

TEST_F(SocketOps, a_message_carries_descriptors) {
  const Pair sockets = make_sockets(SOCK_SEQPACKET);
  for (size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{16}, size_t{253}}) {
    const auto message = loop().run(pass(loop(), sockets, count, count));
    ASSERT_TRUE(message) << message.error().message();
    EXPECT_EQ(message->descriptors.size(), count);
  }
}

TEST_F(SocketOps, too_many_descriptors_are_refused_on_either_side_and_none_leaks) {
  const Pair sockets = make_sockets(SOCK_SEQPACKET);
  const size_t before = count_open_descriptors();
  for (size_t accepted : {size_t{0}, size_t{1}, size_t{2}, size_t{3}}) {
    const auto message = loop().run(pass(loop(), sockets, 4, accepted));
    ASSERT_FALSE(message) << accepted;
    EXPECT_EQ(message.error().kind(), Kind::Exhausted);
  }
  EXPECT_EQ(loop().run(pass(loop(), sockets, 254, 254)).error().message(),
            "sendmsg: 254 descriptors, at most 253 fit one message");
  EXPECT_EQ(count_open_descriptors(), before);
}

Task<> send_too_much(Loop& loop, const Pair& sockets) {
  co_await send_message(loop, sockets.first, std::string(100, 'x'), {});
  char text[99];
  co_await receive_message(loop, sockets.second, text);
}
Task<> send_no_byte(Loop& loop, const Pair& sockets) {
  co_await send_message(loop, sockets.first, "", {});
}

TEST_F(SocketOps, a_message_that_does_not_fit_is_an_error) {
  const Pair sockets = make_sockets(SOCK_SEQPACKET);
  EXPECT_EQ(loop().run(send_too_much(loop(), sockets)).error().message(),
            "recvmsg: the message is longer than 99 bytes");
  EXPECT_EQ(loop().run(send_no_byte(loop(), sockets)).error().kind(), Kind::Invalid);
}

}  // namespace
}  // namespace nacelle::ring
