// The engine's end of the connection to nacelle-core. Calls may be made side by side; each reply
// finds its caller. Starts a core where none listens, and another one when it dies: then all that
// was parked is handed back, `on_restart` is called, and calls that were under way fail with
// Unavailable.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/messages.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::core {

struct ClientOptions {
  std::string run_directory = "/run/nacelle";  // core.sock lies in it
  std::string program;  // nacelle-core; empty: beside the running program
  std::string worker;   // nacelle-worker; empty: the same
  std::string cgroup_root = "nacelle";  // below the root of the cgroup v2 tree
};

struct EventHandlers {
  std::function<void(const OomEvent&)> oom;
  std::function<void(const ExitedEvent&)> exited;
  std::function<void(const PoolLowEvent&)> pool_low;
  std::function<void(const AddressFreeEvent&)> address_free;
  std::function<void(const LogTroubleEvent&)> log_trouble;
  std::function<void(const ClientLeftEvent&)> client_left;
  std::function<void()> restarted;
};

class Client {
 public:
  static ring::Task<std::unique_ptr<Client>> connect(ring::Loop& loop, ClientOptions options,
                                                     EventHandlers handlers);
  ~Client();

  // `descriptors` are borrowed until the call ends. What a reply brings along and is to be parked
  // is kept in here.
  template <class Request>
  ring::Task<typename Request::Reply> call(Request request,
                                           std::vector<const Fd*> descriptors = {});

  // Waits until what runs has ended; no more calls.
  ring::Task<> close();

  struct State;

 private:
  explicit Client(std::unique_ptr<State> state);
  ring::Task<std::string> exchange(uint8_t code, std::string payload,
                                   std::vector<const Fd*> descriptors);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::core
