#include "ring/notice.h"

#include "tests/unit/ring/loop_fixture.h"

namespace nacelle::ring {
namespace {

class NoticeRules : public LoopTest {};

void unexpected(const Error& error) { ADD_FAILURE() << error.message(); }

Task<> wait_and_note(Notice& notice, int number, std::vector<int>& woken) {
  co_await notice.wait();
  woken.push_back(number);
}
Task<> wait_and_look(Notice& notice, Result<>& outcome) {
  outcome = co_await as_result(notice.wait());
}

Task<> wake_in_turn(Loop& loop, std::vector<int>& woken) {
  Notice notice;
  Scope scope(loop, unexpected);
  for (int i = 0; i < 4; ++i) scope.start(wait_and_note(notice, i, woken));
  co_await sleep_for(loop, 1ms);
  EXPECT_TRUE(woken.empty());
  notice.notify_one();
  co_await sleep_for(loop, 1ms);
  EXPECT_EQ(woken, (std::vector{0}));
  notice.notify_all();
  co_await scope.join();
  EXPECT_FALSE(notice.has_waiters());
}
TEST_F(NoticeRules, waiters_go_on_in_the_order_in_which_they_came) {
  std::vector<int> woken;
  ASSERT_TRUE(loop().run(wake_in_turn(loop(), woken)));
  EXPECT_EQ(woken, (std::vector{0, 1, 2, 3}));
}

Task<> nobody_waits(Loop& loop, bool& woken) {
  Notice notice;
  notice.notify_all();
  Result<> late = co_await as_result(
      with_deadline(loop, [](Notice& n) -> Task<> { co_await n.wait(); }(notice), 5ms));
  woken = late.has_value();
}
TEST_F(NoticeRules, what_was_told_before_the_wait_is_not_heard) {
  bool woken = true;
  ASSERT_TRUE(loop().run(nobody_waits(loop(), woken)));
  EXPECT_FALSE(woken);
}

Task<> cancelled_waiters(Loop& loop, Result<>& looked, std::vector<int>& woken) {
  Notice notice;
  Scope scope(loop, unexpected);
  scope.start(wait_and_note(notice, 1, woken));
  scope.start(wait_and_look(notice, looked));
  co_await sleep_for(loop, 1ms);
  scope.cancel();
  co_await scope.join();
  EXPECT_FALSE(notice.has_waiters());
  notice.notify_all();
}
TEST_F(NoticeRules, a_cancelled_wait_leaves_the_row) {
  Result<> looked;
  std::vector<int> woken;
  ASSERT_TRUE(loop().run(cancelled_waiters(loop(), looked, woken)));
  ASSERT_FALSE(looked);
  EXPECT_EQ(looked.error().kind(), Kind::Cancelled);
  EXPECT_TRUE(woken.empty());
}

}  // namespace
}  // namespace nacelle::ring
