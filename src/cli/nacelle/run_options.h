// The options of `run` and `create`: a command line in, the body of POST /containers/create out.
// Reads the files that options name (--env-file, --label-file, seccomp profiles) and our
// environment, and nothing else.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/nacelle/options.h"
#include "engine/model.h"
#include "nacelle/result.h"

namespace nacelle::cli {

struct RunPlan {
  engine::ContainerConfig config;
  engine::HostConfig host;
  engine::NetworkingConfig networking;
  std::string name, platform;
  std::string pull = "missing";  // "always" "never"
  std::string cid_file;
  bool quiet = false;
  // What the client itself does about it.
  bool detach = false, signal_proxy = true, trace = false;
  std::string detach_keys;

  std::string body() const;  // JSON
};

enum class RunVerb : uint8_t { Run, Create };

// The plan; or the exit code, when help was asked for, the table described, or a mistake told.
struct ParsedRun {
  RunPlan plan;
  std::optional<int> exit_code;
};
Result<ParsedRun> parse_run(RunVerb verb, const std::vector<std::string>& arguments,
                            Description* describe_into = nullptr);

}  // namespace nacelle::cli
