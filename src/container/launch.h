// Launch: one start in flight. It clones a child into the container's cgroup and namespaces,
// answers what the child asks while it executes its plan, and says whether the program runs.
//
// The child shares the caller's memory (CLONE_VM on a stack of its own), so a start costs the same
// from a process of any size; where a time namespace is involved the kernel wants memory of its own
// and gets a copy. The handshake is one descriptor that becomes readable, for a loop or for
// poll(2).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "container/child.h"
#include "container/launch_plan.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::container {

// A namespace to join besides the plan's, instead of a new one of its kind: `fd` is a namespace's
// descriptor, or the pidfd of a process in it.
struct JoinedNamespace {
  int fd = -1;
  uint64_t type = 0;  // one of CLONE_NEW*; neither mount nor user
};

// The stub's bytes, sealed; for callers that start more than once (LaunchOptions::stub).
Result<Fd> make_stub();

// Descriptors are borrowed until the launch is over; -1: none.
struct LaunchOptions {
  int cgroup = -1;  // a directory of cgroup v2 to be born in
  const char* cgroup_directory =
      nullptr;                  // its path, to be bound where there is no cgroup namespace
  int stdio[3] = {-1, -1, -1};  // become 0, 1, 2; -1: the caller's own
  int console_socket = -1;
  uint32_t preserved = 0;  // descriptors 3.. that the program gets
  // A parked start: the program waits for a byte on `wait`, and a failed execve is told on
  // `report`.
  int wait = -1;
  int report = -1;
  bool traced = false;
  bool ask_before_pivot = false;  // RunHooks even where the plan has no hooks
  int stub = -1;                  // of make_stub(); -1: one is made
  // A detached mount that becomes the root instead of what is at the plan's root.path. It is used
  // up, whether or not the launch succeeds.
  int root_mount = -1;
  // Of make_bare_mount_namespace(), for a start with a root_mount that can do without the caller's
  // mounts; -1: every start copies them and leaves them by a pivot.
  int bare_mounts = -1;
  std::span<const JoinedNamespace> joined;  // copied
  // RLIMIT_NOFILE that the program has unless the plan says otherwise; no pointer: the caller's.
  const uint64_t* files_limit = nullptr;  // soft and hard; copied
  // A process in a running container instead of a new container.
  int init = -1;                 // pidfd of its init
  uint64_t init_namespaces = 0;  // CLONE_NEW* that the container has of its own
  int init_root = -1;            // init's root, where it has no mount namespace of its own
};

class Launch {
 public:
  enum class Event {
    RunHooks,  // the child waits before its pivot: do what must be done there, then go_on()
    Listener,  // take_listener(), pass it on, then go_on()
    Mapped,    // the child has got its id mappings; nothing is to be done
    Started,   // the program runs, or is parked
  };

  // `plan` must outlive the launch. An error leaves nothing behind.
  static Result<std::unique_ptr<Launch>> begin(const PlanView& plan, const LaunchOptions& options);
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  // A process that was not taken (take_pidfd) is ended and reaped.
  ~Launch();

  pid_t pid() const { return pid_; }
  const Fd& pidfd() const { return pidfd_; }
  Fd take_pidfd() { return std::move(pidfd_); }

  // Readable when next_event() has something to say (not for Event::Listener, which memory tells).
  const Fd& handshake() const { return handshake_; }
  // Whether next_event() would not wait.
  bool ready() const;
  // Waits for the child. After an error the child is gone.
  Result<Event> next_event();
  Result<> go_on();
  Fd take_listener() { return std::move(listener_); }

  // When each phase ended, CLOCK_MONOTONIC nanoseconds; 0: not traced or not reached.
  uint64_t phase_ns(Phase phase) const;

 private:
  Launch(const PlanView& plan, const LaunchOptions& options) : plan_(plan), options_(options) {}

  Result<> check_options() const;
  Result<> open_joins();
  Result<> make_trees();
  Result<> make_brief();
  Result<> clone_child();
  Result<> write_id_maps();
  Result<> wait_readable();
  Result<Event> handle_end();
  Result<> read_report(int& error_number, pid_t& program);
  Result<> look_at_oom_score();
  bool filter_allows(uint32_t number, uint64_t first_argument) const;
  bool forks_last() const;
  bool leaves_mounts_at_once() const;
  Error explain(const ChildFailure& failure) const;
  void end_child();
  bool child_needs_own_memory() const;
  bool needs_trampoline() const;
  long clone_through_trampoline(void* clone_arguments);

  PlanView plan_;
  LaunchOptions options_;
  std::vector<Fd> joins_opened_;
  std::vector<Join> joins_;
  uint64_t new_namespaces_ = 0;
  std::vector<Fd> idmap_trees_;
  std::vector<int> trees_;  // Brief::trees
  std::vector<const char*> argv_;
  std::vector<const char*> envp_;
  Fd stub_;
  Fd handshake_;
  Fd child_end_;
  Fd listener_;
  Fd pidfd_;
  pid_t pid_ = -1;
  Brief* brief_ = nullptr;  // at the start of the region that holds the child's stack
  bool listener_passed_ = false;
  bool writes_oom_score_ = false;
};

}  // namespace nacelle::container
