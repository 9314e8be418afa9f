#include "core/log_link.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace nacelle::core {

LogLink::LogLink(ring::Loop& loop, ring::Scope& scope, std::string program, Handlers handlers)
    : handlers_(std::move(handlers)),
      worker_(loop, scope,
              {.program = std::move(program),
               .word = "logs",
               .called = "log worker",
               .more_descriptors = {&pipe_read_, &pipe_write_}},
              {.started = [this] { handlers_.started(); },
               .heard = [this](uint8_t code, std::string_view bytes) { dispatch(code, bytes); }}) {}

Result<> LogLink::start() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe2");
  pipe_read_ = Fd(ends[0]);
  pipe_write_ = Fd(ends[1]);
  worker_.start();
  return {};
}

LogLink::Kept LogLink::kept() const {
  return {worker_.kept(), pipe_read_.get(), pipe_write_.get()};
}

void LogLink::take_over(const Kept& kept) {
  const auto take = [](int fd) { return fd >= 0 ? Fd(fd) : Fd(); };
  pipe_read_ = take(kept.pipe_read);
  pipe_write_ = take(kept.pipe_write);
  worker_.take_over(kept.worker);
}

// It is believed nothing but what it says of its own streams.
void LogLink::dispatch(uint8_t code, std::string_view bytes) {
  const auto pass = [&]<class Message>(const std::function<void(const Message&)>& handler) {
    if (const auto message = codec::flat::decode<Message>(bytes, "log worker")) handler(*message);
  };
  switch (code) {
    case logs::Drained::code: return pass(handlers_.drained);
    case logs::ClientLeft::code: return pass(handlers_.client_left);
    case logs::LogTrouble::code: return pass(handlers_.trouble);
    case logs::InputEnded::code: return pass(handlers_.input_ended);
    default: return;
  }
}

}  // namespace nacelle::core
