// A small image in parts, for archives in any form.
#pragma once

#include <string>
#include <vector>

#include "tests/unit/image_jobs/job_test.h"

namespace nacelle::image {

inline std::string hex_of(std::string_view bytes) {
  return std::string(codec::digest_of(bytes).hex());
}

struct SmallImage {
  std::vector<std::string> layers;  // as they are stored
  std::string config, manifest;

  // `count` layers, told apart by `mark`.
  explicit SmallImage(std::string_view mark = "a", size_t count = 2,
                      codec::Compression compression = codec::Compression::None,
                      std::string_view architecture = "amd64") {
    std::string diff_ids;
    for (size_t each = 0; each < count; ++each) {
      const std::string plain = Tar().file(cat("etc/", mark, each), "content").end();
      diff_ids += cat(each == 0 ? "" : ",", "\"", codec::digest_of(plain).text(), "\"");
      layers.push_back(compression == codec::Compression::None ? plain
                                                               : compressed(plain, compression));
    }
    config = cat(R"({"architecture":")", architecture,
                 R"(","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[)",
                 diff_ids, "]}}");
    const std::string_view suffix = compression == codec::Compression::Gzip   ? "+gzip"
                                    : compression == codec::Compression::Zstd ? "+zstd"
                                                                              : "";
    make_manifest(suffix);
  }

  void make_manifest(std::string_view suffix) {
    manifest =
        cat(R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)",
            R"("config":)", describe(config, "application/vnd.oci.image.config.v1+json"),
            R"(,"layers":[)");
    for (size_t each = 0; each < layers.size(); ++each) {
      manifest +=
          cat(each == 0 ? "" : ",",
              describe(layers[each], cat("application/vnd.oci.image.layer.v1.tar", suffix)));
    }
    manifest += "]}";
  }

  static std::string describe(std::string_view bytes, std::string_view media_type,
                              std::string_view more = {}) {
    return cat(R"({"mediaType":")", media_type, R"(","digest":")", codec::digest_of(bytes).text(),
               R"(","size":)", bytes.size(), more, "}");
  }
  std::string descriptor(std::string_view more = {}) const {
    return describe(manifest, "application/vnd.oci.image.manifest.v1+json", more);
  }
  std::string config_file() const { return cat(hex_of(config), ".json"); }
  std::string layer_file(size_t each) const { return cat(hex_of(layers[each]), "/layer.tar"); }
  // An element of manifest.json, with the names `docker save` once gave to its files.
  std::string docker_element(std::string_view repo_tags) const {
    std::string names;
    for (size_t each = 0; each < layers.size(); ++each) {
      names += cat(each == 0 ? "" : ",", "\"", layer_file(each), "\"");
    }
    return cat(R"({"Config":")", config_file(), R"(","RepoTags":)", repo_tags, R"(,"Layers":[)",
               names, "]}");
  }
  void add_blobs(Tar& tar) const {
    for (const std::string& layer : layers) tar.blob(layer);
    tar.blob(config).blob(manifest);
  }
  void add_docker_files(Tar& tar) const {
    for (size_t each = 0; each < layers.size(); ++each) tar.file(layer_file(each), layers[each]);
    tar.file(config_file(), config);
  }
  // The names its blobs have when they are kept.
  std::set<std::string> kept() const {
    std::set<std::string> names{hex_of(config), hex_of(manifest)};
    for (const std::string& layer : layers) names.insert(hex_of(layer));
    return names;
  }
};

inline std::string index_of(std::string_view descriptors) {
  return cat(R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",)",
             R"("manifests":[)", descriptors, "]}");
}
inline constexpr std::string_view oci_layout = R"({"imageLayoutVersion":"1.0.0"})";
inline std::string named(std::string_view name) {
  return cat(R"(,"annotations":{"io.containerd.image.name":")", name, R"("})");
}
inline std::string for_platform(std::string_view os, std::string_view architecture) {
  return cat(R"(,"platform":{"os":")", os, R"(","architecture":")", architecture, R"("})");
}

// What load() leaves in its root is what it reports, or nothing when it fails.
inline void expect_only_reported(const Directory& root, const Result<LoadRequest::Reply>& reply) {
  std::set<std::string> reported;
  if (reply) {
    for (const LoadRequest::Blob& blob : reply->blobs) {
      reported.insert(std::string(blob.digest.hex()));
      const std::string bytes =
          test::read_file(cat(root.path(), "/", std::string(blob.digest.hex())));
      EXPECT_EQ(bytes.size(), blob.size);
      EXPECT_EQ(codec::digest_of(bytes, blob.digest.algorithm()), blob.digest);
    }
  }
  EXPECT_EQ(root.names(), reported);
}

}  // namespace nacelle::image
