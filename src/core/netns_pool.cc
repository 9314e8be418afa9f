#include "core/netns_pool.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "base/text.h"
#include "codec/flat.h"
#include "core/netns_maker.h"
#include "ring/notice.h"
#include "ring/ops.h"
#include "sys/process.h"

namespace nacelle::core {

using ring::Task;

namespace {

constexpr const char* pooled_interface_name = "eth0";
constexpr std::chrono::seconds maker_patience{10};
// The kernel takes namespaces apart one batch after the other, and holds the lock of all links most
// of that time, whether a batch is of one or of many: they are let go together.
constexpr size_t used_max = 32;
constexpr std::chrono::milliseconds used_pause{300};

struct MakerAnswer {
  Result<std::vector<Fd>> made;
  std::vector<uint32_t> links;
};
struct Made {
  std::vector<Fd> descriptors;  // what came with the answer
  std::vector<uint32_t> links;
};

// In the order they were asked for in.
void note_links(std::vector<Interface>& interfaces, const std::vector<uint32_t>& links) {
  for (size_t at = 0; at < interfaces.size() && at < links.size(); ++at) {
    interfaces[at].link = links[at];
  }
}

struct Network {
  PoolRequest settings;          // without its addresses
  std::set<std::string> known;   // every address the pool was given
  std::deque<std::string> free;  // the one that was free for longest comes first
  std::deque<ReadyNamespace> ready;
  bool refilling = false;
  bool told_low = false;
};

}  // namespace

struct NetnsPool::State {
  State(ring::Loop& loop_in, const Fd& program_in, Handlers handlers_in)
      : loop(loop_in),
        program(program_in),
        handlers(std::move(handlers_in)),
        background(loop_in, [](const Error&) {}) {}  // who takes next sees the error himself

  ring::Loop& loop;
  const Fd& program;
  Handlers handlers;
  std::map<std::string, Network> networks;               // "": `lo` alone
  std::set<std::pair<std::string, std::string>> in_use;  // network and address
  std::vector<Fd> used;                                  // namespaces nobody is in any more
  bool letting_go = false;
  Fd control;  // the maker's; empty: none runs
  Fd maker;
  bool busy = false;  // one request is with the maker
  ring::Notice idle;
  uint64_t waiting = 0;
  bool closing = false;
  bool links_known = true;
  std::string pins;
  std::vector<Interface> gone;  // the maker is yet to hear of it
  bool forgetting = false;
  ring::Scope background;

  Result<> start_maker();
  void end_maker();
  // `place`: of the namespace that the request is about; none where one is to be made.
  Task<Made> make(MakeRequest request, bool patient, const Fd* place = nullptr);
  Task<MakerAnswer> ask(MakeRequest request, const Fd* place);
  Result<Interface> complete(const Interface& wanted);
  void release(const std::vector<Interface>& interfaces);
  void forget_links(const std::vector<Interface>& interfaces);
  Task<> tell_gone();
  Task<> leave_ready();
  MakeRequest next_gone();
  void refill_later(const std::string& name);
  Task<> refill(std::string name);
  void tell_if_low(Network& network);
  Task<> let_go();
};

Result<> NetnsPool::State::start_maker() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno(errno, "socketpair");
  }
  Fd ours(ends[0]);
  const Fd its(ends[1]);
  sys::SpawnOptions options;
  options.program = &program;
  options.arguments = {"nacelle-core", netns_maker_argument, pins};
  options.descriptors = {&its};
  maker = TRY(sys::spawn(options).context("starting the maker of network namespaces"));
  control = std::move(ours);
  return {};
}

// It holds nothing that matters: the next request starts another one.
void NetnsPool::State::end_maker() {
  control = Fd();
  if (!maker) return;
  (void)sys::kill_process(maker, SIGKILL);
  (void)sys::reap(maker);
  maker = Fd();
}

