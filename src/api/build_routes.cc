// POST /build, as clients of dockerd's own builder speak it: the context is the body or what
// ?remote=URL names, what happens is told line by line; as BuildKit's traces, with ?version=2.
// Three things are our own, for `nacelle build`: secrets come in a header; ?nacelleoutput=TYPE
// (tar, docker, oci, cacheonly) has an archive of what was built told as lines, and no image made;
// the agents (ssh) of ?session=ID may be spoken with. And the two doors of BuildKit's clients:
// /grpc, where they ask us, and /session, where we ask them.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/body_pipe.h"
#include "api/build_control.h"
#include "api/build_inputs.h"
#include "api/build_journal.h"
#include "api/build_lines.h"
#include "api/build_outputs.h"
#include "api/image_events.h"
#include "api/progress.h"
#include "api/registry_auth.h"
#include "api/route.h"
#include "base/text.h"
#include "codec/base64.h"
#include "codec/json_fields.h"
#include "codec/json_writer.h"
#include "engine/build.h"
#include "engine/moment.h"
#include "engine/names.h"
#include "oci/reference.h"
#include "ring/ops.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::BuildRequest;

constexpr const char* output_query = "nacelleoutput";
constexpr std::string_view client_session = "client-session";  // where ?remote= is no URL
constexpr size_t archive_piece_bytes = 30u << 10;              // many of them may wait
// Base 64 of {"id": base 64 of the secret}. What is in it is told nowhere.
constexpr const char* secrets_header = "x-nacelle-build-secrets";

// A piece of what is handed out; the empty one says that this was all.
std::string archive_line(std::string_view piece) {
  Writer json;
  json.begin_object().key("aux").begin_object();
  json.member("Archive", codec::to_base64(piece)).end_object().end_object();
  return std::move(json).take() + "\r\n";
}

// Parameters. ------------------------------------------------------------------------------------

Result<int64_t> number_of(const Call& call, std::string_view name) {
  const std::string_view text = call.http.query(name);
  if (text.empty()) return 0;
  const auto number = parse_number<int64_t>(text);
  if (!number) return fail(Kind::Invalid, cat(name, ": ", quoted(text), " is not a number"));
  return *number;
}

// {"name": "value", "other": null}
Result<std::map<std::string, std::string, std::less<>>> pairs_of(const Call& call,
                                                                 std::string_view name) {
  std::map<std::string, std::string, std::less<>> pairs;
  const std::string text(call.http.query(name));
  if (text.empty()) return pairs;
  const auto document = codec::json::Document::parse(text);
  if (!document) {
    return fail(Kind::Invalid, cat("error reading ", name, ": ", document.error().message()));
  }
  if (document->root().type() == codec::json::Type::Null) return pairs;
  for (const auto [key, value] : TRY(document->root().object())) {
    // One without a value is one that the client's environment has not either.
    if (value.type() == codec::json::Type::Null) continue;
    pairs.insert_or_assign(TRY(key.string()), TRY(value.string()));
  }
  return pairs;
}

// ["one", "other"]
Result<std::vector<std::string>> list_of(const Call& call, std::string_view name) {
  std::vector<std::string> list;
  const std::string text(call.http.query(name));
  if (text.empty()) return list;
  const auto document = TRY(parse_body(text).context(name));
  if (document.root().type() == codec::json::Type::Null) return list;
  for (const codec::json::Value each : TRY(document.root().array())) {
    list.push_back(TRY(each.string()));
  }
  return list;
}

using Secrets = std::map<std::string, std::string, std::less<>>;
Result<Secrets> read_secrets(const std::string& header) {
  Secrets secrets;
  const std::string text = TRY(codec::from_base64(header));
  const auto document = TRY(codec::json::Document::parse(text));
  for (const auto [id, value] : TRY(document.root().object())) {
    secrets[TRY(id.string())] = TRY(codec::from_base64(TRY(value.string())));
  }
  return secrets;
}
// In no words but our own: an error's could have some of it.
Result<Secrets> secrets_of(const Call& call) {
  const std::string* header = http::find_header(call.http.request().headers, secrets_header);
  if (header == nullptr) return Secrets();
  auto secrets = read_secrets(*header);
  if (!secrets) return fail(Kind::Invalid, "X-Nacelle-Build-Secrets: cannot be read");
  return secrets;
}

