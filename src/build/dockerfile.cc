// What the values of a Dockerfile say about themselves.
#include "build/dockerfile.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "build/dockerfile_lines.h"
#include "build/dockerfile_words.h"

namespace nacelle::build {
namespace {

// Whether a here-document's name, which may be anything, can be a file's without a second thought.
bool is_plain_name(std::string_view name) {
  return !name.starts_with('.') && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

}  // namespace

std::string Heredoc::text() const {
  if (!chomp) return content;
  std::string out;
  bool at_start = true;
  for (const char c : content) {
    if (at_start && c == '\t') continue;
    at_start = c == '\n';
    out += c;
  }
  return out;
}

std::vector<std::string> Command::arguments(const std::vector<std::string>& shell) const {
  if (!shell_form) return words;
  std::vector<std::string> out = shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : shell;
  out.push_back(words.empty() ? std::string() : words[0]);
  return out;
}

RunForm run_form(const Run& run) {
  RunForm form{.command = run.command, .script_path = {}, .script = {}};
  if (run.heredocs.empty() || !run.command.shell_form || run.command.words.empty()) return form;
  std::string& line = form.command.words[0];
  const Heredoc& first = run.heredocs[0];
  if (!parse_heredoc_word(line)) {
    // The shell reads here-documents itself, `expand` and `chomp` included.
    for (const Heredoc& heredoc : run.heredocs) {
      line += cat("\n", heredoc.content, heredoc.name);
    }
    return form;
  }
  if (!first.content.starts_with("#!")) {
    line = first.text();
    return form;
  }
  form.script = first.text();
  form.script_path = cat("/dev/pipes/", is_plain_name(first.name) ? first.name : "script");
  line = form.script_path;
  return form;
}

std::string_view Instruction::keyword() const {
  static constexpr std::array<std::string_view, std::variant_size_v<decltype(what)>> keywords = {
      "RUN",    "COPY",       "ADD",         "ENV",     "ARG",        "LABEL",
      "EXPOSE", "VOLUME",     "USER",        "WORKDIR", "ENTRYPOINT", "CMD",
      "SHELL",  "STOPSIGNAL", "HEALTHCHECK", "ONBUILD", "MAINTAINER"};
  return keywords[what.index()];
}

Error Dockerfile::complain(const Source& source, std::string_view complaint, Kind kind) const {
  return error_at(name, lines, {source.first_line, 0}, complaint, kind);
}

}  // namespace nacelle::build