// An error of the task means that the maker is of no more use; one in the value is its answer.
Task<MakerAnswer> NetnsPool::State::ask(MakeRequest request, const Fd* place) {
  const std::string bytes = codec::flat::encode(request);
  if (bytes.size() > maker_packet_bytes_max) {
    co_return MakerAnswer{fail(Kind::Exhausted, "too many network interfaces"), {}};
  }
  if (place != nullptr) {
    const Fd* const along[] = {place};
    co_await ring::send_message(loop, control, bytes, along);
  } else {
    co_await ring::send(loop, control, bytes);
  }
  std::string buffer(maker_packet_bytes_max, '\0');
  ring::Message answer =
      co_await ring::receive_message(loop, control, buffer, maker_descriptors_max);
  if (answer.bytes == 0) co_return fail(Kind::Internal, "the maker of network namespaces ended");
  const auto reply = co_await codec::flat::decode<MakeReply>(
      std::string_view(buffer).substr(0, answer.bytes), "the maker's answer");
  if (!reply.error.empty()) {
    // Its own kinds only: the last one is Internal.
    const auto kind = std::min(static_cast<Kind>(reply.error_kind), Kind::Internal);
    co_return MakerAnswer{fail(kind, reply.error), {}};
  }
  const bool serves = request.serves || request.task == MakerTask::Serve;
  const size_t expected = (request.task == MakerTask::Make ? 1u : 0u) + (serves ? 4u : 0u);
  if (answer.descriptors.size() != expected) {
    co_return fail(Kind::Internal, "the maker's answer came without what it made");
  }
  co_return MakerAnswer{std::move(answer.descriptors), reply.links};
}

// A start that waits goes before the pool's own wishes.
Task<Made> NetnsPool::State::make(MakeRequest request, bool patient, const Fd* place) {
  if (!patient) ++waiting;
  Result<> turn;
  while (turn && (busy || !links_known || (patient && waiting > 0)) && !(closing && !busy)) {
    turn = co_await as_result(idle.wait());
  }
  if (!patient) --waiting;
  co_await std::move(turn);
  if (closing) co_return fail(Kind::Cancelled, "the pool is closed");
  busy = true;
  Result<Made> made = fail(Kind::Internal, "");
  if (Result<> there = control ? Result<>() : start_maker(); !there) {
    made = std::unexpected(std::move(there).error());
  } else {
    Result<MakerAnswer> answer = co_await as_result(
        with_deadline(loop, ask(std::move(request), place), maker_patience, "a network namespace"));
    if (answer && answer->made) {
      made = Made{*std::move(answer->made), std::move(answer->links)};
    } else if (answer) {
      made = std::unexpected(std::move(answer->made).error());
    } else {
      end_maker();
      made = std::unexpected(std::move(answer).error());
    }
  }
  busy = false;
  idle.notify_all();
  co_return std::move(made);
}

// An interface with everything that is left to the pool filled in; its address is in use from here.
Result<Interface> NetnsPool::State::complete(const Interface& wanted) {
  Interface whole = wanted;
  if (whole.name.empty()) whole.name = pooled_interface_name;
  if (const auto found = networks.find(whole.network); found != networks.end()) {
    Network& network = found->second;
    if (whole.address.empty()) {
      if (network.free.empty()) {
        return fail(Kind::Exhausted, cat("network ", whole.network, ": no address is free"));
      }
      whole.address = std::move(network.free.front());
      network.free.pop_front();
      tell_if_low(network);
    } else {
      std::erase(network.free, whole.address);
    }
    if (whole.gateway.empty()) whole.gateway = network.settings.gateway;
    if (whole.prefix_len == 0) whole.prefix_len = network.settings.prefix_len;
    if (whole.mtu == 0) whole.mtu = network.settings.mtu;
  }
  if (whole.mac.empty()) whole.mac = mac_of_address(whole.address);
  in_use.emplace(whole.network, whole.address);
  return whole;
}

void NetnsPool::State::release(const std::vector<Interface>& interfaces) {
  for (const Interface& each : interfaces) {
    in_use.erase({each.network, each.address});
    const auto network = networks.find(each.network);
    if (network == networks.end() || !network->second.known.contains(each.address)) continue;
    network->second.free.push_back(each.address);
    network->second.told_low = false;
    refill_later(each.network);
  }
}

// What was at these links is gone, or about to go: their addresses may be others' soon.
void NetnsPool::State::forget_links(const std::vector<Interface>& interfaces) {
  if (pins.empty() || closing) return;
  for (const Interface& each : interfaces) {
    if (each.link != 0) gone.push_back(each);
  }
  if (gone.empty() || std::exchange(forgetting, true)) return;
  background.start(tell_gone());
}

