#include "oci/image.h"

#include <algorithm>

#include "base/text.h"

namespace nacelle::oci {
namespace {

constexpr std::string_view layer_types[] = {
    media::oci_layer,
    media::oci_layer_gzip,
    media::oci_layer_zstd,
    media::docker_layer,
    media::docker_layer_gzip,
    media::docker_layer_zstd,
    // What registries were once not allowed to hand out. Most do now, and only they are asked.
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
};

}  // namespace

bool is_index_type(std::string_view media_type) {
  return media_type == media::oci_index || media_type == media::docker_index;
}

bool is_manifest_type(std::string_view media_type) {
  return media_type == media::oci_manifest || media_type == media::docker_manifest;
}

bool is_config_type(std::string_view media_type) {
  return media_type == media::oci_config || media_type == media::docker_config;
}

bool is_layer_type(std::string_view media_type) {
  return std::ranges::find(layer_types, media_type) != std::end(layer_types);
}

Result<> check_config_fits(const Manifest& manifest, const ImageConfig& config) {
  if (manifest.layers.size() == config.diff_ids.size()) return {};
  return fail(Kind::Invalid,
              cat("the manifest has ", manifest.layers.size(), " layers, its configuration ",
                  config.diff_ids.size(), " in rootfs.diff_ids"));
}

std::vector<codec::Digest> chain_ids(const std::vector<codec::Digest>& diff_ids) {
  std::vector<codec::Digest> chain;
  chain.reserve(diff_ids.size());
  for (const codec::Digest& diff_id : diff_ids) {
    chain.push_back(
        chain.empty() ? diff_id : codec::digest_of(cat(chain.back().text(), ' ', diff_id.text())));
  }
  return chain;
}

std::string blob_path(const codec::Digest& digest) {
  return cat("blobs/", digest.algorithm_name(), '/', digest.hex());
}

}  // namespace nacelle::oci
