// The engine's API as the verbs use it: requests to paths, answers as data, errors in the engine's
// own words. One connection, opened at the first request and kept.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "cli/nacelle/datum.h"
#include "http/stream_client.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::cli {

// A path and query being put together: `Target("/containers/", id, "/json").with("size", "1")`.
class Target {
 public:
  // Parts of a path; the middle one is a name, and is encoded.
  explicit Target(std::string_view path) : text_(path) {}
  Target(std::string_view before, std::string_view name, std::string_view after = {});
  Target& with(std::string_view name, std::string_view value);
  Target& flag(std::string_view name, bool yes) { return yes ? with(name, "1") : *this; }
  // Where `value` is not empty.
  Target& maybe(std::string_view name, std::string_view value) {
    return value.empty() ? *this : with(name, value);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  bool has_query_ = false;
};

class Api {
 public:
  explicit Api(std::string host) : host_(std::move(host)) {}

  struct Request {
    std::string method = "GET";
    Target target;
    std::string body;  // JSON
    http::Headers headers;
    std::function<Result<size_t>(std::span<char>)> body_source;  // a tar archive, instead of it
    std::string_view upgrade = {};                               // to what protocol: "tcp", "h2c"
  };
  // The head of an answer that is no error. An error has the engine's message, and the Kind of its
  // status: Invalid 400, Denied 401 and 403, NotFound 404, Conflict 409, Unavailable 503.
  Result<http::ResponseHead> call(const Request& request);
  // The whole answer; null where it has no body.
  Result<Datum> json(const Request& request);
  Result<Datum> get(const Target& target) { return json({.method = "GET", .target = target}); }
  Result<Datum> post(const Target& target, std::string body = {}) {
    return json({.method = "POST", .target = target, .body = std::move(body)});
  }
  // Without an answer that matters.
  Result<> send(const Request& request);
  // A stream of JSON values, one at a time, until the function says false.
  Result<> each_line(const Request& request, const std::function<Result<bool>(const Datum&)>& take);
  // The body as it comes; false: enough.
  Result<> each_piece(const Request& request,
                      const std::function<Result<bool>(std::string_view)>& take);
  // What is left of the answer to call().
  Result<Datum> rest_as_json();
  http::StreamClient::Taken take_over();
  // To be polled; rest_as_json() does not wait long once it is readable.
  int descriptor() const { return client_->descriptor(); }

  // Another connection to the same engine.
  Api another() const { return Api(host_); }
  const std::string& host() const { return host_; }
  // Connects, without a request.
  Result<> connect();

 private:
  std::string host_;
  std::optional<http::StreamClient> client_;
};

}  // namespace nacelle::cli
