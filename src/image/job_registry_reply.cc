#include "image/job_registry_reply.h"

#include <algorithm>

#include "base/text.h"
#include "codec/json.h"
#include "http/client.h"

namespace nacelle::image {

namespace {

using codec::json::Document;
using codec::json::Value;

constexpr size_t json_depth_max = 16;
constexpr size_t word_bytes_max = 300;

// A string, or nothing where there is something else: error answers are read with good will.
std::string words_at(const codec::json::Object& object, std::string_view key) {
  const std::optional<Value> value = object.find(key);
  if (!value || value->type() != codec::json::Type::String) return {};
  Result<std::string> text = value->string();
  return text ? http::plain_words(*text, word_bytes_max) : std::string();
}

std::string words_of(const Value& error) {
  const auto object = error.object();
  if (!object) return {};
  const std::string message = words_at(*object, "message");
  const std::string code = words_at(*object, "code");
  if (message.empty()) return code;
  return code.empty() ? message : cat(message, " (", code, ')');
}

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// path-component := [a-z0-9]+ ((\.|_|__|-+) [a-z0-9]+)*
bool is_component(std::string_view text) {
  if (text.empty() || !is_lower_or_digit(text.front()) || !is_lower_or_digit(text.back())) {
    return false;
  }
  for (size_t at = 0; at < text.size();) {
    if (is_lower_or_digit(text[at])) {
      ++at;
      continue;
    }
    size_t end = at;
    while (!is_lower_or_digit(text[end])) ++end;  // ends: the last one is
    const std::string_view between = text.substr(at, end - at);
    const bool dashes = std::ranges::all_of(between, [](char c) { return c == '-'; });
    if (!dashes && between != "." && between != "_" && between != "__") return false;
    at = end;
  }
  return true;
}

}  // namespace

Result<Token> parse_token_reply(std::string_view json) {
  const Document document =
      TRY(Document::parse(json, {.bytes_max = token_reply_bytes_max, .depth_max = json_depth_max}));
  const auto object = TRY(document.root().object());
  Token token;
  TRY(object.maybe("token", token.text));
  if (token.text.empty()) TRY(object.maybe("access_token", token.text));
  if (token.text.empty()) return fail(Kind::Invalid, "token: missing");
  if (token.text.size() > token_bytes_max) {
    return fail(Kind::Exhausted, cat("token: longer than ", token_bytes_max, " bytes"));
  }
  // Whatever else is in there could end the header and begin another.
  const auto visible = [](char c) { return c > ' ' && c < 0x7f; };
  if (!std::ranges::all_of(token.text, visible)) {
    return fail(Kind::Invalid, "token: has characters that a header cannot carry");
  }
  // Some servers write a fraction or a text; the default is right for those, too.
  if (const auto life = object.find("expires_in")) {
    if (const auto seconds = life->integer<int64_t>(); seconds && *seconds > 0) {
      token.life = std::chrono::seconds(
          std::clamp<int64_t>(*seconds, token_life_default.count(), token_life_max.count()));
    }
  }
  return token;
}

std::string registry_words(std::string_view body) {
  const auto document =
      Document::parse(body, {.bytes_max = http::error_body_bytes_max, .depth_max = json_depth_max});
  if (!document) return {};
  const auto object = document->root().object();
  if (!object) return {};
  const std::optional<Value> errors = object->find("errors");
  if (!errors) {
    // Token servers say {"details": "..."} or {"error_description": "..."}.
    std::string words = words_at(*object, "details");
    if (words.empty()) words = words_at(*object, "error_description");
    if (words.empty()) words = words_at(*object, "message");
    return words;
  }
  const auto list = errors->array();
  if (!list) return {};
  std::string out;
  size_t shown = 0;
  for (const Value error : *list) {
    if (shown == registry_errors_max) break;
    const std::string words = words_of(error);
    if (words.empty()) continue;
    out += cat(out.empty() ? "" : "; ", words);
    ++shown;
  }
  return out;
}

Result<ContentRange> parse_content_range(std::string_view text) {
  const auto bad = [&] {
    return fail(Kind::Invalid, cat("Content-Range ", codec::json::in_quotes(text)));
  };
  std::string_view rest = text;
  if (take_until(rest, ' ') != "bytes") return bad();
  const auto first = parse_number<uint64_t>(take_until(rest, '-'));
  const auto last = parse_number<uint64_t>(take_until(rest, '/'));
  if (!first || !last || *last < *first) return bad();
  ContentRange range{.first = *first, .last = *last};
  if (rest == "*") return range;
  range.total = parse_number<uint64_t>(rest);
  if (!range.total || *range.total <= range.last) return bad();
  return range;
}

std::optional<std::chrono::seconds> parse_retry_after(std::string_view text) {
  const auto seconds = parse_number<uint32_t>(text);
  if (!seconds) return std::nullopt;
  return std::chrono::seconds(*seconds);
}

bool is_tag(std::string_view text) {
  if (text.empty() || text.size() > 128 || text.front() == '.' || text.front() == '-') return false;
  return std::ranges::all_of(text, [](char c) {
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '-';
  });
}

bool is_repository(std::string_view text) {
  if (text.size() > 255) return false;
  for (;;) {
    const size_t slash = text.find('/');
    if (!is_component(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

}  // namespace nacelle::image
