#include "engine/build_config.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>
#include <variant>

#include "base/text.h"
#include "container/plan.h"
#include "engine/container_text.h"
#include "image/config_changes.h"

namespace nacelle::engine {
namespace {

constexpr std::string_view default_path =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Go's %q.
std::string go_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte == 0x7f) {
      char code[8];
      std::snprintf(code, sizeof code, "\\x%02x", byte);
      out += code;
    } else {
      out += c;
    }
  }
  return out + '"';
}

// [a b], as Go's %v writes a list.
std::string go_list(const std::vector<std::string>& words) {
  std::string out = "[";
  for (const std::string& word : words) out += cat(out.size() > 1 ? " " : "", word);
  return out + ']';
}

// time.Duration's text: "1m30s", "500ms", "0s".
std::string go_duration(int64_t nanoseconds) {
  if (nanoseconds == 0) return "0s";
  if (nanoseconds < 1'000'000'000) {
    const bool whole_ms = nanoseconds % 1'000'000 == 0;
    return whole_ms ? cat(nanoseconds / 1'000'000, "ms") : cat(nanoseconds, "ns");
  }
  const int64_t seconds = nanoseconds / 1'000'000'000;
  std::string fraction;
  if (const int64_t rest = nanoseconds % 1'000'000'000; rest != 0) {
    fraction = cat(1'000'000'000 + rest);
    fraction[0] = '.';
    while (fraction.ends_with('0')) fraction.pop_back();
  }
  std::string out;
  if (seconds >= 3600) out += cat(seconds / 3600, 'h');
  if (seconds >= 60) out += cat(seconds / 60 % 60, 'm');
  return cat(out, seconds % 60, fraction, 's');
}

std::string health_text(const oci::HealthCheck& check) {
  return cat("&{", go_list(check.test), ' ', go_duration(check.interval_ns), ' ',
             go_duration(check.timeout_ns), ' ', go_duration(check.start_period_ns), ' ',
             go_duration(check.start_interval_ns), ' ', check.retries, '}');
}

std::string pairs_text(std::string_view keyword, const std::vector<build::KeyValue>& pairs) {
  std::string text(keyword);
  for (const build::KeyValue& each : pairs) text += cat(' ', each.key, '=', each.value);
  return text;
}

// An overload per instruction.
struct Apply {
  StageConfig& stage;

  Result<std::string> operator()(const build::Env& env) const {
    for (const build::KeyValue& each : env.variables) {
      image::set_env(stage.run.env, each.key, each.value);
    }
    return pairs_text("ENV", env.variables);
  }
  Result<std::string> operator()(const build::Label& label) const {
    for (const build::KeyValue& each : label.labels) {
      image::set_label(stage.run.labels, each.key, each.value);
    }
    return pairs_text("LABEL", label.labels);
  }
  Result<std::string> operator()(const build::Arg& arg) const {
    std::string text = "ARG";
    for (const build::Arg::Argument& each : arg.arguments) {
      text += cat(' ', each.name);
      if (each.value) text += cat('=', *each.value);
    }
    return text;
  }
  Result<std::string> operator()(const build::Expose& expose) const {
    std::vector<std::string> ports = expose.ports;
    std::ranges::sort(ports);
    std::string text = "EXPOSE";
    for (const std::string& port : ports) {
      auto added = image::add_port(stage.run, port);
      if (!added) return fail(Kind::Invalid, cat("invalid containerPort: ", port));
      text += cat(' ', port);
    }
    return text;
  }
  Result<std::string> operator()(const build::Volume& volume) const {
    for (const std::string& path : volume.paths) {
      if (path.find_first_not_of(" \t") == std::string::npos) {
        return fail(Kind::Invalid, "VOLUME specified can not be an empty string");
      }
      image::add_sorted(stage.run.volumes, path);
    }
    return cat("VOLUME ", go_list(volume.paths));
  }
  Result<std::string> operator()(const build::User& user) const {
    stage.run.user = user.user;
    return cat("USER ", user.user);
  }
  Result<std::string> operator()(const build::Workdir& workdir) const {
    if (workdir.path.empty()) return fail(Kind::Invalid, "cannot normalize nothing");
    const bool absolute = workdir.path.starts_with('/');
    stage.run.working_directory = container::clean_path(
        absolute ? workdir.path : cat('/', stage.run.working_directory, '/', workdir.path));
    return cat("WORKDIR ", stage.run.working_directory);
  }
  Result<std::string> operator()(const build::Entrypoint& entrypoint) const {
    stage.run.entrypoint = entrypoint.command.arguments(stage.run.shell);
    if (entrypoint.command.words.empty()) stage.run.entrypoint.clear();
    // What it would be given was meant for another program.
    if (!stage.has_command) stage.run.command.clear();
    return cat("ENTRYPOINT ", go_quoted_list(stage.run.entrypoint));
  }
  Result<std::string> operator()(const build::Cmd& cmd) const {
    stage.run.command = cmd.command.arguments(stage.run.shell);
    if (cmd.command.words.empty()) stage.run.command.clear();
    if (!cmd.command.words.empty()) stage.has_command = true;
    return cat("CMD ", go_quoted_list(stage.run.command));
  }
  Result<std::string> operator()(const build::Shell& shell) const {
    stage.run.shell = shell.words;
    return cat("SHELL ", go_list(shell.words));
  }
  Result<std::string> operator()(const build::StopSignal& stop) const {
    if (!parse_signal(stop.signal))
      return fail(Kind::Invalid, cat("invalid signal: ", stop.signal));
    stage.run.stop_signal = stop.signal;
    return cat("STOPSIGNAL ", stop.signal);
  }
  Result<std::string> operator()(const build::HealthCheck& health) const {
    stage.run.health_check = health.check;
    return cat("HEALTHCHECK ", health_text(health.check));
  }
  Result<std::string> operator()(const build::OnBuild& on_build) const {
    stage.run.on_build.push_back(on_build.trigger);
    return cat("ONBUILD ", on_build.trigger);
  }
  Result<std::string> operator()(const build::Maintainer& maintainer) const {
    stage.author = maintainer.name;
    return cat("MAINTAINER ", maintainer.name);
  }
  // Those that change files are the builder's.
  template <class FileInstruction>
  Result<std::string> operator()(const FileInstruction&) const {
    return fail(Kind::Internal, "an instruction that changes files");
  }
};

bool has_variable(const oci::RunConfig& run, const std::string& name) {
  const std::string prefix = cat(name, '=');
  return std::ranges::any_of(
      run.env, [&](const std::string& each) { return each.starts_with(prefix) || each == name; });
}

}  // namespace

