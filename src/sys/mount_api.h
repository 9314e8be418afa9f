// Mounts by descriptor (fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2)): a mount
// is made whole, off to the side, before anyone can see it. Its Fd is its only owner until it is
// attached. Failures carry what the kernel wrote into the file system's own log.
#pragma once

#include <cstdint>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::sys {

// A file system that is being set up.
class NewFileSystem {
 public:
  static Result<NewFileSystem> open(const char* type);

  Result<> set(const char* key, const char* value);
  Result<> set(const char* key, const Fd& value);
  Result<> set_flag(const char* key);
  // The mount, not attached to anything. `attributes` are MOUNT_ATTR_*.
  Result<Fd> mount(uint64_t attributes = 0);

 private:
  explicit NewFileSystem(const char* type, Fd context)
      : type_(type), context_(std::move(context)) {}
  Result<> configure(unsigned command, const char* key, const void* value, int extra);
  std::unexpected<Error> failed(int reason, const char* call_name, const char* key) const;

  const char* type_;
  Fd context_;
};

// A bind mount of a directory or file, detached. AT_RECURSIVE may be given.
Result<Fd> clone_mount(const Fd& source, unsigned flags = 0);
// MOUNT_ATTR_* to set and to clear; `propagation` is MS_PRIVATE and its kin, 0 leaves it.
Result<> set_mount_attributes(const Fd& mount, uint64_t set, uint64_t clear = 0,
                              uint64_t propagation = 0);
// Attaches a detached mount onto a directory or file.
Result<> attach_mount(const Fd& mount, const Fd& target);

}  // namespace nacelle::sys
