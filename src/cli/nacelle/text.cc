#include "cli/nacelle/text.h"

#include <time.h>

#include <algorithm>
#include <cstdio>

#include "base/text.h"

namespace nacelle::cli {

// What an image says of itself must not steer the terminal it is shown on.
std::string printable(std::string_view bytes) {
  std::string text(bytes);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  return text;
}

// Columns, if every character takes one: continuation bytes of UTF-8 take none.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string table(const std::vector<std::string>& headings,
                  const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::string& heading : headings) widths.push_back(width_of(heading));
  for (const auto& row : rows) {
    for (size_t column = 0; column < widths.size(); ++column) {
      widths[column] = std::max(widths[column], width_of(row[column]));
    }
  }
  std::string text;
  const auto add = [&](const std::vector<std::string>& row) {
    for (size_t column = 0; column < widths.size(); ++column) {
      text += printable(row[column]);
      const bool last = column + 1 == widths.size();
      text += last ? "\n" : std::string(widths[column] - width_of(row[column]) + 3, ' ');
    }
  };
  add(headings);
  for (const auto& row : rows) add(row);
  return text;
}

std::string age_of(std::string_view rfc3339) {
  tm utc{};
  if (std::sscanf(std::string(rfc3339.substr(0, 19)).c_str(), "%d-%d-%dT%d:%d:%d", &utc.tm_year,
                  &utc.tm_mon, &utc.tm_mday, &utc.tm_hour, &utc.tm_min, &utc.tm_sec) != 6) {
    return "N/A";
  }
  utc.tm_year -= 1900;
  utc.tm_mon -= 1;
  const long seconds = std::max<long>(::time(nullptr) - ::timegm(&utc), 0);
  // The thresholds of Docker's own wording (go-units HumanDuration).
  const long minutes = seconds / 60, hours = (minutes + 30) / 60, days = hours / 24;
  if (seconds < 1) return "Less than a second ago";
  if (seconds == 1) return "1 second ago";
  if (seconds < 60) return cat(seconds, " seconds ago");
  if (minutes == 1) return "About a minute ago";
  if (minutes < 60) return cat(minutes, " minutes ago");
  if (hours == 1) return "About an hour ago";
  if (hours < 48) return cat(hours, " hours ago");
  if (hours < 24 * 7 * 2) return cat(days, " days ago");
  if (hours < 24 * 30 * 2) return cat(days / 7, " weeks ago");
  if (hours < 24 * 365 * 2) return cat(days / 30, " months ago");
  return cat(days / 365, " years ago");
}

}  // namespace nacelle::cli
