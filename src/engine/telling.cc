#include "engine/telling.h"

#include <utility>

namespace nacelle::engine {

void Telling::ask() {
  ++asked_;
  if (!begun_ || std::exchange(telling_, true)) return;
  background_.start(run());
}

ring::Task<> Telling::settle() {
  if (error_ && told_ == asked_) ask();
  const uint64_t goal = asked_;
  while (told_ < goal) co_await told_notice_.wait();
  if (error_) co_await std::unexpected(*error_);
}

ring::Task<> Telling::run() {
  while (told_ < asked_) {
    const uint64_t goal = asked_;
    const Result<> told = co_await ring::as_result(tell_());
    error_.reset();
    if (!told) error_ = told.error();
    told_ = goal;
    told_notice_.notify_all();
    if (!told && told.error().kind() == Kind::Cancelled) break;
  }
  telling_ = false;
}

}  // namespace nacelle::engine
