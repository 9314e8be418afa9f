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

Options& Options::add(std::string_view name, char letter, Target target,
                      std::string_view value_name, std::string_view help) {
  options_.push_back({name, letter, std::move(target), value_name, help, false});
  return *this;
}

Options& Options::flag(std::string_view name, char letter, bool& target, std::string_view help) {
  return add(name, letter, &target, {}, help);
}
Options& Options::flag(std::string_view name, char letter, std::optional<bool>& target,
                       std::string_view help) {
  return add(name, letter, &target, {}, help);
}
Options& Options::value(std::string_view name, char letter, std::string& target,
                        std::string_view value_name, std::string_view help) {
  return add(name, letter, &target, value_name, help);
}
Options& Options::value(std::string_view name, char letter, std::optional<std::string>& target,
                        std::string_view value_name, std::string_view help) {
  return add(name, letter, &target, value_name, help);
}
Options& Options::value(std::string_view name, char letter, int64_t& target,
                        std::string_view value_name, std::string_view help) {
  return add(name, letter, &target, value_name, help);
}
Options& Options::value(std::string_view name, char letter, std::optional<int64_t>& target,
                        std::string_view value_name, std::string_view help) {
  return add(name, letter, &target, value_name, help);
}
Options& Options::list(std::string_view name, char letter, std::vector<std::string>& target,
                       std::string_view value_name, std::string_view help) {
  return add(name, letter, &target, value_name, help);
}
Options& Options::taken(std::string_view name, char letter, Taker taker,
                        std::string_view value_name, std::string_view help) {
  return add(name, letter, std::move(taker), value_name, help);
}

Options& Options::alias(std::string_view name) {
  Option other = options_.back();
  other.name = name;
  other.letter = 0;
  other.hidden = true;
  options_.push_back(std::move(other));
  return *this;
}

Options& Options::operands(size_t at_least, size_t at_most) {
  operands_min_ = at_least;
  operands_max_ = at_most;
  return *this;
}

Options& Options::stop_at_operand() {
  stop_at_operand_ = true;
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

bool Options::is_switch(const Option& option) {
  return std::holds_alternative<bool*>(option.target) ||
         std::holds_alternative<std::optional<bool>*>(option.target);
}

Result<> Options::take(const Option& option, std::string_view value) const {
  const auto wrong = [&](std::string_view why) {
    const std::string shown =
        option.letter == 0 ? cat("--", option.name) : cat('-', option.letter, ", --", option.name);
    return fail(Kind::Invalid,
                cat("invalid argument \"", value, "\" for \"", shown, "\" flag: ", why));
  };
  if (is_switch(option)) {
    const std::optional<bool> yes = truth(value);
    if (!yes) return wrong(cat("'", value, "' is neither true nor false"));
    if (bool* const* flag = std::get_if<bool*>(&option.target)) {
      **flag = *yes;
    } else {
      *std::get<std::optional<bool>*>(option.target) = *yes;
    }
  } else if (std::string* const* text = std::get_if<std::string*>(&option.target)) {
    **text = value;
  } else if (auto* const* maybe = std::get_if<std::optional<std::string>*>(&option.target)) {
    **maybe = std::string(value);
  } else if (auto* const* words = std::get_if<std::vector<std::string>*>(&option.target)) {
    (*words)->emplace_back(value);
  } else if (const Taker* taker = std::get_if<Taker>(&option.target)) {
    const Result<> taken = (*taker)(value);
    if (!taken) return wrong(taken.error().message());
  } else {
    const std::optional<int64_t> number = parse_number<int64_t>(value);
    if (!number) return wrong(cat("'", value, "' is not a number"));
    if (int64_t* const* target = std::get_if<int64_t*>(&option.target)) {
      **target = *number;
    } else {
      *std::get<std::optional<int64_t>*>(option.target) = *number;
    }
  }
  return {};
}

Options::Parsed Options::parse_or_explain(const std::vector<std::string>& arguments,
                                          Description* describe_into) const {
  if (describe_into != nullptr) {
    describe_into->usage = usage_;
    describe_into->summary = summary_;
    for (const Option& each : options_) {
      if (each.hidden) continue;
      describe_into->options.push_back({std::string(each.name), std::string(each.value_name),
                                        std::string(each.help), each.letter});
    }
    return {.operands = {}, .exit_code = 0};
  }
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
      if (stop_at_operand_) {
        parsed.operands.assign(arguments.begin() + static_cast<long>(at), arguments.end());
        break;
      }
      parsed.operands.emplace_back(argument);
      continue;
    }
    if (argument == "--help" || (argument == "-h" && find('h') == nullptr)) {
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
        TRY(take(*option, rest));
      } else if (is_switch(*option)) {
        TRY(take(*option, "true"));
      } else if (++at < arguments.size()) {
        TRY(take(*option, arguments[at]));
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
      if (is_switch(*option)) {
        TRY(take(*option, "true"));
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
      TRY(take(*option, value));
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
  std::vector<std::string> names, helps;
  for (const Option& option : options_) {
    if (option.hidden) continue;
    helps.emplace_back(option.help);
    std::string name = option.letter == 0 ? "      --" : cat("  -", option.letter, ", --");
    name += option.name;
    if (!option.value_name.empty()) name += cat(' ', option.value_name);
    width = std::max(width, name.size());
    names.push_back(std::move(name));
  }
  for (size_t each = 0; each < names.size(); ++each) {
    text += cat(names[each], std::string(width + 3 - names[each].size(), ' '), helps[each], '\n');
  }
  return text;
}

}  // namespace nacelle::cli
