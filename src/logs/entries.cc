#include "logs/entries.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/text.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace nacelle::logs {
namespace {

constexpr std::string_view json_prefix = R"({"log":")";
constexpr size_t widest_escape = 6;  // \u0000
constexpr size_t time_bytes_max = 48;
constexpr char hexadecimal[] = "0123456789abcdef";

// What stands in a JSON string as it is, with < > & escaped as Go's encoder does it.
constexpr bool is_plain(unsigned char c) {
  return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&';
}

#if defined(__SSE2__)
// The bits of those of sixteen bytes that are not plain.
inline unsigned special_bits(__m128i bytes) {
  // As signed numbers, what is below the space is the control characters and all above 0x7f.
  const __m128i outside = _mm_cmpgt_epi8(_mm_set1_epi8(0x20), bytes);
  // < is 0x3c and > is 0x3e; " is 0x22 and & is 0x26: one bit apart each.
  const __m128i angle =
      _mm_cmpeq_epi8(_mm_and_si128(bytes, _mm_set1_epi8(~0x02)), _mm_set1_epi8(0x3c));
  const __m128i quote =
      _mm_cmpeq_epi8(_mm_and_si128(bytes, _mm_set1_epi8(~0x04)), _mm_set1_epi8(0x22));
  const __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
  return static_cast<unsigned>(_mm_movemask_epi8(
      _mm_or_si128(_mm_or_si128(outside, angle), _mm_or_si128(quote, backslash))));
}
#endif

// Copies plain characters up to the first that is not, or `limit`. Up to 15 bytes behind what is
// copied are overwritten.
inline void copy_plain(const char*& from, const char* limit, char*& to) {
#if defined(__SSE2__)
  while (limit - from >= 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
    const unsigned special = special_bits(bytes);
    if (special != 0) {
      const int plain = __builtin_ctz(special);
      from += plain;
      to += plain;
      return;
    }
    from += 16;
    to += 16;
  }
#endif
  while (from < limit && is_plain(static_cast<unsigned char>(*from))) *to++ = *from++;
}

// The length of the UTF-8 character at `text`, which begins with a byte above 0x7f, or 0.
size_t character_bytes(std::string_view text) {
  const auto at = [text](size_t index) { return static_cast<unsigned char>(text[index]); };
  const auto continues = [&](size_t index) {
    return index < text.size() && (at(index) & 0xc0) == 0x80;
  };
  const unsigned char first = at(0);
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    if (first == 0xe0 && at(1) < 0xa0) return 0;  // could be shorter
    if (first == 0xed && at(1) > 0x9f) return 0;  // a surrogate
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (first == 0xf0 && at(1) < 0x90) return 0;
    if (first == 0xf4 && at(1) > 0x8f) return 0;  // above U+10FFFF
    return 4;
  }
  return 0;
}

void put(char*& to, std::string_view text) {
  std::memcpy(to, text.data(), text.size());
  to += text.size();
}

// One character that is not plain and no newline.
void escape(const char*& from, const char* limit, char*& to) {
  const auto c = static_cast<unsigned char>(*from);
  if (c < 0x80) {
    ++from;
    switch (c) {
      case '"':
      case '\\':
        *to++ = '\\';
        *to++ = static_cast<char>(c);
        return;
      case '\n': return put(to, "\\n");
      case '\r': return put(to, "\\r");
      default: break;
    }
    put(to, "\\u00");
    *to++ = hexadecimal[c >> 4];
    *to++ = hexadecimal[c & 15];
    return;
  }
  const size_t length = character_bytes({from, limit});
  if (length == 0) {
    ++from;
    return put(to, "\\ufffd");
  }
  const std::string_view character(from, length);
  from += length;
  // Line separators, which JavaScript does not take in a string.
  if (character == "\xe2\x80\xa8") return put(to, "\\u2028");
  if (character == "\xe2\x80\xa9") return put(to, "\\u2029");
  put(to, character);
}

