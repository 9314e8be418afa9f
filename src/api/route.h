// What the files of this floor share: a request with the variables of its path, the table that
// each of them adds its routes to, and how parameters, filters, times and errors read and look.
#pragma once

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/json.h"
#include "engine/engine.h"
#include "http/server.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::api {

class BuildControl;

struct Call {
  engine::Engine& engine;
  BuildControl& builds;
  http::Exchange& http;
  int version = 51;  // the minor version asked for
  // What stood at `{id}`, `{name}` in the route; `{name...}` takes slashes too.
  std::vector<std::string> variables;

  // As Docker reads them: "", "0", "no", "false", "none" (any case) are false.
  bool flag(std::string_view name) const;
  bool flag(std::string_view name, bool when_absent) const;
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
std::vector<Route> policy_routes();
std::vector<Route> system_routes();
std::vector<Route> swarm_routes();
std::vector<Route> build_routes();
std::vector<Route> metrics_routes();

// All of them, ready to be asked.
class Table {
 public:
  explicit Table(const std::vector<Route>& routes);
  // Nothing for a page that is not there, whichever half of it is wrong. A variable may begin with
  // a slash ("/containers//web/json" names "/web").
  Action find(std::string_view method, std::string_view path,
              std::vector<std::string>& variables) const;

 private:
  struct Entry {
    std::string_view method;
    std::vector<std::string_view> parts;
    Action action;
  };
  // By the first segment; those with fewer variables first.
  std::map<std::string_view, std::vector<Entry>> entries_;
};

// Takes "/v1.43" off `path`. `too_old` is answered in plain text, as clients of that age expect.
struct Version {
  int minor = 51;
  bool too_old = false;
  std::string complaint;  // empty: a version we speak
};
Version take_version(std::string_view& path);

// `text` in double quotes, as Go's %q, cut when it is long: how errors name what was sent.
std::string quoted(std::string_view text);

// {"message": "..."} with the status of the error's kind.
int status_of(const Error& error);
ring::Task<> reply_error(http::Exchange& http, int status, std::string_view message);
ring::Task<> reply_json(Call& call, int status, std::string_view json);

// Runs `work` until it ends or the client has gone, which cancels it: for answers that may never
// end. Its outcome, or Cancelled.
ring::Task<> while_client_stays(Call& call, ring::Task<> work);

// The body of a request that must be JSON; "" where there is none and `optional`. Errors as
// Docker's, except for what the text itself gets wrong: parse_body.
inline constexpr size_t json_body_bytes_max = 4u << 20;
ring::Task<std::string> read_json_body(Call& call, bool optional = false);
// `text` outlives the document. Errors begin with `invalid JSON: `.
Result<codec::json::Document> parse_body(std::string_view text);

// The `filters` parameter: {"label":["a=b"],"status":{"running":true}}, in both forms. Invalid for
// a name that is not in `known`: `invalid filter 'x'`.
using Filters = std::map<std::string, std::vector<std::string>>;
Result<Filters> read_filters(std::string_view text, std::initializer_list<std::string_view> known);
bool label_filters_match(const std::vector<std::string>& filters, const engine::Labels& labels);
// A filter that is a yes or a no ("dangling"): Invalid `invalid filter 'dangling=[x]'`.
Result<bool> bool_filter(const Filters& filters, const std::string& name, bool when_absent);

// `since`/`until` as Docker takes them: seconds[.nanoseconds] since 1970, RFC 3339 (whole, or a
// beginning of it, then UTC), or a duration before now ("1h30m"). Nanoseconds.
Result<int64_t> read_time(std::string_view text);
// RFC 3339 alone; nothing for anything else.
std::optional<int64_t> parse_rfc3339(std::string_view text);

}  // namespace nacelle::api
