// Amounts as people write them in options: sizes ("512m") and times ("1m30s"), in the notations
// that runc's own options take. Refuses signs (but -1 for "no limit"), exponents and overflow.
#pragma once

#include <cstdint>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::codec {

// "512m", "1.5 GiB", "1024", "10b": bytes, by powers of 1024 whatever the spelling; "-1" is -1.
Result<int64_t> parse_size(std::string_view text);

// "5s", "1m30s", "1.5h", "300ms", "0": nanoseconds, as Go writes durations.
Result<int64_t> parse_duration_ns(std::string_view text);

}  // namespace nacelle::codec
