#include "sys/mount_api.h"

#include <cerrno>
#include <string>

#include "base/text.h"
#include "sys/call.h"
#include "sys/kernel.h"

namespace nacelle::sys {
namespace {

constexpr const char* empty_path = "";

}  // namespace

Result<NewFileSystem> NewFileSystem::open(const char* type) {
  const long context = call(SYS_fsopen, type, FSOPEN_CLOEXEC);
  if (context < 0) return fail_errno(static_cast<int>(-context), cat("fsopen '", type, "'"));
  return NewFileSystem(type, Fd(static_cast<int>(context)));
}

// The log holds lines "e overlay: no lower directory": one read each.
std::unexpected<Error> NewFileSystem::failed(int reason, const char* call_name,
                                             const char* key) const {
  std::string attempt = cat(call_name, " '", type_, "'");
  if (key != nullptr) attempt += cat(" '", key, "'");
  char line[512];
  for (int count = 0; count < 8; ++count) {
    const ssize_t length = ::read(context_.get(), line, sizeof line);
    if (length <= 0) break;
    std::string_view text(line, static_cast<size_t>(length));
    while (text.ends_with('\n')) text.remove_suffix(1);
    if (text.starts_with("e ")) attempt += cat(" (", text.substr(2), ")");
  }
  return fail_errno(reason, attempt);
}

Result<> NewFileSystem::configure(unsigned command, const char* key, const void* value, int extra) {
  const long result = call(SYS_fsconfig, context_.get(), command, key, value, extra);
  if (result < 0) return failed(static_cast<int>(-result), "fsconfig", key);
  return {};
}

Result<> NewFileSystem::set(const char* key, const char* value) {
  return configure(FSCONFIG_SET_STRING, key, value, 0);
}
Result<> NewFileSystem::set(const char* key, const Fd& value) {
  return configure(FSCONFIG_SET_FD, key, nullptr, value.get());
}
Result<> NewFileSystem::set_flag(const char* key) {
  return configure(FSCONFIG_SET_FLAG, key, nullptr, 0);
}

Result<Fd> NewFileSystem::mount(uint64_t attributes) {
  if (const long made =
          call(SYS_fsconfig, context_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
      made < 0) {
    return failed(static_cast<int>(-made), "mounting", nullptr);
  }
  const long mount = call(SYS_fsmount, context_.get(), FSMOUNT_CLOEXEC, attributes);
  if (mount < 0) return failed(static_cast<int>(-mount), "fsmount", nullptr);
  return Fd(static_cast<int>(mount));
}

Result<Fd> clone_mount(const Fd& source, unsigned flags) {
  const long mount = call(SYS_open_tree, source.get(), empty_path,
                          AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
  if (mount < 0) return fail_errno(static_cast<int>(-mount), "open_tree");
  return Fd(static_cast<int>(mount));
}

Result<> set_mount_attributes(const Fd& mount, uint64_t set, uint64_t clear, uint64_t propagation) {
  mount_attr attributes{};
  attributes.attr_set = set;
  attributes.attr_clr = clear;
  attributes.propagation = propagation;
  const long result = call(SYS_mount_setattr, mount.get(), empty_path, AT_EMPTY_PATH, &attributes,
                           sizeof attributes);
  if (result < 0) return fail_errno(static_cast<int>(-result), "mount_setattr");
  return {};
}

Result<> attach_mount(const Fd& mount, const Fd& target) {
  const long result = call(SYS_move_mount, mount.get(), empty_path, target.get(), empty_path,
                           MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  if (result < 0) return fail_errno(static_cast<int>(-result), "move_mount");
  return {};
}

}  // namespace nacelle::sys
