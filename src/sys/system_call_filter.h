// A list of system calls that a process of ours keeps to from load() on: every call that no rule is
// about fails with EPERM, and one of another architecture's table ends the process. By libseccomp:
// this is for workers, which have the time (seccomp(2) of containers is src/container's own).
#pragma once

#include <seccomp.h>

#include <cstdint>
#include <initializer_list>

#include "nacelle/result.h"

namespace nacelle::sys {

class SystemCallFilter {
 public:
  SystemCallFilter() : context_(::seccomp_init(SCMP_ACT_ERRNO(EPERM))) {}
  SystemCallFilter(const SystemCallFilter&) = delete;
  SystemCallFilter& operator=(const SystemCallFilter&) = delete;
  ~SystemCallFilter() {
    if (context_ != nullptr) ::seccomp_release(context_);
  }

  // SCMP_ACT_*, SCMP_SYS(...). What goes wrong is said by load(). Rules that come first are looked
  // at first.
  void rule(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> when = {});
  void allow(int call, std::initializer_list<scmp_arg_cmp> when = {}) {
    rule(SCMP_ACT_ALLOW, call, when);
  }
  // For all threads of this process, and for ever.
  Result<> load();

 private:
  scmp_filter_ctx context_;
  int error_ = 0;
};

constexpr scmp_arg_cmp call_argument(unsigned index, scmp_compare how, uint64_t a, uint64_t b = 0) {
  return {.arg = index, .op = how, .datum_a = a, .datum_b = b};
}

}  // namespace nacelle::sys
