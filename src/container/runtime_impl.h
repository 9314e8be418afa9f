// What stands behind nacelle/container.h; shared by bundle.cc, starting.cc, exec.cc and runtime.cc.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "container/cgroup.h"
#include "container/cgroup_plan.h"
#include "container/hooks.h"
#include "container/launch.h"
#include "container/launch_plan.h"
#include "container/store.h"
#include "nacelle/container.h"
#include "sys/cgroup.h"

namespace nacelle {

// How long an ended container's processes may take to leave its cgroup.
inline constexpr std::chrono::milliseconds removal_deadline{10'000};
inline constexpr std::chrono::milliseconds freeze_deadline{2'000};

struct Bundle::Impl {
  std::string directory;  // absolute
  std::string oci_version;
  std::string rootfs;
  oci::Annotations annotations;
  std::string plan_bytes;
  container::PlanView plan;
  container::CgroupPlan cgroup;
  std::string cgroups_path;
  std::optional<oci::IntelRdt> intel_rdt;
  uint64_t namespaces = 0;           // CLONE_NEW*, new or joined
  std::optional<uid_t> delegate_to;  // who gets the cgroup, where it is delegated
  std::vector<std::string> warnings;
};

class Runtime::Impl {
 public:
  explicit Impl(container::Store store) : store_(std::move(store)) {}

  const container::Store& store() const { return store_; }
  Result<const sys::CgroupTree*> cgroup_tree();
  Result<std::string> place(std::string_view cgroups_path, std::string_view id);

  struct Opened {
    Fd directory;
    container::Record record;
    Fd init;  // empty: stopped
    Status status = Status::Stopped;
  };
  // The container and how it is right now.
  Result<Opened> open(const std::string& id);
  // Keeps what a start knows of its container, for the verb that most often comes next: the
  // removal at the end of a foreground run. Only the last one is kept.
  void remember(Fd directory, container::Record record);
  Result<Fd> open_cgroup(const container::Record& record);

 private:
  bool is_frozen(const container::Record& record);
  Result<Opened> open_directory(const std::string& id);

  container::Store store_;
  std::optional<sys::CgroupTree> tree_;
  std::optional<Opened> last_started_;
};

// The state document for hooks and listeners.
std::string state_json(const container::Record& record, Status status);

namespace container {

// A process in a running container, and the wait until it runs.
Result<Process> start_inside(Runtime::Impl& runtime, const Runtime::Impl::Opened& opened,
                             const PlanView& plan, const IoOptions& io,
                             const std::string& sub_cgroup);

// Sends the notify descriptor to linux.seccomp.listenerPath.
Result<> send_listener(const PlanView& plan, const Fd& listener, const Record& record, pid_t pid,
                       Status status);

// Runs hooks.startContainer in the container, each to its end.
Result<> run_start_container_hooks(Runtime::Impl& runtime, const Runtime::Impl::Opened& opened,
                                   const PlanView& plan);

// RFC 3339 with nanoseconds, UTC.
std::string time_now_rfc3339();

}  // namespace container
}  // namespace nacelle
