#include "codec/json.h"

#include <simdjson.h>
#if defined(__x86_64__)
#include <sys/platform/x86.h>
#endif

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "codec/json_writer.h"

namespace nacelle::codec::json {
namespace {

// simdjson's first stage finds every token of a text in one vectorised pass and checks its UTF-8
// and its strings' bounds. The grammar is ours: its tape keeps no positions, which raw() and the
// paths of errors need.
using Tokens = std::unique_ptr<simdjson::internal::dom_parser_implementation>;

// simdjson's own choice runs cpuid, which traps inside virtual machines; libc has asked already.
const simdjson::implementation* choose_implementation() {
#if defined(__x86_64__)
  const bool vectors = CPU_FEATURE_ACTIVE(SSE4_2) && CPU_FEATURE_ACTIVE(PCLMULQDQ);
  return simdjson::get_available_implementations()[vectors ? "westmere" : "fallback"];
#else
  return simdjson::get_active_implementation();
#endif
}

constexpr size_t echo_bytes_max = 64;

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Whether `text` is a number by RFC 8259.
bool is_number(std::string_view text) {
  size_t at = 0;
  const auto digits = [&] {
    const size_t first = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at - first;
  };
  const auto take = [&](char c) { return at < text.size() && text[at] == c && ++at != 0; };
  take('-');
  if (!take('0') && digits() == 0) return false;
  if (take('.') && digits() == 0) return false;
  if (take('e') || take('E')) {
    if (!take('+')) take('-');
    if (digits() == 0) return false;
  }
  return at == text.size();
}

std::optional<uint32_t> hex4(std::string_view text) {
  if (text.size() < 4) return std::nullopt;
  const auto unit = parse_number<uint16_t>(text.substr(0, 4), 16);
  if (!unit) return std::nullopt;
  return *unit;
}

void append_utf8(std::string& out, uint32_t point) {
  const auto byte = [&](uint32_t bits) { out += static_cast<char>(bits); };
  if (point < 0x80) return byte(point);
  if (point < 0x800) {
    byte(0xc0 | point >> 6);
    return byte(0x80 | (point & 0x3f));
  }
  if (point < 0x10000) {
    byte(0xe0 | point >> 12);
  } else {
    byte(0xf0 | point >> 18);
    byte(0x80 | (point >> 12 & 0x3f));
  }
  byte(0x80 | (point >> 6 & 0x3f));
  byte(0x80 | (point & 0x3f));
}

// The code point of a \u escape whose digits `rest` begins with, cut off it; nothing when they are
// bad or are half of a surrogate pair.
std::optional<uint32_t> take_unicode(std::string_view& rest) {
  const auto high = hex4(rest);
  if (!high) return std::nullopt;
  rest.remove_prefix(4);
  if (*high < 0xd800 || *high > 0xdfff) return high;
  if (*high > 0xdbff || !rest.starts_with("\\u")) return std::nullopt;
  const auto low = hex4(rest.substr(2));
  if (!low || *low < 0xdc00 || *low > 0xdfff) return std::nullopt;
  rest.remove_prefix(6);
  return 0x10000 + ((*high - 0xd800) << 10) + (*low - 0xdc00);
}

// What is between the quotes, with its escapes resolved; nothing when one of them is bad.
std::optional<std::string> unescape(std::string_view rest) {
  std::string out;
  out.reserve(rest.size());
  while (true) {
    const size_t plain = std::min(rest.find('\\'), rest.size());
    out += rest.substr(0, plain);
    rest.remove_prefix(plain);
    if (rest.empty()) return out;
    if (rest.size() < 2) return std::nullopt;
    const char kind = rest[1];
    rest.remove_prefix(2);
    if (kind == 'u') {
      const auto point = take_unicode(rest);
      if (!point) return std::nullopt;
      append_utf8(out, *point);
      continue;
    }
    constexpr std::string_view kinds = "\"\\/bfnrt";
    constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
    const size_t which = kinds.find(kind);
    if (which == std::string_view::npos) return std::nullopt;
    out += meanings[which];
  }
}

// The number of the first line that is not UTF-8: simdjson says only that there is one.
size_t line_of_bad_utf8(std::string_view source) {
  size_t line = 1;
  while (!source.empty() && is_utf8(take_until(source, '\n'))) ++line;
  return line;
}

const char* expected(Type type) {
  switch (type) {
    case Type::Null: return "expected null";
    case Type::Bool: return "expected true or false";
    case Type::Number: return "expected an integer";
    case Type::String: return "expected a string";
    case Type::Array: return "expected an array";
    case Type::Object: return "expected an object";
  }
  return "";
}

}  // namespace

// Turns tokens into nodes, holding the text to the grammar of RFC 8259 as it goes.
class Builder {
 public:
  Builder(Document& document, Limits limits)
      : document_(document), source_(document.source_), limits_(limits) {}

