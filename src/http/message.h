// HTTP/1.1 heads and bodies, parsed as bytes come and without a descriptor in sight: the only door
// to llhttp. Everything is bounded, and what two readers could understand differently (RFC 9112
// section 11.2: both lengths, a repeated Content-Length, odd chunk lines, obs-fold, NUL) is
// refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::http {

struct MessageLimits {
  size_t head_bytes_max = 64u << 10;
  size_t headers_max = 128;
  size_t target_bytes_max = 16u << 10;
};

using Headers = std::vector<std::pair<std::string, std::string>>;  // names in lower case
// The value of the first header of this name; nothing when there is none. (Two of a kind that must
// be one are refused by the Parser.)
const std::string* find_header(const Headers& headers, std::string_view lower_case_name);

struct RequestHead {
  std::string method;  // upper case
  std::string path;    // percent-decoded, without the query; no NUL, begins with '/'
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order
  Headers headers;
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool http_1_0 = false;
  bool expects_continue = false;
  std::string upgrade;  // the Upgrade header where Connection names it: "tcp", "h2c"
};

struct ResponseHead {
  int status = 0;
  std::string reason;
  Headers headers;
  std::optional<uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool until_close = false;  // the body ends with the connection
};

// Feed bytes; take what came out. One Parser serves all messages of a connection, one by one.
class Parser {
 public:
  enum class Role : uint8_t { Requests, Responses };
  explicit Parser(Role role, MessageLimits limits = {});
  ~Parser();
  Parser(Parser&&) noexcept;
  Parser& operator=(Parser&&) noexcept;

  // How many of `bytes` were taken. Stops behind a head (so that the caller can look before the
  // body comes) and behind the end of a message; a head without a body is both. Body bytes are
  // appended to `body`, dechunked; no more than `body_room`, and without room nothing of a body is
  // taken. Invalid: answer 400 and close. Exhausted: 431.
  struct Step {
    size_t taken = 0;
    bool head_done = false;
    bool message_done = false;
  };
  Result<Step> feed(std::string_view bytes, std::string& body, size_t body_room);
  const RequestHead& request() const;
  const ResponseHead& response() const;
  // Ready for the next message. `no_body`: the response that comes answers a HEAD.
  void next(bool no_body = false);

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// "name=a%20b" pairs; Invalid for a broken escape or a NUL.
Result<std::string> percent_decode(std::string_view text, bool plus_is_space);
std::string percent_encode(std::string_view text);  // all but unreserved characters

}  // namespace nacelle::http
