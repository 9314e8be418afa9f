// The patterns of ${x#p} and ${x/p/w}: `*` and `?`, with a backslash before what shall be itself.
// Neither matches the end of a line. Private to this floor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::build {

// How much matching one word may ask for, in characters looked at.
inline constexpr size_t pattern_steps_max = 8'000'000;

class ValuePattern {
 public:
  static Result<ValuePattern> parse(std::string_view text);

  // `value` without the shortest (or longest) beginning or end that matches.
  Result<std::string> without_prefix(std::string_view value, bool longest, size_t& steps) const;
  Result<std::string> without_suffix(std::string_view value, bool longest, size_t& steps) const;
  // With the first match, or all of them, replaced.
  struct Replacement {
    std::string_view text;
    bool all = false;
  };
  Result<std::string> replaced(std::string_view value, Replacement by, size_t& steps) const;

 private:
  std::vector<char32_t> tokens_;
};

}  // namespace nacelle::build
