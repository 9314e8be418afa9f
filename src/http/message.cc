#include "http/message.h"

#include <llhttp.h>

#include <algorithm>

#include "base/text.h"

namespace nacelle::http {

namespace {

// Of a chunk's line, its extensions included; nobody we know sends any.
constexpr size_t chunk_line_bytes_max = 256;

// Headers of which two would let two readers choose differently.
constexpr std::string_view only_once[] = {
    "host",   "content-length", "transfer-encoding", "content-type",  "authorization",
    "expect", "upgrade",        "x-registry-auth",   "content-range", "x-registry-config"};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equals_lower(std::string_view text, std::string_view lower_case) {
  return std::ranges::equal(text, lower_case, {}, lower);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void trim_end(std::string& text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.pop_back();
}

std::unexpected<Error> refuse(std::string_view why) {
  return fail(Kind::Invalid, cat("HTTP message refused: ", why));
}

// Line ends and controls of what is not a body, byte by byte. llhttp lets a bare CR or LF end a
// line in places, where other readers do not.
class Lines {
 public:
  // Nothing for a byte that may not stand here.
  bool take(char c) {
    const auto byte = static_cast<unsigned char>(c);
    if (after_cr_ != (c == '\n')) return false;
    after_cr_ = c == '\r';
    if (c == '\n') {
      in_first_line_ = in_first_line_ && line_bytes_ == 0;
      empty_line_ = line_bytes_ == 0;
      line_bytes_ = 0;
      return true;
    }
    if (c == '\r') return true;
    // A line that begins with a space continued the one before, once (obs-fold).
    if (line_bytes_ == 0 && (c == ' ' || c == '\t')) return false;
    ++line_bytes_;
    text_seen_ = true;
    if (in_first_line_ && first_spaces_ > 0 && before_ == ' ') last_word_ = c;
    if (in_first_line_ && c == ' ') ++first_spaces_;
    before_ = c;
    return (byte >= ' ' && byte != 0x7f) || c == '\t';
  }
  // The byte just taken ended an empty line that others stood before.
  bool at_end_of_head() const { return empty_line_ && line_bytes_ == 0 && text_seen_; }
  // A method, a target, HTTP/...: one space between them, and no other protocol (llhttp knows
  // RTSP).
  bool is_request_line() const { return first_spaces_ == 2 && last_word_ == 'H'; }
  void clear() { *this = Lines(); }

 private:
  size_t line_bytes_ = 0;
  bool after_cr_ = false, empty_line_ = false, text_seen_ = false;
  bool in_first_line_ = true;
  size_t first_spaces_ = 0;
  char before_ = 0, last_word_ = 0;
};

Result<> decode_query(std::string_view text, RequestHead& head) {
  while (!text.empty()) {
    const std::string_view pair = take_until(text, '&');
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    std::string name = TRY(percent_decode(pair.substr(0, equals), true));
    std::string value;
    if (equals != std::string_view::npos) {
      value = TRY(percent_decode(pair.substr(equals + 1), true));
    }
    head.query.emplace_back(std::move(name), std::move(value));
  }
  return {};
}

Result<> decode_target(std::string_view target, RequestHead& head) {
  // The absolute form, which proxies send: the authority says nothing to us.
  if (target.size() > 7 && equals_lower(target.substr(0, 7), "http://")) {
    target.remove_prefix(7);
    target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    if (target.empty()) target = "/";
  }
  if (!target.starts_with('/')) return refuse("the target is not a path");
  if (contains(target, '#')) return refuse("the target has a fragment");
  const std::string_view path = take_until(target, '?');
  head.path = TRY(percent_decode(path, false));
  return decode_query(target, head);
}

Result<> check_repeats(const Headers& headers) {
  for (size_t i = 0; i < headers.size(); ++i) {
    if (!contains(only_once, headers[i].first)) continue;
    for (size_t j = i + 1; j < headers.size(); ++j) {
      if (headers[j].first == headers[i].first) {
        return refuse(cat("two ", headers[i].first, " headers"));
      }
    }
  }
  return {};
}

}  // namespace

struct Parser::State {
  enum class Phase : uint8_t { Head, Body, Done };

