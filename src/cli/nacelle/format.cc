#include "cli/nacelle/format.h"

#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/template.h"
#include "cli/nacelle/text.h"

namespace nacelle::cli {

namespace {

constexpr size_t column_min = 10;
constexpr size_t column_gap = 3;

// In a shell, a tab is hard to type: `\t` in a format stands for one.
std::string without_escapes(std::string_view format) {
  std::string text;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] == '\\' && at + 1 < format.size() && format[at + 1] == 't') {
      text += '\t';
      ++at;
    } else if (format[at] == '\\' && at + 1 < format.size() && format[at + 1] == 'n') {
      text += '\n';
      ++at;
    } else {
      text += format[at];
    }
  }
  return text;
}

// Fields without those that only templates reach.
Datum shown(const Datum& row) {
  Datum visible = Datum::object();
  for (const auto& [key, value] : row.members()) {
    if (!key.starts_with('\x01')) visible.set(key, value);
  }
  visible.sort_members();
  return visible;
}

}  // namespace

std::string align_columns(std::string_view lines) {
  std::vector<std::vector<std::string>> rows;
  std::vector<size_t> widths;
  while (!lines.empty()) {
    std::string_view line = take_until(lines, '\n');
    std::vector<std::string>& cells = rows.emplace_back();
    for (;;) {
      const bool last = !line.contains('\t');
      cells.push_back(printable(take_until(line, '\t')));
      if (last) break;
      if (widths.size() < cells.size()) widths.push_back(column_min);
      size_t& width = widths[cells.size() - 1];
      width = std::max(width, width_of(cells.back()) + column_gap);
    }
  }
  std::string text;
  for (const auto& cells : rows) {
    for (size_t column = 0; column < cells.size(); ++column) {
      text += cells[column];
      if (column + 1 < cells.size()) {
        text.append(widths[column] - width_of(cells[column]), ' ');
      }
    }
    text += '\n';
  }
  return text;
}

Result<std::string> format_list(std::string_view format, std::string_view default_table,
                                const Headings& headings, const std::vector<Datum>& rows) {
  std::string text;
  if (format == "json") {
    for (const Datum& row : rows) text += cat(shown(row).json(), '\n');
    return text;
  }
  const bool is_table = format.empty() || format == "table" || format.starts_with("table ");
  std::string_view wanted = format;
  if (is_table) wanted = format.size() > 6 ? format.substr(6) : default_table;
  const std::string body = without_escapes(wanted);
  const Template parsed = TRY(Template::parse(body));
  if (is_table) {
    Datum names = Datum::object();
    for (const auto& [field, heading] : headings) names.set(field, heading);
    // `{{.Label "x"}}` has the label's name for a heading; ours is empty.
    names.set("\x01labels", Datum::object());
    text = cat(TRY(parsed.execute_heading(names)), '\n');
  }
  for (const Datum& row : rows) text += cat(TRY(parsed.execute(row)), '\n');
  return is_table ? align_columns(text) : text;
}

Result<> print_list(std::string_view format, std::string_view default_table,
                    const Headings& headings, const std::vector<Datum>& rows) {
  const std::string text = TRY(format_list(format, default_table, headings, rows));
  std::fwrite(text.data(), 1, text.size(), stdout);
  return {};
}

Result<std::string> format_one(std::string_view format, const Datum& data) {
  if (format == "json") return cat(data.json(), '\n');
  const Template parsed = TRY(Template::parse(without_escapes(format)));
  return cat(TRY(parsed.execute(data)), '\n');
}

}  // namespace nacelle::cli
