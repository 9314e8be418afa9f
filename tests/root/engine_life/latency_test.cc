// What create, start, exec and the rest cost inside one engine, without HTTP. NACELLE_LIFE_ROUNDS
// makes it a measurement; without it this only says that the way can be gone many times.
#include <algorithm>
#include <cstdio>
#include <map>

#include "tests/root/engine_life/life_fixture.h"

namespace nacelle::test {
namespace {

using Times = std::map<std::string, std::vector<double>>;

class Stopwatch {
 public:
  Stopwatch(Times& times, std::string name)
      : times_(times), name_(std::move(name)), begin_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() {
    times_[name_].push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin_)
            .count());
  }

 private:
  Times& times_;
  std::string name_;
  std::chrono::steady_clock::time_point begin_;
};

// One after the other in one coroutine: the loop is entered once.
ring::Task<> rounds(engine::Engine* engine, CreateRequest request, int count, Times* times) {
  engine::Containers& all = *engine->containers;
  for (int round = 0; round < count; ++round) {
    std::string id;
    {
      Stopwatch whole(*times, "create+start+wait+remove");
      {
        Stopwatch watch(*times, "create");
        id = (co_await all.create(request)).id;
      }
      auto waiting = co_await all.wait(id, engine::WaitCondition::NextExit);
      {
        Stopwatch watch(*times, "start");
        (void)co_await all.start(id);
      }
      {
        Stopwatch watch(*times, "wait");
        (void)co_await waiting->outcome();
      }
      {
        Stopwatch watch(*times, "remove");
        co_await all.remove(id, false, true, false);
      }
    }
    co_await ring::sleep_for(engine->loop, 3ms);
  }
}

ring::Task<> exec_rounds(engine::Engine* engine, std::string id, int count, Times* times) {
  engine::Containers& all = *engine->containers;
  for (int round = 0; round < count; ++round) {
    engine::ExecConfig config;
    config.cmd = {"true"};
    {
      Stopwatch watch(*times, "exec");
      const std::string exec = co_await all.exec_create(id, config);
      co_await all.exec_start_detached(exec);
    }
    co_await ring::sleep_for(engine->loop, 3ms);
  }
}

void report(const char* title, Times& times) {
  for (auto& [name, each] : times) {
    std::ranges::sort(each);
    std::printf("%-8s %-26s p50 %8.0f us  p90 %8.0f us  p99 %8.0f us\n", title, name.c_str(),
                each[each.size() / 2], each[each.size() * 9 / 10], each[each.size() * 99 / 100]);
  }
}

TEST_F(EngineLife, many_containers_one_after_the_other) {
  const char* wanted = ::getenv("NACELLE_LIFE_ROUNDS");
  const int count = wanted != nullptr ? parse_number<int>(wanted).value_or(10) : 10;
  for (const char* network : {"none", "bridge"}) {
    CreateRequest wants = request({"true"});
    wants.host.network_mode = network;
    Times times;
    const auto done = run(rounds(engine_.get(), wants, count, &times), 300s);
    ASSERT_TRUE(done) << network << ": " << done.error().message();
    report(network, times);
  }
  const std::string id = started({"sleep", "1000"});
  Times times;
  ASSERT_TRUE(run(exec_rounds(engine_.get(), id, count, &times), 300s));
  report("", times);
}

}  // namespace
}  // namespace nacelle::test
