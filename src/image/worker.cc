#include "image/worker.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/text.h"
#include "image/channel.h"
#include "image/sandbox.h"
#include "image/unpack_tree.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::image {

struct Worker::State {
  ring::Loop& loop;
  WorkerOptions options;
  dev_t root_device = 0;
  Fd socket;
  Fd process;  // empty once it has been reaped
  bool of_no_use = false;
  bool busy = false;

  State(ring::Loop& loop_in, const WorkerOptions& options_in) : loop(loop_in), options(options_in) {
    options.root = nullptr;  // borrowed for the start only
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (!process) return;
    kill();
    (void)sys::reap(process);  // it dies at once, whatever it was doing
  }

  void kill() {
    of_no_use = true;
    if (process) (void)sys::kill_process(process, SIGKILL);
  }
  std::string name() const { return cat("nacelle-worker (", to_string(options.kind), ")"); }
};

namespace {

constexpr auto end_patience = std::chrono::seconds(5);

Result<Fd> open_program() {
  std::string path;
  if (const char* wanted = std::getenv("NACELLE_WORKER"); wanted != nullptr && *wanted != '\0') {
    path = wanted;
  } else {
    path = TRY(sys::read_link_at(sys::working_directory, "/proc/self/exe"));
    path.resize(path.rfind('/') + 1);
    path += "nacelle-worker";
  }
  return sys::open_at(sys::working_directory, path.c_str(), O_PATH)
      .context("starting nacelle-worker");
}

// Whatever ends a call before its time, cancellation included, leaves a worker that is in the
// middle of something: it is killed.
class Call {
 public:
  explicit Call(Worker::State& state);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call();
  void finished() { finished_ = true; }

 private:
  Worker::State& state_;
  bool finished_ = false;
};

std::string how_it_ended(int status, const WorkerOptions& options) {
  const uint64_t mebibytes = options.memory_bytes_max >> 20;
  if (WIFEXITED(status)) {
    if (WEXITSTATUS(status) == exit_out_of_memory) return cat("ran out of its ", mebibytes, " MiB");
    if (WEXITSTATUS(status) == exit_out_of_time)
      return cat("used up its ", cpu_seconds_max, " s of processor time");
    return cat("ended with exit status ", WEXITSTATUS(status));
  }
  const int signal = WTERMSIG(status);
  switch (signal) {
    case SIGSYS: return "was killed for a system call that no job makes";
    case SIGKILL: return "was killed (signal 9), by the host's out-of-memory killer or by hand";
    default: return cat("was ended by signal ", signal, " (", ::strsignal(signal), ")");
  }
}

}  // namespace

Call::Call(Worker::State& state) : state_(state) { state_.busy = true; }
Call::~Call() {
  state_.busy = false;
  if (!finished_) state_.kill();
}

Worker::Worker(std::unique_ptr<State> state) : state_(std::move(state)) {}
Worker::~Worker() = default;
Worker::Worker(Worker&&) noexcept = default;
Worker& Worker::operator=(Worker&&) noexcept = default;

Result<Worker> Worker::start(ring::Loop& loop, const WorkerOptions& options) {
  auto state = std::make_unique<State>(loop, options);
  const Fd program = TRY(open_program());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(errno, "socketpair");
  state->socket = Fd(ends[0]);
  const Fd other_end(ends[1]);

  sys::SpawnOptions spawn;
  spawn.program = &program;
  spawn.arguments = {"nacelle-worker", std::string(to_string(options.kind)),
                     cat(options.memory_bytes_max),
                     options.read_only_root ? "read-only" : "read-write"};
  if (options.root_is != RootIs::Directory || !options.mounts.empty()) {
    spawn.arguments.push_back(cat(static_cast<int>(options.root_is)));
    for (const RootMount& mount : options.mounts) {
      spawn.arguments.push_back(mount.source);
      spawn.arguments.push_back(mount.destination);
      spawn.arguments.emplace_back(mount.read_only ? "ro" : "rw");
    }
  }
  if (const char* fault = std::getenv("NACELLE_WORKER_FAULT"))
    spawn.environment.push_back(cat("NACELLE_WORKER_FAULT=", std::string_view(fault)));
  spawn.descriptors.push_back(&other_end);
  if (options.root != nullptr) {
    const struct stat status = TRY(sys::stat_fd(*options.root));
    const bool is_directory = options.root_is == RootIs::Directory;
    if (is_directory && !S_ISDIR(status.st_mode))
      return fail(Kind::Invalid, "nacelle-worker: its root is not a directory");
    if (is_directory) state->root_device = status.st_dev;
    spawn.descriptors.push_back(options.root);
  }
  spawn.namespaces = CLONE_NEWPID;  // the others it makes itself
  state->process = TRY(sys::spawn(spawn));
  return Worker(std::move(state));
}

