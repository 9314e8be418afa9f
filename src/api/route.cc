#include "api/route.h"

#include <algorithm>
#include <optional>
#include <span>

#include "base/text.h"
#include "codec/json_writer.h"

namespace nacelle::api {
namespace {

constexpr int minor_min = 24, minor_max = 51;

bool is_variable(std::string_view part) { return part.starts_with('{'); }
bool takes_slashes(std::string_view part) { return part.ends_with("...}"); }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool means_yes(std::string_view text) {
  const std::string word = lower(trimmed(text));
  return !(word.empty() || word == "0" || word == "no" || word == "false" || word == "none");
}

// Matches what is left of a path ("" or "/a/b") against what is left of a pattern. `variables` has
// what was found when the answer is yes, and is as it was when it is no.
bool matches(std::string_view rest, std::span<const std::string_view> parts,
             std::vector<std::string>& variables) {
  if (parts.empty()) return rest.empty();
  if (!rest.starts_with('/')) return false;
  rest.remove_prefix(1);
  if (!is_variable(parts[0])) {
    const size_t end = std::min(rest.find('/'), rest.size());
    return rest.substr(0, end) == parts[0] &&
           matches(rest.substr(end), parts.subspan(1), variables);
  }
  // From the shortest on; a slash at the beginning belongs to the value.
  size_t end = rest.find('/', rest.starts_with('/') ? 1 : 0);
  for (;; end = rest.find('/', end + 1)) {
    end = std::min(end, rest.size());
    const std::string_view value = rest.substr(0, end);
    if (!value.empty() && value != "/") {
      variables.emplace_back(value);
      if (matches(rest.substr(end), parts.subspan(1), variables)) return true;
      variables.pop_back();
    }
    if (!takes_slashes(parts[0]) || end >= rest.size()) return false;
  }
}

}  // namespace

bool Call::has(std::string_view name) const {
  return contains(http.request().query, name, &std::pair<std::string, std::string>::first);
}

bool Call::flag(std::string_view name) const { return means_yes(http.query(name)); }

bool Call::flag(std::string_view name, bool when_absent) const {
  return has(name) ? flag(name) : when_absent;
}

Table::Table(const std::vector<Route>& routes) {
  const auto variables = [](const Entry& entry) {
    return std::ranges::count_if(entry.parts, is_variable);
  };
  for (const Route& route : routes) {
    Entry entry{route.method, {}, route.action};
    std::string_view rest = route.pattern.substr(1);
    while (!rest.empty()) entry.parts.push_back(take_until(rest, '/'));
    std::vector<Entry>& entries = entries_[entry.parts[0]];
    const auto place = std::ranges::upper_bound(entries, variables(entry), {}, variables);
    entries.insert(place, std::move(entry));
  }
}

Action Table::find(std::string_view method, std::string_view path,
                   std::vector<std::string>& variables) const {
  while (path.starts_with("//")) path.remove_prefix(1);
  if (!path.starts_with('/')) return nullptr;
  const std::string_view first = path.substr(1, path.find('/', 1) - 1);
  const auto found = entries_.find(first);
  if (found == entries_.end()) return nullptr;
  for (const Entry& entry : found->second) {
    if (entry.method == method && matches(path, entry.parts, variables)) return entry.action;
  }
  return nullptr;
}

Version take_version(std::string_view& path) {
  Version version;
  if (!path.starts_with("/v")) return version;
  const std::string_view rest = path.substr(2);
  const size_t length = std::min(rest.find_first_not_of("0123456789."), rest.size());
  if (length == 0 || length == rest.size() || rest[length] != '/') return version;
  const std::string_view text = rest.substr(0, length);
  path = rest.substr(length);

  // What has no number is 0, and what is too large for one is too new, whatever it is.
  static constexpr unsigned beyond = 1'000'000;
  const auto number = [](std::string_view digits) {
    return digits.empty() ? 0u : std::min(parse_number<unsigned>(digits).value_or(beyond), beyond);
  };
  std::string_view parts = text;
  const unsigned major = number(take_until(parts, '.'));
  const unsigned minor = number(take_until(parts, '.'));
  if (major < 1 || (major == 1 && minor < minor_min)) {
    version.too_old = true;
    version.complaint =
        cat("client version ", text, " is too old. Minimum supported API version is 1.", minor_min,
            ", please upgrade your client to a newer version");
  } else if (major > 1 || minor > minor_max || (minor == minor_max && !parts.empty())) {
    version.complaint =
        cat("client version ", text, " is too new. Maximum supported API version is 1.", minor_max);
  } else {
    version.minor = static_cast<int>(minor);
  }
  return version;
}

std::string quoted(std::string_view text) {
  constexpr size_t bytes_max = 200;
  std::string out = "\"";
  codec::json::append_escaped(out, text.substr(0, bytes_max));
  return out + (text.size() > bytes_max ? "...\"" : "\"");
}

int status_of(const Error& error) {
  if (error.message() == "request body too large") return 413;  // http/server.h
  switch (error.kind()) {
    case Kind::Invalid: return 400;
    case Kind::NotFound: return 404;
    case Kind::Conflict: return 409;
    case Kind::Denied: return 403;
    case Kind::Unavailable: return 503;
    case Kind::Unsupported: return 501;
    case Kind::Exhausted:
    case Kind::Cancelled:
    case Kind::Internal: break;
  }
  return 500;
}

ring::Task<> reply_error(http::Exchange& http, int status, std::string_view message) {
  codec::json::Writer json;
  json.begin_object().member("message", message).end_object();
  std::string body = std::move(json).take();
  body += '\n';
  co_await http.reply(status, "application/json", body);
}

ring::Task<> reply_json(Call& call, int status, std::string_view json) {
  std::string body;
  body.reserve(json.size() + 1);
  body += json;
  body += '\n';
  co_await call.http.reply(status, "application/json", body);
}

// Bodies -----------------------------------------------------------------------------------------

namespace {

Result<> check_content_type(const http::RequestHead& head, bool& absent) {
  const std::string* type = http::find_header(head.headers, "content-type");
  const std::string_view text = type == nullptr ? std::string_view() : *type;
  absent = !head.chunked && head.content_length.value_or(0) == 0;
  if (text.empty()) {
    if (absent) return {};
    return fail(Kind::Invalid, "malformed Content-Type header (): mime: no media type");
  }
  const std::string media = lower(trimmed(text.substr(0, text.find(';'))));
  if (media != "application/json") {
    return fail(Kind::Invalid,
                cat("unsupported Content-Type header (", text, "): must be 'application/json'"));
  }
  return {};
}

}  // namespace

ring::Task<std::string> read_json_body(Call& call, bool optional) {
  bool absent = false;
  co_await check_content_type(call.http.request(), absent);
  std::string text;
  if (!absent) text = co_await call.http.body(json_body_bytes_max);
  if (text.empty() && !optional) {
    co_await fail(Kind::Invalid, "invalid JSON: got EOF while reading request body");
  }
  co_return text;
}

Result<codec::json::Document> parse_body(std::string_view text) {
  return codec::json::Document::parse(text).context("invalid JSON");
}

// Filters ----------------------------------------------------------------------------------------

namespace {

using codec::json::Type;
using codec::json::Value;

// `null`, a list of strings, or an object whose keys count whatever their values say.
Result<std::vector<std::string>> read_filter_values(const Value& value) {
  std::vector<std::string> values;
  if (value.type() == Type::Null) return values;
  if (value.type() == Type::Array) {
    for (const Value each : TRY(value.array())) values.push_back(TRY(each.string()));
    return values;
  }
  for (const auto [key, yes] : TRY(value.object())) {
    TRY(yes.boolean());
    values.push_back(TRY(key.string()));
  }
  return values;
}

Result<Filters> parse_filters(std::string_view text) {
  Filters filters;
  if (text.empty()) return filters;
  const auto document = TRY(codec::json::Document::parse(text));
  if (document.root().type() == Type::Null) return filters;
  for (const auto [key, value] : TRY(document.root().object())) {
    std::vector<std::string>& into = filters[TRY(key.string())];
    for (std::string& each : TRY(read_filter_values(value))) {
      if (!contains(into, each)) into.push_back(std::move(each));
    }
  }
  return filters;
}

}  // namespace

Result<Filters> read_filters(std::string_view text, std::initializer_list<std::string_view> known) {
  auto filters = parse_filters(text);
  if (!filters) return fail(Kind::Invalid, "invalid filter");
  for (const auto& [name, values] : *filters) {
    if (!contains(known, name)) return fail(Kind::Invalid, cat("invalid filter '", name, "'"));
  }
  return filters;
}

bool label_filters_match(const std::vector<std::string>& filters, const engine::Labels& labels) {
  return std::ranges::all_of(filters, [&](std::string_view filter) {
    const size_t equals = filter.find('=');
    const auto found = labels.find(std::string(filter.substr(0, equals)));
    if (found == labels.end()) return false;
    return equals == std::string_view::npos || found->second == filter.substr(equals + 1);
  });
}

Result<bool> bool_filter(const Filters& filters, const std::string& name, bool when_absent) {
  const auto found = filters.find(name);
  if (found == filters.end() || found->second.empty()) return when_absent;
  const auto& values = found->second;
  if (values.size() == 1) {
    if (values[0] == "1" || values[0] == "true") return true;
    if (values[0] == "0" || values[0] == "false") return false;
  }
  std::string list;
  for (const std::string& each : values) list += cat(list.empty() ? "" : " ", each);
  return fail(Kind::Invalid, cat("invalid filter '", name, "=[", list, "]'"));
}

}  // namespace nacelle::api
