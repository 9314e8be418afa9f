#include "api/api.h"

#include <memory>
#include <utility>
#include <vector>

#include "api/build_control.h"
#include "api/route.h"

namespace nacelle::api {
namespace {

std::vector<Route> all_routes() {
  std::vector<Route> all;
  for (const auto family :
       {container_routes, exec_routes, archive_routes, image_routes, volume_routes, network_routes,
        policy_routes, system_routes, swarm_routes, build_routes, metrics_routes}) {
    for (Route& route : family()) all.push_back(route);
  }
  return all;
}

ring::Task<> serve(const Table& table, engine::Engine& engine, BuildControl& builds,
                   http::Exchange& http) {
  const http::RequestHead& head = http.request();
  Call call{engine, builds, http, 51, {}};
  std::string_view path = head.path;
  const Version version = take_version(path);
  const Action action = table.find(head.method, path, call.variables);
  if (action == nullptr) {
    // As Docker, which answers this to whatever method and path.
    if (head.method == "OPTIONS") {
      co_await http.reply(200, "", "");
    } else {
      co_await reply_error(http, 404, "page not found");
    }
    co_return;
  }
  if (version.too_old) {
    co_await http.reply(400, "text/plain; charset=utf-8", version.complaint + "\n");
    co_return;
  }
  if (!version.complaint.empty()) {
    co_await reply_error(http, 400, version.complaint);
    co_return;
  }
  call.version = version.minor;
  Result<> done = co_await as_result(action(call));
  if (done) co_return;
  // A stream that has begun cannot say what went wrong: it is cut.
  if (http.begun() || done.error().kind() == Kind::Cancelled) co_await std::move(done);
  co_await reply_error(http, status_of(done.error()), done.error().message());
}

}  // namespace

http::Headers common_headers() {
  return {{"Api-Version", api_version},
          {"Docker-Experimental", "false"},
          {"Ostype", "linux"},
          {"Server", "Nacelle (linux)"}};
}

http::Handler make_handler(engine::Engine& engine) {
  const auto table = std::make_shared<const Table>(all_routes());
  const auto builds = std::make_shared<BuildControl>(engine);
  return [table, builds, &engine](http::Exchange& exchange) {
    return serve(*table, engine, *builds, exchange);
  };
}

}  // namespace nacelle::api
