// The 512-byte block that a tar entry begins with: where its fields are, and what is in them. Both
// directions use it. No field is trusted to end in a NUL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace nacelle::codec::tar {

inline constexpr size_t block_bytes = 512;
// The most that a number of `digits` octal digits holds.
constexpr uint64_t octal_max(int digits) { return (uint64_t{1} << (3 * digits)) - 1; }
// What is missing from `size` bytes to a whole block.
constexpr uint64_t padding_of(uint64_t size) { return -size % block_bytes; }

struct Field {
  const char* what;
  uint16_t offset;
  uint16_t bytes;
};
namespace field {
inline constexpr Field name{"name", 0, 100};
inline constexpr Field mode{"mode", 100, 8};
inline constexpr Field user{"user id", 108, 8};
inline constexpr Field group{"group id", 116, 8};
inline constexpr Field size{"size", 124, 12};
inline constexpr Field modified{"time", 136, 12};
inline constexpr Field sum{"sum", 148, 8};
inline constexpr Field type{"type", 156, 1};
inline constexpr Field link{"link target", 157, 100};
inline constexpr Field magic{"magic", 257, 8};
inline constexpr Field device_major{"device major", 329, 8};
inline constexpr Field device_minor{"device minor", 337, 8};
inline constexpr Field prefix{"prefix", 345, 155};
inline constexpr Field star_prefix{"prefix", 345, 131};
inline constexpr Field star_magic{"magic", 508, 4};
// Old GNU sparse files: pairs of offset and length, in the header and in the blocks after it.
inline constexpr Field gnu_pieces{"sparse map", 386, 4 * 24};
inline constexpr Field gnu_more{"sparse map", 482, 1};
inline constexpr Field gnu_real_size{"real size", 483, 12};
inline constexpr Field gnu_more_pieces{"sparse map", 0, 21 * 24};
inline constexpr Field gnu_still_more{"sparse map", 504, 1};
}  // namespace field

enum class Flavour : uint8_t { V7, Ustar, Star, Gnu };

// A view of one block.
class Block {
 public:
  explicit Block(const char* bytes) : bytes_(bytes) {}

  std::string_view raw(Field field) const { return {bytes_ + field.offset, field.bytes}; }
  char first(Field field) const { return bytes_[field.offset]; }
  // Up to the first NUL.
  std::string_view text(Field field) const;
  std::optional<int64_t> number(Field field) const;

  bool is_zero() const;
  // Sums of unsigned and of signed bytes both pass: early tars differed.
  bool sum_is_right() const;
  Flavour flavour() const;

 private:
  const char* bytes_;
};

// A number as the fields hold them: octal digits between spaces and NULs, or with the highest bit
// set a big-endian two's complement. Empty is zero.
std::optional<int64_t> parse_number_field(std::string_view bytes);

// A block that is being filled in.
class NewBlock {
 public:
  // True when `text` fits.
  bool set_text(Field field, std::string_view text);
  // Octal with a closing NUL; true when the number fits, else the field says 0.
  bool set_number(Field field, uint64_t number);
  // The magic and the sum. Nothing may change after this.
  void seal();
  std::string_view bytes() const { return {bytes_.data(), bytes_.size()}; }

 private:
  std::array<char, block_bytes> bytes_{};
};

}  // namespace nacelle::codec::tar
