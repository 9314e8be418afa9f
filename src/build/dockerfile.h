// A Dockerfile as values: the language of BuildKit's frontend 1.x, parsed and checked, with nothing
// expanded yet. Bytes in, values out: reads no file, knows no image.
//
//   parse_dockerfile  text -> Dockerfile         here
//   plan_stages       which stages, in which order, from what base: build/stage_plan.h
//   expand_variables  the words of one instruction: build/expand.h
//   parse_ignore      .dockerignore: codec/ignore.h
//
// An error names the place and shows it, `Dockerfile:7:12: unknown flag --foo`, with the line and a
// caret below. Refuses: Windows' own forms (drive letters, `--isolation`) and RUN --device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::build {

// What a file may ask of us; more is an error of Kind::Exhausted.
inline constexpr size_t dockerfile_bytes_max = 4 << 20;
inline constexpr size_t dockerfile_line_bytes_max = 1 << 20;  // continuations joined
inline constexpr size_t dockerfile_lines_max = 100'000;
inline constexpr size_t dockerfile_stages_max = 1000;
inline constexpr size_t dockerfile_instructions_max = 20'000;
inline constexpr size_t dockerfile_heredocs_max = 100;  // of one instruction
inline constexpr size_t dockerfile_words_max = 10'000;  // of one instruction

// Where something stands. Lines count from 1, and both ends are part of it, here-documents
// included.
struct Source {
  size_t first_line = 0;
  size_t last_line = 0;
  // The instruction as written, continuations joined, without comments and here-documents.
  std::string text;
  bool operator==(const Source&) const = default;
};

// <<NAME, <<-NAME, <<"NAME".
struct Heredoc {
  std::string name;
  std::string content;  // as written: tabs are still there, `chomp` says whether they go
  bool expand = true;   // the name had no quotes: variables in COPY's and ADD's are replaced
  bool chomp = false;   // <<-
  unsigned file_descriptor = 0;  // 3<<NAME
  // The content without leading tabs where <<- asks for it.
  std::string text() const;
  bool operator==(const Heredoc&) const = default;
};

// What RUN, CMD, ENTRYPOINT and HEALTHCHECK CMD say: `["a", "b"]` or a line for the shell.
struct Command {
  std::vector<std::string> words;  // the shell's form is one word: the line
  bool shell_form = true;
  // What to execute: the line behind `shell` ({"/bin/sh", "-c"} where no SHELL was said), or
  // `words`.
  std::vector<std::string> arguments(const std::vector<std::string>& shell) const;
  bool operator==(const Command&) const = default;
};

struct KeyValue {
  std::string key, value;
  bool operator==(const KeyValue&) const = default;
};

// FROM [--platform=P] BASE [AS NAME].
struct From {
  std::string base;      // a stage, an image or `scratch`; may contain variables of global ARGs
  std::string name;      // in lower case, or empty
  std::string platform;  // may contain variables
  bool operator==(const From&) const = default;
};

enum class MountType : uint8_t { Bind, Cache, Tmpfs, Secret, Ssh };
enum class Sharing : uint8_t { Shared, Private, Locked };

// RUN --mount=... . Only `text` and `from` are certain before variables are expanded: `complete`
// says whether the rest is. expand_variables() makes it so.
struct Mount {
  std::string text;
  std::string from;  // a stage or an image; never contains variables
  bool complete = false;
  MountType type = MountType::Bind;
  // A relative target is below WORKDIR, an empty one of a bind, cache or tmpfs is WORKDIR itself.
  std::string source, target;
  std::string id;  // of a cache, secret or ssh agent; empty is the default that Docker documents
  bool read_only = true;
  bool required = false;
  Sharing sharing = Sharing::Shared;
  std::optional<uint32_t> mode, uid, gid;
  int64_t size = 0;         // tmpfs, bytes; 0 is no limit
  std::string environment;  // env=NAME of a secret: as a variable, not (only) as a file
  bool operator==(const Mount&) const = default;
};

enum class RunNetwork : uint8_t { Default, None, Host };

struct Run {
  Command command;
  std::vector<Heredoc> heredocs;
  std::vector<Mount> mounts;
  RunNetwork network = RunNetwork::Default;
  bool insecure = false;  // --security=insecure
  bool operator==(const Run&) const = default;
};

// What a RUN executes once its here-documents are in place.
struct RunForm {
  Command command;
  // A script of its own (`RUN <<EOF` with `#!` first): to be placed, mode 0755, read-only, at
  // `script_path`, which is what `command` then executes.
  std::string script_path, script;
};
// A lone here-document is the shell's line; others are given to the shell with the line.
RunForm run_form(const Run& run);

