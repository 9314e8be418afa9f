// What registries and token servers answer, as values: pure functions over bytes from strangers.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::image {

inline constexpr size_t token_reply_bytes_max = 1u << 20;
inline constexpr size_t token_bytes_max = 64u << 10;           // it becomes a header
inline constexpr size_t registry_errors_max = 3;               // of one answer, shown
inline constexpr std::chrono::seconds token_life_default{60};  // distribution's token spec
inline constexpr std::chrono::seconds token_life_max{24 * 3600};

struct Token {
  std::string text;  // visible ASCII: safe in a header
  std::chrono::seconds life = token_life_default;
};
Result<Token> parse_token_reply(std::string_view json);

// The codes and messages of an error answer (distribution-spec "Error Codes") as words for one
// line: `manifest unknown (MANIFEST_UNKNOWN)`. Empty when the body is nothing of the kind.
std::string registry_words(std::string_view body);

// `Content-Range: bytes 5-9/10`.
struct ContentRange {
  uint64_t first = 0, last = 0;
  std::optional<uint64_t> total;  // nothing: `*`
};
Result<ContentRange> parse_content_range(std::string_view text);

// `Retry-After: 7`. Dates are nothing: our clock may not be the server's.
std::optional<std::chrono::seconds> parse_retry_after(std::string_view text);

// A tag as distribution-spec writes it: safe in a path.
bool is_tag(std::string_view text);
// A repository name as distribution-spec writes it.
bool is_repository(std::string_view text);

}  // namespace nacelle::image
