#include "image/erofs.h"

#include <spawn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fault.h"
#include "base/text.h"
#include "image/disk.h"
#include "image/layers.h"
#include "ring/ops.h"
#include "sys/call.h"
#include "sys/file.h"
#include "sys/kernel.h"
#include "sys/mount_api.h"

namespace nacelle::image {
namespace {

constexpr const char* erofs_name = "layer.erofs";
constexpr const char* partial_name = "layer.erofs.partial";
constexpr const char* program = "mkfs.erofs";

Result<Fd> open_layer(const Store& store, const Digest& chain) {
  auto layer = sys::open_at(store.layers_directory().get(), std::string(chain.hex()).c_str(),
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!layer && layer.error().error_number() == ENOENT) {
    return fail(Kind::NotFound, cat("layer ", chain.text(), " is not unpacked"));
  }
  return layer;
}

// A pidfd of the program, which says nothing: its end is its answer.
Result<Fd> start(const std::string& output, const std::string& tree) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (const int standard : {0, 1, 2}) {
    ::posix_spawn_file_actions_addopen(&actions, standard, "/dev/null", O_RDWR, 0);
  }
  std::string words[] = {program, output, tree};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  char* environment[] = {path.data(), nullptr};
  pid_t pid = -1;
  const int result = ::posix_spawnp(&pid, program, &actions, nullptr, arguments, environment);
  ::posix_spawn_file_actions_destroy(&actions);
  if (result == ENOENT) return fail(Kind::Unsupported, "mkfs.erofs (erofs-utils) is not installed");
  if (result != 0) return fail_errno(result, cat("starting '", program, "'"));
  const long pidfd = sys::call(SYS_pidfd_open, pid, 0);
  if (pidfd < 0) return fail_errno(static_cast<int>(-pidfd), "pidfd_open");
  return Fd(static_cast<int>(pidfd));
}

bool exists(const Fd& directory, const char* name) {
  return ::faccessat(directory.get(), name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

}  // namespace

ring::Task<> make_erofs(ring::Loop& loop, const Store& store, Digest chain) {
  const std::string doing = cat("making an EROFS image of layer ", chain.text());
  const Fd layer = co_await open_layer(store, chain).context(doing);
  // One at a time; who comes second finds it there.
  while (!co_await try_lock(layer)) {
    co_await ring::sleep_for(loop, std::chrono::milliseconds(20));
  }
  if (exists(layer, erofs_name)) co_return;
  (void)::unlinkat(layer.get(), partial_name, 0);
  const std::string path = cat(store.path(), "/layers/", chain.hex(), '/');
  const Fd process = co_await start(path + partial_name, path + "tree").context(doing);
  const int status = co_await ring::wait_process(loop, process);
  if (status != 0) {
    co_await fail(Kind::Internal, cat(doing, ": ", program, " ended with wait status ", status));
  }
  fault_point("erofs.made");
  const Fd file =
      co_await sys::open_at(layer.get(), partial_name, O_RDONLY | O_NOFOLLOW).context(doing);
  co_await ring::fsync(loop, file);
  co_await rename_between(layer, partial_name, layer, erofs_name);
  co_await ring::fsync(loop, layer);
}

Result<Fd> mount_erofs(const Store& store, const Digest& chain) {
  const auto doing = [&] { return cat("mounting the EROFS image of layer ", chain.text()); };
  const Fd layer = TRY(open_layer(store, chain).context(doing));
  if (!exists(layer, erofs_name)) {
    return fail(Kind::NotFound, cat("layer ", chain.text(), " has no EROFS image"));
  }
  const std::string path = cat(store.path(), "/layers/", chain.hex(), '/', erofs_name);
  auto image = TRY(sys::NewFileSystem::open("erofs").context(doing));
  TRY(image.set("source", path.c_str()).context(doing));
  auto mount = image.mount(MOUNT_ATTR_RDONLY);
  if (!mount && mount.error().error_number() == ENOTBLK) {
    return fail(
        Kind::Unsupported,
        cat(doing(), ": before Linux 6.12, and from a tmpfs, it would need a block device"));
  }
  return std::move(mount).context(doing);
}

}  // namespace nacelle::image