Result<> read_limits(const Call& call, engine::HostConfig& host) {
  host.memory = TRY(number_of(call, "memory"));
  host.memory_swap = TRY(number_of(call, "memswap"));
  host.cpu_shares = TRY(number_of(call, "cpushares"));
  host.cpu_period = TRY(number_of(call, "cpuperiod"));
  host.cpu_quota = TRY(number_of(call, "cpuquota"));
  host.shm_size = TRY(number_of(call, "shmsize"));
  host.cpuset_cpus = call.http.query("cpusetcpus");
  host.cpuset_mems = call.http.query("cpusetmems");
  host.cgroup_parent = call.http.query("cgroupparent");
  host.network_mode = call.http.query("networkmode");
  for (const auto& [key, value] : call.http.request().query) {
    if (value.empty()) continue;
    if (key == "securityopt") host.security_opt.push_back(value);
    if (key != "extrahosts") continue;
    std::string_view rest = value;
    while (!rest.empty()) host.extra_hosts.emplace_back(take_until(rest, ','));
  }
  const std::string ulimits(call.http.query("ulimits"));
  if (ulimits.empty()) return {};
  const auto document = TRY(parse_body(ulimits));
  if (document.root().type() == codec::json::Type::Null) return {};
  for (const codec::json::Value each : TRY(document.root().array())) {
    TRY(codec::json::read_fields(each, host.ulimits.emplace_back()));
  }
  return {};
}

Result<> refuse_unsupported(const Call& call) {
  const std::string_view outputs = call.http.query("outputs");
  if (!outputs.empty() && outputs != "null" && outputs != "[]") {
    return fail(Kind::Invalid, "outputs are BuildKit's, and not supported by this engine");
  }
  return {};
}

Result<BuildRequest> read_request(const Call& call) {
  TRY(refuse_unsupported(call));
  BuildRequest request;
  if (const std::string_view name = call.http.query("dockerfile"); !name.empty()) {
    request.dockerfile = name;
  }
  for (const auto& [key, value] : call.http.request().query) {
    if (key != "t" || value.empty()) continue;
    oci::Reference name = TRY(oci::parse_reference(value));
    if (!name.digest.empty()) {
      return fail(Kind::Invalid, "refusing to create a tag with a digest reference");
    }
    if (!contains(request.names, name.text(), &oci::Reference::text)) {
      request.names.push_back(std::move(name));
    }
  }
  if (const std::string_view remote = call.http.query("remote"); remote != client_session) {
    request.context.url = remote;
  }
  request.no_cache = call.flag("nocache");
  request.pull = call.flag("pull");
  request.squashed = call.flag("squash");
  request.keep_containers = !call.flag("rm", true) && !call.flag("forcerm");
  request.target = call.http.query("target");
  request.arguments = TRY(pairs_of(call, "buildargs"));
  for (auto& [key, value] : TRY(pairs_of(call, "labels"))) request.labels[key] = value;
  if (const std::string_view platform = call.http.query("platform"); !platform.empty()) {
    request.platform = TRY(oci::parse_platform(platform));
  }
  request.cache_from = TRY(list_of(call, "cachefrom"));
  TRY(read_limits(call, request.host));
  const auto logins = std::make_shared<const std::map<std::string, image::Credentials>>(
      registry_logins(call.http.request().headers));
  request.login = [logins](oci::Reference name) -> ring::Task<image::Images::Login> {
    const auto found = logins->find(name.registry);
    co_return found == logins->end() ? image::Credentials() : found->second;
  };
  const auto secrets = std::make_shared<const Secrets>(TRY(secrets_of(call)));
  request.secret = [secrets](std::string id) -> ring::Task<std::optional<std::string>> {
    const auto found = secrets->find(id);
    co_return found == secrets->end() ? std::nullopt : std::optional(found->second);
  };
  request.is_published = call.http.query(output_query).empty();
  return request;
}

// Builds. ----------------------------------------------------------------------------------------

// Nothing where an image is made here, as ever, or where nothing is to come of it.
Result<std::optional<BuildOutput>> output_of(const Call& call) {
  const std::string type(call.http.query(output_query));
  if (type.empty()) return std::optional<BuildOutput>();
  if (type == "cacheonly") return std::optional<BuildOutput>();
  std::vector<BuildOutput> outputs{{.type = type, .attributes = {}}};
  if (outputs.front().is_stored()) return fail(Kind::Invalid, cat(output_query, "=", type));
  TRY(check_outputs(outputs));
  return std::optional(std::move(outputs.front()));
}

