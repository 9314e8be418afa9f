#include "cli/nacelle/options.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/text.h"

namespace nacelle::cli {

namespace {

std::optional<bool> truth(std::string_view text) {
  if (text == "true" || text == "1" || text == "t" || text == "T" || text == "TRUE") return true;
  if (text == "false" || text == "0" || text == "f" || text == "F" || text == "FALSE") return false;
  return std::nullopt;
}

}  // namespace

Options& Options::flag(std::string_view name, char letter, bool& target, std::string_view help) {
  options_.push_back({name, letter, &target, {}, help});
  return *this;
}

Options& Options::value(std::string_view name, char letter, std::string& target,
                        std::string_view value_name, std::string_view help) {
  options_.push_back({name, letter, &target, value_name, help});
  return *this;
}

Options& Options::list(std::string_view name, char letter, std::vector<std::string>& target,
                       std::string_view value_name, std::string_view help) {
  options_.push_back({name, letter, &target, value_name, help});
  return *this;
}

Options& Options::operands(size_t at_least, size_t at_most) {
  operands_min_ = at_least;
  operands_max_ = at_most;
  return *this;
}

const Options::Option* Options::find(std::string_view name) const {
  const auto found = std::ranges::find(options_, name, &Option::name);
  return found == options_.end() ? nullptr : &*found;
}

const Options::Option* Options::find(char letter) const {
  const auto found = std::ranges::find(options_, letter, &Option::letter);
  return found == options_.end() ? nullptr : &*found;
}

Result<> Options::take(const Option& option, std::string_view shown, std::string_view value) const {
  if (bool* const* flag = std::get_if<bool*>(&option.target)) {
    const std::optional<bool> yes = truth(value);
    if (!yes) return fail(Kind::Invalid, cat(shown, ": '", value, "' is neither true nor false"));
    **flag = *yes;
  } else if (std::string* const* text = std::get_if<std::string*>(&option.target)) {
    **text = value;
  } else {
    std::get<std::vector<std::string>*>(option.target)->emplace_back(value);
  }
  return {};
}

Options::Parsed Options::parse_or_explain(const std::vector<std::string>& arguments) const {
  Result<Parsed> parsed = parse(arguments);
  if (parsed) return *std::move(parsed);
  std::fprintf(stderr, "nacelle: %s\n", parsed.error().message().c_str());
  return {.operands = {}, .exit_code = exit_usage};
}

Result<Options::Parsed> Options::parse(const std::vector<std::string>& arguments) const {
  Parsed parsed;
  for (size_t at = 0; at < arguments.size(); ++at) {
    const std::string_view argument = arguments[at];
    if (argument == "--") {
      parsed.operands.insert(parsed.operands.end(), arguments.begin() + static_cast<long>(at) + 1,
                             arguments.end());
      break;
    }
    // A lone dash is an operand: standard input or output.
    if (!argument.starts_with('-') || argument == "-") {
      parsed.operands.emplace_back(argument);
      continue;
    }
    if (argument == "--help" || argument == "-h") {
      std::fputs(help().c_str(), stdout);
      parsed.exit_code = 0;
      return parsed;
    }
    if (argument.starts_with("--")) {
      std::string_view rest = argument.substr(2);
      const bool has_value = rest.contains('=');
      const std::string_view name = take_until(rest, '=');
      const Option* option = find(name);
      if (option == nullptr) return fail(Kind::Invalid, cat("unknown flag: --", name));
      if (has_value) {
        TRY(take(*option, cat("--", name), rest));
      } else if (std::holds_alternative<bool*>(option->target)) {
        TRY(take(*option, argument, "true"));
      } else if (++at < arguments.size()) {
        TRY(take(*option, argument, arguments[at]));
      } else {
        return fail(Kind::Invalid, cat("flag needs an argument: ", argument));
      }
      continue;
    }
    // Letters in a row, the last of which may have its value behind it: -qf dangling=true, -oFILE.
    for (size_t place = 1; place < argument.size(); ++place) {
      const Option* option = find(argument[place]);
      const std::string shown = cat('-', argument[place]);
      if (option == nullptr) {
        return fail(Kind::Invalid,
                    cat("unknown shorthand flag: '", argument[place], "' in ", argument));
      }
      if (std::holds_alternative<bool*>(option->target)) {
        TRY(take(*option, shown, "true"));
        continue;
      }
      std::string_view value = argument.substr(place + 1);
      if (value.starts_with('=')) value.remove_prefix(1);
      if (value.empty()) {
        if (++at >= arguments.size()) {
          return fail(Kind::Invalid, cat("flag needs an argument: ", shown));
        }
        value = arguments[at];
      }
      TRY(take(*option, shown, value));
      break;
    }
  }
  if (parsed.operands.size() < operands_min_ || parsed.operands.size() > operands_max_) {
    const std::string wanted = operands_min_ == operands_max_ ? cat("exactly ", operands_min_)
                               : parsed.operands.size() < operands_min_
                                   ? cat("at least ", operands_min_)
                                   : cat("at most ", operands_max_);
    return fail(Kind::Invalid, cat("takes ", wanted, " operand", wanted.ends_with(" 1") ? "" : "s",
                                   "; usage: nacelle ", usage_));
  }
  return parsed;
}

std::string Options::help() const {
  std::string text = cat("usage: nacelle ", usage_, "\n\n", summary_, "\n");
  if (options_.empty()) return text;
  text += "\noptions:\n";
  size_t width = 0;
  std::vector<std::string> names;
  for (const Option& option : options_) {
    std::string name = option.letter == 0 ? "      --" : cat("  -", option.letter, ", --");
    name += option.name;
    if (!option.value_name.empty()) name += cat(' ', option.value_name);
    width = std::max(width, name.size());
    names.push_back(std::move(name));
  }
  for (size_t each = 0; each < options_.size(); ++each) {
    text += cat(names[each], std::string(width + 3 - names[each].size(), ' '), options_[each].help,
                '\n');
  }
  return text;
}

}  // namespace nacelle::cli