  llhttp_t parser;
  Role role;
  MessageLimits limits;
  RequestHead request;
  ResponseHead response;
  std::string target;
  Phase phase = Phase::Head;
  bool no_body = false;
  bool in_value = false;
  bool too_many = false;
  bool head_done = false;  // llhttp says so
  bool message_done = false;
  bool last_chunk = false;
  size_t head_bytes = 0;
  size_t framing_bytes = 0;  // of chunk lines and trailers since the last byte of a body
  Lines lines;
  // While feed() runs: where body bytes go, and where the framing not yet looked at begins.
  std::string* body = nullptr;
  const char* framing = nullptr;
  bool framing_broken = false;

  Headers& headers() { return role == Role::Requests ? request.headers : response.headers; }

  void clear() {
    request = RequestHead();
    response = ResponseHead();
    target.clear();
    phase = Phase::Head;
    in_value = too_many = head_done = message_done = last_chunk = framing_broken = false;
    head_bytes = framing_bytes = 0;
    lines.clear();
  }

  bool check_framing(const char* end) {
    for (; framing < end; ++framing) {
      const size_t bytes_max = last_chunk ? limits.head_bytes_max : chunk_line_bytes_max;
      if (!lines.take(*framing) || ++framing_bytes > bytes_max) return false;
      // Spaces beside a chunk's size have been read in more than one way.
      if (!last_chunk && (*framing == ' ' || *framing == '\t')) return false;
    }
    return true;
  }

