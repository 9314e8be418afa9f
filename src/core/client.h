// The engine's end of the connection to nacelle-core. Calls may be made side by side; each reply
// finds its caller. Starts a core where none listens, and another one when it dies: then all that
// was parked is handed back, `restarted` is called, and calls that were under way fail with
// Unavailable.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "codec/flat.h"
#include "core/messages.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::core {

struct ClientOptions {
  std::string run_directory = "/run/nacelle";  // core.sock lies in it
  std::string program;                         // nacelle-core; empty: beside the running program
  std::string worker;                          // nacelle-worker; empty: the same
  std::string cgroup_root = "nacelle";         // below the root of the cgroup v2 tree
};

struct EventHandlers {
  std::function<void(const OomEvent&)> oom;
  std::function<void(const ExitedEvent&)> exited;
  std::function<void(const PoolLowEvent&)> pool_low;
  std::function<void(const AddressFreeEvent&)> address_free;
  std::function<void(const LogTroubleEvent&)> log_trouble;
  std::function<void(const ClientLeftEvent&)> client_left;
  std::function<void()> restarted;  // another core is there: what it knows is to be asked again
};

class Client {
 public:
  // `loop` outlives the client; close() comes before its end.
  static ring::Task<std::unique_ptr<Client>> connect(ring::Loop& loop, ClientOptions options);
  ~Client();

  // Once: events are told from here on, first those that have come already. What the handlers use
  // is there by then, the client too. A handler may not destroy it.
  void listen(EventHandlers handlers);

  // `descriptors` are borrowed until the call ends. What a reply brings along and is to be parked
  // is kept in here.
  template <class Request>
  ring::Task<typename Request::Reply> call(Request request,
                                           std::vector<const Fd*> descriptors = {}) {
    Parking parking = parking_of(request);
    std::string payload = codec::flat::encode(request);
    std::string reply = co_await exchange(Request::code, std::move(payload), std::move(descriptors),
                                          std::move(parking));
    co_return codec::flat::decode<typename Request::Reply>(reply, "nacelle-core's reply");
  }

  const std::string& program() const;  // what a core is started from

  // Waits until what runs has ended; no more calls.
  ring::Task<> close();

  struct State;
  // What becomes of a reply's descriptors, and of those parked before.
  struct Parking {
    enum class Deed : uint8_t { Nothing, Park, Drop } deed = Deed::Nothing;
    std::string id, exec;
    bool terminal = false, open_stdin = false;
  };

 private:
  explicit Client(std::shared_ptr<State> state);
  template <class Request>
  static Parking parking_of(const Request& request) {
    if constexpr (std::is_same_v<Request, StartRequest>) {
      return {Parking::Deed::Park, request.id, "", request.terminal, request.open_stdin};
    } else if constexpr (std::is_same_v<Request, ExecRequest>) {
      return {Parking::Deed::Park, request.id, request.exec, request.terminal, request.open_stdin};
    } else if constexpr (std::is_same_v<Request, ForgetRequest>) {
      return {Parking::Deed::Drop, request.id, request.exec};
    } else {
      return {};
    }
  }
  ring::Task<std::string> exchange(uint8_t code, std::string payload,
                                   std::vector<const Fd*> descriptors, Parking parking);
  std::shared_ptr<State> state_;
};

}  // namespace nacelle::core
