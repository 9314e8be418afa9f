#include "codec/utf8.h"

#include "base/text.h"

namespace nacelle::codec {
namespace {

// Where bytes that are no UTF-8 are kept.
constexpr char32_t raw_byte = 0x110000;

size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  if (lead >= 0xF0 && lead < 0xF5) return 4;
  return 0;
}

}  // namespace

std::vector<char32_t> decode_characters(std::string_view text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const size_t length = sequence_length(lead);
    if (length < 2 || !is_utf8(text.substr(0, length)) || text.size() < length) {
      out.push_back(length == 1 ? lead : raw_byte + lead);
      text.remove_prefix(1);
      continue;
    }
    char32_t character = lead & (0xFFu >> (length + 1));
    for (const char c : text.substr(1, length - 1))
      character = character << 6 | (static_cast<unsigned char>(c) & 0x3F);
    out.push_back(character);
    text.remove_prefix(length);
  }
  return out;
}

void append_character(std::string& out, char32_t c) {
  const auto byte = [&](char32_t value) { out += static_cast<char>(value); };
  if (c >= raw_byte) return byte(c - raw_byte);
  if (c < 0x80) return byte(c);
  if (c < 0x800) {
    byte(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      byte(0xE0 | c >> 12);
    } else {
      byte(0xF0 | c >> 18);
      byte(0x80 | (c >> 12 & 0x3F));
    }
    byte(0x80 | (c >> 6 & 0x3F));
  }
  byte(0x80 | (c & 0x3F));
}

}  // namespace nacelle::codec
