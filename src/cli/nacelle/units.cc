#include "cli/nacelle/units.h"

#include <time.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>

#include "base/text.h"

namespace nacelle::cli {

namespace {

std::string sized(double value, double step, std::span<const char* const> units) {
  size_t unit = 0;
  while (value >= step && unit + 1 < units.size()) {
    value /= step;
    ++unit;
  }
  char text[48];
  std::snprintf(text, sizeof text, "%.4g%s", value, units[unit]);
  return text;
}

constexpr int64_t nanoseconds_per_second = 1'000'000'000;

// A fraction of a second as its digits stand there.
std::optional<int64_t> fraction_ns(std::string_view digits) {
  if (digits.empty()) return 0;
  if (digits.size() > 9) digits = digits.substr(0, 9);
  std::optional<int64_t> value = parse_number<int64_t>(digits);
  if (!value || *value < 0) return std::nullopt;
  for (size_t place = digits.size(); place < 9; ++place) *value *= 10;
  return value;
}

std::string api_time(int64_t seconds, int64_t nanoseconds) {
  char text[48];
  std::snprintf(text, sizeof text, "%lld.%09lld", static_cast<long long>(seconds),
                static_cast<long long>(nanoseconds));
  return text;
}

}  // namespace

std::string decimal_size(double bytes) {
  constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  return sized(bytes, 1000, units);
}

std::string binary_size(double bytes) {
  constexpr const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  return sized(bytes, 1024, units);
}

std::string human_duration(int64_t seconds) {
  // The thresholds of Docker's own wording (go-units HumanDuration).
  const int64_t minutes = seconds / 60;
  const auto hours = static_cast<int64_t>(std::lround(static_cast<double>(seconds) / 3600));
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return cat(seconds, " seconds");
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return cat(minutes, " minutes");
  if (hours == 1) return "About an hour";
  if (hours < 48) return cat(hours, " hours");
  if (hours < 24 * 7 * 2) return cat(hours / 24, " days");
  if (hours < 24 * 30 * 2) return cat(hours / 24 / 7, " weeks");
  if (hours < 24 * 365 * 2) return cat(hours / 24 / 30, " months");
  return cat(hours / 24 / 365, " years");
}

std::string local_time(int64_t seconds) {
  const time_t when = seconds;
  tm broken{};
  ::localtime_r(&when, &broken);
  char text[64];
  ::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z %Z", &broken);
  return text;
}

Result<Moment> parse_rfc3339(std::string_view text) {
  const auto wrong = [&] { return fail(Kind::Invalid, cat("'", text, "' is not a time")); };
  tm broken{};
  int used = 0;
  const std::string copy(text);
  if (std::sscanf(copy.c_str(), "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &broken.tm_year, &broken.tm_mon,
                  &broken.tm_mday, &broken.tm_hour, &broken.tm_min, &broken.tm_sec, &used) != 6 ||
      used == 0) {
    return wrong();
  }
  broken.tm_year -= 1900;
  broken.tm_mon -= 1;
  Moment moment{.seconds = ::timegm(&broken), .nanoseconds = 0};
  std::string_view rest = text.substr(static_cast<size_t>(used));
  if (rest.starts_with('.')) {
    size_t end = 1;
    while (end < rest.size() && rest[end] >= '0' && rest[end] <= '9') ++end;
    const std::optional<int64_t> fraction = fraction_ns(rest.substr(1, end - 1));
    if (!fraction) return wrong();
    moment.nanoseconds = *fraction;
    rest.remove_prefix(end);
  }
  if (rest == "Z" || rest == "z") return moment;
  if (rest.size() != 6 || (rest[0] != '+' && rest[0] != '-') || rest[3] != ':') return wrong();
  const auto hours = parse_number<int>(rest.substr(1, 2)),
             minutes = parse_number<int>(rest.substr(4));
  if (!hours || !minutes) return wrong();
  const int offset = *hours * 3600 + *minutes * 60;
  moment.seconds -= rest[0] == '-' ? -offset : offset;
  return moment;
}

Result<int64_t> parse_binary_size(std::string_view text) {
  const auto wrong = [&] { return fail(Kind::Invalid, cat("invalid size: '", text, "'")); };
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  if (digits == 0) return wrong();
  std::string unit;
  for (const char c : text.substr(digits)) {
    if (c != ' ' || !unit.empty()) unit += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  if (unit.ends_with("ib") && unit.size() == 3) unit.resize(1);
  if (unit.ends_with('b') && unit.size() == 2) unit.resize(1);
  double factor = 1;
  if (!unit.empty() && unit != "b") {
    const size_t power = std::string_view("kmgtp").find(unit);
    if (unit.size() != 1 || power == std::string_view::npos) return wrong();
    for (size_t each = 0; each <= power; ++each) factor *= 1024;
  }
  const std::string number(text.substr(0, digits));
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (*end != 0 || value * factor > 9e18) return wrong();
  return static_cast<int64_t>(value * factor);
}

Result<int64_t> parse_duration(std::string_view text) {
  const auto wrong = [&] {
    return fail(Kind::Invalid, cat("time: invalid duration \"", text, "\""));
  };
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest == "0") return 0;
  if (rest.empty()) return wrong();
  constexpr struct {
    std::string_view name;
    double ns;
  } units[] = {{"ns", 1},  {"us", 1e3}, {"µs", 1e3},  {"ms", 1e6},
               {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  double total = 0;
  while (!rest.empty()) {
    const size_t digits = std::min(rest.find_first_not_of("0123456789."), rest.size());
    const std::string number(rest.substr(0, digits));
    rest.remove_prefix(digits);
    const size_t letters = std::min(rest.find_first_of("0123456789."), rest.size());
    const std::string_view name = rest.substr(0, letters);
    rest.remove_prefix(letters);
    if (digits == 0) return wrong();
    if (name.empty()) {
      return fail(Kind::Invalid, cat("time: missing unit in duration \"", text, "\""));
    }
    double factor = 0;
    for (const auto& unit : units) {
      if (unit.name == name) factor = unit.ns;
    }
    char* end = nullptr;
    const double value = std::strtod(number.c_str(), &end);
    if (*end != 0) return wrong();
    if (factor == 0) {
      return fail(Kind::Invalid,
                  cat("time: unknown unit \"", name, "\" in duration \"", text, "\""));
    }
    total += value * factor;
  }
  if (total > 9.2e18) return wrong();
  return static_cast<int64_t>(std::llround(negative ? -total : total));
}

Result<std::string> parse_since(std::string_view text) {
  if (const Result<int64_t> ago = parse_duration(text)) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    int64_t seconds = now.tv_sec - *ago / nanoseconds_per_second;
    int64_t nanoseconds = now.tv_nsec - *ago % nanoseconds_per_second;
    if (nanoseconds < 0) {
      nanoseconds += nanoseconds_per_second;
      --seconds;
    }
    if (nanoseconds >= nanoseconds_per_second) {
      nanoseconds -= nanoseconds_per_second;
      ++seconds;
    }
    return api_time(seconds, nanoseconds);
  }
  if (const Result<Moment> moment = parse_rfc3339(text)) {
    return api_time(moment->seconds, moment->nanoseconds);
  }
  // A date, or a time without zone, is this machine's.
  for (const char* form :
       {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d", "%Y-%m-%dZ"}) {
    tm broken{};
    const std::string copy(text);
    const char* end = ::strptime(copy.c_str(), form, &broken);
    if (end == nullptr) continue;
    int64_t nanoseconds = 0;
    if (*end == '.') {
      const std::optional<int64_t> fraction = fraction_ns(end + 1);
      if (!fraction) continue;
      nanoseconds = *fraction;
    } else if (*end != 0) {
      continue;
    }
    broken.tm_isdst = -1;
    const bool utc = copy.ends_with('Z');
    return api_time(utc ? ::timegm(&broken) : ::mktime(&broken), nanoseconds);
  }
  std::string_view fraction = text;
  const std::string_view seconds = take_until(fraction, '.');
  const std::optional<int64_t> whole = parse_number<int64_t>(seconds);
  const std::optional<int64_t> part = fraction_ns(fraction);
  if (!whole || !part) return fail(Kind::Invalid, cat("'", text, "' is not a time"));
  return fraction.empty() ? cat(*whole) : api_time(*whole, *part);
}

}  // namespace nacelle::cli