  Result<> build() {
    TRY(tokenize());
    has_escapes_ = source_.find('\\') != std::string_view::npos;
    // A node takes at least one token; pages that no node comes to lie in are never touched.
    document_.nodes_ = std::make_unique_for_overwrite<Document::Node[]>(count_);
    bool good = add_value();
    while (good && !open_.empty()) {
      good = document_.nodes_[open_.back()].type == Type::Object ? step_object() : step_array();
    }
    if (good && at_ != count_) good = bad("nothing may follow the document");
    if (!good) return fail(Kind::Invalid, std::move(complaint_));
    return {};
  }

 private:
  Result<> tokenize() {
    if (source_.size() > limits_.bytes_max) {
      return fail(Kind::Invalid, cat("larger than ", limits_.bytes_max, " bytes"));
    }
    if (source_.empty()) return fail(Kind::Invalid, "not JSON: empty");
    auto status = choose_implementation()->create_dom_parser_implementation(
        source_.size(), limits_.depth_max, tokens_);
    if (status == simdjson::SUCCESS) {
      status = tokens_->stage1(reinterpret_cast<const uint8_t*>(source_.data()), source_.size(),
                               simdjson::stage1_mode::regular);
    }
    switch (status) {
      case simdjson::SUCCESS: break;
      case simdjson::EMPTY: return fail(Kind::Invalid, "not JSON: empty");
      case simdjson::UTF8_ERROR:
        return fail(Kind::Invalid, cat("line ", line_of_bad_utf8(source_), ": not valid UTF-8"));
      case simdjson::UNCLOSED_STRING:
        return fail(Kind::Invalid, "not JSON: a string is not closed");
      case simdjson::UNESCAPED_CHARS:
        return fail(Kind::Invalid, "not JSON: a string contains a bare control character");
      case simdjson::MEMALLOC: return fail(Kind::Exhausted, "out of memory");
      default: return fail(Kind::Invalid, "not JSON");
    }
    count_ = tokens_->n_structural_indexes;
    return {};
  }

  // The steps below say whether to go on, rather than return a Result: there is one for every token
  // of a text, and only the last of them can have anything to report.
  bool bad(std::string_view complaint) {
    const size_t offset = at_ < count_ ? position(at_) : source_.size();
    const std::string_view before = source_.substr(0, offset);
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t column = offset - (before.rfind('\n') + 1) + 1;
    complaint_ = cat("not JSON: line ", line, ", column ", column, ": ", complaint);
    return false;
  }

  uint32_t position(uint32_t token) const { return tokens_->structural_indexes[token]; }
  // The first character of the token to come, or NUL at the end.
  char peek() const { return at_ < count_ ? source_[position(at_)] : '\0'; }
  // The end of the current token: the last byte before the next one that is not a space.
  uint32_t token_end() const {
    size_t end = at_ + 1 < count_ ? position(at_ + 1) : source_.size();
    while (is_space(source_[end - 1])) --end;
    return static_cast<uint32_t>(end);
  }

  uint32_t add(Type type, uint32_t end, bool escaped = false) {
    const uint32_t index = node_count_++;
    document_.nodes_[index] = {position(at_), end, index + 1, type, escaped};
    ++at_;
    return index;
  }

  bool add_value() {
    switch (peek()) {
      case '{': return open(Type::Object);
      case '[': return open(Type::Array);
      case '"': return add_string();
      case '\0': return bad("the document ends too early");
      default: return add_atom();
    }
  }

  bool open(Type type) {
    if (open_.size() >= limits_.depth_max) {
      return bad(cat("nested deeper than ", limits_.depth_max, " levels"));
    }
    const char closing = type == Type::Object ? '}' : ']';
    const uint32_t index = add(type, 0);
    open_.push_back(index);
    if (peek() == closing) return close();
    // What every further member does after its comma.
    return type == Type::Object ? add_member() : add_value();
  }

