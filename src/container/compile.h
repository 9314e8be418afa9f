// A Spec to all that a start needs of it, as values that another process can execute: what the
// command line (bundle.cc) and an engine share. Filters are compiled elsewhere and given here, so
// that whoever starts many containers compiles a profile once.
#pragma once

#include <string>
#include <vector>

#include "container/cgroup_plan.h"
#include "container/plan.h"
#include "container/seccomp.h"
#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::container {

struct CompileOptions {
  PlanOptions plan;  // its seccomp part comes from `filter`
  // The program of linux.seccomp; must be there when the Spec has one. Borrowed.
  const SeccompProgram* filter = nullptr;
};

struct CompiledSpec {
  std::string plan_bytes;  // a LaunchPlan
  CgroupPlan cgroup;
  std::vector<std::string> warnings;
};

// `spec` has a process. Refuses labels of security modules that this host does not have: they would
// silently protect nothing.
Result<CompiledSpec> compile_spec(const oci::Spec& spec, CompileOptions options);

}  // namespace nacelle::container
