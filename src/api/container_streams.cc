#include "api/container_streams.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "api/json_requests.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "engine/container_text.h"
#include "engine/moment.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Container;

// One write for many entries, but none that grows without bound.
constexpr size_t log_write_bytes = 64u << 10;

std::string url_escaped(std::string_view text) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out += c;
    } else if (c == ' ') {
      out += '+';
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', hex[byte >> 4], hex[byte & 15]};
    }
  }
  return out;
}

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
  return fail(Kind::Invalid, cat("invalid condition: ", codec::json::in_quotes(text)));
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

const char* attached_content_type(const Call& call, bool terminal) {
  const bool upgraded = !call.http.request().upgrade.empty();
  return upgraded && !terminal && call.version >= 42 ? multiplexed_stream : raw_stream;
}

// Logs -------------------------------------------------------------------------------------------

void append_entry(std::string& out, const logs::Entry& entry, const LogFormat& format) {
  const size_t begin = out.size();
  if (format.framed) out.append(8, '\0');
  if (format.timestamps) out += engine::moment_text(entry.time_ns) + " ";
  if (format.details) {
    bool first = true;
    for (const auto& [name, value] : entry.attributes) {
      out += cat(first ? "" : ",", url_escaped(name), '=', url_escaped(value));
      first = false;
    }
    out += ' ';
  }
  out += entry.text;
  if (!format.framed) return;
  const size_t length = out.size() - begin - 8;
  out[begin] = static_cast<char>(entry.stream);
  for (size_t i = 0; i < 4; ++i) {
    out[begin + 4 + i] = static_cast<char>((length >> (24 - 8 * i)) & 0xff);
  }
}

Result<logs::ReadOptions> read_log_options(const Call& call) {
  logs::ReadOptions options;
  options.stdout_wanted = call.flag("stdout");
  options.stderr_wanted = call.flag("stderr");
  if (!options.stdout_wanted && !options.stderr_wanted) {
    return fail(Kind::Invalid, "Bad parameters: you must choose at least one stream");
  }
  options.follow = call.flag("follow");
  const std::string_view since = call.http.query("since"), until = call.http.query("until");
  if (!since.empty()) options.since_ns = TRY(read_time(since));
  if (!until.empty() && until != "0") options.until_ns = TRY(read_time(until));
  // "all", and whatever else is no number, means all, as it does to Docker.
  options.tail = std::max<int64_t>(parse_number<int64_t>(call.http.query("tail")).value_or(-1), -1);
  return options;
}

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
