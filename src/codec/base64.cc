#include "codec/base64.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace nacelle::codec {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t not_a_digit = 0xff;

constexpr std::array<uint8_t, 256> values = [] {
  std::array<uint8_t, 256> table{};
  table.fill(not_a_digit);
  for (size_t each = 0; each < alphabet.size(); ++each) {
    table[static_cast<uint8_t>(alphabet[each])] = static_cast<uint8_t>(each);
  }
  return table;
}();

// The text is often a credential: no message repeats any of it.
std::unexpected<Error> not_base64(const char* why) {
  return fail(Kind::Invalid, std::string("not base 64: ") + why);
}

}  // namespace

std::string to_base64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (; !bytes.empty(); bytes.remove_prefix(std::min<size_t>(3, bytes.size()))) {
    uint32_t group = 0;
    for (size_t each = 0; each < 3; ++each) {
      group = group << 8 | (each < bytes.size() ? static_cast<uint8_t>(bytes[each]) : 0u);
    }
    for (size_t each = 0; each < 4; ++each) {
      out += each <= bytes.size() ? alphabet[group >> (18 - 6 * each) & 63] : '=';
    }
  }
  return out;
}

Result<std::string> from_base64(std::string_view text) {
  // One or two signs of padding fill the last group of four, or are left out altogether.
  const size_t padding = std::min(text.size() - (text.find_last_not_of('=') + 1), text.size());
  if (padding > 2 || (padding > 0 && text.size() % 4 != 0)) return not_base64("wrong padding");
  text.remove_suffix(padding);
  if (text.size() % 4 == 1) return not_base64("cut short");

  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  size_t bit_count = 0;
  for (const char c : text) {
    const uint8_t value = values[static_cast<uint8_t>(c)];
    if (value == not_a_digit) return not_base64("a character that is none of its digits");
    bits = bits << 6 | value;
    bit_count += 6;
    if (bit_count < 8) continue;
    bit_count -= 8;
    out += static_cast<char>(bits >> bit_count);
    bits &= (1u << bit_count) - 1;
  }
  // Two texts for the same bytes would make one of them a hiding place (RFC 4648 section 3.5).
  if (bits != 0) return not_base64("bits after the last byte");
  return out;
}

}  // namespace nacelle::codec