namespace {

// Reaps, and says how it came to that.
ring::Task<Error> ended(Worker::State& state) {
  state.of_no_use = true;
  if (!state.process) co_return Error(Kind::Internal, cat(state.name(), ": has ended already"));
  auto status = co_await as_result(
      with_deadline(state.loop, ring::wait_process(state.loop, state.process), end_patience));
  if (!status && status.error().kind() == Kind::Cancelled)
    co_return fail(Kind::Cancelled, status.error().message());
  if (!status) {
    // Its socket is closed, and it goes on: no worker of ours does that.
    state.kill();
    co_return Error(Kind::Internal, cat(state.name(), ": stopped listening and was killed"));
  }
  state.process = Fd();
  const bool out_of_memory = WIFEXITED(*status) && WEXITSTATUS(*status) == exit_out_of_memory;
  co_return Error(out_of_memory ? Kind::Exhausted : Kind::Internal,
                  cat(state.name(), ": ", how_it_ended(*status, state.options)));
}

// Marks a directory that came from the worker; nothing else that it may send is touched.
Result<> mark(const Worker::State& state, const std::vector<Fd>& descriptors) {
  if (descriptors.size() != 1 || state.root_device == 0)
    return fail(Kind::Internal, "marking a directory: not one directory of a root");
  const struct stat status = TRY(sys::stat_fd(descriptors[0]));
  if (!S_ISDIR(status.st_mode) || status.st_dev != state.root_device)
    return fail(Kind::Denied, "marking a directory: it is not one of the worker's root");
  if (::fsetxattr(descriptors[0].get(), "trusted.overlay.opaque", "y", 1, 0) < 0)
    return fail_errno(errno, "setxattr 'trusted.overlay.opaque'");
  return {};
}

std::vector<const Fd*> with_payload(const Envelope& envelope, const std::vector<const Fd*>& rest) {
  std::vector<const Fd*> all;
  if (envelope.memory) all.push_back(&envelope.memory);
  all.insert(all.end(), rest.begin(), rest.end());
  return all;
}

// Nothing said for too long is an end as well.
ring::Task<Error> silent_or_ended(Worker::State& state, Error why) {
  if (why.kind() == Kind::Cancelled) co_return fail(Kind::Cancelled, why.message());
  if (why.kind() == Kind::Unavailable && why.error_number() == 0) {
    state.kill();
    co_return Error(Kind::Unavailable, cat(state.name(), ": said nothing for ",
                                           state.options.silence_max.count(), " s and was killed"));
  }
  if (why.error_number() != 0) co_return co_await ended(state);
  state.kill();
  co_return Error(Kind::Internal, cat(state.name(), ": ", why.message()));
}

ring::Task<> send(Worker::State& state, PacketKind kind, uint8_t code, std::string_view payload,
                  const std::vector<const Fd*>& descriptors) {
  const Envelope envelope = co_await seal_packet(kind, code, payload);
  const std::vector<const Fd*> all = with_payload(envelope, descriptors);
  auto sending = ring::send_message(state.loop, state.socket, envelope.bytes, all);
  auto sent =
      co_await as_result(with_deadline(state.loop, std::move(sending), state.options.silence_max));
  if (sent) co_return;
  // It may have said why before it went: what is there to be read comes first.
  if (sent.error().error_number() == EPIPE || sent.error().error_number() == ECONNRESET) co_return;
  const Error why = co_await silent_or_ended(state, std::move(sent).error());
  co_await fail(why.kind(), why.message());
}

ring::Task<Packet> receive(Worker::State& state) {
  std::string bytes(packet_bytes_max, '\0');
  for (bool again = true;;) {
    auto receiving = ring::receive_message(state.loop, state.socket, bytes, packet_descriptors_max);
    auto message = co_await as_result(
        with_deadline(state.loop, std::move(receiving), state.options.silence_max));
    if (!message && message.error().error_number() == ECONNRESET && again) {
      again = false;  // said once, when it has left something unread; then comes what it sent
      continue;
    }
    if (!message) {
      const Error why = co_await silent_or_ended(state, std::move(message).error());
      co_return fail(why.kind(), why.message());
    }
    if (message->bytes == 0) {
      const Error why = co_await ended(state);
      co_return fail(why.kind(), why.message());
    }
    bytes.resize(message->bytes);
    auto packet = open_packet(bytes, std::move(message->descriptors));
    if (!packet) {
      const Error why = co_await silent_or_ended(state, std::move(packet).error());
      co_return fail(why.kind(), why.message());
    }
    co_return std::move(packet);
  }
}

}  // namespace

