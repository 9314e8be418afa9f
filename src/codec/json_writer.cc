#include "codec/json_writer.h"

#include "base/check.h"

namespace nacelle::codec::json {
namespace {

// The length of the UTF-8 character that `text` begins with, or 0 when it begins with none.
size_t character_length(std::string_view text) {
  for (size_t length = 1; length <= 4 && length <= text.size(); ++length) {
    if (is_utf8(text.substr(0, length))) return length;
  }
  return 0;
}

void append_control(std::string& out, unsigned char c) {
  constexpr char hex[] = "0123456789abcdef";
  switch (c) {
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: break;
  }
  out += "\\u00";
  out += hex[c >> 4];
  out += hex[c & 15];
}

}  // namespace

void append_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const auto c = static_cast<unsigned char>(text.front());
    size_t length = 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += text.front();
    } else if (c < 0x20 || c == 0x7f) {
      append_control(out, c);
    } else if (c < 0x80) {
      out += text.front();
    } else if (length = character_length(text); length != 0) {
      out += text.substr(0, length);
    } else {
      length = 1;
      out += "\xef\xbf\xbd";
    }
    text.remove_prefix(length);
  }
}

void Writer::new_line() {
  if (indent_.empty()) return;
  out_ += '\n';
  for (unsigned level = 0; level < depth_; ++level) out_ += indent_;
}

void Writer::before_value() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (depth_ == 0) return;
  if (!first_) out_ += ',';
  first_ = false;
  new_line();
}

Writer& Writer::open(char bracket) {
  before_value();
  out_ += bracket;
  ++depth_;
  first_ = true;
  return *this;
}

Writer& Writer::close(char bracket) {
  CHECK(depth_ > 0 && !after_key_);
  --depth_;
  if (!first_) new_line();
  out_ += bracket;
  first_ = false;
  return *this;
}

Writer& Writer::key(std::string_view name) {
  CHECK(depth_ > 0 && !after_key_);
  value(name);
  out_ += indent_.empty() ? ":" : ": ";
  after_key_ = true;
  return *this;
}

Writer& Writer::value(std::string_view text) {
  before_value();
  out_ += '"';
  append_escaped(out_, text);
  out_ += '"';
  return *this;
}

Writer& Writer::raw(std::string_view json) {
  before_value();
  out_ += json;
  return *this;
}

std::string Writer::take() && {
  CHECK(depth_ == 0 && !after_key_);
  return std::move(out_);
}

}  // namespace nacelle::codec::json
