// JSON out: a few small documents a run (state, features, a starter config, log lines), so plain
// appending to one string is fast enough. Ours, because what Debian packages for it needs
// exceptions, iostreams or a tree of the whole document first (nlohmann, jsoncpp), or is a second
// parser (RapidJSON, yyjson).
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include "base/text.h"

namespace nacelle::codec::json {

// Appends `text` as the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD, so that
// the output is JSON whatever goes in.
void append_escaped(std::string& out, std::string_view text);

// Members and elements are written in order; commas, quotes and line breaks come by themselves.
//   Writer json;
//   json.begin_object().key("id").value("web").key("pids").begin_array().value(7).end_array();
//   std::string text = std::move(json.end_object()).take();
class Writer {
 public:
  // `indent` is what each level is set in by; empty: everything on one line.
  explicit Writer(std::string_view indent = {}) : indent_(indent) {}

  Writer& begin_object() { return open('{'); }
  Writer& end_object() { return close('}'); }
  Writer& begin_array() { return open('['); }
  Writer& end_array() { return close(']'); }
  Writer& key(std::string_view name);
  Writer& value(std::string_view text);
  Writer& value(const char* text) { return value(std::string_view(text)); }
  Writer& value(bool yes) { return raw(yes ? "true" : "false"); }
  template <std::integral Number>
  Writer& value(Number number) {
    before_value();
    append_to(out_, number);
    return *this;
  }
  Writer& null() { return raw("null"); }
  // An array of whatever value() takes.
  template <class Range>
  Writer& values(const Range& range) {
    begin_array();
    for (const auto& each : range) value(each);
    return end_array();
  }
  // A value that is JSON already.
  Writer& raw(std::string_view json);

  // A member whose value is one of the above.
  template <class T>
  Writer& member(std::string_view name, const T& content) {
    return key(name).value(content);
  }

  // The text, once everything opened is closed.
  std::string take() &&;

 private:
  Writer& open(char bracket);
  Writer& close(char bracket);
  void before_value();
  void new_line();

  std::string_view indent_;
  std::string out_;
  unsigned depth_ = 0;
  bool first_ = true;       // nothing yet in the innermost container
  bool after_key_ = false;  // a value must come now
};

}  // namespace nacelle::codec::json
