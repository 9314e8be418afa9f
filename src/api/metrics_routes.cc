// What is asked of all containers at once: GET /metrics in Prometheus' text format, and
// what is ours: GET /containers/stats, Docker's stats of each that runs, in one array, and
// GET /containers/{id}/traffic.
#include <netinet/in.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "api/api.h"
#include "api/metrics_text.h"
#include "api/route.h"
#include "api/stats_json.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "ring/blocking.h"

namespace nacelle::api {
namespace {

using engine::Pass;

constexpr const char* metrics_type = "text/plain; version=0.0.4; charset=utf-8";
// Written at once; what others wait for comes in between.
constexpr size_t stats_slice_bytes = 64u << 10;
constexpr size_t metrics_connections_max = 64;

void count_states(engine::Engine& engine, EngineFigures& figures) {
  for (const engine::Container* each : engine.containers->all()) {
    switch (each->state.phase) {
      case engine::Phase::Running:
      case engine::Phase::Restarting: ++figures.running; break;
      case engine::Phase::Paused: ++figures.paused; break;
      default: ++figures.stopped;
    }
  }
}

ring::Task<EngineFigures> read_figures(engine::Engine& engine) {
  EngineFigures figures;
  figures.version = NACELLE_VERSION;
  count_states(engine, figures);
  figures.counts = engine.containers->counts();
  figures.removals_waiting = engine.containers->leavings();
  figures.loop = engine.loop.stats();
  const auto core = co_await as_result(engine.core->call(core::StatusRequest{}));
  if (core) {
    figures.core = *core;
  } else {
    figures.core_trouble = core.error().message();
  }
  co_return figures;
}

// A thousand containers are some megabytes of text: made on a thread.
ring::Task<std::string> make_metrics(engine::Engine& engine) {
  struct Work {
    std::shared_ptr<const Pass> pass;
    EngineFigures figures;
    std::string text;
  };
  const auto work = std::make_shared<Work>();
  work->pass = co_await engine.stats->pass();
  work->figures = co_await read_figures(engine);
  ring::BlockingCall call = [work]() -> Result<> {
    work->text = metrics_text(*work->pass, work->figures);
    return {};
  };
  co_await ring::run_blocking(engine.loop, std::move(call));
  co_return std::move(work->text);
}

ring::Task<> metrics(Call& call) {
  const std::string text = co_await make_metrics(call.engine);
  co_await call.http.reply(200, metrics_type, text);
}

ring::Task<> all_stats(Call& call) {
  const std::shared_ptr<const Pass> pass = co_await call.engine.stats->pass();
  // As the list of containers: the newest first.
  std::vector<const Pass::One*> ordered;
  for (const Pass::One& one : pass->containers) ordered.push_back(&one);
  std::ranges::sort(ordered, std::greater(), &Pass::One::created);
  co_await call.http.begin(200, "application/json");
  std::string text = "[";
  for (const Pass::One* one : ordered) {
    if (one != ordered.front()) text += ",\n";
    text += stats_json("/" + one->name, one->id, one->sample, {});
    if (text.size() < stats_slice_bytes) continue;
    co_await call.http.write(text);
    text.clear();
  }
  text += "]\n";
  co_await call.http.write(text);
  co_await call.http.end();
}

std::string_view protocol_name(uint8_t number, std::string& spare) {
  switch (number) {
    case IPPROTO_TCP: return "tcp";
    case IPPROTO_UDP: return "udp";
    case IPPROTO_ICMP: return "icmp";
    case IPPROTO_ICMPV6: return "icmpv6";
    default: return spare = cat(number);
  }
}

void write_peer(codec::json::Writer& json, const bpf::Groups::Peer& peer) {
  const auto& [key, counted] = peer;
  std::string spare;
  json.begin_object().member("address", bpf::address_text(key.peer));
  json.member("port", ntohs(key.port)).member("protocol", protocol_name(key.protocol, spare));
  json.member("role", key.is_server != 0 ? "server" : "client");
  json.member("sent_bytes", counted.sent_bytes).member("sent_packets", counted.sent_packets);
  json.member("received_bytes", counted.received_bytes);
  json.member("received_packets", counted.received_packets).end_object();
}

// Ours: with whom a running container has spoken. Layer 3, without loopback.
ring::Task<> traffic(Call& call) {
  const engine::Container* container = co_await call.engine.containers->find(call.variables[0]);
  const auto found = co_await call.engine.stats->conversations(*container);
  const nacelle_group_counters& total = found.total;
  codec::json::Writer json;
  json.begin_object().member("layer", 3);
  json.member("sent_bytes", total.sent_bytes).member("sent_packets", total.sent_packets);
  json.member("received_bytes", total.received_bytes);
  json.member("received_packets", total.received_packets);
  json.member("connections_opened", total.connections_out);
  json.member("connections_accepted", total.connections_in);
  json.member("tcp_retransmits", total.retransmits);
  json.member("peers_max", static_cast<int>(NACELLE_PEERS_MAX)).key("peers").begin_array();
  for (const bpf::Groups::Peer& peer : found.peers) write_peer(json, peer);
  json.end_array().end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> serve_metrics(engine::Engine& engine, http::Exchange& http) {
  const http::RequestHead& head = http.request();
  if (head.path != "/metrics") {
    co_await http.reply(404, "text/plain; charset=utf-8", "404 page not found\n");
    co_return;
  }
  if (head.method != "GET") {
    co_await http.reply(405, "text/plain; charset=utf-8", "GET is all there is\n");
    co_return;
  }
  const std::string text = co_await make_metrics(engine);
  co_await http.reply(200, metrics_type, text);
}

}  // namespace

std::vector<Route> metrics_routes() {
  return {{"GET", "/metrics", metrics},
          {"GET", "/containers/stats", all_stats},
          {"GET", "/containers/{id}/traffic", traffic}};
}

http::Handler make_metrics_handler(engine::Engine& engine) {
  return [&engine](http::Exchange& exchange) { return serve_metrics(engine, exchange); };
}

http::ServerLimits metrics_limits() {
  http::ServerLimits limits;
  limits.connections_max = metrics_connections_max;
  return limits;
}

}  // namespace nacelle::api
