// Instructions: from one logical line to one value, and the stages they make up. What words mean is
// Docker's, and so is much of what is said about wrong ones, since people search for it.
#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/text.h"
#include "build/dockerfile.h"
#include "build/dockerfile_lines.h"
#include "build/dockerfile_words.h"
#include "build/mount.h"
#include "codec/json.h"
#include "codec/quantity.h"

namespace nacelle::build {
namespace {

using codec::json::in_quotes;
using What = decltype(Instruction::what);

constexpr int64_t health_interval_ns_min = 1'000'000;

const std::vector<std::string_view> known_keywords = {
    "ADD",    "ARG",   "CMD",         "COPY",  "ENTRYPOINT", "ENV",
    "EXPOSE", "FROM",  "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN",    "SHELL", "STOPSIGNAL",  "USER",  "VOLUME",     "WORKDIR"};

// The flags of one instruction, taken one by one; what is left at the end is unknown.
class Flags;

// One instruction while it is parsed.
class InstructionParser {
 public:
  InstructionParser(LineReader& reader, const LogicalLine& line)
      : reader_(reader),
        line_(line),
        parts_(split_instruction(line.text)),
        keyword_(to_upper(parts_.keyword)) {}

  bool is(std::string_view keyword) const { return keyword_ == keyword; }
  Source source() const {
    return {line_.first_line, line_.last_line, std::string(trim(line_.text))};
  }
  std::unexpected<Error> fail_here(std::string_view complaint) const {
    return reader_.fail_at(line_, parts_.keyword, complaint);
  }

  Result<From> parse_from();
  Result<What> parse();

 private:
  std::unexpected<Error> fail_at(std::string_view part, std::string_view complaint) const {
    return reader_.fail_at(line_, part, complaint);
  }
  std::unexpected<Error> fail_at_arguments(std::string_view complaint) const {
    return fail_at(parts_.arguments.empty() ? parts_.keyword : parts_.arguments, complaint);
  }
  // Puts an error of the small grammar where `part` stands.
  template <class T>
  Result<T> at(std::string_view part, Result<T> result) const {
    if (result) return result;
    return reader_.fail_at(line_, part, result.error().message(), result.error().kind());
  }

  Result<> take_flags(Flags flags) const;
  Result<> need_arguments() const;
  Result<std::string> whole() const;
  Result<std::vector<std::string>> list() const;
  Result<Command> command(std::string_view arguments) const;
  Result<std::vector<KeyValue>> pairs() const;
  Result<> transfer(Transfer& out) const;

  Result<What> parse_run() const;
  Result<What> parse_copy() const;
  Result<What> parse_add() const;
  Result<What> parse_arg() const;
  Result<What> parse_expose() const;
  Result<What> parse_volume() const;
  Result<What> parse_shell() const;
  Result<What> parse_health_check() const;
  Result<What> parse_on_build();
  Result<What> parse_plain();

  LineReader& reader_;
  const LogicalLine& line_;
  InstructionParts parts_;
  std::string keyword_;
};

// Where each flag goes that an instruction knows.
class Flags {
 public:
  Flags& text(std::string_view name, std::string& into) { return add({name, &into, {}, {}, {}}); }
  Flags& list(std::string_view name, std::vector<std::string>& into) {
    return add({name, {}, &into, {}, {}});
  }
  Flags& boolean(std::string_view name, bool& into) { return add({name, {}, {}, &into, {}}); }
  Flags& boolean(std::string_view name, std::optional<bool>& into) {
    return add({name, {}, {}, {}, &into});
  }

  // The complaint about `flag`, or none.
  Result<> take(const Flag& flag) {
    const auto known = std::ranges::find(known_, flag.name, &Known::name);
    if (known == known_.end()) return unknown(flag);
    if (std::exchange(known->seen, true) && known->list == nullptr)
      return fail(Kind::Invalid, cat("duplicate flag --", flag.name));
    if (known->boolean != nullptr || known->tristate != nullptr) return set_boolean(*known, flag);
    if (!flag.value) return fail(Kind::Invalid, cat("missing a value on flag --", flag.name));
    if (known->list != nullptr) {
      known->list->push_back(*flag.value);
    } else {
      *known->text = *flag.value;
    }
    return {};
  }

