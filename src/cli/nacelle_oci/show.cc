// state, list, ps: what is there, for people and for programs.
#include <pwd.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle_oci/command.h"
#include "codec/json_writer.h"
#include "oci/documents.h"
#include "sys/file.h"

namespace nacelle::oci_cli {
namespace {

oci::State document_of(const ContainerState& state) {
  oci::State document;
  document.oci_version = state.oci_version;
  document.id = state.id;
  document.status = static_cast<oci::Status>(state.status);
  document.pid = state.pid;
  document.bundle = state.bundle;
  document.annotations = state.annotations;
  document.rootfs = state.rootfs;
  document.created = state.created;
  document.owner = "";
  return document;
}

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// Columns as wide as their widest entry, two spaces apart at least, as runc's.
void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  constexpr size_t width_min = 12;
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const size_t width = std::max(width_min, widths[i] + 2);
      text += row[i];
      if (i + 1 < row.size()) text.append(width - row[i].size(), ' ');
    }
    text += '\n';
  }
  print(text);
}

Result<bool> wants_json(std::string_view format) {
  if (format != "json" && format != "table")
    return fail(Kind::Invalid, cat("invalid format '", format, "': table or json"));
  return format == "json";
}

// The lines of ps(1) whose PID is one of ours. All of them is what ps is asked for, since it cannot
// be asked for a cgroup.
Result<std::string> run_ps_program(std::vector<std::string> words) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe");
  Fd output(ends[0]);
  Fd input(ends[1]);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDOUT_FILENO);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, "ps", &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return fail_errno(failed, "executing 'ps'");
  input = Fd();
  constexpr size_t output_bytes_max = 64u << 20;
  Result<std::string> text = sys::read_all(output, output_bytes_max, "ps");
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return fail(Kind::Invalid, "ps: it failed; are its options right?");
  return text;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const std::string_view word = take_until(line, ' ');
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

Result<int> print_ps_lines(std::string_view text, const std::vector<pid_t>& pids) {
  const std::string_view header = take_until(text, '\n');
  const auto columns = words_of(header);
  const auto pid_column = std::ranges::find(columns, "PID");
  if (pid_column == columns.end())
    return fail(Kind::Invalid, "ps: couldn't find PID field in ps output");
  const size_t index = static_cast<size_t>(pid_column - columns.begin());
  print(cat(header, "\n"));
  while (!text.empty()) {
    const std::string_view line = take_until(text, '\n');
    const auto words = words_of(line);
    if (words.size() <= index) continue;
    const auto pid = parse_number<pid_t>(words[index]);
    if (pid && std::ranges::find(pids, *pid) != pids.end()) print(cat(line, "\n"));
  }
  return exit_ok;
}

}  // namespace

Result<int> run_state(const Context& context) {
  const std::string id =
      TRY(only_operand(TRY(parse_options(context.arguments, {})), "state", "container-id"));
  print(oci::state_document_indented(document_of(TRY(TRY(context.open_runtime()).state(id)))));
  print("\n");
  return exit_ok;
}

Result<int> run_list(const Context& context) {
  std::string format = "table";
  bool quiet = false;
  const Option options[] = {
      {"format", 'f', "FORMAT", "table or json (default table)", into(format)},
      {"quiet", 'q', nullptr, "print ids alone", into(quiet)}};
  TRY(parse_options(context.arguments, options));
  const bool json = TRY(wants_json(format));
  const auto states = TRY(TRY(context.open_runtime()).list());
  if (quiet) {
    for (const ContainerState& state : states) print(cat(state.id, "\n"));
    return exit_ok;
  }
  if (json) {
    codec::json::Writer writer;
    writer.begin_array();
    for (const ContainerState& state : states) writer.raw(oci::state_document(document_of(state)));
    print(std::move(writer.end_array()).take());
    return exit_ok;
  }
  std::vector<std::vector<std::string>> rows = {
      {"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"}};
  for (const ContainerState& state : states) {
    rows.push_back({state.id, cat(state.pid),
                    std::string(oci::to_string(static_cast<oci::Status>(state.status))),
                    state.bundle, state.created, "root"});
  }
  print_table(rows);
  return exit_ok;
}

Result<int> run_ps(const Context& context) {
  std::string format = "table";
  const Option options[] = {
      {"format", 'f', "FORMAT", "table or json (default table)", into(format)}};
  auto operands = TRY(parse_options(context.arguments, options, true));
  if (operands.empty()) return fail(Kind::Invalid, "ps: requires container-id");
  const bool json = TRY(wants_json(format));
  const auto pids = TRY(TRY(context.open_runtime()).processes(operands[0]));
  if (json) {
    codec::json::Writer writer;
    writer.begin_array();
    for (const pid_t pid : pids) writer.value(pid);
    print(std::move(writer.end_array()).take());
    return exit_ok;
  }
  operands[0] = "ps";
  if (operands.size() > 1 && operands[1] == "--") operands.erase(operands.begin() + 1);
  if (operands.size() == 1) operands.emplace_back("-ef");
  return print_ps_lines(TRY(run_ps_program(operands)), pids);
}

}  // namespace nacelle::oci_cli