  bool close() {
    Document::Node& node = document_.nodes_[open_.back()];
    node.end = position(at_) + 1;
    node.next = node_count_;
    open_.pop_back();
    ++at_;
    return true;
  }

  bool add_member() {
    if (peek() != '"') return bad("expected a property name in quotes");
    if (!add_string()) return false;
    if (peek() != ':') return bad("expected ':'");
    ++at_;
    return add_value();
  }

  bool step_object() {
    if (peek() == '}') return close();
    if (peek() != ',') return bad("expected ',' or '}'");
    ++at_;
    return add_member();
  }

  bool step_array() {
    if (peek() == ']') return close();
    if (peek() != ',') return bad("expected ',' or ']'");
    ++at_;
    return add_value();
  }

  bool add_string() {
    const uint32_t begin = position(at_);
    const uint32_t end = token_end();
    if (end - begin < 2 || source_[end - 1] != '"') return bad("expected a string");
    const std::string_view inside = source_.substr(begin + 1, end - begin - 2);
    const bool escaped = has_escapes_ && inside.find('\\') != std::string_view::npos;
    if (escaped && !unescape(inside)) return bad("a string has an escape that JSON does not have");
    add(Type::String, end, escaped);
    return true;
  }

  bool add_atom() {
    const uint32_t begin = position(at_);
    const uint32_t end = token_end();
    const std::string_view text = source_.substr(begin, end - begin);
    if (text == "true" || text == "false") {
      add(Type::Bool, end);
    } else if (text == "null") {
      add(Type::Null, end);
    } else if (is_number(text)) {
      add(Type::Number, end);
    } else {
      return bad(cat("unexpected ", in_quotes(text)));
    }
    return true;
  }

