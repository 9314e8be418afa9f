// What a registry is to this machine: where it answers, whom it trusts, as whom we come. The host's
// side; it reads the user's own files and nothing a registry sent.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image/messages.h"
#include "image/registry_credentials.h"
#include "nacelle/result.h"
#include "oci/reference.h"

namespace nacelle::image {

struct RegistryOptions {
  std::vector<std::string> insecure_registries;  // "host:port" or CIDR; loopback always is
  std::vector<std::string> mirrors;              // URLs, tried before docker.io, for pulls
  // HOST[:PORT]/{*.crt,*.cert,*.key} below each, as Docker's; before /etc/nacelle/certs.d and
  // /etc/docker/certs.d.
  std::vector<std::string> certificate_directories;
};

enum class RegistryUse : uint8_t { Pull, Push };

// Everything a worker needs to talk to `name`'s registry, credentials included: `given` (which may
// be empty: nobody's) for the registry itself and none for its mirrors, or those of the caller's
// own files where there is no `given`.
Result<RegistryOpenRequest> registry_open_request(const oci::Reference& name, RegistryUse use,
                                                  const RegistryOptions& options,
                                                  const Credentials* given = nullptr);

// The same for a file of any server's, of which no configuration knows: no credentials, and nobody
// trusted but the host's bundle.
Result<FetchFileRequest> fetch_file_request(std::string url);

}  // namespace nacelle::image
