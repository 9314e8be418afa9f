// Loop: the one event loop of a single-threaded process, on io_uring. It runs Tasks, owns time and
// cancellation, and never destroys a frame while the kernel holds one of its buffers.
// It refuses threads (one loop, one thread, for life) and detached work (background work has a
// Scope). Operations on files and sockets are in ring/ops.h; what a host of containers waits for is
// at the end of this page.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::ring {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::steady_clock::time_point;  // CLOCK_MONOTONIC

class Loop;
class Scope;

namespace detail {

class Core;

// A place in a doubly linked list that its owner keeps: no allocation, constant-time removal.
template <class Tag>
class Link {
 public:
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() { unlink(); }

  bool linked() const { return next_ != this; }
  Link* next() const { return next_; }
  void unlink() {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    previous_ = next_ = this;
  }
  // When `this` is the list's head: `other` becomes the last.
  void append(Link& other) {
    other.previous_ = previous_;
    other.next_ = this;
    previous_->next_ = &other;
    previous_ = &other;
  }

 private:
  Link* previous_ = this;
  Link* next_ = this;
};

struct InGroup;
struct InParent;

// Something a frame waits for that can be asked to stop. cancel() runs no coroutine: it asks the
// kernel, or puts the frame into the run queue.
class Waiter : public Link<InGroup> {
 public:
  virtual void cancel() = 0;

 protected:
  ~Waiter() = default;
};

// A tree of what is cancelled together: scopes and deadlines. Cancelled is for ever, and every
// operation begun in a cancelled group fails at once.
class CancelGroup : public Link<InParent> {
 public:
  CancelGroup() = default;
  explicit CancelGroup(CancelGroup& parent) { attach(parent); }
  ~CancelGroup();

  void attach(CancelGroup& parent);
  void cancel();
  bool cancelled() const { return cancelled_; }
  void add(Waiter& waiter) { waiters_.append(waiter); }

 private:
  CancelGroup* parent_ = nullptr;
  Link<InParent> children_;
  Link<InGroup> waiters_;
  bool cancelled_ = false;
};

// A point in time at which `fired` is called. Timers are a heap in user space: a deadline that is
// not reached, as nearly all are not, costs no system call.
class Timer {
 public:
  explicit Timer(Core& core) : core_(&core) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(TimePoint when);
  void disarm();

 protected:
  ~Timer() { disarm(); }
  virtual void fired() = 0;

 private:
  friend class Core;
  static constexpr size_t not_armed = ~size_t{0};
  Core* core_;
  TimePoint when_;
  size_t place_ = not_armed;
};

// A group that is cancelled when its time is up.
class DeadlineGroup : public CancelGroup, public Timer {
 public:
  DeadlineGroup(Core& core, bool& expired) : Timer(core), expired_(expired) {}

 private:
  void fired() override {
    expired_ = true;
    cancel();
  }
  bool& expired_;
};

template <class T>
struct LimitedAwaiter {
  DeadlineGroup group;
  TimePoint deadline;
  Outcome<T> outcome;

  LimitedAwaiter(Core& core, Frame* child, TimePoint deadline_in, bool& expired)
      : group(core, expired), deadline(deadline_in) {
    outcome.child = child;
    outcome.looks_at_errors = true;
  }
  bool await_ready() { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Frame& frame = handle.promise();
    group.attach(*frame.group);
    group.arm(deadline);
    start_child(outcome, frame, group);
  }
  Result<T> await_resume() { return outcome.take(); }
};

template <class T>
struct Limited {
  Core& core;
  Task<T> task;
  TimePoint deadline;
  bool& expired;

  template <bool looks_at_errors>
  LimitedAwaiter<T> awaiter() && {
    return LimitedAwaiter<T>(core, std::move(task).release(), deadline, expired);
  }
};

std::string timed_out_message(std::string_view attempt, Duration limit);

}  // namespace detail

struct LoopOptions {
  unsigned submissions = 256;   // a burst above this costs one more system call, nothing else
  unsigned completions = 1024;  // above this the kernel keeps them in a list of its own
  unsigned workers_max = 4;     // kernel threads for what cannot be done without blocking
};