 private:
  struct Known {
    std::string_view name;
    std::string* text;
    std::vector<std::string>* list;
    bool* boolean;
    std::optional<bool>* tristate;
    bool seen = false;
  };
  Flags& add(Known known) {
    known_.push_back(known);
    return *this;
  }

  Result<> unknown(const Flag& flag) const {
    std::vector<std::string_view> names;
    for (const Known& known : known_) names.push_back(known.name);
    const std::string_view meant = suggest(flag.name, names);
    return fail(Kind::Invalid, cat("unknown flag --", flag.name,
                                   meant.empty() ? "" : cat(" (did you mean --", meant, "?)")));
  }

  static Result<> set_boolean(const Known& known, const Flag& flag) {
    const std::string value = to_lower(flag.value.value_or("true"));
    if (value != "true" && value != "false")
      return fail(Kind::Invalid, cat("expecting boolean value for flag --", flag.name,
                                     ", not: ", in_quotes(*flag.value)));
    if (known.boolean != nullptr) {
      *known.boolean = value == "true";
    } else {
      *known.tristate = value == "true";
    }
    return {};
  }

  std::vector<Known> known_;
};

Result<> InstructionParser::take_flags(Flags flags) const {
  for (const Flag& flag : parts_.flags) {
    TRY(at(flag.where, flags.take(flag)));
  }
  return {};
}

Result<> InstructionParser::need_arguments() const {
  if (parts_.arguments.empty()) return fail_here(cat(keyword_, " requires at least one argument"));
  return {};
}

// All of the arguments as one: USER, WORKDIR.
Result<std::string> InstructionParser::whole() const {
  TRY(take_flags({}));
  if (parts_.arguments.empty()) return fail_here(cat(keyword_, " requires exactly one argument"));
  return std::string(parts_.arguments);
}

// JSON, or words at spaces.
Result<std::vector<std::string>> InstructionParser::list() const {
  auto words = TRY(at(parts_.arguments, parse_json_words(parts_.arguments)));
  if (!words) {
    words.emplace();
    for (const std::string_view word : split_at_spaces(parts_.arguments)) words->emplace_back(word);
  }
  if (words->size() > dockerfile_words_max)
    return reader_.fail_at(line_, parts_.keyword, cat("more than ", dockerfile_words_max, " words"),
                           Kind::Exhausted);
  return *std::move(words);
}

Result<Command> InstructionParser::command(std::string_view arguments) const {
  if (auto words = TRY(at(arguments, parse_json_words(arguments))))
    return Command{.words = *std::move(words), .shell_form = false};
  if (arguments.starts_with('['))
    reader_.warnings().push_back(
        {line_.first_line,
         cat(keyword_, ": begins like a JSON array and is none: given to the shell")});
  return Command{.words = {std::string(arguments)}, .shell_form = true};
}

// `key=value key2="a b"`, or all behind the first space as the one value.
Result<std::vector<KeyValue>> InstructionParser::pairs() const {
  TRY(take_flags({}));
  TRY(need_arguments());
  const auto words = split_words(parts_.arguments, reader_.directives().escape);
  std::vector<KeyValue> pairs;
  if (words.empty()) return fail_here(cat(keyword_, " requires at least one argument"));
  if (words.size() > dockerfile_words_max)
    return reader_.fail_at(line_, parts_.keyword, cat("more than ", dockerfile_words_max, " words"),
                           Kind::Exhausted);
  if (!words[0].contains('=')) {
    const auto end = std::ranges::find_if(parts_.arguments, is_space);
    const std::string_view key(parts_.arguments.begin(), end);
    const std::string_view value = trim_left(parts_.arguments.substr(key.size()));
    if (value.empty()) return fail_at(key, cat(keyword_, " must have two arguments"));
    reader_.warnings().push_back(
        {line_.first_line,
         cat(keyword_, " key=value should be used instead of ", keyword_, " key value")});
    pairs.push_back({std::string(key), std::string(value)});
    return pairs;
  }
  for (const std::string_view word : words) {
    const size_t equals = word.find('=');
    if (equals == word.npos)
      return fail_at(word,
                     cat("can't find = in ", in_quotes(word), ": must be of the form name=value"));
    if (equals == 0) return fail_at(word, cat(keyword_, " names can not be blank"));
    pairs.push_back({std::string(word.substr(0, equals)), std::string(word.substr(equals + 1))});
  }
  return pairs;
}

Result<From> InstructionParser::parse_from() {
  From from;
  TRY(take_flags(Flags().text("platform", from.platform)));
  const auto words = split_at_spaces(parts_.arguments);
  const bool named = words.size() == 3 && to_lower(words[1]) == "as";
  if (words.size() != 1 && !named)
    return fail_at_arguments("FROM requires either one or three arguments: FROM IMAGE [AS NAME]");
  from.base = words[0];
  if (!named) return from;
  from.name = to_lower(words[2]);
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  };
  if (!std::ranges::all_of(from.name, allowed) || from.name[0] < 'a' || from.name[0] > 'z')
    return fail_at(words[2], cat("invalid name for build stage: ", in_quotes(words[2]),
                                 ", name can't start with a number or contain symbols"));
  if (from.name == "scratch" || from.name == "context")
    reader_.warnings().push_back({line_.first_line, cat("'", from.name,
                                                        "' is reserved and should not be "
                                                        "used as a stage name")});
  return from;
}

Result<What> InstructionParser::parse_run() const {
  Run run;
  std::vector<std::string> mounts;
  std::string network = "default", security = "sandbox";
  TRY(take_flags(
      Flags().list("mount", mounts).text("network", network).text("security", security)));
  auto mount = mounts.begin();
  for (const Flag& flag : parts_.flags) {
    if (flag.name == "mount") {
      run.mounts.push_back(TRY(at(flag.where, read_mount_unexpanded(*mount++))));
    } else if (flag.name == "network") {
      constexpr std::array<std::string_view, 3> modes = {"default", "none", "host"};
      const auto mode = std::ranges::find(modes, network);
      if (mode == modes.end())
        return fail_at(flag.where, cat("unsupported network mode ", in_quotes(network)));
      run.network = static_cast<RunNetwork>(mode - modes.begin());
    } else if (security != "sandbox" && security != "insecure") {
      return fail_at(flag.where, cat("unsupported security mode ", in_quotes(security)));
    }
  }
  run.insecure = security == "insecure";
  TRY(need_arguments());
  run.command = TRY(command(parts_.arguments));
  if (run.command.words.empty()) return fail_at_arguments("RUN requires at least one argument");
  run.heredocs = line_.heredocs;
  return run;
}

Result<> InstructionParser::transfer(Transfer& out) const {
  out.sources = TRY(list());
  if (out.sources.size() < 2)
    return fail_at_arguments(
        cat(keyword_, " requires at least two arguments: SOURCE... DESTINATION"));
  out.destination = std::move(out.sources.back());
  out.sources.pop_back();
  if (line_.heredocs.empty()) return {};
  if (parse_heredoc_word(out.destination))
    return fail_at_arguments(cat(keyword_, " cannot accept a heredoc as a destination"));
  // Two of one name are one file, the last.
  std::vector<std::string> paths;
  for (std::string& source : out.sources) {
    const auto word = parse_heredoc_word(source);
    if (!word) {
      paths.push_back(std::move(source));
      continue;
    }
    const auto last = std::ranges::find(line_.heredocs.rbegin(), line_.heredocs.rend(), word->name,
                                        &Heredoc::name);
    // What is a heredoc by itself may stand inside of quotes in the whole line.
    if (last == line_.heredocs.rend())
      return fail_at_arguments(cat("heredoc ", in_quotes(source), " was not read as one"));
    if (word->name.contains('/') || word->name == "." || word->name == "..")
      return fail_at_arguments(cat("heredoc ", in_quotes(source), ": its name is no file's name"));
    out.files.push_back(*last);
    out.files.back().expand = word->expand;
    out.files.back().chomp = word->chomp;
  }
  out.sources = std::move(paths);
  return {};
}

Result<What> InstructionParser::parse_copy() const {
  Copy copy;
  TRY(take_flags(Flags()
                     .text("from", copy.from)
                     .text("chown", copy.chown)
                     .text("chmod", copy.chmod)
                     .boolean("link", copy.link)
                     .boolean("parents", copy.parents)
                     .list("exclude", copy.exclude)));
  for (const Flag& flag : parts_.flags) {
    if (flag.name == "from" && copy.from.contains('$'))
      return fail_at(flag.where,
                     "variable expansion is not supported for --from, define a new stage with FROM "
                     "using ARG from global scope as a workaround");
    if (flag.name == "from" && copy.from.empty()) return fail_at(flag.where, "--from is empty");
  }
  TRY(transfer(copy));
  for (const std::string& source : copy.sources) {
    if (source.starts_with("http://") || source.starts_with("https://"))
      return fail_at_arguments("source can't be a URL for COPY");
  }
  return copy;
}

Result<What> InstructionParser::parse_add() const {
  Add add;
  TRY(take_flags(Flags()
                     .text("chown", add.chown)
                     .text("chmod", add.chmod)
                     .text("checksum", add.checksum)
                     .boolean("link", add.link)
                     .boolean("keep-git-dir", add.keep_git_dir)
                     .boolean("unpack", add.unpack)
                     .list("exclude", add.exclude)));
  TRY(transfer(add));
  return add;
}

Result<What> InstructionParser::parse_arg() const {
  TRY(take_flags({}));
  TRY(need_arguments());
  Arg arg;
  for (const std::string_view word : split_words(parts_.arguments, reader_.directives().escape)) {
    const size_t equals = word.find('=');
    if (equals == 0) return fail_at(word, "ARG names can not be blank");
    Arg::Argument& argument = arg.arguments.emplace_back();
    argument.name = word.substr(0, equals);
    if (equals != word.npos) argument.value = word.substr(equals + 1);
  }
  if (arg.arguments.empty()) return fail_here("ARG requires at least one argument");
  return arg;
}

Result<What> InstructionParser::parse_expose() const {
  TRY(take_flags({}));
  TRY(need_arguments());
  Expose expose;
  for (const std::string_view word : split_at_spaces(parts_.arguments))
    expose.ports.emplace_back(word);
  return expose;
}

Result<What> InstructionParser::parse_volume() const {
  TRY(take_flags({}));
  TRY(need_arguments());
  Volume volume;
  for (const std::string& path : TRY(list())) {
    if (trim(path).empty()) return fail_at_arguments("VOLUME specified can not be an empty string");
    volume.paths.emplace_back(trim(path));
  }
  if (volume.paths.empty()) return fail_here("VOLUME requires at least one argument");
  return volume;
}

Result<What> InstructionParser::parse_shell() const {
  TRY(take_flags({}));
  const auto words = TRY(at(parts_.arguments, parse_json_words(parts_.arguments)));
  if (parts_.arguments.empty() || (words && words->empty()))
    return fail_here("SHELL requires at least one argument");
  if (!words) return fail_at_arguments("SHELL requires the arguments to be in JSON form");
  return Shell{.words = *words};
}

Result<What> InstructionParser::parse_health_check() const {
  std::string interval, timeout, start_period, start_interval, retries;
  TRY(take_flags(Flags()
                     .text("interval", interval)
                     .text("timeout", timeout)
                     .text("start-period", start_period)
                     .text("start-interval", start_interval)
                     .text("retries", retries)));
  TRY(need_arguments());
  const std::string_view type = split_at_spaces(parts_.arguments)[0];
  const std::string_view rest = trim_left(parts_.arguments.substr(type.size()));
  HealthCheck health;
  if (to_lower(type) == "none") {
    if (!rest.empty()) return fail_at(rest, "HEALTHCHECK NONE takes no arguments");
    health.check.test = {"NONE"};
    return health;
  }
  if (to_lower(type) != "cmd")
    return fail_at(type, cat("unknown type ", in_quotes(type), " in HEALTHCHECK (try CMD)"));
  Command test = TRY(command(rest));
  if (test.words.empty() || rest.empty())
    return fail_at(type, "missing command after HEALTHCHECK CMD");
  health.check.test = {test.shell_form ? "CMD-SHELL" : "CMD"};
  std::ranges::move(test.words, std::back_inserter(health.check.test));

  for (const Flag& flag : parts_.flags) {
    if (flag.name == "retries") {
      const auto number = parse_number<int32_t>(retries);
      if (!number || *number < 0)
        return fail_at(flag.where,
                       cat("--retries: ", in_quotes(retries), " is no number of retries"));
      health.check.retries = *number;
      continue;
    }
    int64_t& into = flag.name == "interval"       ? health.check.interval_ns
                    : flag.name == "timeout"      ? health.check.timeout_ns
                    : flag.name == "start-period" ? health.check.start_period_ns
                                                  : health.check.start_interval_ns;
    into = TRY(at(flag.where, codec::parse_duration_ns(*flag.value)));
    if (into != 0 && into < health_interval_ns_min)
      return fail_at(flag.where, cat("--", flag.name, " cannot be less than 1ms"));
  }
  return health;
}

Result<What> InstructionParser::parse_on_build() {
  TRY(take_flags({}));
  TRY(need_arguments());
  InstructionParser trigger = *this;
  trigger.parts_ = split_instruction(parts_.arguments);
  trigger.keyword_ = to_upper(trigger.parts_.keyword);
  if (trigger.is("ONBUILD")) return trigger.fail_here("ONBUILD ONBUILD isn't allowed");
  if (trigger.is("FROM") || trigger.is("MAINTAINER"))
    return trigger.fail_here(cat(trigger.keyword_, " isn't allowed as an ONBUILD trigger"));
  TRY(trigger.parse());
  OnBuild on_build{.trigger = std::string(parts_.arguments)};
  for (const Heredoc& heredoc : line_.heredocs) {
    on_build.trigger += cat("\n", heredoc.content, heredoc.name);
  }
  return on_build;
}

// Those that are one text, one command or pairs.
Result<What> InstructionParser::parse_plain() {
  if (is("ENV")) return Env{.variables = TRY(pairs())};
  if (is("LABEL")) return Label{.labels = TRY(pairs())};
  if (is("USER")) return User{.user = TRY(whole())};
  if (is("WORKDIR")) return Workdir{.path = TRY(whole())};
  if (is("STOPSIGNAL")) return StopSignal{.signal = TRY(whole())};
  if (is("CMD") || is("ENTRYPOINT")) {
    TRY(take_flags({}));
    Command words = TRY(command(parts_.arguments));
    if (is("CMD")) return Cmd{.command = std::move(words)};
    return Entrypoint{.command = std::move(words)};
  }
  if (is("MAINTAINER")) {
    reader_.warnings().push_back({line_.first_line, "MAINTAINER is deprecated in favor of LABEL"});
    return Maintainer{.name = TRY(whole())};
  }
  const std::string_view meant = suggest(keyword_, known_keywords);
  return fail_here(cat("unknown instruction: ", in_quotes(parts_.keyword),
                       meant.empty() ? "" : cat(" (did you mean ", meant, "?)")));
}

Result<What> InstructionParser::parse() {
  if (is("RUN")) return parse_run();
  if (is("COPY")) return parse_copy();
  if (is("ADD")) return parse_add();
  if (is("ARG")) return parse_arg();
  if (is("EXPOSE")) return parse_expose();
  if (is("VOLUME")) return parse_volume();
  if (is("SHELL")) return parse_shell();
  if (is("HEALTHCHECK")) return parse_health_check();
  if (is("ONBUILD")) return parse_on_build();
  return parse_plain();
}

// Puts instructions where they belong.
class FileParser {
 public:
  FileParser(LineReader& reader, Dockerfile& file) : reader_(reader), file_(file) {}

