#include "container/intel_rdt.h"

#include <fcntl.h>
#include <sys/vfs.h>

namespace nacelle::container {
namespace {

constexpr const char* resctrl_directory = "/sys/fs/resctrl";
constexpr long resctrl_magic = 0x7655821;

}  // namespace

Result<Fd> open_resctrl() {
  Fd root(::open(resctrl_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct statfs filesystem;
  if (!root || ::fstatfs(root.get(), &filesystem) != 0 || filesystem.f_type != resctrl_magic) {
    return fail(Kind::Unsupported, "no resctrl file system is mounted at /sys/fs/resctrl");
  }
  return root;
}

}  // namespace nacelle::container
