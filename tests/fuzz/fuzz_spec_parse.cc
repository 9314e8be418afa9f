// A config.json of any bytes: parsed, or refused with one line of text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "oci/spec_parse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = nacelle::oci::parse_spec(text);
  if (!spec) {
    const std::string& complaint = spec.error().message();
    CHECK(!complaint.empty() && !complaint.contains('\n') && nacelle::is_utf8(complaint));
    CHECK(complaint.size() < 4096);
    return 0;
  }
  // What a parsed configuration promises to those who act on it.
  CHECK(spec->process && !spec->process->args.empty() && spec->process->cwd.starts_with('/'));
  CHECK(spec->root && !spec->root->path.contains('\0'));
  for (const auto& mount : spec->mounts) CHECK(mount.destination.starts_with('/'));
  return 0;
}
