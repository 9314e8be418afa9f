// A registry's credentials as Docker and the containers tools keep them: config.json, auth.json and
// the credential helpers they name. The files are the user's own; they are bounded all the same.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::image {

inline constexpr size_t credential_file_bytes_max = 1u << 20;
inline constexpr size_t helper_reply_bytes_max = 64u << 10;

struct Credentials {
  std::string username, password, identity_token;
  bool empty() const { return username.empty() && identity_token.empty(); }
};

// The files that count, first to last: $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or
// ~/.docker/config.json, $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json.
std::vector<std::string> credential_files();

// What the first file that knows anything says for `registry` ("docker.io", "localhost:5000").
// Entries may be for a part of a registry ("quay.io/team"): the longest that `repository` lies in.
// Nothing known is no error; a broken file or helper is.
Result<Credentials> find_credentials(const std::vector<std::string>& files,
                                     std::string_view registry, std::string_view repository);

// Asks `docker-credential-NAME get` about `server`. Nothing stored is no error.
Result<Credentials> ask_credential_helper(
    std::string_view name, std::string_view server,
    std::chrono::milliseconds deadline = std::chrono::seconds(30));

}  // namespace nacelle::image
