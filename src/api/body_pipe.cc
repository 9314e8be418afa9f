#include "api/body_pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "ring/ops.h"

namespace nacelle::api {
namespace {

constexpr size_t piece_bytes = 64u << 10;
constexpr int pipe_bytes = 1 << 20;

}  // namespace

Result<Pipe> open_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe2");
  Pipe pipe{Fd(ends[0]), Fd(ends[1])};
  // Larger where we may: fewer wake-ups of both sides.
  (void)::fcntl(pipe.write_end.get(), F_SETPIPE_SZ, pipe_bytes);
  return pipe;
}

namespace {

ring::Task<bool> write_piece(ring::Loop& loop, const Fd& pipe, std::string_view rest) {
  while (!rest.empty()) {
    const unsigned ready = co_await ring::poll(loop, pipe, POLLOUT);
    if ((ready & POLLERR) != 0) co_return false;
    rest.remove_prefix(co_await ring::write_at(loop, pipe, rest, ring::detail::here));
  }
  co_return true;
}

}  // namespace

ring::Task<bool> write_into_pipe(ring::Loop* loop, const Fd* pipe, std::string bytes) {
  co_return co_await write_piece(*loop, *pipe, bytes);
}

ring::Task<> body_into_pipe(Call* call, Fd pipe) {
  ring::Loop& loop = call->engine.loop;
  std::string piece(piece_bytes, '\0');
  for (;;) {
    const size_t got = co_await call->http.read_body(piece);
    if (got == 0) co_return;
    if (!co_await write_piece(loop, pipe, std::string_view(piece).substr(0, got))) co_return;
  }
}

ring::Task<> with_body(Call* call, Fd write_end, ring::Task<> use) {
  ring::Scope feeding(call->engine.loop, [](const Error&) {});
  feeding.start(body_into_pipe(call, std::move(write_end)));
  Result<> used = co_await as_result(std::move(use));
  feeding.cancel();
  co_await feeding.join();
  co_await std::move(used);
}

ring::Task<> pipe_into_answer(Call* call, Fd pipe, std::string content_type) {
  ring::Loop& loop = call->engine.loop;
  std::string piece(piece_bytes, '\0');
  for (;;) {
    co_await ring::readable(loop, pipe);
    const size_t got = co_await ring::read_some(loop, pipe, piece);
    if (got == 0) co_return;
    if (!call->http.begun()) co_await call->http.begin(200, content_type);
    co_await call->http.write(std::string_view(piece).substr(0, got));
  }
}

}  // namespace nacelle::api