std::string json_suffix(Stream stream, std::string_view attributes, int64_t time_ns) {
  std::string suffix = cat(R"(","stream":")", stream == Stream::Stderr ? "stderr" : "stdout", '"',
                           attributes, R"(,"time":")");
  append_time(suffix, time_ns);
  return suffix += "\"}\n";
}

void put_little_endian(char*& to, uint64_t value, size_t bytes) {
  for (size_t each = 0; each < bytes; ++each) *to++ = static_cast<char>(value >> (8 * each));
}

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t each = bytes.size(); each-- > 0;)
    value = value << 8 | static_cast<unsigned char>(bytes[each]);
  return value;
}

uint32_t local_check(uint32_t text_bytes, int64_t time_ns, uint8_t stream) {
  uint64_t mixed = (static_cast<uint64_t>(time_ns) ^ 0x6e6163656c6c65ull) * 0x9e3779b97f4a7c15ull;
  mixed ^= (uint64_t{text_bytes} << 8 | stream) * 0xc2b2ae3d27d4eb4full;
  mixed ^= mixed >> 29;
  return static_cast<uint32_t>((mixed * 0xbf58476d1ce4e5b9ull) >> 32);
}

// Howard Hinnant's calendar, days since 1970-01-01.
struct Date {
  int64_t year;
  unsigned month, day;
};
Date date_of(int64_t days) {
  days += 719468;
  const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const auto of_era = static_cast<unsigned>(days - era * 146097);
  const unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
  const unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
  const unsigned shifted = (5 * of_year + 2) / 153;
  const unsigned month = shifted < 10 ? shifted + 3 : shifted - 9;
  return {static_cast<int64_t>(year) + era * 400 + (month <= 2 ? 1 : 0), month,
          of_year - (153 * shifted + 2) / 5 + 1};
}
int64_t days_of(int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto of_era = static_cast<unsigned>(year - era * 400);
  const unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146097 + static_cast<int64_t>(of_era * 365 + of_era / 4 - of_era / 100 + of_year) -
         719468;
}

void append_digits(std::string& out, uint64_t number, size_t width) {
  char digits[20];
  for (size_t each = width; each-- > 0; number /= 10)
    digits[each] = static_cast<char>('0' + number % 10);
  out.append(digits, width);
}

// A line of a json-file log. Of its own, because texts may hold NUL, which the reader of documents
// refuses, and because lines come by the million.
class LineParser {
 public:
  explicit LineParser(std::string_view line) : rest_(line) {}

