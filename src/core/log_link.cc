#include "core/log_link.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>

#include "base/text.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::core {
namespace {

constexpr size_t worker_packet_bytes_max = 64u << 10;
constexpr ring::Duration short_life = std::chrono::seconds(1);
constexpr ring::Duration pause_min = std::chrono::milliseconds(20);
constexpr ring::Duration pause_max = std::chrono::seconds(5);

}  // namespace

LogLink::LogLink(ring::Loop& loop, ring::Scope& scope, std::string worker, Handlers handlers)
    : loop_(loop), scope_(scope), worker_(std::move(worker)), handlers_(std::move(handlers)) {}

Result<> LogLink::start() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe2");
  pipe_read_ = Fd(ends[0]);
  pipe_write_ = Fd(ends[1]);
  if (auto spawned = spawn(); !spawned) error_ = spawned.error().message();
  listen();
  return {};
}

LogLink::Kept LogLink::kept() const {
  return {process_.get(), socket_ ? socket_->get() : -1, pipe_read_.get(), pipe_write_.get()};
}

void LogLink::take_over(const Kept& kept) {
  const auto take = [](int fd) { return fd >= 0 ? Fd(fd) : Fd(); };
  process_ = take(kept.process);
  pipe_read_ = take(kept.pipe_read);
  pipe_write_ = take(kept.pipe_write);
  if (kept.socket >= 0) {
    socket_ = std::make_shared<const Fd>(kept.socket);
    outbox_ = std::make_shared<Outbox>(loop_, scope_, socket_);
    error_.clear();
  }
  listen();
}

Result<> LogLink::spawn() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
    return fail_errno(errno, "socketpair");
  }
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const Fd program = TRY(sys::open_at(sys::working_directory, worker_.c_str(), O_PATH)
                             .context("starting the log worker"));
  sys::SpawnOptions options;
  options.program = &program;
  options.arguments = {"nacelle-worker", "logs"};
  options.descriptors = {&theirs, &pipe_read_, &pipe_write_};
  process_ = TRY(sys::spawn(options));
  socket_ = std::make_shared<const Fd>(std::move(ours));
  outbox_ = std::make_shared<Outbox>(loop_, scope_, socket_);
  error_.clear();
  return {};
}

void LogLink::listen() { scope_.start(serve()); }

Result<> LogLink::send_bytes(uint8_t code, const std::string& bytes,
                             std::span<const int> descriptors) {
  if (!outbox_) return fail(Kind::Unavailable, cat("log worker: ", error_));
  std::string packet(1, static_cast<char>(code));
  packet += bytes;
  return outbox_->send(packet, descriptors);
}

// One worker after the other.
ring::Task<> LogLink::serve() {
  ring::Duration pause = pause_min;
  while (true) {
    const ring::TimePoint begun = loop_.now();
    if (socket_) {
      const Result<> ended = co_await as_result(read_packets());
      if (!ended && ended.error().kind() == Kind::Cancelled)
        co_await std::unexpected(ended.error());
      error_ = "the log worker has ended";
      outbox_.reset();
      socket_.reset();
    }
    if (process_) {
      (void)sys::kill_process(process_, SIGKILL);
      co_await ring::poll(loop_, process_, POLLIN);
      if (auto status = sys::reap(process_); status) {
        error_ = cat("the log worker has ended: ", WIFSIGNALED(*status) ? "signal " : "status ",
                     WIFSIGNALED(*status) ? WTERMSIG(*status) : WEXITSTATUS(*status));
      }
      process_ = Fd();
    }
    pause = loop_.now() - begun > short_life ? pause_min : std::min(pause * 2, pause_max);
    co_await ring::sleep_for(loop_, pause);
    if (auto spawned = spawn(); !spawned) {
      error_ = spawned.error().message();
      continue;
    }
    handlers_.started();
  }
}

// Until the worker is gone.
ring::Task<> LogLink::read_packets() {
  const std::shared_ptr<const Fd> socket = socket_;
  while (true) {
    auto packet = receive_raw(*socket, worker_packet_bytes_max, 0);
    if (!packet && packet.error().kind() != Kind::Invalid) {
      co_await std::unexpected(std::move(packet).error());
    }
    if (packet && !packet->has_value()) {
      co_await ring::poll(loop_, *socket, POLLIN);
    } else if (packet) {
      dispatch(**packet);
    }
  }
}

// What cannot be read is passed over: the worker reads foreign bytes, and is believed nothing but
// what it says of its own streams.
void LogLink::dispatch(const RawPacket& packet) {
  const auto code = static_cast<uint8_t>(packet.bytes[0]);
  const std::string_view bytes = std::string_view(packet.bytes).substr(1);
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
