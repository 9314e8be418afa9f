// A manifest or an index of any bytes: parsed, or refused with one line of text. What was parsed is
// within its bounds, and comes back equal when it is written.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "oci/image.h"

namespace {

using namespace nacelle;

void check_complaint(const Error& error) {
  const std::string& complaint = error.message();
  CHECK(!complaint.empty() && !complaint.contains('\n') && is_utf8(complaint));
  CHECK(complaint.size() < 4096);
}

void check_descriptor(const oci::Descriptor& descriptor) {
  CHECK(descriptor.size <= oci::layer_bytes_max);
  CHECK(codec::Digest::parse(descriptor.digest.text()).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto manifest = oci::parse_manifest(text, "");
  const auto index = oci::parse_index(text, "");
  // No document is both.
  CHECK(!manifest || !index);
  if (manifest) {
    CHECK(oci::is_manifest_type(manifest->media_type));
    CHECK(oci::is_config_type(manifest->config.media_type));
    CHECK(manifest->layers.size() <= oci::layers_max);
    for (const oci::Descriptor& layer : manifest->layers) {
      CHECK(oci::is_layer_type(layer.media_type));
      check_descriptor(layer);
    }
    const auto again = oci::parse_manifest(oci::write_manifest(*manifest), manifest->media_type);
    CHECK(again && *again == *manifest);
  } else {
    check_complaint(manifest.error());
  }
  if (!index) {
    check_complaint(index.error());
    return 0;
  }
  CHECK(oci::is_index_type(index->media_type));
  for (const oci::Descriptor& entry : index->manifests) check_descriptor(entry);
  const auto again = oci::parse_index(oci::write_index(*index), index->media_type);
  CHECK(again && *again == *index);
  const auto chosen = oci::choose_platform(*index, oci::host_platform());
  if (!chosen) check_complaint(chosen.error());
  return 0;
}
