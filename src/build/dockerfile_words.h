// The small grammar inside an instruction: keyword, flags, words, JSON form, key=value pairs and
// the names of here-documents. Everything returned by view is a part of the text that was handed
// in, so that an error can say where it stands. Private to this floor.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/space.h"
#include "build/dockerfile.h"
#include "nacelle/result.h"

namespace nacelle::build {

// ASCII only, as everything here that ignores case.
std::string to_lower(std::string_view text);
std::string to_upper(std::string_view text);

struct Flag {
  std::string name;                  // without its dashes
  std::optional<std::string> value;  // without quotes
  std::string_view where;
};

// `KEYWORD [--flag[=value]]... ARGUMENTS`
struct InstructionParts {
  std::string_view keyword;  // as written
  std::vector<Flag> flags;
  std::string_view arguments;  // trimmed
};
InstructionParts split_instruction(std::string_view text);

// At whitespace alone: quotes are characters like any other (COPY, EXPOSE, FROM).
std::vector<std::string_view> split_at_spaces(std::string_view text);

// At whitespace outside of quotes, which stay (ENV, LABEL, ARG).
std::vector<std::string_view> split_words(std::string_view text, char escape);

// `["a", "b"]`. Nothing where the text is no JSON array, which then means something else; an error
// where it is one and holds more than strings.
Result<std::optional<std::vector<std::string>>> parse_json_words(std::string_view text);

// `<<NAME` as one whole word; nothing where it is none.
std::optional<Heredoc> parse_heredoc_word(std::string_view word);

// Those that the instruction begins, still without content.
struct FoundHeredoc {
  Heredoc heredoc;
  // RUN's may have a space before their name, which is one only if some line below ends it:
  // `$((1 << x))` looks the same.
  bool certain = true;
};
std::vector<FoundHeredoc> find_heredocs(std::string_view instruction);

// The one of `known` that `word` was probably meant to be, or empty.
std::string_view suggest(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace nacelle::build
