// Images on their way: pulled, pushed, imported, loaded, saved, committed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/route.h"
#include "image/images.h"
#include "oci/reference.h"

namespace nacelle::api {

ring::Task<> create_image(Call& call);  // POST /images/create
ring::Task<> push_image(Call& call);
ring::Task<> load_images(Call& call);
ring::Task<> save_images(Call& call);  // of one name in the path, or of several in the query
ring::Task<> commit_container(Call& call);

// A name to be given: `repository` without a tag or digest, and a tag (empty: `latest`).
Result<oci::Reference> new_reference(const std::string& repository, const std::string& tag);
// What is to be pulled: `tag` may be a digest, and `name` may have either itself.
Result<oci::Reference> pull_reference(const std::string& name, const std::string& tag);

// Bytes that each image shares with others, and those of all layers (image_routes.cc).
std::vector<int64_t> shared_sizes(const image::Images& images,
                                  const std::vector<image::Details>& all);
uint64_t layers_size(const image::Images& images, const std::vector<image::Details>& all);

}  // namespace nacelle::api
