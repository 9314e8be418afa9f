// Containers: records, names, states and everything done to them. One record per container,
// <data root>/containers/<id>/record (JSON), written whole or not at all; names are unique; a
// removal is a state that is tried again until nothing is left. Processes belong to nacelle-core:
// this room can be killed at any moment and finds all of them again.
// Errors carry Docker's texts ("No such container: x") and the Kind from which the API makes the
// status: Invalid 400, NotFound 404, Conflict 409, Unchanged is no error but a value.
#pragma once

#include <chrono>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/messages.h"
#include "engine/model.h"
#include "logs/reader.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::engine {

struct Engine;

// What is known of a container; lives as long as its record. Only this room changes it.
struct Container {
  std::string id, name;        // name without a slash
  std::string created;         // RFC 3339
  std::string image_id;        // digest of the configuration
  std::string image_manifest;  // digest of the manifest
  std::string path;            // of the program, and its arguments
  std::vector<std::string> args;
  ContainerConfig config;
  HostConfig host;
  std::map<std::string, Endpoint> endpoints;  // by network name
  PortMap ports;                              // as they are published while it runs
  std::vector<MountPoint> mounts;
  ContainerState state;
  int restart_count = 0;
  bool has_been_stopped = false;   // by hand: `unless-stopped`
  std::string directory;           // <data root>/containers/<id>
  std::string cgroup;              // absolute; empty: never started
  std::vector<std::string> execs;  // ids of those that have not ended
};

struct Exec {
  std::string id, container;
  ExecConfig config;
  bool running = false;
  std::optional<int> exit_code;
  int pid = 0;
  bool started = false;
};

struct Created {
  std::string id;
  std::vector<std::string> warnings;
};
enum class Changed : bool { No = false, Yes = true };  // No: 304

// Where the time of a start went: the phases of it that were reached, in their order.
using StartTrace = std::vector<core::Phase>;

struct AttachOptions {
  bool in = false, out = false, err = false;
  bool logs = false;  // what was written before, first
  bool stream = false;
  std::string detach_keys;  // "ctrl-p,ctrl-q"; empty: those
  bool multiplexed = true;
};
// A client's connection, already answered.
struct ClientConnection {
  Fd socket;
  std::string early_bytes;
};

enum class WaitCondition : uint8_t { NotRunning, NextExit, Removed };
struct WaitOutcome {
  int exit_code = 0;
  std::string error;
};

struct UpdateRequest {
  HostConfig resources;  // only what `present` names counts
  std::vector<std::string> present;
  std::optional<RestartPolicy> restart_policy;
};

// Since this engine began.
struct ContainerCounts {
  uint64_t starts = 0, start_failures = 0, exits = 0, restarts = 0, oom_kills = 0;
  uint64_t ended_received_bytes = 0, ended_sent_bytes = 0;  // of containers that have ended
  // How long starts took, from the request's turn to the reply; how many took no longer than
  // start_bounds_us[i].
  static constexpr uint64_t start_bounds_us[] = {500,    1'000,   2'500,   5'000,    10'000,
                                                 25'000, 100'000, 500'000, 2'500'000};
  uint64_t starts_within[std::size(start_bounds_us)] = {};
  uint64_t start_us = 0;  // the sum

  void add_start(uint64_t microseconds);
};

class Containers {
 public:
  static Result<std::unique_ptr<Containers>> open(Engine& engine);
  ~Containers();
  // Takes up what runs (with core's list), begins restart policies, and goes on with removals. The
  // records of what is stopped are read behind it, while requests are served.
  ring::Task<> recover();
  // Until every record has been read.
  ring::Task<> all_loaded();
  // Ends what this room does in the background; containers run on. Last.
  ring::Task<> close();

  // By id, name, "/name" or the beginning of an id, in Docker's order.
  ring::Task<Container*> find(std::string text);
  std::vector<Container*> all();
  const ContainerCounts& counts() const;

  ring::Task<Created> create(CreateRequest request);
  // `trace`: filled, if it is there. It is shared since a start goes on without who asked for it.
  ring::Task<Changed> start(std::string text, std::string detach_keys = {},
                            std::shared_ptr<StartTrace> trace = {});
  ring::Task<Changed> stop(std::string text, std::optional<std::string> signal,
                           std::optional<int> timeout_s);
  ring::Task<> restart(std::string text, std::optional<std::string> signal,
                       std::optional<int> timeout_s);
  ring::Task<> kill(std::string text, std::string signal);
  ring::Task<> pause(std::string text);
  ring::Task<> unpause(std::string text);
  ring::Task<> rename(std::string text, std::string name);
  // container_network.cc. Of a container that runs or not.
  ring::Task<> connect_network(std::string text, std::string network, Endpoint endpoint);
  ring::Task<> disconnect_network(std::string text, std::string network, bool force);
  ring::Task<> remove(std::string text, bool force, bool volumes, bool link);
  ring::Task<std::vector<std::string>> update(std::string text, UpdateRequest request);  // warnings
  struct Pruned {
    std::vector<std::string> ids;
    uint64_t bytes = 0;
  };
  // `chosen` may be empty: all that are stopped.
  ring::Task<Pruned> prune(std::function<bool(const Container&)> chosen);

  // In two steps, so that the answer's head can be sent before the container is started: the
  // handle is registered when it is made. Cancelling the wait forgets it.
  class Waiting {
   public:
    virtual ~Waiting() = default;
    virtual ring::Task<WaitOutcome> outcome() = 0;
  };
  ring::Task<std::unique_ptr<Waiting>> wait(std::string text, WaitCondition condition);

  // Checks first (attach_check), so that errors come before the connection is taken over.
  ring::Task<Container*> attach_check(std::string text);
  ring::Task<> attach(std::string id, AttachOptions options, ClientConnection client);
  // Mounts and directories of containers that are still to be taken apart, behind all replies.
  size_t leavings() const;
  ring::Task<> resize(std::string text, unsigned height, unsigned width);
  ring::Task<std::unique_ptr<logs::Reader>> logs(std::string text, logs::ReadOptions options);

  ring::Task<std::string> exec_create(std::string text, ExecConfig config);
  Exec* find_exec(const std::string& id);
  ring::Task<> exec_start_detached(std::string id);
  // Checks that exec_start can go on: 404, 409.
  Result<> exec_check(const std::string& id);
  ring::Task<> exec_start(std::string id, std::optional<std::pair<unsigned, unsigned>> console,
                          ClientConnection client);
  ring::Task<> exec_resize(std::string id, unsigned height, unsigned width);

  // Titles and rows, by ps(1) format options as `docker top` takes them.
  struct Top {
    std::vector<std::string> titles;
    std::vector<std::vector<std::string>> processes;
  };
  ring::Task<Top> top(std::string text, std::string ps_arguments);

  // Bytes of the writable layer, and of it with the image.
  ring::Task<std::pair<uint64_t, uint64_t>> sizes(std::string id);

  struct State;
  State& state() { return *state_; }

 private:
  explicit Containers(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::engine
