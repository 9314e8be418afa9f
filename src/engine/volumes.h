// Volumes: directories <data root>/volumes/<name>/_data with a record beside them. A volume is
// there whole or not at all. What is in one is its users': this room never follows a path inside.
#pragma once

#include <cstdint>
#include <functional>
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
  template <class V>
  void describe(V& v) {
    v("Name", name);
    v("Driver", driver);
    v("CreatedAt", created_at);
    v("Labels", labels);
    v("Options", options);
    v("Anonymous", anonymous);
  }
};

// What is mounted where a container wants a volume, as an oci::Mount says it.
struct VolumeMount {
  std::string type;    // "bind", or what the volume's options say: "tmpfs", "nfs", ...
  std::string source;  // a directory on the host, or whatever the file system takes
  std::vector<std::string> options;
};

class Volumes {
 public:
  // Reads what is there. A volume whose record cannot be read keeps its data and is shown without
  // labels; nothing can be started with it that would take it for something else.
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
  // `chosen` may be empty: all of those.
  ring::Task<Pruned> prune(bool all, std::function<bool(const Volume&)> chosen);
  // Counted by a worker. 0 of a volume that is something mounted.
  ring::Task<uint64_t> size(std::string name);
  // What an engine that was killed left of volumes it removed; once, some time after open().
  ring::Task<> remove_leftovers();

  // A container (running or not) refers to the volume.
  void hold(const std::string& name, const std::string& container);
  void let_go(const std::string& name, const std::string& container);
  std::vector<std::string> holders(const std::string& name) const;

  // What a start needs. A volume with options of `local` that name something to mount (tmpfs, bind,
  // nfs) is mounted by each container for itself, in its own namespace, so that nothing is ever
  // mounted on the host; a tmpfs is therefore not shared between containers.
  Result<VolumeMount> mount_of(const std::string& name) const;
  // The directory of a volume that is one; Unsupported for one that is something mounted.
  Result<std::string> source_of(const std::string& name) const;

  struct State;

 private:
  explicit Volumes(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::engine
