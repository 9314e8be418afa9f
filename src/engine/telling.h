// Something outside (the packet filter, maps of BPF programs) that is to be as it is here. What is
// asked for while it is being told shares the next turn, so a burst of changes costs two.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::engine {

class Telling {
 public:
  // `tell` brings about all that is wanted when it is called. The scope is joined before this goes.
  Telling(ring::Scope& background, std::function<ring::Task<>()> tell)
      : background_(background), tell_(std::move(tell)) {}
  Telling(const Telling&) = delete;
  Telling& operator=(const Telling&) = delete;

  // Nothing is told before; what was asked for until then is not forgotten.
  void begin() { begun_ = true; }
  // Something else is wanted.
  void ask();
  // What is wanted cannot be so, until the next turn finds otherwise.
  void failed(Error why) { error_ = std::move(why); }
  bool is_settled() const { return told_ == asked_ && !error_; }
  // Until what was asked for is so. What could not be told is tried again.
  ring::Task<> settle();

 private:
  ring::Task<> run();

  ring::Scope& background_;
  std::function<ring::Task<>()> tell_;
  bool begun_ = false, telling_ = false;
  uint64_t asked_ = 0, told_ = 0;
  std::optional<Error> error_;  // of the last turn
  ring::Notice told_notice_;
};

}  // namespace nacelle::engine
