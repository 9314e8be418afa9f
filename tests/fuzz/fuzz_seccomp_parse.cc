// A linux.seccomp of any bytes: parsed, or refused with one line of text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "oci/spec_parse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto seccomp = nacelle::oci::parse_seccomp(text);
  if (!seccomp) {
    const std::string& complaint = seccomp.error().message();
    CHECK(!complaint.empty() && !complaint.contains('\n') && nacelle::is_utf8(complaint));
    CHECK(complaint.starts_with("linux.seccomp"));
    return 0;
  }
  for (const auto& rule : seccomp->rules) {
    CHECK(!rule.names.empty());
    for (const auto& argument : rule.args) CHECK(argument.index <= 5);
  }
  return 0;
}
