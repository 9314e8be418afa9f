// build: the context is sent as an archive made on the way, without what .dockerignore names, or
// the engine is told where it is; what the engine says of it is shown as it comes.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "build/dockerfile.h"
#include "build/git_source.h"
#include "cli/nacelle/agent_session.h"
#include "cli/nacelle/archive_source.h"
#include "cli/nacelle/build_output.h"
#include "cli/nacelle/build_values.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/terminal.h"
#include "cli/nacelle/transfer.h"
#include "cli/nacelle/units.h"
#include "codec/base64.h"
#include "codec/ignore.h"
#include "image/registry_credentials.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

constexpr size_t archive_magic_bytes = 512;
constexpr const char* ignore_name = ".dockerignore";
constexpr const char* own_dockerfile = ".nacelle.dockerfile";  // one that is not in the context

struct BuildOptions {
  std::vector<std::string> tags, arguments, labels, hosts, ulimits, cache_from, secrets, agents;
  std::string output = "type=image";
  std::string dockerfile, target, network, platform, progress, id_file, memory, swap, shm_size;
  std::string cgroup_parent, processors, memory_nodes;
  std::optional<int64_t> cpu_shares, cpu_period, cpu_quota;
  bool no_cache = false, pull = false, quiet = false, remove = true, force_remove = false,
       trust = false, compress = false, squash = false;
};

Options options_of(BuildOptions& build) {
  Options options("build [OPTIONS] DIRECTORY|URL|-", "Builds an image from a Dockerfile.");
  options.list("tag", 't', build.tags, "NAME[:TAG]", "Name the image so")
      .value("file", 'f', build.dockerfile, "FILE",
             "The Dockerfile; - reads it from standard input")
      .list("build-arg", 0, build.arguments, "NAME[=VALUE]", "Give an ARG its value")
      .value("output", 'o', build.output, "DIR|-|type=TYPE,dest=PATH",
             "Hand out what is built, and make no image: local, tar, docker, oci, cacheonly")
      .list("secret", 0, build.secrets, "id=ID[,src=FILE|env=NAME]",
            "For RUN --mount=type=secret; stays nowhere")
      .list(
          "ssh", 0, build.agents, "ID[=SOCKET]",
          "For RUN --mount=type=ssh: an agent (default: $SSH_AUTH_SOCK) that may be asked to sign")
      .value("target", 0, build.target, "STAGE", "Build this stage and what it needs")
      .flag("no-cache", 0, build.no_cache, "Do each step anew")
      .flag("pull", 0, build.pull, "Ask the registry for newer base images")
      .list("label", 0, build.labels, "KEY[=VALUE]", "Give the image a label")
      .value("iidfile", 0, build.id_file, "FILE", "Write the image's id there")
      .flag("quiet", 'q', build.quiet, "Print the image's id only")
      .value("network", 0, build.network, "MODE", "For RUN: default, none, host or a network")
      .value("progress", 0, build.progress, "KIND", "Accepted: what is shown is plain")
      .value("platform", 0, build.platform, "OS/ARCH", "Of base images")
      .list("add-host", 0, build.hosts, "NAME:IP", "For RUN: a line of /etc/hosts")
      .value("memory", 'm', build.memory, "BYTES", "For RUN: memory")
      .value("memory-swap", 0, build.swap, "BYTES", "For RUN: memory and swap; -1: no limit")
      .value("shm-size", 0, build.shm_size, "BYTES", "For RUN: size of /dev/shm")
      .value("cpu-shares", 'c', build.cpu_shares, "SHARES", "For RUN: weight")
      .value("cpu-period", 0, build.cpu_period, "US", "For RUN: period of the quota")
      .value("cpu-quota", 0, build.cpu_quota, "US", "For RUN: processor time in a period")
      .value("cpuset-cpus", 0, build.processors, "LIST", "For RUN: which processors")
      .value("cpuset-mems", 0, build.memory_nodes, "LIST", "For RUN: which memory nodes")
      .value("cgroup-parent", 0, build.cgroup_parent, "PATH", "For RUN: the group they are in")
      .flag("rm", 0, build.remove, "Remove containers of steps that are done (so by default)")
      .flag("force-rm", 0, build.force_remove, "Accepted: of what failed, nothing is kept")
      .flag("squash", 0, build.squash, "Make what is added to the base image one layer")
      .flag("disable-content-trust", 0, build.trust, "Accepted for Docker's sake")
      .flag("compress", 0, build.compress, "Accepted: the engine is on this machine")
      .list("cache-from", 0, build.cache_from, "IMAGE",
            "Take this image's layers for those of steps that made them")
      .operands(1, 1);
  return options;
}

