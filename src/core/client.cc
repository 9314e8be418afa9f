#include "core/client.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <optional>

#include "base/text.h"
#include "core/packet.h"
#include "core/record.h"
#include "ring/notice.h"
#include "ring/ops.h"
#include "sys/file.h"
#include "sys/process.h"

namespace nacelle::core {

using ring::Loop;
using ring::Task;

namespace {

constexpr ring::Duration start_limit = std::chrono::seconds(10);
constexpr ring::Duration pause_min = std::chrono::milliseconds(5);
constexpr ring::Duration pause_max = std::chrono::seconds(1);

// A program that lies beside the running one.
std::string beside_us(const char* name) {
  auto self = sys::read_link_at(sys::working_directory, "/proc/self/exe");
  if (!self) return name;
  return cat(self->substr(0, self->rfind('/')), "/", name);
}

}  // namespace

struct Client::State {
  struct Call {
    ring::Notice done;
    std::optional<Result<Packet>> outcome;
    Parking parking;
  };
  struct Parked {
    Parking about;
    std::vector<Fd> descriptors;
    bool has_input = false;
  };

  State(Loop& loop_in, ClientOptions options_in)
      : loop(loop_in), options(std::move(options_in)), scope(loop_in, [](const Error&) {}) {}

  Loop& loop;
  ClientOptions options;
  EventHandlers handlers;
  bool listening = false;
  std::vector<std::pair<uint8_t, std::string>> untold;  // events from before listen()
  std::shared_ptr<const Fd> socket;
  std::shared_ptr<Outbox> outbox;
  std::map<uint64_t, std::shared_ptr<Call>> calls;
  std::map<std::string, Parked> parked;
  uint64_t last_request = 0;
  bool connected = false;  // and what was parked has been handed back
  bool closing = false;
  ring::Notice connection_changed;
  ring::Scope scope;

  Task<> open_connection();
  Task<> start_core();
  Task<> serve();
  Task<> read_packets();
  void dispatch(Packet packet);
  void answer(uint64_t number, Result<Packet> outcome);
  void hear(uint8_t code, const std::string& payload);
  void lose_connection();
  void park(const Parking& parking, std::vector<Fd> descriptors);
  Task<Packet> request(uint8_t code, std::string payload, std::vector<int> descriptors,
                       Parking parking);
  Task<> hand_back();
  Task<> hand_back_all();
};

Task<> Client::State::start_core() {
  const Fd program = co_await sys::open_at(sys::working_directory, options.program.c_str(), O_PATH);
  sys::SpawnOptions spawning;
  spawning.program = &program;
  spawning.arguments = {"nacelle-core", "--background", "--run",         options.run_directory,
                        "--worker",     options.worker, "--cgroup-root", options.cgroup_root};
  for (const char* name : {"NACELLE_CORE_FAULT", "NACELLE_WORKER_FAULT"}) {
    if (const char* value = ::getenv(name)) spawning.environment.push_back(cat(name, "=", value));
  }
  const Fd process = co_await sys::spawn(spawning);
  const auto ended = co_await as_result(ring::with_deadline(loop, ring::readable(loop, process),
                                                            start_limit, "starting nacelle-core"));
  if (!ended) (void)sys::kill_process(process, SIGKILL);
  const int status = co_await sys::reap(process);
  co_await ended;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    co_await fail(Kind::Unavailable, cat("nacelle-core did not start; ", options.run_directory,
                                         "/core.log may say why"));
  }
}

Task<> Client::State::open_connection() {
  const std::string path = cat(options.run_directory, "/core.sock");
  auto connected_now = connect_packets(path);
  if (!connected_now && (connected_now.error().error_number() == ENOENT ||
                         connected_now.error().error_number() == ECONNREFUSED)) {
    co_await start_core();
    connected_now = connect_packets(path);
  }
  Fd opened = co_await std::move(connected_now);
  co_await check_peer(opened);
  socket = std::make_shared<const Fd>(std::move(opened));
  outbox = std::make_shared<Outbox>(loop, scope, socket);
}

void Client::State::lose_connection() {
  connected = false;
  outbox.reset();
  socket.reset();
  for (auto& [number, each] : std::exchange(calls, {})) {
    each->outcome = Result<Packet>(fail(Kind::Unavailable, "nacelle-core has ended"));
    each->done.notify_all();
  }
}

