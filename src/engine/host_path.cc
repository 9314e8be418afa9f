#include "engine/host_path.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/text.h"
#include "engine/container_state.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

// Long enough for a disk or a server that has to wake up first.
constexpr ring::Duration answer_limit = std::chrono::seconds(10);

// What is asked about and answered into is this frame's, which stays until there is an answer.
ring::Task<bool> look(ring::Loop* loop, std::string path) {
  struct statx found{};
  const Fd root = co_await sys::open_at(sys::working_directory, "/", O_PATH | O_DIRECTORY);
  const auto looked =
      co_await ring::as_result(ring::statx_at(*loop, root, path.c_str(), 0, STATX_TYPE, found));
  co_return looked.has_value();
}

}  // namespace

ring::Task<bool> host_path_exists(ring::Loop& loop, ring::Scope& background, std::string path) {
  const std::string attempt = cat("looking at '", path, "'");
  co_return co_await ring::with_deadline(loop, shielded(background, look(&loop, std::move(path))),
                                         answer_limit, attempt);
}

ring::Task<> make_host_directory(ring::Loop& loop, ring::Scope& background, std::string path) {
  if (co_await host_path_exists(loop, background, path)) co_return;
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string parent = path.substr(0, at);
    if (::mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST) {
      co_await fail_errno(
          errno, cat("error while creating mount source path '", path, "': mkdir ", parent));
    }
    if (at == std::string::npos) co_return;
  }
}

}  // namespace nacelle::engine
