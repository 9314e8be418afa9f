// Agents (ssh) that RUN --mount=type=ssh may speak with. The engine asks for them on a session of
// BuildKit's, which a process of its own serves until the build has ended. An agent is asked which
// keys it has, and to sign with one: all else is refused before it gets there.
// https://datatracker.ietf.org/doc/html/draft-ietf-sshm-ssh-agent
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "cli/nacelle/api.h"
#include "cli/nacelle/build_values.h"
#include "nacelle/result.h"

namespace nacelle::cli {

class AgentSession {
 public:
  static Result<AgentSession> open(Api connection, std::vector<BuildAgent> agents);
  ~AgentSession();
  AgentSession(AgentSession&& other) noexcept
      : id_(std::move(other.id_)), process_(std::exchange(other.process_, -1)) {}
  AgentSession& operator=(AgentSession&&) = delete;

  const std::string& id() const { return id_; }

 private:
  AgentSession(std::string id, pid_t process) : id_(std::move(id)), process_(process) {}

  std::string id_;
  pid_t process_;
};

}  // namespace nacelle::cli
