#include "image/config_changes.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "base/text.h"
#include "codec/json.h"

namespace nacelle::image {

namespace {

constexpr std::string_view blanks = " \t";

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

// Words as a shell would cut them, without substitutions: quotes hold blanks together, a backslash
// takes the next character as it is.
Result<std::vector<std::string>> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::optional<std::string> word;
  char quote = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\\' && quote != '\'' && at + 1 < text.size()) {
      if (!word) word.emplace();
      *word += text[++at];
    } else if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        *word += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      if (!word) word.emplace();
    } else if (blanks.contains(c)) {
      if (word) words.push_back(*std::exchange(word, std::nullopt));
    } else {
      if (!word) word.emplace();
      *word += c;
    }
  }
  if (quote != 0) return fail(Kind::Invalid, cat("a ", quote, " is not closed"));
  if (word) words.push_back(*std::move(word));
  return words;
}

// `["a", "b"]`, if it is that.
std::optional<std::vector<std::string>> exec_form(std::string_view text) {
  if (!text.starts_with('[')) return std::nullopt;
  const auto document = codec::json::Document::parse(text);
  if (!document) return std::nullopt;
  std::vector<std::string> words;
  if (!document->root().read(words)) return std::nullopt;
  return words;
}

// A command in the exec form, or as a line for the shell.
std::vector<std::string> command_of(const oci::RunConfig& config, std::string_view text) {
  if (auto words = exec_form(text)) return *std::move(words);
  std::vector<std::string> words =
      config.shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : config.shell;
  words.emplace_back(text);
  return words;
}

// `a=b c="d e"`, or in the old form `a the rest`.
Result<std::vector<std::pair<std::string, std::string>>> pairs_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::string_view old_rest = text;
  const std::string_view first = take_until(old_rest, ' ');
  if (!first.contains('=')) {
    if (trim(old_rest).empty()) return fail(Kind::Invalid, cat("'", first, "' has no value"));
    pairs.emplace_back(first, trim(old_rest));
    return pairs;
  }
  for (const std::string& word : TRY(split_words(text))) {
    std::string_view rest = word;
    const bool has_value = rest.contains('=');
    const std::string_view name = take_until(rest, '=');
    if (!has_value || name.empty()) {
      return fail(Kind::Invalid, cat("'", word, "' is not of the form NAME=VALUE"));
    }
    pairs.emplace_back(name, rest);
  }
  return pairs;
}

}  // namespace

void set_env(std::vector<std::string>& env, const std::string& name, const std::string& value) {
  const std::string prefix = cat(name, '=');
  const auto found =
      std::ranges::find_if(env, [&](const std::string& each) { return each.starts_with(prefix); });
  if (found == env.end()) {
    env.push_back(prefix + value);
  } else {
    *found = prefix + value;
  }
}

void set_label(std::vector<std::pair<std::string, std::string>>& labels, const std::string& name,
               const std::string& value) {
  const auto place =
      std::ranges::lower_bound(labels, name, {}, &std::pair<std::string, std::string>::first);
  if (place != labels.end() && place->first == name) {
    place->second = value;
  } else {
    labels.emplace(place, name, value);
  }
}

void add_sorted(std::vector<std::string>& list, std::string text) {
  const auto place = std::ranges::lower_bound(list, text);
  if (place == list.end() || *place != text) list.insert(place, std::move(text));
}

Result<> add_port(oci::RunConfig& config, std::string_view text) {
  std::string_view protocol = text;
  const std::string_view range = take_until(protocol, '/');
  if (protocol.empty()) protocol = "tcp";
  std::string_view last_text = range;
  const std::string_view first_text = take_until(last_text, '-');
  if (last_text.empty()) last_text = first_text;
  const auto first = parse_number<uint16_t>(first_text);
  const auto last = parse_number<uint16_t>(last_text);
  const bool known = protocol == "tcp" || protocol == "udp" || protocol == "sctp";
  if (!first || !last || *first == 0 || *first > *last || !known) {
    return fail(Kind::Invalid, cat("'", text, "' is no port"));
  }
  for (unsigned port = *first; port <= *last; ++port) {
    add_sorted(config.exposed_ports, cat(port, '/', protocol));
  }
  return {};
}

namespace {

Result<> add_volumes(oci::RunConfig& config, std::string_view rest) {
  std::vector<std::string> paths;
  if (auto words = exec_form(rest)) {
    paths = *std::move(words);
  } else {
    paths = TRY(split_words(rest));
  }
  for (std::string& path : paths) {
    if (path.empty()) return fail(Kind::Invalid, "a volume's path is empty");
    add_sorted(config.volumes, std::move(path));
  }
  return {};
}

// A Go duration of the units a health check uses: "1m30s", "500ms".
std::optional<int64_t> duration_ns(std::string_view text) {
  int64_t total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const size_t digits = text.find_first_not_of("0123456789");
    if (digits == 0 || digits == std::string_view::npos) return std::nullopt;
    const auto number = parse_number<int64_t>(text.substr(0, digits));
    text.remove_prefix(digits);
    const size_t letters = std::min(text.find_first_of("0123456789"), text.size());
    const std::string_view unit = text.substr(0, letters);
    text.remove_prefix(letters);
    const int64_t scale = unit == "ns"   ? 1
                          : unit == "us" ? 1'000
                          : unit == "ms" ? 1'000'000
                          : unit == "s"  ? 1'000'000'000
                          : unit == "m"  ? 60'000'000'000
                          : unit == "h"  ? 3'600'000'000'000
                                         : 0;
    int64_t part = 0;
    if (!number || scale == 0 || __builtin_mul_overflow(*number, scale, &part) ||
        __builtin_add_overflow(total, part, &total)) {
      return std::nullopt;
    }
  }
  return total;
}

