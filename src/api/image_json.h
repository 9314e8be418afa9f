// Images in the API's words: the list, inspect, history. Members and their order are dockerd's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codec/json_writer.h"
#include "image/images.h"

namespace nacelle::api {

struct ImageSizes {
  uint64_t bytes = 0;
  int64_t shared = -1;      // with other images; -1: not counted
  int64_t containers = -1;  // that use it; -1: not counted
};

// "busybox:latest" for each of its names; "busybox@sha256:..." for each of its repo digests.
std::vector<std::string> repo_tags(const image::Details& details);
std::vector<std::string> repo_digests(const image::Details& details);

void write_image_summary(codec::json::Writer& json, const image::Details& details,
                         const std::vector<std::string>& tags,
                         const std::vector<std::string>& digests, const ImageSizes& sizes,
                         int version);
void write_image_inspect(codec::json::Writer& json, const image::Details& details, uint64_t bytes,
                         int version);
// `layer_sizes`: lowest first.
void write_image_history(codec::json::Writer& json, const image::Details& details,
                         const std::vector<uint64_t>& layer_sizes);

// Docker's `reference` filter: a pattern (path.Match's) of a name with or without its tag.
bool matches_reference(const std::string& pattern, const std::string& familiar);

}  // namespace nacelle::api
