// Processes started in running containers. They live in memory alone, as Docker's do: an engine
// that begins again knows of those that run by core's list, and nothing of their settings.
#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/text.h"
#include "engine/container_state.h"
#include "engine/container_text.h"
#include "engine/names.h"
#include "ring/ops.h"

namespace nacelle::engine {

namespace {

constexpr size_t execs_max = 4096;
constexpr int exit_not_found = 127, exit_not_executable = 126, exit_killed = 137;
constexpr unsigned char stream_out = 1;

Result<> check_runs(const Container& container) {
  const std::string& id = container.id;
  switch (container.state.phase) {
    case Phase::Running: return {};
    case Phase::Paused:
      return fail(Kind::Conflict,
                  cat("container ", id, " is paused, unpause the container before exec"));
    case Phase::Restarting:
      return fail(Kind::Conflict,
                  cat("Container ", id, " is restarting, wait until the container is running"));
    default: return fail(Kind::Conflict, cat("container ", id, " is not running"));
  }
}

bool has_variable(const std::vector<std::string>& env, std::string_view name) {
  return std::ranges::any_of(env, [&](std::string_view each) {
    return each.size() > name.size() && each.starts_with(name) && each[name.size()] == '=';
  });
}

std::string command_text(const ExecConfig& config) {
  std::string text;
  for (const std::string& word : config.cmd) text += cat(text.empty() ? "" : " ", word);
  return text;
}

// The eight bytes before each piece of a multiplexed stream.
std::string frame(unsigned char stream, std::string_view text) {
  std::string out(8, '\0');
  out[0] = static_cast<char>(stream);
  for (int byte = 0; byte < 4; ++byte) {
    out[static_cast<size_t>(4 + byte)] = static_cast<char>(text.size() >> (8 * (3 - byte)));
  }
  return out += text;
}

}  // namespace

ring::Task<std::string> Containers::State::exec_create(EntryRef entry, ExecConfig config) {
  Container& container = entry->container;
  co_await check_exec(config);
  co_await check_runs(container);
  (void)co_await parse_detach_keys(config.detach_keys);
  if (execs.size() >= execs_max) make_room_for_execs();
  if (execs.size() >= execs_max) {
    co_await fail(Kind::Exhausted, cat("more than ", execs_max, " exec instances"));
  }
  auto made = std::make_shared<ExecEntry>();
  made->number = ++execs_made;
  Exec& exec = made->exec;
  exec.id = random_id();
  exec.container = container.id;
  exec.config = std::move(config);
  made->container = entry;
  execs[exec.id] = made;
  container.execs.push_back(exec.id);
  entry->had_execs = true;
  publish(*entry, cat("exec_create: ", command_text(exec.config)), {{"execID", exec.id}});
  co_return exec.id;
}

// The oldest go, a part of all at once: those that have ended, and those that nobody came back to
// start. Were these kept, clients that vanish in between would use up the room of all others.
void Containers::State::make_room_for_execs() {
  std::vector<ExecRef> idle;
  for (const auto& [id, each] : execs) {
    const bool is_over = each->exec.exit_code && !each->core_has_it;
    if (is_over || !each->exec.started) idle.push_back(each);
  }
  std::ranges::sort(idle, {}, [](const ExecRef& each) { return each->number; });
  if (idle.size() > execs_max / 4) idle.resize(execs_max / 4);
  for (const ExecRef& each : idle) {
    std::erase(each->container->container.execs, each->exec.id);
    execs.erase(each->exec.id);
  }
}

ring::Task<core::ExecRequest> Containers::State::plan_exec(ExecRef made) {
  const Exec& exec = made->exec;
  const ExecConfig& config = exec.config;
  const Container& container = made->container->container;
  core::ExecRequest request;
  request.id = container.id;
  request.exec = exec.id;
  request.args = config.cmd;
  request.env = config.env;
  request.cwd = config.working_dir;
  request.privileged = config.privileged;
  request.terminal = config.tty;
  request.open_stdin = config.attach_stdin;
  if (config.console_size.size() == 2) {
    request.height = static_cast<uint16_t>(config.console_size[0]);
    request.width = static_cast<uint16_t>(config.console_size[1]);
  }
  if (config.tty && !container.config.tty && !has_variable(config.env, "TERM") &&
      !has_variable(container.config.env, "TERM")) {
    request.env.push_back("TERM=xterm");
  }
  if (config.user.empty()) co_return request;
  // The container's own files: nothing in there is followed out.
  const Fd root = co_await open_root(container);
  ResolvedUser user = co_await resolve_user(config.user, container.host.group_add, root);
  request.has_user = true;
  request.uid = user.uid;
  request.gid = user.gid;
  request.additional_gids = std::move(user.additional_gids);
  if (!user.home.empty() && !has_variable(config.env, "HOME") &&
      !has_variable(container.config.env, "HOME")) {
    request.env.push_back(cat("HOME=", user.home));
  }
  co_return request;
}

ring::Task<> Containers::State::exec_run(ExecRef made,
                                         std::optional<std::pair<unsigned, unsigned>> console,
                                         bool has_client) {
  Exec& exec = made->exec;
  exec.started = true;
  exec.running = true;
  Result<core::ExecRequest> planned = co_await ring::as_result(plan_exec(made));
  Result<> done;
  if (!planned) {
    done = std::unexpected(std::move(planned).error());
  } else {
    core::ExecRequest request = *std::move(planned);
    request.has_client = has_client;
    if (console) {
      request.height = static_cast<uint16_t>(console->first);
      request.width = static_cast<uint16_t>(console->second);
    }
    publish(*made->container, cat("exec_start: ", command_text(exec.config)),
            {{"execID", exec.id}});
    fault_point("exec.asked");
    made->core_has_it = true;
    auto reply = co_await ring::as_result(engine.core->call(std::move(request)));
    fault_point("exec.reply");
    if (reply) {
      // It may have ended already, and been told so.
      if (!exec.exit_code) exec.pid = reply->pid;
      co_return;
    }
    done = std::unexpected(std::move(reply).error());
  }
  made->core_has_it = false;
  exec.running = false;
  const std::string& said = done.error().message();
  const bool missing = said.find("executable file not found") != std::string::npos ||
                       said.find("no such file or directory") != std::string::npos;
  exec.exit_code = missing ? exit_not_found : exit_not_executable;
  std::erase(made->container->container.execs, exec.id);
  made->ended.notify_all();
  if (said.find("exec: \"") != std::string::npos) {
    co_await fail(Kind::Invalid,
                  cat("OCI runtime exec failed: exec failed: unable to start container process: ",
                      said, ": unknown"));
  }
  co_await std::move(done);
}

void Containers::State::exec_exited(const ExecRef& made, const core::ExitedEvent& event) {
  Exec& exec = made->exec;
  background.start(forget_exec(event.id, event.exec));
  made->core_has_it = false;
  if (exec.exit_code) return;
  exec.exit_code = exit_code_of(event.wait_status, event.status_known);
  exec.running = false;
  exec.pid = 0;
  std::erase(made->container->container.execs, exec.id);
  publish(*made->container, "exec_die", {{"execID", exec.id}, {"exitCode", cat(*exec.exit_code)}});
  made->ended.notify_all();
}

ring::Task<> Containers::State::forget_exec(std::string id, std::string exec) {
  core::ForgetRequest request;
  request.id = std::move(id);
  request.exec = std::move(exec);
  co_await engine.core->call(std::move(request));
}

// Their container has ended: none of them runs any more. What became of each can still be asked.
void Containers::State::end_execs(Entry& entry) {
  for (const std::string& id : std::exchange(entry.container.execs, {})) {
    const auto found = execs.find(id);
    if (found == execs.end()) continue;
    const ExecRef made = found->second;
    made->core_has_it = false;
    if (made->exec.exit_code) continue;
    made->exec.exit_code = exit_killed;
    made->exec.running = false;
    made->ended.notify_all();
  }
}

void Containers::State::drop_execs(Entry& entry) {
  end_execs(entry);
  if (!std::exchange(entry.had_execs, false)) return;
  std::erase_if(execs, [&](const auto& each) { return each.second->container.get() == &entry; });
}

// The front door.
// ----------------------------------------------------------------------------------

ring::Task<std::string> Containers::exec_create(std::string text, ExecConfig config) {
  EntryRef entry = co_await state_->find(std::move(text));
  co_return co_await state_->exec_create(std::move(entry), std::move(config));
}

Exec* Containers::find_exec(const std::string& id) {
  const auto found = state_->execs.find(id);
  return found == state_->execs.end() ? nullptr : &found->second->exec;
}

Result<> Containers::exec_check(const std::string& id) {
  const auto found = state_->execs.find(id);
  if (found == state_->execs.end()) {
    return fail(Kind::NotFound, cat("No such exec instance: ", id));
  }
  const Exec& exec = found->second->exec;
  if (exec.exit_code) return fail(Kind::Conflict, cat("exec command ", id, " has already run"));
  if (exec.started) return fail(Kind::Conflict, cat("exec command ", id, " is already running"));
  return check_runs(found->second->container->container);
}

ring::Task<> Containers::exec_start_detached(std::string id) {
  co_await exec_check(id);
  const ExecRef made = state_->execs.find(id)->second;
  co_await shielded(state_->background, state_->exec_run(made, std::nullopt, false));
}

ring::Task<> Containers::exec_start(std::string id,
                                    std::optional<std::pair<unsigned, unsigned>> console,
                                    ClientConnection client) {
  co_await exec_check(id);
  const ExecRef made = state_->execs.find(id)->second;
  const ExecConfig& config = made->exec.config;
  Result<> started =
      co_await ring::as_result(shielded(state_->background, state_->exec_run(made, console, true)));
  if (!started) {
    if (started.error().kind() == Kind::Cancelled) co_await std::move(started);
    // The answer's head is gone: the client reads why in the stream, and the code in an inspect.
    const std::string text = cat(started.error().message(), "\r\n");
    const std::string bytes = config.tty ? text : frame(stream_out, text);
    (void)co_await ring::as_result(ring::write_all(state_->loop, client.socket, bytes));
    co_return;
  }
  core::AttachRequest request;
  request.id = made->exec.container;
  request.exec = id;
  request.wants_stdin = config.attach_stdin;
  request.wants_stdout = config.attach_stdout || config.tty;
  request.wants_stderr = config.attach_stderr && !config.tty;
  request.multiplexed = !config.tty;
  request.detach_keys = co_await parse_detach_keys(config.detach_keys);
  request.early_bytes = std::move(client.early_bytes);
  std::vector<const Fd*> descriptors{&client.socket};
  co_await state_->engine.core->call(std::move(request), std::move(descriptors));
  fault_point("exec.attached");
}

ring::Task<> Containers::exec_resize(std::string id, unsigned height, unsigned width) {
  const auto found = state_->execs.find(id);
  if (found == state_->execs.end()) {
    co_await fail(Kind::NotFound, cat("No such exec instance: ", id));
  }
  if (!found->second->exec.running) {
    co_await fail(Kind::Conflict, cat("exec ", id, " is not running"));
  }
  core::ResizeRequest request;
  request.id = found->second->exec.container;
  request.exec = id;
  request.height = static_cast<uint16_t>(height);
  request.width = static_cast<uint16_t>(width);
  co_await state_->engine.core->call(std::move(request));
}

}  // namespace nacelle::engine
