#include "build/dockerfile_words.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/text.h"
#include "build/expand.h"
#include "codec/json.h"

namespace nacelle::build {
namespace {

// What a quote began, which has to end it. The text is read byte by byte: all that matters is
// ASCII.
class QuoteState {
 public:
  explicit QuoteState(char escape) : escape_(escape) {}

  // Takes the byte at `at`, and the one it escapes; `at` is then at the last byte taken.
  void take(std::string_view text, size_t& at) {
    const char c = text[at];
    // Nothing can be escaped between single quotes.
    if (c == escape_ && quote_ != '\'') {
      if (at + 1 < text.size()) ++at;
    } else if (quote_ == 0 && (c == '\'' || c == '"')) {
      quote_ = c;
    } else if (c == quote_) {
      quote_ = 0;
    }
  }
  bool open() const { return quote_ != 0; }

 private:
  char escape_;
  char quote_ = 0;
};

// The end of the word that `text` begins with.
size_t word_length(std::string_view text, char escape) {
  QuoteState quotes(escape);
  size_t at = 0;
  for (; at < text.size(); ++at) {
    if (is_space(text[at]) && !quotes.open()) break;
    quotes.take(text, at);
  }
  return std::min(at, text.size());
}

// A flag's text without its quotes and backslashes.
std::string unquote(std::string_view text) {
  std::string out;
  char quote = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\\') {
      if (++at < text.size()) out += text[at];
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    } else {
      out += c;
    }
  }
  return out;
}

// As word_length for a flag, where a backslash escapes between single quotes too.
size_t flag_length(std::string_view text) {
  char quote = 0;
  size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\\') {
      ++at;
    } else if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (is_space(c)) {
      break;
    }
  }
  return std::min(at, text.size());
}

Flag make_flag(std::string_view where) {
  std::string text = unquote(where.substr(2));
  const size_t equals = text.find('=');
  Flag flag{.name = text.substr(0, equals), .value = std::nullopt, .where = where};
  if (equals != text.npos) flag.value = text.substr(equals + 1);
  return flag;
}

std::vector<Flag> take_flags(std::string_view& rest) {
  std::vector<Flag> flags;
  while (true) {
    rest = trim_left(rest);
    if (!rest.starts_with("--")) return flags;
    const std::string_view where = rest.substr(0, flag_length(rest));
    rest.remove_prefix(where.size());
    if (where == "--") return flags;
    flags.push_back(make_flag(where));
  }
}

// The instruction itself, or what an ONBUILD is to trigger.
InstructionParts split_trigger(std::string_view instruction) {
  InstructionParts parts = split_instruction(instruction);
  return to_lower(parts.keyword) == "onbuild" ? split_instruction(parts.arguments) : parts;
}

bool takes_heredocs(const InstructionParts& parts) {
  const std::string keyword = to_lower(parts.keyword);
  if (keyword != "run" && keyword != "copy" && keyword != "add") return false;
  const auto words = parse_json_words(parts.arguments);
  return words && !*words;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string to_upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

InstructionParts split_instruction(std::string_view text) {
  std::string_view rest = trim(text);
  InstructionParts parts;
  const auto end = std::ranges::find_if(rest, is_space);
  parts.keyword = rest.substr(0, static_cast<size_t>(end - rest.begin()));
  rest.remove_prefix(parts.keyword.size());
  parts.flags = take_flags(rest);
  parts.arguments = trim(rest);
  return parts;
}

std::vector<std::string_view> split_at_spaces(std::string_view text) {
  std::vector<std::string_view> words;
  while (!(text = trim_left(text)).empty()) {
    const auto end = std::ranges::find_if(text, is_space);
    words.push_back(text.substr(0, static_cast<size_t>(end - text.begin())));
    text.remove_prefix(words.back().size());
  }
  return words;
}

std::vector<std::string_view> split_words(std::string_view text, char escape) {
  std::vector<std::string_view> words;
  while (!(text = trim_left(text)).empty()) {
    words.push_back(text.substr(0, word_length(text, escape)));
    text.remove_prefix(words.back().size());
  }
  // An escape character with nothing behind it escapes nothing.
  if (!words.empty() && words.back() == std::string_view(&escape, 1)) words.pop_back();
  return words;
}

Result<std::optional<std::vector<std::string>>> parse_json_words(std::string_view text) {
  if (!trim_left(text).starts_with('[')) return std::nullopt;
  const auto document = codec::json::Document::parse(text);
  if (!document || document->root().type() != codec::json::Type::Array) return std::nullopt;
  std::vector<std::string> words;
  const auto array = document->root().array();
  for (const codec::json::Value value : *array) {
    if (value.type() != codec::json::Type::String)
      return fail(Kind::Invalid,
                  "when using JSON array syntax, arrays must be comprised of strings only");
    words.push_back(TRY(value.string()));
  }
  return words;
}

std::optional<Heredoc> parse_heredoc_word(std::string_view word) {
  const size_t digits = std::min(word.find_first_not_of("0123456789"), word.size());
  std::string_view rest = word.substr(digits);
  if (!rest.starts_with("<<")) return std::nullopt;
  rest.remove_prefix(2);
  Heredoc heredoc;
  if (rest.starts_with('-')) {
    heredoc.chomp = true;
    rest.remove_prefix(1);
  }
  if (rest.empty() || rest.contains('<')) return std::nullopt;
  heredoc.file_descriptor = parse_number<unsigned>(word.substr(0, digits)).value_or(0);

  // Quotes anywhere in the name mean that nothing in the document is replaced.
  ExpandOptions options{.keep_unset = true};
  const auto name = expand_all(rest, {}, options);
  options.keep_quotes = true;
  const auto quoted = expand_all(rest, {}, options);
  if (!name || !quoted || name->words.size() != 1 || quoted->words.size() != 1) return std::nullopt;
  heredoc.name = name->words[0];
  heredoc.expand = quoted->words[0].size() == heredoc.name.size();
  return heredoc;
}

std::vector<FoundHeredoc> find_heredocs(std::string_view instruction) {
  std::vector<FoundHeredoc> heredocs;
  if (!instruction.contains("<<")) return heredocs;
  const InstructionParts parts = split_trigger(instruction);
  if (!takes_heredocs(parts)) return heredocs;
  QuoteState quotes('\\');
  for (size_t at = 0; at < instruction.size(); ++at) quotes.take(instruction, at);
  if (quotes.open()) return heredocs;
  const bool is_run = to_lower(parts.keyword) == "run";
  std::string_view before;
  for (const std::string_view word : split_words(instruction, '\\')) {
    if (auto heredoc = parse_heredoc_word(word)) {
      heredocs.push_back({*std::move(heredoc), true});
    } else if (is_run && (before.ends_with("<<") || before.ends_with("<<-"))) {
      if (auto spaced = parse_heredoc_word(cat(before, word)))
        heredocs.push_back({*std::move(spaced), false});
    }
    before = word;
  }
  return heredocs;
}

std::string_view suggest(std::string_view word, const std::vector<std::string_view>& known) {
  if (word.size() > 20) return {};
  std::string_view best;
  // Short words are near to everything.
  size_t best_distance = std::min<size_t>(3, std::max<size_t>(word.size() / 2, 1)) + 1;
  for (const std::string_view candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance >= best_distance) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

}  // namespace nacelle::build
