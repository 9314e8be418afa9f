#include "image/registry_config.h"

#include <arpa/inet.h>
#include <dirent.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/text.h"
#include "codec/json.h"
#include "http/url.h"
#include "image/registry_credentials.h"
#include "sys/file.h"

namespace nacelle::image {

namespace {

constexpr size_t pem_bytes_max = 4u << 20;
constexpr size_t certificate_files_max = 256;
constexpr std::array system_bundles{"/etc/ssl/certs/ca-certificates.crt",
                                    "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
constexpr std::string_view user_agent = "nacelle";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// The first of the two that is set, as Go's clients look for them.
std::string environment(const char* upper_name, const char* lower_name) {
  for (const char* name : {upper_name, lower_name}) {
    const char* value = ::getenv(name);
    if (value && *value != '\0') return value;
  }
  return {};
}

// "[::1]:5000" and "host:5000" without the port.
std::string_view host_of(std::string_view registry) {
  const size_t colon = registry.rfind(':');
  const size_t bracket = registry.rfind(']');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || bracket < colon);
  return has_port ? registry.substr(0, colon) : registry;
}

// Insecure ---------------------------------------------------------------------------------------

struct Address {
  std::array<uint8_t, 16> bytes{};
  unsigned bits = 0;  // 32, 128, or 0: none
};

Address parse_address(std::string_view text) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  const std::string copy(text);
  Address address;
  if (::inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) {
    address.bits = 32;
  } else if (::inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) {
    address.bits = 128;
  }
  return address;
}

bool same_bits(const Address& a, const Address& b, unsigned count) {
  const unsigned whole = count / 8;
  if (std::memcmp(a.bytes.data(), b.bytes.data(), whole) != 0) return false;
  if (count % 8 == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - count % 8));
  return (a.bytes[whole] & mask) == (b.bytes[whole] & mask);
}

Result<bool> matches(std::string_view entry, std::string_view registry) {
  const size_t slash = entry.find('/');
  if (slash == std::string_view::npos) return lower(entry) == lower(registry);
  const Address network = parse_address(entry.substr(0, slash));
  const auto length = parse_number<unsigned>(entry.substr(slash + 1));
  if (network.bits == 0 || !length || *length > network.bits) {
    return fail(Kind::Invalid, cat("insecure registry ", codec::json::in_quotes(entry),
                                   ": neither a host nor a network"));
  }
  const Address host = parse_address(host_of(registry));
  return host.bits == network.bits && same_bits(host, network, *length);
}

Result<bool> is_insecure(std::string_view registry, const RegistryOptions& options) {
  bool insecure = http::is_loopback(lower(host_of(registry)));
  for (const std::string& entry : options.insecure_registries) {
    insecure |= TRY(matches(entry, registry));
  }
  return insecure;
}

// Certificates -----------------------------------------------------------------------------------

struct Trust {
  std::string ca_pem, client_certificate_pem, client_key_pem;
};

struct DirectoryCleanup {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

// Sorted; nothing when there is no such directory.
Result<std::optional<std::vector<std::string>>> names_in(const std::string& path) {
  const std::unique_ptr<DIR, DirectoryCleanup> directory(::opendir(path.c_str()));
  if (!directory) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    return fail_errno(errno, cat("opendir '", path, "'"));
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (names.size() == certificate_files_max) {
      return fail(Kind::Exhausted,
                  cat("'", path, "': more than ", certificate_files_max, " files"));
    }
    names.emplace_back(entry->d_name);
  }
  std::ranges::sort(names);
  return names;
}

Result<std::string> read_pem(const std::string& path) {
  std::string pem = TRY(sys::read_file_at(sys::working_directory, path.c_str(), pem_bytes_max));
  if (!pem.contains("-----BEGIN ")) {
    return fail(Kind::Invalid, cat("'", path, "': not in PEM form"));
  }
  if (!pem.ends_with('\n')) pem += '\n';
  return pem;
}

Result<Trust> read_trust(const std::string& directory, const std::vector<std::string>& names) {
  Trust trust;
  for (const std::string& name : names) {
    const std::string path = cat(directory, "/", name);
    if (name.ends_with(".crt")) {
      trust.ca_pem += TRY(read_pem(path));
      if (trust.ca_pem.size() > pem_bytes_max) {
        return fail(Kind::Exhausted, cat("'", directory, "': more than ", pem_bytes_max, " bytes"));
      }
    }
    if (!name.ends_with(".cert") || !trust.client_certificate_pem.empty()) continue;
    const std::string key = cat(name.substr(0, name.size() - 5), ".key");
    if (!std::ranges::binary_search(names, key)) {
      return fail(Kind::Invalid, cat("'", path, "': its key '", key, "' is not beside it"));
    }
    trust.client_certificate_pem = TRY(read_pem(path));
    trust.client_key_pem = TRY(read_pem(cat(directory, "/", key)));
  }
  return trust;
}

