#include "cli/nacelle/template_functions.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "base/text.h"
#include "http/url.h"

namespace nacelle::cli {

namespace {

using Arguments = std::vector<Datum>;
using Type = Datum::Type;

std::unexpected<Error> wrong(std::string complaint) {
  return fail(Kind::Invalid, std::move(complaint));
}

// -1, 0 or 1; numbers as numbers, texts as texts.
Result<int> compare(const Datum& one, const Datum& other) {
  if (one.type() == Type::Number && other.type() == Type::Number) {
    const double a = one.number(), b = other.number();
    return a < b ? -1 : a > b ? 1 : 0;
  }
  if (one.type() == Type::String && other.type() == Type::String) {
    const int order = one.text().compare(other.text());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  return wrong("incompatible types for comparison");
}

Result<bool> equal(const Datum& one, const Datum& other) {
  if (one.is_null() || other.is_null()) return one.is_null() == other.is_null();
  if (one.type() == Type::Bool && other.type() == Type::Bool) {
    return one.boolean() == other.boolean();
  }
  return TRY(compare(one, other)) == 0;
}

Result<Datum> index(const Arguments& arguments) {
  Datum value = arguments[0];
  for (size_t each = 1; each < arguments.size(); ++each) {
    const Datum& key = arguments[each];
    Datum next;
    if (value.type() == Type::Object) {
      next = value[key.text()];
    } else if (value.type() == Type::Array) {
      if (key.type() != Type::Number) return wrong("cannot index slice/array with type string");
      const int64_t place = key.integer();
      if (place < 0 || place >= static_cast<int64_t>(value.items().size())) {
        return wrong(cat("index out of range: ", place));
      }
      next = value[static_cast<size_t>(place)];
    } else if (value.type() == Type::String && key.type() == Type::Number) {
      const int64_t place = key.integer();
      if (place < 0 || place >= static_cast<int64_t>(value.text().size())) {
        return wrong(cat("index out of range: ", place));
      }
      next = Datum(static_cast<int64_t>(
          static_cast<unsigned char>(value.text()[static_cast<size_t>(place)])));
    } else {
      return wrong(value.is_null() ? "index of untyped nil" : "can't index item");
    }
    value = std::move(next);
  }
  return value;
}

Result<Datum> slice(const Arguments& arguments) {
  const Datum& of = arguments[0];
  const bool is_text = of.type() == Type::String;
  if (!is_text && of.type() != Type::Array) return wrong("can't slice item");
  const auto size = static_cast<int64_t>(is_text ? of.text().size() : of.items().size());
  const int64_t from = arguments.size() > 1 ? arguments[1].integer() : 0;
  const int64_t to = arguments.size() > 2 ? arguments[2].integer() : size;
  if (from < 0 || to > size || from > to) return wrong(cat("slice index out of range: ", to));
  if (is_text) {
    return Datum(of.text().substr(static_cast<size_t>(from), static_cast<size_t>(to - from)));
  }
  Datum part = Datum::array();
  for (int64_t each = from; each < to; ++each) part.push(of[static_cast<size_t>(each)]);
  return part;
}

Result<Datum> length(const Arguments& arguments) {
  const Datum& of = arguments[0];
  switch (of.type()) {
    case Type::String: return Datum(static_cast<int64_t>(of.text().size()));
    case Type::Array: return Datum(static_cast<int64_t>(of.items().size()));
    case Type::Object: return Datum(static_cast<int64_t>(of.members().size()));
    case Type::Null: return wrong("len of nil pointer");
    default: return wrong("len of a value that has none");
  }
}

Result<Datum> join(const Arguments& arguments) {
  std::string text;
  for (const Datum& each : arguments[0].items()) {
    if (&each != &arguments[0].items().front()) text += arguments[1].text();
    text += go_text(each);
  }
  return Datum(std::move(text));
}

Result<Datum> split(const Arguments& arguments) {
  Datum parts = Datum::array();
  const std::string& text = arguments[0].text();
  const std::string& separator = arguments[1].text();
  if (separator.empty()) {
    for (const char c : text) parts.push(Datum(std::string(1, c)));
    return parts;
  }
  size_t from = 0;
  for (size_t at; (at = text.find(separator, from)) != std::string::npos;) {
    parts.push(Datum(text.substr(from, at - from)));
    from = at + separator.size();
  }
  parts.push(Datum(text.substr(from)));
  return parts;
}

std::string changed(std::string text, int (*change)(int)) {
  for (char& c : text) c = static_cast<char>(change(static_cast<unsigned char>(c)));
  return text;
}

std::string title(std::string text) {
  bool first = true;
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (first) c = static_cast<char>(std::toupper(byte));
    first = std::isspace(byte) != 0;
  }
  return text;
}

std::string go_quoted(std::string_view text) {
  std::string out = "\"";
  codec::json::append_escaped(out, text);
  return out + '"';
}

// %v and its kin. Widths and precisions go to the C library, which reads them the same way.
Result<std::string> format_one(const std::string& flags, char verb, const Datum& value) {
  char text[512];
  const std::string printable_flags = flags.size() > 12 ? flags.substr(0, 12) : flags;
  const auto padded = [&](const std::string& what) {
    std::string spec = cat('%', printable_flags, 's');
    std::string out(what.size() + 512, '\0');
    const int length = std::snprintf(out.data(), out.size(), spec.c_str(), what.c_str());
    out.resize(std::min(out.size(), static_cast<size_t>(std::max(length, 0))));
    return out;
  };
  switch (verb) {
    case 's':
    case 'v': return padded(go_text(value));
    case 't': return padded(go_text(value));
    case 'q': return padded(go_quoted(value.text()));
    case 'd':
      if (value.type() != Type::Number) return cat("%!d(string=", go_text(value), ")");
      std::snprintf(text, sizeof text, cat('%', printable_flags, "lld").c_str(),
                    static_cast<long long>(value.integer()));
      return std::string(text);
    case 'x':
    case 'X':
    case 'o':
      if (value.type() == Type::String) {
        std::string hex;
        for (const char c : value.text()) {
          std::snprintf(text, sizeof text, verb == 'X' ? "%02X" : "%02x",
                        static_cast<unsigned char>(c));
          hex += text;
        }
        return hex;
      }
      std::snprintf(text, sizeof text, cat('%', printable_flags, "ll", verb).c_str(),
                    static_cast<long long>(value.integer()));
      return std::string(text);
    case 'f':
    case 'g':
    case 'e':
      std::snprintf(text, sizeof text, cat('%', printable_flags, verb).c_str(), value.number());
      return std::string(text);
    case 'c': return std::string(1, static_cast<char>(value.integer()));
    default: return wrong(cat("printf: unknown verb %", verb));
  }
}

Result<Datum> print_formatted(const Arguments& arguments) {
  const std::string& format = arguments[0].text();
  std::string out;
  size_t next = 1;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out += format[at];
      continue;
    }
    std::string flags;
    for (++at; at < format.size() && std::string_view("+-# 0123456789.").contains(format[at]);
         ++at) {
      flags += format[at];
    }
    if (at == format.size()) {
      out += "%!(NOVERB)";
    } else if (format[at] == '%') {
      out += '%';
    } else if (next >= arguments.size()) {
      out += cat("%!", format[at], "(MISSING)");
    } else {
      out += TRY(format_one(flags, format[at], arguments[next++]));
    }
  }
  return Datum(std::move(out));
}

