// Goal: while a call waits, the loop does not. Method: calls that sleep, beside what the loop does.
#include "ring/blocking.h"

#include <unistd.h>

#include <atomic>
#include <memory>

#include "ring/ops.h"
#include "tests/unit/ring/loop_fixture.h"

namespace nacelle::ring {
namespace {

class Blocking : public LoopTest {};

Result<> wait_a_moment() {
  ::usleep(100'000);
  return {};
}

Task<> mark_end(Task<> task, bool* ended) {
  (void)co_await as_result(std::move(task));
  *ended = true;
}

Task<int> turns_beside(Loop* loop) {
  bool ended = false;
  Scope scope(*loop, [](const Error&) {});
  scope.start(mark_end(run_blocking(*loop, wait_a_moment), &ended));
  int turns = 0;
  while (!ended) {
    co_await sleep_for(*loop, 1ms);
    ++turns;
  }
  co_await scope.join();
  co_return turns;
}

TEST_F(Blocking, the_loop_goes_on_beside_it) {
  const auto turns = loop().run(turns_beside(&loop()));
  ASSERT_TRUE(turns) << turns.error().message();
  EXPECT_GT(*turns, 3);
}

// How many have run at once.
struct Crowd {
  std::atomic<int> now = 0, most = 0, done = 0;
};

Task<> many(Loop* loop, std::shared_ptr<Crowd> crowd, int count) {
  Scope scope(*loop, [](const Error&) {});
  for (int i = 0; i < count; ++i) {
    scope.start(run_blocking(*loop, [crowd]() -> Result<> {
      const int now = ++crowd->now;
      int most = crowd->most;
      while (most < now && !crowd->most.compare_exchange_weak(most, now)) {
      }
      ::usleep(2'000);
      --crowd->now;
      ++crowd->done;
      return {};
    }));
  }
  co_await scope.join();
}

TEST_F(Blocking, a_crowd_comes_in_turns_and_all_of_it_is_served) {
  const auto crowd = std::make_shared<Crowd>();
  ASSERT_TRUE(loop().run(many(&loop(), crowd, 500)));
  EXPECT_EQ(crowd->done, 500);
  EXPECT_GT(crowd->most, 1);
  EXPECT_LE(crowd->most, 64);
}

TEST_F(Blocking, a_failure_is_the_callers) {
  const auto failed =
      loop().run(run_blocking(loop(), [] { return Result<>(fail_errno(ENOSPC, "trying")); }));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().error_number(), ENOSPC);
}

TEST_F(Blocking, what_it_owns_is_gone_when_it_has_ended) {
  auto owned = std::make_shared<int>(1);
  const std::weak_ptr<int> seen = owned;
  auto call = [owned = std::move(owned)]() -> Result<> { return {}; };
  ASSERT_TRUE(loop().run(run_blocking(loop(), std::move(call))));
  EXPECT_TRUE(seen.expired());
}

TEST_F(Blocking, who_is_called_off_does_not_wait_for_it) {
  // Longer than the test may take; the thread ends with the process.
  const auto forever = []() -> Result<> {
    ::sleep(3600);
    return {};
  };
  const auto late = loop().run(with_deadline(loop(), run_blocking(loop(), forever), 20ms));
  EXPECT_FALSE(late);
}

}  // namespace
}  // namespace nacelle::ring
