// One verb's command line: options as Docker's client takes them (long ones with one letter beside
// them, anywhere among the operands, `--flag=false` for switches), and the help that follows from
// the same table.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::cli {

inline constexpr size_t any_number = ~size_t{0};
inline constexpr int exit_usage = 125;  // as Docker's client ends when it does not understand

class Options {
 public:
  // `usage` is what stands after `nacelle` on the usage line: "image rm [OPTIONS] IMAGE
  // [IMAGE...]".
  Options(std::string_view usage, std::string_view summary) : usage_(usage), summary_(summary) {}

  // `letter` 0: none. The targets outlive the parse and keep what they hold unless the option is
  // given. A list takes the option any number of times.
  Options& flag(std::string_view name, char letter, bool& target, std::string_view help);
  Options& value(std::string_view name, char letter, std::string& target,
                 std::string_view value_name, std::string_view help);
  Options& list(std::string_view name, char letter, std::vector<std::string>& target,
                std::string_view value_name, std::string_view help);
  Options& operands(size_t at_least, size_t at_most);

  // What comes of it: the operands; or the exit code, when the help was asked for and printed.
  struct Parsed {
    std::vector<std::string> operands;
    std::optional<int> exit_code;
  };
  // The same for a verb: a mistake is told to the person, and is an exit code too.
  Parsed parse_or_explain(const std::vector<std::string>& arguments) const;
  Result<Parsed> parse(const std::vector<std::string>& arguments) const;
  std::string help() const;

 private:
  struct Option {
    std::string_view name;
    char letter;
    std::variant<bool*, std::string*, std::vector<std::string>*> target;
    std::string_view value_name;
    std::string_view help;
  };
  Result<> take(const Option& option, std::string_view shown, std::string_view value) const;
  const Option* find(std::string_view name) const;
  const Option* find(char letter) const;

  std::string_view usage_;
  std::string_view summary_;
  std::vector<Option> options_;
  size_t operands_min_ = 0;
  size_t operands_max_ = 0;
};

}  // namespace nacelle::cli
