#include "build/expand.h"

#include <optional>
#include <utility>

#include "base/text.h"
#include "build/dockerfile_words.h"
#include "build/expand_pattern.h"
#include "codec/json.h"

namespace nacelle::build {
namespace {

std::unexpected<Error> invalid(std::string complaint) {
  return fail(Kind::Invalid, std::move(complaint));
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// Collects text, and the words it falls into.
class Words {
 public:
  // From outside of quotes: spaces end a word.
  void add(std::string_view text) {
    for (const char c : text) {
      if (!is_space(c)) {
        word_ += c;
      } else if (!word_.empty()) {
        words_.push_back(std::exchange(word_, {}));
      }
    }
  }
  // From inside, or escaped.
  void add_protected(std::string_view text) { word_ += text; }

  std::vector<std::string> take() && {
    if (!word_.empty()) words_.push_back(std::move(word_));
    return std::move(words_);
  }

 private:
  std::string word_;
  std::vector<std::string> words_;
};

// Reads a word from left to right. What is in braces is read by the same functions, one level
// deeper.
class Expander {
 public:
  Expander(std::string_view word, const Environment& environment, const ExpandOptions& options)
      : rest_(word), environment_(environment), options_(options) {}

  Result<Expanded> run() {
    Words words;
    out_.text = TRY(until('\0', options_.keep_escapes, &words));
    out_.words = std::move(words).take();
    return std::move(out_);
  }

 private:
  bool at_end() const { return rest_.empty(); }
  bool next_is(char c) const { return rest_.starts_with(c); }
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  Result<> append(std::string& out, std::string_view text) const {
    if (out.size() + text.size() > expanded_bytes_max)
      return fail(Kind::Exhausted, cat("a word of more than ", expanded_bytes_max, " bytes"));
    out += text;
    return {};
  }

  // Text up to `stop` (which is taken), or to the end where `stop` is NUL.
  Result<std::string> until(char stop, bool keep_escapes, Words* words = nullptr) {
    std::string out;
    while (!at_end()) {
      const char c = rest_.front();
      if (stop != '\0' && c == stop) {
        take();
        return out;
      }
      if (c == '$' || (!options_.ignore_quotes && (c == '\'' || c == '"'))) {
        const std::string part = TRY(special(c, keep_escapes));
        TRY(append(out, part));
        if (words != nullptr) c == '$' ? words->add(part) : words->add_protected(part);
        continue;
      }
      const std::string_view plain = take_plain(keep_escapes);
      const bool is_protected = c == options_.escape;
      TRY(append(out, plain));
      if (words != nullptr) is_protected ? words->add_protected(plain) : words->add(plain);
    }
    if (stop != '\0') return invalid(cat("syntax error: missing '", stop, "' in ${}"));
    return out;
  }

  // One character, or an escape character with what it escapes. At the very end it escapes nothing
  // and is gone.
  std::string_view take_plain(bool keep_escapes) {
    if (rest_.front() != options_.escape) {
      const std::string_view one = rest_.substr(0, 1);
      take();
      return one;
    }
    const std::string_view both = rest_.substr(0, 2);
    rest_.remove_prefix(both.size());
    return keep_escapes ? both : both.substr(1);
  }

  Result<std::string> special(char c, bool keep_escapes) {
    if (c == '\'') return single_quoted();
    if (++depth_ > expand_depth_max)
      return fail(Kind::Exhausted, "variables are nested too deeply");
    Result<std::string> result = c == '"' ? double_quoted(keep_escapes) : dollar(keep_escapes);
    --depth_;
    return result;
  }

  Result<std::string> single_quoted() {
    const size_t end = rest_.find('\'', 1);
    if (end == rest_.npos)
      return invalid("unexpected end of statement while looking for matching single-quote");
    const std::string_view whole = rest_.substr(0, end + 1);
    rest_.remove_prefix(whole.size());
    return std::string(options_.keep_quotes ? whole : whole.substr(1, whole.size() - 2));
  }

  Result<std::string> double_quoted(bool keep_escapes) {
    std::string out;
    if (const char quote = take(); options_.keep_quotes) out += quote;
    while (!at_end()) {
      if (next_is('$')) {
        TRY(append(out, TRY(special('$', keep_escapes))));
        continue;
      }
      const char c = take();
      if (c == '"') {
        if (options_.keep_quotes) out += c;
        return out;
      }
      if (c != options_.escape) {
        TRY(append(out, {&c, 1}));
        continue;
      }
      // It escapes these three; before anything else it is itself. At the end it is gone.
      const bool escapes = next_is('"') || next_is('$') || next_is(options_.escape);
      if (keep_escapes || (!escapes && !at_end())) out += c;
      if (escapes) out += take();
    }
    return invalid("unexpected end of statement while looking for matching double-quote");
  }

  // A name, one special parameter ($@), or digits.
  std::string_view take_name() {
    constexpr std::string_view special = "@*#?-$!";
    size_t length = 0;
    if (!at_end() && special.contains(rest_.front())) {
      length = 1;
    } else if (!at_end() && is_digit(rest_.front())) {
      while (length < rest_.size() && is_digit(rest_[length])) ++length;
    } else {
      while (length < rest_.size() && is_name_character(rest_[length])) ++length;
    }
    const std::string_view name = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return name;
  }

  std::optional<std::string_view> look_up(std::string_view name) {
    const auto found = environment_.find(name);
    if (found == environment_.end()) {
      out_.unset.emplace(name);
      return std::nullopt;
    }
    out_.used.emplace(name);
    return found->second;
  }

  Result<std::string> dollar(bool keep_escapes) {
    take();
    if (!next_is('{')) {
      const std::string_view name = take_name();
      if (name.empty()) return "$";
      const auto value = look_up(name);
      if (!value && options_.keep_unset) return cat("$", name);
      return std::string(value.value_or(""));
    }
    take();
    if (at_end()) return invalid("syntax error: missing '}'");
    if (next_is('{') || next_is('}') || next_is(':'))
      return invalid("syntax error: bad substitution");
    const std::string_view name = take_name();
    if (at_end()) return invalid("syntax error: missing '}'");
    if (next_is('}')) {
      take();
      const auto value = look_up(name);
      if (!value && options_.keep_unset) return cat("${", name, "}");
      return std::string(value.value_or(""));
    }
    if (next_is('/')) return replace(name);
    return modify(name, keep_escapes);
  }

  // Behind the name of `${name:-word}`, `${name#pattern}`.
  Result<std::string> modify(std::string_view name, bool) {
    std::string modifier(1, take());
    const bool empty_is_unset = modifier == ":";
    if (empty_is_unset) {
      if (at_end()) return invalid("syntax error: missing '}'");
      modifier += take();
    }
    const char operation = modifier.back();
    constexpr std::string_view known = "+-?#%";
    const bool is_pattern = operation == '#' || operation == '%';
    if (!known.contains(operation) || (empty_is_unset && is_pattern))
      return invalid(
          cat("unsupported modifier (", codec::json::in_quotes(modifier), ") in substitution"));
    std::string word = TRY(until('}', is_pattern));
    const auto value = look_up(name);
    if (!value && options_.keep_unset) return cat("${", name, modifier, word, "}");
    if (is_pattern) return trimmed(value.value_or(""), operation, word);

    const bool has_value = value && !(empty_is_unset && value->empty());
    if (operation == '-') return has_value ? std::string(*value) : word;
    if (operation == '+') return has_value ? word : std::string();
    if (has_value) return std::string(*value);
    if (word.empty()) word = value ? "is not allowed to be empty" : "is not allowed to be unset";
    return invalid(cat(name, ": ", word));
  }

  Result<std::string> trimmed(std::string_view value, char operation, std::string_view pattern) {
    const bool longest = pattern.starts_with(operation);
    if (longest) pattern.remove_prefix(1);
    const ValuePattern parsed = TRY(ValuePattern::parse(pattern));
    if (operation == '#') return parsed.without_prefix(value, longest, pattern_steps_);
    return parsed.without_suffix(value, longest, pattern_steps_);
  }

  // Behind the name of `${name/pattern/word}`.
  Result<std::string> replace(std::string_view name) {
    take();
    const bool all = next_is('/');
    if (all) take();
    const std::string pattern = TRY(until('/', true));
    const std::string word = TRY(until('}', true));
    const auto value = look_up(name);
    if (!value && options_.keep_unset)
      return cat("${", name, all ? "//" : "/", pattern, "/", word, "}");
    const ValuePattern parsed = TRY(ValuePattern::parse(pattern));
    return parsed.replaced(value.value_or(""), {.text = word, .all = all}, pattern_steps_);
  }

  std::string_view rest_;
  const Environment& environment_;
  const ExpandOptions& options_;
  Expanded out_;
  size_t depth_ = 0;
  size_t pattern_steps_ = 0;
};

}  // namespace

Result<Expanded> expand_all(std::string_view word, const Environment& environment,
                            const ExpandOptions& options) {
  return Expander(word, environment, options).run().context([&] {
    return cat("failed to process ", codec::json::in_quotes(word));
  });
}

Result<std::string> expand(std::string_view word, const Environment& environment,
                           const ExpandOptions& options) {
  return TRY(expand_all(word, environment, options)).text;
}

}  // namespace nacelle::build
