// The OCI image-spec 1.1 as values: descriptors, manifests, indexes, configurations, and Docker's
// schema 2 forms of the same. Parsing is strict where a mistake could be used (image_parse.cc) and
// keeps what it does not know out of every decision.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/digest.h"
#include "nacelle/result.h"

namespace nacelle::oci {

// Media types. What a document says of itself must be what it is found to be (GHSA-xmmx-7jpf-fx42).
namespace media {
inline constexpr std::string_view oci_index = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view oci_manifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view oci_config = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view oci_layer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view oci_layer_gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr std::string_view oci_layer_zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr std::string_view docker_index =
    "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view docker_manifest =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view docker_config = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view docker_layer = "application/vnd.docker.image.rootfs.diff.tar";
inline constexpr std::string_view docker_layer_gzip =
    "application/vnd.docker.image.rootfs.diff.tar.gzip";
inline constexpr std::string_view docker_layer_zstd =
    "application/vnd.docker.image.rootfs.diff.tar.zstd";
}  // namespace media

bool is_index_type(std::string_view media_type);
bool is_manifest_type(std::string_view media_type);
bool is_config_type(std::string_view media_type);
// Also the non-distributable ("foreign") forms, whose `urls` are never followed.
bool is_layer_type(std::string_view media_type);

// Bounds (docs: pitfalls "size and time bombs"); more is Exhausted, naming the bound.
inline constexpr size_t manifest_bytes_max = 4u << 20;
inline constexpr size_t config_bytes_max = 8u << 20;
inline constexpr size_t layers_max = 500;  // what overlayfs can stack
inline constexpr size_t index_entries_max = 4096;
inline constexpr size_t history_entries_max = 10000;
inline constexpr size_t image_depth_max = 32;
inline constexpr uint64_t layer_bytes_max = 1ull << 40;

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;
  std::string os_version;
  std::string text() const;  // "linux/arm64/v8"
  bool operator==(const Platform&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(os, architecture, variant, os_version);
  }
};

Platform host_platform();
// "linux/amd64", "arm64", "linux/arm/v7", with the aliases containerd knows (x86_64, aarch64,
// armhf).
Result<Platform> parse_platform(std::string_view text);
// The form in which two platforms can be compared: aliases resolved, lower case, the variant that
// goes without saying left out (amd64/v1, arm64/v8) or put in (arm/v7).
Platform normalized(const Platform& platform);
// Whether a host of kind `wanted` runs `offered`, and how well: 0 no, more is better, and
// platform_match_exact when they are the same. An amd64 host also runs 386, an arm64 host arm, and
// each the earlier variants of its own.
inline constexpr int platform_match_exact = 100;
int platform_match(const Platform& wanted, const Platform& offered);

struct Descriptor {
  std::string media_type;
  codec::Digest digest;
  uint64_t size = 0;
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;
  std::string artifact_type;
  bool operator==(const Descriptor&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(media_type, digest, size, annotations, platform, artifact_type);
  }
};

struct Manifest {
  std::string media_type;  // OCI or Docker; from the document, or from its descriptor
  Descriptor config;
  std::vector<Descriptor> layers;  // lowest first
  std::map<std::string, std::string> annotations;
  bool operator==(const Manifest&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(media_type, config, layers, annotations);
  }
};

struct Index {
  std::string media_type;
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;
  bool operator==(const Index&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(media_type, manifests, annotations);
  }
};

struct HealthCheck {
  std::vector<std::string> test;
  int64_t interval_ns = 0, timeout_ns = 0, start_period_ns = 0, start_interval_ns = 0;
  int64_t retries = 0;
  bool operator==(const HealthCheck&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(test, interval_ns, timeout_ns, start_period_ns, start_interval_ns, retries);
  }
};

struct History {
  std::string created;  // RFC 3339
  std::string created_by, author, comment;
  bool empty_layer = false;
  bool operator==(const History&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(created, created_by, author, comment, empty_layer);
  }
};

// How to run it. Data, never control: nothing of it names a path or a program of the host's.
struct RunConfig {
  std::string user, working_directory, stop_signal;
  std::vector<std::string> env, entrypoint, command, shell, on_build;
  std::vector<std::string> exposed_ports, volumes;          // keys, sorted
  std::vector<std::pair<std::string, std::string>> labels;  // sorted by key
  std::optional<HealthCheck> health_check;
  bool args_escaped = false;
  bool operator==(const RunConfig&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(user, working_directory, stop_signal, env, entrypoint, command, shell, on_build,
          exposed_ports, volumes, labels, health_check, args_escaped);
  }
};

struct ImageConfig {
  std::string created, author;
  Platform platform;
  RunConfig run;
  std::vector<codec::Digest> diff_ids;  // of the uncompressed layers, lowest first
  std::vector<History> history;
  bool operator==(const ImageConfig&) const = default;
  template <class Visit>
  void fields(Visit& visit) {
    visit(created, author, platform, run, diff_ids, history);
  }
};

// Each takes the whole document. `media_type` is what the descriptor or the server said, and may be
// empty; a document that says otherwise, or that has both `layers` and `manifests`
// (GHSA-5j5w-g665-5m35), is Invalid. Errors name the place: `layers[3].digest: ...`.
Result<Manifest> parse_manifest(std::string_view json, std::string_view media_type);
Result<Index> parse_index(std::string_view json, std::string_view media_type);
Result<ImageConfig> parse_image_config(std::string_view json);

// What the parsers cannot see in one document alone: as many diff_ids as layers.
Result<> check_config_fits(const Manifest& manifest, const ImageConfig& config);

// In the key order of the OCI's and buildah's own writer, on one line, without what is empty:
// parsing the text gives the value again.
std::string write_manifest(const Manifest& manifest);
std::string write_index(const Index& index);
std::string write_image_config(const ImageConfig& config);

// The manifest in `index` for a host of kind `wanted`; attestations and other artifacts are passed
// over. Where no manifest fits, an entry of an index type that fits or names no platform (look at
// media_type, and bound how deep to go), then a manifest without a platform if it is the only one.
// NotFound lists what there is.
Result<Descriptor> choose_platform(const Index& index, const Platform& wanted);

// Where an image layout keeps a blob (image-layout.md): blobs/<algorithm>/<hex>.
std::string blob_path(const codec::Digest& digest);

// image-spec config.md "Layer ChainID": one per layer, lowest first.
std::vector<codec::Digest> chain_ids(const std::vector<codec::Digest>& diff_ids);

}  // namespace nacelle::oci
