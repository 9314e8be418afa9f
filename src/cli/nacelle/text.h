// How `nacelle` writes things for people: tables, ages, digests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle::cli {

// Rows under headings, columns as wide as their widest cell, three blanks apart.
std::string table(const std::vector<std::string>& headings,
                  const std::vector<std::vector<std::string>>& rows);

// Without what could steer the terminal it is shown on.
std::string printable(std::string_view bytes);
// In columns, if every character takes one.
size_t width_of(std::string_view text);

// "3 days ago", as Docker says it, of a time in RFC 3339; "N/A" of what is none.
std::string age_of(std::string_view rfc3339);

}  // namespace nacelle::cli