  Document& document_;
  std::string_view source_;
  Limits limits_;
  Tokens tokens_;
  std::string complaint_;
  uint32_t count_ = 0;  // tokens
  uint32_t at_ = 0;     // the token to come
  uint32_t node_count_ = 0;
  bool has_escapes_ = false;
  std::vector<uint32_t> open_;  // containers around the token to come
};

std::string in_quotes(std::string_view text) {
  std::string out = "'";
  size_t cut = std::min(text.size(), echo_bytes_max);
  // Not in the middle of a character.
  while (cut < text.size() && cut > 0 && (text[cut] & 0xc0) == 0x80) --cut;
  append_escaped(out, text.substr(0, cut));
  return out += cut < text.size() ? "...'" : "'";
}

std::string path_step(std::string_view key) {
  const bool plain =
      !key.empty() && key.size() <= echo_bytes_max && std::ranges::all_of(key, [](char c) {
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
               c == '-';
      });
  return plain ? cat('.', key) : cat('[', in_quotes(key), ']');
}

// Document ---------------------------------------------------------------------------------------

Result<Document> Document::parse(std::string_view source, Limits limits, std::string_view prefix) {
  Document document;
  document.source_ = source;
  document.prefix_ = prefix;
  auto built = Builder(document, limits).build();
  if (!built) {
    return prefix.empty() ? std::unexpected(std::move(built).error())
                          : std::unexpected(std::move(built.error().add_context(prefix)));
  }
  return document;
}

std::string Document::decoded(uint32_t node) const {
  const std::string_view text = raw(node);
  const std::string_view inside = text.substr(1, text.size() - 2);
  return at(node).escaped ? *unescape(inside) : std::string(inside);
}

bool Document::key_is(uint32_t node, std::string_view key) const {
  const Node& found = at(node);
  if (found.escaped) [[unlikely]]
    return decoded(node) == key;
  return found.end - found.begin == key.size() + 2 &&
         std::memcmp(source_.data() + found.begin + 1, key.data(), key.size()) == 0;
}

// Found by walking down to the node again: paths are free as long as nothing is wrong.
std::string Document::path_of(uint32_t node) const {
  std::string path = prefix_;
  uint32_t here = 0;
  while (here != node) {
    const bool is_object = at(here).type == Type::Object;
    uint32_t child = here + 1;
    for (size_t index = 0;; ++index) {
      const uint32_t value = is_object ? child + 1 : child;
      if (node < at(value).next) {
        path += is_object ? path_step(decoded(child)) : cat('[', index, ']');
        here = std::min(value, node);
        break;
      }
      child = at(value).next;
    }
  }
  if (path.starts_with('.')) path.erase(0, 1);
  return path;
}

// Value ------------------------------------------------------------------------------------------

Type Value::type() const { return document_->at(node_).type; }
std::string_view Value::raw() const { return document_->raw(node_); }
std::string Value::path() const { return document_->path_of(node_); }

std::unexpected<Error> Value::invalid(std::string_view complaint) const {
  const std::string where = path();
  return fail(Kind::Invalid, where.empty() ? std::string(complaint) : cat(where, ": ", complaint));
}

Result<Object> Value::object() const {
  if (type() != Type::Object) return invalid(expected(Type::Object));
  return Object(*this);
}

Result<Array> Value::array() const {
  if (type() != Type::Array) return invalid(expected(Type::Array));
  return Array(*this);
}

Result<bool> Value::boolean() const {
  if (type() != Type::Bool) return invalid(expected(Type::Bool));
  return raw() == "true";
}

Result<std::string> Value::string() const {
  std::string scratch;
  const std::string_view found = TRY(text(scratch));
  return scratch.empty() ? std::string(found) : std::move(scratch);
}

Result<std::string_view> Value::text(std::string& scratch) const {
  if (type() != Type::String) return invalid(expected(Type::String));
  if (!document_->at(node_).escaped) return raw().substr(1, raw().size() - 2);
  scratch = document_->decoded(node_);
  // Every string ends up as a C string in front of the kernel, which would see only its head.
  if (scratch.contains('\0')) return invalid("must not contain a NUL character");
  return scratch;
}

std::unexpected<Error> Value::out_of_range() const {
  const std::string_view number = raw();
  const bool cut = number.size() > echo_bytes_max;
  return invalid(cat(number.substr(0, echo_bytes_max), cut ? "..." : "", ": out of range"));
}

Result<uint64_t> Value::magnitude(bool& negative) const {
  if (type() != Type::Number) return invalid(expected(Type::Number));
  std::string_view digits = raw();
  if (digits.find_first_of(".eE") != std::string_view::npos) return invalid(expected(Type::Number));
  negative = digits.starts_with('-');
  if (negative) digits.remove_prefix(1);
  const auto number = parse_number<uint64_t>(digits);
  if (!number) return out_of_range();
  return *number;
}

// Array and Object -------------------------------------------------------------------------------

Array::Iterator& Array::Iterator::operator++() {
  node_ = document_->at(node_).next;
  return *this;
}
Array::Iterator Array::begin() const { return {*value_.document_, value_.node_ + 1}; }
Array::Iterator Array::end() const {
  return {*value_.document_, value_.document_->at(value_.node_).next};
}
size_t Array::size() const {
  size_t count = 0;
  for (auto element = begin(); element != end(); ++element) ++count;
  return count;
}

Object::Member Object::Iterator::operator*() const {
  return {Value(*document_, node_), Value(*document_, node_ + 1)};
}
Object::Iterator& Object::Iterator::operator++() {
  node_ = document_->at(node_ + 1).next;
  return *this;
}
Object::Iterator Object::begin() const { return {*value_.document_, value_.node_ + 1}; }
Object::Iterator Object::end() const {
  return {*value_.document_, value_.document_->at(value_.node_).next};
}

std::optional<Value> Object::find(std::string_view key) const {
  const Document& document = *value_.document_;
  const uint32_t end = document.at(value_.node_).next;
  uint32_t found = 0;
  for (uint32_t node = value_.node_ + 1; node != end; node = document.at(node + 1).next) {
    if (document.key_is(node, key)) found = node + 1;
  }
  if (found == 0 || document.at(found).type == Type::Null) return std::nullopt;
  return Value(document, found);
}

Result<Value> Object::need(std::string_view key) const {
  const std::optional<Value> value = find(key);
  if (!value) return invalid(key, "missing");
  return *value;
}

std::unexpected<Error> Object::invalid(std::string_view key, std::string_view complaint) const {
  std::string where = cat(value_.path(), path_step(key));
  if (where.starts_with('.')) where.erase(0, 1);
  return fail(Kind::Invalid, cat(where, ": ", complaint));
}

}  // namespace nacelle::codec::json
