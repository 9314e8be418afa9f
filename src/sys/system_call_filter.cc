#include "sys/system_call_filter.h"

#include <cerrno>

namespace nacelle::sys {

void SystemCallFilter::rule(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> when) {
  const int added = context_ == nullptr ? -ENOMEM
                                        : ::seccomp_rule_add_array(
                                              context_, action, call,
                                              static_cast<unsigned>(when.size()), when.begin());
  if (added < 0 && error_ == 0) error_ = -added;
}

Result<> SystemCallFilter::load() {
  if (error_ == 0) {
    // A system call of another architecture's table could mean anything.
    ::seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    ::seccomp_attr_set(context_, SCMP_FLTATR_CTL_TSYNC, 1);
    ::seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    error_ = -::seccomp_load(context_);
  }
  if (error_ != 0) return fail_errno(error_, "loading the system call filter");
  return {};
}

}  // namespace nacelle::sys
