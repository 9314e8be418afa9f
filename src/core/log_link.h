// Core's end of the connection to the log worker: passes on what it says, and holds the work pipe
// (logs/messages.h). Nothing of any container.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "core/worker_link.h"
#include "logs/messages.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"

namespace nacelle::core {

class LogLink {
 public:
  struct Handlers {
    // A new worker is there and knows nothing: everything is to be said again.
    std::function<void()> started;
    std::function<void(const logs::Drained&)> drained;
    std::function<void(const logs::ClientLeft&)> client_left;
    std::function<void(const logs::LogTrouble&)> trouble;
    std::function<void(const logs::InputEnded&)> input_ended;
  };
  // The scope is cancelled and joined before the link goes.
  LogLink(ring::Loop& loop, ring::Scope& scope, std::string program, Handlers handlers);

  Result<> start();
  // After a re-exec: the worker goes on as it was.
  struct Kept {
    WorkerLink::Kept worker;
    int pipe_read = -1, pipe_write = -1;
    template <class Visit>
    void fields(Visit& visit) {
      visit(worker, pipe_read, pipe_write);
    }
  };
  Kept kept() const;
  void take_over(const Kept& kept);

  // Lost when no worker is there: `started` says it again.
  template <class Message>
  Result<> send(const Message& message, std::span<const int> descriptors = {}) {
    return worker_.send(message, descriptors);
  }
  bool all_sent() const { return worker_.all_sent(); }
  const std::string& error() const { return worker_.error(); }

 private:
  void dispatch(uint8_t code, std::string_view bytes);

  Handlers handlers_;
  Fd pipe_read_, pipe_write_;
  WorkerLink worker_;
};

}  // namespace nacelle::core