// The context. -----------------------------------------------------------------------------------

struct Context {
  std::function<Result<size_t>(std::span<char>)> source;
  std::string remote;  // or a URL
  std::string dockerfile = "Dockerfile";
  std::string text;  // of it, where it was read here
};

Result<size_t> read_input(std::span<char> into) {
  for (;;) {
    const ssize_t length = ::read(STDIN_FILENO, into.data(), into.size());
    if (length >= 0) return static_cast<size_t>(length);
    if (errno != EINTR) return fail_errno(errno, "reading standard input");
  }
}

Result<std::string> read_all_input(std::string text, size_t bytes_max) {
  std::array<char, 65536> piece{};
  for (;;) {
    const size_t length = TRY(read_input(piece));
    if (length == 0) return text;
    text.append(piece.data(), length);
    if (text.size() > bytes_max) return fail(Kind::Exhausted, "the Dockerfile is too long");
  }
}

bool is_archive(std::string_view head) {
  constexpr std::array magics{std::string_view("\x1f\x8b"), std::string_view("\x28\xb5\x2f\xfd"),
                              std::string_view("BZh"),
                              std::string_view("\xfd"
                                               "7zXZ")};
  for (const std::string_view magic : magics) {
    if (head.starts_with(magic)) return true;
  }
  constexpr size_t ustar_at = 257;
  return head.size() > ustar_at && head.substr(ustar_at).starts_with("ustar");
}

// `-`: an archive, or a Dockerfile alone.
Result<Context> context_of_input(const BuildOptions& build) {
  std::string head;
  std::array<char, archive_magic_bytes> piece{};
  while (head.size() < archive_magic_bytes) {
    const size_t length = TRY(read_input(std::span(piece).first(piece.size() - head.size())));
    if (length == 0) break;
    head.append(piece.data(), length);
  }
  Context context;
  if (!build.dockerfile.empty()) context.dockerfile = build.dockerfile;
  if (is_archive(head)) {
    auto rest = std::make_shared<std::string>(std::move(head));
    context.source = [rest](std::span<char> into) -> Result<size_t> {
      if (rest->empty()) return read_input(into);
      const size_t length = rest->copy(into.data(), into.size());
      rest->erase(0, length);
      return length;
    };
    return context;
  }
  std::string text = TRY(read_all_input(std::move(head), build::dockerfile_bytes_max));
  auto archive = std::make_shared<ArchiveSource>(std::string(), ArchiveSource::Filter());
  archive->add_text("Dockerfile", text);
  context.text = std::move(text);
  context.dockerfile = "Dockerfile";
  context.source = [archive](std::span<char> into) { return archive->read(into); };
  return context;
}

Result<std::optional<std::string>> read_if_there(const std::string& path, size_t bytes_max) {
  auto text = sys::read_file_at(sys::working_directory, path.c_str(), bytes_max);
  if (!text && text.error().error_number() == ENOENT) return std::optional<std::string>();
  return TRY(std::move(text));
}

std::string real_path(const std::string& path) {
  const std::unique_ptr<char, decltype([](char* text) { ::free(text); })> real(
      ::realpath(path.c_str(), nullptr));
  return real ? std::string(real.get()) : std::string();
}

