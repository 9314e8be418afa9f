#include "codec/ignore.h"

#include <algorithm>
#include <optional>

#include "base/space.h"
#include "base/text.h"
#include "codec/json.h"
#include "codec/utf8.h"

namespace nacelle::codec {
namespace {

using codec::json::in_quotes;

// `./a//b/../c/` is `a/c`: as Go's path.Clean, which knows nothing of escapes.
std::string clean(std::string_view path) {
  const bool absolute = path.starts_with('/');
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::string_view part = take_until(path, '/');
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty() && parts.back() != "..") {
      parts.pop_back();
    } else if (!absolute) {
      parts.push_back(part);
    }
  }
  std::string out(absolute ? "/" : "");
  for (const std::string_view part : parts) {
    if (!out.empty() && out != "/") out += '/';
    out += part;
  }
  return out.empty() ? "." : out;
}

}  // namespace

bool Pattern::Token::takes(char32_t c) const {
  switch (type) {
    case Type::Everything:
    case Type::Directories: return true;
    case Type::Name:
    case Type::One: return c != U'/';
    case Type::Character: return c == character;
    case Type::Set: break;
  }
  const bool inside =
      std::ranges::any_of(ranges, [c](const Range& r) { return r.low <= c && c <= r.high; });
  return inside != negated;
}

// Reads the text of one pattern into tokens.
class Pattern::Reader {
 public:
  explicit Reader(Pattern& pattern)
      : pattern_(pattern), characters_(decode_characters(pattern.text_)) {}

  Result<> read() {
    while (at_ < characters_.size()) {
      const char32_t c = characters_[at_++];
      if (c == U'*') {
        read_star();
      } else if (c == U'?') {
        add(Token{.type = Token::Type::One});
        pattern_.is_plain_ = pattern_.is_suffix_ = false;
      } else if (c == U'[') {
        TRY(read_set());
        pattern_.is_plain_ = pattern_.is_suffix_ = false;
      } else if (c == U'\\') {
        if (at_ == characters_.size()) return bad("ends in a backslash");
        add(Token{.character = characters_[at_++]});
        pattern_.is_plain_ = pattern_.is_suffix_ = false;
      } else {
        add(Token{.character = c});
      }
    }
    return {};
  }

 private:
  using Type = Token::Type;

  void add(Token token) { pattern_.tokens_.push_back(std::move(token)); }
  bool next_is(char32_t c) const { return at_ < characters_.size() && characters_[at_] == c; }
  std::unexpected<Error> bad(std::string_view why) const {
    return fail(Kind::Invalid, cat("pattern ", in_quotes(pattern_.text_), " ", why));
  }

  void read_star() {
    const bool at_start = at_ == 1;
    pattern_.is_plain_ = pattern_.is_suffix_ = false;
    if (!next_is(U'*')) return add(Token{.type = Type::Name});
    ++at_;
    if (next_is(U'/')) ++at_;
    if (at_ == characters_.size()) return add(Token{.type = Type::Everything});
    // Several are one.
    const bool again =
        !pattern_.tokens_.empty() && pattern_.tokens_.back().type == Type::Directories;
    if (!again) add(Token{.type = Type::Directories});
    // `**file` alone is an end of the whole path, not of a name in it.
    pattern_.is_suffix_ = at_start;
  }

  // `[a-z]`, behind its bracket.
  Result<> read_set() {
    Token token{.type = Type::Set};
    if (next_is(U'^')) {
      token.negated = true;
      ++at_;
    }
    while (token.ranges.empty() || !next_is(U']')) {
      const char32_t low = TRY(read_member());
      char32_t high = low;
      if (next_is(U'-')) {
        ++at_;
        high = TRY(read_member());
      }
      token.ranges.push_back({low, high});
    }
    ++at_;
    add(std::move(token));
    return {};
  }

  Result<char32_t> read_member() {
    if (at_ == characters_.size()) return bad("has a [ without its ]");
    if (next_is(U'-') || next_is(U']'))
      return bad("has a set that must say its - or ] as \\- or \\]");
    if (next_is(U'\\') && ++at_ == characters_.size()) return bad("ends in a backslash");
    const char32_t member = characters_[at_++];
    if (at_ == characters_.size()) return bad("has a [ without its ]");
    return member;
  }

  Pattern& pattern_;
  std::vector<char32_t> characters_;
  size_t at_ = 0;
};

Result<Pattern> Pattern::parse(std::string_view text) {
  if (text.size() > ignore_pattern_bytes_max)
    return fail(Kind::Exhausted,
                cat("a pattern of more than ", ignore_pattern_bytes_max, " bytes"));
  Pattern pattern;
  text = trim(text);
  if (text.starts_with('!')) {
    pattern.taken_back_ = true;
    text = trim(text.substr(1));
    if (text.empty()) return fail(Kind::Invalid, "illegal exclusion pattern: \"!\"");
  }
  if (text.empty()) return fail(Kind::Invalid, "a pattern is empty");
  pattern.text_ = clean(text);
  // Absolute is meant from the context's top.
  if (pattern.text_.size() > 1 && pattern.text_[0] == '/') pattern.text_.erase(0, 1);
  TRY(Reader(pattern).read());
  return pattern;
}