  Result<> add(const LogicalLine& line) {
    InstructionParser parser(reader_, line);
    if (++instructions_ > dockerfile_instructions_max)
      return reader_.fail_at({line.first_line, 0},
                             cat("more than ", dockerfile_instructions_max, " instructions"),
                             Kind::Exhausted);
    if (parser.is("FROM")) return add_stage(parser, line);
    What what = TRY(parser.parse());
    if (!file_.stages.empty()) {
      warn_if_repeated(what, line);
      file_.stages.back().instructions.push_back({parser.source(), std::move(what)});
      return {};
    }
    if (auto* const arg = std::get_if<Arg>(&what)) {
      file_.global_args.push_back({std::move(*arg), parser.source()});
      return {};
    }
    return parser.fail_here("no build stage in current context: only ARG may stand before FROM");
  }

 private:
  Result<> add_stage(InstructionParser& parser, const LogicalLine& line) {
    Stage stage;
    stage.from = TRY(parser.parse_from());
    stage.source = parser.source();
    if (file_.stages.size() == dockerfile_stages_max)
      return reader_.fail_at({line.first_line, 0},
                             cat("more than ", dockerfile_stages_max, " stages"), Kind::Exhausted);
    if (!stage.from.name.empty() && !names_.insert(stage.from.name).second)
      reader_.warnings().push_back({line.first_line, cat("duplicate stage name '", stage.from.name,
                                                         "', stage names should be unique")});
    file_.stages.push_back(std::move(stage));
    seen_.clear();
    return {};
  }

