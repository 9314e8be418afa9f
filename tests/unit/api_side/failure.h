// What went wrong, as one text.
#pragma once

#include <string>

#include "base/text.h"
#include "nacelle/result.h"

namespace nacelle::test {

template <class T>
std::string failure(const Result<T>& result) {
  if (result) return "no failure";
  return cat(to_string(result.error().kind()), ": ", result.error().message());
}

}  // namespace nacelle::test
