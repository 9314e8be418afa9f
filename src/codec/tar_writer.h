// Writes tar archives: ustar where that holds the entry, PAX records where not (long names, large
// numbers, sub-second times, xattrs as SCHILY.xattr.*). The same entries give the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "codec/tar.h"
#include "nacelle/result.h"

namespace nacelle::codec::tar {

class Writer {
 public:
  // Appends the entry's header to `out`. Its content (entry.size bytes, File only) follows, which
  // the caller appends itself, and then end_entry(). Invalid: NUL in a name, a name beyond the
  // bounds of tar.h.
  Result<> begin_entry(const Entry& entry, std::string& out);
  // The padding after `size` bytes of content.
  void end_entry(uint64_t size, std::string& out);
  // The two zero blocks.
  void end_archive(std::string& out);
};

}  // namespace nacelle::codec::tar
