#include "build/expand_pattern.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/text.h"
#include "codec/json.h"
#include "codec/utf8.h"

namespace nacelle::build {
namespace {

using codec::append_character;
using codec::beyond_characters;
using codec::decode_characters;

// Tokens are characters; these two lie beyond them.
constexpr char32_t any_one = beyond_characters;
constexpr char32_t any_many = beyond_characters + 1;

using Characters = std::vector<char32_t>;

template <class Iterator>
std::string encode(Iterator begin, Iterator end) {
  std::string out;
  for (; begin != end; ++begin) append_character(out, *begin);
  return out;
}

std::unexpected<Error> too_expensive() {
  return fail(Kind::Exhausted, "the pattern takes too long to match");
}

// Follows all ways of matching at once, so that no pattern is worse than its length times the
// value's.
class Matcher {
 public:
  Matcher(const Characters& tokens, const Characters& value, size_t& steps)
      : tokens_(tokens), value_(value), steps_(steps), seen_(tokens.size() + 1) {}

  // How many characters from `from` on match: as few, or as many as can be.
  Result<std::optional<size_t>> match(size_t from, bool longest) {
    std::optional<size_t> found;
    states_.clear();
    reach(states_, 0, from);
    for (size_t at = from;; ++at) {
      if (seen_[tokens_.size()] == mark(at)) {
        found = at - from;
        if (!longest) return found;
      }
      if (at == value_.size() || states_.empty()) return found;
      steps_ += states_.size();
      if (steps_ > pattern_steps_max) return too_expensive();
      next_.clear();
      for (const size_t state : states_) step(state, at);
      std::swap(states_, next_);
    }
  }
  void begin() { ++round_; }

 private:
  // Each state once for each position of each attempt.
  size_t mark(size_t at) const { return round_ * (value_.size() + 1) + at + 1; }

  void reach(std::vector<size_t>& into, size_t state, size_t at) {
    while (seen_[state] != mark(at)) {
      seen_[state] = mark(at);
      if (state == tokens_.size()) return;
      into.push_back(state);
      if (tokens_[state] != any_many) return;
      ++state;
    }
  }

  void step(size_t state, size_t at) {
    const char32_t c = value_[at];
    const char32_t token = tokens_[state];
    if (token == any_many) {
      if (c != U'\n') reach(next_, state, at + 1);
    } else if (token == any_one ? c != U'\n' : c == token) {
      reach(next_, state + 1, at + 1);
    }
  }

  const Characters& tokens_;
  const Characters& value_;
  size_t& steps_;
  std::vector<size_t> seen_;
  std::vector<size_t> states_, next_;
  size_t round_ = 0;
};

}  // namespace

Result<ValuePattern> ValuePattern::parse(std::string_view text) {
  ValuePattern pattern;
  const Characters characters = decode_characters(text);
  for (size_t at = 0; at < characters.size(); ++at) {
    char32_t c = characters[at];
    if (c == U'*') {
      // Several in a row are one.
      if (pattern.tokens_.empty() || pattern.tokens_.back() != any_many)
        pattern.tokens_.push_back(any_many);
      continue;
    }
    if (c == U'?') {
      pattern.tokens_.push_back(any_one);
      continue;
    }
    if (c == U'\\') {
      constexpr std::u32string_view escapable = U"*?\\}/";
      if (++at == characters.size() || !escapable.contains(characters[at]))
        return fail(Kind::Invalid,
                    cat("invalid escape in the pattern ", codec::json::in_quotes(text)));
      c = characters[at];
    }
    pattern.tokens_.push_back(c);
  }
  return pattern;
}

Result<std::string> ValuePattern::without_prefix(std::string_view value, bool longest,
                                                 size_t& steps) const {
  const Characters characters = decode_characters(value);
  const auto matched = TRY(Matcher(tokens_, characters, steps).match(0, longest));
  if (!matched) return std::string(value);
  return encode(characters.begin() + static_cast<ptrdiff_t>(*matched), characters.end());
}

Result<std::string> ValuePattern::without_suffix(std::string_view value, bool longest,
                                                 size_t& steps) const {
  Characters characters = decode_characters(value);
  Characters tokens = tokens_;
  std::ranges::reverse(characters);
  std::ranges::reverse(tokens);
  const auto matched = TRY(Matcher(tokens, characters, steps).match(0, longest));
  if (!matched) return std::string(value);
  return encode(characters.rbegin(), characters.rend() - static_cast<ptrdiff_t>(*matched));
}

Result<std::string> ValuePattern::replaced(std::string_view value, Replacement by,
                                           size_t& steps) const {
  const Characters characters = decode_characters(value);
  Matcher matcher(tokens_, characters, steps);
  std::string out;
  bool done = false;
  bool behind_match = false;
  for (size_t at = 0; at <= characters.size();) {
    std::optional<size_t> matched;
    if (!done) {
      matcher.begin();
      matched = TRY(matcher.match(at, true));
      if (++steps > pattern_steps_max) return too_expensive();
    }
    // An empty match right behind another one is none.
    if (matched && (*matched > 0 || !behind_match)) {
      out += by.text;
      if (out.size() > pattern_steps_max) return too_expensive();
      done = !by.all;
    }
    behind_match = matched && *matched > 0;
    if (behind_match) {
      at += *matched;
      continue;
    }
    if (at < characters.size()) append_character(out, characters[at]);
    ++at;
  }
  return out;
}

}  // namespace nacelle::build
