// A Notice is what coroutines wait for that other coroutines of the same loop bring about: no
// descriptor, no system call. It remembers nothing: who waits looks at the state first, and again
// when it was woken:
//   while (queue.empty()) co_await notice.wait();
#pragma once

#include <cerrno>
#include <coroutine>

#include "nacelle/loop.h"
#include "nacelle/task.h"

namespace nacelle::ring {

class Notice {
 public:
  Notice() = default;
  Notice(const Notice&) = delete;
  Notice& operator=(const Notice&) = delete;
  // Nobody may be waiting any more.
  ~Notice() {
    if (first_.linked()) detail::broken_task_rule("a notice outlives those who wait for it");
  }

  // Those who wait now go on when their turn comes, in the order in which they came.
  void notify_all() {
    // One who comes back to wait again is behind these.
    size_t count = 0;
    for (auto* each = first_.next(); each != &first_; each = each->next()) ++count;
    while (count-- > 0) notify_one();
  }
  void notify_one() {
    if (first_.linked()) static_cast<Place*>(first_.next())->wake();
  }
  bool has_waiters() const { return first_.linked(); }

  struct Wait;
  // A cancelled wait ends as Cancelled.
  Wait wait();

 private:
  struct InNotice;
  class Place : public detail::Link<InNotice>, public detail::Waiter {
   public:
    explicit Place(Notice& notice) : notice_(notice) {}
    bool await_ready() { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> handle) {
      frame_ = &handle.promise();
      if (frame_->group->cancelled()) return cancel();
      notice_.first_.append(*this);
      frame_->group->add(*this);
    }
    void wake() {
      leave();
      frame_->wake();
    }
    void cancel() override {
      leave();
      cancelled();
    }

   protected:
    ~Place() = default;
    virtual void cancelled() = 0;
    detail::Frame* frame_ = nullptr;

   private:
    void leave() {
      detail::Link<InNotice>::unlink();
      detail::Link<detail::InGroup>::unlink();
    }
    Notice& notice_;
  };

  detail::Link<InNotice> first_;
};

struct Notice::Wait {
  Notice& notice;

  template <bool looks_at_errors>
  class Awaiter final : public Place {
   public:
    using Place::Place;
    auto await_resume() {
      if constexpr (looks_at_errors) {
        return was_cancelled_ ? Result<>(fail_errno(ECANCELED, "waiting")) : Result<>();
      }
    }

   private:
    void cancelled() override {
      if constexpr (looks_at_errors) {
        was_cancelled_ = true;
        this->frame_->wake();
      } else {
        this->frame_->fail(Error::from_errno(ECANCELED, "waiting"));
      }
    }
    bool was_cancelled_ = false;
  };
  template <bool looks_at_errors>
  Awaiter<looks_at_errors> awaiter() && {
    return Awaiter<looks_at_errors>(notice);
  }
};

inline Notice::Wait Notice::wait() { return {*this}; }

}  // namespace nacelle::ring
