// .dockerignore: which files of a context are left out. The rules of moby/patternmatcher: the last
// pattern that matches decides, `!` takes back, a pattern that matches a directory matches what is
// in it. Pure: who walks the files asks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::codec {

inline constexpr size_t ignore_bytes_max = 1 << 20;
inline constexpr size_t ignore_patterns_max = 10'000;
inline constexpr size_t ignore_pattern_bytes_max = 4096;

// One pattern: `*` and `?` do not cross a slash, `**` does, `[a-z]` and `[^a-z]`, `\` escapes.
class Pattern {
 public:
  // Cleans (`./a//b/../c/` is `a/c`) and checks.
  static Result<Pattern> parse(std::string_view text);
  bool matches(std::string_view path) const;
  bool taken_back() const { return taken_back_; }
  // Cleaned, without its `!`.
  const std::string& text() const { return text_; }

 private:
  // `**`, `*`, `?`, one character, or a set of them.
  struct Token {
    enum class Type : uint8_t { Everything, Directories, Name, One, Character, Set };
    struct Range {
      char32_t low, high;
    };
    Type type = Type::Character;
    char32_t character = 0;
    bool negated = false;
    std::vector<Range> ranges;
    bool takes(char32_t c) const;
  };
  class Reader;
  bool matches_tokens(std::string_view path) const;

  std::string text_;
  bool taken_back_ = false;
  // Plain text, or `**` and plain text behind it, is compared as it is.
  bool is_plain_ = true;
  bool is_suffix_ = false;
  std::vector<Token> tokens_;
};

class IgnoreList {
 public:
  IgnoreList() = default;
  explicit IgnoreList(std::vector<Pattern> patterns) : patterns_(std::move(patterns)) {}

  // Whether `path` is left out; relative to the context, with slashes, cleaned: "a/b".
  bool ignores(std::string_view path) const;

  // For a walk from above, where a directory's answer saves asking again for what is in it: hand in
  // the Matched of the directory (empty for the top).
  using Matched = std::vector<bool>;
  bool ignores(std::string_view path, const Matched& parent, Matched& matched) const;

  // Whether something below the ignored directory `path` may still be wanted: else a walk need not
  // enter it.
  bool may_keep_below(std::string_view directory) const;

  bool empty() const { return patterns_.empty(); }
  const std::vector<Pattern>& patterns() const { return patterns_; }

 private:
  std::vector<Pattern> patterns_;
};

// The text of a .dockerignore: a pattern a line, `#` begins a comment (at the line's start only).
Result<IgnoreList> parse_ignore(std::string_view text);
// The same for patterns from elsewhere: COPY --exclude, --parents.
Result<IgnoreList> make_ignore_list(const std::vector<std::string>& patterns);

}  // namespace nacelle::codec
