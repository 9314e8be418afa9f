// Times and durations as clients of Docker write them.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "api/route.h"
#include "base/text.h"

namespace nacelle::api {
namespace {

constexpr int64_t ns_per_s = 1'000'000'000;
constexpr int64_t ns_max = std::numeric_limits<int64_t>::max();

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// A fraction's digits as billionths: "5" is 500000000. What is finer is cut off.
std::optional<int64_t> billionths(std::string_view digits) {
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) return {};
  int64_t value = 0;
  for (size_t i = 0; i < 9; ++i) value = value * 10 + (i < digits.size() ? digits[i] - '0' : 0);
  return value;
}

std::optional<int64_t> joined(int64_t seconds, int64_t ns) {
  int64_t total = 0;
  if (__builtin_mul_overflow(seconds, ns_per_s, &total)) return {};
  if (__builtin_add_overflow(total, ns, &total)) return {};
  return total;
}

// Takes exactly `digits` digits, between two bounds.
std::optional<int> take_digits(std::string_view& rest, size_t digits, int low, int high) {
  if (rest.size() < digits) return {};
  const auto number = parse_number<unsigned>(rest.substr(0, digits));
  if (!number || static_cast<int>(*number) < low || static_cast<int>(*number) > high) return {};
  rest.remove_prefix(digits);
  return static_cast<int>(*number);
}

bool take(std::string_view& rest, char c) {
  if (!rest.starts_with(c)) return false;
  rest.remove_prefix(1);
  return true;
}

// "Z", "+02:00", or nothing, which is UTC.
std::optional<int64_t> take_offset_seconds(std::string_view& rest) {
  if (rest.empty() || take(rest, 'Z') || take(rest, 'z')) return 0;
  const bool west = rest.starts_with('-');
  if (!take(rest, '-') && !take(rest, '+')) return {};
  const auto hours = take_digits(rest, 2, 0, 23);
  if (!hours || !take(rest, ':')) return {};
  const auto minutes = take_digits(rest, 2, 0, 59);
  if (!minutes) return {};
  const int64_t seconds = (*hours * 60 + *minutes) * 60;
  return west ? -seconds : seconds;
}

// What stands behind the T: "15", "15:04", "15:04:05", "15:04:05.999". Nanoseconds of the day.
std::optional<int64_t> take_time_of_day(std::string_view& rest, bool whole) {
  const auto hour = take_digits(rest, 2, 0, 23);
  if (!hour) return {};
  int64_t seconds = *hour * 3600;
  int64_t ns = 0;
  const bool has_minutes = take(rest, ':');
  if (!has_minutes && whole) return {};
  if (has_minutes) {
    const auto minute = take_digits(rest, 2, 0, 59);
    if (!minute) return {};
    seconds += *minute * 60;
    const bool has_seconds = take(rest, ':');
    if (!has_seconds && whole) return {};
    if (has_seconds) {
      const auto second = take_digits(rest, 2, 0, 59);
      if (!second) return {};
      seconds += *second;
      if (take(rest, '.')) {
        const auto fraction = billionths(rest.substr(0, rest.find_first_not_of("0123456789")));
        if (!fraction) return {};
        ns = *fraction;
        rest.remove_prefix(std::min(rest.find_first_not_of("0123456789"), rest.size()));
      }
    }
  }
  return seconds * ns_per_s + ns;
}

std::optional<int64_t> parse_date_time(std::string_view rest, bool whole) {
  const auto year = take_digits(rest, 4, 0, 9999);
  if (!year || !take(rest, '-')) return {};
  const auto month = take_digits(rest, 2, 1, 12);
  if (!month || !take(rest, '-')) return {};
  const auto day = take_digits(rest, 2, 1, 31);
  if (!day) return {};
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return {};
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();

  int64_t of_day_ns = 0;
  if (take(rest, 'T') || take(rest, 't')) {
    const auto time = take_time_of_day(rest, whole);
    if (!time) return {};
    of_day_ns = *time;
  } else if (whole) {
    return {};
  }
  if (whole && rest.empty()) return {};
  const auto offset = take_offset_seconds(rest);
  if (!offset || !rest.empty()) return {};
  return joined(days * 86400 - *offset, of_day_ns);
}

std::optional<int64_t> unit_ns(std::string_view unit) {
  if (unit == "ns") return 1;
  if (unit == "us" || unit == "\xc2\xb5s" || unit == "\xce\xbcs") return 1000;
  if (unit == "ms") return 1'000'000;
  if (unit == "s") return ns_per_s;
  if (unit == "m") return 60 * ns_per_s;
  if (unit == "h") return 3600 * ns_per_s;
  return {};
}

// Go's: "-1.5h", "1h30m".
std::optional<int64_t> parse_duration_ns(std::string_view rest) {
  const bool negative = take(rest, '-');
  if (!negative) take(rest, '+');
  if (rest.empty()) return {};
  int64_t total = 0;
  while (!rest.empty()) {
    const size_t number_end = std::min(rest.find_first_not_of("0123456789."), rest.size());
    std::string_view number = rest.substr(0, number_end);
    rest.remove_prefix(number_end);
    const size_t unit_end = std::min(rest.find_first_of("0123456789."), rest.size());
    const auto scale = unit_ns(rest.substr(0, unit_end));
    rest.remove_prefix(unit_end);
    const bool has_fraction = number.find('.') != std::string_view::npos;
    const std::string_view digits = take_until(number, '.');
    if (!scale || (digits.empty() && number.empty())) return {};
    const auto whole = digits.empty() ? std::optional<uint32_t>(0) : parse_number<uint32_t>(digits);
    const auto fraction = number.empty() ? std::optional<int64_t>(0) : billionths(number);
    if (!whole || !fraction || (has_fraction && number.contains('.'))) return {};
    int64_t part = 0;
    if (__builtin_mul_overflow(static_cast<int64_t>(*whole), *scale, &part)) return {};
    // A billionth of a unit times the unit: through 128 bits, since an hour has 42 of its own.
    const auto finer = static_cast<int64_t>(static_cast<__int128>(*fraction) * *scale / ns_per_s);
    if (__builtin_add_overflow(part, finer, &part)) return {};
    if (__builtin_add_overflow(total, part, &total)) return {};
  }
  return negative ? -total : total;
}

std::optional<int64_t> parse_seconds(std::string_view text) {
  const size_t dot = text.find('.');
  const auto seconds = parse_number<int64_t>(text.substr(0, dot));
  if (!seconds) return {};
  if (dot == std::string_view::npos) return joined(*seconds, 0);
  const auto fraction = billionths(text.substr(dot + 1));
  return fraction ? joined(*seconds, *fraction) : std::nullopt;
}

}  // namespace

std::optional<int64_t> parse_rfc3339(std::string_view text) { return parse_date_time(text, true); }

Result<int64_t> read_time(std::string_view text) {
  if (const auto seconds = parse_seconds(text)) return *seconds;
  if (const auto time = parse_date_time(text, false)) return *time;
  if (const auto before = parse_duration_ns(text)) {
    int64_t time = 0;
    if (!__builtin_sub_overflow(now_ns(), *before, &time)) return time;
    return *before < 0 ? ns_max : 0;
  }
  return fail(Kind::Invalid, cat("failed to parse value as time or duration: ", quoted(text)));
}

}  // namespace nacelle::api
