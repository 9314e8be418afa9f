#include "http/stream_client.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <optional>

#include "base/text.h"
#include "http/tls.h"
#include "sys/unix_socket.h"

namespace nacelle::http {

namespace {

constexpr size_t piece_bytes_max = 64u << 10;
// Of an answer that comes while its request is still being sent (progress of a load does).
constexpr size_t early_bytes_max = 8u << 20;

// Its events, of those asked for; waits as long as it takes.
Result<short> wait_for(const Fd& socket, short events, int timeout_ms = -1) {
  pollfd one{.fd = socket.get(), .events = events, .revents = 0};
  for (;;) {
    const int ready = ::poll(&one, 1, timeout_ms);
    if (ready >= 0) return one.revents;
    if (errno != EINTR) return fail_errno(errno, "poll");
  }
}

struct Target {
  std::string path;        // of a unix socket
  std::string host, port;  // of TCP
};

Result<Target> read_host(std::string_view host) {
  Target target;
  if (host.starts_with("unix://")) {
    target.path = host.substr(7);
    if (target.path.empty()) return fail(Kind::Invalid, "host 'unix://' names no path");
    return target;
  }
  if (!host.starts_with("tcp://")) {
    return fail(Kind::Invalid, cat("host '", host, "': expected unix://PATH or tcp://HOST:PORT"));
  }
  std::string_view rest = host.substr(6);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || !parse_number<uint16_t>(rest.substr(colon + 1))) {
    return fail(Kind::Invalid, cat("host '", host, "' has no port"));
  }
  std::string_view name = rest.substr(0, colon);
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  if (name.empty()) return fail(Kind::Invalid, cat("host '", host, "' names no host"));
  target.host = name;
  target.port = rest.substr(colon + 1);
  return target;
}

Result<Fd> connect_tcp(const Target& target) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string where = cat("connecting to ", target.host, ':', target.port);
  if (const int code = ::getaddrinfo(target.host.c_str(), target.port.c_str(), &hints, &found);
      code != 0) {
    return fail(Kind::Unavailable, cat(where, ": ", ::gai_strerror(code)));
  }
  int why = ECONNREFUSED;
  Fd connected;
  for (const addrinfo* each = found; each != nullptr && !connected; each = each->ai_next) {
    Fd socket(::socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket && ::connect(socket.get(), each->ai_addr, each->ai_addrlen) == 0) {
      connected = std::move(socket);
    } else {
      why = errno;
    }
  }
  ::freeaddrinfo(found);
  if (!connected)
    return std::unexpected(Error(Kind::Unavailable, Error::from_errno(why, where).message()));
  const int on = 1;
  ::setsockopt(connected.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return connected;
}

// A plain socket, or one with TLS over it. `inbox` is what came and nobody has taken.
struct Channel {
  Fd socket;
  std::optional<TlsSession> tls;
  std::string inbox;
  bool ended = false;

  // One read(2) at most; whether there was something to read.
  Result<bool> fill(bool wait) {
    char bytes[piece_bytes_max];
    const ssize_t count = ::recv(socket.get(), bytes, sizeof bytes, wait ? 0 : MSG_DONTWAIT);
    if (count < 0) {
      if (errno == EAGAIN) return false;
      if (errno == EINTR) return true;
      return fail_errno(errno, "reading the answer");
    }
    if (count == 0) {
      ended = true;
      return true;
    }
    const std::string_view came(bytes, static_cast<size_t>(count));
    if (!tls) {
      inbox += came;
      return true;
    }
    TRY(tls->take(came, inbox));
    ended = tls->closed();
    TRY(flush_tls(false));
    return true;
  }

  // Takes what has come of the answer while the request is being sent; whether it says that the
  // rest need not be sent.
  Result<bool> look_for_refusal() {
    if (inbox.size() < early_bytes_max) TRY(fill(false));
    if (ended) return true;
    constexpr std::string_view accepted = "HTTP/1.1 2", interim = "HTTP/1.1 1";
    return inbox.size() >= accepted.size() && !inbox.starts_with(accepted) &&
           !inbox.starts_with(interim);
  }

