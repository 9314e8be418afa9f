// When something happened, as HTTP writes it (RFC 9110, 5.6.7): the form of today and the two that
// are obsolete. Nothing for whatever is no such date.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nacelle::http {

// Seconds since 1970, which is as early as it gets.
std::optional<int64_t> parse_date(std::string_view text);

}  // namespace nacelle::http