Task<> NetnsPool::State::tell_gone() {
  Result<> told;
  while (told && !gone.empty()) {
    Result<Made> done = co_await as_result(make(next_gone(), true));
    if (!done) told = std::unexpected(std::move(done).error());
  }
  forgetting = false;
  co_await std::move(told);
}

// What is ready goes; who comes next makes his own.
Task<> NetnsPool::State::leave_ready() {
  for (auto& [name, network] : networks) {
    for (const ReadyNamespace& each : network.ready) {
      gone.insert(gone.end(), each.interfaces.begin(), each.interfaces.end());
    }
  }
  networks.clear();
  while (control && !pins.empty() && !gone.empty()) {
    Result<MakerAnswer> answer = co_await as_result(
        with_deadline(loop, ask(next_gone(), nullptr), maker_patience, "the maker of links"));
    if (!answer) co_return;  // core looks for what is left when it begins
  }
}

MakeRequest NetnsPool::State::next_gone() {
  constexpr size_t at_once_max = 32;  // below maker_packet_bytes_max
  const auto end = gone.begin() + static_cast<std::ptrdiff_t>(std::min(gone.size(), at_once_max));
  MakeRequest request{.task = MakerTask::Forget, .interfaces = {gone.begin(), end}};
  gone.erase(gone.begin(), end);
  return request;
}

void NetnsPool::State::tell_if_low(Network& network) {
  if (network.told_low || network.free.size() >= network.settings.ready) return;
  network.told_low = true;
  handlers.low({network.settings.network, static_cast<uint32_t>(network.free.size())});
}

void NetnsPool::State::refill_later(const std::string& name) {
  Network& network = networks.find(name)->second;
  if (network.refilling || closing || network.ready.size() >= network.settings.ready) return;
  if (!name.empty() && network.free.empty()) return;
  network.refilling = true;
  background.start(refill(name));
}

Task<> NetnsPool::State::refill(std::string name) {
  Network& network = networks.find(name)->second;
  Result<> going;
  while (going && !closing && network.ready.size() < network.settings.ready) {
    std::vector<Interface> interfaces;
    if (!name.empty()) {
      if (network.free.empty()) break;
      Result<Interface> whole = complete(
          {.network = name, .name = pooled_interface_name, .isolated = network.settings.isolated});
      if (!whole) break;
      interfaces = {*std::move(whole)};
    }
    Result<Made> made = co_await as_result(make({.interfaces = interfaces}, true));
    if (made) {
      note_links(interfaces, made->links);
      network.ready.push_back({std::move(made->descriptors.front()), std::move(interfaces), {}});
    } else {
      network.refilling = true;  // release() must not begin another round
      release(interfaces);
      going = std::unexpected(std::move(made).error());
    }
  }
  network.refilling = false;
  co_await std::move(going);
}

NetnsPool::NetnsPool(ring::Loop& loop, const Fd& program, Handlers handlers)
    : state_(std::make_unique<State>(loop, program, std::move(handlers))) {}
NetnsPool::~NetnsPool() = default;

void NetnsPool::await_links() { state_->links_known = false; }
void NetnsPool::use_links(std::string pins) {
  state_->pins = std::move(pins);
  state_->links_known = true;
  state_->idle.notify_all();
}

Result<> NetnsPool::configure(const PoolRequest& request) {
  Network& network = state_->networks[request.network];
  network.settings = request;
  network.settings.addresses.clear();
  for (const std::string& address : request.addresses) {
    if (mac_of_address(address).empty()) {
      return fail(Kind::Invalid, cat("network ", request.network, ": address '", address, "'"));
    }
    if (!network.known.insert(address).second) continue;
    if (!state_->in_use.contains({request.network, address})) network.free.push_back(address);
  }
  network.told_low = false;
  while (network.ready.size() > request.ready) {
    ReadyNamespace surplus = std::move(network.ready.back());
    network.ready.pop_back();
    state_->forget_links(surplus.interfaces);
    state_->release(surplus.interfaces);
  }
  state_->refill_later(request.network);
  return {};
}

