// linux.netDevices (config-linux.md "Network Devices"): devices of the runtime's network namespace
// moved into the container's, renamed, with their permanent global addresses, and set up. Either
// all of them arrive, or all are back where they were, with name, addresses and state; routes are
// the kernel's to drop. Nothing is configured besides, and no device is fetched back from a
// container that ran.
#pragma once

#include <memory>

#include "container/launch_plan.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::container {

// The devices of one container on their way. Destroyed before keep(), it moves them back, even when
// the container's processes have ended meanwhile.
class NetDevices {
 public:
  // `process`: a pidfd of a process in the container's network namespace.
  static Result<std::unique_ptr<NetDevices>> move(const PlanView& plan, const Fd& process);
  NetDevices(const NetDevices&) = delete;
  NetDevices& operator=(const NetDevices&) = delete;
  ~NetDevices();

  // The container runs: they are its own.
  void keep();

 private:
  class Impl;
  explicit NetDevices(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nacelle::container
