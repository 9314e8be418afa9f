#include "codec/quantity.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/text.h"

namespace nacelle::codec {
namespace {

constexpr auto amount_max = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

// Cuts digits, with or without a fraction, off `rest`: so many of `unit`. Nothing when there are
// none, or too many.
struct Digits {
  uint64_t whole = 0;
  std::string_view fraction;

  std::optional<uint64_t> times(uint64_t unit) const {
    if (whole > amount_max / unit) return std::nullopt;
    // 18 digits say less than a whole of any unit here.
    uint64_t part = 0;
    uint64_t scale = 1;
    for (const char digit : fraction.substr(0, 18)) {
      part = part * 10 + static_cast<uint64_t>(digit - '0');
      scale *= 10;
    }
    const auto extra = static_cast<uint64_t>(static_cast<unsigned __int128>(part) * unit / scale);
    const uint64_t sum = whole * unit + extra;
    if (sum > amount_max) return std::nullopt;
    return sum;
  }
};

std::optional<Digits> cut_digits(std::string_view& rest) {
  constexpr std::string_view digits = "0123456789";
  Digits found;
  const size_t length = std::min(rest.find_first_not_of(digits), rest.size());
  const auto whole = parse_number<uint64_t>(rest.substr(0, length));
  if (!whole) return std::nullopt;
  found.whole = *whole;
  rest.remove_prefix(length);
  if (!rest.starts_with('.')) return found;
  rest.remove_prefix(1);
  const size_t places = std::min(rest.find_first_not_of(digits), rest.size());
  if (places == 0) return std::nullopt;
  found.fraction = rest.substr(0, places);
  rest.remove_prefix(places);
  return found;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

Result<int64_t> parse_size(std::string_view text) {
  const auto invalid = [&] {
    return fail(Kind::Invalid, cat("'", text, "': must be a size such as 512m, or -1"));
  };
  if (text == "-1") return -1;
  std::string_view rest = text;
  const auto digits = cut_digits(rest);
  if (!digits) return invalid();
  if (rest.size() > 1 && rest.starts_with(' ')) rest.remove_prefix(1);
  constexpr std::string_view letters = "kmgtp";
  size_t power = 0;
  if (!rest.empty()) {
    const size_t at = letters.find(lower(rest[0]));
    if (at != letters.npos) {
      power = at + 1;
      rest.remove_prefix(1);
      // "Ki" alone is taken too.
      if (!rest.empty() && lower(rest[0]) == 'i') rest.remove_prefix(1);
    }
  }
  if (!rest.empty() && lower(rest[0]) == 'b') rest.remove_prefix(1);
  const auto bytes = digits->times(uint64_t{1} << 10 * power);
  if (!rest.empty() || !bytes) return invalid();
  return static_cast<int64_t>(*bytes);
}

Result<int64_t> parse_duration_ns(std::string_view text) {
  const auto invalid = [&] {
    return fail(Kind::Invalid, cat("'", text, "': must be a time such as 5s or 1m30s"));
  };
  struct Unit {
    std::string_view name;
    uint64_t nanoseconds;
  };
  constexpr uint64_t second = 1'000'000'000;
  // Longer names first: "ms" is not "m". Both letters that look like a mu are taken.
  constexpr Unit units[] = {{"ns", 1},          {"us", 1000},      {"\u00b5s", 1000},
                            {"\u03bcs", 1000},  {"ms", 1'000'000}, {"h", 3600 * second},
                            {"m", 60 * second}, {"s", second}};
  if (text == "0") return 0;
  uint64_t total = 0;
  std::string_view rest = text;
  do {
    const auto digits = cut_digits(rest);
    if (!digits) return invalid();
    const auto* unit =
        std::ranges::find_if(units, [&](const Unit& one) { return rest.starts_with(one.name); });
    if (unit == std::end(units)) return invalid();
    rest.remove_prefix(unit->name.size());
    const auto part = digits->times(unit->nanoseconds);
    if (!part || *part > amount_max - total) return invalid();
    total += *part;
  } while (!rest.empty());
  return static_cast<int64_t>(total);
}

}  // namespace nacelle::codec
