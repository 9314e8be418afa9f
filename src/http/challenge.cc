#include "http/challenge.h"

#include <optional>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::http {

namespace {

bool is_token_character(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return c != '\0' && std::string_view("!#$%&'*+-.^_`|~").contains(c);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::vector<Challenge>> parse() {
    std::vector<Challenge> challenges;
    for (;;) {
      skip_separators();
      if (at_ == text_.size()) break;
      const std::string_view name = word();
      if (name.empty()) return bad("a scheme or parameter name is missing");
      // `name=` continues the challenge before it; a name alone begins the next.
      if (!challenges.empty() && challenges.back().token.empty() && parameter_follows()) {
        TRY(read_parameter(challenges.back(), name));
        continue;
      }
      if (challenges.size() == challenges_max) {
        return fail(Kind::Exhausted,
                    cat("WWW-Authenticate: more than ", challenges_max, " challenges"));
      }
      challenges.emplace_back().scheme = lower(name);
      if (at_ < text_.size() && text_[at_] != ' ' && text_[at_] != '\t' && text_[at_] != ',') {
        return bad("a scheme is followed by something else than a space");
      }
      skip_spaces();
      read_token(challenges.back());
    }
    if (challenges.empty()) return bad("no challenge");
    return challenges;
  }

 private:
  std::unexpected<Error> bad(std::string_view what) const {
    return fail(Kind::Invalid, cat("WWW-Authenticate ", codec::json::in_quotes(text_), ": ", what));
  }

  void skip_spaces() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  void skip_separators() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == ',')) {
      ++at_;
    }
  }
  std::string_view word() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_token_character(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  bool parameter_follows() const {
    size_t at = at_;
    while (at < text_.size() && (text_[at] == ' ' || text_[at] == '\t')) ++at;
    return at < text_.size() && text_[at] == '=';
  }

  // The form `Negotiate YWJj==`: one word up to the next comma, of characters base 64 has.
  void read_token(Challenge& challenge) {
    size_t end = at_;
    while (end < text_.size() && (is_token_character(text_[end]) || text_[end] == '/')) ++end;
    const size_t letters = end;
    while (end < text_.size() && text_[end] == '=') ++end;
    size_t after = end;
    while (after < text_.size() && (text_[after] == ' ' || text_[after] == '\t')) ++after;
    const bool ends = after == text_.size() || text_[after] == ',';
    if (letters == at_ || !ends) return;
    challenge.token = text_.substr(at_, end - at_);
    at_ = end;
  }

  Result<> read_parameter(Challenge& challenge, std::string_view name) {
    if (challenge.parameters.size() == challenge_parameters_max) {
      return fail(Kind::Exhausted,
                  cat("WWW-Authenticate: more than ", challenge_parameters_max, " parameters"));
    }
    skip_spaces();
    ++at_;  // '='
    skip_spaces();
    std::string value;
    if (at_ < text_.size() && text_[at_] == '"') {
      TRY(read_quoted(value));
    } else {
      value = word();
      if (value.empty()) return bad("a parameter has no value");
    }
    const size_t end = at_;
    skip_spaces();
    if (at_ < text_.size() && text_[at_] != ',') return bad("a comma is missing");
    at_ = end;
    challenge.parameters.emplace_back(lower(name), std::move(value));
    return {};
  }

  Result<> read_quoted(std::string& out) {
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        return {};
      }
      if (text_[at_] == '\\' && ++at_ == text_.size()) break;
      out += text_[at_];
    }
    return bad("a quoted text does not end");
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

const std::string* Challenge::find(std::string_view name) const {
  for (const auto& [key, value] : parameters) {
    if (key == name) return &value;
  }
  return nullptr;
}

Result<std::vector<Challenge>> parse_challenges(std::string_view header) {
  if (header.size() > challenge_bytes_max) {
    return fail(Kind::Exhausted,
                cat("WWW-Authenticate: longer than ", challenge_bytes_max, " bytes"));
  }
  for (const char c : header) {
    if ((static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7f) {
      return fail(Kind::Invalid, "WWW-Authenticate: has control characters");
    }
  }
  return Parser(header).parse();
}

}  // namespace nacelle::http
