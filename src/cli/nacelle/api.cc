#include "cli/nacelle/api.h"

#include <stdlib.h>

#include "base/text.h"

namespace nacelle::cli {

namespace {

constexpr size_t answer_bytes_max = 256u << 20;
constexpr size_t error_bytes_max = 1u << 20;
constexpr size_t line_bytes_max = 16u << 20;

// As http::percent_encoded, but for what may stand in a path and reads better there.
void append_encoded(std::string& out, std::string_view text, std::string_view also) {
  constexpr char digits[] = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").contains(c) || also.contains(c);
    if (plain) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
}

Kind kind_of_status(int status) {
  switch (status) {
    case 400: return Kind::Invalid;
    case 401:
    case 403: return Kind::Denied;
    case 404: return Kind::NotFound;
    case 409: return Kind::Conflict;
    case 501: return Kind::Unsupported;
    case 503: return Kind::Unavailable;
    default: return Kind::Internal;
  }
}

http::StreamTls tls_files() {
  const char* path = ::getenv("DOCKER_CERT_PATH");
  if (path == nullptr) return {};
  return {.certificate = cat(path, "/cert.pem"),
          .key = cat(path, "/key.pem"),
          .authority = cat(path, "/ca.pem")};
}

}  // namespace

Target::Target(std::string_view before, std::string_view name, std::string_view after)
    : text_(before) {
  append_encoded(text_, name, "/:@");
  text_ += after;
}

Target& Target::with(std::string_view name, std::string_view value) {
  text_ += has_query_ ? '&' : '?';
  has_query_ = true;
  text_ += name;
  text_ += '=';
  append_encoded(text_, value, {});
  return *this;
}

Result<> Api::connect() {
  if (!client_) client_ = TRY(http::StreamClient::connect(host_, tls_files()));
  return {};
}

Result<http::ResponseHead> Api::call(const Request& request) {
  TRY(connect());
  http::StreamClient::Call call{.method = request.method,
                                .target = request.target.text(),
                                .headers = request.headers,
                                .body = request.body,
                                .body_source = request.body_source,
                                .upgrade = request.upgrade};
  if (!request.body.empty()) call.headers.emplace_back("Content-Type", "application/json");
  if (request.body_source) call.headers.emplace_back("Content-Type", "application/x-tar");
  http::ResponseHead head = TRY(client_->call(call));
  if (head.status < 400) return head;
  const std::string body = TRY(client_->read_all(error_bytes_max));
  const Result<Datum> answer = Datum::parse(body);
  std::string message = answer ? (*answer)["message"].text() : body;
  while (message.ends_with('\n')) message.pop_back();
  if (message.empty()) message = cat("the engine answered with status ", head.status);
  return fail(kind_of_status(head.status), std::move(message));
}

Result<Datum> Api::rest_as_json() {
  const std::string body = TRY(client_->read_all(answer_bytes_max));
  if (body.find_first_not_of(" \r\n") == std::string::npos) return Datum();
  return Datum::parse(body);
}

Result<Datum> Api::json(const Request& request) {
  TRY(call(request));
  return rest_as_json();
}

Result<> Api::send(const Request& request) {
  TRY(call(request));
  TRY(client_->read_all(answer_bytes_max));
  return {};
}

Result<> Api::each_piece(const Request& request,
                         const std::function<Result<bool>(std::string_view)>& take) {
  TRY(call(request));
  for (;;) {
    const std::string piece = TRY(client_->read());
    if (piece.empty()) return {};
    if (!TRY(take(piece))) {
      // The rest of the answer is nobody's: the connection ends with it.
      client_.reset();
      return {};
    }
  }
}

Result<> Api::each_line(const Request& request,
                        const std::function<Result<bool>(const Datum&)>& take) {
  std::string waiting;
  const auto take_line = [&](std::string_view line) -> Result<bool> {
    if (line.find_first_not_of(" \r\t") == std::string_view::npos) return true;
    return take(TRY(Datum::parse(line)));
  };
  TRY(each_piece(request, [&](std::string_view piece) -> Result<bool> {
    waiting += piece;
    for (size_t end; (end = waiting.find('\n')) != std::string::npos;) {
      const std::string line = waiting.substr(0, end);
      waiting.erase(0, end + 1);
      if (!TRY(take_line(line))) return false;
    }
    if (waiting.size() > line_bytes_max)
      return fail(Kind::Exhausted, "a line of the answer is too long");
    return true;
  }));
  TRY(take_line(waiting));
  return {};
}

http::StreamClient::Taken Api::take_over() {
  http::StreamClient::Taken taken = client_->take_over();
  client_.reset();
  return taken;
}

}  // namespace nacelle::cli
