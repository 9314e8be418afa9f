#include "codec/tar_header.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace nacelle::codec::tar {
namespace {

constexpr std::string_view ustar_magic{"ustar\0", 6};  // the version after it is not looked at
constexpr std::string_view ustar_magic_written{"ustar\00000", 8};
constexpr std::string_view gnu_magic{"ustar  \0", 8};
constexpr std::string_view star_magic{"tar\0", 4};

std::optional<int64_t> parse_base_256(std::string_view bytes) {
  const bool negative = (bytes[0] & 0x40) != 0;
  uint64_t magnitude = 0;  // of a negative number: of its complement
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto byte = static_cast<uint8_t>(bytes[i] ^ (negative ? 0xff : 0));
    if (i == 0) byte &= 0x7f;  // the mark
    if (magnitude >> 55 != 0) return std::nullopt;
    magnitude = magnitude << 8 | byte;
  }
  return static_cast<int64_t>(negative ? ~magnitude : magnitude);
}

// Eight bytes at a time: this is most of what reading a header costs. No lane of 16 bits overflows,
// since each takes 128 bytes.
int64_t sum_of(const char* block) {
  constexpr uint64_t even = 0x00ff00ff00ff00ff;
  uint64_t lanes = 0;
  for (size_t i = 0; i < block_bytes; i += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, block + i, sizeof word);
    lanes += (word & even) + (word >> 8 & even);
  }
  return static_cast<int64_t>((lanes & 0xffff) + (lanes >> 16 & 0xffff) + (lanes >> 32 & 0xffff) +
                              (lanes >> 48));
}

}  // namespace

std::optional<int64_t> parse_number_field(std::string_view bytes) {
  if (!bytes.empty() && (bytes[0] & 0x80) != 0) return parse_base_256(bytes);
  const auto blank = [](char c) { return c == ' ' || c == '\0'; };
  while (!bytes.empty() && blank(bytes.front())) bytes.remove_prefix(1);
  bytes = bytes.substr(0, bytes.find('\0'));
  while (!bytes.empty() && bytes.back() == ' ') bytes.remove_suffix(1);
  int64_t number = 0;
  for (const char c : bytes) {
    if (c < '0' || c > '7') return std::nullopt;
    number = number << 3 | (c - '0');  // no field is so wide that this could overflow
  }
  return number;
}

std::string_view Block::text(Field field) const {
  const std::string_view bytes = raw(field);
  const auto* nul = static_cast<const char*>(std::memchr(bytes.data(), '\0', bytes.size()));
  return nul == nullptr ? bytes : bytes.substr(0, static_cast<size_t>(nul - bytes.data()));
}

std::optional<int64_t> Block::number(Field field) const { return parse_number_field(raw(field)); }

bool Block::is_zero() const {
  return bytes_[0] == '\0' && std::memcmp(bytes_, bytes_ + 1, block_bytes - 1) == 0;
}

bool Block::sum_is_right() const {
  const std::string_view stored = raw(field::sum);
  if ((stored[0] & 0x80) != 0) return false;
  const std::optional<int64_t> expected = parse_number_field(stored);
  if (!expected) return false;
  int64_t sum = sum_of(bytes_);
  // The sum's own bytes count as spaces.
  for (const char c : stored) sum += ' ' - static_cast<uint8_t>(c);
  if (*expected == sum) return true;
  for (size_t i = 0; i < block_bytes; ++i) {
    const bool own = i - field::sum.offset < field::sum.bytes;
    if (!own && (bytes_[i] & 0x80) != 0) sum -= 256;
  }
  return *expected == sum;
}

Flavour Block::flavour() const {
  const std::string_view magic = raw(field::magic);
  if (magic == gnu_magic) return Flavour::Gnu;
  if (!magic.starts_with(ustar_magic)) return Flavour::V7;
  return raw(field::star_magic) == star_magic ? Flavour::Star : Flavour::Ustar;
}

bool NewBlock::set_text(Field field, std::string_view text) {
  std::copy_n(text.data(), std::min<size_t>(text.size(), field.bytes),
              bytes_.data() + field.offset);
  return text.size() <= field.bytes;
}

bool NewBlock::set_number(Field field, uint64_t number) {
  const int digits = field.bytes - 1;
  const bool fits = number <= octal_max(digits);
  if (!fits) number = 0;
  for (int i = digits - 1; i >= 0; --i, number >>= 3) {
    bytes_[field.offset + static_cast<size_t>(i)] = static_cast<char>('0' + (number & 7));
  }
  return fits;
}

void NewBlock::seal() {
  set_text(field::magic, ustar_magic_written);
  std::fill_n(bytes_.data() + field::sum.offset, field::sum.bytes, ' ');
  uint64_t sum = 0;
  for (const char c : bytes_) sum += static_cast<uint8_t>(c);
  // Six digits, a NUL and a space, as every tar has written it.
  set_number({field::sum.what, field::sum.offset, 7}, sum);
  bytes_[field::sum.offset + 6] = '\0';
}

}  // namespace nacelle::codec::tar
