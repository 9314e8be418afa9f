// Containers: made, looked at, started, stopped, changed and removed. What streams is in
// container_streams.cc.
#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "api/container_filters.h"
#include "api/container_json.h"
#include "api/container_list.h"
#include "api/container_streams.h"
#include "api/json_requests.h"
#include "api/route.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "engine/moment.h"
#include "image/images.h"
#include "oci/image.h"
#include "sys/clock.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Changed;
using engine::Container;

constexpr const char* not_experimental =
    "This experimental feature is disabled by default. Start the Docker daemon in experimental "
    "mode in order to enable it.";

// With the slash that some clients put before a name.
std::string container_of(const Call& call) { return call.variables[0]; }

std::optional<std::string> parameter(const Call& call, std::string_view name) {
  const std::string_view text = call.http.query(name);
  if (text.empty()) return {};
  return std::string(text);
}

Result<std::optional<int>> stop_timeout(const Call& call) {
  const std::string_view text = call.http.query("t");
  if (text.empty()) return std::nullopt;
  return std::optional<int>(TRY(read_number(text)));
}

ring::Task<> no_content(Call& call, int status = 204) { co_await call.http.reply(status, "", ""); }

void write_warnings(Writer& json, const std::vector<std::string>& warnings) {
  json.key("Warnings").values(warnings);
}

// Looking ----------------------------------------------------------------------------------------

// The text of those of `ids` that are still there, with commas between them.
ring::Task<std::string> summaries(Call& call, std::span<const std::string> ids, bool with_sizes) {
  const int64_t now_ns = engine::now_ns();
  Writer json;
  json.begin_array();
  for (const std::string& id : ids) {
    Sizes sizes;
    if (with_sizes) {
      const auto measured = co_await as_result(call.engine.containers->sizes(id));
      if (measured) sizes = *measured;
    }
    const auto container = co_await as_result(call.engine.containers->find(id));
    if (container) write_summary(json, **container, sizes, now_ns);
  }
  json.end_array();
  const std::string text = std::move(json).take();
  co_return text.substr(1, text.size() - 2);
}

// Thousands are not one turn of the loop: they are told piece by piece.
ring::Task<> list_in_pieces(Call& call, std::vector<std::string> ids, bool with_sizes) {
  constexpr size_t piece_max = 64;
  co_await call.http.begin(200, "application/json");
  std::string out = "[";
  for (size_t at = 0; at < ids.size(); at += piece_max) {
    const std::span<const std::string> piece =
        std::span(ids).subspan(at, std::min(piece_max, ids.size() - at));
    const std::string text = co_await summaries(call, piece, with_sizes);
    if (text.empty()) continue;
    if (out != "[") out = ",";
    out += text;
    co_await call.http.write(out);
  }
  // Of a list whose containers have all gone meanwhile nothing has been sent yet.
  co_await call.http.write(out == "[" ? "[]\n" : "]\n");
  co_await call.http.end();
}

