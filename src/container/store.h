// What is known of containers between two commands: one directory each under the state root, on a
// tmpfs, in small files. A directory is the reservation of its id; it is removed last.
//   state.json  who and where (this file's Record)
//   plan        the LaunchPlan: `exec`, hooks and `start` never read config.json again
//   start       a FIFO on which a created container waits; it is gone once started
//   cgroup      a link whose text is the cgroup's path: enough to clean up after a killed create
//   report      a FIFO on which the last execve of a created container fails, or ends
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "container/identity.h"
#include "container/launch_plan.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"
#include "oci/documents.h"

namespace nacelle::container {

inline constexpr const char* start_fifo = "start";
inline constexpr const char* report_fifo = "report";

struct Record {
  oci::State state;  // status and pid are filled in by those who look
  ProcessIdentity init;
  std::string cgroup;  // path in the tree
  std::vector<std::string> cgroups_made;
  std::vector<std::string> rdt_groups;  // of resctrl, that its processes are in
  std::vector<std::string> rdt_made;    // of these, its own to remove
  uint64_t namespaces = 0;              // CLONE_NEW* that are not the runtime's
  bool has_start_hooks = false;         // startContainer or poststart: `start` needs the plan
  bool has_stop_hooks = false;          // poststop: `delete` does
};

// The plan of a container, as bytes that stay in place and the view into them.
struct StoredPlan {
  std::string bytes;
  PlanView view;
};

class Store {
 public:
  // Makes the root (0700) when it is missing.
  static Result<Store> open(std::string root);

  // An id must be of A-Z a-z 0-9 _ + - . and not "." or ".." (as runc's).
  static Result<> check_id(std::string_view id);

  // Takes the id: Conflict when it is in use.
  Result<Fd> reserve(const std::string& id) const;
  Result<Fd> open_container(const std::string& id) const;
  // Removes everything kept of the container; its id is free again.
  Result<> release(const std::string& id, const Fd& directory) const;

  // In two steps, so that the first runs while the child sets itself up: until it is published a
  // record is not there for anybody, and the container is being created.
  static Result<> save(const Fd& directory, const Record& record);
  static Result<> publish(const Fd& directory);
  static Result<Record> load(const Fd& directory);
  // Before the cgroup is made: what a killed start would leave behind can then be found.
  static Result<> note_cgroup(const Fd& directory, const std::string& path);
  static Result<std::string> noted_cgroup(const Fd& directory);
  static Result<> save_plan(const Fd& directory, std::string_view plan);
  static Result<StoredPlan> load_plan(const Fd& directory);

  Result<std::vector<std::string>> list() const;
  // Below the root, for compiled seccomp filters (seccomp_cache.h); an id cannot be named like it.
  static constexpr std::string_view filter_cache_name = "@seccomp";

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Fd root_;
};

}  // namespace nacelle::container
