#include "api/build_control.h"

#include <api/buildkit/control.pb.h>
#include <api/buildkit/gateway.pb.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "api/build_inputs.h"
#include "api/build_journal.h"
#include "api/build_options.h"
#include "api/build_outputs.h"
#include "base/text.h"
#include "engine/build.h"
#include "image/build_cache.h"
#include "ring/notice.h"

namespace nacelle::api {

// One build, from its beginning to its end.
struct BuildJob {
  explicit BuildJob(std::string ref_in) : ref(std::move(ref_in)), journal(ref) {}
  std::string ref, session;
  BuildJournal journal;
  std::vector<BuildOutput> outputs;
  std::optional<engine::BuiltImage> built;
  std::optional<Result<>> result;  // as the client took it
  bool over = false;               // nobody takes anything of it any more
  ring::Notice changed;
};

namespace {

namespace messages = buildkit;
using engine::BuildRequest;
using http::GrpcCall;

constexpr const char* frontend_name = "dockerfile.v0";
constexpr std::chrono::seconds patience{10};
constexpr size_t ended_builds_max = 32;
constexpr const char* build_id_key = "buildkit-controlapi-buildid";
constexpr const char* buildkit_version = "v0.25.1";  // whose calls these are
// What a frontend may ask of us, and each exporter and source knows: clients look for some.
constexpr std::array frontend_caps = {"solve.base", "solve.inlinereturn", "return", "returnmap",
                                      "readfile.old"};
// Said where the Dockerfile comes from the client, whatever the context does.
constexpr const char* own_dockerfile_key = "dockerfilekey";
constexpr const char* several_outputs_cap = "exporter.multiple";

template <class Message>
ring::Task<Message> read(GrpcCall& call) {
  const std::optional<std::string> bytes = co_await call.receive();
  Message message;
  if (!bytes || !message.ParseFromString(*bytes)) {
    co_await fail(Kind::Invalid, cat(call.path(), ": the request cannot be read"));
  }
  co_return message;
}
template <class Message>
ring::Task<> answer(GrpcCall& call, const Message& message) {
  co_await call.send(message.SerializeAsString());
}

FrontendOptions options_of(const google::protobuf::Map<std::string, std::string>& map) {
  FrontendOptions options;
  for (const auto& [key, value] : map) options.emplace(key, value);
  return options;
}

void set_time(messages::Timestamp* into, int64_t seconds) { into->set_seconds(seconds); }

messages::WorkerRecord worker_of(const engine::Engine& engine) {
  messages::WorkerRecord worker;
  worker.set_id(engine.id);
  auto& labels = *worker.mutable_labels();
  labels["org.mobyproject.buildkit.worker.executor"] = "containers";
  labels["org.mobyproject.buildkit.worker.snapshotter"] = "overlayfs";
  labels["org.mobyproject.buildkit.worker.moby.host-gateway-ip"] =
      engine.networks->default_gateway();
  const oci::Platform host = oci::host_platform();
  messages::Platform* platform = worker.add_platforms();
  platform->set_os(host.os);
  platform->set_architecture(host.architecture);
  platform->set_variant(host.variant);
  worker.mutable_version()->set_package("nacelle");
  worker.mutable_version()->set_version(buildkit_version);
  return worker;
}

// What is built. ---------------------------------------------------------------------------------

ring::Task<> run_build(engine::Engine* engine, BuildSessions* sessions, BuildJob* job,
                       FrontendOptions options) {
  BuildRequest request = co_await read_frontend_options(options);
  const BuildSession session = co_await sessions->find(engine->loop, job->session);
  co_await take_from_session(&session, &job->journal, options.contains(own_dockerfile_key),
                             &request);
  // What is not asked for is no image: it stays in the cache alone.
  request.is_published = std::ranges::any_of(job->outputs, &BuildOutput::is_stored);
  engine::BuiltImage built =
      co_await engine::build_image(*engine, std::move(request), nullptr, job->journal);
  job->built.reset();
  if (!job->over) job->built.emplace(std::move(built));
}

ring::Task<> build_for(engine::Engine* engine, BuildSessions* sessions, BuildJob* job,
                       FrontendOptions options) {
  Result<> built = co_await ring::as_result(run_build(engine, sessions, job, std::move(options)));
  if (built) co_return;
  const Kind kind = built.error().kind();
  if (kind == Kind::Cancelled) co_await std::move(built);
  co_await fail(kind, job->journal.words_of(built.error()));
}

std::vector<BuildOutput> outputs_of(const messages::SolveRequest& request) {
  std::vector<messages::Exporter> exporters(request.exporters().begin(), request.exporters().end());
  if (exporters.empty() && !request.exporter().empty()) {
    exporters.emplace_back().set_type(request.exporter());
    *exporters.back().mutable_attrs() = request.exporter_attrs();
  }
  std::vector<BuildOutput> outputs;
  for (const messages::Exporter& each : exporters) {
    outputs.push_back({each.type(), {each.attrs().begin(), each.attrs().end()}});
  }
  return outputs;
}

}  // namespace

BuildControl::BuildControl(engine::Engine& engine) : engine_(engine) {}
BuildControl::~BuildControl() = default;

ring::Task<> BuildControl::await_job(std::string ref) {
  while (!jobs_.contains(ref)) co_await begun_.wait();
}

ring::Task<BuildControl::Job> BuildControl::find(std::string ref) {
  const Result<> waited =
      co_await ring::as_result(ring::with_deadline(engine_.loop, await_job(ref), patience));
  if (!waited && waited.error().kind() == Kind::Cancelled) co_await Result<>(waited);
  const auto found = jobs_.find(ref);
  if (found == jobs_.end()) co_await fail(Kind::NotFound, cat("no such build ", ref));
  co_return found->second;
}

// Clients may ask how a build goes when it has just ended.
void BuildControl::forget_later(std::string ref) {
  ended_.push_back(std::move(ref));
  if (ended_.size() <= ended_builds_max) return;
  jobs_.erase(ended_.front());
  ended_.pop_front();
}

// The whole of a build, as its client sees it: ends when its result is where it should be.
ring::Task<> BuildControl::solve(GrpcCall& call) {
  const auto request = co_await read<messages::SolveRequest>(call);
  std::vector<BuildOutput> outputs = outputs_of(request);
  co_await check_outputs(outputs);
  if (request.definition().def_size() > 0 ||
      (!request.frontend().empty() && request.frontend() != frontend_name)) {
    co_await fail(Kind::Unsupported, cat("frontend ", request.frontend(),
                                         ": Dockerfiles are built, and nothing else"));
  }
  if (jobs_.contains(request.ref())) {
    co_await fail(Kind::Conflict, cat("build ", request.ref(), " is under way already"));
  }
  const auto job = std::make_shared<BuildJob>(request.ref());
  job->session = request.session();
  job->outputs = std::move(outputs);
  // Whatever ends this: who watches it learns that, and be it afterwards.
  struct Ending {
    BuildControl& control;
    Job job;
    ~Ending() {
      job->over = true;
      job->built.reset();
      job->journal.close(job->result.value_or(fail(Kind::Cancelled, "canceled")));
      control.forget_later(job->ref);
    }
  };
  const Ending ending{*this, job};
  jobs_.emplace(request.ref(), job);
  begun_.notify_all();
  if (request.frontend() == frontend_name) {
    job->result = co_await ring::as_result(
        build_for(&engine_, &sessions_, job.get(), options_of(request.frontend_attrs())));
  }
  while (!job->result) co_await job->changed.wait();
  co_await Result<>(*job->result);
  messages::SolveResponse response;
  if (job->built && !job->outputs.empty()) {
    const BuildSession session = co_await sessions_.find(engine_.loop, job->session);
    auto report = co_await ring::as_result(
        hand_out(&engine_, &session, &job->journal, &*job->built, &job->outputs));
    if (!report) job->result = std::unexpected(report.error());
    for (const auto& [key, value] : co_await std::move(report)) {
      (*response.mutable_exporter_response())[key] = value;
    }
  }
  co_await answer(call, response);
}

ring::Task<> BuildControl::status(GrpcCall& call) {
  const auto request = co_await read<messages::StatusRequest>(call);
  const Job job = co_await find(request.ref());
  if (job->journal.is_watched()) {
    co_await fail(Kind::Conflict, cat("build ", job->ref, " is watched already"));
  }
  job->journal.watch();
  while (std::optional<std::string> message = co_await job->journal.next()) {
    co_await call.send(*std::move(message));
  }
}

// The client's own frontend: it asks for a Dockerfile to be built, and returns the result. --------

ring::Task<> BuildControl::ping(GrpcCall& call) {
  messages::gateway::PongResponse pong;
  const auto enable = [](messages::gateway::ApiCap* cap, const char* id) {
    cap->set_id(id);
    cap->set_enabled(true);
  };
  for (const char* each : frontend_caps) enable(pong.add_frontend_caps(), each);
  enable(pong.add_llb_caps(), several_outputs_cap);
  *pong.add_workers() = worker_of(engine_);
  co_await answer(call, pong);
}

ring::Task<> BuildControl::solve_frontend(GrpcCall& call) {
  const auto request = co_await read<messages::gateway::SolveRequest>(call);
  if (request.frontend() != frontend_name) {
    co_await fail(Kind::Unsupported, cat("frontend ", request.frontend(),
                                         ": Dockerfiles are built, and nothing else"));
  }
  if (request.frontend_inputs_size() > 0) {
    co_await fail(Kind::Unsupported, "contexts that are steps themselves are not built");
  }
  const Job job = co_await find(std::string(call.metadata(build_id_key)));
  co_await build_for(&engine_, &sessions_, job.get(), options_of(request.frontend_opt()));
  messages::gateway::SolveResponse response;
  response.set_ref(job->ref);
  response.mutable_result()->mutable_ref()->set_id(job->ref);
  co_await answer(call, response);
}

ring::Task<> BuildControl::take_result(GrpcCall& call) {
  const auto request = co_await read<messages::gateway::ReturnRequest>(call);
  const Job job = co_await find(std::string(call.metadata(build_id_key)));
  if (request.has_error() && request.error().code() != 0) {
    job->result = fail(Kind::Invalid, request.error().message());
  } else {
    job->result = Result<>();
  }
  job->changed.notify_all();
  co_await call.send("");
}

// What there is. ---------------------------------------------------------------------------------

ring::Task<> BuildControl::list_workers(GrpcCall& call) {
  messages::ListWorkersResponse response;
  *response.add_record() = worker_of(engine_);
  co_await answer(call, response);
}

ring::Task<> BuildControl::info(GrpcCall& call) {
  messages::InfoResponse response;
  *response.mutable_version() = worker_of(engine_).version();
  co_await answer(call, response);
}

ring::Task<> BuildControl::disk_usage(GrpcCall& call) {
  messages::DiskUsageResponse response;
  const image::BuildCache cache(engine_.images->store());
  for (const image::BuildCache::Listed& each : co_await cache.list()) {
    messages::UsageRecord* record = response.add_record();
    record->set_id(std::string(each.step.key.hex().substr(0, engine::cache_id_digits)));
    record->set_size(static_cast<int64_t>(each.step.bytes));
    record->set_description(each.step.description);
    record->set_record_type("regular");
    set_time(record->mutable_created_at(), each.step.created_s);
    set_time(record->mutable_last_used_at(), each.used_s);
  }
  co_await answer(call, response);
}

ring::Task<> BuildControl::prune(GrpcCall& call) {
  const auto request = co_await read<messages::PruneRequest>(call);
  constexpr int64_t ns_per_s = 1'000'000'000;
  std::optional<int64_t> unused_for_s;
  if (request.keep_duration() > 0) unused_for_s = request.keep_duration() / ns_per_s;
  const engine::PrunedCache pruned = co_await engine::prune_build_cache(engine_, unused_for_s);
  // How much each of them freed is not known, only what all did: that is told with the first.
  bool is_first = true;
  for (const std::string& id : pruned.ids) {
    messages::UsageRecord record;
    record.set_id(id);
    if (std::exchange(is_first, false)) record.set_size(static_cast<int64_t>(pruned.bytes));
    co_await answer(call, record);
  }
}

// No history is kept: there is nothing to listen to.
ring::Task<> BuildControl::history(GrpcCall& call) {
  const auto request = co_await read<messages::BuildHistoryRequest>(call);
  if (request.early_exit()) co_return;
  co_await call.receive();  // until the caller goes
}

ring::Task<> BuildControl::serve(GrpcCall& call) {
  using Serve = ring::Task<> (BuildControl::*)(GrpcCall&);
  static constexpr std::pair<std::string_view, Serve> calls[] = {
      {"/moby.buildkit.v1.Control/ListWorkers", &BuildControl::list_workers},
      {"/moby.buildkit.v1.Control/Info", &BuildControl::info},
      {"/moby.buildkit.v1.Control/Solve", &BuildControl::solve},
      {"/moby.buildkit.v1.Control/Status", &BuildControl::status},
      {"/moby.buildkit.v1.Control/DiskUsage", &BuildControl::disk_usage},
      {"/moby.buildkit.v1.Control/Prune", &BuildControl::prune},
      {"/moby.buildkit.v1.Control/ListenBuildHistory", &BuildControl::history},
      {"/moby.buildkit.v1.frontend.LLBBridge/Ping", &BuildControl::ping},
      {"/moby.buildkit.v1.frontend.LLBBridge/Solve", &BuildControl::solve_frontend},
      {"/moby.buildkit.v1.frontend.LLBBridge/Return", &BuildControl::take_result},
  };
  for (const auto& [path, action] : calls) {
    if (call.path() == path) return (this->*action)(call);
  }
  return [](std::string path) -> ring::Task<> {
    co_await fail(Kind::Unsupported, cat("unknown method ", path));
  }(call.path());
}

}  // namespace nacelle::api
