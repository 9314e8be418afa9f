#include "http/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <set>
#include <utility>

#include "base/text.h"
#include "http/server_listen.h"
#include "http/tls.h"
#include "ring/notice.h"
#include "ring/ops.h"

namespace nacelle::http {

using ring::Loop;
using ring::Task;

namespace {

constexpr size_t input_bytes = 16u << 10;
// What a handler left unread of a body is read and dropped, up to so much; then the connection
// goes.
constexpr uint64_t leftover_bytes_max = 256u << 10;
constexpr size_t relay_bytes = 64u << 10;
// How long a client that was refused may take to notice.
constexpr std::chrono::seconds linger_limit{1};

const char* reason_of(int status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "UPGRADED";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Request Entity Too Large";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    default: return "Status";
  }
}

// IMF-fixdate (RFC 9110 section 5.6.7), made anew once a second.
const std::string& http_date() {
  static std::string text;
  static time_t made_at = 0;
  const time_t now = ::time(nullptr);
  if (now == made_at) return text;
  made_at = now;
  tm parts{};
  ::gmtime_r(&now, &parts);
  char buffer[64];
  const size_t length = ::strftime(buffer, sizeof buffer, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  text.assign(buffer, length);
  return text;
}

// One header's line. What holds a line end would be two, and is left out.
void append_header(std::string& bytes, std::string_view name, std::string_view value) {
  constexpr std::string_view line_ends("\r\n\0", 3);
  if (name.find_first_of(line_ends) != std::string_view::npos) return;
  if (value.find_first_of(line_ends) != std::string_view::npos) return;
  bytes += name;
  bytes += ": ";
  bytes += value;
  bytes += "\r\n";
}

bool has_no_body(int status) { return status / 100 == 1 || status == 204 || status == 304; }

Task<> send_rest(Loop& loop, const Fd& socket, std::string_view bytes) {
  while (!bytes.empty()) {
    bytes.remove_prefix(co_await ring::send(loop, socket, bytes.substr(0, relay_bytes)));
  }
}

Task<size_t> receive_some(Loop& loop, const Fd& socket, std::span<char> into) {
  co_return co_await ring::receive(loop, socket, into);
}

Task<> wait_until_gone(Loop& loop, const Fd& socket) {
  co_await ring::poll(loop, socket, POLLRDHUP | POLLHUP | POLLERR);
}

}  // namespace

struct Server::State {
  State(Loop& loop_in, Handler handler_in, Headers headers_in, ServerLimits limits_in)
      : loop(loop_in),
        handler(std::move(handler_in)),
        limits(limits_in),
        connections(loop_in, [](const Error&) {}) {  // a client that went wrong is no news
    for (const auto& [name, value] : headers_in) append_header(common, name, value);
  }

  struct Listener {
    Fd socket;
    std::string path;  // of a unix socket of ours, removed at the end
    std::unique_ptr<TlsContext> tls;
  };

  Loop& loop;
  Handler handler;
  std::string common;
  ServerLimits limits;
  std::vector<std::unique_ptr<Listener>> listeners;
  ring::Scope connections;
  std::set<int> idle;  // sockets between two requests
  bool closing = false;

  Task<> accept_from(Listener& listener);
  Task<> serve_tls(Fd socket, const TlsContext& context);
  Task<> serve_connection(Fd socket, Peer peer);
};

namespace {

// A connection's buffers, which its exchanges use one after the other.
struct Connection {
  Connection(Server::State& server_in, Fd socket_in, Peer peer_in)
      : server(server_in),
        socket(std::move(socket_in)),
        peer(std::move(peer_in)),
        parser(Parser::Role::Requests, server_in.limits.message) {}

  Server::State& server;
  Fd socket;
  Peer peer;
  Parser parser;
  std::string input;   // received and not yet parsed
  bool usable = true;  // for another request

  // More input; 0: the client ended its side.
  Task<size_t> fill(ring::Duration limit, const char* attempt) {
    const size_t had = input.size();
    input.resize(had + input_bytes);
    const Result<size_t> got = co_await as_result(
        with_deadline(server.loop, receive_some(server.loop, socket, std::span(input).subspan(had)),
                      limit, attempt));
    input.resize(had + got.value_or(0));
    co_return got;
  }

