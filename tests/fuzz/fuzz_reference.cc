// An image's name, or a platform's, of any bytes: parsed, or refused with one line of text. What
// was parsed is safe in a path or a URL, and both ways of showing it mean the same again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "oci/image.h"
#include "oci/reference.h"

namespace {

using namespace nacelle;

void check_complaint(const Error& error) {
  const std::string& complaint = error.message();
  CHECK(!complaint.empty() && !complaint.contains('\n') && is_utf8(complaint));
  CHECK(complaint.size() < 4096);
}

void check_platform(std::string_view text) {
  const auto platform = oci::parse_platform(text);
  if (!platform) return check_complaint(platform.error());
  CHECK(oci::platform_match(*platform, *platform) == oci::platform_match_exact);
  const auto again = oci::parse_platform(platform->text());
  CHECK(again && again->text() == platform->text());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_platform(text);
  const auto reference = oci::parse_reference(text);
  CHECK(reference.has_value() == oci::parse_reference_name(text).has_value());
  if (!reference) {
    check_complaint(reference.error());
    return 0;
  }
  const std::string full = reference->text();
  CHECK(std::ranges::all_of(full, [](char c) { return c > ' ' && c <= '~'; }));
  CHECK(!reference->name().contains("..") && !reference->name().contains("//"));
  CHECK(!reference->registry.empty() && !reference->repository.empty());
  CHECK(reference->repository.size() <= 255 && reference->tag.size() <= 128);
  CHECK(!reference->tag.empty() || !reference->digest.empty());
  const auto from_full = oci::parse_reference(full);
  const auto from_familiar = oci::parse_reference(reference->familiar());
  CHECK(from_full && *from_full == *reference);
  CHECK(from_familiar && *from_familiar == *reference);
  CHECK(oci::parse_reference_name(reference->familiar_name())->name() == reference->name());
  return 0;
}
