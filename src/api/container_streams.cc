#include "api/container_streams.h"

#include <memory>
#include <utility>

#include "api/stream_format.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "engine/container_text.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Container;

// One write for many entries, but none that grows without bound.
constexpr size_t log_write_bytes = 64u << 10;

ring::Task<> send_logs(Call& call, logs::Reader& reader, LogFormat format) {
  std::string out;
  for (;;) {
    const std::vector<logs::Entry> entries = co_await reader.next();
    if (entries.empty()) co_return;
    for (const logs::Entry& entry : entries) {
      append_entry(out, entry, format);
      if (out.size() < log_write_bytes) continue;
      co_await call.http.write(out);
      out.clear();
    }
    if (!out.empty()) co_await call.http.write(out);
    out.clear();
  }
}

Result<engine::WaitCondition> read_condition(std::string_view text) {
  using enum engine::WaitCondition;
  if (text.empty() || text == "not-running") return NotRunning;
  if (text == "next-exit") return NextExit;
  if (text == "removed") return Removed;
  return fail(Kind::Invalid, cat("invalid condition: ", quoted(text)));
}

ring::Task<> send_outcome(Call& call, engine::Containers::Waiting& waiting) {
  const engine::WaitOutcome outcome = co_await waiting.outcome();
  Writer json;
  json.begin_object().member("StatusCode", outcome.exit_code);
  if (!outcome.error.empty()) {
    json.key("Error").begin_object().member("Message", outcome.error).end_object();
  }
  std::string text = std::move(json.end_object()).take();
  text += '\n';
  co_await call.http.write(text);
}

}  // namespace

// Logs -------------------------------------------------------------------------------------------

ring::Task<> container_logs(Call& call) {
  const logs::ReadOptions options = co_await read_log_options(call);
  const Container* container = co_await call.engine.containers->find(call.variables[0]);
  const std::string id = container->id;
  const bool terminal = container->config.tty;
  const std::unique_ptr<logs::Reader> reader = co_await call.engine.containers->logs(id, options);
  const bool framed = !terminal;
  co_await call.http.begin(200, framed && call.version >= 42 ? multiplexed_stream : raw_stream);
  const LogFormat format{framed, call.flag("timestamps"), call.flag("details")};
  co_await while_client_stays(call, send_logs(call, *reader, format));
  co_await call.http.end();
}

// Waiting ----------------------------------------------------------------------------------------

ring::Task<> container_wait(Call& call) {
  // Before 1.30 there were no conditions.
  const std::string_view text = call.version >= 30 ? call.http.query("condition") : "";
  const engine::WaitCondition condition = co_await read_condition(text);
  const auto waiting = co_await call.engine.containers->wait(call.variables[0], condition);
  // Clients start the container once they have seen the head.
  co_await call.http.begin(200, "application/json");
  co_await while_client_stays(call, send_outcome(call, *waiting));
  co_await call.http.end();
}

// Attaching --------------------------------------------------------------------------------------

ring::Task<> container_attach(Call& call) {
  engine::AttachOptions options;
  options.in = call.flag("stdin");
  options.out = call.flag("stdout");
  options.err = call.flag("stderr");
  options.logs = call.flag("logs");
  options.stream = call.flag("stream");
  options.detach_keys = call.http.query("detachKeys");
  const Container* container = co_await call.engine.containers->attach_check(call.variables[0]);
  const std::string id = container->id;
  const bool terminal = container->config.tty;
  options.multiplexed = !terminal;
  if (!options.detach_keys.empty() && !engine::parse_detach_keys(options.detach_keys)) {
    co_await fail(Kind::Invalid, cat("Invalid detach keys (", options.detach_keys, ") provided"));
  }
  const bool upgraded = !call.http.request().upgrade.empty();
  http::Hijacked taken = co_await call.http.hijack(upgraded, attached_content_type(call, terminal));
  engine::ClientConnection client{std::move(taken.socket), std::move(taken.early_bytes)};
  co_await call.engine.containers->attach(id, std::move(options), std::move(client));
}

ring::Task<> container_attach_websocket(Call& call) {
  co_await call.engine.containers->find(call.variables[0]);
  co_await fail(Kind::Unsupported,
                "attaching by WebSocket is not supported: POST /containers/{id}/attach is");
}

}  // namespace nacelle::api
