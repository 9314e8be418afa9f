// Text as characters, where patterns count them. Bytes that are no UTF-8 are kept, as characters of
// their own that come out as they went in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nacelle::codec {

// Greater than every character: what patterns use as marks of their own.
inline constexpr char32_t beyond_characters = 0x200000;

std::vector<char32_t> decode_characters(std::string_view text);
void append_character(std::string& out, char32_t character);

}  // namespace nacelle::codec
