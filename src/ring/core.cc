#include "ring/core.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"
#include "base/text.h"
#include "ring/probe.h"

namespace nacelle::ring::detail {
namespace {

// Coroutines that get their turn before the kernel is asked again: enough that a system call per
// turn does not count, few enough that a busy pair of coroutines does not starve the sockets.
constexpr int run_budget = 1024;

constexpr int pointer_bits = 48;
constexpr uint64_t no_reply_wanted =
    0;  // user_data of cancellations: their outcome is the victim's

[[noreturn]] void give_up(const char* what, int error_number) {
  check_failed("io_uring", error_number, cat(what, ": ", ::strerror(error_number)).c_str());
}

}  // namespace

Completion::~Completion() { CHECK(!in_flight()); }

void Completion::cancel() { core_->cancel(*this); }

Core::~Core() {
  CHECK(stats.in_flight == 0);
  CHECK(!queued_.linked());
  if (opened_) io_uring_queue_exit(&ring_);
}

Result<> Core::open() {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER  // 6.0: one thread submits; the next flag needs it
                 |
                 IORING_SETUP_DEFER_TASKRUN  // 6.1: completions run when we ask, not as interrupts
                 | IORING_SETUP_SUBMIT_ALL   // 5.18: one bad request does not hold up its followers
                 | IORING_SETUP_CQSIZE       // ours is larger than twice the submissions
                 | IORING_SETUP_CLAMP;       // too large is made to fit
  // No SQPOLL: its thread would spin on a processor that containers could use, and would act with
  // the credentials the ring was made with.
  params.cq_entries = options_.completions;
  const int status = io_uring_queue_init_params(options_.submissions, &ring_, &params);
  if (status < 0) {
    return std::unexpected(explain_setup_failure(-status, read_disabled_setting()));
  }
  opened_ = true;
  if ((params.features & IORING_FEAT_NODROP) == 0 || (params.features & IORING_FEAT_EXT_ARG) == 0) {
    return fail(Kind::Unsupported,
                "io_uring lacks NODROP or EXT_ARG; Linux 6.1 or newer is needed");
  }
  // A child shares MAP_SHARED memory: it could move our queues' tails.
  if (const int rc = io_uring_ring_dontfork(&ring_); rc < 0) {
    return fail_errno(-rc, "keeping the ring's memory from children");
  }
  // Worker threads serve what must block (paths, file writes); unbounded ones would let one slow
  // disk make hundreds, and each is charged to us.
  unsigned workers[2] = {options_.workers_max, options_.workers_max};
  if (const int rc = io_uring_register_iowq_max_workers(&ring_, workers); rc < 0) {
    return fail_errno(-rc, "limiting io_uring's worker threads");
  }
  // Spares each system call a descriptor lookup. Without it everything works, so a failure is fine.
  (void)io_uring_register_ring_fd(&ring_);

  io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
  if (probe == nullptr) return fail(Kind::Exhausted, "asking which io_uring operations there are");
  for (unsigned i = 0; i < probe->ops_len; ++i) {
    supported_[probe->ops[i].op] = (probe->ops[i].flags & IO_URING_OP_SUPPORTED) != 0;
  }
  io_uring_free_probe(probe);
  return check_operations(supported_);
}

void Core::start(Completion& completion) {
  DCHECK(!completion.in_flight());
  completion.cancel_sent_ = false;
  // Behind those that wait for room already: the order of the calls is kept.
  io_uring_sqe* sqe = queued_.linked() ? nullptr : find_sqe();
  if (sqe != nullptr) {
    prepare(completion, sqe);
    return;
  }
  completion.queued_.owner = &completion;
  completion.state_ = Completion::State::Queued;
  queued_.append(completion.queued_);
}

void Core::prepare(Completion& completion, io_uring_sqe* sqe) {
  const auto address = reinterpret_cast<uintptr_t>(&completion);
  DCHECK(address >> pointer_bits == 0);
  // The generation keeps a cancellation, should it ever come late, from a newcomer at this address.
  completion.tag_ = uint64_t{++generation_} << pointer_bits | address;
  completion.state_ = Completion::State::InKernel;
  completion.prepare(sqe);
  io_uring_sqe_set_data64(sqe, completion.tag_);
  ++stats.in_flight;
}

void Core::cancel(Completion& completion) {
  if (completion.state_ == Completion::State::Queued) {
    completion.queued_.unlink();
    completion.state_ = Completion::State::Idle;
    completion.unlink();
    completion.completed(-ECANCELED, false);
    return;
  }
  if (completion.state_ != Completion::State::InKernel || completion.cancel_sent_) return;
  completion.cancel_sent_ = true;
  if (io_uring_sqe* sqe = find_sqe()) {
    send_cancel(completion, sqe);
    return;
  }
  completion.cancel_queued_.owner = &completion;
  cancels_queued_.append(completion.cancel_queued_);
}

void Core::send_cancel(Completion& completion, io_uring_sqe* sqe) {
  io_uring_prep_cancel64(sqe, completion.tag_, 0);
  io_uring_sqe_set_data64(sqe, no_reply_wanted);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;  // 5.17: nobody waits for it
}

io_uring_sqe* Core::find_sqe() {
  if (io_uring_sqe* sqe = io_uring_get_sqe(&ring_)) return sqe;
  // Full. EBUSY and EAGAIN mean that completions must be taken out first: the request is queued.
  if (io_uring_submit(&ring_) < 0) return nullptr;
  return io_uring_get_sqe(&ring_);
}

void Core::flush_queued() {
  for (Link<Completion::InQueue>* list : {&cancels_queued_, &queued_}) {
    while (list->linked()) {
      io_uring_sqe* sqe = find_sqe();
      if (sqe == nullptr) return;
      auto* place = static_cast<Completion::Place*>(list->next());
      place->unlink();
      if (list == &queued_) {
        prepare(*place->owner, sqe);
      } else {
        send_cancel(*place->owner, sqe);
      }
    }
  }
}

void Core::turn(const OutcomeBase& until) {
  const TimePoint began = std::chrono::steady_clock::now();
  int turns_left = run_budget;
  while (turns_left > 0 && until.child != nullptr) {
    Frame* frame = ready.pop();
    if (frame == nullptr) break;
    take_turn(*frame);
    --turns_left;
  }
  // Calls and returns go to the front, so a coroutine that never waits would stay there for ever.
  if (turns_left == 0) ready.rotate();
  const TimePoint ended = std::chrono::steady_clock::now();
  ++stats.turns;
  stats.longest_turn = std::max<Duration>(stats.longest_turn, ended - began);
  if (ended - began > stall_limit) ++stats.stalls;
  if (until.child == nullptr) return;
  enter(ended);
  reap();
  fire_timers();
}

void Core::enter(TimePoint now) {
  flush_queued();
  const bool wait = ready.empty() && !queued_.linked() && !cancels_queued_.linked();
  int status = 0;
  if (!wait || (!timers_.empty() && timers_.front()->when_ <= now)) {
    status = io_uring_submit_and_get_events(&ring_);
  } else if (!timers_.empty()) {
    const Duration left = timers_.front()->when_ - now;
    __kernel_timespec limit{.tv_sec = left.count() / 1'000'000'000,
                            .tv_nsec = left.count() % 1'000'000'000};
    io_uring_cqe* unused = nullptr;
    status = io_uring_submit_and_wait_timeout(&ring_, &unused, 1, &limit, nullptr);
  } else {
    if (stats.in_flight == 0)
      check_failed("ring", 0, "deadlock: no coroutine waits for the kernel");
    status = io_uring_submit_and_wait(&ring_, 1);
  }
  switch (-status) {
    case EINTR:   // a signal
    case ETIME:   // a timer is due
    case EBUSY:   // completions wait in the kernel's own list: reap() makes room
    case EAGAIN:  // no memory for a request now; it stays in the queue
      break;
    case EBADR: give_up("completions were lost for lack of kernel memory", EBADR);
    case EEXIST: give_up("a loop belongs to the thread that opened it", EEXIST);
    default:
      if (status < 0) give_up("io_uring_enter", -status);
  }
}

void Core::reap() {
  if (io_uring_cq_has_overflow(&ring_)) ++stats.overflows;
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    ++count;
    const uint64_t tag = io_uring_cqe_get_data64(cqe);
    if (tag == no_reply_wanted) continue;
    auto* completion = reinterpret_cast<Completion*>(tag & ((uint64_t{1} << pointer_bits) - 1));
    CHECK(completion->tag_ == tag);
    complete(*completion, cqe->res, cqe->flags);
  }
  io_uring_cq_advance(&ring_, count);
}

void Core::complete(Completion& completion, int result, unsigned flags) {
  const bool more = (flags & IORING_CQE_F_MORE) != 0;
  ++stats.completions;
  if (!more) {
    completion.state_ = Completion::State::Idle;
    completion.unlink();
    completion.cancel_queued_.unlink();
    --stats.in_flight;
  }
  completion.completed(result, more);
}

void Core::fire_timers() {
  if (timers_.empty()) return;
  const TimePoint now = std::chrono::steady_clock::now();
  while (!timers_.empty() && timers_.front()->when_ <= now) {
    Timer& timer = *timers_.front();
    remove_timer(timer);
    timer.fired();
  }
}

void Core::add_timer(Timer& timer) {
  timers_.push_back(&timer);
  timer.place_ = timers_.size() - 1;
  sift_up(timer.place_);
}

void Core::remove_timer(Timer& timer) {
  const size_t place = timer.place_;
  Timer& last = *timers_.back();
  timers_.pop_back();
  timer.place_ = Timer::not_armed;
  if (&last == &timer) return;
  place_timer(place, last);
  sift_up(place);
  sift_down(last.place_);
}

void Core::place_timer(size_t place, Timer& timer) {
  timers_[place] = &timer;
  timer.place_ = place;
}

void Core::sift_up(size_t place) {
  Timer& timer = *timers_[place];
  while (place > 0) {
    const size_t above = (place - 1) / 2;
    if (timers_[above]->when_ <= timer.when_) break;
    place_timer(place, *timers_[above]);
    place = above;
  }
  place_timer(place, timer);
}

void Core::sift_down(size_t place) {
  Timer& timer = *timers_[place];
  for (;;) {
    size_t below = 2 * place + 1;
    if (below >= timers_.size()) break;
    if (below + 1 < timers_.size() && timers_[below + 1]->when_ < timers_[below]->when_) ++below;
    if (timer.when_ <= timers_[below]->when_) break;
    place_timer(place, *timers_[below]);
    place = below;
  }
  place_timer(place, timer);
}

}  // namespace nacelle::ring::detail
