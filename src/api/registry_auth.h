// Who a client is to a registry: the X-Registry-Auth header and the body of POST /auth.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "http/message.h"
#include "image/registry_credentials.h"
#include "nacelle/result.h"

namespace nacelle::api {

struct RegistryAuth {
  image::Credentials credentials;
  std::string server;  // as the client names it: "https://index.docker.io/v1/", "localhost:5000"
};

// {"username", "password", "auth", "identitytoken", "serveraddress"}; `auth` is base 64 of
// "user:password".
Result<RegistryAuth> read_registry_auth(std::string_view json);
// The same as base64url (base64 is taken, too, and padding may be missing).
Result<RegistryAuth> decode_registry_auth(std::string_view header);
// Of a request. As in Docker, a header that cannot be read is as none.
image::Credentials registry_login(const http::Headers& headers);
// X-Registry-Config: the same per server, for a build that may need several. By registry_of().
std::map<std::string, image::Credentials> registry_logins(const http::Headers& headers);
// The registry a server address means: "docker.io" for Docker Hub's many names.
std::string registry_of(std::string_view server);

}  // namespace nacelle::api
