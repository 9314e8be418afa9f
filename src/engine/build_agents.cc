// RUN --mount=type=ssh: a socket in the step, behind which an agent of the client's answers. No key
// comes here, and what is asked of the agent is no part of what a step is found again by.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/text.h"
#include "engine/build_state.h"
#include "engine/names.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

using build::MountType;

constexpr mode_t owner_speaks = 0600;
constexpr int backlog = 64;
constexpr size_t connections_max = 64;  // of a mount, at a time
constexpr std::string_view socket_variable = "SSH_AUTH_SOCK=";

const std::string& agent_id(const build::Mount& mount) {
  static const std::string by_default = "default";
  return mount.id.empty() ? by_default : mount.id;
}

// A path of any length: the kernel's for sockets end at 107 bytes.
Result<Fd> listen_in(const Fd& directory, const std::string& name) {
  const std::string path = cat("/proc/self/fd/", directory.get(), '/', name);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail_errno(ENAMETOOLONG, path);
  path.copy(address.sun_path, path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "socket");
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    return fail_errno(errno, cat("bind '", path, "'"));
  }
  if (::listen(socket.get(), backlog) < 0) return fail_errno(errno, "listen");
  return socket;
}

}  // namespace

// Where each is, and which the step is told of: the first, whether anybody answers there or not.
void Build::place_agents(std::vector<RunMount>& mounts, CreateRequest& request) {
  size_t count = 0;
  for (RunMount& mount : mounts) {
    if (mount.asked->type != MountType::Ssh) continue;
    if (mount.asked->target.empty()) mount.target = cat("/run/buildkit/ssh_agent.", count);
    const auto is_told = [](const std::string& each) { return each.starts_with(socket_variable); };
    if (count == 0 && std::ranges::none_of(request.config.env, is_told)) {
      request.config.env.push_back(cat(socket_variable, mount.target));
    }
    ++count;
  }
}

ring::Task<bool> Build::find_agent(const build::Mount& mount) {
  const std::string& id = agent_id(mount);
  Result<> found = fail(Kind::Unsupported, "nobody gives any");
  if (request_.agents.check) found = co_await ring::as_result(request_.agents.check(id));
  if (found) co_return true;
  if (found.error().kind() == Kind::Cancelled) co_await std::move(found);
  if (!mount.required) co_return false;
  if (found.error().kind() != Kind::Unsupported) co_await std::move(found);
  co_return fail(Kind::Invalid, cat("no SSH key \"", id, "\" forwarded from the client"));
}

ring::Task<MountRequest> Build::make_agent_socket(RunMount& mount) {
  const build::Mount& asked = *mount.asked;
  const std::string directory = co_await secrets_directory(engine_);
  const Fd parent = co_await sys::open_at(sys::working_directory, directory.c_str(),
                                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  const std::string name = random_id();
  mount.file = std::make_unique<TemporaryFile>(cat(directory, '/', name));
  mount.listener = co_await listen_in(parent, name);
  if (::fchownat(parent.get(), name.c_str(), asked.uid.value_or(0), asked.gid.value_or(0), 0) < 0 ||
      ::fchmodat(parent.get(), name.c_str(), asked.mode.value_or(owner_speaks), 0) < 0) {
    co_await fail_errno(errno, "making an agent's socket");
  }
  co_return bind_mount(mount.file->path(), mount.target, false);
}

ring::Task<> Build::accept_for_agent(const RunMount& mount, ring::Scope& connections) {
  for (;;) {
    Fd connection = co_await ring::accept(engine_.loop, mount.listener);
    if (connections.running() >= connections_max) continue;
    connections.start(request_.agents.serve(agent_id(*mount.asked), std::move(connection)));
  }
}

ring::Task<> Build::serve_agent(const RunMount& mount) {
  ring::Scope connections(engine_.loop, [](const Error&) {});
  const Result<> ended = co_await ring::as_result(accept_for_agent(mount, connections));
  connections.cancel();
  co_await connections.join();
  co_await Result<>(ended);
}

ring::Task<> Build::with_agents(const std::vector<RunMount>& mounts, ring::Task<> step) {
  ring::Scope serving(engine_.loop, [](const Error&) {});
  for (const RunMount& mount : mounts) {
    if (mount.listener) serving.start(serve_agent(mount));
  }
  const Result<> done = co_await ring::as_result(std::move(step));
  serving.cancel();
  co_await serving.join();
  co_await Result<>(done);
}

}  // namespace nacelle::engine
