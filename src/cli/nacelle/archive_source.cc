#include "cli/nacelle/archive_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <ranges>

#include "base/text.h"
#include "sys/file.h"
#include "sys/resolve.h"

namespace nacelle::cli {

namespace tar = codec::tar;

namespace {

constexpr size_t piece_bytes = 64u << 10;

std::optional<tar::Type> type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return tar::Type::File;
    case S_IFDIR: return tar::Type::Directory;
    case S_IFLNK: return tar::Type::Symlink;
    case S_IFCHR: return tar::Type::CharacterDevice;
    case S_IFBLK: return tar::Type::BlockDevice;
    case S_IFIFO: return tar::Type::Fifo;
    default: return std::nullopt;  // sockets have no place in an archive
  }
}

// "./a//b/" as "a/b".
Result<std::string> plain_path(std::string_view name) {
  std::string path;
  while (!name.empty()) {
    const std::string_view step = take_until(name, '/');
    if (step.empty() || step == ".") continue;
    if (step == "..") return fail(Kind::Invalid, "an entry of the archive leads outside");
    path += cat(path.empty() ? "" : "/", step);
  }
  return path;
}

}  // namespace

ArchiveSource::ArchiveSource(std::string path, std::string top, bool follow_link)
    : follow_top_(follow_link || top.empty()) {
  stack_.push_back({std::move(path), std::move(top)});
}

ArchiveSource::ArchiveSource(std::string path, Filter filter)
    : filter_(std::move(filter)), follow_top_(true) {
  if (!path.empty()) stack_.push_back({std::move(path), {}});
}

void ArchiveSource::add_text(std::string name, std::string content) {
  texts_.push_back({std::move(name), std::move(content)});
}

Result<> ArchiveSource::write_text(const Text& text) {
  tar::Entry entry;
  entry.name = text.name;
  entry.mode = 0600;
  entry.size = text.content.size();
  TRY(writer_.begin_entry(entry, pending_).context(text.name));
  pending_ += text.content;
  writer_.end_entry(text.content.size(), pending_);
  return {};
}

Result<size_t> ArchiveSource::read(std::span<char> into) {
  while (sent_ == pending_.size()) {
    if (ended_) return 0;
    pending_.clear();
    sent_ = 0;
    TRY(advance());
  }
  const size_t length = std::min(into.size(), pending_.size() - sent_);
  std::memcpy(into.data(), pending_.data() + sent_, length);
  sent_ += length;
  return length;
}

Result<> ArchiveSource::advance() {
  if (file_) return more_content();
  if (stack_.empty() && !texts_.empty()) {
    const Text text = std::move(texts_.back());
    texts_.pop_back();
    return write_text(text);
  }
  if (stack_.empty()) {
    writer_.end_archive(pending_);
    ended_ = true;
    return {};
  }
  const Waiting next = std::move(stack_.back());
  stack_.pop_back();
  return begin(next);
}

Result<> ArchiveSource::begin(const Waiting& next) {
  const Wanted wanted = filter_ && !next.name.empty() ? filter_(next.name) : Wanted::Yes;
  if (wanted == Wanted::No) return {};
  struct stat status{};
  const int flags = std::exchange(follow_top_, false) ? 0 : AT_SYMLINK_NOFOLLOW;
  if (::fstatat(AT_FDCWD, next.path.c_str(), &status, flags) != 0) {
    return fail_errno(errno, cat("lstat ", next.path));
  }
  const std::optional<tar::Type> type = type_of(status.st_mode);
  if (!type) return {};
  if (wanted == Wanted::OnlyInside) {
    return *type == tar::Type::Directory ? add_children(next) : Result<>();
  }
  tar::Entry entry;
  entry.type = *type;
  entry.name = next.name;
  entry.mode = status.st_mode & 07777;
  entry.user = filter_ ? 0 : status.st_uid;
  entry.group = filter_ ? 0 : status.st_gid;
  entry.modified = {.seconds = status.st_mtim.tv_sec,
                    .nanoseconds = static_cast<uint32_t>(status.st_mtim.tv_nsec)};
  entry.device_major = major(status.st_rdev);
  entry.device_minor = minor(status.st_rdev);
  if (*type == tar::Type::Symlink) {
    entry.link_target = TRY(sys::read_link_at(sys::working_directory, next.path.c_str()));
  }
  if (*type == tar::Type::File) {
    entry.size = static_cast<uint64_t>(status.st_size);
    file_ = TRY(sys::open_at(sys::working_directory, next.path.c_str(), O_RDONLY));
    file_path_ = next.path;
    size_ = left_ = entry.size;
  }
  if (!next.name.empty()) {
    TRY(writer_.begin_entry(entry, pending_).context(next.path));
  }
  if (*type == tar::Type::Directory) TRY(add_children(next));
  return {};
}

