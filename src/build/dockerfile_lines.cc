#include "build/dockerfile_lines.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "build/dockerfile_words.h"

namespace nacelle::build {
namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
constexpr size_t excerpt_characters_max = 100;

bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, begins_character));
}

// `text` for a terminal: whatever is no printable character becomes a space or a question mark.
std::string printable(std::string_view text) {
  const bool utf8 = is_utf8(text);
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\t') {
      c = ' ';
    } else if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !utf8)) {
      c = '?';
    }
  }
  return out;
}

// The characters [from, from + count) of UTF-8 text.
std::string_view characters(std::string_view text, size_t from, size_t count) {
  const auto skip = [](std::string_view rest, size_t n) {
    size_t at = 0;
    while (n > 0 && at < rest.size()) {
      ++at;
      while (at < rest.size() && !begins_character(rest[at])) ++at;
      --n;
    }
    return at;
  };
  text.remove_prefix(skip(text, from));
  return text.substr(0, skip(text, count));
}

std::string excerpt(std::string_view line, size_t column) {
  const std::string whole = printable(line);
  if (column == 0) return cat("\n  ", characters(whole, 0, excerpt_characters_max));
  const size_t caret = column - 1;
  const size_t from =
      caret > excerpt_characters_max * 3 / 4 ? caret - excerpt_characters_max / 2 : 0;
  return cat("\n  ", characters(whole, from, excerpt_characters_max), "\n  ",
             std::string(caret - from, ' '), "^");
}

bool is_comment(std::string_view line) { return trim_left(line).starts_with('#'); }

std::string_view without_tabs(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of('\t'), line.size()));
  return line;
}

bool is_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !text.empty() && letter(text[0]) &&
         std::ranges::all_of(text, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

}  // namespace

Error error_at(std::string_view name, const std::vector<std::string>& lines, Place place,
               std::string_view complaint, Kind kind) {
  std::string text = cat(printable(name), ":", place.line);
  if (place.column != 0) text += cat(":", place.column);
  text += cat(": ", printable(complaint));
  if (place.line >= 1 && place.line <= lines.size())
    text += excerpt(lines[place.line - 1], place.column);
  return {kind, std::move(text)};
}

LogicalLine::Piece LogicalLine::find(std::string_view part) const {
  // A part that is no part of the text (an empty one, mostly) stands at its beginning.
  const bool inside = part.data() >= text.data() && part.data() <= text.data() + text.size();
  const size_t offset = inside ? static_cast<size_t>(part.data() - text.data()) : 0;
  auto piece = std::ranges::upper_bound(pieces, offset, {}, &Piece::offset);
  if (piece == pieces.begin()) return {0, first_line, 0};
  --piece;
  return {offset, piece->line, piece->byte + (offset - piece->offset)};
}

std::unexpected<Error> LineReader::fail_at(Place place, std::string_view complaint,
                                           Kind kind) const {
  return std::unexpected(error_at(name_, lines_, place, complaint, kind));
}

std::unexpected<Error> LineReader::fail_at(const LogicalLine& line, std::string_view part,
                                           std::string_view complaint, Kind kind) const {
  const LogicalLine::Piece found = line.find(part);
  const std::string_view before = std::string_view(lines_[found.line - 1]).substr(0, found.byte);
  return fail_at({found.line, count_characters(before) + 1}, complaint, kind);
}

Result<LineReader> LineReader::open(std::string_view text, std::string_view name) {
  LineReader reader;
  reader.name_ = name;
  const auto too_much = [&](std::string_view what, size_t max) {
    return fail(Kind::Exhausted, cat(printable(name), ": more than ", max, " ", what));
  };
  if (text.size() > dockerfile_bytes_max) return too_much("bytes", dockerfile_bytes_max);
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  while (!text.empty()) {
    if (reader.raw_.size() == dockerfile_lines_max) return too_much("lines", dockerfile_lines_max);
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end == text.npos ? end : end + 1);
    text.remove_prefix(line.size());
    reader.raw_.push_back(line);
    const size_t length = line.find_last_not_of("\r\n") + 1;
    reader.lines_.emplace_back(line.substr(0, length));
    if (const size_t at = line.find('\0'); at != line.npos) {
      const Place place = {reader.lines_.size(), count_characters(line.substr(0, at)) + 1};
      return reader.fail_at(place, "a NUL character: this is no text");
    }
  }
  return reader;
}

