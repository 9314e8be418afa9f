// Which parts of which instruction have their variables replaced.
#include <utility>

#include "base/text.h"
#include "build/dockerfile.h"
#include "build/dockerfile_words.h"
#include "build/expand.h"
#include "build/mount.h"
#include "codec/json.h"

namespace nacelle::build {
namespace {

// `8000`, `8000-8010`, `8000/udp`.
bool is_port(std::string_view text) {
  std::string_view range = take_until(text, '/');
  if (!text.empty() && text != "tcp" && text != "udp" && text != "sctp") return false;
  const bool has_end = range.contains('-');
  const auto first = parse_number<uint16_t>(take_until(range, '-'));
  if (!first || !has_end) return first.has_value();
  const auto last = parse_number<uint16_t>(range);
  return last && *last >= *first;
}

struct Visitor {
  const Environment& environment;
  ExpandOptions options;

  Result<> text(std::string& value) const {
    value = TRY(expand(value, environment, options));
    return {};
  }
  Result<> texts(std::vector<std::string>& values) const {
    for (std::string& value : values) TRY(text(value));
    return {};
  }

  Result<> pairs(std::vector<KeyValue>& pairs, std::string_view keyword) const {
    for (KeyValue& pair : pairs) {
      TRY(text(pair.key));
      TRY(text(pair.value));
      if (pair.key.empty()) return fail(Kind::Invalid, cat(keyword, " names can not be blank"));
    }
    return {};
  }

  Result<> transfer(Transfer& transfer) const {
    TRY(text(transfer.chown));
    TRY(text(transfer.chmod));
    TRY(texts(transfer.exclude));
    TRY(texts(transfer.sources));
    TRY(text(transfer.destination));
    for (Heredoc& file : transfer.files) {
      std::string content = file.text();
      // As a shell's here-document: quotes are nothing special, and the escape is always `\`.
      if (file.expand) content = TRY(expand(content, environment, {.ignore_quotes = true}));
      file.content = std::move(content);
      file.expand = file.chomp = false;
    }
    return {};
  }

  Result<> operator()(Copy& copy) const { return transfer(copy); }
  Result<> operator()(Add& add) const {
    TRY(text(add.checksum));
    return transfer(add);
  }
  Result<> operator()(Env& env) const { return pairs(env.variables, "ENV"); }
  Result<> operator()(Label& label) const { return pairs(label.labels, "LABEL"); }
  Result<> operator()(Arg& arg) const {
    for (Arg::Argument& argument : arg.arguments) {
      TRY(text(argument.name));
      if (argument.name.empty()) return fail(Kind::Invalid, "ARG names can not be blank");
    }
    return {};
  }
  Result<> operator()(Expose& expose) const {
    std::vector<std::string> ports;
    for (const std::string& port : expose.ports) {
      for (std::string& word : TRY(expand_all(port, environment, options)).words) {
        if (!is_port(word))
          return fail(Kind::Invalid, cat("invalid port ", codec::json::in_quotes(word)));
        ports.push_back(std::move(word));
      }
    }
    expose.ports = std::move(ports);
    return {};
  }
  Result<> operator()(Volume& volume) const {
    TRY(texts(volume.paths));
    for (const std::string& path : volume.paths) {
      if (trim(path).empty())
        return fail(Kind::Invalid, "VOLUME specified can not be an empty string");
    }
    return {};
  }
  Result<> operator()(User& user) const { return text(user.user); }
  Result<> operator()(Workdir& workdir) const { return text(workdir.path); }
  Result<> operator()(StopSignal& signal) const { return text(signal.signal); }
  Result<> operator()(Run& run) const {
    for (Mount& mount : run.mounts) {
      mount = TRY(read_mount(
          mount.text, [&](std::string_view value) { return expand(value, environment, options); }));
    }
    return {};
  }
  // Nothing of these is replaced: a shell does it later, or nobody.
  Result<> operator()(Cmd&) const { return {}; }
  Result<> operator()(Entrypoint&) const { return {}; }
  Result<> operator()(Shell&) const { return {}; }
  Result<> operator()(HealthCheck&) const { return {}; }
  Result<> operator()(OnBuild&) const { return {}; }
  Result<> operator()(Maintainer&) const { return {}; }
};

}  // namespace

Result<> expand_variables(Instruction& instruction, const Environment& environment, char escape) {
  const Visitor visitor{.environment = environment, .options = {.escape = escape}};
  return std::visit(visitor, instruction.what);
}

}  // namespace nacelle::build
