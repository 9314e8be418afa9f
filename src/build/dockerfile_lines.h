// The lines of a Dockerfile: comments and parser directives taken out, continuations joined,
// here-documents read, and of every byte that is left the place it came from. Private to this
// floor.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "build/dockerfile.h"
#include "nacelle/result.h"

namespace nacelle::build {

// A place in the file; both count from 1, the column in characters.
struct Place {
  size_t line = 0;
  size_t column = 0;  // 0: the line as a whole
};

// `name:line:column: complaint`, the line, and a caret below the column. The text is safe to print:
// no control characters, valid UTF-8, and of a long line only what is around the column.
Error error_at(std::string_view name, const std::vector<std::string>& lines, Place place,
               std::string_view complaint, Kind kind = Kind::Invalid);

// One instruction as text.
struct LogicalLine {
  std::string text;
  struct Piece {
    size_t offset;  // in `text`, from where on...
    size_t line;    // ...bytes are of this line,
    size_t byte;    // beginning at this byte of it
  };
  std::vector<Piece> pieces;
  size_t first_line = 0;
  size_t last_line = 0;
  std::vector<Heredoc> heredocs;

  // The line and the byte in it that `part`, a part of `text`, begins with.
  Piece find(std::string_view part) const;
};

class LineReader {
 public:
  // Checks sizes and bytes. Borrows `text`.
  static Result<LineReader> open(std::string_view text, std::string_view name);

  // The next instruction, or nothing at the end.
  Result<std::optional<LogicalLine>> next();

  const Directives& directives() const { return directives_; }
  std::vector<Warning>& warnings() { return warnings_; }
  std::vector<std::string>& lines() { return lines_; }
  // An error where `part` of `line` begins.
  std::unexpected<Error> fail_at(const LogicalLine& line, std::string_view part,
                                 std::string_view complaint, Kind kind = Kind::Invalid) const;
  std::unexpected<Error> fail_at(Place place, std::string_view complaint,
                                 Kind kind = Kind::Invalid) const;

 private:
  LineReader() = default;
  Result<> read_directive(std::string_view line);
  Result<> join(LogicalLine& line, std::string_view text);
  Result<> read_continuations(LogicalLine& line);
  Result<> read_heredocs(LogicalLine& line);
  Result<> read_heredoc(const LogicalLine& line, Heredoc& heredoc);
  bool has_end_below(const Heredoc& heredoc);
  // What is left of a line that says it goes on, or nothing.
  std::optional<std::string_view> before_continuation(std::string_view text) const;

  std::string name_;
  std::vector<std::string_view> raw_;  // with their ends
  std::vector<std::string> lines_;     // without
  size_t at_ = 0;                      // the next line
  // Where each text last is a line, and where it is with its leading tabs away; filled when asked.
  std::map<std::string_view, size_t> last_lines_, last_chomped_;
  bool directives_are_over_ = false;
  Directives directives_;
  bool escape_was_said_ = false;
  std::vector<Warning> warnings_;
};

}  // namespace nacelle::build
