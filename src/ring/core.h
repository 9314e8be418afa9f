// Core: what is inside a Loop. It alone talks to liburing about the queues; it moves completions
// into the run queue first and lets coroutines run only afterwards, so that nothing here is ever
// re-entered from a coroutine.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <vector>

#include "nacelle/loop.h"

namespace nacelle::ring::detail {

// One request to the kernel. Its address, with a generation in the 16 bits that user-space pointers
// do not use, is the request's user_data, so it may neither move nor go until its last completion.
class Completion : public Waiter {
 public:
  explicit Completion(Core& core) : core_(&core) {}

  bool in_flight() const { return state_ != State::Idle; }

  // Asks the kernel to stop; the last completion still comes.
  void cancel() final;

 protected:
  ~Completion();  // in flight: a bug that would hand the kernel freed memory

  // Fills in everything but user_data. Called once, maybe later than start().
  virtual void prepare(io_uring_sqe* sqe) = 0;
  // One completion. It runs no coroutine; `more` says that others follow.
  virtual void completed(int result, bool more) = 0;

  Core& core() const { return *core_; }

 private:
  friend class Core;
  enum class State : uint8_t { Idle, Queued, InKernel };
  struct InQueue;

  struct Place : Link<InQueue> {
    Completion* owner = nullptr;
  };

  Core* core_;
  Place queued_;         // waits for room in the submission queue
  Place cancel_queued_;  // its cancellation does
  uint64_t tag_ = 0;
  State state_ = State::Idle;
  bool cancel_sent_ = false;
};

class Core {
 public:
  explicit Core(const LoopOptions& options) : options_(options) {}
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  Result<> open();

  // Hands a request over, in the order of the calls.
  void start(Completion& completion);

  // One turn: runs who is ready, submits, and waits only if nobody is. Returns early when the root
  // that leaves its outcome in `until` has ended.
  void turn(const OutcomeBase& until);

  bool supports(unsigned opcode) const { return supported_[opcode % opcodes_max]; }

  RunQueue ready;
  CancelGroup root_group;
  LoopStats stats;
  bool driving = false;

 private:
  friend class Completion;
  friend class Timer;
  static constexpr unsigned opcodes_max = 256;

  void prepare(Completion& completion, io_uring_sqe* sqe);
  void send_cancel(Completion& completion, io_uring_sqe* sqe);
  void cancel(Completion& completion);
  io_uring_sqe* find_sqe();
  void flush_queued();
  void enter(TimePoint now);
  void reap();
  void complete(Completion& completion, int result, unsigned flags);
  void fire_timers();

  void add_timer(Timer& timer);
  void remove_timer(Timer& timer);
  void place_timer(size_t place, Timer& timer);
  void sift_up(size_t place);
  void sift_down(size_t place);

  LoopOptions options_;
  io_uring ring_{};
  bool opened_ = false;
  uint16_t generation_ = 0;
  Link<Completion::InQueue> queued_;
  Link<Completion::InQueue> cancels_queued_;
  std::vector<Timer*> timers_;  // a binary heap, the earliest first
  bool supported_[opcodes_max] = {};
};

}  // namespace nacelle::ring::detail