Result<Datum> print(const Arguments& arguments, bool line) {
  std::string out;
  for (size_t each = 0; each < arguments.size(); ++each) {
    // Go puts a blank between operands where neither is a text; in println always.
    const bool texts = each > 0 && (arguments[each].type() == Type::String ||
                                    arguments[each - 1].type() == Type::String);
    if (each > 0 && (line || !texts)) out += ' ';
    out += go_text(arguments[each]);
  }
  if (line) out += '\n';
  return Datum(std::move(out));
}

Result<Datum> comparison(std::string_view name, const Arguments& arguments) {
  if (name == "eq") {
    for (size_t each = 1; each < arguments.size(); ++each) {
      if (TRY(equal(arguments[0], arguments[each]))) return Datum(true);
    }
    return Datum(false);
  }
  if (name == "ne") return Datum(!TRY(equal(arguments[0], arguments[1])));
  const int order = TRY(compare(arguments[0], arguments[1]));
  return Datum(name == "lt"   ? order < 0
               : name == "le" ? order <= 0
               : name == "gt" ? order > 0
                              : order >= 0);
}

std::string html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

Result<Datum> change_text(std::string_view name, const Arguments& arguments) {
  const std::string text = go_text(arguments[0]);
  if (name == "lower") return Datum(changed(text, std::tolower));
  if (name == "upper") return Datum(changed(text, std::toupper));
  if (name == "title") return Datum(title(text));
  if (name == "html") return Datum(html(text));
  if (name == "urlquery") return Datum(http::percent_encoded(text));
  if (name == "js") return Datum(go_quoted(text));
  if (name == "pad") {
    if (text.empty()) return Datum("");
    const auto blanks = [](const Datum& count) {
      return std::string(static_cast<size_t>(std::clamp<int64_t>(count.integer(), 0, 4096)), ' ');
    };
    return Datum(cat(blanks(arguments[1]), text, blanks(arguments[2])));
  }
  const auto size_max = static_cast<size_t>(std::max<int64_t>(arguments[1].integer(), 0));
  return Datum(text.size() < size_max ? text : text.substr(0, size_max));
}

