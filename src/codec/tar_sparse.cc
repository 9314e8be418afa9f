#include "codec/tar_sparse.h"

#include <limits>

#include "base/text.h"
#include "codec/tar_header.h"

namespace nacelle::codec::tar {
namespace {

constexpr size_t gnu_number_bytes = 12;
constexpr int line_digits_max = 19;  // as many as 2^63 has

std::unexpected<Error> too_many() {
  return fail(Kind::Exhausted, cat("more than ", sparse_pieces_max, " pieces in the sparse map"));
}

}  // namespace

Result<> SparseMap::add(int64_t offset, int64_t bytes) {
  if (pieces_.size() == sparse_pieces_max) return too_many();
  if (offset < 0 || bytes < 0) return fail(Kind::Invalid, "sparse map: a negative number");
  pieces_.push_back({static_cast<uint64_t>(offset), static_cast<uint64_t>(bytes)});
  return {};
}

Result<> SparseMap::add_old_gnu(std::string_view fields) {
  for (; !fields.empty(); fields.remove_prefix(2 * gnu_number_bytes)) {
    if (fields[0] == '\0') return {};
    const auto offset = parse_number_field(fields.substr(0, gnu_number_bytes));
    const auto bytes = parse_number_field(fields.substr(gnu_number_bytes, gnu_number_bytes));
    if (!offset || !bytes) return fail(Kind::Invalid, "sparse map: not a number");
    TRY(add(*offset, *bytes));
  }
  return {};
}

Result<> SparseMap::add_pax(const PaxHeader& pax) {
  const std::vector<std::string_view>& by_turns = pax.sparse_numbers();
  std::string_view listed = pax.value(PaxKey::SparseMap);
  if (!by_turns.empty() && !listed.empty()) return fail(Kind::Invalid, "two sparse maps");
  const auto count = static_cast<uint64_t>(TRY(pax.number(PaxKey::SparseCount)));
  if (count > sparse_pieces_max) return too_many();
  uint64_t found = 0;
  std::optional<int64_t> offset;
  const auto take = [&](std::string_view text) -> Result<> {
    const std::optional<int64_t> number = parse_pax_number(text);
    if (!number) return fail(Kind::Invalid, "sparse map: not a number");
    ++found;
    if (!offset) {
      offset = number;
      return {};
    }
    return add(*std::exchange(offset, std::nullopt), *number);
  };
  for (const std::string_view number : by_turns) TRY(take(number));
  bool more = !listed.empty();
  while (more) {
    const size_t comma = listed.find(',');
    TRY(take(listed.substr(0, comma)));
    more = comma != std::string_view::npos;
    if (more) listed.remove_prefix(comma + 1);
  }
  if (found != 2 * count) {
    return fail(Kind::Invalid, cat("sparse map: ", found, " numbers for ", count, " pieces"));
  }
  return {};
}

Result<> SparseMap::check(uint64_t size, uint64_t held) {
  uint64_t end = 0;
  uint64_t sum = 0;
  for (const Piece& piece : pieces_) {
    // Each is below 2^63, so that these sums are exact.
    if (piece.offset < end) return fail(Kind::Invalid, "sparse map: pieces overlap or go back");
    end = piece.offset + piece.bytes;
    if (end > size) return fail(Kind::Invalid, "sparse map: a piece beyond the end of the file");
    sum += piece.bytes;
  }
  if (sum != held) {
    return fail(Kind::Invalid, cat("sparse map: pieces of ", sum, " bytes, content of ", held));
  }
  std::erase_if(pieces_, [](const Piece& piece) { return piece.bytes == 0; });
  return {};
}

Result<bool> SparseText::take_block(std::string_view block, SparseMap& map) {
  for (const char c : block) {
    if (c == '\n') {
      TRY(take_number(map));
      if (numbers_due_ == 0) return true;
      continue;
    }
    if (c < '0' || c > '9' || ++digits_ > line_digits_max) {
      return fail(Kind::Invalid, "sparse map: not a number");
    }
    number_ = number_ * 10 + static_cast<uint64_t>(c - '0');
  }
  return false;
}

Result<> SparseText::take_number(SparseMap& map) {
  if (digits_ == 0 || number_ > std::numeric_limits<int64_t>::max()) {
    return fail(Kind::Invalid, "sparse map: not a number");
  }
  const auto number = static_cast<int64_t>(std::exchange(number_, 0));
  digits_ = 0;
  if (!numbers_due_) {
    if (number > static_cast<int64_t>(sparse_pieces_max)) return too_many();
    numbers_due_ = 2 * static_cast<uint64_t>(number);
    return {};
  }
  --*numbers_due_;
  if (!offset_) {
    offset_ = number;
    return {};
  }
  return map.add(*std::exchange(offset_, std::nullopt), number);
}

}  // namespace nacelle::codec::tar
