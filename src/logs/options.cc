#include "logs/options.h"

#include <array>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "codec/quantity.h"

namespace nacelle::logs {
namespace {

constexpr uint64_t local_file_bytes = 20u << 20;
constexpr uint32_t local_files = 5;
constexpr uint32_t files_bound = 10'000;

using Config = std::map<std::string, std::string>;

std::optional<std::string_view> find(const Config& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end()) return std::nullopt;
  return found->second;
}

// As Go's strconv.ParseBool.
std::optional<bool> parse_bool(std::string_view text) {
  for (const std::string_view each : {"1", "t", "T", "true", "TRUE", "True"})
    if (text == each) return true;
  for (const std::string_view each : {"0", "f", "F", "false", "FALSE", "False"})
    if (text == each) return false;
  return std::nullopt;
}

std::string not_a_bool(std::string_view text) {
  return cat("strconv.ParseBool: parsing \"", text, "\": invalid syntax");
}
std::string not_a_number(std::string_view text) {
  return cat("strconv.Atoi: parsing \"", text, "\": invalid syntax");
}

// "10m" by powers of 1000, as json-file reads its max-size; "10mib" and the like are refused there.
std::optional<uint64_t> parse_decimal_size(std::string_view text) {
  uint64_t unit = 1;
  if (!text.empty() && (text.back() == 'b' || text.back() == 'B')) text.remove_suffix(1);
  if (!text.empty()) {
    constexpr std::string_view units = "kmgtp";
    const auto lower = static_cast<char>(text.back() | 0x20);
    if (const size_t at = units.find(lower); at != std::string_view::npos) {
      for (size_t each = 0; each <= at; ++each) unit *= 1000;
      text.remove_suffix(1);
      while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    }
  }
  std::string_view rest = text;
  const auto whole = parse_number<uint64_t>(take_until(rest, '.'));
  if (!whole || (text.ends_with('.')) || *whole > (uint64_t{1} << 62) / unit) return std::nullopt;
  uint64_t bytes = *whole * unit;
  uint64_t part = unit;
  for (const char c : rest) {
    if (c < '0' || c > '9') return std::nullopt;
    part /= 10;
    bytes += part * static_cast<uint64_t>(c - '0');
  }
  return bytes;
}

std::string invalid_size(std::string_view text) { return cat("invalid size: '", text, "'"); }

Result<> check_names(std::string_view driver, const Config& config) {
  constexpr std::string_view shared[] = {"mode",           "max-buffer-size", "cache-disabled",
                                         "cache-max-size", "cache-max-file",  "cache-compress"};
  constexpr std::string_view of_files[] = {"max-size",     "max-file", "compress",  "labels",
                                           "labels-regex", "env",      "env-regex", "tag"};
  for (const auto& [name, value] : config) {
    if (contains(shared, name) || contains(of_files, name)) continue;
    if (driver == "local")
      return fail(Kind::Invalid, cat("unknown log opt '", name, "' for log driver local"));
    return fail(Kind::Invalid, cat("unknown log opt '", name, "' for json-file log driver"));
  }
  return {};
}

Result<> parse_mode(const Config& config, Options& options) {
  const std::string_view mode = find(config, "mode").value_or("");
  if (mode != "" && mode != "blocking" && mode != "non-blocking")
    return fail(Kind::Invalid, cat("logger: logging mode not supported: ", mode));
  options.non_blocking = mode == "non-blocking";
  const auto size = find(config, "max-buffer-size");
  if (!size) return {};
  if (!options.non_blocking)
    return fail(Kind::Invalid,
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  const auto bytes = codec::parse_size(*size);
  if (!bytes || *bytes < 0)
    return fail(Kind::Invalid, cat("error parsing option max-buffer-size: ", invalid_size(*size)));
  options.buffer_bytes_max = static_cast<uint64_t>(*bytes);
  return {};
}

Result<> parse_json_file(const Config& config, Options& options) {
  if (const auto text = find(config, "max-size")) {
    if (text->starts_with('-') || *text == "0")
      return fail(Kind::Invalid, "max-size must be a positive number");
    const auto bytes = parse_decimal_size(*text);
    if (!bytes) return fail(Kind::Invalid, invalid_size(*text));
    if (*bytes == 0) return fail(Kind::Invalid, "max-size must be a positive number");
    options.file_bytes_max = *bytes;
  }
  if (const auto text = find(config, "max-file")) {
    const auto files = parse_number<int64_t>(*text);
    if (!files) return fail(Kind::Invalid, not_a_number(*text));
    if (*files < 1) return fail(Kind::Invalid, "max-file cannot be less than 1");
    options.files_max = static_cast<uint32_t>(std::min<int64_t>(*files, files_bound));
  }
  if (const auto text = find(config, "compress")) {
    const auto wanted = parse_bool(*text);
    if (!wanted) return fail(Kind::Invalid, not_a_bool(*text));
    options.compress = *wanted;
  }
  if (options.compress && (options.files_max == 1 || options.file_bytes_max == 0))
    return fail(Kind::Invalid,
                "compress cannot be true when max-file is less than 2 or max-size is not set");
  return {};
}

Result<> parse_local(const Config& config, Options& options) {
  options.file_bytes_max = local_file_bytes;
  options.files_max = local_files;
  options.compress = true;
  if (const auto text = find(config, "max-size")) {
    const auto bytes = codec::parse_size(*text);
    if (!bytes)
      return fail(Kind::Invalid,
                  cat("invalid value for max-size: ", *text, ": ", invalid_size(*text)));
    if (*bytes < 0) return fail(Kind::Invalid, "max size should be a positive number");
    options.file_bytes_max = *bytes == 0 ? local_file_bytes : static_cast<uint64_t>(*bytes);
  }
  if (const auto text = find(config, "max-file")) {
    const auto files = parse_number<int64_t>(*text);
    if (!files)
      return fail(Kind::Invalid,
                  cat("invalid value for max-file: ", *text, ": ", not_a_number(*text)));
    if (*files < 0) return fail(Kind::Invalid, "max file count cannot be less than 0");
    options.files_max = static_cast<uint32_t>(std::clamp<int64_t>(*files, 1, files_bound));
  }
  if (const auto text = find(config, "compress")) {
    const auto wanted = parse_bool(*text);
    if (!wanted)
      return fail(Kind::Invalid, cat("error reading compress log option: ", not_a_bool(*text)));
    options.compress = *wanted;
  }
  if (options.compress && options.files_max <= 1)
    return fail(Kind::Invalid, "compression cannot be enabled when max file count is 1");
  return {};
}

}  // namespace

Result<Options> parse_options(const std::string& type, const Config& config) {
  Options options;
  const std::string_view driver = type.empty() ? std::string_view("json-file") : type;
  if (driver == "none") {
    // Whatever else is said about logs that are not kept, dockerd takes it.
    options.driver = Driver::None;
    return options;
  }
  if (driver != "json-file" && driver != "local")
    return fail(Kind::Invalid, cat("logger: no log driver named '", driver, "' is registered"));
  TRY(parse_mode(config, options));
  TRY(check_names(driver, config));
  if (driver == "local") {
    options.driver = Driver::Local;
    TRY(parse_local(config, options));
  } else {
    TRY(parse_json_file(config, options));
  }
  return options;
}

}  // namespace nacelle::logs