// Where the Dockerfile is: in the context by this name, or to be added to it.
struct FoundDockerfile {
  std::string name, text;
  bool is_outside = false;
};
Result<FoundDockerfile> find_dockerfile(const std::string& directory, const std::string& typed) {
  if (typed == "-") {
    return FoundDockerfile{own_dockerfile, TRY(read_all_input({}, build::dockerfile_bytes_max)),
                           true};
  }
  std::string path = typed.empty() ? cat(directory, "/Dockerfile") : typed;
  // As Docker: from here, or else from the context.
  if (!typed.empty() && ::access(path.c_str(), F_OK) != 0 && !typed.starts_with('/')) {
    path = cat(directory, '/', typed);
  }
  const std::string real = real_path(path), root = real_path(directory);
  if (real.empty()) {
    return fail(Kind::NotFound, cat("unable to evaluate symlinks in Dockerfile path: lstat ", path,
                                    ": no such file or directory"));
  }
  const std::string below = root == "/" ? root : cat(root, '/');
  const bool is_outside = !real.starts_with(below);
  std::string text =
      TRY(sys::read_file_at(sys::working_directory, real.c_str(), build::dockerfile_bytes_max));
  return FoundDockerfile{is_outside ? own_dockerfile : real.substr(below.size()), std::move(text),
                         is_outside};
}

Result<Context> context_of_directory(const std::string& directory, const BuildOptions& build) {
  struct stat status{};
  if (::stat(directory.c_str(), &status) != 0) {
    return fail(Kind::NotFound,
                cat("unable to prepare context: path \"", directory, "\" not found"));
  }
  if (!S_ISDIR(status.st_mode)) {
    return fail(Kind::Invalid,
                cat("unable to prepare context: context must be a directory: ", directory));
  }
  FoundDockerfile dockerfile = TRY(find_dockerfile(directory, build.dockerfile));
  codec::IgnoreList ignored;
  // One beside the Dockerfile goes before the context's own.
  auto text = std::optional<std::string>();
  if (!dockerfile.is_outside) {
    text = TRY(
        read_if_there(cat(directory, '/', dockerfile.name, ignore_name), codec::ignore_bytes_max));
  }
  if (!text) {
    text = TRY(read_if_there(cat(directory, '/', ignore_name), codec::ignore_bytes_max));
  }
  if (text) ignored = TRY(codec::parse_ignore(*text).context(ignore_name));
  // Both are needed there, whatever is ignored; the engine takes them away again.
  const auto filter = [ignored = std::move(ignored),
                       name = dockerfile.name](const std::string& path) -> ArchiveSource::Wanted {
    using Wanted = ArchiveSource::Wanted;
    if (path == ignore_name || path == name) return Wanted::Yes;
    if (!ignored.ignores(path)) return Wanted::Yes;
    const bool leads_there = name.starts_with(cat(path, '/'));
    return leads_there || ignored.may_keep_below(path) ? Wanted::OnlyInside : Wanted::No;
  };
  auto archive = std::make_shared<ArchiveSource>(directory, filter);
  Context context;
  context.dockerfile = dockerfile.name;
  if (dockerfile.is_outside) archive->add_text(dockerfile.name, dockerfile.text);
  context.text = std::move(dockerfile.text);
  context.source = [archive](std::span<char> into) { return archive->read(into); };
  return context;
}

bool is_remote(const std::string& where) {
  if (::access(where.c_str(), F_OK) == 0) return false;
  const auto repository = build::parse_git_source(where);
  return where.starts_with("http://") || where.starts_with("https://") || !repository ||
         *repository;
}

Result<Context> context_elsewhere(const std::string& url, const BuildOptions& build) {
  if (build.dockerfile == "-") {
    return fail(Kind::Unsupported, cat("-f -: the Dockerfile of ", url, " is in there"));
  }
  Context context;
  context.remote = url;
  if (!build.dockerfile.empty()) context.dockerfile = build.dockerfile;
  return context;
}

// The request. -----------------------------------------------------------------------------------

// As buildx: a time that the environment says all builds are to be of.
void add_source_date_epoch(BuildOptions& build) {
  constexpr const char* name = "SOURCE_DATE_EPOCH";
  const bool is_given = std::ranges::any_of(build.arguments, [&](std::string_view each) {
    return each.substr(0, each.find('=')) == name;
  });
  if (!is_given && ::getenv(name) != nullptr) build.arguments.emplace_back(name);
}

