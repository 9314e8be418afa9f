// What an overlay's upper directory says about the layers below it.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/text.h"
#include "image/jobs.h"
#include "sys/call.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

constexpr size_t changes_max = 200'000;
constexpr size_t depth_max = 200;  // each level holds two descriptors
constexpr uint64_t entries_between_signs = 256;

using What = ChangesRequest::What;
using Names = std::vector<std::string>;

Result<Names> names_in(const Fd& directory) {
  const std::unique_ptr<DIR, decltype([](DIR* stream) { ::closedir(stream); })> stream(
      ::fdopendir(TRY(sys::open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY)).release()));
  if (!stream) return fail_errno(errno, "fdopendir");
  Names names;
  while (const dirent* each = ::readdir(stream.get())) {
    const std::string_view name = each->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() >= changes_max) return fail(Kind::Exhausted, "too many files in a directory");
    names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

bool is_opaque(const Fd& directory) {
  char value = 0;
  return ::fgetxattr(directory.get(), "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

// What was copied up for its own sake alone differs in nothing that anyone set.
bool looks_the_same(const struct stat& one, const struct stat& other) {
  return one.st_mode == other.st_mode && one.st_uid == other.st_uid && one.st_gid == other.st_gid &&
         one.st_mtim.tv_sec == other.st_mtim.tv_sec && one.st_mtim.tv_nsec == other.st_mtim.tv_nsec;
}

class Comparison {
 public:
  explicit Comparison(Asker& asker) : asker_(asker) {}

  // `lower` is empty where the layers below have no such directory, or it hides them.
  Result<> compare(const Fd& upper, const Fd& lower, const std::string& path, size_t depth) {
    if (depth > depth_max) return fail(Kind::Exhausted, cat("'", path, "' is too deep"));
    for (const std::string& name : TRY(names_in(upper))) {
      TRY(compare_entry(upper, lower, name, path, depth));
    }
    return {};
  }

  std::vector<ChangesRequest::Change> take() && {
    std::ranges::sort(changes_, {}, &ChangesRequest::Change::path);
    return std::move(changes_);
  }

 private:
  Result<> note(What what, const std::string& path) {
    if (changes_.size() >= changes_max) return fail(Kind::Exhausted, "too many changes");
    changes_.push_back({what, path});
    return {};
  }

  // The directory an addition or a deletion is in has changed, whatever its times say.
  Result<> note_in(What what, const std::string& directory, const std::string& path) {
    if (!directory.empty() && noted_directories_.insert(directory).second) {
      TRY(note(What::Modified, directory));
    }
    return note(what, path);
  }

  static bool stat_in(const Fd& directory, const std::string& name, struct stat& status) {
    return directory && ::fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  }

  static Fd open_in(const Fd& directory, const std::string& name) {
    const int opened = ::openat(directory.get(), name.c_str(),
                                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return opened < 0 ? Fd() : Fd(opened);
  }

  Result<> compare_entry(const Fd& upper, const Fd& lower, const std::string& name,
                         const std::string& directory, size_t depth) {
    if (++entries_ % entries_between_signs == 0) asker_.progress(entries_);
    struct stat now{}, before{};
    if (!stat_in(upper, name, now)) return {};  // gone by now
    const std::string path = cat(directory, "/", name);
    const bool was_there = stat_in(lower, name, before);
    const bool hides = S_ISCHR(now.st_mode) && now.st_rdev == 0;
    if (hides) return was_there ? note_in(What::Deleted, directory, path) : Result<>();
    if (!S_ISDIR(now.st_mode)) {
      return was_there ? note(What::Modified, path) : note_in(What::Added, directory, path);
    }
    const Fd inside = open_in(upper, name);
    if (!inside) return {};
    const bool was_directory = was_there && S_ISDIR(before.st_mode);
    if (!was_there) {
      noted_directories_.insert(path);
      TRY(note_in(What::Added, directory, path));
    } else if (!was_directory || !looks_the_same(now, before)) {
      noted_directories_.insert(path);
      TRY(note(What::Modified, path));
    }
    const Fd below = was_directory ? open_in(lower, name) : Fd();
    if (below && is_opaque(inside)) TRY(note_hidden(inside, below, path));
    return compare(inside, below, path, depth + 1);
  }

  // Made anew in the place of another: what was in that one and is not in this is gone.
  Result<> note_hidden(const Fd& upper, const Fd& lower, const std::string& path) {
    for (const std::string& name : TRY(names_in(lower))) {
      struct stat now{};
      if (!stat_in(upper, name, now)) TRY(note_in(What::Deleted, path, cat(path, "/", name)));
    }
    return {};
  }

  Asker& asker_;
  std::vector<ChangesRequest::Change> changes_;
  std::set<std::string> noted_directories_;
  uint64_t entries_ = 0;
};

}  // namespace

Result<ChangesRequest::Reply> find_changes(const ChangesRequest&, const Fd& root, const Fd& lower,
                                           Asker& asker) {
  Comparison comparison(asker);
  TRY(comparison.compare(root, lower, "", 0));
  return ChangesRequest::Reply{.changes = std::move(comparison).take()};
}

}  // namespace nacelle::image
