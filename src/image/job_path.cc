#include "image/job_path.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/text.h"
#include "image/jobs.h"
#include "sys/call.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr int links_max = 255;
constexpr size_t path_bytes_max = 64u << 10;

// From `directory`; absolute paths and links start at the process's own root, which is the
// worker's.
Result<Fd> open_path(const Fd& directory, const std::string& path, uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  const char* from_here = path.empty() ? "." : path.c_str();
  const long opened = sys::call(SYS_openat2, directory.get(), from_here, &how, sizeof how);
  if (opened < 0) return fail_errno(static_cast<int>(-opened), cat("opening '", path, "'"));
  return Fd(static_cast<int>(opened));
}

std::string_view parent_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}
std::string_view last_of(std::string_view path) {
  return path == "/" ? path : path.substr(path.rfind('/') + 1);
}

bool asks_for_directory(std::string_view path) {
  return path.ends_with('/') || path.ends_with("/.") || path == ".";
}

FileStat describe(std::string name, const struct stat& status) {
  return {.name = std::move(name),
          .size = static_cast<uint64_t>(status.st_size),
          .mode = status.st_mode,
          .modified_s = status.st_mtim.tv_sec,
          .modified_ns = static_cast<uint32_t>(status.st_mtim.tv_nsec),
          .link_target = {}};
}

}  // namespace

Result<std::string> follow_path(const Fd& root, const std::string& path) {
  std::string at;
  std::string rest = path;
  int links = 0;
  while (!rest.empty()) {
    std::string_view view = rest;
    const std::string name(take_until(view, '/'));
    rest = std::string(view);
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      at.resize(at.empty() ? 0 : at.rfind('/'));
      continue;
    }
    const std::string here = cat(at, '/', name);
    const auto file = open_path(root, here, O_PATH | O_NOFOLLOW);
    struct stat status{};
    if (file) status = TRY(sys::stat_fd(*file));
    if (!file || !S_ISLNK(status.st_mode)) {
      at = here;
      continue;
    }
    if (++links > links_max) return fail(Kind::Invalid, cat("too many links in '", path, "'"));
    const std::string target = TRY(sys::read_link_at(file->get(), ""));
    if (target.size() + rest.size() > path_bytes_max) {
      return fail(Kind::Invalid, cat("links make too long a path of '", path, "'"));
    }
    if (target.starts_with('/')) at.clear();
    rest = cat(target, '/', rest);
  }
  return at.empty() ? "/" : at;
}

std::string absolute_path(std::string_view path) {
  std::string clean;
  while (!path.empty()) {
    const std::string_view name = take_until(path, '/');
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      clean.resize(clean.empty() ? 0 : clean.rfind('/'));
      continue;
    }
    clean += cat('/', name);
  }
  return clean.empty() ? "/" : clean;
}

Result<Fd> open_directory(const Fd& directory, const std::string& path) {
  return open_path(directory, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
}

Result<FoundPath> find_path(const Fd& root, std::string_view path) {
  if (path.find('\0') != std::string_view::npos) {
    return fail(Kind::Invalid, "a path with a zero byte");
  }
  const std::string whole = absolute_path(path);
  const bool as_directory = asks_for_directory(path);
  FoundPath found;
  found.parent = TRY(open_path(root, std::string(parent_of(whole)), O_PATH | O_DIRECTORY));
  const std::string name(last_of(whole));
  if (as_directory || whole == "/") {
    found.file = TRY(open_path(root, whole, O_PATH | O_DIRECTORY));
  } else {
    found.file = TRY(open_path(found.parent, name, O_PATH | O_NOFOLLOW));
  }
  const struct stat status = TRY(sys::stat_fd(found.file));
  const bool inside_only = path.ends_with("/.") || path == ".";
  found.stat = describe(inside_only ? "." : name, status);
  if (S_ISLNK(status.st_mode)) found.stat.link_target = TRY(follow_path(root, whole));
  return found;
}

Result<FileStat> stat_path(const StatPathRequest& request, const Fd& root) {
  FoundPath found = TRY(find_path(root, request.path));
  return std::move(found.stat);
}

}  // namespace nacelle::image
