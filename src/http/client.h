// An HTTP/1.1 client for one server and the places it sends us to, over libcurl. It blocks, keeps
// connections, and bounds everything a server can make long: headers, bodies, redirects, time.
// It follows redirects itself. Nothing goes from https to http, or to link-local addresses (clouds
// keep their metadata there), or from a public server to a private address or this machine; what is
// secret stays with the origin it was meant for.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/url.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::http {

inline constexpr size_t header_bytes_max = 64u << 10;  // of one response, all together
inline constexpr size_t redirects_max = 5;
inline constexpr size_t error_body_bytes_max = 64u << 10;  // more of it is not read
inline constexpr long stall_bytes_per_second = 1024;       // slower than this is a stall

struct Timeouts {
  std::chrono::milliseconds connect{10'000};
  std::chrono::seconds stall{30};  // so long slower than stall_bytes_per_second
};

struct ClientOptions {
  Url home;  // the server as the user named it
  // For home's host alone: certificates are not checked, and ours is shown.
  bool skip_verify = false;
  std::string client_certificate_pem, client_key_pem;
  std::string ca_pem;  // whom to trust, everywhere
  std::string http_proxy, https_proxy, no_proxy;
  std::string user_agent;
  Timeouts timeouts;
};

struct Header {
  std::string name;  // of a response: lower case
  std::string value;
};

struct Response {
  int status = 0;
  std::vector<Header> headers;
  std::string body;  // what no sink took, and the beginning of an error's
  Url url;           // which answered, after redirects

  bool ok() const { return status >= 200 && status < 300; }
  // The first of that name (in lower case); empty when there is none.
  std::string_view header(std::string_view name) const;
  // All of that name, joined by commas as RFC 9110 allows.
  std::string headers_joined(std::string_view name) const;
};

struct Request {
  std::string method = "GET";
  Url url;
  std::vector<Header> headers;
  std::string authorization;  // goes to url's origin and not to where it redirects

  // The body: bytes, or a part of a file. A body of bytes is never sent to another origin.
  std::string body;
  const Fd* file = nullptr;
  uint64_t file_offset = 0, file_size = 0;
  bool has_body = false;  // even if it is empty

  size_t redirects = redirects_max;
  size_t body_bytes_max = 0;  // of a body without a sink
  // With all its redirects; 0: as long as it does not stall.
  std::chrono::milliseconds total_max{0};
  std::chrono::seconds stall_max{0};  // 0: the client's

  // For a response whose status is 2xx: its head, before any of its body; then the body in pieces.
  // An error ends the request and is what perform() returns.
  std::function<Result<>(const Response&)> on_head;
  std::function<Result<>(std::string_view)> sink;
  // Called at least once a second while the request runs, with the body's bytes sent so far. An
  // error ends the request.
  std::function<Result<>(uint64_t sent)> on_tick;
};

class Client {
 public:
  static Result<Client> make(ClientOptions options);
  ~Client();
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;

  // The last answer, whatever its status. Errors: Unavailable where another attempt may help (no
  // connection, cut off, stalled), Denied for a certificate that is not trusted and for refused
  // redirects, Exhausted for bounds, Invalid for what is not HTTP.
  Result<Response> perform(const Request& request);

 private:
  struct State;
  explicit Client(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// `text` from a stranger for use in one line of a message: valid UTF-8, no control characters, at
// most `bytes_max`.
std::string plain_words(std::string_view text, size_t bytes_max = 300);

}  // namespace nacelle::http
