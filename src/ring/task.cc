#include "nacelle/task.h"

#include "base/check.h"

namespace nacelle::ring::detail {

void broken_task_rule(const char* rule) { check_failed("nacelle/task.h", 0, rule); }

void RunQueue::push_front(Frame& frame) {
  frame.next = first_;
  first_ = &frame;
  if (last_ == nullptr) last_ = &frame;
}

void RunQueue::push_back(Frame& frame) {
  frame.next = nullptr;
  if (last_ == nullptr) {
    first_ = &frame;
  } else {
    last_->next = &frame;
  }
  last_ = &frame;
}

Frame* RunQueue::pop() {
  Frame* frame = first_;
  if (frame == nullptr) return nullptr;
  first_ = frame->next;
  if (first_ == nullptr) last_ = nullptr;
  frame->next = nullptr;
  return frame;
}

void RunQueue::rotate() {
  if (Frame* frame = pop()) push_back(*frame);
}

OutcomeBase::~OutcomeBase() {
  if (child == nullptr) return;
  // A child that has begun ends through the run queue, and only then may its awaiter go.
  CHECK(child->state == Frame::State::New);
  child->handle.destroy();
}

namespace {
void start(OutcomeBase& outcome, Frame* parent, RunQueue& queue, CancelGroup& group) {
  Frame& frame = *outcome.child;
  CHECK(frame.state == Frame::State::New);
  frame.parent = parent;
  frame.outcome = &outcome;
  frame.queue = &queue;
  frame.group = &group;
  frame.state = Frame::State::Ready;
}
}  // namespace

void start_root(OutcomeBase& outcome, RunQueue& queue, CancelGroup& group) {
  start(outcome, nullptr, queue, group);
  queue.push_back(*outcome.child);
}

void start_child(OutcomeBase& outcome, Frame& parent, CancelGroup& group) {
  start(outcome, &parent, *parent.queue, group);
  parent.queue->push_front(*outcome.child);  // a call: nobody else runs in between
}

// `frame` has ended, by return or by an error at an await. Its frame goes first, then whoever waits
// is told; an error that nobody looks at ends that one too, hence the loop.
static void end(Frame* frame) {
  for (;;) {
    OutcomeBase& outcome = *frame->outcome;
    Frame* parent = frame->parent;
    outcome.child = nullptr;
    frame->handle.destroy();
    if (parent == nullptr) {
      outcome.done(outcome);
      return;
    }
    if (!outcome.error || outcome.looks_at_errors) {
      parent->state = Frame::State::Ready;
      parent->queue->push_front(*parent);
      return;
    }
    parent->outcome->error = std::move(outcome.error);
    frame = parent;
  }
}

void take_turn(Frame& frame) {
  if (frame.state == Frame::State::Ready) {
    frame.state = Frame::State::Waiting;
    frame.handle.resume();
    return;
  }
  CHECK(frame.state == Frame::State::Failed || frame.state == Frame::State::Finished);
  end(&frame);
}

}  // namespace nacelle::ring::detail