Result<Trust> find_trust(std::string_view registry, const RegistryOptions& options) {
  std::vector<std::string> roots = options.certificate_directories;
  roots.insert(roots.end(), {"/etc/nacelle/certs.d", "/etc/docker/certs.d"});
  if (registry.empty() || registry.starts_with('.') || registry.contains('/')) return Trust();
  for (const std::string& root : roots) {
    const std::string path = cat(root, "/", registry);
    if (const auto names = TRY(names_in(path))) return read_trust(path, *names);
  }
  return Trust();
}

Result<std::string> system_bundle() {
  if (const std::string named = environment("SSL_CERT_FILE", "SSL_CERT_FILE"); !named.empty()) {
    return read_pem(named);
  }
  for (const char* path : system_bundles) {
    auto pem = sys::read_file_at(sys::working_directory, path, pem_bytes_max);
    if (pem) return pem;
    if (pem.error().error_number() != ENOENT) return pem;
  }
  return std::string();
}

// Endpoints --------------------------------------------------------------------------------------

struct Place {
  std::string_view name;      // in credentials, certificates and lists: "docker.io", "host:port"
  std::string_view api_host;  // where it answers
  std::string_view repository;
};

Result<RegistryOpenRequest::Endpoint> make_endpoint(const Place& place,
                                                    const RegistryOptions& options,
                                                    const Credentials* given) {
  RegistryOpenRequest::Endpoint endpoint;
  Trust trust = TRY(find_trust(place.api_host, options));
  endpoint.ca_pem = std::move(trust.ca_pem);
  endpoint.client_certificate_pem = std::move(trust.client_certificate_pem);
  endpoint.client_key_pem = std::move(trust.client_key_pem);
  Credentials credentials =
      given != nullptr ? *given
                       : TRY(find_credentials(credential_files(), place.name, place.repository));
  endpoint.username = std::move(credentials.username);
  endpoint.password = std::move(credentials.password);
  endpoint.identity_token = std::move(credentials.identity_token);
  return endpoint;
}

Result<> add_mirrors(RegistryOpenRequest& request, const RegistryOptions& options,
                     const Credentials* given) {
  const Credentials nobody;
  for (const std::string& mirror : options.mirrors) {
    const http::Url url = TRY(http::parse_url(mirror).context("mirror"));
    const std::string host = url.authority();
    RegistryOpenRequest::Endpoint endpoint =
        TRY(make_endpoint({.name = host, .api_host = host, .repository = request.repository},
                          options, given != nullptr ? &nobody : nullptr));
    endpoint.url = url.text;
    endpoint.skip_verify = url.secure() && TRY(is_insecure(host, options));
    request.endpoints.push_back(std::move(endpoint));
  }
  return {};
}

// What does not depend on whom we speak with.
template <class Request>
Result<> describe_host(Request& request) {
  request.user_agent = user_agent;
  request.http_proxy = environment("HTTP_PROXY", "http_proxy");
  request.https_proxy = environment("HTTPS_PROXY", "https_proxy");
  request.no_proxy = environment("NO_PROXY", "no_proxy");
  request.system_ca_pem = TRY(system_bundle());
  return {};
}

}  // namespace

Result<FetchFileRequest> fetch_file_request(std::string url) {
  FetchFileRequest request;
  request.url = std::move(url);
  TRY(describe_host(request));
  return request;
}

Result<RegistryOpenRequest> registry_open_request(const oci::Reference& name, RegistryUse use,
                                                  const RegistryOptions& options,
                                                  const Credentials* given) {
  RegistryOpenRequest request;
  request.repository = name.repository;
  request.push = use == RegistryUse::Push;
  TRY(describe_host(request));
  if (name.registry == "docker.io" && !request.push) TRY(add_mirrors(request, options, given));

  RegistryOpenRequest::Endpoint endpoint = TRY(make_endpoint(
      {.name = name.registry, .api_host = name.api_host(), .repository = name.repository}, options,
      given));
  const bool insecure = TRY(is_insecure(name.registry, options));
  endpoint.url = cat("https://", name.api_host());
  endpoint.skip_verify = insecure;
  request.endpoints.push_back(endpoint);
  if (insecure) {
    // As Docker: TLS first, whoever's certificate it is, and then none.
    endpoint.url = cat("http://", name.api_host());
    endpoint.skip_verify = false;
    request.endpoints.push_back(std::move(endpoint));
  }
  return request;
}

}  // namespace nacelle::image
