// One verb's command line: options as Docker's client takes them (long ones with one letter beside
// them, anywhere among the operands, `--flag=false` for switches), and what follows from the same
// table: the help (of which tools/man makes a page) and the completions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::cli {

inline constexpr size_t any_number = ~size_t{0};
inline constexpr int exit_usage = 125;  // as Docker's client ends when it does not understand

// A verb's table of options as data, for completions.
struct Description {
  struct Item {
    std::string name, value_name, help;
    char letter = 0;
  };
  std::string usage, summary;
  std::vector<Item> options;
};

class Options {
 public:
  // Makes something of an option's value.
  using Taker = std::function<Result<>(std::string_view)>;

  // `usage` is what stands after `nacelle` on the usage line: "image rm [OPTIONS] IMAGE
  // [IMAGE...]".
  Options(std::string_view usage, std::string_view summary) : usage_(usage), summary_(summary) {}

  // `letter` 0: none. The targets outlive the parse and keep what they hold unless the option is
  // given. A list takes the option any number of times.
  Options& flag(std::string_view name, char letter, bool& target, std::string_view help);
  Options& flag(std::string_view name, char letter, std::optional<bool>& target,
                std::string_view help);
  Options& value(std::string_view name, char letter, std::string& target,
                 std::string_view value_name, std::string_view help);
  Options& value(std::string_view name, char letter, std::optional<std::string>& target,
                 std::string_view value_name, std::string_view help);
  Options& value(std::string_view name, char letter, int64_t& target, std::string_view value_name,
                 std::string_view help);
  Options& value(std::string_view name, char letter, std::optional<int64_t>& target,
                 std::string_view value_name, std::string_view help);
  Options& list(std::string_view name, char letter, std::vector<std::string>& target,
                std::string_view value_name, std::string_view help);
  Options& taken(std::string_view name, char letter, Taker taker, std::string_view value_name,
                 std::string_view help);
  // Another, unlisted name for the option that was added last.
  Options& alias(std::string_view name);
  Options& operands(size_t at_least, size_t at_most);
  // What stands behind the first operand is another program's command line.
  Options& stop_at_operand();

  // What comes of it: the operands; or the exit code, when the help was asked for and printed.
  struct Parsed {
    std::vector<std::string> operands;
    std::optional<int> exit_code;
  };
  // The same for a verb: a mistake is told to the person, and is an exit code too. Where
  // `describe_into` is given, nothing is parsed and the table goes there.
  Parsed parse_or_explain(const std::vector<std::string>& arguments,
                          Description* describe_into = nullptr) const;
  Result<Parsed> parse(const std::vector<std::string>& arguments) const;
  std::string help() const;

 private:
  using Target =
      std::variant<bool*, std::optional<bool>*, std::string*, std::optional<std::string>*, int64_t*,
                   std::optional<int64_t>*, std::vector<std::string>*, Taker>;
  struct Option {
    std::string_view name;
    char letter;
    Target target;
    std::string_view value_name;
    std::string_view help;
    bool hidden = false;
  };
  Options& add(std::string_view name, char letter, Target target, std::string_view value_name,
               std::string_view help);
  Result<> take(const Option& option, std::string_view value) const;
  static bool is_switch(const Option& option);
  const Option* find(std::string_view name) const;
  const Option* find(char letter) const;

  std::string_view usage_;
  std::string_view summary_;
  std::vector<Option> options_;
  size_t operands_min_ = 0;
  size_t operands_max_ = 0;
  bool stop_at_operand_ = false;
};

}  // namespace nacelle::cli
