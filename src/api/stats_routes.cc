#include <chrono>
#include <string>
#include <utility>

#include "api/container_streams.h"
#include "api/stats_json.h"
#include "nacelle/loop.h"

namespace nacelle::api {
namespace {

using engine::Sample;
using Watcher = engine::Stats::Watcher;

constexpr auto sample_interval = std::chrono::seconds(1);

ring::Task<std::string> next_line(Call& call, Watcher& watcher, const std::string& id,
                                  Sample& before) {
  Sample now = co_await watcher.sample(id);
  const engine::Container* container = co_await call.engine.containers->find(id);
  std::string line = stats_json("/" + container->name, id, now, before);
  line += '\n';
  before = std::move(now);
  co_return line;
}

ring::Task<> send_samples(Call& call, std::string id) {
  Watcher watcher(*call.engine.stats);
  Sample before = co_await watcher.sample(id);
  for (;;) {
    co_await ring::sleep_for(call.engine.loop, watcher.next_tick() - call.engine.loop.now());
    // A container that was removed is the end of the stream.
    const auto line = co_await as_result(next_line(call, watcher, id, before));
    if (!line && line.error().kind() == Kind::NotFound) co_return;
    co_await call.http.write(co_await Result<std::string>(line));
  }
}

ring::Task<> send_one(Call& call, std::string id, bool with_before) {
  Watcher watcher(*call.engine.stats);
  Sample before;
  if (with_before) before = co_await watcher.sample(id);
  // Of a container that does not run there is nothing to wait for.
  if (before.time_ns != 0) co_await ring::sleep_for(call.engine.loop, sample_interval);
  std::string line = co_await next_line(call, watcher, id, before);
  line.pop_back();
  co_await reply_json(call, 200, line);
}

}  // namespace

ring::Task<> container_stats(Call& call) {
  const bool stream = call.flag("stream", true);
  const bool one_shot = call.flag("one-shot");
  if (stream && one_shot) {
    co_await fail(Kind::Invalid, "cannot have stream=true and one-shot=true");
  }
  const engine::Container* container = co_await call.engine.containers->find(call.variables[0]);
  const std::string id = container->id;
  if (!stream) {
    co_await while_client_stays(call, send_one(call, id, !one_shot));
    co_return;
  }
  co_await call.http.begin(200, "application/json");
  co_await while_client_stays(call, send_samples(call, id));
  co_await call.http.end();
}

}  // namespace nacelle::api
