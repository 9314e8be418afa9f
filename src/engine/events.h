// What happened, as Docker tells it: kept (the last 256, as Docker does) for those who ask later,
// and given to those who listen. A listener that does not keep up loses its place, never the
// engine.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::engine {

struct Event {
  std::string type;    // "container" "image" "volume" "network" "daemon"
  std::string action;  // "create" "start" "die" "exec_create: sh" "health_status: healthy" ...
  std::string actor;   // id or name
  std::map<std::string, std::string> attributes;  // of a container: image, name and its labels
  int64_t time_ns = 0;                            // since 1970
};

class Events {
 public:
  explicit Events(ring::Loop& loop);
  ~Events();

  void publish(std::string type, std::string action, std::string actor,
               std::map<std::string, std::string> attributes = {});
  // Of those kept, from `since_ns` to `until_ns` (0: no bound).
  std::vector<Event> past(int64_t since_ns, int64_t until_ns) const;

  // A listener hears all that is published while it lives.
  class Listener {
   public:
    virtual ~Listener() = default;
    // Waits. Exhausted: too many were not fetched, and are lost.
    virtual ring::Task<Event> next() = 0;
  };
  std::unique_ptr<Listener> listen();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::engine