ring::Task<std::string> Worker::exchange(uint8_t code, std::string request,
                                         std::vector<const Fd*> descriptors,
                                         ProgressHandler on_progress) {
  State& state = *state_;
  if (state.of_no_use || !state.process)
    co_await fail(Kind::Unavailable, cat(state.name(), ": has ended already"));
  if (state.busy) co_await fail(Kind::Conflict, cat(state.name(), ": answers another call"));
  if (descriptors.size() > descriptors_max)
    co_await fail(Kind::Invalid, cat(state.name(), ": at most ", descriptors_max, " descriptors"));
  Call call(state);
  co_await send(state, PacketKind::Request, code, request, descriptors);
  const auto standstill_max = std::max(state.options.silence_max, state.options.standstill_max);
  auto moved = std::chrono::steady_clock::now();
  uint64_t furthest = 0;
  size_t marked_directories = 0;
  while (true) {
    Packet packet = co_await receive(state);
    const bool takes_descriptors = packet.kind == PacketKind::Opaque;
    if (!packet.descriptors.empty() && !takes_descriptors)
      co_await fail(Kind::Internal, cat(state.name(), ": sent descriptors that nobody wants"));
    switch (packet.kind) {
      case PacketKind::Reply:
        if (packet.code != code) break;
        call.finished();
        co_return std::move(packet.payload);
      case PacketKind::Error: {
        const Error error = decode_error(packet.payload);
        if (packet.code == code) call.finished();
        co_await fail(error.kind(), error.message());
        break;
      }
      case PacketKind::Progress: {
        const auto progress =
            co_await codec::flat::decode<WireProgress>(packet.payload, state.name());
        const auto now = std::chrono::steady_clock::now();
        if (progress.done > furthest) {
          furthest = progress.done;
          moved = now;
        } else if (now - moved > standstill_max) {
          state.kill();
          co_await fail(Kind::Unavailable, cat(state.name(), ": got no further for ",
                                               standstill_max.count(), " s and was killed"));
        }
        if (on_progress) on_progress(progress.done);
        continue;
      }
      case PacketKind::Opaque: {
        if (state.options.kind != WorkerKind::Unpack || code != UnpackRequest::code) break;
        if (++marked_directories > unpack_directories_max) break;
        const auto marked = mark(state, packet.descriptors);
        const std::string answer =
            marked ? codec::flat::encode(WireError{}) : encode_error(marked.error());
        const std::vector<const Fd*> none;
        co_await send(state, PacketKind::Answer, 0, answer, none);
        continue;
      }
      default: break;
    }
    co_await fail(Kind::Internal, cat(state.name(), ": an answer to something else"));
  }
}

ring::Task<> Worker::stop() {
  State& state = *state_;
  state.of_no_use = true;
  if (!state.process) co_return;
  ::shutdown(state.socket.get(), SHUT_RDWR);
  auto status = co_await as_result(
      with_deadline(state.loop, ring::wait_process(state.loop, state.process), end_patience));
  if (!status && status.error().kind() == Kind::Cancelled) co_await std::move(status);
  if (!status) {
    state.kill();
    (void)co_await ring::wait_process(state.loop, state.process);
  }
  state.process = Fd();
}

}  // namespace nacelle::image