  // What the socket takes at once goes without the ring.
  Task<> send(std::string_view bytes) {
    const ssize_t sent =
        ::send(socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      usable = false;
      co_return co_await fail_errno(errno, "answering a client");
    }
    bytes.remove_prefix(sent > 0 ? static_cast<size_t>(sent) : 0);
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, relay_bytes);
      Result<> done =
          co_await as_result(with_deadline(server.loop, send_rest(server.loop, socket, piece),
                                           server.limits.write_deadline, "answering a client"));
      if (!done) usable = false;
      co_await std::move(done);
      bytes.remove_prefix(piece.size());
    }
  }
};

class ConnectionExchange final : public Exchange {
 public:
  ConnectionExchange(Connection& connection, bool body_ended)
      : connection_(connection), body_ended_(body_ended) {}

  const RequestHead& request() const override { return connection_.parser.request(); }
  const Peer& peer() const override { return connection_.peer; }

  Task<std::string> body(size_t bytes_max) override {
    std::string whole;
    const auto& announced = request().content_length;
    if (announced && *announced > bytes_max) co_return too_large();
    while (!body_ended_ || !body_.empty()) {
      if (body_.empty()) co_await read_more();
      whole += std::exchange(body_, {});
      if (whole.size() > bytes_max) co_return too_large();
    }
    co_return whole;
  }

  Task<size_t> read_body(std::span<char> into) override {
    if (body_.empty() && !body_ended_) co_await read_more();
    const size_t count = std::min(into.size(), body_.size());
    std::memcpy(into.data(), body_.data(), count);
    body_.erase(0, count);
    co_return count;
  }

  Task<> reply(int status, std::string_view content_type, std::string_view body,
               Headers extra) override {
    state_ = Answer::Ended;
    std::string bytes = head(status, content_type, extra);
    if (!has_no_body(status)) bytes += cat("Content-Length: ", body.size(), "\r\n");
    bytes += "\r\n";
    if (!has_no_body(status) && request().method != "HEAD") bytes += body;
    co_await connection_.send(bytes);
  }

  Task<> begin(int status, std::string_view content_type, Headers extra,
               std::optional<uint64_t> length) override {
    state_ = Answer::Begun;
    std::string bytes = head(status, content_type, extra, !length && request().http_1_0);
    left_ = length;
    chunked_ = !length && !request().http_1_0;
    if (length) bytes += cat("Content-Length: ", *length, "\r\n");
    if (chunked_) bytes += "Transfer-Encoding: chunked\r\n";
    bytes += "\r\n";
    co_await connection_.send(bytes);
  }

  Task<> write(std::string_view bytes) override {
    if (bytes.empty() || request().method == "HEAD") co_return;
    if (left_) {
      if (bytes.size() > *left_) co_await fail(Kind::Internal, "an answer longer than announced");
      *left_ -= bytes.size();
    }
    if (!chunked_) co_return co_await connection_.send(bytes);
    char size[24];
    const auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
    co_await connection_.send(
        cat(std::string_view(size, static_cast<size_t>(end - size)), "\r\n", bytes, "\r\n"));
  }

  Task<> end() override {
    state_ = Answer::Ended;
    if (request().method == "HEAD") co_return;
    if (left_.value_or(0) > 0) {
      connection_.usable = false;
      co_await fail(Kind::Internal, "an answer shorter than announced");
    }
    if (chunked_) co_await connection_.send("0\r\n\r\n");
  }
  bool begun() const override { return state_ != Answer::None; }

  Task<Hijacked> hijack(bool upgraded, std::string_view content_type) override {
    state_ = Answer::Ended;
    std::string bytes = cat("HTTP/1.1 ", upgraded ? "101 UPGRADED" : "200 OK", "\r\n");
    bytes += connection_.server.common;
    if (!content_type.empty()) append_header(bytes, "Content-Type", content_type);
    if (upgraded) {
      const bool is_h2c = request().upgrade == "h2c";
      bytes += cat("Connection: Upgrade\r\nUpgrade: ", is_h2c ? "h2c" : "tcp", "\r\n");
    }
    bytes += "\r\n";
    co_await connection_.send(bytes);
    connection_.usable = false;
    co_return Hijacked{std::move(connection_.socket), std::move(connection_.input)};
  }

  Task<> client_gone() override {
    return wait_until_gone(connection_.server.loop, connection_.socket);
  }