Result<> LineReader::read_directive(std::string_view line) {
  // The first line that is none ends them: an unknown one, any other comment, an empty line.
  directives_are_over_ = true;
  if (!line.starts_with('#')) return {};
  std::string_view rest = trim_left(line.substr(1));
  if (!rest.contains('=')) return {};
  const std::string_view name = trim(take_until(rest, '='));
  const std::string_view value = trim(rest);
  if (!is_name(name) || value.empty()) return {};
  const std::string key = to_lower(name);
  const auto repeated = [&] {
    return fail_at({at_, 1}, cat("only one ", key, " parser directive can be used"));
  };
  if (key == "syntax" || key == "check") {
    std::string& into = key == "syntax" ? directives_.syntax : directives_.check;
    if (!into.empty()) return repeated();
    into = value;
  } else if (key == "escape") {
    if (std::exchange(escape_was_said_, true)) return repeated();
    if (value != "\\" && value != "`")
      return fail_at({at_, 1}, cat("invalid escape '", value, "': must be ` or \\"));
    directives_.escape = value[0];
  } else {
    return {};
  }
  directives_are_over_ = false;
  return {};
}

std::optional<std::string_view> LineReader::before_continuation(std::string_view text) const {
  const size_t last = text.find_last_not_of(" \t");
  if (last == text.npos || text[last] != directives_.escape) return std::nullopt;
  // An escaped escape character is a character.
  if (last > 0 && text[last - 1] == directives_.escape) return std::nullopt;
  return text.substr(0, last);
}

Result<> LineReader::join(LogicalLine& line, std::string_view text) {
  if (line.text.size() + text.size() > dockerfile_line_bytes_max)
    return fail_at({line.first_line, 0},
                   cat("an instruction of more than ", dockerfile_line_bytes_max, " bytes"),
                   Kind::Exhausted);
  const auto byte = static_cast<size_t>(text.data() - lines_[at_ - 1].data());
  line.pieces.push_back({line.text.size(), at_, byte});
  line.text += text;
  line.last_line = at_;
  return {};
}

Result<> LineReader::read_continuations(LogicalLine& line) {
  bool has_empty = false;
  while (at_ < lines_.size()) {
    const std::string_view text = lines_[at_++];
    line.last_line = at_;
    if (is_comment(text)) continue;
    if (trim(text).empty()) {
      has_empty = true;
      continue;
    }
    const auto before = before_continuation(text);
    TRY(join(line, before.value_or(text)));
    if (!before) break;
  }
  if (has_empty) warnings_.push_back({line.first_line, "empty continuation line"});
  return {};
}

bool LineReader::has_end_below(const Heredoc& heredoc) {
  if (last_lines_.empty()) {
    for (size_t line = 0; line < lines_.size(); ++line) {
      last_lines_[lines_[line]] = line;
      last_chomped_[without_tabs(lines_[line])] = line;
    }
  }
  const auto& lines = heredoc.chomp ? last_chomped_ : last_lines_;
  const auto found = lines.find(heredoc.name);
  return found != lines.end() && found->second >= at_;
}

Result<> LineReader::read_heredoc(const LogicalLine& line, Heredoc& heredoc) {
  while (at_ < raw_.size()) {
    const std::string_view end = heredoc.chomp ? without_tabs(lines_[at_]) : lines_[at_];
    const std::string_view raw = raw_[at_++];
    if (end == heredoc.name) return {};
    heredoc.content += raw;
  }
  return fail_at(line, line.text, cat("unterminated heredoc: no line says ", heredoc.name));
}

Result<> LineReader::read_heredocs(LogicalLine& line) {
  for (FoundHeredoc& found : find_heredocs(line.text)) {
    if (found.certain || has_end_below(found.heredoc))
      line.heredocs.push_back(std::move(found.heredoc));
  }
  if (line.heredocs.size() > dockerfile_heredocs_max)
    return fail_at(line, line.text, cat("more than ", dockerfile_heredocs_max, " heredocs"),
                   Kind::Exhausted);
  for (Heredoc& heredoc : line.heredocs) {
    TRY(read_heredoc(line, heredoc));
  }
  if (!line.heredocs.empty()) line.last_line = at_;
  return {};
}

Result<std::optional<LogicalLine>> LineReader::next() {
  while (at_ < lines_.size()) {
    const std::string_view text = trim_left(lines_[at_++]);
    if (!directives_are_over_) TRY(read_directive(text));
    if (text.empty() || text.starts_with('#')) continue;
    LogicalLine line;
    line.first_line = at_;
    const auto before = before_continuation(text);
    TRY(join(line, before.value_or(text)));
    if (before) TRY(read_continuations(line));
    // A lone escape character, and nothing behind it.
    if (trim(line.text).empty()) continue;
    TRY(read_heredocs(line));
    return line;
  }
  return std::nullopt;
}

}  // namespace nacelle::build