std::string go_quoted_list(const std::vector<std::string>& words) {
  std::string out = "[";
  for (const std::string& word : words) out += cat(out.size() > 1 ? " " : "", go_quoted(word));
  return out + ']';
}

Result<std::string> apply_instruction(const build::Instruction& instruction, StageConfig& stage) {
  return std::visit(Apply{stage}, instruction.what);
}

void set_default_path(oci::RunConfig& run) {
  if (!has_variable(run, "PATH")) run.env.push_back(cat("PATH=", default_path));
}

std::string history_text(const oci::RunConfig& run, std::string_view instruction) {
  std::string text;
  if (run.shell.empty()) text = "/bin/sh -c ";
  for (const std::string& word : run.shell) text += cat(word, ' ');
  return cat(text, "#(nop) ", instruction);
}

std::string run_text(const std::vector<std::string>& words, const build::Environment& arguments) {
  std::string text;
  if (!arguments.empty()) {
    text = cat('|', arguments.size());
    for (const auto& [name, value] : arguments) text += cat(' ', name, '=', value);
  }
  for (const std::string& word : words) text += cat(text.empty() ? "" : " ", word);
  return text;
}

bool is_proxy_argument(std::string_view name) {
  constexpr std::array names{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY",
                             "ftp_proxy",  "NO_PROXY",   "no_proxy",    "ALL_PROXY",   "all_proxy"};
  return std::ranges::any_of(names, [&](const char* each) { return name == each; });
}

Result<> StageArguments::declare(const build::Arg& arg, const build::Environment& environment,
                                 char escape) {
  build::Environment seen = environment;
  for (const build::Arg::Argument& each : arg.arguments) {
    if (const auto given = given_.find(each.name); given != given_.end()) {
      declared_[each.name] = given->second;
    } else if (each.value) {
      declared_[each.name] = TRY(build::expand(*each.value, seen, {.escape = escape}));
    } else if (const auto global = global_.find(each.name); global != global_.end()) {
      declared_[each.name] = global->second;
    } else {
      continue;
    }
    seen.try_emplace(each.name, declared_[each.name]);
  }
  return {};
}

build::Environment StageArguments::environment(const oci::RunConfig& run) const {
  build::Environment environment;
  for (const std::string& each : run.env) {
    std::string_view value = each;
    const std::string name(take_until(value, '='));
    environment[name] = value;
  }
  for (const auto& [name, value] : declared_) environment.try_emplace(name, value);
  return environment;
}

build::Environment StageArguments::for_run(const oci::RunConfig& run, bool counting) const {
  build::Environment chosen;
  for (const auto& [name, value] : declared_) {
    if (!has_variable(run, name)) chosen[name] = value;
  }
  if (counting) return chosen;
  for (const auto& [name, value] : given_) {
    if (is_proxy_argument(name) && !has_variable(run, name)) chosen.try_emplace(name, value);
  }
  return chosen;
}

}  // namespace nacelle::engine