  bool answered() const { return state_ == Answer::Ended; }
  bool body_ended() const { return body_ended_; }
  // What is left of the body; false when that is too much, or goes wrong.
  Task<bool> drop_body() {
    uint64_t dropped = 0;
    while (!body_ended_ && connection_.usable && dropped <= leftover_bytes_max) {
      dropped += std::exchange(body_, {}).size();
      const Result<> more = co_await as_result(read_more());
      if (!more) co_return false;
    }
    co_return body_ended_;
  }

 private:
  enum class Answer : uint8_t { None, Begun, Ended };

  std::unexpected<Error> too_large() {
    connection_.usable = false;
    return fail(Kind::Invalid, "request body too large");
  }

  // Bytes into body_, or its end.
  Task<> read_more() {
    Connection& connection = connection_;
    if (request().expects_continue && !std::exchange(continued_, true)) {
      co_await connection.send("HTTP/1.1 100 Continue\r\n\r\n");
    }
    while (body_.empty() && !body_ended_) {
      if (connection.input.empty() &&
          co_await connection.fill(connection.server.limits.idle_deadline, "reading a request") ==
              0) {
        connection.usable = false;
        co_await fail(Kind::Invalid, "unexpected EOF");
      }
      Result<Parser::Step> step = connection.parser.feed(connection.input, body_, relay_bytes);
      if (!step) connection.usable = false;
      const Parser::Step taken = co_await std::move(step);
      connection.input.erase(0, taken.taken);
      body_ended_ = taken.message_done;
    }
  }

  std::string head(int status, std::string_view content_type, const Headers& extra,
                   bool until_close = false) {
    if (until_close || !request().keep_alive || connection_.server.closing) {
      connection_.usable = false;
    }
    // Whether the body still comes, now that nobody asked for it, only the client knows.
    if (!body_ended_ && request().expects_continue && !continued_) connection_.usable = false;
    std::string bytes;
    bytes.reserve(512);
    bytes +=
        cat(request().http_1_0 ? "HTTP/1.0 " : "HTTP/1.1 ", status, ' ', reason_of(status), "\r\n");
    bytes += connection_.server.common;
    append_header(bytes, "Date", http_date());
    if (!content_type.empty()) append_header(bytes, "Content-Type", content_type);
    for (const auto& [name, value] : extra) append_header(bytes, name, value);
    if (!connection_.usable) {
      bytes += "Connection: close\r\n";
    } else if (request().http_1_0) {
      bytes += "Connection: keep-alive\r\n";
    }
    return bytes;
  }

  Connection& connection_;
  bool body_ended_;
  bool continued_ = false;
  std::string body_;  // received and not yet asked for
  Answer state_ = Answer::None;
  bool chunked_ = false;
  std::optional<uint64_t> left_;  // of an answer whose length was announced
};

// An answer to what is no request of ours.
Task<> refuse(Connection& connection, int status, std::string_view why) {
  std::string bytes = cat("HTTP/1.1 ", status, ' ', reason_of(status), "\r\n");
  bytes += connection.server.common;
  bytes += cat("Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: ",
               why.size(), "\r\n\r\n", why);
  co_await connection.send(bytes);
  ::shutdown(connection.socket.get(), SHUT_WR);
  // The client is to read it: bytes left unread on our side would reset the connection first.
  const auto until = connection.server.loop.now() + linger_limit;
  for (uint64_t dropped = 0; dropped <= leftover_bytes_max;) {
    connection.input.clear();
    const size_t got =
        co_await connection.fill(until - connection.server.loop.now(), "dropping a request");
    if (got == 0) break;
    dropped += got;
  }
}

struct HeadRead {
  bool there = false;  // else the client went
  bool body_ended = false;
};

Task<HeadRead> read_head(Connection& connection) {
  Server::State& server = connection.server;
  std::optional<ring::TimePoint> until;  // from the head's first byte
  std::string no_body;
  for (;;) {
    while (!connection.input.empty()) {
      if (!until) until = server.loop.now() + server.limits.head_deadline;
      const Parser::Step step = co_await connection.parser.feed(connection.input, no_body, 0);
      connection.input.erase(0, step.taken);
      if (step.head_done) co_return HeadRead{true, step.message_done};
      if (step.taken == 0) break;
    }
    ring::Duration limit = server.limits.idle_deadline;
    if (until) limit = *until - server.loop.now();
    if (!until) server.idle.insert(connection.socket.get());
    Result<size_t> got = co_await as_result(connection.fill(limit, "reading a request"));
    server.idle.erase(connection.socket.get());
    if (co_await std::move(got) == 0) co_return HeadRead{};
  }
}

}  // namespace

