// Processes beside a container's own: made, started on a connection or without one, looked at.
#include <chrono>
#include <string>
#include <utility>

#include "api/json_requests.h"
#include "api/route.h"
#include "api/stream_format.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "engine/container_text.h"
#include "nacelle/loop.h"
#include "sys/file.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;

Result<engine::Exec*> find_exec(Call& call) {
  const std::string& id = call.variables[0];
  engine::Exec* exec = call.engine.containers->find_exec(id);
  if (exec == nullptr) return fail(Kind::NotFound, cat("No such exec instance: ", id));
  return exec;
}

ring::Task<> create(Call& call) {
  const std::string body = co_await read_json_body(call, true);
  engine::ExecConfig config = co_await read_exec_config(body);
  if (!config.detach_keys.empty() && !engine::parse_detach_keys(config.detach_keys)) {
    co_await fail(Kind::Invalid, cat("Invalid escape keys (", config.detach_keys, ") provided"));
  }
  const std::string id =
      co_await call.engine.containers->exec_create(call.variables[0], std::move(config));
  Writer json;
  json.begin_object().member("Id", id).end_object();
  co_await reply_json(call, 201, std::move(json).take());
}

ring::Task<> start(Call& call) {
  const std::string body = co_await read_json_body(call, true);
  const ExecStart wanted = co_await read_exec_start(body);
  const engine::Exec* exec = co_await find_exec(call);
  const std::string id = exec->id;
  const bool terminal = exec->config.tty;
  if (wanted.detach) {
    co_await call.engine.containers->exec_start_detached(id);
    co_await call.http.reply(200, "", "");
    co_return;
  }
  co_await call.engine.containers->exec_check(id);
  const bool upgraded = !call.http.request().upgrade.empty();
  http::Hijacked taken = co_await call.http.hijack(upgraded, attached_content_type(call, terminal));
  engine::ClientConnection client{std::move(taken.socket), std::move(taken.early_bytes)};
  co_await call.engine.containers->exec_start(id, wanted.console, std::move(client));
}

ring::Task<> resize(Call& call) {
  const unsigned height = co_await read_console_size(call.http.query("h"), "height");
  const unsigned width = co_await read_console_size(call.http.query("w"), "width");
  const engine::Exec* exec = co_await find_exec(call);
  co_await call.engine.containers->exec_resize(exec->id, height, width);
  co_await call.http.reply(200, "", "");
}

std::string exec_json(const engine::Exec& exec) {
  const engine::ExecConfig& config = exec.config;
  Writer json;
  json.begin_object().member("ID", exec.id).member("Running", exec.running).key("ExitCode");
  if (exec.exit_code) {
    json.value(*exec.exit_code);
  } else {
    json.null();
  }
  json.key("ProcessConfig").begin_object().member("tty", config.tty);
  json.member("entrypoint", config.cmd[0]);
  json.key("arguments").begin_array();
  for (size_t i = 1; i < config.cmd.size(); ++i) json.value(config.cmd[i]);
  json.end_array().member("privileged", config.privileged);
  if (!config.user.empty()) json.member("user", config.user);
  json.end_object();
  json.member("OpenStdin", config.attach_stdin);
  json.member("OpenStderr", config.attach_stderr);
  json.member("OpenStdout", config.attach_stdout);
  json.member("CanRemove", false);
  json.member("ContainerID", exec.container);
  json.member("DetachKeys", config.detach_keys);
  json.member("Pid", exec.pid).end_object();
  return std::move(json).take();
}

// What state a process is in ("R", "S", "Z"); 0 where there is none.
char process_state(int pid) {
  const std::string path = cat("/proc/", pid, "/stat");
  const auto text = sys::read_file_at(sys::working_directory, path.c_str(), 4096);
  const size_t name_end = text ? text->rfind(") ") : std::string::npos;
  return name_end == std::string::npos || name_end + 2 >= text->size() ? 0 : (*text)[name_end + 2];
}

bool has_ended_untold(const engine::Exec& exec) {
  if (!exec.running || exec.pid <= 0) return false;
  const char state = process_state(exec.pid);
  return state == 0 || state == 'Z' || state == 'X';
}

// A client's stream ends when the process has, and the client asks for the exit code at once: it is
// on its way then.
ring::Task<> wait_for_exit_code(Call& call) {
  constexpr int turns_max = 2000;
  for (int turn = 0; turn < turns_max; ++turn) {
    if (!has_ended_untold(*co_await find_exec(call))) co_return;
    co_await ring::sleep_for(call.engine.loop, std::chrono::milliseconds(1));
  }
}

ring::Task<> inspect(Call& call) {
  co_await wait_for_exit_code(call);
  const engine::Exec* exec = co_await find_exec(call);
  const std::string text = exec_json(*exec);
  co_await reply_json(call, 200, text);
}

}  // namespace

std::vector<Route> exec_routes() {
  return {
      {"POST", "/containers/{id}/exec", create},
      {"POST", "/exec/{id}/start", start},
      {"POST", "/exec/{id}/resize", resize},
      {"GET", "/exec/{id}/json", inspect},
  };
}

}  // namespace nacelle::api
