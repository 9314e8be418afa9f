// Builds for BuildKit's clients (buildx, compose): the calls of Control and of LLBBridge that a
// build of a Dockerfile consists of. A client begins a build (Control/Solve), says what it is
// (LLBBridge/Solve), takes the result (LLBBridge/Return), and watches meanwhile (Control/Status);
// all of them name the build by the client's own id. Steps in BuildKit's low-level form are not
// executed: the frontend is ours, "dockerfile.v0".
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "api/build_session.h"
#include "engine/engine.h"
#include "http/grpc.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::api {

struct BuildJob;

class BuildControl {
 public:
  explicit BuildControl(engine::Engine& engine);
  ~BuildControl();
  BuildSessions& sessions() { return sessions_; }
  // One call of a client's. Unsupported for those that are not known here.
  ring::Task<> serve(http::GrpcCall& call);

 private:
  using Job = std::shared_ptr<BuildJob>;
  ring::Task<> list_workers(http::GrpcCall& call);
  ring::Task<> info(http::GrpcCall& call);
  ring::Task<> solve(http::GrpcCall& call);
  ring::Task<> status(http::GrpcCall& call);
  ring::Task<> disk_usage(http::GrpcCall& call);
  ring::Task<> prune(http::GrpcCall& call);
  ring::Task<> history(http::GrpcCall& call);
  ring::Task<> ping(http::GrpcCall& call);
  ring::Task<> solve_frontend(http::GrpcCall& call);
  ring::Task<> take_result(http::GrpcCall& call);
  void forget_later(std::string ref);
  ring::Task<> await_job(std::string ref);
  // Waits a moment for one that is about to begin.
  ring::Task<Job> find(std::string ref);

  engine::Engine& engine_;
  BuildSessions sessions_;
  std::map<std::string, Job, std::less<>> jobs_;  // under way, and the last that ended
  std::deque<std::string> ended_;
  ring::Notice begun_;
};

}  // namespace nacelle::api
