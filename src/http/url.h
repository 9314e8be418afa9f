// URLs as an HTTP client needs them: absolute, http or https, without user names (a password in a
// URL would end up in messages) and without fragments. What a server sends as a Location is text
// from a stranger until it has been joined and parsed here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "nacelle/result.h"

namespace nacelle::http {

inline constexpr size_t url_bytes_max = 16u << 10;  // signed links to object stores have 2 KiB

struct Url {
  std::string text;    // the whole, normalised
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; an IPv6 address keeps its brackets
  uint16_t port = 0;   // the scheme's own when the text has none
  std::string path;    // with its '/', percent-encoded as it came
  std::string query;   // without '?'

  bool secure() const { return scheme == "https"; }
  std::string authority() const;  // "host", or "host:port" where the port is not the scheme's own
  std::string origin() const;     // "https://host:port"
};

// Invalid, with the text cut and cleaned, for whatever is not such a URL.
Result<Url> parse_url(std::string_view text);

// What `location`, absolute or relative, means when `base` answered it.
Result<Url> join_url(const Url& base, std::string_view location);

// The same with `name=value` added to the query.
Url with_query(Url url, std::string_view name, std::string_view value);

// Scheme, host and port agree: the only place credentials meant for `a` may go.
bool same_origin(const Url& a, const Url& b);

// Everything but letters, digits and -._~ as %XX.
std::string percent_encoded(std::string_view text);

// An address literal that is link-local (169.254.0.0/16, fe80::/10) or one of the other addresses
// at which clouds keep their metadata, in whatever form. No name is looked up.
bool is_link_local(std::string_view host);
// localhost, *.localhost, or a literal that means this machine: 127.0.0.0/8, ::1, 0.0.0.0, ::.
bool is_loopback(std::string_view host);

}  // namespace nacelle::http
