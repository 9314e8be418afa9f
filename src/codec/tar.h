// tar archives as container layers use them: what both directions share. Formats: ustar, PAX
// (POSIX.1-2017 pax, with SCHILY.xattr.*, LIBARCHIVE.xattr.* and GNU.sparse.*), GNU (long names,
// base-256 numbers, old sparse) and v7. Names are bytes: no character set is assumed or converted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nacelle::codec::tar {

enum class Type : uint8_t {
  File,
  HardLink,
  Symlink,
  CharacterDevice,
  BlockDevice,
  Directory,
  Fifo
};

struct Time {
  int64_t seconds = 0;  // since 1970; may be negative
  uint32_t nanoseconds = 0;
  auto operator<=>(const Time&) const = default;
};

struct Entry {
  Type type = Type::File;
  std::string name;         // as in the archive, trailing slashes removed; may be hostile
  std::string link_target;  // of hard and symbolic links, as in the archive
  uint64_t size = 0;        // of the content, holes included
  uint32_t mode = 0;        // the twelve permission bits
  uint32_t user = 0;
  uint32_t group = 0;
  Time modified;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  std::vector<std::pair<std::string, std::string>>
      xattrs;  // full name (`security.capability`), value
};

// Bounds on what a header may make us hold. More than that is Exhausted, naming the bound.
inline constexpr size_t name_bytes_max = 4096;          // PATH_MAX: nothing longer can be made
inline constexpr size_t header_bytes_max = 1u << 20;    // of one entry's PAX records or long name
inline constexpr size_t xattrs_max = 256;               // of one entry
inline constexpr size_t xattr_value_bytes_max = 65536;  // the kernel's XATTR_SIZE_MAX
inline constexpr size_t sparse_pieces_max = 65536;      // of one entry

}  // namespace nacelle::codec::tar
