// Changes of an image's configuration as Dockerfile instructions: `commit --change 'CMD ["sh"]'`.
// Pure. Only instructions that change no file: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
// ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::image {

// Invalid, with the instruction in the message, for what is none of the above or has a mistake.
Result<> apply_change(oci::RunConfig& config, std::string_view instruction);

// All of them in order. An ENTRYPOINT takes away the CMD that came from the image below, which was
// meant for another, but not one that is among the changes.
Result<> apply_changes(oci::RunConfig& config, const std::vector<std::string>& instructions);

}  // namespace nacelle::image
