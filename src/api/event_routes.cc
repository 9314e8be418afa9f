#include "api/event_routes.h"

#include <chrono>
#include <memory>
#include <utility>

#include "api/event_filters.h"
#include "base/text.h"
#include "engine/moment.h"

namespace nacelle::api {
namespace {

struct Span {
  int64_t since_ns = 0, until_ns = 0;
};

Result<Span> read_span(const Call& call) {
  Span span;
  const std::string_view since = call.http.query("since"), until = call.http.query("until");
  if (!since.empty()) span.since_ns = TRY(read_time(since));
  if (!until.empty()) span.until_ns = TRY(read_time(until));
  if (span.since_ns != 0 && span.until_ns != 0 && span.since_ns > span.until_ns) {
    return fail(Kind::Invalid,
                cat("`since` time (", span.since_ns / 1'000'000'000,
                    ") cannot be after `until` time (", span.until_ns / 1'000'000'000, ")"));
  }
  return span;
}

ring::Task<> tell(Call* call, engine::Events::Listener* listener, const Filters* filters) {
  for (;;) {
    const engine::Event event = co_await listener->next();
    if (!matches_event(*filters, event)) continue;
    const std::string line = event_line(event);
    co_await call->http.write(line);
  }
}

// Until the client has gone, or for as long as it asked for.
ring::Task<> tell_until(Call* call, engine::Events::Listener* listener, const Filters* filters,
                        int64_t until_ns) {
  if (until_ns == 0) {
    co_await tell(call, listener, filters);
    co_return;
  }
  const auto left = std::chrono::nanoseconds(until_ns - engine::now_ns());
  const Result<> told = co_await as_result(ring::with_deadline(
      call->engine.loop, tell(call, listener, filters), left, "telling events"));
  if (!told && told.error().kind() != Kind::Unavailable) co_await told;
}

}  // namespace

ring::Task<> events(Call& call) {
  const Span span = co_await read_span(call);
  const Filters filters = co_await read_event_filters(call.http.query("filters"));
  // From here on nothing is missed, and nothing comes twice: there is no await in between.
  const std::unique_ptr<engine::Events::Listener> listener = call.engine.events->listen();
  std::string past;
  if (span.since_ns != 0 || span.until_ns != 0) {
    for (const engine::Event& each : call.engine.events->past(span.since_ns, span.until_ns)) {
      if (matches_event(filters, each)) past += event_line(each);
    }
  }
  co_await call.http.begin(200, "application/json");
  if (!past.empty()) co_await call.http.write(past);
  if (span.until_ns == 0 || span.until_ns > engine::now_ns()) {
    co_await while_client_stays(call, tell_until(&call, listener.get(), &filters, span.until_ns));
  }
  co_await call.http.end();
}

}  // namespace nacelle::api
