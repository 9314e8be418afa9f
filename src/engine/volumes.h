// Volumes: directories <data root>/volumes/<name>/_data with a record beside them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/events.h"
#include "engine/model.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::engine {

struct Volume {
  std::string name, driver = "local", mountpoint, created_at;  // RFC 3339
  Labels labels, options;  // options as for Docker's local driver: type, o, device
  bool anonymous = false;
};

class Volumes {
 public:
  // Reads what is there.
  static Result<std::unique_ptr<Volumes>> open(ring::Loop& loop, std::string data_root,
                                               Events& events);
  ~Volumes();

  std::vector<Volume> list() const;
  Result<Volume> find(const std::string& name) const;  // NotFound `get x: no such volume`
  // `name` empty: an anonymous one. The same name with the same driver again is that volume.
  Result<Volume> create(std::string name, std::string driver, Labels labels, Labels options,
                        bool anonymous);
  // Conflict while a container uses it: `remove x: volume is in use - [ids]`.
  ring::Task<> remove(std::string name, bool force);
  // Those unused; `all`: named ones too. Returns names and freed bytes.
  struct Pruned {
    std::vector<std::string> names;
    uint64_t bytes = 0;
  };
  ring::Task<Pruned> prune(bool all, std::vector<std::string> label_filters);
  ring::Task<uint64_t> size(std::string name);

  // A container (running or not) refers to the volume.
  void hold(const std::string& name, const std::string& container);
  void let_go(const std::string& name, const std::string& container);
  std::vector<std::string> holders(const std::string& name) const;

  // What a start needs: the directory to be bound, mounted where the volume has options of `local`
  // that say so (tmpfs, bind, nfs): then a detached mount's descriptor goes with the plan.
  Result<std::string> source_of(const std::string& name);

  struct State;

 private:
  explicit Volumes(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::engine