// What COPY and ADD share.
struct Transfer {
  std::vector<std::string> sources;
  std::vector<Heredoc> files;  // sources that are here-documents; each a file of its name
  std::string destination;
  std::string chown, chmod;  // as written: "user:group", "0644", "u=rwX,go="
  bool link = false;
  std::vector<std::string> exclude;  // patterns as of .dockerignore
  bool operator==(const Transfer&) const = default;
};
struct Copy : Transfer {
  std::string from;  // a stage's name or number, or an image; never contains variables
  bool parents = false;
  bool operator==(const Copy&) const = default;
};
struct Add : Transfer {
  bool keep_git_dir = false;
  std::string checksum;
  std::optional<bool> unpack;  // unset: local archives are unpacked, downloaded ones are not
  bool operator==(const Add&) const = default;
};

struct Env {
  std::vector<KeyValue> variables;
  bool operator==(const Env&) const = default;
};
struct Label {
  std::vector<KeyValue> labels;
  bool operator==(const Label&) const = default;
};
struct Arg {
  struct Argument {
    std::string name;
    std::optional<std::string> value;
    bool operator==(const Argument&) const = default;
  };
  std::vector<Argument> arguments;
  bool operator==(const Arg&) const = default;
};
struct Expose {
  std::vector<std::string> ports;  // "80", "80/udp", "8000-8010/tcp", variables
  bool operator==(const Expose&) const = default;
};
struct Volume {
  std::vector<std::string> paths;
  bool operator==(const Volume&) const = default;
};
struct User {
  std::string user;
  bool operator==(const User&) const = default;
};
struct Workdir {
  std::string path;
  bool operator==(const Workdir&) const = default;
};
struct Entrypoint {
  Command command;
  bool operator==(const Entrypoint&) const = default;
};
struct Cmd {
  Command command;
  bool operator==(const Cmd&) const = default;
};
struct Shell {
  std::vector<std::string> words;
  bool operator==(const Shell&) const = default;
};
struct StopSignal {
  std::string signal;
  bool operator==(const StopSignal&) const = default;
};
struct HealthCheck {
  // As the image's configuration has it: test is {"NONE"}, {"CMD", ...} or {"CMD-SHELL", line}.
  oci::HealthCheck check;
  bool operator==(const HealthCheck&) const = default;
};
// The trigger is kept as text, as images do, and is known to parse: parse_trigger() reads it again.
struct OnBuild {
  std::string trigger;
  bool operator==(const OnBuild&) const = default;
};
struct Maintainer {
  std::string name;
  bool operator==(const Maintainer&) const = default;
};

struct Instruction {
  Source source;
  std::variant<Run, Copy, Add, Env, Arg, Label, Expose, Volume, User, Workdir, Entrypoint, Cmd,
               Shell, StopSignal, HealthCheck, OnBuild, Maintainer>
      what;
  // "RUN", "COPY".
  std::string_view keyword() const;
  bool operator==(const Instruction&) const = default;
};

struct Stage {
  From from;
  Source source;  // of the FROM
  std::vector<Instruction> instructions;
  bool operator==(const Stage&) const = default;
};

// # syntax=, # escape=, # check=: each empty where it is not there.
struct Directives {
  std::string syntax;
  std::string check;
  char escape = '\\';
  bool operator==(const Directives&) const = default;
};

// What is allowed and probably not meant; Docker warns of the same.
struct Warning {
  size_t line = 0;
  std::string text;
  bool operator==(const Warning&) const = default;
};

struct Dockerfile {
  std::string name;  // for errors: "Dockerfile"
  std::vector<std::string> lines;
  Directives directives;
  struct GlobalArg {
    Arg arg;
    Source source;
    bool operator==(const GlobalArg&) const = default;
  };
  std::vector<GlobalArg> global_args;  // ARG before the first FROM, usable in FROM only
  std::vector<Stage> stages;           // at least one
  std::vector<Warning> warnings;

  // The error `name:line: complaint` with the line, for what goes wrong with an instruction later.
  Error complain(const Source& source, std::string_view complaint, Kind kind = Kind::Invalid) const;
  bool operator==(const Dockerfile&) const = default;
};

Result<Dockerfile> parse_dockerfile(std::string_view text, std::string_view name = "Dockerfile");

// A trigger of an image that is built upon (RunConfig::on_build); `name` says whose, in errors.
// Docker reads these with the default escape character.
Result<Instruction> parse_trigger(std::string_view text, std::string_view name);

// One RUN --mount of which nothing is left to be expanded.
Result<Mount> parse_mount(std::string_view text);

}  // namespace nacelle::build
