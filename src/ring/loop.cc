#include "nacelle/loop.h"

#include <utility>

#include "base/check.h"
#include "base/text.h"
#include "ring/core.h"

namespace nacelle::ring {
namespace detail {

CancelGroup::~CancelGroup() {
  CHECK(!children_.linked());
  CHECK(!waiters_.linked());
}

void CancelGroup::attach(CancelGroup& parent) {
  parent_ = &parent;
  parent.children_.append(*this);
  cancelled_ = parent.cancelled_;
}

// Walks the tree below without recursion: its depth is the program's, not ours.
void CancelGroup::cancel() {
  if (cancelled_) return;
  CancelGroup* group = this;
  for (;;) {
    group->cancelled_ = true;
    for (Link<InGroup>* at = group->waiters_.next(); at != &group->waiters_;) {
      Link<InGroup>* following = at->next();
      static_cast<Waiter*>(at)->cancel();
      at = following;
    }
    if (group->children_.linked()) {
      group = static_cast<CancelGroup*>(group->children_.next());
      continue;
    }
    while (group != this && group->next() == &group->parent_->children_) group = group->parent_;
    if (group == this) return;
    group = static_cast<CancelGroup*>(group->next());
  }
}

void Timer::arm(TimePoint when) {
  disarm();
  when_ = when;
  core_->add_timer(*this);
}

void Timer::disarm() {
  if (place_ != not_armed) core_->remove_timer(*this);
}

std::string timed_out_message(std::string_view attempt, Duration limit) {
  const auto count = std::chrono::duration_cast<std::chrono::microseconds>(limit).count();
  std::string time = count % 1000 == 0 ? cat(count / 1000, " ms") : cat(count, " us");
  return cat(attempt, attempt.empty() ? "" : ": ", "timed out after ", time);
}

namespace {

class SleepAwaiter final : public Waiter, public Timer {
 public:
  SleepAwaiter(Core& core, TimePoint until) : Timer(core), until_(until) {}

  bool await_ready() { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    frame_ = &handle.promise();
    if (frame_->group->cancelled()) return cancel();
    frame_->group->add(*this);
    arm(until_);
  }
  void await_resume() {}

  void cancel() override {
    unlink();
    disarm();
    frame_->fail(Error(Kind::Cancelled, "sleep: cancelled"));
  }

 private:
  void fired() override {
    unlink();
    frame_->wake();
  }

  TimePoint until_;
  Frame* frame_ = nullptr;
};

struct Sleep {
  Core& core;
  TimePoint until;
  template <bool looks_at_errors>
  SleepAwaiter awaiter() && {
    return SleepAwaiter(core, until);
  }
};

}  // namespace
}  // namespace detail

Result<std::unique_ptr<Loop>> Loop::open(const LoopOptions& options) {
  auto core = std::make_unique<detail::Core>(options);
  TRY(core->open().context("opening the event loop"));
  return std::unique_ptr<Loop>(new Loop(std::move(core)));
}

Loop::Loop(std::unique_ptr<detail::Core> core) : core_(std::move(core)) {}
Loop::~Loop() = default;

LoopStats Loop::stats() const { return core_->stats; }

void Loop::drive(detail::OutcomeBase& outcome) {
  CHECK(!core_->driving);
  core_->driving = true;
  outcome.done = [](detail::OutcomeBase&) {};  // turn() sees that the child is gone
  detail::start_root(outcome, core_->ready, core_->root_group);
  while (outcome.child != nullptr) core_->turn(outcome);
  core_->driving = false;
}

struct Scope::Entry : detail::Outcome<void> {
  Scope* scope = nullptr;
};

Scope::Scope(Loop& loop, ErrorHandler on_error)
    : core_(loop.core()), group_(core_.root_group), on_error_(std::move(on_error)) {}

Scope::Scope(Scope& parent, ErrorHandler on_error)
    : core_(parent.core_), group_(parent.group_), on_error_(std::move(on_error)) {}

Scope::~Scope() { CHECK(running_ == 0); }

void Scope::start(Task<> task) {
  if (group_.cancelled()) return;
  auto entry = std::make_unique<Entry>();
  entry->scope = this;
  entry->child = std::move(task).release();
  entry->done = [](detail::OutcomeBase& outcome) {
    Entry& ended = static_cast<Entry&>(outcome);
    ended.scope->ended(ended);
  };
  ++running_;
  // ended() deletes it.
  detail::start_root(*entry.release(), core_.ready, group_);
}

void Scope::ended(Entry& entry) {
  const std::unique_ptr<Entry> owned(&entry);
  if (entry.error && entry.error->kind() != Kind::Cancelled) on_error_(*entry.error);
  --running_;
  if (running_ == 0 && joiner_ != nullptr) std::exchange(joiner_, nullptr)->wake();
}

Task<> sleep_for(Loop& loop, Duration duration) {
  co_await detail::Sleep{loop.core(), loop.now() + duration};
}

}  // namespace nacelle::ring
