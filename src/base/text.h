// Small text tools that the standard library of Debian 12 lacks: no fds, no locale, no exceptions.
#pragma once

#include <algorithm>
#include <charconv>
#include <concepts>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace nacelle {

// Joins strings, characters and integers into one string with one allocation's worth of growth:
// `cat("opening '", path, "' as user ", uid)`.
inline void append_to(std::string& out, std::string_view text) { out += text; }
inline void append_to(std::string& out, char c) { out += c; }
template <std::integral Number>
void append_to(std::string& out, Number number) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, static_cast<size_t>(end - digits));
}
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (append_to(out, parts), ...);
  return out;
}

// The whole of `text` as a number, or nothing: no sign for unsigned types, no spaces, no trailing
// bytes, no overflow.
template <std::integral Number>
std::optional<Number> parse_number(std::string_view text, int base = 10) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stopped, status] = std::from_chars(text.data(), end, number, base);
  if (status != std::errc() || stopped != end || text.empty()) return std::nullopt;
  return number;
}

// Cuts the text before the next `separator` off `rest` and returns it; `rest` is empty at the end.
inline std::string_view take_until(std::string_view& rest, char separator) {
  const size_t at = rest.find(separator);
  const std::string_view head = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return head;
}

// std::ranges::contains, which libstdc++ 12 lacks, with a projection as its other algorithms have.
template <class Range, class T, class Projection = std::identity>
bool contains(const Range& range, const T& value, Projection projection = {}) {
  return std::ranges::find(range, value, projection) != std::ranges::end(range);
}

// Whether `text` is well-formed UTF-8 (RFC 3629).
bool is_utf8(std::string_view text);

}  // namespace nacelle