struct Function {
  std::string_view name;
  size_t least, most;
};
constexpr size_t many = ~size_t{0};
constexpr Function functions[] = {
    {"and", 1, many},   {"or", 1, many},      {"not", 1, 1},       {"eq", 2, many},
    {"ne", 2, 2},       {"lt", 2, 2},         {"le", 2, 2},        {"gt", 2, 2},
    {"ge", 2, 2},       {"len", 1, 1},        {"index", 1, many},  {"slice", 1, 3},
    {"print", 0, many}, {"println", 0, many}, {"printf", 1, many}, {"json", 1, 1},
    {"join", 2, 2},     {"split", 2, 2},      {"lower", 1, 1},     {"upper", 1, 1},
    {"title", 1, 1},    {"pad", 3, 3},        {"truncate", 2, 2},  {"html", 1, 1},
    {"urlquery", 1, 1}, {"js", 1, 1},
};

}  // namespace

bool is_template_function(std::string_view name) {
  return contains(functions, name, &Function::name);
}

Result<Datum> call_template_function(std::string_view name, const Arguments& arguments) {
  const Function& function = *std::ranges::find(functions, name, &Function::name);
  if (arguments.size() < function.least || arguments.size() > function.most) {
    return wrong(cat("wrong number of args for ", name, ": want ",
                     arguments.size() < function.least ? "at least " : "at most ",
                     arguments.size() < function.least ? function.least : function.most, " got ",
                     arguments.size()));
  }
  if (name == "and" || name == "or") {
    for (const Datum& each : arguments) {
      if (each.is_true() == (name == "or")) return each;
    }
    return arguments.back();
  }
  if (name == "not") return Datum(!arguments[0].is_true());
  if (name.size() == 2) return comparison(name, arguments);
  if (name == "len") return length(arguments);
  if (name == "index") return index(arguments);
  if (name == "slice") return slice(arguments);
  if (name == "print" || name == "println") return print(arguments, name == "println");
  if (name == "printf") return print_formatted(arguments);
  if (name == "json") {
    Datum value = arguments[0];
    return Datum(value.json());
  }
  if (name == "join") return join(arguments);
  if (name == "split") return split(arguments);
  return change_text(name, arguments);
}

std::string go_text(const Datum& value) {
  switch (value.type()) {
    case Type::Null: return "<nil>";
    case Type::Bool: return value.boolean() ? "true" : "false";
    case Type::Number:
    case Type::String: return value.text();
    case Type::Array: {
      std::string text = "[";
      for (const Datum& each : value.items()) {
        if (text.size() > 1) text += ' ';
        text += go_text(each);
      }
      return text + ']';
    }
    case Type::Object: break;
  }
  Datum sorted = value;
  sorted.sort_members();
  std::string text = "map[";
  for (const auto& [key, member] : sorted.members()) {
    if (text.size() > 4) text += ' ';
    text += cat(key, ':', go_text(member));
  }
  return text + ']';
}

}  // namespace nacelle::cli
