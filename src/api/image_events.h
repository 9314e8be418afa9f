// Image events, as dockerd words them.
#pragma once

#include <string>

#include "api/route.h"
#include "oci/image.h"

namespace nacelle::api {

// `actor` is the image's id, or the reference it was pulled or pushed by; the labels are the
// image's own, where they are known.
void tell_image(Call& call, std::string action, std::string actor, std::string name,
                const oci::RunConfig* run = nullptr);

}  // namespace nacelle::api