ring::Task<> tell_archive(ring::Loop* loop, ProgressLines* lines, const Fd* archive,
                          std::function<Result<>()> whole) {
  std::string piece(archive_piece_bytes, '\0');
  for (;;) {
    co_await ring::readable(*loop, *archive);
    const size_t got = co_await ring::read_some(*loop, *archive, piece);
    if (got == 0) break;
    lines->add(archive_line(std::string_view(piece).substr(0, got)));
    co_await lines->room();
  }
  co_await whole();
  lines->add(archive_line({}));
}

struct Handing {
  BuildLines* told;
  ProgressLines* lines;
  std::optional<BuildOutput> output;
};

ring::Task<> build_and_tell(Call* call, BuildRequest request, const Fd* context, Handing* handing) {
  BuildLines* const told = handing->told;
  const std::vector<oci::Reference> names = request.names;
  auto built =
      co_await as_result(engine::build_image(call->engine, std::move(request), context, *told));
  if (!built && built.error().kind() != Kind::Cancelled) told->failed();
  const engine::BuiltImage image = co_await std::move(built);
  const codec::Digest made = image.id();
  told->ended(made);
  if (handing->output) {
    engine::Engine& engine = call->engine;
    const auto tell = [&](const Fd& archive, std::function<Result<>()> whole) {
      return tell_archive(&engine.loop, handing->lines, &archive, std::move(whole));
    };
    co_await write_output(&engine, &image, &*handing->output, names, tell);
    co_return;
  }
  for (const oci::Reference& name : names) {
    tell_image(*call, "tag", made.text(), name.familiar());
  }
}

// A build that is watched as BuildKit's clients do (?version=2). ---------------------------------

std::string trace_line(std::string_view message) {
  Writer json;
  json.begin_object().member("id", "moby.buildkit.trace");
  json.member("aux", codec::to_base64(message)).end_object();
  return std::move(json).take() + "\r\n";
}

std::string image_line(const codec::Digest& id) {
  Writer json;
  json.begin_object().member("id", "moby.image.id");
  json.key("aux").begin_object().member("ID", id.text()).end_object().end_object();
  return std::move(json).take() + "\r\n";
}

ring::Task<> tell_journal(BuildJournal* journal, ProgressLines* lines) {
  while (const std::optional<std::string> message = co_await journal->next()) {
    lines->add(trace_line(*message));
    co_await lines->room();
  }
}

// Where there is neither `context` nor one in the request, `session` has it.
ring::Task<codec::Digest> build_for_journal(Call* call, BuildRequest request, const Fd* context,
                                            const BuildSession* session, BuildJournal* journal) {
  if (context == nullptr && !request.context.is_set()) {
    co_await take_from_session(session, journal, false, &request);
  }
  co_return (co_await engine::build_image(call->engine, std::move(request), context, *journal))
      .id();
}

ring::Task<> build_and_trace(Call* call, BuildRequest request, const Fd* context,
                             const BuildSession* session, ProgressLines* lines) {
  const std::vector<oci::Reference> names = request.names;
  BuildJournal journal(engine::random_id());
  journal.watch();
  ring::Scope telling(call->engine.loop, [](const Error&) {});
  telling.start(tell_journal(&journal, lines));
  const auto built =
      co_await as_result(build_for_journal(call, std::move(request), context, session, &journal));
  journal.close(built ? Result<>() : std::unexpected(built.error()));
  if (!built && built.error().kind() == Kind::Cancelled) telling.cancel();
  co_await telling.join();
  if (!built) co_await fail(built.error().kind(), journal.words_of(built.error()));
  lines->add(image_line(*built));
  for (const oci::Reference& name : names) {
    tell_image(*call, "tag", built->text(), name.familiar());
  }
}

ring::Task<> build_traced(Call& call, BuildRequest request, std::optional<BuildSession> session) {
  ProgressLines lines;
  const BuildSession* const asked = session ? &*session : nullptr;
  const bool is_asked = call.http.query("remote") == client_session;
  if (is_asked && asked == nullptr) {
    co_await fail(Kind::Invalid, cat("remote=", client_session, " needs a session"));
  }
  if (is_asked || request.context.is_set()) {
    co_await lines.tell(call, build_and_trace(&call, std::move(request), nullptr, asked, &lines));
    co_return;
  }
  Pipe pipe = co_await open_pipe();
  const Fd context = std::move(pipe.read_end);
  co_await lines.tell(
      call, with_body(&call, std::move(pipe.write_end),
                      build_and_trace(&call, std::move(request), &context, asked, &lines)));
}

