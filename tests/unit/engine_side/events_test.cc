#include "engine/events.h"

#include "side_fixture.h"

namespace nacelle::test {
namespace {

using engine::Event;
using engine::Events;

class EventsTest : public SideTest {};

TEST_F(EventsTest, TheLast256AreKeptInOrder) {
  for (int at = 0; at < 300; ++at) events_->publish("container", "start", cat(at));
  const std::vector<Event> kept = events_->past(0, 0);
  ASSERT_EQ(kept.size(), 256u);
  EXPECT_EQ(kept.front().actor, "44");
  EXPECT_EQ(kept.back().actor, "299");
  for (size_t at = 1; at < kept.size(); ++at) EXPECT_GT(kept[at].time_ns, kept[at - 1].time_ns);
}

TEST_F(EventsTest, BoundsAreInclusive) {
  for (const char* each : {"a", "b", "c"}) events_->publish("image", "tag", each);
  const std::vector<Event> all = events_->past(0, 0);
  EXPECT_EQ(events_->past(all[1].time_ns, 0).size(), 2u);
  EXPECT_EQ(events_->past(0, all[1].time_ns).size(), 2u);
  EXPECT_EQ(events_->past(all[1].time_ns, all[1].time_ns).size(), 1u);
  EXPECT_TRUE(events_->past(all[2].time_ns + 1, 0).empty());
}

ring::Task<std::string> hear(Events::Listener& listener, int count) {
  std::string heard;
  for (int at = 0; at < count; ++at) {
    const Event event = co_await listener.next();
    heard += event.actor;
  }
  co_return heard;
}

ring::Task<> say(ring::Loop& loop, Events& events) {
  co_await ring::sleep_for(loop, std::chrono::milliseconds(1));
  events.publish("container", "die", "b");
  events.publish("container", "die", "c");
}

ring::Task<std::string> hear_while_said(ring::Loop& loop, Events& events) {
  const auto listener = events.listen();
  events.publish("container", "die", "a");
  ring::Scope scope(loop, [](const Error& error) { ADD_FAILURE() << error.message(); });
  scope.start(say(loop, events));
  std::string heard = co_await hear(*listener, 3);
  co_await scope.join();
  co_return heard;
}

TEST_F(EventsTest, AListenerHearsWhatComesWhileItLives) {
  events_->publish("container", "die", "before");
  const auto heard = run(hear_while_said(*loop_, *events_));
  ASSERT_TRUE(heard) << heard.error().message();
  EXPECT_EQ(*heard, "abc");
}

TEST_F(EventsTest, AListenerThatDoesNotFetchLosesItsPlace) {
  const auto slow = events_->listen();
  for (int at = 0; at < 2000; ++at) events_->publish("container", "die", "x");
  EXPECT_EQ(failure(run(hear(*slow, 1))), "exhausted: events came faster than they were fetched");
}

TEST_F(EventsTest, AWaitThatIsCancelledLeavesNothingBehind) {
  const auto listener = events_->listen();
  const auto result =
      run(ring::with_deadline(*loop_, hear(*listener, 1), std::chrono::milliseconds(5), "hearing"));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind(), Kind::Unavailable);
  events_->publish("container", "die", "later");
  EXPECT_EQ(run(hear(*listener, 1)).value_or(""), "later");
}

TEST_F(EventsTest, AListenerMayOutliveTheEvents) {
  auto listener = events_->listen();
  events_->publish("daemon", "shutdown", "x");
  events_ = nullptr;
  EXPECT_EQ(run(hear(*listener, 1)).value_or(""), "x");
  listener = nullptr;
}

}  // namespace
}  // namespace nacelle::test
