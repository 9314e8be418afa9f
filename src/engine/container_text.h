// Small texts that containers need: times, signals, detach keys, exit statuses. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::engine {

// Nanoseconds since 1970, of what moment.h wrote.
std::optional<int64_t> parse_time(std::string_view rfc3339);

// "TERM", "SIGTERM", "sigterm", "15", "RTMIN+1". Invalid, in Docker's words, for what is none.
Result<int> parse_signal(std::string_view text);

// "ctrl-p,ctrl-q" as the bytes a terminal sends; empty means that, too.
Result<std::string> parse_detach_keys(std::string_view text);

// What `docker wait` shows of a wait status.
int exit_code_of(int32_t wait_status, bool known);

}  // namespace nacelle::engine
