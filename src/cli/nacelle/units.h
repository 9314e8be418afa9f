// Sizes, durations and times as Docker's client writes and reads them (go-units, Go's time).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::cli {

// "1.024kB": four significant digits, powers of a thousand.
std::string decimal_size(double bytes);
// "1.5MiB": four significant digits, powers of 1024.
std::string binary_size(double bytes);
// "About an hour", "3 days".
std::string human_duration(int64_t seconds);
// "2023-01-02 15:04:05 +0000 UTC" of seconds since 1970, in this machine's zone.
std::string local_time(int64_t seconds);

// Seconds since 1970 and nanoseconds of a time in RFC 3339.
struct Moment {
  int64_t seconds = 0;
  int64_t nanoseconds = 0;
};
Result<Moment> parse_rfc3339(std::string_view text);

// "1.5g", "512m", "100" as bytes, in powers of 1024. `invalid size: 'x'`.
Result<int64_t> parse_binary_size(std::string_view text);
// Go's durations: "1h30m", "1.5s", "100ms". Nanoseconds.
Result<int64_t> parse_duration(std::string_view text);
// What --since and --until take: a Go duration before now, a date or time, seconds since 1970.
// The value is "seconds.nanoseconds" as the API takes it.
Result<std::string> parse_since(std::string_view text);

}  // namespace nacelle::cli
