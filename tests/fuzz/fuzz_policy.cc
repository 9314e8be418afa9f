// A network policy of any bytes: what is read is written as something that reads the same, and
// compiles or is refused. The same bytes as an answer of DNS.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "engine/policy.h"
#include "engine/policy_compile.h"
#include "engine/policy_names.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nacelle;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)engine::parse_name_answer(text);
  const auto policy = engine::parse_policy(text);
  if (!policy) {
    CHECK(is_utf8(policy.error().message()));
    return 0;
  }
  codec::json::Writer json;
  write_json(json, *policy);
  const std::string written = std::move(json).take();
  const auto again = engine::parse_policy(written);
  CHECK(again.has_value() && *again == *policy);
  (void)engine::compile_policies({&*policy}, {});
  return 0;
}