Datum pairs(const std::vector<std::string>& list, bool from_environment) {
  Datum object = Datum::object();
  for (const std::string& each : list) {
    std::string_view value = each;
    const bool has_value = value.contains('=');
    const std::string key(take_until(value, '='));
    if (has_value || !from_environment) {
      object.set(key, value);
    } else if (const char* ours = ::getenv(key.c_str()); ours != nullptr) {
      object.set(key, ours);
    } else {
      object.set(key, Datum());
    }
  }
  return object;
}

Result<> add_sizes(Target& target, const BuildOptions& build) {
  const std::pair<const char*, const std::string*> sizes[] = {
      {"memory", &build.memory}, {"memswap", &build.swap}, {"shmsize", &build.shm_size}};
  for (const auto& [name, text] : sizes) {
    if (text->empty()) continue;
    const int64_t bytes = *text == "-1" ? -1 : TRY(parse_binary_size(*text));
    target.with(name, cat(bytes));
  }
  const std::pair<const char*, std::optional<int64_t>> numbers[] = {{"cpushares", build.cpu_shares},
                                                                    {"cpuperiod", build.cpu_period},
                                                                    {"cpuquota", build.cpu_quota}};
  for (const auto& [name, number] : numbers) {
    if (number) target.with(name, cat(*number));
  }
  return {};
}

Result<Target> target_of(const BuildOptions& build, const std::string& dockerfile) {
  Target target("/build");
  target.with("version", "1").with("dockerfile", dockerfile);
  for (const std::string& tag : build.tags) {
    target.with("t", TRY(parse_new_name(tag)).familiar());
  }
  target.flag("q", build.quiet).flag("nocache", build.no_cache).flag("forcerm", build.force_remove);
  target.with("rm", build.remove ? "1" : "0");
  if (build.pull) target.with("pull", "1");
  target.flag("squash", build.squash);
  target.maybe("target", build.target).maybe("platform", build.platform);
  target.maybe("networkmode", build.network).maybe("cgroupparent", build.cgroup_parent);
  target.maybe("cpusetcpus", build.processors).maybe("cpusetmems", build.memory_nodes);
  if (!build.arguments.empty()) target.with("buildargs", pairs(build.arguments, true).json());
  if (!build.cache_from.empty()) {
    Datum images = Datum::array();
    for (const std::string& each : build.cache_from) images.push(each);
    target.with("cachefrom", images.json());
  }
  if (!build.labels.empty()) target.with("labels", pairs(build.labels, false).json());
  std::string hosts;
  for (const std::string& host : build.hosts) hosts += cat(hosts.empty() ? "" : ",", host);
  target.maybe("extrahosts", hosts);
  TRY(add_sizes(target, build));
  return target;
}

