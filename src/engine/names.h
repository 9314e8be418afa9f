// Names of containers: what may be one, and one made up where none was given. Which are taken is
// for the caller to say.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::engine {

// [a-zA-Z0-9][a-zA-Z0-9_.-]+
bool is_container_name(std::string_view name);
// The same with Docker's text. A slash before it is the caller's to take off.
Result<> check_container_name(std::string_view name);

// "brave_hopper", and with a digit behind it when `taken` says yes again and again.
std::string make_up_name(const std::function<bool(const std::string&)>& taken);

// 64 hexadecimal digits; the first twelve are never digits alone, so that nobody takes a short id
// for a number.
std::string random_id();
bool is_id(std::string_view text);

}  // namespace nacelle::engine
