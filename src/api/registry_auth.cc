#include "api/registry_auth.h"

#include <utility>

#include "codec/base64.h"
#include "codec/json.h"
#include "codec/json_fields.h"

namespace nacelle::api {
namespace {

constexpr size_t auth_bytes_max = 64u << 10;

struct AuthFields {
  std::string username, password, auth, identity_token, server;
  template <class V>
  void describe(V& v) {
    v("username", username);
    v("password", password);
    v("auth", auth);
    v("identitytoken", identity_token);
    v("serveraddress", server);
  }
};

}  // namespace

Result<RegistryAuth> read_registry_auth(std::string_view json) {
  const auto document = TRY(codec::json::Document::parse(
      json, {.bytes_max = auth_bytes_max, .depth_max = 8}, "registry auth"));
  AuthFields fields;
  TRY(codec::json::read_fields(document.root(), fields));
  if (fields.username.empty() && !fields.auth.empty()) {
    const std::string pair = TRY(codec::from_base64(fields.auth));
    const size_t colon = pair.find(':');
    if (colon == std::string::npos || colon == 0) {
      return fail(Kind::Invalid, "registry auth: 'auth' is not a user name and a password");
    }
    fields.username = pair.substr(0, colon);
    fields.password = pair.substr(colon + 1);
    // Some clients pad it with zeros.
    while (fields.password.ends_with('\0')) fields.password.pop_back();
  }
  for (const std::string* each : {&fields.username, &fields.password, &fields.identity_token}) {
    if (each->find_first_of("\r\n") != std::string::npos || each->contains('\0')) {
      return fail(Kind::Invalid, "registry auth: a line break in a name or password");
    }
  }
  RegistryAuth auth;
  auth.credentials.username = std::move(fields.username);
  auth.credentials.password = std::move(fields.password);
  auth.credentials.identity_token = std::move(fields.identity_token);
  auth.server = std::move(fields.server);
  return auth;
}

namespace {

Result<std::string> decode_header(std::string_view header) {
  if (header.size() > auth_bytes_max) {
    return fail(Kind::Invalid, "X-Registry-Auth: too long");
  }
  std::string standard(header);
  for (char& c : standard) {
    if (c == '-') c = '+';
    if (c == '_') c = '/';
  }
  return codec::from_base64(standard);
}

Result<std::map<std::string, image::Credentials>> read_logins(std::string_view json) {
  std::map<std::string, image::Credentials> logins;
  const auto document = TRY(codec::json::Document::parse(
      json, {.bytes_max = auth_bytes_max, .depth_max = 8}, "registry config"));
  for (const auto [server, value] : TRY(document.root().object())) {
    RegistryAuth auth = TRY(read_registry_auth(value.raw()));
    logins.insert_or_assign(registry_of(TRY(server.string())), std::move(auth.credentials));
  }
  return logins;
}

}  // namespace

Result<RegistryAuth> decode_registry_auth(std::string_view header) {
  const std::string json = TRY(decode_header(header));
  return read_registry_auth(json);
}

std::map<std::string, image::Credentials> registry_logins(const http::Headers& headers) {
  const std::string* header = http::find_header(headers, "x-registry-config");
  if (header == nullptr || header->empty()) return {};
  const auto json = decode_header(*header);
  if (!json) return {};
  auto logins = read_logins(*json);
  return logins ? *std::move(logins) : std::map<std::string, image::Credentials>();
}

image::Credentials registry_login(const http::Headers& headers) {
  const std::string* header = http::find_header(headers, "x-registry-auth");
  if (header == nullptr || header->empty()) return {};
  auto auth = decode_registry_auth(*header);
  return auth ? std::move(auth->credentials) : image::Credentials();
}

std::string registry_of(std::string_view server) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (server.starts_with(scheme)) server.remove_prefix(scheme.size());
  }
  server = server.substr(0, server.find('/'));
  if (server.empty() || server == "index.docker.io" || server == "registry-1.docker.io") {
    return "docker.io";
  }
  return std::string(server);
}

}  // namespace nacelle::api
