#include "api/stream_format.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "engine/moment.h"

namespace nacelle::api {
namespace {

std::string url_escaped(std::string_view text) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out += c;
    } else if (c == ' ') {
      out += '+';
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', hex[byte >> 4], hex[byte & 15]};
    }
  }
  return out;
}

}  // namespace

const char* attached_content_type(const Call& call, bool terminal) {
  const bool upgraded = !call.http.request().upgrade.empty();
  return upgraded && !terminal && call.version >= 42 ? multiplexed_stream : raw_stream;
}

void append_entry(std::string& out, const logs::Entry& entry, const LogFormat& format) {
  const size_t begin = out.size();
  if (format.framed) out.append(8, '\0');
  if (format.timestamps) out += engine::moment_text(entry.time_ns) + " ";
  if (format.details) {
    bool first = true;
    for (const auto& [name, value] : entry.attributes) {
      out += cat(first ? "" : ",", url_escaped(name), '=', url_escaped(value));
      first = false;
    }
    out += ' ';
  }
  out += entry.text;
  if (!format.framed) return;
  const size_t length = out.size() - begin - 8;
  out[begin] = static_cast<char>(entry.stream);
  for (size_t i = 0; i < 4; ++i) {
    out[begin + 4 + i] = static_cast<char>((length >> (24 - 8 * i)) & 0xff);
  }
}

Result<logs::ReadOptions> read_log_options(const Call& call) {
  logs::ReadOptions options;
  options.stdout_wanted = call.flag("stdout");
  options.stderr_wanted = call.flag("stderr");
  if (!options.stdout_wanted && !options.stderr_wanted) {
    return fail(Kind::Invalid, "Bad parameters: you must choose at least one stream");
  }
  options.follow = call.flag("follow");
  const std::string_view since = call.http.query("since"), until = call.http.query("until");
  if (!since.empty()) options.since_ns = TRY(read_time(since));
  if (!until.empty() && until != "0") options.until_ns = TRY(read_time(until));
  // "all", and whatever else is no number, means all, as it does to Docker.
  options.tail = std::max<int64_t>(parse_number<int64_t>(call.http.query("tail")).value_or(-1), -1);
  return options;
}

}  // namespace nacelle::api
