// The client's side for programs that are one command: blocking, over one connected socket (unix,
// or TCP with TLS), with streamed bodies both ways and connections taken over. Not for registries:
// that is client.h.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "http/message.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::http {

struct StreamTls {
  std::string certificate, key, authority;  // PEM files
};

class StreamClient {
 public:
  // "unix:///run/nacelle/nacelle.sock" or "tcp://host:port" (with TLS files only).
  static Result<StreamClient> connect(std::string_view host, const StreamTls& tls = {});
  StreamClient(StreamClient&&) noexcept;
  StreamClient& operator=(StreamClient&&) noexcept;
  ~StreamClient();

  struct Call {
    std::string method, target;  // target: path and query, encoded
    Headers headers;
    std::string body;  // sent with Content-Length where not empty or the method is POST or PUT
    // Instead of `body`: chunked, until 0 comes back.
    std::function<Result<size_t>(std::span<char>)> body_source;
    std::string_view upgrade = {};  // "tcp", "h2c": Connection: Upgrade, and that
  };
  // Sends, and reads the head of the answer. Reconnects once where an idle connection was closed.
  Result<ResponseHead> call(const Call& call);
  // The next piece of the answer's body, as it arrives; empty: its end.
  Result<std::string> read();
  Result<std::string> read_all(size_t bytes_max);
  // After a 101 (or a hijacked 200): the socket and what was read too much. The client is of no
  // more use.
  // TODO(spec): behind TLS the socket is empty; it needs a relay as the server has one.
  struct Taken {
    Fd socket;
    std::string early_bytes;
  };
  Taken take_over();
  // To be polled: readable when read() would not wait long. What has come already is not seen
  // there: ask ready() first, which says that read() has something to return, if only the end.
  int descriptor() const;
  bool ready() const;

  struct State;

 private:
  explicit StreamClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::http