struct LoopStats {
  uint64_t turns = 0;
  uint64_t completions = 0;
  uint64_t overflows = 0;  // turns that found completions beyond the queue's size
  uint64_t stalls = 0;     // turns in which our own code ran longer than `stall_limit`
  Duration longest_turn{};
  uint64_t in_flight = 0;  // operations the kernel holds now
};

inline constexpr Duration stall_limit = std::chrono::milliseconds(5);

class Loop {
 public:
  // Fails with a message that says what is switched off and what to do about it.
  static Result<std::unique_ptr<Loop>> open(const LoopOptions& options = {});
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Drives everything on this loop until `task` has ended. Not from inside a coroutine.
  template <class T>
  Result<T> run(Task<T> task) {
    detail::Outcome<T> outcome;
    outcome.child = std::move(task).release();
    outcome.looks_at_errors = true;
    drive(outcome);
    return outcome.take();
  }

  TimePoint now() const { return std::chrono::steady_clock::now(); }
  LoopStats stats() const;

  detail::Core& core() { return *core_; }  // for ring/ops.h

 private:
  explicit Loop(std::unique_ptr<detail::Core> core);
  void drive(detail::OutcomeBase& outcome);

  std::unique_ptr<detail::Core> core_;
};

// Background tasks that live no longer than the object that owns the scope. Before that object
// goes, it cancels and joins. Each failed task is given to the handler once; Cancelled is no
// failure.
class Scope {
 public:
  using ErrorHandler = std::function<void(const Error&)>;

  Scope(Loop& loop, ErrorHandler on_error);
  Scope(Scope& parent, ErrorHandler on_error);  // cancelled with its parent, joined on its own
  ~Scope();                                     // a bug unless every task has ended
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // The task begins at the loop's next turn. In a cancelled scope it never does.
  void start(Task<> task);
  // Asks. What the kernel still holds ends first; join() waits for that.
  void cancel() { group_.cancel(); }
  size_t running() const { return running_; }

  struct Join;
  // Waits until no task is running. Cancellation does not cut it short.
  Join join();

 private:
  struct Entry;
  friend struct Entry;

  void ended(Entry& entry);

  detail::Core& core_;
  detail::CancelGroup group_;
  ErrorHandler on_error_;
  size_t running_ = 0;
  detail::Frame* joiner_ = nullptr;
};

struct Scope::Join {
  Scope& scope;

  struct Awaiter {
    Scope& scope;
    bool await_ready() const { return scope.running_ == 0; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> handle) {
      if (scope.joiner_ != nullptr) detail::broken_task_rule("a scope is joined by one at a time");
      scope.joiner_ = &handle.promise();
    }
    void await_resume() {}
  };
  template <bool looks_at_errors>
  Awaiter awaiter() && {
    return {scope};
  }
};

inline Scope::Join Scope::join() { return {*this}; }

// The task's outcome, unless `limit` passes first: then it is cancelled, waited for, and the
// outcome is Unavailable, "ATTEMPT: timed out after 250 ms". A task that makes it after all,
// because its last operation was done when the cancellation came, keeps its value: bytes read are
// data.
template <class T>
Task<T> with_deadline(Loop& loop, Task<T> task, Duration limit, std::string attempt = {}) {
  bool expired = false;
  Result<T> result = co_await as_result(
      detail::Limited<T>{loop.core(), std::move(task), loop.now() + limit, expired});
  if (expired && !result && result.error().kind() == Kind::Cancelled) {
    co_await fail(Kind::Unavailable, detail::timed_out_message(attempt, limit));
  }
  if constexpr (std::is_void_v<T>) {
    co_await std::move(result);
  } else {
    co_return std::move(result);
  }
}

Task<> sleep_for(Loop& loop, Duration duration);

// The descriptor has something to read, or its end has come: read() will tell.
Task<> readable(Loop& loop, const Fd& file);

// What is there, up to into.size() bytes; 0 is the end. `into` belongs to the kernel meanwhile.
Task<size_t> read_some(Loop& loop, const Fd& file, std::span<char> into);
Task<> write_all(Loop& loop, const Fd& file, std::string_view bytes);

// Reaps a child. The value is a wait status, for WIFEXITED and its kin.
Task<int> wait_process(Loop& loop, const Fd& pidfd);

}  // namespace nacelle::ring
