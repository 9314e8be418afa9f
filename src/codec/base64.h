// Base 64 (RFC 4648 section 4), as HTTP basic authentication and credential files use it.
#pragma once

#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::codec {

std::string to_base64(std::string_view bytes);
// Padding may be missing; anything else that is not base 64 is Invalid.
Result<std::string> from_base64(std::string_view text);

}  // namespace nacelle::codec
