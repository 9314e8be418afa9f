// What a server wants to know of us: the WWW-Authenticate header (RFC 9110 section 11.6.1). One
// header holds one challenge or several; all of it comes from a stranger and is bounded.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::http {

inline constexpr size_t challenge_bytes_max = 8u << 10;
inline constexpr size_t challenges_max = 8;
inline constexpr size_t challenge_parameters_max = 32;

struct Challenge {
  std::string scheme;                                           // lower case: "bearer"
  std::string token;                                            // of the form without parameters
  std::vector<std::pair<std::string, std::string>> parameters;  // names in lower case
  const std::string* find(std::string_view name) const;         // the first; null: none
};

Result<std::vector<Challenge>> parse_challenges(std::string_view header);

}  // namespace nacelle::http
