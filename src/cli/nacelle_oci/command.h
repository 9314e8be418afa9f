// What the verbs of nacelle-oci share: global options, the log, option parsing, exit statuses.
#pragma once

#include <getopt.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/container.h"
#include "nacelle/result.h"

namespace nacelle::oci_cli {

// Exit statuses as runc's.
inline constexpr int exit_ok = 0;
inline constexpr int exit_failed = 1;
inline constexpr int exit_exec_failed = 255;

// Options before the verb (runc(8)).
struct Globals {
  std::string root = "/run/nacelle-oci";
  std::string log_path;
  bool log_json = false;
  bool debug = false;
};

// Errors and warnings: to stderr for people, and to --log in the form callers parse.
class Log {
 public:
  explicit Log(const Globals& globals) : globals_(globals) {}
  void error(std::string_view message) const;
  void warning(std::string_view message) const;
  void debug(std::string_view message) const;

 private:
  void append(std::string_view level, std::string_view message) const;
  const Globals& globals_;
};

// One option of a verb: `--name`/`-letter`, with a value handed to `take`, or none.
struct Option {
  const char* name;
  char letter;             // 0: no short form
  const char* value_name;  // nullptr: it has no value
  const char* help;
  std::function<Result<>(const char* value)> take;
};

// Reads the options of `arguments` (argv[0] is the verb) and returns what is left: the operands.
// Options may stand after operands as well, unless `stop_at_operand`; "--" ends them. Where the
// help is asked for, prints that and ends the program.
Result<std::vector<std::string>> parse_options(std::span<char*> arguments,
                                               std::span<const Option> options,
                                               bool stop_at_operand = false);

// What stands behind `nacelle-oci` on the usage line of a verb, and what the verb does (main.cc).
struct VerbText {
  std::string_view usage, summary;
};
VerbText text_of_verb(std::string_view name);

// Ready-made takers.
std::function<Result<>(const char*)> into(std::string& target);
std::function<Result<>(const char*)> into(bool& target);
std::function<Result<>(const char*)> into(uint32_t& target);
std::function<Result<>(const char*)> onto(std::vector<std::string>& target);
std::function<Result<>(const char*)> ignored();

struct Context {
  const Globals& globals;
  const Log& log;
  std::span<char*> arguments;  // from the verb on

  Result<Runtime> open_runtime() const { return Runtime::open(globals.root); }
};

// The only operand, or an error that says how the verb is used.
Result<std::string> only_operand(const std::vector<std::string>& operands, std::string_view verb,
                                 std::string_view what);

// Each gives an exit status, or an error that main prints.
Result<int> run_create(const Context& context);
Result<int> run_run(const Context& context);
Result<int> run_start(const Context& context);
Result<int> run_state(const Context& context);
Result<int> run_kill(const Context& context);
Result<int> run_delete(const Context& context);
Result<int> run_exec(const Context& context);
Result<int> run_list(const Context& context);
Result<int> run_ps(const Context& context);
Result<int> run_spec(const Context& context);
Result<int> run_features(const Context& context);
Result<int> run_pause(const Context& context);
Result<int> run_resume(const Context& context);
Result<int> run_update(const Context& context);
Result<int> run_events(const Context& context);

}  // namespace nacelle::oci_cli