  Result<size_t> run(const char* bytes, size_t count);
  Result<Step> feed_head(std::string_view bytes);
  Result<Step> feed_body(std::string_view bytes);
  Result<> finish_head();
  Result<> finish_request();
  Result<> finish_response();
};

namespace {

Parser::State& state_of(llhttp_t* parser) { return *static_cast<Parser::State*>(parser->data); }

int on_target(llhttp_t* parser, const char* at, size_t length) {
  auto& state = state_of(parser);
  if (state.target.size() + length > state.limits.target_bytes_max) {
    state.too_many = true;
    return HPE_USER;
  }
  state.target.append(at, length);
  return 0;
}

int on_reason(llhttp_t* parser, const char* at, size_t length) {
  state_of(parser).response.reason.append(at, length);
  return 0;
}

int on_field(llhttp_t* parser, const char* at, size_t length) {
  auto& state = state_of(parser);
  if (state.head_done) return 0;  // a trailer
  Headers& headers = state.headers();
  if (headers.empty() || state.in_value) {
    if (headers.size() == state.limits.headers_max) {
      state.too_many = true;
      return HPE_USER;
    }
    headers.emplace_back();
    state.in_value = false;
  }
  for (size_t i = 0; i < length; ++i) headers.back().first += lower(at[i]);
  return 0;
}

int on_value(llhttp_t* parser, const char* at, size_t length) {
  auto& state = state_of(parser);
  if (state.head_done) return 0;
  state.in_value = true;
  if (!state.headers().empty()) state.headers().back().second.append(at, length);
  return 0;
}

int on_value_complete(llhttp_t* parser) {
  // Also of an empty value, of which no byte is told.
  state_of(parser).in_value = true;
  return 0;
}

int on_headers_complete(llhttp_t* parser) {
  auto& state = state_of(parser);
  state.head_done = true;
  // llhttp would read a body that a 304 only tells the length of.
  const int status = state.role == Parser::Role::Responses ? parser->status_code : 200;
  if (status / 100 == 1 || status == 204 || status == 304) state.no_body = true;
  if (state.no_body) parser->flags |= F_SKIPBODY;
  // Whether the connection becomes something else is not for the parser to decide.
  parser->upgrade = 0;
  return HPE_PAUSED;
}

int on_body(llhttp_t* parser, const char* at, size_t length) {
  auto& state = state_of(parser);
  if (state.framing != nullptr) {
    if (!state.check_framing(at)) {
      state.framing_broken = true;
      return HPE_USER;
    }
    state.framing = at + length;
    state.lines.clear();
    state.framing_bytes = 0;
  }
  state.body->append(at, length);
  return 0;
}

int on_chunk_header(llhttp_t* parser) {
  if (parser->content_length == 0) state_of(parser).last_chunk = true;
  return 0;
}

int on_message_complete(llhttp_t* parser) {
  state_of(parser).message_done = true;
  return HPE_PAUSED;
}

const llhttp_settings_t& settings() {
  static const llhttp_settings_t all = [] {
    llhttp_settings_t made;
    llhttp_settings_init(&made);
    made.on_url = on_target;
    made.on_status = on_reason;
    made.on_header_field = on_field;
    made.on_header_value = on_value;
    made.on_header_value_complete = on_value_complete;
    made.on_headers_complete = on_headers_complete;
    made.on_body = on_body;
    made.on_chunk_header = on_chunk_header;
    made.on_message_complete = on_message_complete;
    return made;
  }();
  return all;
}

}  // namespace

Result<size_t> Parser::State::run(const char* bytes, size_t count) {
  const llhttp_errno_t code = ::llhttp_execute(&parser, bytes, count);
  if (code == HPE_OK) return count;
  if (code == HPE_PAUSED) {
    const char* stopped = ::llhttp_get_error_pos(&parser);
    ::llhttp_resume(&parser);
    return static_cast<size_t>(stopped - bytes);
  }
  if (too_many) {
    return fail(Kind::Exhausted,
                "HTTP message refused: too many headers, or the target is too long");
  }
  if (framing_broken) return refuse("a chunk's line");
  const char* reason = ::llhttp_get_error_reason(&parser);
  return refuse(reason != nullptr && *reason != '\0' ? reason : ::llhttp_errno_name(code));
}

Result<> Parser::State::finish_request() {
  RequestHead& head = request;
  head.method = ::llhttp_method_name(static_cast<llhttp_method_t>(parser.method));
  if (parser.method == HTTP_CONNECT || parser.method == HTTP_PRI) {
    return refuse(cat("method ", head.method));
  }
  head.http_1_0 = parser.http_minor == 0;
  TRY(decode_target(target, head));
  const std::string* expect = find_header(head.headers, "expect");
  if (expect != nullptr && !head.http_1_0) {
    if (!equals_lower(*expect, "100-continue")) return refuse("an expectation nobody knows");
    head.expects_continue = true;
  }
  if (find_header(head.headers, "host") == nullptr && !head.http_1_0) {
    return refuse("there is no Host header");
  }
  const std::string* upgrade = find_header(head.headers, "upgrade");
  if (upgrade != nullptr && (parser.flags & F_CONNECTION_UPGRADE) != 0) {
    for (const char c : *upgrade) head.upgrade += lower(c);
  }
  head.keep_alive = ::llhttp_should_keep_alive(&parser) != 0;
  return {};
}

Result<> Parser::State::finish_response() {
  response.status = parser.status_code;
  if (response.status < 100) return refuse("a status below 100");
  response.keep_alive = ::llhttp_should_keep_alive(&parser) != 0;
  response.until_close = ::llhttp_message_needs_eof(&parser) != 0;
  return {};
}

Result<> Parser::State::finish_head() {
  if (role == Role::Requests && !lines.is_request_line()) return refuse("the request line");
  for (auto& [name, value] : headers()) {
    if (name.empty()) return refuse("a header without a name");
    trim_end(value);
  }
  if (parser.http_major != 1 || parser.http_minor > 1) return refuse("not HTTP/1.0 or HTTP/1.1");
  TRY(check_repeats(headers()));
  const std::string* encoding = find_header(headers(), "transfer-encoding");
  const bool chunked = encoding != nullptr;
  if (chunked && !equals_lower(*encoding, "chunked"))
    return refuse("a transfer encoding not known");
  if (chunked && parser.http_minor == 0) return refuse("chunks in HTTP/1.0");
  std::optional<uint64_t> length;
  if (const std::string* text = find_header(headers(), "content-length")) {
    if (chunked) return refuse("Content-Length and Transfer-Encoding");
    length = parse_number<uint64_t>(*text);
    if (!length) return refuse("Content-Length is not a number");
  }
  if (role == Role::Requests) {
    request.chunked = chunked;
    request.content_length = length;
    return finish_request();
  }
  response.chunked = chunked;
  response.content_length = length;
  return finish_response();
}

Result<Parser::Step> Parser::State::feed_head(std::string_view bytes) {
  size_t count = 0;
  bool ends = false;
  while (count < bytes.size() && !ends) {
    if (!lines.take(bytes[count++])) return refuse("line ends or control characters in the head");
    ends = lines.at_end_of_head();
  }
  head_bytes += count;
  if (head_bytes > limits.head_bytes_max) {
    return fail(Kind::Exhausted, cat("HTTP message refused: its head is longer than ",
                                     limits.head_bytes_max, " bytes"));
  }
  const size_t taken = TRY(run(bytes.data(), count));
  // Where it ends is one question with one answer, or nobody's request.
  if (head_done != ends || taken != count) return refuse("the head's end");
  Step step{.taken = count};
  if (!ends) return step;
  step.head_done = true;
  TRY(finish_head());
  lines.clear();
  const bool chunked = request.chunked || response.chunked;
  const uint64_t length = role == Role::Requests ? request.content_length.value_or(0)
                                                 : response.content_length.value_or(0);
  phase = Phase::Body;
  if (no_body || (!chunked && length == 0 && !response.until_close)) {
    TRY(run(bytes.data() + count, 0));
    if (!message_done) return refuse("the end of a message without a body");
  }
  step.message_done = message_done;
  if (message_done) phase = Phase::Done;
  return step;
}

Result<Parser::Step> Parser::State::feed_body(std::string_view bytes) {
  const bool chunked = request.chunked || response.chunked;
  framing = chunked ? bytes.data() : nullptr;
  Step step{.taken = TRY(run(bytes.data(), bytes.size()))};
  if (chunked && !check_framing(bytes.data() + step.taken)) return refuse("a chunk's line");
  step.message_done = message_done;
  if (message_done) phase = Phase::Done;
  return step;
}

Parser::Parser(Role role, MessageLimits limits) : state_(std::make_unique<State>()) {
  state_->role = role;
  state_->limits = limits;
  ::llhttp_init(&state_->parser, role == Role::Requests ? HTTP_REQUEST : HTTP_RESPONSE,
                &settings());
  state_->parser.data = state_.get();
}
Parser::~Parser() = default;
Parser::Parser(Parser&&) noexcept = default;
Parser& Parser::operator=(Parser&&) noexcept = default;

Result<Parser::Step> Parser::feed(std::string_view bytes, std::string& body, size_t body_room) {
  State& state = *state_;
  if (state.phase == State::Phase::Done || bytes.empty()) return Step{};
  if (state.phase == State::Phase::Head) return state.feed_head(bytes);
  // A body is never longer than the bytes it came as.
  bytes = bytes.substr(0, body_room);
  if (bytes.empty()) return Step{};
  state.body = &body;
  return state.feed_body(bytes);
}

const RequestHead& Parser::request() const { return state_->request; }
const ResponseHead& Parser::response() const { return state_->response; }

void Parser::next(bool no_body) {
  state_->clear();
  state_->no_body = no_body;
  ::llhttp_reset(&state_->parser);
}

const std::string* find_header(const Headers& headers, std::string_view lower_case_name) {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return &value;
  }
  return nullptr;
}

Result<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus_is_space) c = ' ';
    if (c == '%') {
      const int high = text.size() - i > 2 ? hex_digit(text[i + 1]) : -1;
      const int low = text.size() - i > 2 ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return fail(Kind::Invalid, "a broken %-escape");
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return fail(Kind::Invalid, "a NUL in a URL");
    out += c;
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const char l = lower(c);
    if ((l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
        c == '~') {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

}  // namespace nacelle::http
