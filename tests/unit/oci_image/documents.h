// Small documents that the tests of this folder break.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::oci {

inline const std::string digest_a = "sha256:" + std::string(64, 'a');
inline const std::string digest_b = "sha256:" + std::string(64, 'b');

inline std::string descriptor(std::string_view media_type, const std::string& digest,
                              std::string_view more = {}) {
  return cat(R"({"mediaType":")", media_type, R"(","digest":")", digest, R"(","size":7)", more,
             '}');
}

// `text` with the first `what` replaced. That `what` is there is part of the test.
inline std::string with(std::string text, std::string_view what, std::string_view by) {
  const size_t at = text.find(what);
  CHECK(at != std::string::npos);
  return text.replace(at, what.size(), by);
}

inline std::string file(std::string_view name) {
  std::ifstream stream(cat(NACELLE_TEST_DATA, "/images/", name));
  CHECK(stream.good());
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace nacelle::oci
