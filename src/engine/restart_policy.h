// When a container that has ended is started again, and after how long: Docker's rules. Pure.
#pragma once

#include <chrono>
#include <optional>

#include "engine/model.h"

namespace nacelle::engine {

class RestartBackoff {
 public:
  static constexpr std::chrono::milliseconds first{100}, longest{60'000};
  // Who ran for so long has come up: the next pause is the first again.
  static constexpr std::chrono::seconds good_run{10};

  // The pause before the next start.
  std::chrono::milliseconds next(std::chrono::nanoseconds ran);
  void reset() { pause_ = {}; }

 private:
  std::chrono::milliseconds pause_{};
};

struct Ended {
  int exit_code = 0;
  int restart_count = 0;  // so far
  bool by_hand = false;   // a stop was asked for
};
bool wants_restart(const RestartPolicy& policy, const Ended& ended);

// When the engine begins and the container does not run.
struct Found {
  bool was_running = false;       // the record says so
  bool has_been_stopped = false;  // by hand, some time ago
  int exit_code = 0;
  int restart_count = 0;
};
bool wants_start_at_boot(const RestartPolicy& policy, const Found& found);

}  // namespace nacelle::engine
