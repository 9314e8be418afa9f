// An image's configuration of any bytes: parsed, or refused with one line of text. What was parsed
// comes back equal when it is written, and those who act on it can rely on its promises.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "oci/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nacelle;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = oci::parse_image_config(text);
  if (!config) {
    const std::string& complaint = config.error().message();
    CHECK(!complaint.empty() && !complaint.contains('\n') && is_utf8(complaint));
    CHECK(complaint.size() < 4096);
    return 0;
  }
  CHECK(config->diff_ids.size() <= oci::layers_max);
  CHECK(!config->run.user.contains('\n') && !config->run.working_directory.contains('\n'));
  for (const std::string& entry : config->run.env) {
    const size_t equals = entry.find('=');
    CHECK(equals != std::string::npos && equals > 0 && !entry.contains('\0'));
  }
  CHECK(oci::chain_ids(config->diff_ids).size() == config->diff_ids.size());
  const auto again = oci::parse_image_config(oci::write_image_config(*config));
  CHECK(again && *again == *config);
  return 0;
}