  // Whether all was sent: with `stoppable`, a refusal that comes first ends it.
  Result<bool> send_raw(std::string_view bytes, bool stoppable) {
    while (!bytes.empty()) {
      const ssize_t count =
          ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count > 0) {
        bytes.remove_prefix(static_cast<size_t>(count));
        continue;
      }
      if (errno != EAGAIN && errno != EINTR) return fail_errno(errno, "sending the request");
      const bool listens = stoppable && inbox.size() < early_bytes_max;
      const short events = listens ? POLLIN | POLLOUT : POLLOUT;
      const short came = TRY(wait_for(socket, events));
      if (listens && (came & POLLIN) != 0 && TRY(look_for_refusal())) return false;
    }
    return true;
  }

  Result<bool> flush_tls(bool stoppable) {
    std::string pending = std::exchange(tls->pending(), {});
    return send_raw(pending, stoppable);
  }

  Result<bool> send(std::string_view bytes, bool stoppable) {
    if (!tls) return send_raw(bytes, stoppable);
    TRY(tls->write(bytes));
    // A record begun is sent to its end: what follows would make no sense otherwise.
    return flush_tls(false);
  }

  Result<> handshake() {
    TRY(tls->start());
    TRY(flush_tls(false));
    while (!tls->established()) {
      TRY(fill(true));
      if (ended) return fail(Kind::Unavailable, "the server ended the TLS handshake");
    }
    return {};
  }
};

}  // namespace

struct StreamClient::State {
  Target target;
  std::optional<TlsContext> tls;
  Channel channel;
  Parser parser{Parser::Role::Responses};
  bool used = false;      // for a call that came before
  bool reusable = false;  // for the next
  bool in_body = false;

  Result<> open();
  Result<bool> send_body(const Call& call);
  Result<bool> send(const Call& call);
  Result<ResponseHead> read_head();
  Result<ResponseHead> attempt(const Call& call);
};

Result<> StreamClient::State::open() {
  channel = Channel();
  parser = Parser(Parser::Role::Responses);
  used = reusable = in_body = false;
  if (!target.path.empty()) {
    channel.socket = TRY(sys::connect_unix(target.path));
    return {};
  }
  channel.socket = TRY(connect_tcp(target));
  channel.tls.emplace(TRY(tls->open(target.host)));
  return channel.handshake().context(
      [&] { return cat("connecting to ", target.host, ':', target.port); });
}

Result<bool> StreamClient::State::send_body(const Call& call) {
  std::string buffer(piece_bytes_max, '\0');
  for (;;) {
    const size_t count = TRY(call.body_source(buffer));
    if (count == 0) return channel.send("0\r\n\r\n", true);
    char size[24];
    const auto end = std::to_chars(size, size + sizeof size, count, 16).ptr;
    std::string chunk(size, end);
    chunk += "\r\n";
    chunk.append(buffer, 0, count);
    chunk += "\r\n";
    if (!TRY(channel.send(chunk, true))) return false;
    const short came = TRY(wait_for(channel.socket, POLLIN, 0));
    if ((came & (POLLIN | POLLHUP)) != 0 && TRY(channel.look_for_refusal())) return false;
  }
}

Result<bool> StreamClient::State::send(const Call& call) {
  std::string head = cat(call.method, ' ', call.target, " HTTP/1.1\r\n");
  if (find_header(call.headers, "host") == nullptr) {
    head += "Host: ";
    head += target.path.empty() ? target.host : "localhost";
    head += "\r\n";
  }
  for (const auto& [name, value] : call.headers) {
    if ((name + value).find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
      return fail(Kind::Invalid, cat("header ", percent_encode(name), " has a line end"));
    }
    head += cat(name, ": ", value, "\r\n");
  }
  if (!call.upgrade.empty()) {
    head += cat("Connection: Upgrade\r\nUpgrade: ", call.upgrade, "\r\n");
  }
  if (call.body_source) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (!call.body.empty() || call.method == "POST" || call.method == "PUT") {
    head += cat("Content-Length: ", call.body.size(), "\r\n");
  }
  head += "\r\n";
  if (!call.body_source) head += call.body;
  const bool all = TRY(channel.send(head, !call.body.empty()));
  return all && call.body_source ? send_body(call) : all;
}

Result<ResponseHead> StreamClient::State::read_head() {
  for (;;) {
    while (channel.inbox.empty()) {
      if (channel.ended) return fail(Kind::Unavailable, "the server closed the connection");
      TRY(channel.fill(true));
    }
    std::string none;
    const auto step = TRY(parser.feed(channel.inbox, none, 0));
    channel.inbox.erase(0, step.taken);
    if (!step.head_done) continue;
    const ResponseHead& head = parser.response();
    if (head.status / 100 == 1 && head.status != 101) {
      parser.next();
      continue;
    }
    in_body = !step.message_done;
    reusable = reusable && head.keep_alive && head.status != 101;
    return head;
  }
}

