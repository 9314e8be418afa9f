// What a foreign JSON document may cost before it is parsed: the tree of one made of empty values
// is twenty times its size, and would end a worker instead of being refused.
#pragma once

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "nacelle/result.h"

namespace nacelle::image {

inline constexpr size_t document_values_max = 256u << 10;

// Counts what could begin a value, strings' contents included: an index of the most entries there
// may be has a third of this.
inline Result<> check_document(std::string_view json) {
  const auto begins = std::ranges::count_if(
      json, [](char c) { return c == ',' || c == ':' || c == '[' || c == '{'; });
  if (static_cast<size_t>(begins) <= document_values_max) return {};
  return fail(Kind::Exhausted, cat("more than ", document_values_max, " values in one document"));
}

}  // namespace nacelle::image
