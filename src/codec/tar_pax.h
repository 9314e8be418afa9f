// PAX extended headers (POSIX.1-2017 pax, "pax Extended Header"): records of `length key=value\n`.
// The keys that a container layer has a use for are known here; the others are checked for their
// syntax and passed over. Refuses: lengths that lie, NULs in names, numbers that are not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/tar.h"
#include "nacelle/result.h"

namespace nacelle::codec::tar {

enum class PaxKey : uint8_t {
  Path,
  LinkPath,
  Size,
  User,
  Group,
  Modified,
  DeviceMajor,
  DeviceMinor,
  SparseMajor,
  SparseMinor,
  SparseName,
  SparseSize,
  SparseRealSize,
  SparseCount,
  SparseMap,
  count
};

struct PaxXattr {
  std::string_view name;
  std::string_view value;
  bool encoded;  // LIBARCHIVE.xattr: name with %XX, value in base 64
};

// What the records of one header say. Views into its text.
class PaxHeader {
 public:
  // Of several records of one key the last counts. A value that is empty is as good as none.
  static Result<> parse(std::string_view text, PaxHeader& out);
  void clear();

  std::string_view value(PaxKey key) const { return values_[static_cast<size_t>(key)]; }
  bool has(PaxKey key) const { return !value(key).empty(); }
  // A number without a sign, up to INT64_MAX: `PAX record 'size': not a number`.
  Result<int64_t> number(PaxKey key) const;
  Result<Time> time(PaxKey key) const;
  // Sorted by name, each name once: SCHILY's record before LIBARCHIVE's, else the last.
  Result<> xattrs(std::vector<std::pair<std::string, std::string>>& out) const;
  // GNU.sparse.offset and .numbytes by turns: how version 0.0 gives its map.
  const std::vector<std::string_view>& sparse_numbers() const { return sparse_numbers_; }

 private:
  Result<> take(std::string_view key, std::string_view value);

  std::array<std::string_view, static_cast<size_t>(PaxKey::count)> values_{};
  std::vector<PaxXattr> xattrs_;
  std::vector<std::string_view> sparse_numbers_;
};

// Decimal digits and nothing else, up to INT64_MAX.
std::optional<int64_t> parse_pax_number(std::string_view text);
// `-12.034`: anything past nanoseconds is cut off.
std::optional<Time> parse_pax_time(std::string_view text);
std::string to_pax_time(Time time);

// Appends `length key=value\n`, where the length counts itself.
void append_pax_record(std::string& out, std::string_view key, std::string_view value);
// `bytes` with %XX for all that is not a letter, a digit or a plain mark.
std::string to_percent(std::string_view bytes);

inline constexpr std::string_view schily_xattr = "SCHILY.xattr.";
inline constexpr std::string_view libarchive_xattr = "LIBARCHIVE.xattr.";

}  // namespace nacelle::codec::tar