  bool take(char c) {
    skip_spaces();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool at_end() {
    skip_spaces();
    return rest_.empty();
  }

  bool string(std::string& out) {
    out.clear();
    if (!take('"')) return false;
    while (true) {
      const size_t special = rest_.find_first_of("\"\\");
      if (special == std::string_view::npos) return false;
      out += rest_.substr(0, special);
      const char c = rest_[special];
      rest_.remove_prefix(special + 1);
      if (c == '"') return true;
      if (!escaped(out)) return false;
    }
  }

  bool attributes(std::vector<std::pair<std::string, std::string>>& out) {
    if (!take('{')) return false;
    if (take('}')) return true;
    do {
      auto& [name, value] = out.emplace_back();
      if (!string(name) || !take(':') || !string(value)) return false;
    } while (take(','));
    return take('}');
  }

 private:
  void skip_spaces() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t' ||
                              rest_.front() == '\n' || rest_.front() == '\r'))
      rest_.remove_prefix(1);
  }

  std::optional<uint32_t> unit() {
    if (rest_.size() < 4) return std::nullopt;
    const auto value = parse_number<uint32_t>(rest_.substr(0, 4), 16);
    if (value) rest_.remove_prefix(4);
    return value;
  }

  bool escaped(std::string& out) {
    if (rest_.empty()) return false;
    const char c = rest_.front();
    rest_.remove_prefix(1);
    switch (c) {
      case '"':
      case '\\':
      case '/': out += c; return true;
      case 'n': out += '\n'; return true;
      case 'r': out += '\r'; return true;
      case 't': out += '\t'; return true;
      case 'b': out += '\b'; return true;
      case 'f': out += '\f'; return true;
      case 'u': break;
      default: return false;
    }
    auto code = unit();
    if (!code) return false;
    if (*code >= 0xd800 && *code < 0xdc00 && rest_.starts_with("\\u")) {
      const std::string_view before = rest_;
      rest_.remove_prefix(2);
      const auto low = unit();
      if (!low) return false;
      if (*low >= 0xdc00 && *low < 0xe000) {
        code = 0x10000 + ((*code - 0xd800) << 10) + (*low - 0xdc00);
      } else {
        rest_ = before;
      }
    }
    if (*code >= 0xd800 && *code < 0xe000) code = 0xfffd;  // half of a pair
    append_character(out, *code);
    return true;
  }

  static void append_character(std::string& out, uint32_t code) {
    const auto next = [&out, code](unsigned shift) {
      out += static_cast<char>(0x80 | (code >> shift & 0x3f));
    };
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xc0 | code >> 6);
      next(0);
    } else if (code < 0x10000) {
      out += static_cast<char>(0xe0 | code >> 12);
      next(6);
      next(0);
    } else {
      out += static_cast<char>(0xf0 | code >> 18);
      next(12);
      next(6);
      next(0);
    }
  }

  std::string_view rest_;
};

constexpr int64_t second_ns = 1'000'000'000;
constexpr int64_t day_s = 86'400;

}  // namespace

void append_time(std::string& out, int64_t time_ns) {
  int64_t seconds = time_ns / second_ns;
  int64_t fraction = time_ns % second_ns;
  if (fraction < 0) {
    fraction += second_ns;
    --seconds;
  }
  int64_t days = seconds / day_s;
  int64_t of_day = seconds % day_s;
  if (of_day < 0) {
    of_day += day_s;
    --days;
  }
  const Date date = date_of(days);
  append_digits(out, static_cast<uint64_t>(date.year), 4);
  out += '-';
  append_digits(out, date.month, 2);
  out += '-';
  append_digits(out, date.day, 2);
  out += 'T';
  append_digits(out, static_cast<uint64_t>(of_day / 3600), 2);
  out += ':';
  append_digits(out, static_cast<uint64_t>(of_day / 60 % 60), 2);
  out += ':';
  append_digits(out, static_cast<uint64_t>(of_day % 60), 2);
  if (fraction != 0) {
    size_t width = 9;
    while (fraction % 10 == 0) {
      fraction /= 10;
      --width;
    }
    out += '.';
    append_digits(out, static_cast<uint64_t>(fraction), width);
  }
  out += 'Z';
}

std::optional<int64_t> parse_time(std::string_view text) {
  const auto number = [&text](size_t at, size_t width, unsigned max) -> std::optional<unsigned> {
    if (text.size() < at + width) return std::nullopt;
    const auto found = parse_number<unsigned>(text.substr(at, width));
    return found && *found <= max ? found : std::nullopt;
  };
  const auto is_at = [&text](size_t at, char c) { return text.size() > at && text[at] == c; };
  const auto year = number(0, 4, 9999), month = number(5, 2, 12), day = number(8, 2, 31),
             hour = number(11, 2, 23), minute = number(14, 2, 59), second = number(17, 2, 60);
  if (!year || !month || !day || !hour || !minute || !second || *month == 0 || *day == 0)
    return std::nullopt;
  if (!is_at(4, '-') || !is_at(7, '-') || !is_at(10, 'T') || !is_at(13, ':') || !is_at(16, ':'))
    return std::nullopt;
  // Beyond these, nanoseconds do not fit into 64 bits.
  if (*year < 1678 || *year > 2261) return std::nullopt;
  size_t at = 19;
  int64_t fraction = 0;
  if (is_at(at, '.')) {
    int64_t unit = second_ns;
    const size_t first = ++at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      unit /= 10;
      fraction += unit * (text[at] - '0');
    }
    if (at == first) return std::nullopt;
  }
  int64_t offset = 0;
  if (is_at(at, '+') || is_at(at, '-')) {
    const auto hours = number(at + 1, 2, 23), minutes = number(at + 4, 2, 59);
    if (!hours || !minutes || !is_at(at + 3, ':')) return std::nullopt;
    offset = (*hours * 60 + *minutes) * 60;
    if (text[at] == '-') offset = -offset;
    at += 6;
  } else if (is_at(at, 'Z')) {
    ++at;
  } else {
    return std::nullopt;
  }
  if (at != text.size()) return std::nullopt;
  const int64_t seconds =
      days_of(*year, *month, *day) * day_s + *hour * 3600 + *minute * 60 + *second - offset;
  return seconds * second_ns + fraction;
}