Task<> Server::State::serve_connection(Fd socket, Peer peer) {
  Connection connection(*this, std::move(socket), std::move(peer));
  while (connection.usable && !closing) {
    Result<HeadRead> head = co_await as_result(read_head(connection));
    if (!head) {
      const Kind kind = head.error().kind();
      if (kind == Kind::Invalid) co_await refuse(connection, 400, head.error().message());
      if (kind == Kind::Exhausted) co_await refuse(connection, 431, head.error().message());
      co_return;
    }
    if (!head->there) co_return;
    ConnectionExchange exchange(connection, head->body_ended);
    Result<> handled = co_await as_result(handler(exchange));
    if (!connection.socket) co_return;  // taken over
    if (!exchange.begun()) {
      const std::string why = handled ? "no answer was made" : handled.error().message();
      co_await exchange.reply(500, "text/plain; charset=utf-8", why, {});
    } else if (!handled || !exchange.answered()) {
      co_return;  // cut, so that nobody takes the answer for whole
    }
    if (connection.usable && !exchange.body_ended() && !co_await exchange.drop_body()) co_return;
    connection.parser.next();
  }
  // With the answer on its way, nothing of ours cuts it short.
  ::shutdown(connection.socket.get(), SHUT_WR);
}

namespace {

Task<> pass_in(Loop& loop, const Fd& network, const Fd& inside, TlsSession& session,
               std::string plain) {
  std::string buffer(relay_bytes, '\0');
  for (;;) {
    if (!plain.empty()) {
      const std::string piece = std::exchange(plain, {});
      co_await send_rest(loop, inside, piece);
    }
    if (session.closed()) break;
    const size_t got = co_await ring::receive(loop, network, buffer);
    if (got == 0) break;
    co_await session.take(std::string_view(buffer).substr(0, got), plain);
  }
}

// From the network to the pair, until the client ends its side. One that was reset, or says what is
// not TLS, has left both ways.
Task<> relay_in(Loop& loop, const Fd& network, const Fd& inside, TlsSession& session,
                std::string plain) {
  const Result<> passed =
      co_await as_result(pass_in(loop, network, inside, session, std::move(plain)));
  ::shutdown(inside.get(), passed ? SHUT_WR : SHUT_RDWR);
}

Task<> relay_out(Loop& loop, const Fd& network, const Fd& inside, TlsSession& session) {
  std::string buffer(relay_bytes, '\0');
  for (;;) {
    const size_t got = co_await ring::receive(loop, inside, buffer);
    if (got == 0) break;
    co_await session.write(std::string_view(buffer).substr(0, got));
    const std::string cipher = std::exchange(session.pending(), {});
    co_await send_rest(loop, network, cipher);
  }
  session.close();
  const std::string last = std::exchange(session.pending(), {});
  co_await send_rest(loop, network, last);
  ::shutdown(network.get(), SHUT_WR);
}

Task<> shake_hands(Loop& loop, const Fd& network, TlsSession& session, std::string& plain) {
  std::string buffer(relay_bytes, '\0');
  while (!session.established()) {
    const size_t got = co_await ring::receive(loop, network, buffer);
    if (got == 0) co_await fail(Kind::Unavailable, "the client left during the TLS handshake");
    Result<> taken = session.take(std::string_view(buffer).substr(0, got), plain);
    // A refusal has words for the other side, too.
    const std::string cipher = std::exchange(session.pending(), {});
    co_await send_rest(loop, network, cipher);
    co_await std::move(taken);
  }
}

}  // namespace

// The protocol is spoken on one end of a pair, whatever stands before the other: a connection that
// is taken over is a socket then, too.
Task<> Server::State::serve_tls(Fd network, const TlsContext& context) {
  TlsSession session = co_await context.open();
  std::string plain;
  co_await with_deadline(loop, shake_hands(loop, network, session, plain), limits.head_deadline,
                         "TLS handshake");
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    co_await fail_errno(errno, "socketpair");
  }
  const Fd inside(ends[0]);
  Fd ours(ends[1]);
  Peer peer{.is_unix = false, .name = session.peer_name()};
  connections.start(serve_connection(std::move(ours), std::move(peer)));
  ring::Scope both(connections, [](const Error&) {});
  both.start(relay_in(loop, network, inside, session, std::move(plain)));
  const Result<> out = co_await as_result(relay_out(loop, network, inside, session));
  (void)out;  // either side may go at any time
  both.cancel();
  co_await both.join();
}