Result<> ArchiveSource::add_children(const Waiting& directory) {
  DIR* listing = ::opendir(directory.path.c_str());
  if (listing == nullptr) return fail_errno(errno, cat("opendir ", directory.path));
  std::vector<std::string> names;
  while (const dirent* each = ::readdir(listing)) {
    const std::string_view name = each->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(listing);
  // The last one is taken first: in order of their names.
  std::ranges::sort(names, std::greater<>());
  for (const std::string& name : names) {
    stack_.push_back({cat(directory.path, '/', name),
                      directory.name.empty() ? name : cat(directory.name, '/', name)});
  }
  return {};
}

Result<> ArchiveSource::more_content() {
  const size_t wanted = static_cast<size_t>(std::min<uint64_t>(left_, piece_bytes));
  pending_.resize(wanted);
  const ssize_t length = wanted == 0 ? 0 : ::read(file_.get(), pending_.data(), wanted);
  if (length < 0) return fail_errno(errno, cat("read ", file_path_));
  if (length == 0 && wanted != 0) {
    return fail(Kind::Conflict, cat(file_path_, " has become shorter while it was read"));
  }
  pending_.resize(static_cast<size_t>(length));
  left_ -= static_cast<uint64_t>(length);
  content_bytes_ += static_cast<uint64_t>(length);
  if (left_ == 0) {
    writer_.end_entry(size_, pending_);
    file_ = Fd();
  }
  return {};
}

// Unpacking --------------------------------------------------------------------------------------

Result<> ArchiveSink::feed(std::string_view bytes) {
  for (;;) {
    switch (TRY(reader_.next(bytes))) {
      case tar::Reader::Event::NeedInput:
      case tar::Reader::Event::End: return {};
      case tar::Reader::Event::Entry: TRY(begin(reader_.entry())); break;
      case tar::Reader::Event::Data: TRY(write(reader_.data(), reader_.data_offset())); break;
      case tar::Reader::Event::EntryEnd: TRY(end_file()); break;
    }
  }
}

Result<std::string> ArchiveSink::place_of(std::string_view name) const {
  const std::string path = TRY(plain_path(name));
  std::string_view rest = path;
  if (!top_.empty()) {
    if (take_until(rest, '/') != top_) {
      return fail(Kind::Invalid,
                  cat("the archive holds '", path, "', which is not in '", top_, "'"));
    }
  }
  return name_.empty() || rest.empty() ? cat(name_, rest) : cat(name_, '/', rest);
}

Result<> ArchiveSink::begin(const tar::Entry& entry) {
  if (!has_top_) {
    has_top_ = true;
    top_ = TRY(plain_path(entry.name));
    if (top_.contains('/')) return fail(Kind::Invalid, "the archive begins inside a directory");
  }
  const std::string place = TRY(place_of(entry.name));
  if (place.empty()) {
    if (entry.type != tar::Type::Directory)
      return fail(Kind::Invalid, "the archive is no directory");
    return {};
  }
  const size_t slash = place.rfind('/');
  const std::string parent_path = slash == std::string::npos ? "." : place.substr(0, slash);
  const char* name = place.c_str() + (slash == std::string::npos ? 0 : slash + 1);
  const sys::InRoot root(directory_.get());
  const long opened =
      root.ensure_directory(parent_path.c_str(), 0755, sys::InRoot::Symlinks::Refuse);
  if (opened < 0) return fail_errno(static_cast<int>(-opened), cat("opening ", parent_path));
  const Fd parent(static_cast<int>(opened));
  TRY(make(parent.get(), name, entry).context(place));
  if (entry.type == tar::Type::Directory) {
    directories_.push_back({place, entry});
  } else if (entry.type != tar::Type::File && entry.type != tar::Type::HardLink) {
    TRY(settle(parent.get(), name, entry).context(place));
  }
  return {};
}

Result<> ArchiveSink::make(int parent, const char* name, const tar::Entry& entry) {
  struct stat there{};
  const bool exists = ::fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0;
  if (entry.type == tar::Type::Directory) {
    if (exists && S_ISDIR(there.st_mode)) return {};
    if (exists) return fail(Kind::Conflict, "is there, and is no directory");
    // Ours until all is in it.
    return sys::make_directory_at(parent, name, 0700);
  }
  if (exists && S_ISDIR(there.st_mode)) return fail(Kind::Conflict, "is there, and is a directory");
  if (exists) TRY(sys::unlink_at(parent, name));
  const auto checked = [](int result, const char* call) -> Result<> {
    if (result != 0) return fail_errno(errno, call);
    return {};
  };
  switch (entry.type) {
    case tar::Type::File:
      file_ = TRY(sys::open_at(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
      file_entry_ = entry;
      return {};
    case tar::Type::Symlink:
      return checked(::symlinkat(entry.link_target.c_str(), parent, name), "symlink");
    case tar::Type::HardLink: {
      const std::string target = TRY(place_of(entry.link_target));
      const sys::InRoot root(directory_.get());
      const long opened =
          root.open(target.c_str(), O_PATH | O_NOFOLLOW, sys::InRoot::Symlinks::Refuse);
      if (opened < 0) return fail_errno(static_cast<int>(-opened), cat("link to ", target));
      const Fd file(static_cast<int>(opened));
      return checked(::linkat(AT_FDCWD, cat("/proc/self/fd/", file.get()).c_str(), parent, name,
                              AT_SYMLINK_FOLLOW),
                     "link");
    }
    default: {
      const mode_t type = entry.type == tar::Type::Fifo              ? S_IFIFO
                          : entry.type == tar::Type::CharacterDevice ? S_IFCHR
                                                                     : S_IFBLK;
      return checked(
          ::mknodat(parent, name, type | 0600, makedev(entry.device_major, entry.device_minor)),
          "mknod");
    }
  }
}

Result<> ArchiveSink::write(std::string_view data, uint64_t offset) {
  if (!file_) return {};
  content_bytes_ += data.size();
  while (!data.empty()) {
    const ssize_t length =
        ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return fail_errno(errno, cat("writing ", file_entry_.name));
    data.remove_prefix(static_cast<size_t>(length));
    offset += static_cast<uint64_t>(length);
  }
  return {};
}

Result<> ArchiveSink::end_file() {
  if (!file_) return {};
  const Fd file = std::move(file_);
  file_ = Fd();
  if (::ftruncate(file.get(), static_cast<off_t>(file_entry_.size)) != 0) {
    return fail_errno(errno, cat("ftruncate ", file_entry_.name));
  }
  if (options_.keep_owners && ::fchown(file.get(), file_entry_.user, file_entry_.group) != 0) {
    return fail_errno(errno, cat("fchown ", file_entry_.name));
  }
  // Bits that give another's rights are not for files that become ours.
  const mode_t mode = options_.keep_owners ? file_entry_.mode : file_entry_.mode & 01777;
  if (::fchmod(file.get(), mode) != 0) return fail_errno(errno, cat("fchmod ", file_entry_.name));
  const timespec times[] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                            {.tv_sec = file_entry_.modified.seconds,
                             .tv_nsec = static_cast<long>(file_entry_.modified.nanoseconds)}};
  ::futimens(file.get(), times);
  return {};
}

Result<> ArchiveSink::settle(int parent, const char* name, const tar::Entry& entry) const {
  if (options_.keep_owners &&
      ::fchownat(parent, name, entry.user, entry.group, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail_errno(errno, "fchownat");
  }
  if (entry.type != tar::Type::Symlink && ::fchmodat(parent, name, entry.mode & 01777, 0) != 0) {
    return fail_errno(errno, "fchmodat");
  }
  const timespec times[] = {
      {.tv_sec = 0, .tv_nsec = UTIME_OMIT},
      {.tv_sec = entry.modified.seconds, .tv_nsec = static_cast<long>(entry.modified.nanoseconds)}};
  ::utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW);
  return {};
}

Result<> ArchiveSink::finish() {
  TRY(reader_.finish());
  // The innermost first, since a change inside changes the time outside.
  for (const Late& late : directories_ | std::views::reverse) {
    const sys::InRoot root(directory_.get());
    const long opened =
        root.open(late.path.c_str(), O_RDONLY | O_DIRECTORY, sys::InRoot::Symlinks::Refuse);
    if (opened < 0) return fail_errno(static_cast<int>(-opened), cat("opening ", late.path));
    const Fd directory(static_cast<int>(opened));
    if (options_.keep_owners && ::fchown(directory.get(), late.entry.user, late.entry.group) != 0) {
      return fail_errno(errno, cat("fchown ", late.path));
    }
    if (::fchmod(directory.get(), late.entry.mode & 01777) != 0) {
      return fail_errno(errno, cat("fchmod ", late.path));
    }
    const timespec times[] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                              {.tv_sec = late.entry.modified.seconds,
                               .tv_nsec = static_cast<long>(late.entry.modified.nanoseconds)}};
    ::futimens(directory.get(), times);
  }
  return {};
}

}  // namespace nacelle::cli
