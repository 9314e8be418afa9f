#include <algorithm>
#include <string>
#include <utility>

#include "api/network_json.h"
#include "api/route.h"
#include "base/text.h"
#include "codec/json_writer.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Network;

const std::vector<std::string>& values_of(const Filters& filters, const std::string& name) {
  static const std::vector<std::string> none;
  const auto found = filters.find(name);
  return found == filters.end() ? none : found->second;
}

// Builtin networks are not "custom", and networks nobody is in are dangling.
bool matches(const Filters& filters, const engine::Networks& networks, const Network& network) {
  const auto any = [&](const std::string& filter, const auto& is_it) {
    const auto& values = values_of(filters, filter);
    return values.empty() || std::ranges::any_of(values, is_it);
  };
  if (!any("driver", [&](const std::string& each) { return network.driver == each; })) return false;
  if (!any("id", [&](const std::string& each) { return network.id.contains(each); })) return false;
  if (!any("name", [&](const std::string& each) { return network.name.contains(each); })) {
    return false;
  }
  if (!any("scope", [&](const std::string& each) { return network.scope == each; })) return false;
  if (!any("type",
           [&](const std::string& each) { return (each == "builtin") == network.predefined(); })) {
    return false;
  }
  if (!label_filters_match(values_of(filters, "label"), network.labels)) return false;
  const auto dangling = bool_filter(filters, "dangling", false);
  if (filters.contains("dangling") && dangling) {
    const bool is_dangling = !network.predefined() && networks.members(network.id).empty();
    if (is_dangling != *dangling) return false;
  }
  return true;
}

ring::Task<> list(Call& call) {
  const Filters filters = co_await read_filters(
      call.http.query("filters"), {"dangling", "driver", "id", "label", "name", "scope", "type"});
  (void)co_await bool_filter(filters, "dangling", false);
  for (const std::string& each : values_of(filters, "type")) {
    if (each == "builtin" || each == "custom") continue;
    co_await fail(Kind::Invalid, cat("invalid filter 'type=", each, "'"));
  }
  const engine::Networks& networks = *call.engine.networks;
  Writer json;
  json.begin_array();
  for (const Network& each : networks.list()) {
    if (matches(filters, networks, each)) write_network(json, each, {});
  }
  json.end_array();
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> inspect(Call& call) {
  const Network network = co_await call.engine.networks->find(call.variables[0]);
  const std::string_view scope = call.http.query("scope");
  if (!scope.empty() && scope != network.scope) {
    co_await fail(Kind::NotFound, cat("network ", call.variables[0], " not found"));
  }
  Writer json;
  write_network(json, network, call.engine.networks->members(network.id));
  co_await reply_json(call, 200, std::move(json).take());
}

ring::Task<> create(Call& call) {
  const std::string body = co_await read_json_body(call);
  engine::NetworkCreateRequest request = co_await read_network_create(body);
  const Network network = co_await call.engine.networks->create(std::move(request));
  Writer json;
  json.begin_object().member("Id", network.id).member("Warning", "").end_object();
  co_await reply_json(call, 201, std::move(json).take());
}

ring::Task<> remove(Call& call) {
  co_await call.engine.networks->remove(call.variables[0]);
  co_await call.http.reply(204, "", "");
}

ring::Task<> connect(Call& call) {
  const std::string body = co_await read_json_body(call);
  NetworkConnect connect = co_await read_network_connect(body);
  co_await call.engine.containers->connect_network(std::move(connect.container), call.variables[0],
                                                   std::move(connect.endpoint));
  co_await call.http.reply(200, "", "");
}

ring::Task<> disconnect(Call& call) {
  const std::string body = co_await read_json_body(call);
  const NetworkConnect connect = co_await read_network_connect(body);
  co_await call.engine.containers->disconnect_network(connect.container, call.variables[0],
                                                      connect.force);
  co_await call.http.reply(200, "", "");
}

ring::Task<> prune(Call& call) {
  const Filters filters =
      co_await read_filters(call.http.query("filters"), {"label", "label!", "until"});
  int64_t until_ns = 0;
  for (const std::string& each : values_of(filters, "until")) until_ns = co_await read_time(each);
  // A stopped container's network is in use.
  co_await call.engine.containers->all_loaded();
  std::vector<std::string> in_use;
  for (const engine::Container* each : call.engine.containers->all()) {
    for (const auto& [name, endpoint] : each->endpoints) in_use.push_back(name);
  }
  const auto& without = values_of(filters, "label!");
  const auto names = call.engine.networks->prune([&](const Network& network) {
    if (contains(in_use, network.name)) return false;
    if (until_ns != 0 && parse_rfc3339(network.created).value_or(0) > until_ns) return false;
    return label_filters_match(values_of(filters, "label"), network.labels) &&
           (without.empty() || !label_filters_match(without, network.labels));
  });
  Writer json;
  json.begin_object().key("NetworksDeleted");
  if (names.empty()) {
    json.null();
  } else {
    json.values(names);
  }
  json.end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

}  // namespace

std::vector<Route> network_routes() {
  return {
      {"GET", "/networks", list},
      {"GET", "/networks/{id}", inspect},
      {"POST", "/networks/create", create},
      {"POST", "/networks/prune", prune},
      {"POST", "/networks/{id}/connect", connect},
      {"POST", "/networks/{id}/disconnect", disconnect},
      {"DELETE", "/networks/{id}", remove},
  };
}

}  // namespace nacelle::api
