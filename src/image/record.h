// What is known of an image without reading a foreign document again: its manifest and its
// configuration as values, parsed once in the worker. Kept under images/ by the manifest's digest,
// as a cache: a record that is missing, damaged or of another version is made again from the blobs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "codec/digest.h"
#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::image {

using codec::Digest;

struct ImageRecord {
  oci::Descriptor descriptor;  // of the manifest
  oci::Manifest manifest;
  oci::ImageConfig config;
  // Docker's image id.
  const Digest& id() const { return manifest.config.digest; }
  template <class Visit>
  void fields(Visit& visit) {
    visit(descriptor, manifest, config);
  }
};

// A layer that is unpacked: what it was made from and what it must still be.
struct LayerRecord {
  Digest chain;
  Digest diff_id;
  Digest parent;  // the chain below; empty for a lowest layer
  Digest blob;    // the compressed form it came from; may be gone
  uint64_t blob_bytes = 0;
  uint64_t tree_bytes = 0;  // content of all files, each hard link once
  uint64_t entries = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(chain, diff_id, parent, blob, blob_bytes, tree_bytes, entries);
  }
};

// As bytes: a line with the kind, its version and the digest of what follows. A record that lost
// its content in a power cut is thereby known for one. Decoding gives nothing then.
std::string encode_record(const ImageRecord& record);
std::string encode_record(const LayerRecord& record);
std::optional<ImageRecord> decode_image_record(std::string_view bytes);
std::optional<LayerRecord> decode_layer_record(std::string_view bytes);

inline constexpr size_t record_bytes_max = 32u << 20;

}  // namespace nacelle::image
