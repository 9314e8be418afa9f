// The Docker Engine API (swagger 1.51) over an Engine: paths, JSON shapes, and one map from kinds
// of errors to statuses. `/v1.24` to `/v1.51` before a path, or nothing.
#pragma once

#include <string>

#include "engine/engine.h"
#include "http/server.h"
#include "nacelle/task.h"

namespace nacelle::api {

inline constexpr const char* api_version = "1.51";
inline constexpr const char* min_api_version = "1.24";

// On every answer.
http::Headers common_headers();
// The handler of all requests. The Engine must outlive the server.
http::Handler make_handler(engine::Engine& engine);
// GET /metrics and nothing else, for a server that anybody may ask; few at a time.
http::Handler make_metrics_handler(engine::Engine& engine);
http::ServerLimits metrics_limits();

}  // namespace nacelle::api
