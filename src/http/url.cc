#include "http/url.h"

#include <curl/curl.h>

#include <memory>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::http {

namespace {

using codec::json::in_quotes;

struct Cleanup {
  void operator()(CURLU* handle) const { ::curl_url_cleanup(handle); }
};
using Handle = std::unique_ptr<CURLU, Cleanup>;

// Empty when the URL has no such part.
std::string part(const Handle& handle, CURLUPart which, unsigned flags = 0) {
  char* text = nullptr;
  if (::curl_url_get(handle.get(), which, &text, flags) != CURLUE_OK) return {};
  std::string out(text);
  ::curl_free(text);
  return out;
}

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(Kind::Invalid, cat("URL ", in_quotes(text), ": ", why));
}

// A link may hold a secret in its query (signed links do), so messages show what is before it.
std::string_view without_query(std::string_view text) { return text.substr(0, text.find('?')); }

Result<> check_bytes(std::string_view text) {
  if (text.empty()) return refuse(text, "is empty");
  if (text.size() > url_bytes_max) {
    return refuse(without_query(text), cat("is longer than ", url_bytes_max, " bytes"));
  }
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) {
      return refuse(without_query(text), "has spaces or control characters");
    }
  }
  return {};
}

Result<> set(const Handle& handle, std::string_view text) {
  TRY(check_bytes(text));
  const std::string copy(text);
  const CURLUcode code =
      ::curl_url_set(handle.get(), CURLUPART_URL, copy.c_str(), CURLU_DISALLOW_USER);
  if (code == CURLUE_OK) return {};
  if (code == CURLUE_USER_NOT_ALLOWED) {
    // The text is not shown: it holds a password, perhaps.
    return fail(Kind::Invalid, "a URL holds a user name or password");
  }
  return refuse(without_query(text), ::curl_url_strerror(code));
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

Result<Url> read(const Handle& handle, std::string_view text) {
  Url url;
  url.scheme = part(handle, CURLUPART_SCHEME);
  if (url.scheme != "http" && url.scheme != "https") {
    return refuse(without_query(text), "is neither http nor https");
  }
  ::curl_url_set(handle.get(), CURLUPART_FRAGMENT, nullptr, 0);
  url.host = part(handle, CURLUPART_HOST);
  for (char& c : url.host) c = lower(c);
  if (url.host.empty()) return refuse(without_query(text), "names no host");
  const auto port = parse_number<uint16_t>(part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT));
  if (!port || *port == 0) return refuse(without_query(text), "has no usable port");
  url.port = *port;
  url.path = part(handle, CURLUPART_PATH);
  if (url.path.empty()) url.path = "/";
  url.query = part(handle, CURLUPART_QUERY);
  url.text = cat(url.scheme, "://", url.authority(), url.path);
  if (!url.query.empty()) url.text += cat('?', url.query);
  if (url.text.size() > url_bytes_max) {
    return refuse(without_query(text), cat("is longer than ", url_bytes_max, " bytes"));
  }
  return url;
}

}  // namespace

std::string Url::authority() const {
  return port == (secure() ? 443 : 80) ? host : cat(host, ':', port);
}
std::string Url::origin() const { return cat(scheme, "://", host, ':', port); }

Result<Url> parse_url(std::string_view text) {
  const Handle handle(::curl_url());
  TRY(set(handle, text));
  return read(handle, text);
}

Result<Url> join_url(const Url& base, std::string_view location) {
  const Handle handle(::curl_url());
  TRY(set(handle, base.text));
  TRY(set(handle, location));
  return read(handle, location);
}

Url with_query(Url url, std::string_view name, std::string_view value) {
  const std::string pair = cat(percent_encoded(name), '=', percent_encoded(value));
  url.text += cat(url.query.empty() ? (url.text.ends_with('?') ? "" : "?") : "&", pair);
  url.query += cat(url.query.empty() ? "" : "&", pair);
  return url;
}

bool same_origin(const Url& a, const Url& b) {
  return a.scheme == b.scheme && a.host == b.host && a.port == b.port;
}

std::string percent_encoded(std::string_view text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[c & 15];
    }
  }
  return out;
}

}  // namespace nacelle::http
