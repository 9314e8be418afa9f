// Which parts of a sparse file an archive holds. Refuses maps that are out of order, overlap, leave
// the file, or do not account for exactly the bytes that the archive has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "codec/tar_pax.h"
#include "nacelle/result.h"

namespace nacelle::codec::tar {

struct Piece {
  uint64_t offset;  // in the file
  uint64_t bytes;
};

class SparseMap {
 public:
  void clear() { pieces_.clear(); }
  Result<> add(int64_t offset, int64_t bytes);
  // The pairs of an old GNU header, up to the first that is unset.
  Result<> add_old_gnu(std::string_view fields);
  // Versions 0.0 and 0.1, which have the map in their PAX records.
  Result<> add_pax(const PaxHeader& pax);
  // Whether this is the map of a file of `size` bytes of which `held` are in the archive. Pieces
  // without bytes, which mark the end of a file, are dropped.
  Result<> check(uint64_t size, uint64_t held);

  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  std::vector<Piece> pieces_;
};

// Version 1.0: the map stands before the content, as decimal lines that fill up whole blocks.
class SparseText {
 public:
  void clear() { *this = SparseText(); }
  // True when this block held the end of the map.
  Result<bool> take_block(std::string_view block, SparseMap& map);

 private:
  Result<> take_number(SparseMap& map);

  uint64_t number_ = 0;
  int digits_ = 0;
  std::optional<uint64_t> numbers_due_;  // known once the first line is read
  std::optional<int64_t> offset_;        // whose length is due
};

}  // namespace nacelle::codec::tar
