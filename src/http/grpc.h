// gRPC over one HTTP/2 connection that was taken over from HTTP/1.1, at either end of it: we serve
// BuildKit's calls on one, and make calls to the client on the other. HTTP/2 is nghttp2's; this
// room is the only one that sees it. Messages are bytes here: what they mean is for others.
// What a client may make us hold is bounded (GrpcLimits). Compressed messages are refused, as is
// everything that is no gRPC.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"
#include "http/server.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::http {

struct GrpcLimits {
  size_t message_bytes_max = 16u << 20;
  size_t calls_max = 128;                // at a time, begun by the other end
  size_t metadata_bytes_max = 1u << 20;  // of one call
  int32_t call_window_bytes = 1 << 20;   // sent to us, and not yet asked for
};

// One call. Both directions are streams of messages; a plain call has one each way.
class GrpcCall {
 public:
  virtual ~GrpcCall() = default;
  // "/moby.buildkit.v1.Control/Solve"
  virtual const std::string& path() const = 0;
  // What the caller said beside the messages: the first of this name, or "".
  virtual std::string_view metadata(std::string_view name) const = 0;
  // The next message; nothing: the other end has said its last. To a caller, a status that is not
  // OK is an error, with the status's words and a Kind that says the same.
  virtual ring::Task<std::optional<std::string>> receive() = 0;
  // Waits while much of what was sent before has not left yet.
  virtual ring::Task<> send(std::string message) = 0;
  // A caller has said its last. (One who serves says it by returning.)
  virtual void end_sending() = 0;
};

class GrpcConnection {
 public:
  enum class End : bool { Client, Server };
  // Serves one call. Its error becomes the call's status. Cancelled when the caller has gone.
  using Handler = std::function<ring::Task<>(GrpcCall&)>;

  GrpcConnection(ring::Loop& loop, Hijacked taken, End end, Handler handler = {},
                 GrpcLimits limits = {});
  // run() has ended. Calls that were begun may live longer: they have ended, too.
  ~GrpcConnection();
  GrpcConnection(const GrpcConnection&) = delete;
  GrpcConnection& operator=(const GrpcConnection&) = delete;

  // Drives the connection until the other end closes it, or until cancelled.
  ring::Task<> run();
  // Begins a call (End::Client, while run() runs). Dropping it before its end cancels it.
  Result<std::unique_ptr<GrpcCall>> call(std::string path, Headers metadata = {});

  struct State;

 private:
  std::shared_ptr<State> state_;
};

// One message there, one back. Unavailable where there is no answer.
ring::Task<std::string> grpc_ask(GrpcConnection& connection, std::string path, std::string message,
                                 Headers metadata = {});

}  // namespace nacelle::http
