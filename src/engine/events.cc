#include "engine/events.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/moment.h"
#include "ring/notice.h"

namespace nacelle::engine {
namespace {

constexpr size_t kept_max = 256;
constexpr size_t queue_max = 1024;  // of one listener

class Queue;
using Queues = std::vector<Queue*>;

// Listeners and Events may go in either order: what they share is theirs together.
class Queue final : public Events::Listener {
 public:
  explicit Queue(std::shared_ptr<Queues> all) : all_(std::move(all)) { all_->push_back(this); }
  ~Queue() override { std::erase(*all_, this); }

  void put(const std::shared_ptr<const Event>& event) {
    if (lost_) return;
    if (queue_.size() >= queue_max) {
      queue_.clear();
      lost_ = true;
    } else {
      queue_.push_back(event);
    }
    came_.notify_all();
  }

  ring::Task<Event> next() override {
    while (queue_.empty()) {
      if (lost_) {
        co_return fail(Kind::Exhausted, "events came faster than they were fetched");
      }
      co_await came_.wait();
    }
    const std::shared_ptr<const Event> event = std::move(queue_.front());
    queue_.pop_front();
    co_return *event;
  }

 private:
  std::shared_ptr<Queues> all_;
  std::deque<std::shared_ptr<const Event>> queue_;
  ring::Notice came_;
  bool lost_ = false;
};

}  // namespace

struct Events::State {
  std::deque<std::shared_ptr<const Event>> kept;
  std::shared_ptr<Queues> queues = std::make_shared<Queues>();
  int64_t last_ns = 0;
};

Events::Events(ring::Loop&) : state_(std::make_unique<State>()) {}
Events::~Events() = default;

void Events::publish(std::string type, std::string action, std::string actor,
                     std::map<std::string, std::string> attributes) {
  // No two at the same time, and none before the one before it: `since` must neither repeat nor
  // miss one.
  state_->last_ns = std::max(now_ns(), state_->last_ns + 1);
  Event event;
  event.type = std::move(type);
  event.action = std::move(action);
  event.actor = std::move(actor);
  event.attributes = std::move(attributes);
  event.time_ns = state_->last_ns;
  const auto shared = std::make_shared<const Event>(std::move(event));
  if (state_->kept.size() == kept_max) state_->kept.pop_front();
  state_->kept.push_back(shared);
  for (Queue* queue : *state_->queues) queue->put(shared);
}

std::vector<Event> Events::past(int64_t since_ns, int64_t until_ns) const {
  std::vector<Event> found;
  for (const auto& event : state_->kept) {
    if (since_ns != 0 && event->time_ns < since_ns) continue;
    if (until_ns != 0 && event->time_ns > until_ns) continue;
    found.push_back(*event);
  }
  return found;
}

std::unique_ptr<Events::Listener> Events::listen() {
  return std::make_unique<Queue>(state_->queues);
}

}  // namespace nacelle::engine
