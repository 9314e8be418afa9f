#include <memory>

#include "api/route.h"
#include "nacelle/loop.h"
#include "ring/notice.h"

namespace nacelle::api {
namespace {

struct Race {
  ring::Notice ended;
  bool done = false;
  Result<> outcome = fail(Kind::Cancelled, "the client has gone");
};

ring::Task<> run(ring::Task<> work, Race& race) {
  race.outcome = co_await as_result(std::move(work));
  race.done = true;
  race.ended.notify_all();
}

ring::Task<> watch(http::Exchange& http, Race& race) {
  const Result<> gone = co_await as_result(http.client_gone());
  // However it ended, there is nobody to wait for any more.
  (void)gone;
  race.done = true;
  race.ended.notify_all();
}

}  // namespace

ring::Task<> while_client_stays(Call& call, ring::Task<> work) {
  Race race;
  ring::Scope both(call.engine.loop, [](const Error&) {});
  both.start(run(std::move(work), race));
  both.start(watch(call.http, race));
  while (!race.done) {
    const Result<> woken = co_await as_result(race.ended.wait());
    if (!woken) break;  // the request itself is cancelled
  }
  both.cancel();
  co_await both.join();
  co_await std::move(race.outcome);
}

}  // namespace nacelle::api
