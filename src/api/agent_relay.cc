#include "api/agent_relay.h"

#include <api/buildkit/session.pb.h>
#include <sys/socket.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "ring/notice.h"
#include "ring/ops.h"

namespace nacelle::api {
namespace {

using buildkit::session::Bytes;
using http::GrpcCall;

constexpr size_t piece_bytes = 32u << 10;

ring::Task<> carry_out(ring::Loop& loop, GrpcCall& call, const Fd& connection) {
  std::string piece(piece_bytes, '\0');
  for (;;) {
    const size_t got = co_await ring::receive(loop, connection, piece);
    if (got == 0) break;
    Bytes message;
    message.set_data(piece.substr(0, got));
    co_await call.send(message.SerializeAsString());
  }
  call.end_sending();
}

ring::Task<> carry_in(ring::Loop& loop, GrpcCall& call, const Fd& connection) {
  while (const std::optional<std::string> came = co_await call.receive()) {
    Bytes message;
    if (!message.ParseFromString(*came)) {
      co_await fail(Kind::Invalid, "what an agent says cannot be read");
    }
    for (std::string_view rest = message.data(); !rest.empty();) {
      rest.remove_prefix(co_await ring::send(loop, connection, rest));
    }
  }
  ::shutdown(connection.get(), SHUT_WR);
}

struct Directions {
  size_t running = 2;
  Result<> outcome;
  ring::Notice changed;
};

ring::Task<> carry(ring::Task<> direction, Directions& all) {
  Result<> carried = co_await ring::as_result(std::move(direction));
  --all.running;
  if (all.outcome) all.outcome = std::move(carried);
  all.changed.notify_all();
}

}  // namespace

ring::Task<> relay_agent(ring::Loop& loop, GrpcCall& call, const Fd& connection) {
  Directions all;
  ring::Scope both(loop, [](const Error&) {});
  both.start(carry(carry_out(loop, call, connection), all));
  both.start(carry(carry_in(loop, call, connection), all));
  Result<> waited;
  while (waited && all.outcome && all.running > 0) {
    waited = co_await ring::as_result(all.changed.wait());
  }
  both.cancel();
  co_await both.join();
  co_await std::move(waited);
  co_await std::move(all.outcome);
}

}  // namespace nacelle::api
