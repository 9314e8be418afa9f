#include "cli/nacelle_oci/command.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "base/text.h"
#include "codec/json_writer.h"

namespace nacelle::oci_cli {
namespace {

std::string time_now() {
  const time_t now = ::time(nullptr);
  tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  const size_t length = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return std::string(text, length);
}

std::string log_line(bool as_json, std::string_view level, std::string_view message) {
  if (as_json) {
    codec::json::Writer json;
    json.begin_object()
        .member("level", level)
        .member("msg", message)
        .member("time", std::string_view(time_now()));
    return std::move(json.end_object()).take() + "\n";
  }
  std::string quoted;
  codec::json::append_escaped(quoted, message);
  return cat("time=\"", time_now(), "\" level=", level, " msg=\"", quoted, "\"\n");
}

// Nothing of the verb has begun.
[[noreturn]] void print_help_and_end(std::string_view verb, std::span<const Option> options) {
  const VerbText text = text_of_verb(verb);
  std::string said = cat("usage: nacelle-oci [global options] ", text.usage, "\n\n", text.summary,
                         ".\n\noptions:\n");
  for (const Option& option : options) {
    std::string line = option.letter == 0 ? cat("      --", option.name)
                                          : cat("  -", option.letter, ", --", option.name);
    if (option.value_name != nullptr) line += cat(' ', option.value_name);
    line.resize(std::max<size_t>(line.size() + 2, 36), ' ');
    said += cat(line, option.help, '\n');
  }
  said += "  -h, --help                        print this\n";
  std::fputs(said.c_str(), stdout);
  std::exit(std::fflush(stdout) == 0 ? exit_ok : exit_failed);
}

}  // namespace

void Log::append(std::string_view level, std::string_view message) const {
  if (globals_.log_path.empty()) return;
  const int fd = ::open(globals_.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;  // stderr has it
  const std::string line = log_line(globals_.log_json, level, message);
  (void)!::write(fd, line.data(), line.size());
  ::close(fd);
}

void Log::error(std::string_view message) const {
  append("error", message);
  const std::string line = cat("nacelle-oci: ", message, "\n");
  (void)!::write(STDERR_FILENO, line.data(), line.size());
}

void Log::warning(std::string_view message) const {
  append("warning", message);
  if (!globals_.log_path.empty()) return;
  const std::string line = cat("nacelle-oci: warning: ", message, "\n");
  (void)!::write(STDERR_FILENO, line.data(), line.size());
}

void Log::debug(std::string_view message) const {
  if (!globals_.debug) return;
  append("debug", message);
  if (!globals_.log_path.empty()) return;
  const std::string line = cat("nacelle-oci: debug: ", message, "\n");
  (void)!::write(STDERR_FILENO, line.data(), line.size());
}

Result<std::vector<std::string>> parse_options(std::span<char*> arguments,
                                               std::span<const Option> options,
                                               bool stop_at_operand) {
  constexpr int first_long = 256;
  std::vector<option> long_options;
  std::string short_options = stop_at_operand ? "+:" : ":";
  for (size_t i = 0; i < options.size(); ++i) {
    const bool has_value = options[i].value_name != nullptr;
    long_options.push_back({options[i].name, has_value ? required_argument : no_argument, nullptr,
                            first_long + static_cast<int>(i)});
    if (options[i].letter == 0) continue;
    short_options += options[i].letter;
    if (has_value) short_options += ':';
  }
  constexpr int help = first_long - 1;
  long_options.push_back({"help", no_argument, nullptr, help});
  long_options.push_back({nullptr, 0, nullptr, 0});
  short_options += 'h';
  // Not a longjmp into the global options' state: 0 makes glibc start anew.
  optind = 0;
  opterr = 0;
  const int count = static_cast<int>(arguments.size());
  while (true) {
    const int found =
        ::getopt_long(count, arguments.data(), short_options.c_str(), long_options.data(), nullptr);
    if (found < 0) break;
    if (found == help || found == 'h') print_help_and_end(arguments[0], options);
    if (found == '?' || found == ':') {
      const char* word = arguments[static_cast<size_t>(optind > 0 ? optind - 1 : 0)];
      return fail(Kind::Invalid, cat(arguments[0], ": unknown or incomplete option '", word, "'"));
    }
    for (size_t i = 0; i < options.size(); ++i) {
      if (found != first_long + static_cast<int>(i) && found != options[i].letter) continue;
      TRY(options[i].take(optarg).context(
          [&] { return cat(arguments[0], ": --", options[i].name); }));
      break;
    }
  }
  std::vector<std::string> operands;
  for (int i = optind; i < count; ++i) operands.emplace_back(arguments[static_cast<size_t>(i)]);
  return operands;
}

std::function<Result<>(const char*)> into(std::string& target) {
  return [&target](const char* value) -> Result<> {
    target = value;
    return {};
  };
}

std::function<Result<>(const char*)> into(bool& target) {
  return [&target](const char*) -> Result<> {
    target = true;
    return {};
  };
}

std::function<Result<>(const char*)> into(uint32_t& target) {
  return [&target](const char* value) -> Result<> {
    const auto number = parse_number<uint32_t>(value);
    if (!number) return fail(Kind::Invalid, cat("'", value, "': must be a number"));
    target = *number;
    return {};
  };
}

std::function<Result<>(const char*)> onto(std::vector<std::string>& target) {
  return [&target](const char* value) -> Result<> {
    target.emplace_back(value);
    return {};
  };
}

std::function<Result<>(const char*)> ignored() {
  return [](const char*) -> Result<> { return {}; };
}

Result<std::string> only_operand(const std::vector<std::string>& operands, std::string_view verb,
                                 std::string_view what) {
  if (operands.size() == 1) return operands[0];
  return fail(Kind::Invalid, cat(verb, ": requires exactly 1 argument: ", what));
}

}  // namespace nacelle::oci_cli
