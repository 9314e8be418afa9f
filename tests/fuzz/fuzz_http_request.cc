// Bytes as requests, cut where the first byte says: no crash, no byte taken twice, and the same
// messages wherever the cuts are.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "http/message.h"

namespace {

using nacelle::http::Parser;

// What was understood, as text; "!" where it was refused.
std::string understand(std::string_view bytes, size_t piece, Parser::Role role) {
  Parser parser(role, {.head_bytes_max = 2000, .headers_max = 20, .target_bytes_max = 500});
  std::string seen;
  while (!bytes.empty()) {
    std::string body;
    const std::string_view part = bytes.substr(0, piece);
    const auto step = parser.feed(part, body, 300);
    if (!step) return seen + "!";
    if (step->taken > part.size() || body.size() > step->taken) std::abort();
    seen += body;
    if (step->head_done) {
      const auto& request = parser.request();
      seen += '\n' + request.method + ' ' + request.path + ' ' + parser.response().reason + '\n';
      const auto& headers =
          role == Parser::Role::Requests ? request.headers : parser.response().headers;
      for (const auto& [name, value] : headers) {
        if (name.find_first_of("\r\n:") != std::string::npos) std::abort();
        if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) std::abort();
        seen += name + '=' + value + '\n';
      }
      if (request.path.find('\0') != std::string::npos) std::abort();
    }
    if (step->message_done) {
      parser.next();
      seen += "\n.";
    } else if (step->taken == 0) {
      std::abort();  // it would never go on
    }
    bytes.remove_prefix(step->taken);
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto role = data[0] % 2 == 0 ? Parser::Role::Requests : Parser::Role::Responses;
  const std::string whole = understand(bytes, bytes.size() + 1, role);
  std::string cut = understand(bytes, 1 + data[1] % 32, role);
  // Refused is refused, wherever the cuts are; what was told before may be more or less.
  if (whole.ends_with('!') != cut.ends_with('!')) std::abort();
  if (!whole.ends_with('!') && whole != cut) std::abort();
  return 0;
}
