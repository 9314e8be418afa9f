// How lists are shown: tables for people, and --format for programs. A list is rows of named
// fields; a table is a template over them, whose headings are the same template over the headings.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/nacelle/datum.h"
#include "nacelle/result.h"

namespace nacelle::cli {

// Every field of a row with its heading, in any order.
using Headings = std::vector<std::pair<std::string_view, std::string_view>>;

// `format`: "" or "table" (the default table), "table TEMPLATE", "json" (a line of JSON per row) or
// a template per row. `default_table` is a template with \t between columns.
Result<std::string> format_list(std::string_view format, std::string_view default_table,
                                const Headings& headings, const std::vector<Datum>& rows);
Result<> print_list(std::string_view format, std::string_view default_table,
                    const Headings& headings, const std::vector<Datum>& rows);

// One thing: "json", or a template. With a line end.
Result<std::string> format_one(std::string_view format, const Datum& data);

// Lines of cells with tabs between them, as columns of at least ten characters.
std::string align_columns(std::string_view lines);

}  // namespace nacelle::cli
