#include "engine/restart_policy.h"

#include <algorithm>

namespace nacelle::engine {

std::chrono::milliseconds RestartBackoff::next(std::chrono::nanoseconds ran) {
  pause_ = pause_.count() == 0 || ran >= good_run ? first : std::min(2 * pause_, longest);
  return pause_;
}

bool wants_restart(const RestartPolicy& policy, const Ended& ended) {
  if (ended.by_hand) return false;
  if (policy.name == "always" || policy.name == "unless-stopped") return true;
  if (policy.name != "on-failure" || ended.exit_code == 0) return false;
  return policy.maximum_retry_count == 0 || ended.restart_count < policy.maximum_retry_count;
}

bool wants_start_at_boot(const RestartPolicy& policy, const Found& found) {
  if (policy.name == "always") return true;
  if (policy.name == "unless-stopped") return !found.has_been_stopped;
  if (!found.was_running) return false;
  return wants_restart(policy, {.exit_code = found.exit_code,
                                .restart_count = found.restart_count,
                                .by_hand = found.has_been_stopped});
}

}  // namespace nacelle::engine