Task<ReadyNamespace> NetnsPool::take(std::vector<Interface> interfaces, bool serves) {
  State& state = *state_;
  const std::string name = interfaces.empty() ? std::string() : interfaces.front().network;
  const bool of_pool =
      (interfaces.empty() && !serves) ||
      (interfaces.size() == 1 && !serves && interfaces[0].address.empty() &&
       interfaces[0].mac.empty() &&
       (interfaces[0].name.empty() || interfaces[0].name == pooled_interface_name));
  const auto network = state.networks.find(name);
  if (of_pool && network != state.networks.end() && !network->second.ready.empty()) {
    ReadyNamespace taken = std::move(network->second.ready.front());
    network->second.ready.pop_front();
    state.refill_later(name);
    co_return taken;
  }
  ReadyNamespace fresh;
  Result<> complete;
  for (const Interface& each : interfaces) {
    Result<Interface> whole = state.complete(each);
    if (whole) {
      fresh.interfaces.push_back(*std::move(whole));
    } else {
      complete = std::unexpected(std::move(whole).error());
      break;
    }
  }
  MakeRequest request{.interfaces = fresh.interfaces, .serves = serves};
  Result<Made> made = std::unexpected(Error(Kind::Internal, ""));
  if (complete) {
    made = co_await as_result(state.make(std::move(request), false));
  } else {
    made = std::unexpected(complete.error());
  }
  if (!made) {
    state.release(fresh.interfaces);
    co_return std::unexpected(std::move(made).error());
  }
  fresh.descriptor = std::move(made->descriptors.front());
  fresh.name_sockets.assign(std::make_move_iterator(made->descriptors.begin() + 1),
                            std::make_move_iterator(made->descriptors.end()));
  note_links(fresh.interfaces, made->links);
  if (network != state.networks.end()) state.refill_later(name);
  co_return fresh;
}

Task<Interface> NetnsPool::add(const Fd& place, Interface wanted, std::vector<Interface> rest) {
  Interface whole = co_await state_->complete(wanted);
  MakeRequest request{.task = MakerTask::Add, .interfaces = {whole}, .rest = std::move(rest)};
  Result<Made> added = co_await as_result(state_->make(std::move(request), false, &place));
  if (!added) {
    state_->release({whole});
    co_return std::unexpected(std::move(added).error());
  }
  if (!added->links.empty()) whole.link = added->links.front();
  co_return whole;
}

Task<std::vector<Fd>> NetnsPool::serve(const Fd& place) {
  Made made = co_await state_->make({.task = MakerTask::Serve}, false, &place);
  co_return std::move(made.descriptors);
}

Task<> NetnsPool::remove(const Fd& place, Interface gone, std::vector<Interface> rest) {
  MakeRequest request{.task = MakerTask::Remove, .interfaces = {gone}, .rest = std::move(rest)};
  (void)co_await state_->make(std::move(request), false, &place);
  state_->release({gone});
}

Task<> NetnsPool::State::let_go() {
  (void)co_await as_result(ring::sleep_for(loop, used_pause));
  used.clear();
  letting_go = false;
}

void NetnsPool::give_back(ReadyNamespace used) {
  State& state = *state_;
  if (used.descriptor) state.used.push_back(std::move(used.descriptor));
  state.forget_links(used.interfaces);
  state.release(used.interfaces);
  if (state.used.size() >= used_max) state.used.clear();
  if (state.used.empty() || state.letting_go || state.closing) return;
  state.letting_go = true;
  state.background.start(state.let_go());
}

bool NetnsPool::keeps(const Interface& interface) const {
  const auto network = state_->networks.find(interface.network);
  return network != state_->networks.end() && network->second.known.contains(interface.address);
}

void NetnsPool::adopt(const std::vector<Interface>& in_use) {
  for (const Interface& each : in_use) {
    state_->in_use.emplace(each.network, each.address);
    const auto network = state_->networks.find(each.network);
    if (network != state_->networks.end()) std::erase(network->second.free, each.address);
  }
}

uint64_t NetnsPool::ready() const {
  uint64_t count = 0;
  for (const auto& [name, network] : state_->networks) count += network.ready.size();
  return count;
}

uint64_t NetnsPool::backlog() const { return state_->waiting + (state_->busy ? 1 : 0); }

Task<> NetnsPool::close() {
  state_->closing = true;
  state_->idle.notify_all();
  state_->background.cancel();
  co_await state_->background.join();
  while (state_->busy) co_await state_->idle.wait();
  co_await state_->leave_ready();
  state_->end_maker();
}

}  // namespace nacelle::core
