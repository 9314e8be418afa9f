#include "sys/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "sys/call.h"
#include "sys/system_call_filter.h"

namespace nacelle::sys {
namespace {

#if defined(__has_feature)
constexpr bool is_sanitized = __has_feature(address_sanitizer);
#else
constexpr bool is_sanitized = false;
#endif

Result<> drop_capabilities() {
  for (unsigned each = 0; ::prctl(PR_CAPBSET_READ, each, 0, 0, 0) >= 0; ++each) {
    // Without CAP_SETPCAP there is nothing to drop.
    if (::prctl(PR_CAPBSET_DROP, each, 0, 0, 0) < 0 && errno != EPERM)
      return fail_errno(errno, "dropping a capability from the bounding set");
  }
  if (::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) < 0 &&
      errno != EPERM)
    return fail_errno(errno, "securebits");
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[2] = {};
  const long set = call(SYS_capset, &header, none);
  if (set < 0) return fail_errno(static_cast<int>(-set), "capset");
  return {};
}

Result<> load_filter(const Confinement& confinement) {
  if (is_sanitized) return {};  // a sanitizer's runtime makes calls of its own
  SystemCallFilter filter;
  for (const int call : confinement.calls) filter.allow(call);
  // Memory is data.
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    filter.allow(call, {call_argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
  for (const int command : confinement.fcntl_commands)
    filter.allow(SCMP_SYS(fcntl), {call_argument(1, SCMP_CMP_EQ, static_cast<uint64_t>(command))});
  for (const uint64_t request : confinement.ioctls)
    filter.allow(SCMP_SYS(ioctl), {call_argument(1, SCMP_CMP_EQ, request)});
  return filter.load();
}

}  // namespace

Result<> confine(const Confinement& confinement) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno(errno, "no_new_privs");
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  if (::setrlimit(RLIMIT_CORE, &none) < 0) return fail_errno(errno, "setrlimit CORE");
  // What it reads is between others.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return fail_errno(errno, "PR_SET_DUMPABLE");
  // A network or host name of our own is not worth a failure where they cannot be had.
  (void)::unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
  TRY(drop_capabilities());
  return load_filter(confinement);
}

}  // namespace nacelle::sys
