#include "engine/moment.h"

#include <time.h>

#include "base/text.h"

namespace nacelle::engine {
namespace {

constexpr int64_t second = 1'000'000'000;

// What stands before the fraction; `fraction` is never negative.
std::string whole(int64_t ns, int64_t& fraction) {
  fraction = ns % second;
  if (fraction < 0) fraction += second;
  const time_t seconds = (ns - fraction) / second;
  tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[40];
  return {text, ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc)};
}

}  // namespace

int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * second + now.tv_nsec;
}

std::string moment_text(int64_t ns) {
  int64_t fraction = 0;
  const std::string head = whole(ns, fraction);
  const std::string digits = cat(second + fraction);
  return cat(head, '.', std::string_view(digits).substr(1), 'Z');
}

std::string moment_text_seconds(int64_t ns) {
  int64_t fraction = 0;
  return cat(whole(ns, fraction), 'Z');
}

}  // namespace nacelle::engine
