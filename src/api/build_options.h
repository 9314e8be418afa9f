// The options that BuildKit's clients send along with a Dockerfile, as a build's request. Pure.
#pragma once

#include <map>
#include <string>

#include "engine/build.h"
#include "nacelle/result.h"

namespace nacelle::api {

using FrontendOptions = std::map<std::string, std::string, std::less<>>;

// "target", "build-arg:NAME", "ulimit" and the others of frontend dockerfile.v0. What describes the
// client's own wishes (attestations, caches elsewhere) and changes nothing of the image is passed
// over; what would change it and is not understood is Unsupported.
Result<engine::BuildRequest> read_frontend_options(const FrontendOptions& options);

}  // namespace nacelle::api