size_t encoded_entry_bytes_max(std::string_view attributes) {
  return json_prefix.size() + piece_bytes_max * widest_escape + 64 + attributes.size() +
         time_bytes_max;
}

Encoded encode_json_lines(const Batch& batch, std::string_view attributes, Pieces& pieces,
                          std::span<char> into) {
  const size_t entry_bytes_max = encoded_entry_bytes_max(attributes);
  std::string suffix =
      json_suffix(batch.stream, attributes, pieces.open ? pieces.time_ns : batch.time_ns);
  bool suffix_is_old = pieces.open;
  const char* const first = batch.output.data();
  const char* const end = first + batch.output.size();
  const char* from = first;
  char* to = into.data();
  Encoded encoded;
  while (from < end) {
    encoded.produced = static_cast<size_t>(to - into.data());
    if (encoded.produced >= batch.room || into.size() - encoded.produced < entry_bytes_max) {
      encoded.more = true;
      break;
    }
    const char* const limit =
        static_cast<size_t>(end - from) > piece_bytes_max ? from + piece_bytes_max : end;
    const char* at = from;
    char* entry = to;
    put(entry, json_prefix);
    while (true) {
      copy_plain(at, limit, entry);
      if (at == limit || *at == '\n') break;
      escape(at, limit, entry);
    }
    const bool is_whole = at < limit;
    const bool is_full = static_cast<size_t>(at - from) == piece_bytes_max;
    if (!is_whole && !is_full && !batch.is_last) break;  // the rest of this line is to come
    if (is_whole) {
      put(entry, "\\n");
      ++at;
    }
    put(entry, suffix);
    if (is_whole || is_full) {
      if (is_full && !pieces.open) pieces.time_ns = batch.time_ns;
      pieces.open = !is_whole;
    } else {
      pieces.open = false;
    }
    if (suffix_is_old && !pieces.open) {
      suffix = json_suffix(batch.stream, attributes, batch.time_ns);
      suffix_is_old = false;
    }
    from = at;
    to = entry;
  }
  encoded.consumed = static_cast<size_t>(from - first);
  encoded.produced = static_cast<size_t>(to - into.data());
  return encoded;
}

