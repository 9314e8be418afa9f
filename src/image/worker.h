// A nacelle-worker process seen from outside: started, asked, ended. Foreign bytes (archives,
// compressed streams, registry answers, documents of images) are read in there and nowhere else: in
// its own mount, pid, ipc, uts and cgroup namespaces (and an empty network namespace unless it must
// reach a registry), with `root` as its whole file system, a seccomp filter, the capabilities its
// kind of job needs and no more, and limits on memory and time. Killing it, at any moment, is a
// fine way to end it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/flat.h"
#include "image/messages.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::image {

// Decides namespaces, capabilities and system calls.
enum class WorkerKind : uint8_t {
  Unpack,    // CHOWN DAC_OVERRIDE FOWNER FSETID MKNOD SETFCAP in its root
  Pack,      // reads any file, and trusted.* attributes
  Bytes,     // load, copy_layer, archive, parse: no capability at all
  Registry,  // the caller's network; no capability, no root but what TLS and name look-up need
  Files,     // as Unpack, but reads as well: files in and out of a container
};

// What WorkerOptions::root is a descriptor of.
enum class RootIs : uint8_t {
  Directory,    // alone, without what is mounted below it
  Process,      // a pidfd: all that process sees for files, but procfs, sysfs and devices
  ProcessRoot,  // a pidfd: the file system it has for a root, without what is mounted below it
};

// What the worker mounts below its root: a directory or file of the host's.
struct RootMount {
  std::string source, destination;  // absolute; the destination is made if it is missing
  bool read_only = false;
};

struct WorkerOptions {
  WorkerKind kind = WorkerKind::Bytes;
  const Fd* root = nullptr;  // a directory; none: an empty file system
  RootIs root_is = RootIs::Directory;
  std::vector<RootMount> mounts;           // outer ones first
  bool read_only_root = false;             // for Pack it always is
  uint64_t memory_bytes_max = 144u << 20;  // half of it for a dictionary of xz's
  // A worker that says nothing for so long (they report progress) is ended: Unavailable.
  std::chrono::seconds silence_max{120};
  // One that reports, and never more than before: the same, after so long (or silence_max, if that
  // is longer).
  std::chrono::seconds standstill_max{30 * 60};
};

// Bytes of the request's input handled so far.
using ProgressHandler = std::function<void(uint64_t done)>;

class Worker {
 public:
  // Starts the program: $NACELLE_WORKER, or `nacelle-worker` beside the running one.
  static Result<Worker> start(ring::Loop& loop, const WorkerOptions& options);
  ~Worker();  // kills and reaps what still runs
  Worker(Worker&&) noexcept;
  Worker& operator=(Worker&&) noexcept;

  // One request at a time. An error of the job arrives as it was made; a worker that died, fell
  // silent or answered nonsense is Internal or Unavailable and says how it ended. After an error of
  // the second sort, and after a cancelled call, the worker is of no more use.
  // `descriptors` are borrowed until the call ends.
  template <class Request>
  ring::Task<typename Request::Reply> call(Request request, std::vector<const Fd*> descriptors = {},
                                           ProgressHandler on_progress = {}) {
    const std::string reply = co_await exchange(Request::code, codec::flat::encode(request),
                                                std::move(descriptors), std::move(on_progress));
    co_return codec::flat::decode<typename Request::Reply>(reply, "nacelle-worker's answer");
  }

  // Tells it to end and waits until it has; a later descriptor of its root can then be unmounted.
  ring::Task<> stop();

  struct State;  // for worker.cc

 private:
  explicit Worker(std::unique_ptr<State> state);
  ring::Task<std::string> exchange(uint8_t code, std::string request,
                                   std::vector<const Fd*> descriptors, ProgressHandler on_progress);
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::image