  // Of these only the last one counts.
  void warn_if_repeated(const What& what, const LogicalLine& line) {
    const bool counts = std::holds_alternative<Cmd>(what) ||
                        std::holds_alternative<Entrypoint>(what) ||
                        std::holds_alternative<HealthCheck>(what);
    if (!counts || seen_.insert(what.index()).second) return;
    const Instruction named{.source = {}, .what = what};
    reader_.warnings().push_back(
        {line.first_line, cat("multiple ", named.keyword(),
                              " instructions should not be used in the "
                              "same stage because only the last one will be used")});
  }

  LineReader& reader_;
  Dockerfile& file_;
  size_t instructions_ = 0;
  std::set<std::string> names_;
  std::set<size_t> seen_;
};

}  // namespace

Result<Dockerfile> parse_dockerfile(std::string_view text, std::string_view name) {
  LineReader reader = TRY(LineReader::open(text, name));
  Dockerfile file;
  FileParser parser(reader, file);
  while (const auto line = TRY(reader.next())) {
    TRY(parser.add(*line));
  }
  if (file.stages.empty()) {
    const std::string_view complaint = file.global_args.empty()
                                           ? "file with no instructions"
                                           : "dockerfile contains no stages to build";
    return reader.fail_at({std::max<size_t>(reader.lines().size(), 1), 0}, complaint);
  }
  file.name = name;
  file.directives = reader.directives();
  file.lines = std::move(reader.lines());
  file.warnings = std::move(reader.warnings());
  return file;
}

Result<Instruction> parse_trigger(std::string_view text, std::string_view name) {
  LineReader reader = TRY(LineReader::open(text, name));
  const auto line = TRY(reader.next());
  if (!line) return fail(Kind::Invalid, cat(name, ": the trigger is empty"));
  InstructionParser parser(reader, *line);
  for (const std::string_view keyword : {"FROM", "MAINTAINER", "ONBUILD"}) {
    if (parser.is(keyword))
      return parser.fail_here(cat(keyword, " isn't allowed as an ONBUILD trigger"));
  }
  Instruction instruction{.source = parser.source(), .what = TRY(parser.parse())};
  if (const auto more = TRY(reader.next()))
    return reader.fail_at(*more, more->text, "a trigger is one instruction");
  return instruction;
}

}  // namespace nacelle::build