// One connection after the other.
Task<> Client::State::serve() {
  ring::Duration pause = pause_min;
  while (true) {
    const auto ended = co_await as_result(read_packets());
    const bool cancelled = !ended && ended.error().kind() == Kind::Cancelled;
    lose_connection();
    if (cancelled || closing) co_return;
    while (!connected) {
      const auto opened = co_await as_result(open_connection());
      if (!opened) {
        if (opened.error().kind() == Kind::Cancelled) co_return;
        co_await ring::sleep_for(loop, pause);
        pause = std::min(pause * 2, pause_max);
        continue;
      }
      pause = pause_min;
      break;
    }
    // Its replies are read by the turns of this loop.
    scope.start(hand_back_all());
  }
}

Task<> Client::State::hand_back_all() {
  const std::shared_ptr<const Fd> mine = socket;
  const auto handed = co_await as_result(hand_back());
  if (!handed || socket != mine) co_return;  // lost again: serve() sees it, too
  connected = true;
  connection_changed.notify_all();
  if (handlers.restarted) handlers.restarted();
}

Task<> Client::State::hand_back() {
  // The same core as before takes it as read.
  std::vector<std::string> keys;
  for (const auto& [key, each] : parked) keys.push_back(key);
  for (const std::string& key : keys) {
    const auto found = parked.find(key);
    if (found == parked.end()) continue;
    const Parked& each = found->second;
    ParkedRequest back;
    back.id = each.about.id;
    back.exec = each.about.exec;
    back.terminal = each.about.terminal;
    back.open_stdin = each.has_input;
    std::vector<int> numbers;
    for (const Fd& fd : each.descriptors) {
      if (fd) numbers.push_back(fd.get());
    }
    const auto taken = co_await as_result(
        request(ParkedRequest::code, codec::flat::encode(back), std::move(numbers), {}));
    if (!taken && taken.error().kind() == Kind::NotFound) parked.erase(key);
    if (!taken && taken.error().kind() == Kind::Unavailable)
      co_await std::unexpected(taken.error());
  }
}

Task<> Client::State::read_packets() {
  const std::shared_ptr<const Fd> mine = socket;
  while (true) {
    auto raw = receive_raw(*mine, packet_bytes_max, descriptors_max + 1);
    if (raw && !raw->has_value()) {
      co_await ring::poll(loop, *mine, POLLIN);
      continue;
    }
    if (!raw && raw.error().kind() == Kind::Unavailable) co_return;
    if (!raw) continue;
    RawPacket received = **std::move(raw);
    // No room for its descriptors. They are core's to keep and ours to hold for it: what the reply
    // says has happened all the same.
    if (received.refused) {
      received.descriptors.clear();
      received.refused.reset();
    }
    uint64_t number = 0;
    auto packet = parse_packet(std::move(received), number);
    if (packet) {
      dispatch(*std::move(packet));
    } else {
      answer(number, std::unexpected(std::move(packet).error()));
    }
  }
}

void Client::State::park(const Parking& parking, std::vector<Fd> descriptors) {
  if (parking.deed == Parking::Deed::Drop) {
    parked.erase(key_of(parking.id, parking.exec));
    if (!parking.exec.empty()) return;
    std::erase_if(parked, [&](const auto& one) { return one.second.about.id == parking.id; });
  }
  if (parking.deed != Parking::Deed::Park || descriptors.empty()) return;
  Parked& place = parked[key_of(parking.id, parking.exec)];
  place.about = parking;
  place.has_input = parking.open_stdin;
  place.descriptors = std::move(descriptors);
}

void Client::State::dispatch(Packet packet) {
  const auto kind = static_cast<PacketKind>(packet.header.kind);
  if (kind == PacketKind::Event) return hear(packet.header.code, packet.payload);
  const uint64_t number = packet.header.request;
  if (kind == PacketKind::Error) {
    const auto error = codec::flat::decode<ErrorReply>(packet.payload, "nacelle-core's error");
    return answer(number, std::unexpected(error ? from_reply(*error) : error.error()));
  }
  // Its end is no death: there is to be no other one.
  if (packet.header.code == ShutdownRequest::code) closing = true;
  answer(number, std::move(packet));
}

void Client::State::answer(uint64_t number, Result<Packet> outcome) {
  const auto found = calls.find(number);
  if (found == calls.end()) return;
  const std::shared_ptr<Call> call = std::move(found->second);
  calls.erase(found);
  if (outcome) park(call->parking, std::move(outcome->descriptors));
  call->outcome = std::move(outcome);
  call->done.notify_all();
}

