#include "http/date.h"

#include <time.h>

#include <string>

namespace nacelle::http {
namespace {

constexpr size_t date_bytes_max = 64;
constexpr const char* forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                 "%a %b %e %H:%M:%S %Y"};

}  // namespace

std::optional<int64_t> parse_date(std::string_view text) {
  if (text.size() > date_bytes_max) return std::nullopt;
  const std::string terminated(text);
  for (const char* form : forms) {
    struct tm parts{};
    const char* end = ::strptime(terminated.c_str(), form, &parts);
    if (end != terminated.c_str() + terminated.size()) continue;
    const time_t seconds = ::timegm(&parts);
    if (seconds >= 0) return seconds;
  }
  return std::nullopt;
}

}  // namespace nacelle::http
