#include <algorithm>

#include "base/text.h"
#include "oci/image.h"
#include "oci/image_fields.h"

// The configuration of an image: image-spec config.md, and what Docker adds to it.
namespace nacelle::oci {
namespace {

using codec::json::in_quotes;
using codec::json::Type;
using codec::json::Value;

constexpr auto dockers_way = Fields::Case::DockersWay;

constexpr std::string_view image_keys[] = {
    "created", "author", "architecture", "os",      "os.version",
    "variant", "config", "rootfs",       "history",
};
constexpr std::string_view run_keys[] = {
    "User",   "ExposedPorts", "Env",         "Entrypoint",  "Cmd",     "Volumes", "WorkingDir",
    "Labels", "StopSignal",   "ArgsEscaped", "Healthcheck", "OnBuild", "Shell",
};
constexpr std::string_view health_keys[] = {
    "Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries",
};
constexpr std::string_view rootfs_keys[] = {"type", "diff_ids"};
constexpr std::string_view history_keys[] = {
    "created", "created_by", "author", "comment", "empty_layer",
};

// Takes `count` digits off `rest` as a number.
std::optional<unsigned> take_digits(std::string_view& rest, size_t count) {
  if (rest.size() < count) return std::nullopt;
  const auto number = parse_number<unsigned>(rest.substr(0, count));
  rest.remove_prefix(count);
  return number;
}

bool take(std::string_view& rest, char c) {
  if (!rest.starts_with(c)) return false;
  rest.remove_prefix(1);
  return true;
}

unsigned days_of(unsigned year, unsigned month) {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

bool take_date(std::string_view& rest) {
  const auto year = take_digits(rest, 4);
  if (!year || !take(rest, '-')) return false;
  const auto month = take_digits(rest, 2);
  if (!month || *month < 1 || *month > 12 || !take(rest, '-')) return false;
  const auto day = take_digits(rest, 2);
  return day && *day >= 1 && *day <= days_of(*year, *month);
}

bool take_time(std::string_view& rest) {
  const auto hour = take_digits(rest, 2);
  if (!hour || *hour > 23 || !take(rest, ':')) return false;
  const auto minute = take_digits(rest, 2);
  if (!minute || *minute > 59 || !take(rest, ':')) return false;
  const auto second = take_digits(rest, 2);
  if (!second || *second > 59) return false;
  if (!take(rest, '.')) return true;
  const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  rest.remove_prefix(digits);
  return digits > 0 && digits <= 9;
}

bool take_zone(std::string_view& rest) {
  if (take(rest, 'Z')) return true;
  if (!take(rest, '+') && !take(rest, '-')) return false;
  const auto hour = take_digits(rest, 2);
  if (!hour || *hour > 23 || !take(rest, ':')) return false;
  const auto minute = take_digits(rest, 2);
  return minute && *minute <= 59;
}

// RFC 3339 as Go reads it: no leap seconds, at most nanoseconds.
bool is_timestamp(std::string_view text) {
  return take_date(text) && take(text, 'T') && take_time(text) && take_zone(text) && text.empty();
}

Result<> read_timestamp(const Fields& fields, std::string_view key, std::string& out) {
  TRY(fields.maybe(key, out));
  if (out.empty() || is_timestamp(out)) return {};
  return fields.invalid(key, cat(in_quotes(out), " is not a time as RFC 3339 has it"));
}

// A string that comes to stand in lines and files made of lines (/etc/passwd, status reports).
Result<> read_line(const Fields& fields, std::string_view key, std::string& out) {
  TRY(fields.maybe(key, out));
  const bool control = std::ranges::any_of(
      out, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; });
  if (control) return fields.invalid(key, "must not contain control characters");
  return {};
}

// Docker once wrote a command of one word as a string, and still reads that.
Result<> read_words(const Fields& fields, std::string_view key, std::vector<std::string>& out) {
  const auto value = fields.find(key);
  if (!value) return {};
  if (value->type() != Type::String) return value->read(out);
  out.push_back(TRY(value->string()));
  return {};
}

// A set as Go writes it: an object whose values are empty objects.
Result<> read_set(const Fields& fields, std::string_view key, std::vector<std::string>& out) {
  const auto value = fields.find(key);
  if (!value) return {};
  for (const auto [name, content] : TRY(value->object())) {
    if (content.type() != Type::Null) TRY(content.object());
    out.push_back(TRY(name.string()));
  }
  std::ranges::sort(out);
  const auto twice = std::ranges::adjacent_find(out);
  if (twice != out.end()) return fields.invalid(key, cat(in_quotes(*twice), " given twice"));
  return {};
}

// A name without '=' sets nothing: Docker removes that variable from what it would set itself,
// which an image has no say in here.
Result<> read_environment(const Fields& fields, std::vector<std::string>& out) {
  const auto value = fields.find("Env");
  if (!value) return {};
  for (const Value each : TRY(value->array())) {
    std::string entry = TRY(each.string());
    if (entry.empty() || entry.starts_with('=')) {
      return each.invalid(cat(in_quotes(entry), " has no name"));
    }
    if (entry.contains('=')) out.push_back(std::move(entry));
  }
  return {};
}

Result<> read_health_number(const Fields& fields, std::string_view key, int64_t& out) {
  TRY(fields.maybe(key, out));
  if (out < 0) return fields.invalid(key, "must not be negative");
  return {};
}

Result<> read_health_check(const Value& value, HealthCheck& check) {
  const Fields fields = TRY(Fields::read(value, health_keys, dockers_way));
  TRY(fields.maybe("Test", check.test));
  TRY(read_health_number(fields, "Interval", check.interval_ns));
  TRY(read_health_number(fields, "Timeout", check.timeout_ns));
  TRY(read_health_number(fields, "StartPeriod", check.start_period_ns));
  TRY(read_health_number(fields, "StartInterval", check.start_interval_ns));
  TRY(read_health_number(fields, "Retries", check.retries));
  return {};
}

Result<> read_run_config(const Value& value, RunConfig& run) {
  const Fields fields = TRY(Fields::read(value, run_keys, dockers_way));
  TRY(read_line(fields, "User", run.user));
  TRY(read_line(fields, "WorkingDir", run.working_directory));
  TRY(read_line(fields, "StopSignal", run.stop_signal));
  TRY(read_environment(fields, run.env));
  TRY(read_words(fields, "Entrypoint", run.entrypoint));
  TRY(read_words(fields, "Cmd", run.command));
  TRY(read_words(fields, "Shell", run.shell));
  TRY(fields.maybe("OnBuild", run.on_build));
  TRY(read_set(fields, "ExposedPorts", run.exposed_ports));
  TRY(read_set(fields, "Volumes", run.volumes));
  if (const auto labels = fields.find("Labels")) {
    std::map<std::string, std::string> sorted;
    TRY(read_string_map(*labels, sorted));
    run.labels.assign(sorted.begin(), sorted.end());
  }
  if (const auto check = fields.find("Healthcheck")) {
    TRY(read_health_check(*check, run.health_check.emplace()));
  }
  TRY(fields.maybe("ArgsEscaped", run.args_escaped));
  return {};
}

Result<> read_rootfs(const Value& value, std::vector<codec::Digest>& diff_ids) {
  const Fields fields = TRY(Fields::read(value, rootfs_keys, dockers_way));
  std::string type;
  TRY(fields.need("type", type));
  if (type != "layers") {
    return fields.invalid("type", cat("expected 'layers', not ", in_quotes(type)));
  }
  const auto list = fields.find("diff_ids");
  if (!list) return {};
  const codec::json::Array array = TRY(list->array());
  const size_t count = array.size();
  if (count > layers_max) {
    return fail_at(*list, Kind::Exhausted, cat(count, " layers: the limit is ", layers_max));
  }
  diff_ids.reserve(count);
  for (const Value each : array) diff_ids.push_back(TRY(read_digest(each)));
  return {};
}

Result<> read_history_entry(const Value& value, History& entry) {
  const Fields fields = TRY(Fields::read(value, history_keys, dockers_way));
  TRY(read_timestamp(fields, "created", entry.created));
  TRY(fields.maybe("created_by", entry.created_by));
  TRY(fields.maybe("author", entry.author));
  TRY(fields.maybe("comment", entry.comment));
  TRY(fields.maybe("empty_layer", entry.empty_layer));
  return {};
}

Result<> read_history(const Value& value, std::vector<History>& history) {
  const codec::json::Array array = TRY(value.array());
  const size_t count = array.size();
  if (count > history_entries_max) {
    return fail_at(value, Kind::Exhausted,
                   cat(count, " entries: the limit is ", history_entries_max));
  }
  history.reserve(count);
  for (const Value each : array) TRY(read_history_entry(each, history.emplace_back()));
  return {};
}

}  // namespace

Result<ImageConfig> parse_image_config(std::string_view json) {
  const auto document = TRY(parse_image_document(json, config_bytes_max, "image configuration"));
  const Fields fields = TRY(Fields::read(document.root(), image_keys, dockers_way));
  ImageConfig image;
  TRY(read_timestamp(fields, "created", image.created));
  TRY(fields.maybe("author", image.author));
  TRY(read_line(fields, "os", image.platform.os));
  TRY(read_line(fields, "architecture", image.platform.architecture));
  TRY(read_line(fields, "variant", image.platform.variant));
  TRY(read_line(fields, "os.version", image.platform.os_version));
  if (const auto run = fields.find("config")) TRY(read_run_config(*run, image.run));
  TRY(read_rootfs(TRY(fields.need("rootfs")), image.diff_ids));
  if (const auto history = fields.find("history")) TRY(read_history(*history, image.history));
  return image;
}

}  // namespace nacelle::oci