ring::Task<> build(Call& call) {
  BuildRequest request = co_await read_request(call);
  std::optional<BuildSession> session;
  if (const std::string id(call.http.query("session")); !id.empty()) {
    session.emplace(co_await call.builds.sessions().find(call.engine.loop, id));
    request.agents = session->agents();
  }
  if (call.http.query("version") == "2") {
    co_return co_await build_traced(call, std::move(request), std::move(session));
  }
  ProgressLines lines;
  BuildLines told(lines, call.flag("q"));
  std::optional<BuildOutput> output = co_await output_of(call);
  Handing handing{.told = &told, .lines = &lines, .output = std::move(output)};
  if (request.context.is_set()) {
    co_await lines.tell(call, build_and_tell(&call, std::move(request), nullptr, &handing));
    co_return;
  }
  Pipe pipe = co_await open_pipe();
  const Fd context = std::move(pipe.read_end);
  co_await lines.tell(call,
                      with_body(&call, std::move(pipe.write_end),
                                build_and_tell(&call, std::move(request), &context, &handing)));
}

// Docker's filters here are `until` (a time before now), and others that only BuildKit knows.
ring::Task<> prune_cache(Call& call) {
  const Filters filters = co_await read_filters(
      call.http.query("filters"),
      {"until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private"});
  std::optional<int64_t> unused_for_s;
  for (const char* name : {"until", "unused-for"}) {
    const auto found = filters.find(name);
    if (found == filters.end() || found->second.empty()) continue;
    constexpr int64_t ns_per_s = 1'000'000'000;
    const int64_t until_ns = co_await read_time(found->second.front());
    unused_for_s = std::max<int64_t>(0, (engine::now_ns() - until_ns) / ns_per_s);
  }
  const engine::PrunedCache pruned = co_await engine::prune_build_cache(call.engine, unused_for_s);
  Writer json;
  json.begin_object().key("CachesDeleted");
  if (pruned.ids.empty()) {
    json.null();
  } else {
    json.begin_array();
    for (const std::string& id : pruned.ids) json.value(id);
    json.end_array();
  }
  json.member("SpaceReclaimed", pruned.bytes).end_object();
  co_await reply_json(call, 200, std::move(json).take());
}

// BuildKit's protocol. ---------------------------------------------------------------------------

ring::Task<http::Hijacked> take_h2c(Call& call) {
  if (call.http.request().upgrade != "h2c") {
    co_await fail(Kind::Invalid, "this needs `Connection: Upgrade` and `Upgrade: h2c`");
  }
  co_return co_await call.http.hijack(/*upgraded=*/true, "");
}

ring::Task<> serve_grpc(Call& call) {
  BuildControl& builds = call.builds;
  http::GrpcConnection connection(call.engine.loop, co_await take_h2c(call),
                                  http::GrpcConnection::End::Server,
                                  [&](http::GrpcCall& each) { return builds.serve(each); });
  co_await connection.run();
}

ring::Task<> open_session(Call& call) {
  const std::string* id =
      http::find_header(call.http.request().headers, "x-docker-expose-session-uuid");
  if (id == nullptr || id->empty()) {
    co_await fail(Kind::Invalid, "X-Docker-Expose-Session-Uuid: missing");
  }
  std::string name = *id;
  http::Hijacked taken = co_await take_h2c(call);
  co_await call.builds.sessions().serve(call.engine.loop, std::move(name), std::move(taken));
}

ring::Task<> cancel_build(Call& call) {
  co_await fail(Kind::NotFound, cat("no such build ", call.http.query("id"),
                                    ": a build ends with the connection of its client"));
}

}  // namespace

std::vector<Route> build_routes() {
  return {
      {"POST", "/build", build},
      {"POST", "/build/prune", prune_cache},
      {"POST", "/build/cancel", cancel_build},
      {"POST", "/session", open_session},
      {"POST", "/grpc", serve_grpc},
  };
}

}  // namespace nacelle::api