Encoded encode_local_entries(const Batch& batch, Pieces& pieces, std::span<char> into) {
  std::string_view rest = batch.output;
  char* to = into.data();
  Encoded encoded;
  while (!rest.empty()) {
    encoded.produced = static_cast<size_t>(to - into.data());
    if (encoded.produced >= batch.room || into.size() - encoded.produced < piece_bytes_max + 1 +
                                                                               local_head_bytes +
                                                                               local_tail_bytes) {
      encoded.more = true;
      break;
    }
    const std::string_view window = rest.substr(0, piece_bytes_max);
    const size_t newline = window.find('\n');
    const bool is_whole = newline != std::string_view::npos;
    const bool is_full = !is_whole && window.size() == piece_bytes_max;
    if (!is_whole && !is_full && !batch.is_last) break;
    const std::string_view text = is_whole ? window.substr(0, newline + 1) : window;
    const int64_t time_ns = pieces.open ? pieces.time_ns : batch.time_ns;
    const auto size = static_cast<uint32_t>(text.size());
    const auto stream = static_cast<uint8_t>(batch.stream);
    put_little_endian(to, size, 4);
    put_little_endian(to, local_check(size, time_ns, stream), 4);
    put_little_endian(to, static_cast<uint64_t>(time_ns), 8);
    put_little_endian(to, stream, 1);
    put(to, text);
    put_little_endian(to, size, 4);
    if (is_full) pieces.time_ns = time_ns;
    pieces.open = is_full;
    rest.remove_prefix(text.size());
  }
  encoded.consumed = batch.output.size() - rest.size();
  encoded.produced = static_cast<size_t>(to - into.data());
  return encoded;
}

std::optional<LocalHead> decode_local_head(std::string_view bytes) {
  LocalHead head;
  head.text_bytes = static_cast<uint32_t>(little_endian(bytes.substr(0, 4)));
  head.time_ns = static_cast<int64_t>(little_endian(bytes.substr(8, 8)));
  const auto stream = static_cast<uint8_t>(bytes[16]);
  if (stream != static_cast<uint8_t>(Stream::Stdout) &&
      stream != static_cast<uint8_t>(Stream::Stderr))
    return std::nullopt;
  head.stream = static_cast<Stream>(stream);
  // Docker's pieces are no longer than ours, plus the newline.
  if (head.text_bytes == 0 || head.text_bytes > piece_bytes_max + 1) return std::nullopt;
  if (little_endian(bytes.substr(4, 4)) != local_check(head.text_bytes, head.time_ns, stream))
    return std::nullopt;
  return head;
}

std::string encode_attributes(const std::vector<std::pair<std::string, std::string>>& attributes) {
  if (attributes.empty()) return {};
  const auto append_string = [](std::string& out, std::string_view text) {
    std::string encoded(text.size() * widest_escape + 16, '\0');
    const char* from = text.data();
    const char* const end = from + text.size();
    char* to = encoded.data();
    while (true) {
      copy_plain(from, end, to);
      if (from == end) break;
      escape(from, end, to);
    }
    encoded.resize(static_cast<size_t>(to - encoded.data()));
    out += '"';
    out += encoded;
    out += '"';
  };
  std::string out = R"(,"attrs":{)";
  for (const auto& [name, value] : attributes) {
    if (out.back() != '{') out += ',';
    append_string(out, name);
    out += ':';
    append_string(out, value);
  }
  return out += '}';
}

std::optional<Entry> decode_json_line(std::string_view line) {
  LineParser parser(line);
  Entry entry;
  bool has_time = false;
  if (!parser.take('{')) return std::nullopt;
  if (!parser.take('}')) {
    std::string name, text;
    do {
      if (!parser.string(name) || !parser.take(':')) return std::nullopt;
      if (name == "attrs") {
        if (!parser.attributes(entry.attributes)) return std::nullopt;
        continue;
      }
      if (!parser.string(text)) return std::nullopt;
      if (name == "log") {
        entry.text = std::move(text);
      } else if (name == "stream") {
        if (text != "stdout" && text != "stderr") return std::nullopt;
        entry.stream = text == "stderr" ? Stream::Stderr : Stream::Stdout;
      } else if (name == "time") {
        const auto time_ns = parse_time(text);
        if (!time_ns) return std::nullopt;
        entry.time_ns = *time_ns;
        has_time = true;
      }
    } while (parser.take(','));
    if (!parser.take('}')) return std::nullopt;
  }
  if (!has_time || !parser.at_end()) return std::nullopt;
  return entry;
}

}  // namespace nacelle::logs