Result<> set_health_check(oci::RunConfig& config, std::string_view rest) {
  oci::HealthCheck check;
  while (rest.starts_with("--")) {
    std::string_view option = take_until(rest, ' ').substr(2);
    rest = trim(rest);
    const std::string_view name = take_until(option, '=');
    if (name == "retries") {
      const auto retries = parse_number<int64_t>(option);
      if (!retries || *retries < 0) return fail(Kind::Invalid, cat("--retries=", option));
      check.retries = *retries;
      continue;
    }
    int64_t* target = name == "interval"         ? &check.interval_ns
                      : name == "timeout"        ? &check.timeout_ns
                      : name == "start-period"   ? &check.start_period_ns
                      : name == "start-interval" ? &check.start_interval_ns
                                                 : nullptr;
    const auto duration = duration_ns(option);
    if (target == nullptr || !duration) {
      return fail(Kind::Invalid, cat("--", name, "=", option, ": not an option of HEALTHCHECK"));
    }
    *target = *duration;
  }
  if (rest == "NONE") {
    check.test = {"NONE"};
  } else if (rest.starts_with("CMD ")) {
    const std::string_view command = trim(rest.substr(4));
    if (auto words = exec_form(command)) {
      check.test = {"CMD"};
      check.test.insert(check.test.end(), words->begin(), words->end());
    } else {
      check.test = {"CMD-SHELL", std::string(command)};
    }
  } else {
    return fail(Kind::Invalid, "HEALTHCHECK takes NONE or CMD");
  }
  config.health_check = std::move(check);
  return {};
}

Result<> apply(oci::RunConfig& config, std::string_view keyword, std::string_view rest) {
  if (rest.empty()) return fail(Kind::Invalid, "needs an argument");
  if (keyword == "CMD") {
    config.command = command_of(config, rest);
  } else if (keyword == "ENTRYPOINT") {
    config.entrypoint = command_of(config, rest);
  } else if (keyword == "ENV") {
    for (const auto& [name, value] : TRY(pairs_of(rest))) set_env(config.env, name, value);
  } else if (keyword == "LABEL") {
    for (const auto& [name, value] : TRY(pairs_of(rest))) set_label(config.labels, name, value);
  } else if (keyword == "EXPOSE") {
    for (const std::string& port : TRY(split_words(rest))) TRY(add_port(config, port));
  } else if (keyword == "VOLUME") {
    return add_volumes(config, rest);
  } else if (keyword == "HEALTHCHECK") {
    return set_health_check(config, rest);
  } else if (keyword == "ONBUILD") {
    config.on_build.emplace_back(rest);
  } else if (keyword == "STOPSIGNAL") {
    config.stop_signal = rest;
  } else if (keyword == "USER") {
    config.user = rest;
  } else if (keyword == "WORKDIR") {
    // A relative one goes on from where the image stands.
    const bool relative = !rest.starts_with('/');
    config.working_directory =
        relative ? cat(config.working_directory, '/', rest) : std::string(rest);
  } else {
    return fail(Kind::Invalid, cat("'", keyword, "' is not an instruction that changes no file"));
  }
  return {};
}

// The keyword in capitals, and what follows it.
std::pair<std::string, std::string_view> split_keyword(std::string_view instruction) {
  const std::string_view text = trim(instruction);
  const size_t end = std::min(text.find_first_of(blanks), text.size());
  std::string keyword(text.substr(0, end));
  for (char& c : keyword) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return {std::move(keyword), trim(text.substr(end))};
}

}  // namespace

Result<> apply_change(oci::RunConfig& config, std::string_view instruction) {
  if (instruction.find_first_of(std::string_view("\0\n", 2)) != std::string_view::npos) {
    return fail(Kind::Invalid, "--change: one instruction, on one line");
  }
  const auto [keyword, rest] = split_keyword(instruction);
  return apply(config, keyword, rest).context([&] { return cat("--change '", instruction, "'"); });
}

Result<> apply_changes(oci::RunConfig& config, const std::vector<std::string>& instructions) {
  bool has_command = false, has_entrypoint = false;
  for (const std::string& instruction : instructions) {
    TRY(apply_change(config, instruction));
    const std::string keyword = split_keyword(instruction).first;
    has_command = has_command || keyword == "CMD";
    has_entrypoint = has_entrypoint || keyword == "ENTRYPOINT";
  }
  if (has_entrypoint && !has_command) config.command.clear();
  return {};
}

}  // namespace nacelle::image
