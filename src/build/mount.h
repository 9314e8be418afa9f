// RUN --mount, before and after its variables are replaced. Private to this floor.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "build/dockerfile.h"
#include "nacelle/result.h"

namespace nacelle::build {

using WordExpander = std::function<Result<std::string>(std::string_view)>;

// All of a mount, each value put through `expander`.
Result<Mount> read_mount(std::string_view text, const WordExpander& expander);

// What is known before variables are: all of it, where there are none.
Result<Mount> read_mount_unexpanded(std::string_view text);

}  // namespace nacelle::build
