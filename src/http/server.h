// A small HTTP/1.1 server on the ring: unix sockets, TCP (with mutual TLS, but for what may be read
// by anybody), sockets handed over by systemd. A request is a coroutine; slow, half-open and
// vanished clients cost one connection's bounded memory and a deadline, and hold nobody up.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::http {

struct ServerLimits {
  MessageLimits message;
  size_t connections_max = 4096;
  std::chrono::seconds head_deadline{30};    // from its first byte to the end of a head
  std::chrono::seconds idle_deadline{300};   // between two requests
  std::chrono::seconds write_deadline{300};  // without a byte taken by the client
};

// A connection that was taken over (101, or Docker's "hijacked" 200).
struct Hijacked {
  Fd socket;                // blocking; behind TLS, one end of a pair that is relayed
  std::string early_bytes;  // what came behind the request's head
};

struct Peer {
  bool is_unix = true;
  uint32_t uid = 0, gid = 0;  // SO_PEERCRED
  int32_t pid = 0;
  std::string name;  // of a TLS client's certificate
};

// One request and its answer. Exactly one answer is made; a handler that returns without one, or
// with an error before one, has a 500 made for it; an error after begin() cuts the connection.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const RequestHead& request() const = 0;
  virtual const Peer& peer() const = 0;

  // The first query parameter of this name, or "".
  std::string_view query(std::string_view name) const;
  // The whole body: Invalid ("request body too large", status 413) above the limit.
  virtual ring::Task<std::string> body(size_t bytes_max) = 0;
  // The next bytes of it; 0: the end. Sends `100 Continue` first where it is waited for.
  virtual ring::Task<size_t> read_body(std::span<char> into) = 0;

  virtual ring::Task<> reply(int status, std::string_view content_type, std::string_view body,
                             Headers extra = {}) = 0;
  // A streamed answer: chunked, or (HTTP/1.0, or `length` given) not. Each write is sent at once.
  virtual ring::Task<> begin(int status, std::string_view content_type, Headers extra = {},
                             std::optional<uint64_t> length = {}) = 0;
  virtual ring::Task<> write(std::string_view bytes) = 0;
  virtual ring::Task<> end() = 0;
  virtual bool begun() const = 0;

  // Takes the connection over. `upgraded`: answers `101 UPGRADED` with Connection: Upgrade and
  // Upgrade: tcp (h2c where that was asked for); else `200 OK`. No more of this Exchange is usable.
  virtual ring::Task<Hijacked> hijack(bool upgraded, std::string_view content_type) = 0;

  // Ends when the client has gone (closed, or reset): what an endless answer is raced against.
  virtual ring::Task<> client_gone() = 0;
};

using Handler = std::function<ring::Task<>(Exchange&)>;

struct TlsFiles {
  std::string certificate, key, authority;  // PEM; the client must show one of `authority`
};

class Server {
 public:
  // `headers`: on every answer (Server, Api-Version, ...).
  Server(ring::Loop& loop, Handler handler, Headers headers, ServerLimits limits = {});
  ~Server();

  // Mode 0660, owner root, `group` where there is such; a stale socket is replaced, a live one is a
  // Conflict. The path is no longer than 107 bytes.
  Result<> listen_unix(const std::string& path, const std::string& group = {});
  // "127.0.0.1:2376". Without TLS files: Denied.
  Result<> listen_tcp(const std::string& address, const TlsFiles& tls);
  // Without TLS: for a handler that tells nothing secret and changes nothing. ":9323" is loopback.
  Result<> listen_open_tcp(const std::string& address);
  // A listening socket of systemd's (LISTEN_FDS).
  Result<> listen_on(Fd socket);

  // Serves until cancelled; then lets open requests end for at most `grace`.
  ring::Task<> serve(std::chrono::milliseconds grace);
  uint64_t connections() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::http
