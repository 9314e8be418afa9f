// Task<T>: a lazy coroutine that ends in a T or an Error. It is awaited once and never detached.
// `co_await x` unwraps x or ends this coroutine with x's error: its frame is destroyed (destructors
// run, innermost first), and its awaiter's after it, up to the first `as_result` or the root. To
// look at an error, `co_await as_result(x)`. To make one, `co_await fail(...)`, or
// `co_return fail(...)` where a value is due. Nothing here throws, and nothing here knows io_uring.
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "nacelle/result.h"

namespace nacelle::ring {

template <class T = void>
class Task;

namespace detail {

class CancelGroup;
struct Frame;

[[noreturn]] void broken_task_rule(const char* rule);

// Frames that are to run next. Coroutines never resume each other: they are put here and the loop
// takes them out, so that no chain of awaits, however long, grows the stack. (Symmetric transfer
// promises the same but does not keep it at -O0 or under ASan.)
class RunQueue {
 public:
  void push_front(Frame& frame);
  void push_back(Frame& frame);
  Frame* pop();
  void rotate();  // the first becomes the last
  bool empty() const { return first_ == nullptr; }

 private:
  Frame* first_ = nullptr;
  Frame* last_ = nullptr;
};

// Where a coroutine leaves its outcome. It stands in whoever awaits the coroutine, not in the
// coroutine, so that a frame can be destroyed on error before its awaiter has been told.
struct OutcomeBase {
  OutcomeBase() = default;
  OutcomeBase(const OutcomeBase&) = delete;
  OutcomeBase& operator=(const OutcomeBase&) = delete;
  ~OutcomeBase();

  Frame* child = nullptr;                // owned until it has ended
  void (*done)(OutcomeBase&) = nullptr;  // called when a root has ended
  bool looks_at_errors = false;
  std::optional<Error> error;
};

// What every coroutine of ours is to the loop.
struct Frame {
  enum class State : uint8_t { New, Waiting, Ready, Failed, Finished };

  std::coroutine_handle<> handle;
  Frame* next = nullptr;           // in the run queue
  Frame* parent = nullptr;         // who awaits this one; none for a root
  OutcomeBase* outcome = nullptr;  // stands in `parent` or in the root's owner
  RunQueue* queue = nullptr;
  CancelGroup* group = nullptr;  // inherited from the awaiter
  State state = State::New;

  // The frame's await is over: it goes on from there when its turn comes...
  void wake() {
    state = State::Ready;
    queue->push_back(*this);
  }
  // ...or it is destroyed there, with `why` as its outcome.
  void fail(Error why) {
    outcome->error.emplace(std::move(why));
    state = State::Failed;
    queue->push_back(*this);
  }
};

// Hands `outcome.child`, a new frame, to the run queue.
void start_root(OutcomeBase& outcome, RunQueue& queue, CancelGroup& group);
void start_child(OutcomeBase& outcome, Frame& parent, CancelGroup& group);

// Gives one frame taken from the run queue its turn.
void take_turn(Frame& frame);

template <class T>
struct Outcome : OutcomeBase {
  std::optional<T> value;

  Result<T> take() {
    if (error) return std::unexpected(std::move(*error));
    return std::move(*value);
  }
  T take_value() { return std::move(*value); }
};
template <>
struct Outcome<void> : OutcomeBase {
  Result<> take() {
    if (error) return std::unexpected(std::move(*error));
    return {};
  }
  void take_value() {}
};

struct FinalAwaiter {
  bool await_ready() noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) noexcept {
    Frame& frame = handle.promise();
    frame.state = Frame::State::Finished;
    frame.queue->push_front(frame);
  }
  void await_resume() noexcept {}
};

// An awaited Result or bare error.
template <class T>
struct ResultAwaiter {
  Result<T> result;

  bool await_ready() { return result.has_value(); }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Frame& frame = handle.promise();
    frame.fail(std::move(result).error());
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return *std::move(result);
  }
};

template <class T, bool looks_at_errors>
struct TaskAwaiter {
  Outcome<T> outcome;

  explicit TaskAwaiter(Frame* child) {
    outcome.child = child;
    outcome.looks_at_errors = looks_at_errors;
  }
  bool await_ready() { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> handle) {
    Frame& frame = handle.promise();
    start_child(outcome, frame, *frame.group);
  }
  auto await_resume() {
    if constexpr (looks_at_errors) {
      return outcome.take();
    } else {
      return outcome.take_value();
    }
  }
};

// Something that can be awaited in two ways: unwrapped, or looked at.
template <class A>
concept Awaitable = requires(A&& a) {
  std::move(a).template awaiter<false>();
  std::move(a).template awaiter<true>();
};

template <Awaitable A>
struct AsResult {
  A inner;
};

struct PromiseBase : Frame {
  std::suspend_always initial_suspend() noexcept { return {}; }
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() { broken_task_rule("an exception left a coroutine"); }

  template <class U>
  ResultAwaiter<U> await_transform(Result<U> result) {
    return {std::move(result)};
  }
  ResultAwaiter<void> await_transform(std::unexpected<Error> error) { return {std::move(error)}; }
  template <class A>
    requires Awaitable<std::remove_cvref_t<A>>
  auto await_transform(A&& awaitable) {
    static_assert(!std::is_lvalue_reference_v<A>, "awaited once: co_await std::move(task)");
    return std::move(awaitable).template awaiter<false>();
  }
  template <class A>
  auto await_transform(AsResult<A>&& look) {
    return std::move(look.inner).template awaiter<true>();
  }
};

template <class T>
struct Promise : PromiseBase {
  Task<T> get_return_object();
  void return_value(T value) { slot().value.emplace(std::move(value)); }
  void return_value(std::unexpected<Error> failure) {
    slot().error.emplace(std::move(failure).error());
  }
  template <class R>
    requires std::is_same_v<R, Result<T>>
  void return_value(R result) {
    if (!result) {
      slot().error.emplace(std::move(result).error());
    } else {
      slot().value.emplace(*std::move(result));
    }
  }

 private:
  Outcome<T>& slot() { return static_cast<Outcome<T>&>(*outcome); }
};
template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() {}
};

}  // namespace detail

// Owns a coroutine that has not been started. One that is dropped before it was awaited never runs:
// only its arguments are destroyed.
template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;

  Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  Task& operator=(Task other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~Task() {
    if (frame_ != nullptr) frame_->handle.destroy();
  }

  // For co_await and the loop; the task is empty afterwards.
  template <bool looks_at_errors>
  detail::TaskAwaiter<T, looks_at_errors> awaiter() && {
    return detail::TaskAwaiter<T, looks_at_errors>(std::move(*this).release());
  }
  detail::Frame* release() && {
    if (frame_ == nullptr) detail::broken_task_rule("a task is awaited once");
    return std::exchange(frame_, nullptr);
  }

 private:
  friend promise_type;
  explicit Task(detail::Frame& frame) : frame_(&frame) {}

  detail::Frame* frame_ = nullptr;
};

// Awaits without unwrapping: `Result<T> r = co_await as_result(task)`.
template <detail::Awaitable A>
detail::AsResult<A> as_result(A awaitable) {
  return {std::move(awaitable)};
}

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() {
  handle = std::coroutine_handle<Promise>::from_promise(*this);
  return Task<T>(*this);
}
inline Task<void> Promise<void>::get_return_object() {
  handle = std::coroutine_handle<Promise>::from_promise(*this);
  return Task<void>(*this);
}
}  // namespace detail

}  // namespace nacelle::ring
