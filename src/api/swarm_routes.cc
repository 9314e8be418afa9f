// What a daemon outside a swarm says of swarms, and one without plugins of plugins.
#include "api/route.h"
#include "base/text.h"

namespace nacelle::api {
namespace {

constexpr const char* not_a_manager =
    "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to "
    "connect this node to swarm and try again.";

ring::Task<> no_swarm(Call& call) { co_await reply_error(call.http, 503, not_a_manager); }

ring::Task<> no_new_swarm(Call& call) {
  co_await reply_error(call.http, 501, "Nacelle takes part in no swarm");
}

ring::Task<> leave_swarm(Call& call) {
  co_await reply_error(call.http, 503, "This node is not part of a swarm");
}

ring::Task<> list_plugins(Call& call) { co_await reply_json(call, 200, "[]"); }

ring::Task<> no_such_plugin(Call& call) {
  co_await reply_error(call.http, 404, cat("plugin \"", call.variables[0], "\" not found"));
}

ring::Task<> no_plugins(Call& call) {
  co_await reply_error(call.http, 501, "plugins are not supported");
}

}  // namespace

std::vector<Route> swarm_routes() {
  return {
      {"GET", "/swarm", no_swarm},
      {"POST", "/swarm/init", no_new_swarm},
      {"POST", "/swarm/join", no_new_swarm},
      {"POST", "/swarm/leave", leave_swarm},
      {"POST", "/swarm/update", no_swarm},
      {"GET", "/swarm/unlockkey", no_swarm},
      {"POST", "/swarm/unlock", no_swarm},
      {"GET", "/services", no_swarm},
      {"POST", "/services/create", no_swarm},
      {"GET", "/services/{id}", no_swarm},
      {"DELETE", "/services/{id}", no_swarm},
      {"POST", "/services/{id}/update", no_swarm},
      {"GET", "/services/{id}/logs", no_swarm},
      {"GET", "/nodes", no_swarm},
      {"GET", "/nodes/{id}", no_swarm},
      {"DELETE", "/nodes/{id}", no_swarm},
      {"POST", "/nodes/{id}/update", no_swarm},
      {"GET", "/tasks", no_swarm},
      {"GET", "/tasks/{id}", no_swarm},
      {"GET", "/tasks/{id}/logs", no_swarm},
      {"GET", "/secrets", no_swarm},
      {"POST", "/secrets/create", no_swarm},
      {"GET", "/secrets/{id}", no_swarm},
      {"DELETE", "/secrets/{id}", no_swarm},
      {"POST", "/secrets/{id}/update", no_swarm},
      {"GET", "/configs", no_swarm},
      {"POST", "/configs/create", no_swarm},
      {"GET", "/configs/{id}", no_swarm},
      {"DELETE", "/configs/{id}", no_swarm},
      {"POST", "/configs/{id}/update", no_swarm},
      {"GET", "/plugins", list_plugins},
      {"GET", "/plugins/privileges", no_plugins},
      {"POST", "/plugins/pull", no_plugins},
      {"POST", "/plugins/create", no_plugins},
      {"GET", "/plugins/{name...}/json", no_such_plugin},
      {"POST", "/plugins/{name...}/enable", no_such_plugin},
      {"POST", "/plugins/{name...}/disable", no_such_plugin},
      {"POST", "/plugins/{name...}/push", no_such_plugin},
      {"POST", "/plugins/{name...}/upgrade", no_such_plugin},
      {"POST", "/plugins/{name...}/set", no_such_plugin},
      {"DELETE", "/plugins/{name...}", no_such_plugin},
  };
}

}  // namespace nacelle::api