bool Pattern::matches(std::string_view path) const {
  if (is_plain_) return path == text_;
  if (!is_suffix_) return matches_tokens(path);
  const std::string_view suffix = std::string_view(text_).substr(2);
  return path.ends_with(suffix) || (suffix.starts_with('/') && path == suffix.substr(1));
}

// All ways of matching are followed at once: never worse than the two lengths multiplied.
bool Pattern::matches_tokens(std::string_view path) const {
  using Type = Token::Type;
  const std::vector<char32_t> characters = decode_characters(path);
  // The tokens that the next character may belong to. `seen` has the position each was last put in
  // at, counted from 1.
  std::vector<size_t> states, next, seen(tokens_.size() + 1);
  const auto put = [&](size_t state, size_t at) {
    if (seen[state] == at) return;
    seen[state] = at;
    next.push_back(state);
  };
  // Before a token: those that may stand for nothing are passed as well. Few are ever in a row.
  const auto enter = [&](size_t state, size_t at) {
    for (put(state, at); state < tokens_.size(); put(++state, at)) {
      const Type type = tokens_[state].type;
      if (type == Type::Character || type == Type::One || type == Type::Set) return;
    }
  };
  enter(0, 1);
  for (size_t at = 0; at < characters.size() && !next.empty(); ++at) {
    std::swap(states, next);
    next.clear();
    for (const size_t state : states) {
      if (state == tokens_.size() || !tokens_[state].takes(characters[at])) continue;
      const Type type = tokens_[state].type;
      const bool repeats = type == Type::Everything || type == Type::Name;
      // Directories are over behind a slash only.
      if (type == Type::Directories) put(state, at + 2);
      if (type != Type::Directories || characters[at] == U'/')
        enter(repeats ? state : state + 1, at + 2);
    }
  }
  return seen[tokens_.size()] == characters.size() + 1;
}

namespace {

bool matches_here_or_above(const Pattern& pattern, std::string_view path) {
  if (pattern.matches(path)) return true;
  for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
    if (slash > 0 && pattern.matches(path.substr(0, slash))) return true;
  }
  return false;
}

// Nobody leaves out the context itself.
bool is_top(std::string_view path) { return path.empty() || path == "."; }

}  // namespace

bool IgnoreList::ignores(std::string_view path) const {
  if (is_top(path)) return false;
  bool ignored = false;
  for (const Pattern& pattern : patterns_) {
    // What would change nothing is not asked.
    if (pattern.taken_back() == ignored && matches_here_or_above(pattern, path))
      ignored = !pattern.taken_back();
  }
  return ignored;
}

bool IgnoreList::ignores(std::string_view path, const Matched& parent, Matched& matched) const {
  matched.assign(patterns_.size(), false);
  if (is_top(path)) return false;
  bool ignored = false;
  for (size_t i = 0; i < patterns_.size(); ++i) {
    // All are asked, so that the answer for what is below is whole. Docker asks fewer, and in
    // `a`, `!a/b/c`, `a/b` forgets the last, which it documents to be the one that counts.
    const bool inherited = i < parent.size() && parent[i];
    matched[i] = inherited || (parent.empty() ? matches_here_or_above(patterns_[i], path)
                                              : patterns_[i].matches(path));
    if (matched[i]) ignored = !patterns_[i].taken_back();
  }
  return ignored;
}

bool IgnoreList::may_keep_below(std::string_view directory) const {
  const std::string below = cat(directory, "/");
  return std::ranges::any_of(patterns_, [&](const Pattern& pattern) {
    if (!pattern.taken_back()) return false;
    // Up to its first special character a pattern says which directories it is about.
    const std::string_view text = pattern.text();
    const std::string_view fixed = text.substr(0, text.find_first_of("*?[\\"));
    return fixed.starts_with(below) || std::string_view(below).starts_with(fixed);
  });
}

Result<IgnoreList> make_ignore_list(const std::vector<std::string>& patterns) {
  std::vector<Pattern> parsed;
  for (const std::string& text : patterns) {
    if (trim(text).empty()) continue;
    if (parsed.size() == ignore_patterns_max)
      return fail(Kind::Exhausted, cat("more than ", ignore_patterns_max, " patterns"));
    parsed.push_back(TRY(Pattern::parse(text)));
  }
  return IgnoreList(std::move(parsed));
}

Result<IgnoreList> parse_ignore(std::string_view text) {
  if (text.size() > ignore_bytes_max)
    return fail(Kind::Exhausted, cat("more than ", ignore_bytes_max, " bytes of patterns"));
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<Pattern> patterns;
  for (size_t line = 1; !text.empty(); ++line) {
    const std::string_view written = take_until(text, '\n');
    if (written.starts_with('#') || trim(written).empty()) continue;
    if (patterns.size() == ignore_patterns_max)
      return fail(Kind::Exhausted, cat("more than ", ignore_patterns_max, " patterns"));
    patterns.push_back(TRY(Pattern::parse(written).context([&] { return cat("line ", line); })));
  }
  return IgnoreList(std::move(patterns));
}

}  // namespace nacelle::codec