// The value of X-Registry-Config: whom we are to the registries that the stages' images come from.
std::string registry_config(const std::string& dockerfile) {
  Datum logins = Datum::object();
  const auto parsed = build::parse_dockerfile(dockerfile);
  if (parsed) {
    for (const build::Stage& stage : parsed->stages) {
      const auto name = oci::parse_reference(stage.from.base);
      if (!name) continue;
      const auto found =
          image::find_credentials(image::credential_files(), name->registry, name->repository);
      if (!found || found->empty()) continue;
      Datum login = Datum::object();
      login.set("username", found->username).set("password", found->password);
      login.set("identitytoken", found->identity_token).set("serveraddress", name->registry);
      logins.set(name->registry, std::move(login));
    }
  }
  // The alphabet of URLs.
  std::string text = codec::to_base64(logins.json());
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

// The value of X-Nacelle-Build-Secrets.
Result<std::string> secrets_header(const std::vector<std::string>& asked) {
  Datum secrets = Datum::object();
  for (const std::string& each : asked) {
    const BuildSecret secret = TRY(read_build_secret(each));
    secrets.set(secret.id, codec::to_base64(secret.value));
  }
  return codec::to_base64(secrets.json());
}

// Showing it. ------------------------------------------------------------------------------------

struct Outcome {
  std::string id, error;
  int exit_code = 0;
};

void print(const std::string& text, FILE* to) {
  (void)std::fwrite(text.data(), 1, text.size(), to);
  std::fflush(to);
}

// What is handed out on standard output leaves that to it.
FILE* shown_on(const BuildOutput& output) {
  return output.destination().path == "-" ? stderr : stdout;
}

Result<> take_piece(const Datum& piece, BuildOutput& output) {
  const std::string bytes = TRY(codec::from_base64(piece.text()));
  return bytes.empty() ? output.finish() : output.take(bytes);
}

Result<bool> take_line(const Datum& line, bool quiet, ProgressDisplay& display, Outcome& outcome,
                       std::string& kept, BuildOutput& output) {
  const Datum& detail = line["errorDetail"];
  if (!detail.is_null() || !line["error"].text().empty()) {
    outcome.error = detail["message"].text();
    if (outcome.error.empty()) outcome.error = line["error"].text();
    const int64_t code = detail["code"].integer();
    outcome.exit_code = code > 0 && code < 256 ? static_cast<int>(code) : 1;
    return false;
  }
  if (const std::string& id = line["aux"]["ID"].text(); !id.empty()) outcome.id = id;
  if (const Datum& piece = line["aux"]["Archive"]; !piece.is_null()) {
    TRY(take_piece(piece, output));
    return true;
  }
  if (const std::string& text = line["stream"].text(); !text.empty()) {
    if (quiet) {
      kept += text;
    } else {
      display.finish();
      print(text, shown_on(output));
    }
    return true;
  }
  if (!quiet) show_status(display, line);
  return true;
}

Result<> write_id(const std::string& path, const std::string& id) {
  const Fd file =
      TRY(sys::open_at(sys::working_directory, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644));
  return sys::write_all(file, id, path);
}

}  // namespace

Result<int> run_build(Session& session, const Arguments& arguments) {
  BuildOptions build;
  const Options options = options_of(build);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  add_source_date_epoch(build);
  const std::string& where = parsed.operands[0];
  if (where == "-" && build.dockerfile == "-") {
    return fail(Kind::Invalid, "the context and the Dockerfile cannot both be standard input");
  }
  BuildOutput output(TRY(parse_build_destination(build.output)));
  TRY(output.prepare());
  if (!build.id_file.empty()) (void)::unlink(build.id_file.c_str());
  const Context context = TRY(where == "-"       ? context_of_input(build)
                              : is_remote(where) ? context_elsewhere(where, build)
                                                 : context_of_directory(where, build));
  Api* api = TRY(session.api());
  Api::Request request{.method = "POST",
                       .target = TRY(target_of(build, context.dockerfile)),
                       .body = {},
                       .headers = {{"X-Registry-Config", registry_config(context.text)}},
                       .body_source = context.source};
  request.target.maybe("remote", context.remote);
  request.target.maybe("nacelleoutput", output.wanted());
  if (!build.secrets.empty()) {
    request.headers.emplace_back("X-Nacelle-Build-Secrets", TRY(secrets_header(build.secrets)));
  }
  std::optional<AgentSession> agents;
  if (!build.agents.empty()) {
    agents.emplace(TRY(AgentSession::open(api->another(), TRY(read_build_agents(build.agents)))));
    request.target.with("session", agents->id());
  }
  Outcome outcome;
  std::string kept;
  {
    const bool is_quiet = build.quiet || output.destination().path == "-";
    ProgressDisplay display(is_quiet ? ProgressDisplay::Style::Quiet
                                     : ProgressDisplay::style_for_output());
    TRY(api->each_line(request, [&](const Datum& line) {
      return take_line(line, build.quiet, display, outcome, kept, output);
    }));
  }
  if (!outcome.error.empty()) {
    if (!kept.empty()) print(kept, stderr);
    std::fprintf(stderr, "nacelle: %s\n", outcome.error.c_str());
    return outcome.exit_code;
  }
  if (output.is_awaited() && !output.is_whole()) {
    return fail(Kind::Unavailable, "the engine has handed out only a part of what was built");
  }
  if (build.quiet) {
    print(kept, shown_on(output));
    outcome.id = kept.substr(0, kept.find('\n'));
  }
  if (!build.id_file.empty()) TRY(write_id(build.id_file, outcome.id));
  return 0;
}

}  // namespace nacelle::cli