ring::Task<> list(Call& call) {
  constexpr size_t at_once_max = 64;
  const std::vector<Container*> chosen = co_await chosen_containers(call);
  const bool with_sizes = call.flag("size");
  if (with_sizes || chosen.size() > at_once_max) {
    std::vector<std::string> ids;
    ids.reserve(chosen.size());
    for (const Container* each : chosen) ids.push_back(each->id);
    co_await list_in_pieces(call, std::move(ids), with_sizes);
    co_return;
  }
  const int64_t now_ns = engine::now_ns();
  Writer json;
  json.begin_array();
  for (const Container* each : chosen) write_summary(json, *each, {}, now_ns);
  json.end_array();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> inspect(Call& call) {
  Container* container = co_await call.engine.containers->find(container_of(call));
  Sizes sizes;
  if (call.flag("size")) {
    const std::string id = container->id;
    sizes = co_await call.engine.containers->sizes(id);
    container = co_await call.engine.containers->find(id);
  }
  const std::string text = inspect_json(*container, sizes);
  co_await reply_json(call, 200, text);
}

ring::Task<> top(Call& call) {
  const auto found = co_await call.engine.containers->top(container_of(call),
                                                          std::string(call.http.query("ps_args")));
  Writer json;
  json.begin_object().key("Processes").begin_array();
  for (const auto& process : found.processes) json.values(process);
  json.end_array().key("Titles").values(found.titles).end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

// Making -----------------------------------------------------------------------------------------

// An image of another platform is as good as none: clients pull the right one then.
ring::Task<> check_platform(Call& call, const engine::CreateRequest& request) {
  const auto wanted = oci::parse_platform(request.platform);
  if (!wanted) {
    co_await fail(Kind::Invalid, cat(quoted(request.platform),
                                     ": cannot parse platform specifier: invalid argument"));
  }
  const auto image = co_await as_result(call.engine.images->inspect(request.config.image));
  if (!image) co_return;  // which create itself says
  const oci::Platform& offered = image->record.config.platform;
  if (oci::platform_match(oci::normalized(*wanted), oci::normalized(offered)) == 0) {
    co_await fail(
        Kind::NotFound,
        cat("image with reference ", request.config.image, " was found but its platform (",
            offered.text(), ") does not match the specified platform (", wanted->text(), ")"));
  }
}

ring::Task<> create(Call& call) {
  const std::string body = co_await read_json_body(call);
  engine::CreateRequest request = co_await read_create_request(body);
  request.name = call.http.query("name");
  request.platform = call.http.query("platform");
  if (!request.platform.empty()) co_await check_platform(call, request);
  const bool moved = co_await move_mac_address(request);
  engine::Created created = co_await call.engine.containers->create(std::move(request));
  if (moved && call.version >= 44) {
    created.warnings.emplace_back(
        "The container-wide MacAddress field is now deprecated. It should be specified in "
        "EndpointsConfig instead.");
  }
  Writer json;
  json.begin_object().member("Id", created.id);
  write_warnings(json, created.warnings);
  json.end_object();
  co_await reply_json(call, 201, std::move(json).take());
}

// X-Nacelle-Phases: each phase of a start with its end, in nanoseconds since `begun_ns`.
http::Headers phases_header(const engine::StartTrace& trace, uint64_t begun_ns) {
  std::string text;
  for (const core::Phase& phase : trace) {
    text += cat(text.empty() ? "" : ",", phase.name, "=", phase.ns - begun_ns);
  }
  return {{"X-Nacelle-Phases", text}};
}

ring::Task<> start(Call& call) {
  const uint64_t begun_ns = sys::monotonic_ns();
  // Clients before 1.24 sent a HostConfig; "{}" and "null" still come.
  constexpr uint64_t nothing_bytes_max = 7;
  const http::RequestHead& head = call.http.request();
  if (head.chunked || head.content_length.value_or(0) > nothing_bytes_max) {
    co_await fail(Kind::Invalid,
                  "starting container with non-empty request body was deprecated since API v1.22 "
                  "and removed in v1.24");
  }
  if (call.has("checkpoint") && !call.http.query("checkpoint").empty()) {
    co_await fail(Kind::Invalid, "checkpoint is only supported in experimental mode");
  }
  const std::string keys(call.http.query("detachKeys"));
  std::shared_ptr<engine::StartTrace> trace;
  if (http::find_header(head.headers, "x-nacelle-trace") != nullptr) {
    trace = std::make_shared<engine::StartTrace>();
  }
  const Changed changed = co_await call.engine.containers->start(container_of(call), keys, trace);
  http::Headers headers;
  if (trace) headers = phases_header(*trace, begun_ns);
  co_await call.http.reply(changed == Changed::Yes ? 204 : 304, "", "", std::move(headers));
}

ring::Task<> rename(Call& call) {
  const std::string name(call.http.query("name"));
  const std::string text = container_of(call);
  // Docker looks for the container first only when there is a name.
  if (name.empty()) co_await fail(Kind::Invalid, "Neither old nor new names may be empty");
  co_await call.engine.containers->rename(text, name);
  co_await no_content(call);
}

ring::Task<> update(Call& call) {
  const std::string body = co_await read_json_body(call, true);
  engine::UpdateRequest request = co_await read_update_request(body);
  const auto warnings =
      co_await call.engine.containers->update(container_of(call), std::move(request));
  Writer json;
  json.begin_object().key("Warnings");
  if (warnings.empty()) {
    json.null();
  } else {
    json.values(warnings);
  }
  json.end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

// Ending -----------------------------------------------------------------------------------------

ring::Task<> stop(Call& call) {
  const auto timeout = co_await stop_timeout(call);
  const Changed changed =
      co_await call.engine.containers->stop(container_of(call), parameter(call, "signal"), timeout);
  co_await no_content(call, changed == Changed::Yes ? 204 : 304);
}

ring::Task<> restart(Call& call) {
  const auto timeout = co_await stop_timeout(call);
  co_await call.engine.containers->restart(container_of(call), parameter(call, "signal"), timeout);
  co_await no_content(call);
}

ring::Task<> kill(Call& call) {
  constexpr std::string_view attempt = "cannot kill container: ";
  std::string signal(call.http.query("signal"));
  Result<> killed =
      co_await as_result(call.engine.containers->kill(container_of(call), std::move(signal)));
  if (!killed && !killed.error().message().starts_with(attempt)) {
    killed.error().add_context(cat(attempt, container_of(call)));
  }
  co_await std::move(killed);
  co_await no_content(call);
}

ring::Task<> pause(Call& call) {
  co_await call.engine.containers->pause(container_of(call));
  co_await no_content(call);
}

ring::Task<> unpause(Call& call) {
  co_await call.engine.containers->unpause(container_of(call));
  co_await no_content(call);
}

ring::Task<> remove(Call& call) {
  co_await call.engine.containers->remove(container_of(call), call.flag("force"), call.flag("v"),
                                          call.flag("link"));
  co_await no_content(call);
}

ring::Task<> prune(Call& call) {
  Chosen chosen = co_await prune_choice(call.http.query("filters"));
  const auto pruned = co_await call.engine.containers->prune(std::move(chosen));
  Writer json;
  json.begin_object().key("ContainersDeleted");
  if (pruned.ids.empty()) {
    json.null();
  } else {
    json.values(pruned.ids);
  }
  json.member("SpaceReclaimed", pruned.bytes).end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> resize(Call& call) {
  const unsigned height = co_await read_console_size(call.http.query("h"), "height");
  const unsigned width = co_await read_console_size(call.http.query("w"), "width");
  const Container* container = co_await call.engine.containers->find(container_of(call));
  // Without a terminal there is nothing to be done, and nothing wrong.
  if (container->config.tty || !counts_as_running(container->state.phase)) {
    co_await call.engine.containers->resize(container_of(call), height, width);
  }
  co_await no_content(call, 200);
}

ring::Task<> checkpoints(Call&) { co_await fail(Kind::Unsupported, not_experimental); }

}  // namespace

std::vector<Route> container_routes() {
  return {
      {"GET", "/containers/json", list},
      {"POST", "/containers/create", create},
      {"POST", "/containers/prune", prune},
      {"GET", "/containers/{id}/json", inspect},
      {"GET", "/containers/{id}/top", top},
      {"GET", "/containers/{id}/logs", container_logs},
      {"GET", "/containers/{id}/stats", container_stats},
      {"POST", "/containers/{id}/start", start},
      {"POST", "/containers/{id}/stop", stop},
      {"POST", "/containers/{id}/restart", restart},
      {"POST", "/containers/{id}/kill", kill},
      {"POST", "/containers/{id}/pause", pause},
      {"POST", "/containers/{id}/unpause", unpause},
      {"POST", "/containers/{id}/rename", rename},
      {"POST", "/containers/{id}/update", update},
      {"POST", "/containers/{id}/wait", container_wait},
      {"POST", "/containers/{id}/resize", resize},
      {"POST", "/containers/{id}/attach", container_attach},
      {"GET", "/containers/{id}/attach/ws", container_attach_websocket},
      {"DELETE", "/containers/{id}", remove},
      {"GET", "/containers/{id}/checkpoints", checkpoints},
      {"POST", "/containers/{id}/checkpoints", checkpoints},
      {"DELETE", "/containers/{id}/checkpoints/{checkpoint}", checkpoints},
  };
}

}  // namespace nacelle::api