Result<ResponseHead> StreamClient::State::attempt(const Call& call) {
  parser.next(call.method == "HEAD");
  // Cut short, the connection is good for the answer alone. A server that does not want the rest
  // may also have closed it already: what it said before counts.
  const Result<bool> sent = send(call);
  if (!sent && sent.error().error_number() != EPIPE && sent.error().error_number() != ECONNRESET) {
    return std::unexpected(sent.error());
  }
  reusable = sent.has_value() && *sent;
  return read_head();
}

StreamClient::StreamClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
StreamClient::StreamClient(StreamClient&&) noexcept = default;
StreamClient& StreamClient::operator=(StreamClient&&) noexcept = default;
StreamClient::~StreamClient() = default;

Result<StreamClient> StreamClient::connect(std::string_view host, const StreamTls& tls) {
  auto state = std::make_unique<State>();
  state->target = TRY(read_host(host));
  if (state->target.path.empty()) {
    if (tls.certificate.empty() || tls.key.empty() || tls.authority.empty()) {
      return fail(Kind::Denied, cat("host '", host,
                                    "': TCP is spoken with TLS only: a certificate, "
                                    "its key and an authority are needed"));
    }
    state->tls.emplace(TRY(TlsContext::for_client({tls.certificate, tls.key, tls.authority})));
  }
  TRY(state->open());
  return StreamClient(std::move(state));
}

Result<ResponseHead> StreamClient::call(const Call& call) {
  State& state = *state_;
  // An idle connection that says something has been closed, or is out of step.
  if (state.used && (!state.reusable || state.in_body || !state.channel.inbox.empty() ||
                     TRY(wait_for(state.channel.socket, POLLIN | POLLRDHUP, 0)) != 0)) {
    TRY(state.open());
  }
  const bool reused = std::exchange(state.used, true);
  Result<ResponseHead> head = state.attempt(call);
  // Closed just as we wrote. What asks for nothing to be changed may be asked again.
  if (!head && reused && state.channel.inbox.empty() && head.error().kind() == Kind::Unavailable &&
      (call.method == "GET" || call.method == "HEAD")) {
    TRY(state.open());
    state.used = true;
    head = state.attempt(call);
  }
  if (!head) state.reusable = false;
  return head;
}

bool StreamClient::ready() const {
  return !state_->in_body || !state_->channel.inbox.empty() || state_->channel.ended;
}

Result<std::string> StreamClient::read() {
  State& state = *state_;
  std::string piece;
  while (state.in_body && piece.empty()) {
    if (state.channel.inbox.empty()) {
      if (state.channel.ended) {
        state.in_body = state.reusable = false;
        if (state.parser.response().until_close) return piece;
        return fail(Kind::Unavailable,
                    "the server closed the connection in the middle of an answer");
      }
      TRY(state.channel.fill(true));
      continue;
    }
    const auto step = state.parser.feed(state.channel.inbox, piece, piece_bytes_max);
    if (!step) {
      state.in_body = state.reusable = false;
      return std::unexpected(step.error());
    }
    state.channel.inbox.erase(0, step->taken);
    if (step->message_done) state.in_body = false;
  }
  return piece;
}

Result<std::string> StreamClient::read_all(size_t bytes_max) {
  std::string all;
  for (;;) {
    const std::string piece = TRY(read());
    if (piece.empty()) return all;
    if (all.size() + piece.size() > bytes_max) {
      state_->reusable = false;
      return fail(Kind::Exhausted, cat("the answer is longer than ", bytes_max, " bytes"));
    }
    all += piece;
  }
}

StreamClient::Taken StreamClient::take_over() {
  Channel& channel = state_->channel;
  Taken taken{std::move(channel.socket), std::move(channel.inbox)};
  if (channel.tls) taken.socket = Fd();  // nobody may speak plainly where TLS was agreed on
  state_->in_body = state_->reusable = false;
  channel.ended = true;
  return taken;
}

int StreamClient::descriptor() const { return state_->channel.socket.get(); }

}  // namespace nacelle::http
