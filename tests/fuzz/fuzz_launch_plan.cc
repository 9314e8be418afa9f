// Any bytes as a launch plan: refused, or read from end to end without leaving them.
#include <cstdint>
#include <cstring>
#include <memory>

#include "container/launch_plan.h"
#include "tests/unit/container_plan/walk_plan.h"

using namespace nacelle::container;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < sizeof(PlanHeader)) return 0;
  // The head that every plan has is put in, so that the fuzzer gets to what is behind it.
  const std::unique_ptr<uint64_t[]> words(new uint64_t[(size + 7) / 8]);
  auto* bytes = reinterpret_cast<char*>(words.get());
  std::memcpy(bytes, data, size);
  const PlanHeader expected;
  std::memcpy(bytes, expected.magic, sizeof expected.magic);
  std::memcpy(bytes + offsetof(PlanHeader, version), &expected.version, sizeof expected.version);
  const auto whole = static_cast<uint32_t>(size);
  std::memcpy(bytes + offsetof(PlanHeader, size), &whole, sizeof whole);
  const auto plan = PlanView::check({bytes, size});
  if (plan) PlanWalk(*plan).all();
  return 0;
}
