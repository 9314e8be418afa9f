#include "codec/tar_pax.h"

#include <algorithm>
#include <limits>
#include <map>

#include "base/text.h"
#include "codec/base64.h"
#include "codec/json.h"

namespace nacelle::codec::tar {
namespace {

using json::in_quotes;

constexpr size_t xattr_name_bytes_max = 255;  // the kernel's XATTR_NAME_MAX
constexpr int nanosecond_digits = 9;

// In the order of PaxKey.
constexpr std::array<std::string_view, static_cast<size_t>(PaxKey::count)> keys = {
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "SCHILY.devmajor",
    "SCHILY.devminor",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.name",
    "GNU.sparse.size",
    "GNU.sparse.realsize",
    "GNU.sparse.numblocks",
    "GNU.sparse.map",
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

std::unexpected<Error> bad_record(std::string_view key, std::string_view complaint,
                                  Kind kind = Kind::Invalid) {
  return fail(kind, cat("PAX record ", in_quotes(key), ": ", complaint));
}

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> from_percent(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

Result<std::pair<std::string, std::string>> decode(const PaxXattr& xattr) {
  const auto full_key = [&] {
    return cat(xattr.encoded ? libarchive_xattr : schily_xattr, xattr.name);
  };
  std::string name(xattr.name);
  std::string value;
  if (xattr.encoded) {
    auto decoded_name = from_percent(xattr.name);
    if (!decoded_name) return bad_record(full_key(), "its name has a wrong %");
    auto decoded_value = from_base64(xattr.value);
    if (!decoded_value) return bad_record(full_key(), "its value is not base 64");
    name = *std::move(decoded_name);
    value = *std::move(decoded_value);
  } else {
    value = xattr.value;
  }
  if (name.empty()) return bad_record(full_key(), "an extended attribute without a name");
  if (has_nul(name)) return bad_record(full_key(), "a NUL in its name");
  if (name.size() > xattr_name_bytes_max) {
    return bad_record(full_key(), cat("a name of more than ", xattr_name_bytes_max, " bytes"),
                      Kind::Exhausted);
  }
  if (value.size() > xattr_value_bytes_max) {
    return bad_record(full_key(), cat("a value of more than ", xattr_value_bytes_max, " bytes"),
                      Kind::Exhausted);
  }
  return std::pair(std::move(name), std::move(value));
}

// The text of the first record, without its length and newline, cut off the front of `rest`.
Result<std::string_view> take_record(std::string_view& rest) {
  size_t digits = 0;
  while (digits < rest.size() && is_digit(rest[digits])) ++digits;
  const std::optional<int64_t> length = parse_pax_number(rest.substr(0, digits));
  if (!length || digits == rest.size() || rest[digits] != ' ') {
    return fail(Kind::Invalid, "a PAX record without a length");
  }
  const size_t begin = digits + 1;
  const auto end = static_cast<uint64_t>(*length);
  if (end > rest.size()) return fail(Kind::Invalid, "a PAX record longer than its header");
  if (end <= begin) return fail(Kind::Invalid, "a PAX record shorter than its own length");
  if (rest[end - 1] != '\n') {
    return fail(Kind::Invalid, cat("PAX record ", in_quotes(rest.substr(begin, end - 1 - begin)),
                                   ": no newline where its length says"));
  }
  const std::string_view record = rest.substr(begin, end - 1 - begin);
  rest.remove_prefix(end);
  return record;
}

}  // namespace

Result<> PaxHeader::parse(std::string_view text, PaxHeader& out) {
  out.clear();
  while (!text.empty()) {
    const std::string_view record = TRY(take_record(text));
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos) return bad_record(record, "no '='");
    if (equals == 0) return bad_record(record, "no key");
    TRY(out.take(record.substr(0, equals), record.substr(equals + 1)));
  }
  return {};
}

void PaxHeader::clear() {
  values_.fill({});
  xattrs_.clear();
  sparse_numbers_.clear();
}

Result<> PaxHeader::take(std::string_view key, std::string_view value) {
  if (has_nul(key)) return bad_record(key, "a NUL in its key");
  const bool schily = key.starts_with(schily_xattr);
  if (schily || key.starts_with(libarchive_xattr)) {
    // Each attribute may stand here twice, once in either way.
    if (xattrs_.size() == 2 * xattrs_max) {
      return fail(Kind::Exhausted, cat("more than ", xattrs_max, " extended attributes"));
    }
    const size_t prefix = schily ? schily_xattr.size() : libarchive_xattr.size();
    xattrs_.push_back({key.substr(prefix), value, !schily});
    return {};
  }
  if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {
    const bool offset_is_due = sparse_numbers_.size() % 2 == 0;
    if (offset_is_due != (key == "GNU.sparse.offset")) {
      return bad_record(key, "not by turns with its other half");
    }
    if (sparse_numbers_.size() == 2 * sparse_pieces_max) {
      return fail(Kind::Exhausted, cat("more than ", sparse_pieces_max, " pieces"));
    }
    sparse_numbers_.push_back(value);
    return {};
  }
  const auto* known = std::ranges::find(keys, key);
  if (known == keys.end()) return {};
  if (has_nul(value)) return bad_record(key, "a NUL in its value");
  values_[static_cast<size_t>(known - keys.begin())] = value;
  return {};
}

Result<int64_t> PaxHeader::number(PaxKey key) const {
  const std::optional<int64_t> number = parse_pax_number(value(key));
  if (!number) return bad_record(keys[static_cast<size_t>(key)], "not a number");
  return *number;
}

Result<Time> PaxHeader::time(PaxKey key) const {
  const std::optional<Time> time = parse_pax_time(value(key));
  if (!time) return bad_record(keys[static_cast<size_t>(key)], "not a time");
  return *time;
}

Result<> PaxHeader::xattrs(std::vector<std::pair<std::string, std::string>>& out) const {
  out.clear();
  if (xattrs_.empty()) return {};
  // What counts more goes first, since the first of a name stays.
  std::map<std::string, std::string> by_name;
  for (const bool encoded : {false, true}) {
    for (size_t i = xattrs_.size(); i-- > 0;) {
      if (xattrs_[i].encoded == encoded) by_name.insert(TRY(decode(xattrs_[i])));
    }
  }
  if (by_name.size() > xattrs_max) {
    return fail(Kind::Exhausted, cat("more than ", xattrs_max, " extended attributes"));
  }
  for (auto& [name, value] : by_name) out.emplace_back(name, std::move(value));
  return {};
}

std::optional<int64_t> parse_pax_number(std::string_view text) {
  if (text.starts_with('-')) return std::nullopt;
  return parse_number<int64_t>(text);
}

std::optional<Time> parse_pax_time(std::string_view text) {
  std::string_view fraction = text;
  const std::string_view whole = take_until(fraction, '.');
  const auto seconds = parse_number<int64_t>(whole);
  if (!seconds || !std::ranges::all_of(fraction, is_digit)) return std::nullopt;
  uint32_t nanoseconds = 0;
  for (size_t i = 0; i < nanosecond_digits; ++i) {
    nanoseconds =
        nanoseconds * 10 + (i < fraction.size() ? static_cast<uint32_t>(fraction[i] - '0') : 0);
  }
  if (!whole.starts_with('-') || nanoseconds == 0) return Time{*seconds, nanoseconds};
  // -1.25 is a quarter after the second that begins at -2.
  if (*seconds == std::numeric_limits<int64_t>::min()) return std::nullopt;
  return Time{*seconds - 1, 1'000'000'000 - nanoseconds};
}

std::string to_pax_time(Time time) {
  std::string out;
  if (time.seconds < 0 && time.nanoseconds != 0) {
    ++time.seconds;
    time.nanoseconds = 1'000'000'000 - time.nanoseconds;
    if (time.seconds == 0) out = "-";  // else the number brings its own sign
  }
  append_to(out, time.seconds);
  if (time.nanoseconds == 0) return out;
  std::string fraction = cat(time.nanoseconds);
  fraction.insert(0, nanosecond_digits - fraction.size(), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return cat(out, '.', fraction);
}

void append_pax_record(std::string& out, std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;  // space, equals sign, newline
  size_t length = rest + cat(rest).size();
  length = rest + cat(length).size();  // one more digit can take one more digit
  append_to(out, length);
  for (const std::string_view part :
       {std::string_view(" "), key, std::string_view("="), value, std::string_view("\n")}) {
    out += part;
  }
}

std::string to_percent(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : bytes) {
    const bool plain = is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '.' || c == '_' || c == '-';
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<uint8_t>(c);
    out += '%';
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

}  // namespace nacelle::codec::tar