Task<> Server::State::accept_from(Listener& listener) {
  ring::Acceptor acceptor(loop, listener.socket);
  Result<Fd> next = co_await as_result(acceptor.next());
  for (; next || next.error().kind() != Kind::Cancelled;
       next = co_await as_result(acceptor.next())) {
    if (!next) {
      // Out of descriptors or memory: those who are connected go on, and may let some go.
      const Result<> slept =
          co_await as_result(ring::sleep_for(loop, std::chrono::milliseconds(20)));
      if (closing) break;
      continue;
    }
    if (connections.running() >= limits.connections_max) {
      constexpr std::string_view full =
          "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
      (void)::send(next->get(), full.data(), full.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      *next = Fd();  // now, not when the next one comes
      continue;
    }
    if (listener.tls) {
      const int on = 1;
      ::setsockopt(next->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      // A client whose machine is gone is noticed, if only after hours.
      ::setsockopt(next->get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
      connections.start(serve_tls(*std::move(next), *listener.tls));
    } else {
      Peer peer = peer_of(*next);
      connections.start(serve_connection(*std::move(next), std::move(peer)));
    }
  }
  co_await acceptor.stop();
}

std::string_view Exchange::query(std::string_view name) const {
  for (const auto& [key, value] : request().query) {
    if (key == name) return value;
  }
  return {};
}

Server::Server(Loop& loop, Handler handler, Headers headers, ServerLimits limits)
    : state_(std::make_unique<State>(loop, std::move(handler), std::move(headers), limits)) {}
Server::~Server() = default;

Result<> Server::listen_unix(const std::string& path, const std::string& group) {
  auto listener = std::make_unique<State::Listener>();
  listener->socket = TRY(open_unix_listener(path, group));
  listener->path = path;
  state_->listeners.push_back(std::move(listener));
  return {};
}

Result<> Server::listen_tcp(const std::string& address, const TlsFiles& tls) {
  if (tls.certificate.empty() || tls.key.empty() || tls.authority.empty()) {
    return fail(Kind::Denied, cat("listening on tcp://", address,
                                  ": refused without mutual TLS (certificate, key and authority): "
                                  "who can reach the API is root here"));
  }
  auto listener = std::make_unique<State::Listener>();
  listener->tls = std::make_unique<TlsContext>(
      TRY(TlsContext::for_server({tls.certificate, tls.key, tls.authority})));
  listener->socket = TRY(open_tcp_listener(address));
  state_->listeners.push_back(std::move(listener));
  return {};
}

Result<> Server::listen_open_tcp(const std::string& address) {
  auto listener = std::make_unique<State::Listener>();
  listener->socket =
      TRY(open_tcp_listener(address.starts_with(':') ? "127.0.0.1" + address : address));
  state_->listeners.push_back(std::move(listener));
  return {};
}

Result<> Server::listen_on(Fd socket) {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) {
    return fail_errno(errno, "the socket that was handed over");
  }
  if (domain != AF_UNIX) {
    return fail(Kind::Denied, "a socket that was handed over must be a unix socket");
  }
  auto listener = std::make_unique<State::Listener>();
  listener->socket = std::move(socket);
  state_->listeners.push_back(std::move(listener));
  return {};
}

namespace {
Task<> end_after(Loop& loop, std::chrono::milliseconds grace, ring::Scope& connections) {
  co_await ring::sleep_for(loop, grace);
  connections.cancel();
}
}  // namespace

Task<> Server::serve(std::chrono::milliseconds grace) {
  State& state = *state_;
  ring::Scope listeners(state.loop, [](const Error&) {});
  for (const auto& each : state.listeners) listeners.start(state.accept_from(*each));
  ring::Notice never;
  Result<> stopped = co_await as_result(never.wait());

  state.closing = true;
  listeners.cancel();
  co_await listeners.join();
  for (const int socket : state.idle) ::shutdown(socket, SHUT_RD);
  ring::Scope clock(state.loop, [](const Error&) {});
  clock.start(end_after(state.loop, grace, state.connections));
  co_await state.connections.join();
  clock.cancel();
  co_await clock.join();
  for (const auto& each : state.listeners) {
    if (!each->path.empty()) ::unlink(each->path.c_str());
  }
  state.listeners.clear();
}

uint64_t Server::connections() const { return state_->connections.running(); }

}  // namespace nacelle::http
