// What core knows of one process, as a small file on a tmpfs: enough for a successor to find the
// process, its cgroup and its streams again. A container's launch plan lies beside it, for exec.
//   starting-<id>     being started: its cgroup and process are to be ended if core dies meanwhile
//   container-<id>    the record of a container that runs, or has ended and was not forgotten
//   exec-<id>-<exec>  of a process started in it
//   plan-<id>         the LaunchPlan
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "container/identity.h"
#include "core/messages.h"
#include "logs/options.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::core {

struct Record {
  static constexpr uint32_t version_value = 3;
  uint32_t version = version_value;
  std::string id, exec;
  int32_t pid = 0;
  uint64_t pidfd_inode = 0, start_time = 0;
  std::string cgroup;       // path in the tree, of the container
  uint64_t namespaces = 0;  // CLONE_NEW* that are not core's
  bool user_namespace = false;
  bool terminal = false, has_streams = false;
  bool has_input = false;  // and it has not been closed for good
  bool stdin_once = false, hold_for_client = false;
  logs::Options log;
  std::string log_directory;  // its path, where there is one
  std::vector<Interface> interfaces;
  bool own_network = false;  // a namespace of the pool
  bool has_names = false;    // it is answered at 127.0.0.11
  dns::Member names;         // as the engine says them: without addresses
  // How it ended.
  bool ended = false, reported = false;
  int32_t wait_status = 0;
  bool status_known = true;
  uint64_t oom_kills = 0;
  int64_t ended_ns = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(version, id, exec, pid, pidfd_inode, start_time, cgroup, namespaces, user_namespace,
          terminal, has_streams, has_input, stdin_once, hold_for_client, log, log_directory,
          interfaces, own_network, has_names, names, ended, reported, wait_status, status_known,
          oom_kills, ended_ns);
  }
  container::ProcessIdentity identity() const {
    return {.pid = pid, .pidfd_inode = pidfd_inode, .start_time = start_time};
  }
};

// 64 hexadecimal digits.
Result<> check_id(std::string_view id);
// 1 to 64 letters, digits and '_'.
Result<> check_exec_id(std::string_view exec);
Result<Record> decode_record(std::string_view bytes);

// How the log worker and the table of processes name one: "<id>" or "<id>/<exec>".
std::string key_of(std::string_view id, std::string_view exec);

class RecordStore {
 public:
  // Makes <run directory>/core (0700) when it is missing.
  static Result<RecordStore> open(const std::string& run_directory);

  // In steps: begun before anything is made, written again with what there is by then, published
  // (a rename) once it runs.
  Result<Fd> begin(const Record& record) const;
  Result<> write_begun(const Fd& file, const Record& record) const;
  Result<> publish(const Record& record) const;
  Result<> save(const Record& record) const;  // of a published one, replaced as a whole
  Result<> save_plan(const std::string& id, std::string_view plan) const;
  Result<std::string> load_plan(const std::string& id) const;
  void remove_begun(const std::string& id) const;
  // The record; of a container the plan, too.
  void remove(const Record& record) const;

  struct Found {
    std::vector<Record> published;  // containers before what runs in them
    std::vector<Record> begun;
    std::vector<std::string> damaged;  // names of files that are no records; they stay
  };
  Result<Found> load() const;

 private:
  Fd directory_;
};

}  // namespace nacelle::core