void Client::State::hear(uint8_t code, const std::string& payload) {
  if (!listening) {
    untold.emplace_back(code, payload);
    return;
  }
  const auto pass = [&]<class Event>(const std::function<void(const Event&)>& handler) {
    const auto event = codec::flat::decode<Event>(payload, "nacelle-core's event");
    if (event && handler) handler(*event);
  };
  switch (code) {
    case OomEvent::code: return pass(handlers.oom);
    case PoolLowEvent::code: return pass(handlers.pool_low);
    case AddressFreeEvent::code: return pass(handlers.address_free);
    case LogTroubleEvent::code: return pass(handlers.log_trouble);
    case ClientLeftEvent::code: return pass(handlers.client_left);
    case ExitedEvent::code:
      if (const auto event = codec::flat::decode<ExitedEvent>(payload, "event")) {
        // Only the record is left to be asked for, and that is on disk.
        if (const auto found = parked.find(key_of(event->id, event->exec));
            found != parked.end() && found->second.descriptors.size() > 1) {
          found->second.descriptors.resize(1);
        }
        if (handlers.exited) handlers.exited(*event);
      }
      return;
    case InputEndedEvent::code:
      if (const auto event = codec::flat::decode<InputEndedEvent>(payload, "event")) {
        const auto found = parked.find(key_of(event->id, event->exec));
        if (found == parked.end() || !found->second.has_input) return;
        Parked& each = found->second;
        each.has_input = false;
        if (!each.about.terminal && each.descriptors.size() > 1) {
          each.descriptors.erase(each.descriptors.begin() + 1);
        }
      }
      return;
    default: return;
  }
}

Task<Packet> Client::State::request(uint8_t code, std::string payload, std::vector<int> descriptors,
                                    Parking parking) {
  if (!outbox) co_return fail(Kind::Unavailable, "nacelle-core is not there");
  const uint64_t number = ++last_request;
  const auto call = std::make_shared<Call>();
  call->parking = std::move(parking);
  calls[number] = call;
  struct Forget {
    State& state;
    uint64_t number;
    ~Forget() { state.calls.erase(number); }
  } forget{*this, number};
  co_await outbox->send_packet(PacketKind::Request, code, number, payload, descriptors);
  payload = std::string();
  while (!call->outcome) co_await call->done.wait();
  co_return *std::move(call->outcome);
}

static Task<> until_connected(std::shared_ptr<Client::State> state) {
  while (!state->connected && !state->closing) co_await state->connection_changed.wait();
}

Client::Client(std::shared_ptr<State> state) : state_(std::move(state)) {}
Client::~Client() = default;

const std::string& Client::program() const { return state_->options.program; }

Task<std::unique_ptr<Client>> Client::connect(Loop& loop, ClientOptions options) {
  if (options.program.empty()) options.program = beside_us("nacelle-core");
  if (options.worker.empty()) options.worker = beside_us("nacelle-worker");
  const auto state = std::make_shared<State>(loop, std::move(options));
  co_await state->open_connection();
  state->scope.start(state->serve());
  std::unique_ptr<Client> client(new Client(state));
  // A connection may be closed at once: one engine at a time. By asking, core knows that nobody has
  // descriptors for it.
  const auto answer = co_await as_result(
      state->request(ListRequest::code, codec::flat::encode(ListRequest{}), {}, {}));
  Result<ListRequest::Reply> known =
      answer ? codec::flat::decode<ListRequest::Reply>(answer->payload, "list")
             : Result<ListRequest::Reply>(std::unexpected(answer.error()));
  if (!known) {
    (void)co_await as_result(client->close());
    co_return std::unexpected(known.error().kind() == Kind::Unavailable
                                  ? Error(Kind::Conflict, "another engine uses this nacelle-core")
                                  : known.error());
  }
  state->connected = true;
  co_return client;
}

void Client::listen(EventHandlers handlers) {
  state_->handlers = std::move(handlers);
  state_->listening = true;
  for (const auto& [code, payload] : std::exchange(state_->untold, {})) state_->hear(code, payload);
}

Task<std::string> Client::exchange(uint8_t code, std::string payload,
                                   std::vector<const Fd*> descriptors, Parking parking) {
  const std::shared_ptr<State> state = state_;
  if (state->closing) co_return fail(Kind::Cancelled, "the connection is closing");
  while (!state->connected) {
    co_await ring::with_deadline(state->loop, until_connected(state), start_limit,
                                 "waiting for nacelle-core");
  }
  std::vector<int> numbers;
  for (const Fd* each : descriptors) numbers.push_back(each->get());
  Packet reply =
      co_await state->request(code, std::move(payload), std::move(numbers), std::move(parking));
  co_return std::move(reply.payload);
}

Task<> Client::close() {
  const std::shared_ptr<State> state = state_;
  state->closing = true;
  state->scope.cancel();
  co_await state->scope.join();
  state->lose_connection();
}

}  // namespace nacelle::core
