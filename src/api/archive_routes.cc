// Files of containers: `docker cp` in both directions, export, and what has changed. Bytes go
// between the client and the worker that stands in the container; nothing is looked into here.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "api/container_json.h"
#include "api/route.h"
#include "base/text.h"
#include "codec/base64.h"
#include "codec/json_writer.h"
#include "engine/archive.h"
#include "nacelle/loop.h"
#include "ring/notice.h"
#include "ring/ops.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;
using engine::Container;

constexpr size_t piece_bytes = 128u << 10;
constexpr const char* stat_header = "X-Docker-Container-Path-Stat";

struct Ends {
  Fd ours, theirs;
};

// A pair of sockets and no pipe: a worker that has gone is an error, not a signal.
Result<Ends> make_ends() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno(errno, "socketpair");
  }
  return Ends{Fd(ends[0]), Fd(ends[1])};
}

Result<std::string> asked_path(const Call& call) {
  const std::string_view path = call.http.query("path");
  if (path.empty()) return fail(Kind::Invalid, "bad parameter: path cannot be empty");
  return std::string(path);
}

std::string stat_header_value(const engine::PathStat& stat) {
  Writer json;
  json.begin_object().member("name", stat.name).member("size", stat.size);
  json.member("mode", stat.mode).member("mtime", stat.mtime);
  json.member("linkTarget", stat.link_target).end_object();
  return codec::to_base64(std::move(json).take());
}

// Out of the container ---------------------------------------------------------------------------

// What the worker writes, and how that ended. It ends its side of the sockets in any case.
struct Produced {
  std::optional<Result<>> outcome;
  ring::Notice ended;
};

ring::Task<> produce(ring::Task<> work, Produced& produced) {
  produced.outcome = co_await as_result(std::move(work));
  produced.ended.notify_all();
}

struct Streamed {
  const char* content_type;
  http::Headers headers;
};

// The head is sent with the first bytes: what fails before them still has a status.
ring::Task<> pass_on(Call& call, const Fd& from, Produced& produced, Streamed answer) {
  ring::Loop& loop = call.engine.loop;
  const auto buffer = std::make_unique<char[]>(piece_bytes);
  for (;;) {
    const size_t bytes = co_await ring::read_some(loop, from, {buffer.get(), piece_bytes});
    if (bytes == 0) break;
    if (!call.http.begun()) co_await call.http.begin(200, answer.content_type, answer.headers);
    co_await call.http.write({buffer.get(), bytes});
  }
  // The end of the bytes comes a moment before the outcome.
  while (!produced.outcome) co_await produced.ended.wait();
  co_await Result<>(*produced.outcome);
  if (!call.http.begun()) co_await call.http.begin(200, answer.content_type, answer.headers);
  co_await call.http.end();
}

// `work` writes to the other end of `from`.
ring::Task<> stream_out(Call& call, const Fd& from, ring::Task<> work, Streamed answer) {
  Produced produced;
  ring::Scope producing(call.engine.loop, [](const Error&) {});
  producing.start(produce(std::move(work), produced));
  const Result<> done = co_await as_result(
      while_client_stays(call, pass_on(call, from, produced, std::move(answer))));
  producing.cancel();
  co_await producing.join();
  co_await Result<>(done);
}

ring::Task<> read_path(engine::Engine& engine, Container& container, std::string path, Fd output) {
  co_await engine::read_archive(engine, container, std::move(path), std::move(output));
}

ring::Task<> stat(Call& call) {
  const std::string path = co_await asked_path(call);
  Container* container = co_await call.engine.containers->find(call.variables[0]);
  const engine::PathStat stat = co_await engine::stat_path(call.engine, *container, path);
  co_await call.http.reply(200, "", "", {{stat_header, stat_header_value(stat)}});
}

ring::Task<> get(Call& call) {
  const std::string path = co_await asked_path(call);
  Container* container = co_await call.engine.containers->find(call.variables[0]);
  const std::string id = container->id;
  const engine::PathStat stat = co_await engine::stat_path(call.engine, *container, path);
  container = co_await call.engine.containers->find(id);
  Ends ends = co_await make_ends();
  Streamed answer{"application/x-tar", {{stat_header, stat_header_value(stat)}}};
  co_await stream_out(call, ends.ours,
                      read_path(call.engine, *container, path, std::move(ends.theirs)),
                      std::move(answer));
}

ring::Task<> export_all(Call& call) {
  Container* container = co_await call.engine.containers->find(call.variables[0]);
  Ends ends = co_await make_ends();
  co_await stream_out(call, ends.ours,
                      engine::export_container(call.engine, *container, std::move(ends.theirs)),
                      {"application/octet-stream", {}});
}

// Into the container -----------------------------------------------------------------------------

// The worker may have had enough before the end, or have failed: then what is left is not sent,
// and the worker's outcome says why.
ring::Task<> send_body(Call& call, Fd to) {
  const auto buffer = std::make_unique<char[]>(piece_bytes);
  bool wanted = true;
  for (;;) {
    const size_t bytes = co_await call.http.read_body({buffer.get(), piece_bytes});
    if (bytes == 0) co_return;
    std::string_view rest{buffer.get(), bytes};
    while (wanted && !rest.empty()) {
      const Result<size_t> sent = co_await as_result(ring::send(call.engine.loop, to, rest));
      if (!sent && sent.error().kind() == Kind::Cancelled) co_await fail(Kind::Cancelled, "sent");
      wanted = sent.has_value();
      if (wanted) rest.remove_prefix(*sent);
    }
  }
}

ring::Task<> put(Call& call) {
  const std::string path = co_await asked_path(call);
  Container* container = co_await call.engine.containers->find(call.variables[0]);
  engine::ExtractOptions options;
  options.no_overwrite_dir_non_dir = call.flag("noOverwriteDirNonDir");
  options.copy_uid_gid = call.flag("copyUIDGID");
  Ends ends = co_await make_ends();
  Produced extracted;
  ring::Scope extracting(call.engine.loop, [](const Error&) {});
  extracting.start(
      produce(engine::write_archive(call.engine, *container, path, options, std::move(ends.theirs)),
              extracted));
  const Result<> sent = co_await as_result(send_body(call, std::move(ends.ours)));
  // Half a body is not extracted as if it were whole.
  if (!sent) extracting.cancel();
  co_await extracting.join();
  co_await Result<>(sent);
  co_await Result<>(*extracted.outcome);
  co_await call.http.reply(200, "", "");
}

ring::Task<> list_changes(Call& call) {
  Container* container = co_await call.engine.containers->find(call.variables[0]);
  const auto changes = co_await engine::changes(call.engine, *container);
  if (changes.empty()) {
    co_await reply_json(call, 200, "null");
    co_return;
  }
  Writer json;
  json.begin_array();
  for (const engine::Change& change : changes) {
    json.begin_object().member("Path", change.path).member("Kind", change.kind).end_object();
  }
  co_await reply_json(call, 200, std::move(json.end_array()).take());
}

}  // namespace

std::vector<Route> archive_routes() {
  return {
      {"HEAD", "/containers/{id}/archive", stat},
      {"GET", "/containers/{id}/archive", get},
      {"PUT", "/containers/{id}/archive", put},
      {"GET", "/containers/{id}/export", export_all},
      {"GET", "/containers/{id}/changes", list_changes},
  };
}

}  // namespace nacelle::api
