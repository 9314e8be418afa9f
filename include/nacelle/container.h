// Containers, from one's own process: what `nacelle-oci` is written on and what a function host
// links. A Bundle is read and compiled once; each start of it costs only what the kernel charges.
//
//   auto runtime = TRY(nacelle::Runtime::open("/run/my-host"));
//   auto bundle = TRY(runtime.load("/bundles/hello"));
//   auto process = TRY(runtime.run("hello-1", bundle));
//   nacelle::ExitStatus status = TRY(nacelle::wait(process));
//   TRY(runtime.remove("hello-1"));
//
// All calls block for as long as the kernel takes; async.h has the forms for an io_uring loop.
// Root, cgroup v2 and Linux 6.1 are needed. The runtime-spec's words are used throughout.
// While a process is being started into a running container or a joined pid namespace, the calling
// process is not dumpable (prctl(2)): its memory is shared with the one that enters.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle {

// How a process ended (wait(2)).
struct ExitStatus {
  int wait_status = 0;
  // The exit code, or 128 + the signal, as shells and OCI runtimes report it.
  int code() const;
};

// A process of a container. Owns a pidfd: readable once the process has ended.
struct Process {
  pid_t pid = -1;
  Fd pidfd;
};

// Waits for the end of a process that this process started, and reaps it.
Result<ExitStatus> wait(const Process& process);

struct LoadOptions {
  bool no_pivot = false;               // chroot instead of pivot_root, for roots on an initramfs
  bool new_keyring = true;             // a session keyring of the container's own
  std::vector<std::string> extra_env;  // put after process.env, e.g. LISTEN_FDS=1
};

// Descriptors are borrowed for the length of the call; -1: the caller's own.
struct IoOptions {
  int standard[3] = {-1, -1, -1};
  // Receives the terminal's master (SCM_RIGHTS) where process.terminal is set.
  int console_socket = -1;
  uint32_t preserved_fds = 0;  // descriptors 3, 4, ... that the program gets as well
  bool traced = false;         // the child takes the time as well (StartTimes)
};

// Where the time of a start went; CLOCK_MONOTONIC nanoseconds at the end of each phase, 0: not
// done.
struct StartTimes {
  uint64_t begin = 0;
  uint64_t cgroup = 0;  // the cgroup, its limits and device program
  uint64_t clone = 0;   // clone3 returned
  uint64_t born = 0;    // the child runs; from here on in the child
  uint64_t namespaces = 0;
  uint64_t mounts = 0;
  uint64_t pivot = 0;
  uint64_t process = 0;  // credentials, limits, program found
  uint64_t seccomp = 0;
  uint64_t exec = 0;  // the program runs; seen by the caller
};

class Bundle;

enum class Status { Creating, Created, Running, Stopped, Paused };

struct ContainerState {
  std::string id;
  Status status = Status::Stopped;
  pid_t pid = 0;  // 0: stopped
  std::string bundle;
  std::string rootfs;
  std::string created;  // RFC 3339
  std::string oci_version;
  std::map<std::string, std::string> annotations;
};

// What to run in a running container. Unset members are as the container's own process has them.
struct ExecRequest {
  // A whole runtime-spec `process` object; what else is set here is applied on top of it.
  std::string process_json;
  std::vector<std::string> args;
  std::vector<std::string> env;  // added
  std::string cwd;
  std::string user;  // "uid" or "uid:gid"
  std::vector<uint32_t> additional_gids;
  std::vector<std::string> capabilities;  // added, "CAP_..."
  bool terminal = false;
  bool no_new_privileges = false;
  std::string apparmor_profile;
  std::string selinux_label;
  std::string sub_cgroup;  // below the container's
  bool ignore_paused = false;
  std::vector<std::string> extra_env;
};

class Runtime {
 public:
  // `root`: where the state of containers is kept, on a tmpfs. Made (0700) when missing.
  static Result<Runtime> open(std::string root);
  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) noexcept;
  ~Runtime();

  // Reads, checks and compiles `directory`/config.json. Errors name file, JSON path and reason.
  Result<Bundle> load(const std::string& directory, const LoadOptions& options = {});

  // Everything but the program itself, which waits for start() (runtime.md "Create").
  Result<Process> create(const std::string& id, const Bundle& bundle, const IoOptions& io = {});
  Result<> start(const std::string& id);
  // Both in one, without the wait in between.
  Result<Process> run(const std::string& id, const Bundle& bundle, const IoOptions& io = {},
                      StartTimes* times = nullptr);
  Result<Process> exec(const std::string& id, const ExecRequest& request, const IoOptions& io = {});

  // To the container's first process, or to `all` of its processes.
  Result<> kill(const std::string& id, int signal, bool all = false);
  // A running container is an error, unless `force`: then it is killed first. With `force` a
  // container that does not exist is none.
  Result<> remove(const std::string& id, bool force = false);

  Result<> pause(const std::string& id);
  Result<> resume(const std::string& id);
  // `resources_json`: a runtime-spec `linux.resources` object; what it leaves out stays as it is.
  Result<> update(const std::string& id, const std::string& resources_json);

  Result<ContainerState> state(const std::string& id);
  Result<std::vector<ContainerState>> list();
  // Every process in the container's cgroup, as pids of the caller's namespace.
  Result<std::vector<pid_t>> processes(const std::string& id);
  // The container's cgroup directory, for reading counters.
  Result<Fd> open_cgroup(const std::string& id);

  class Impl;  // opaque

 private:
  friend class Starting;
  explicit Runtime(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A bundle read and compiled. May be started any number of times, also side by side.
class Bundle {
 public:
  Bundle(Bundle&&) noexcept;
  Bundle& operator=(Bundle&&) noexcept;
  ~Bundle();
  bool terminal() const;
  // Things the spec wants said but not failed for: unknown capabilities and system calls.
  const std::vector<std::string>& warnings() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  friend class Runtime;
  explicit Bundle(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One start in steps, for callers with a loop of their own: wait until handshake() is readable,
// call advance(), until it says that the program runs. Destroyed before that, nothing is left of
// it. Runtime and Bundle must outlive it.
class Starting {
 public:
  static Result<std::unique_ptr<Starting>> begin(Runtime& runtime, const std::string& id,
                                                 const Bundle& bundle, const IoOptions& io,
                                                 bool parked);
  Starting(const Starting&) = delete;
  Starting& operator=(const Starting&) = delete;
  ~Starting();

  const Fd& handshake() const;
  // Whether advance() would not wait. With a seccomp filter that notifies (`listenerPath`) the
  // child cannot say so on handshake(): then this is to be asked every now and then.
  bool ready() const;
  // True once the program runs (or is parked). Hooks, if there are any, run inside this call.
  Result<bool> advance();
  Process take_process();
  StartTimes times() const;

  class Impl;

 private:
  explicit Starting(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nacelle
