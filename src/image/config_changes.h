// Changes of an image's configuration as Dockerfile instructions: `commit --change 'CMD ["sh"]'`.
// Pure. Only instructions that change no file: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
// ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::image {

// Invalid, with the instruction in the message, for what is none of the above or has a mistake.
Result<> apply_change(oci::RunConfig& config, std::string_view instruction);

// All of them in order. An ENTRYPOINT takes away the CMD that came from the image below, which was
// meant for another, but not one that is among the changes.
Result<> apply_changes(oci::RunConfig& config, const std::vector<std::string>& instructions);

// The parts, for whoever has read the instruction already. Variables and labels take the place of
// their name's; lists stay sorted.
void set_env(std::vector<std::string>& env, const std::string& name, const std::string& value);
void set_label(std::vector<std::pair<std::string, std::string>>& labels, const std::string& name,
               const std::string& value);
void add_sorted(std::vector<std::string>& list, std::string text);
// "80", "80/udp", "8000-8010/tcp".
Result<> add_port(oci::RunConfig& config, std::string_view text);

}  // namespace nacelle::image
