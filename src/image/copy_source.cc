#include "image/copy_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>

#include "base/text.h"
#include "codec/tar.h"
#include "image/unpack_tree.h"
#include "sys/file.h"
#include "sys/resolve.h"

namespace nacelle::image {
namespace {

constexpr int depth_max = 200;  // each level holds a descriptor
constexpr size_t names_bytes_max = 16u << 20;

std::unexpected<Error> failed(std::string_view attempt, std::string_view path) {
  return fail_errno(errno, cat(attempt, " '", shown_name(path), "'"));
}

bool is_kept(std::string_view name) {
  return name == "security.capability" ||
         (name.starts_with("user.") && !name.starts_with("user.overlay."));
}

Result<> read_xattrs(Found& found, std::string_view path) {
  std::array<char, 65536> names{};
  const ssize_t length = ::flistxattr(found.file.get(), names.data(), names.size());
  if (length < 0) return errno == ENOTSUP ? Result<>() : failed("listing attributes of", path);
  std::string_view rest(names.data(), static_cast<size_t>(length));
  while (!rest.empty()) {
    const std::string name(take_until(rest, '\0'));
    if (!is_kept(name)) continue;
    std::string value(codec::tar::xattr_value_bytes_max, '\0');
    const ssize_t size = ::fgetxattr(found.file.get(), name.c_str(), value.data(), value.size());
    if (size < 0) return failed(cat("reading ", name, " of"), path);
    value.resize(static_cast<size_t>(size));
    found.xattrs.emplace_back(name, std::move(value));
  }
  std::ranges::sort(found.xattrs);
  return {};
}

// `file` was opened with O_PATH.
Result<Found> look_at(Fd file, std::string_view path) {
  Found found;
  found.status = TRY(sys::stat_fd(file));
  if (S_ISLNK(found.status.st_mode)) {
    found.link_target = TRY(sys::read_link_at(file.get(), ""));
    found.file = std::move(file);
  } else if (S_ISDIR(found.status.st_mode)) {
    found.file = TRY(sys::open_at(file.get(), ".", O_RDONLY | O_DIRECTORY));
    TRY(read_xattrs(found, path));
  } else {
    found.file = std::move(file);
  }
  return found;
}

}  // namespace

std::string joined_path(std::string_view directory, std::string_view name) {
  return directory.empty() ? std::string(name) : cat(directory, '/', name);
}

std::string_view last_component(std::string_view path) { return path.substr(path.rfind('/') + 1); }

Result<std::vector<std::string>> names_in(const Fd& directory, std::string_view path) {
  const std::unique_ptr<DIR, decltype([](DIR* stream) { ::closedir(stream); })> stream(
      ::fdopendir(TRY(sys::open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY)).release()));
  if (!stream) return failed("reading directory", path);
  std::vector<std::string> names;
  size_t bytes = 0;
  while (const dirent* each = ::readdir(stream.get())) {
    const std::string_view name = each->d_name;
    if (name == "." || name == "..") continue;
    bytes += name.size() + sizeof(std::string);
    if (bytes > names_bytes_max) {
      return fail(Kind::Exhausted, cat("directory '", shown_name(path), "' has too many names"));
    }
    names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

Result<Found> look_in(const Fd& directory, const char* name, std::string_view path) {
  Found found;
  Fd place = TRY(sys::open_at(directory.get(), name, O_PATH | O_NOFOLLOW));
  const struct stat status = TRY(sys::stat_fd(place));
  if (!S_ISREG(status.st_mode)) return look_at(std::move(place), path);
  found.file = TRY(sys::open_at(directory.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  found.status = TRY(sys::stat_fd(found.file));
  if (!S_ISREG(found.status.st_mode)) {
    return fail(Kind::Conflict, cat("'", shown_name(path), "' was replaced while it was read"));
  }
  TRY(read_xattrs(found, path));
  return found;
}

Result<Found> look_from_root(const Fd& root, const std::string& path) {
  const sys::InRoot inside(root.get());
  const char* const from_here = path.empty() ? "." : path.c_str();
  const long place = inside.open(from_here, O_PATH);
  if (place < 0) return fail_errno(static_cast<int>(-place), cat("stat ", shown_name(path)));
  Fd opened(static_cast<int>(place));
  const struct stat status = TRY(sys::stat_fd(opened));
  if (!S_ISREG(status.st_mode)) return look_at(std::move(opened), path);
  const long readable = inside.open(from_here, O_RDONLY | O_NONBLOCK);
  if (readable < 0) return fail_errno(static_cast<int>(-readable), cat("open ", shown_name(path)));
  Found found;
  found.file = Fd(static_cast<int>(readable));
  found.status = TRY(sys::stat_fd(found.file));
  TRY(read_xattrs(found, path));
  return found;
}

Result<Selection> Selection::make(const std::string& pattern,
                                  const std::vector<std::string>& exclude) {
  Selection selection;
  if (!pattern.empty()) {
    selection.unwanted_ = TRY(codec::make_ignore_list({"*", cat('!', pattern)}));
  }
  selection.excluded_ = TRY(codec::make_ignore_list(exclude).context("--exclude"));
  return selection;
}

Selection::Choice Selection::choose(std::string_view path) const {
  Choice choice = Choice::Whole;
  for (const codec::IgnoreList* list : {&unwanted_, &excluded_}) {
    if (!list->ignores(path)) continue;
    if (!list->may_keep_below(path)) return Choice::Nothing;
    choice = Choice::Inside;
  }
  return choice;
}

Result<> SourceWalk::run(Found& found, const std::string& name) {
  TRY(visitor_.enter(found, name));
  if (!S_ISDIR(found.status.st_mode)) return {};
  TRY(walk_inside(found, "", 0));
  return visitor_.leave();
}

Result<> SourceWalk::walk_inside(const Found& directory, const std::string& path, int depth) {
  if (depth > depth_max) {
    return fail(Kind::Exhausted, cat("'", shown_name(path), "' is too deep"));
  }
  for (const std::string& name : TRY(names_in(directory.file, path))) {
    const std::string inner = joined_path(path, name);
    TRY(walk(TRY(look_in(directory.file, name.c_str(), inner)), inner, depth));
  }
  return {};
}

Result<> SourceWalk::walk(Found found, const std::string& path, int depth) {
  asker_.still_here();
  const Selection::Choice choice = selection_.choose(path);
  const bool is_directory = S_ISDIR(found.status.st_mode);
  if (choice == Selection::Choice::Nothing) return {};
  if (!is_directory && choice != Selection::Choice::Whole) return {};
  if (choice == Selection::Choice::Whole) {
    TRY(enter_waiting());
    TRY(visitor_.enter(found, path));
  }
  if (!is_directory) return {};
  directories_.push_back({&found, &path, choice == Selection::Choice::Whole});
  TRY(walk_inside(found, path, depth + 1));
  const bool entered = directories_.back().entered;
  directories_.pop_back();
  return entered ? visitor_.leave() : Result<>();
}

// The directories that a file is in, as far as nothing of them was wanted before it.
Result<> SourceWalk::enter_waiting() {
  for (Directory& each : directories_) {
    if (std::exchange(each.entered, true)) continue;
    TRY(visitor_.enter(*each.found, *each.path));
  }
  return {};
}

}  // namespace nacelle::image
