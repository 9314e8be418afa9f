// Points in time as the API writes them.
#pragma once

#include <cstdint>
#include <string>

namespace nacelle::engine {

int64_t now_ns();  // since 1970
// RFC 3339 in UTC with nine digits behind the second, or none.
std::string moment_text(int64_t ns);
std::string moment_text_seconds(int64_t ns);

}  // namespace nacelle::engine
