// What the files of this floor share: a request with the variables of its path, and the table that
// each of them adds its routes to.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "http/server.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::api {

struct Call {
  engine::Engine& engine;
  http::Exchange& http;
  int version = 51;  // the minor version asked for
  // What stood at `{id}`, `{name}` in the route; `{name...}` takes slashes too.
  std::vector<std::string> variables;

  // As Docker reads them: "", "0", "no", "false", "none" (any case) are false.
  bool flag(std::string_view name) const;
  bool has(std::string_view name) const;
};

using Action = ring::Task<> (*)(Call&);
struct Route {
  std::string_view method, pattern;  // "GET", "/containers/{id}/json"
  Action action;
};

// One per family of endpoints.
std::vector<Route> container_routes();
std::vector<Route> exec_routes();
std::vector<Route> archive_routes();
std::vector<Route> image_routes();
std::vector<Route> volume_routes();
std::vector<Route> network_routes();
std::vector<Route> system_routes();
std::vector<Route> swarm_routes();

// {"message": "..."} with the status of the error's kind.
int status_of(const Error& error);
ring::Task<> reply_error(http::Exchange& http, int status, std::string_view message);
ring::Task<> reply_json(Call& call, int status, std::string_view json);

// The `filters` parameter: {"label":["a=b"],"status":{"running":true}}, in both forms. Invalid for
// a name that is not in `known`: `invalid filter 'x'`.
using Filters = std::map<std::string, std::vector<std::string>>;
Result<Filters> read_filters(std::string_view text, std::initializer_list<std::string_view> known);
bool label_filters_match(const std::vector<std::string>& filters, const engine::Labels& labels);

// `since`/`until` as Docker takes them: seconds[.nanoseconds] since 1970, or RFC 3339. Nanoseconds.
Result<int64_t> read_time(std::string_view text);

}  // namespace nacelle::api
