// COPY and ADD: which files are meant, and bringing them into a root. Both sides were written by
// others: files are found from descriptors inside their own root, and made as an archive's entries
// would be.
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "codec/compression.h"
#include "codec/digest.h"
#include "codec/tar_reader.h"
#include "image/extraction.h"
#include "image/job_path.h"
#include "image/job_stream.h"
#include "image/jobs.h"
#include "image/unpack_tree.h"
#include "sys/file.h"
#include "sys/resolve.h"

namespace nacelle::image {
namespace {

using codec::tar::Entry;
using codec::tar::Type;

constexpr int depth_max = 200;  // each level holds a descriptor
constexpr size_t names_bytes_max = 16u << 20;
constexpr size_t sources_max = 100'000;
constexpr size_t piece_bytes = 256u << 10;
constexpr size_t archive_head_bytes = 1024;

std::unexpected<Error> failed(std::string_view attempt, std::string_view path) {
  return fail_errno(errno, cat(attempt, " '", shown_name(path), "'"));
}

std::string joined(std::string_view directory, std::string_view name) {
  return directory.empty() ? std::string(name) : cat(directory, '/', name);
}

std::string_view last_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }

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

// A file found by `name` in a directory, no link followed.
struct Found {
  Fd file;  // for reading if it is a file or directory, else for its place alone
  struct stat status{};
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::string link_target;
};

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

// What a source of COPY leads to: its links are followed inside `root`.
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

// Which files. -----------------------------------------------------------------------------------

bool has_wildcard(std::string_view text) { return text.find_first_of("*?[\\") != text.npos; }

// "a/../b/./c" as "b/c"; what leads out is refused, as Docker refuses it.
Result<std::vector<std::string>> components_of(const std::string& pattern) {
  std::vector<std::string> parts;
  std::string_view rest = pattern;
  while (!rest.empty()) {
    const std::string part(take_until(rest, '/'));
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    } else {
      return fail(Kind::Invalid,
                  cat("forbidden path outside the build context: ", shown_name(pattern), " ()"));
    }
  }
  return parts;
}

class Search {
 public:
  Search(const Fd& root, std::vector<std::string>& found) : root_(root), found_(found) {}

  Result<> expand(const std::string& directory, const std::vector<std::string>& parts, size_t at) {
    if (at == parts.size()) return add(directory);
    const std::string& part = parts[at];
    if (!has_wildcard(part)) return expand(joined(directory, part), parts, at + 1);
    const sys::InRoot inside(root_.get());
    const long opened =
        inside.open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY);
    if (opened < 0) return {};  // no directory: nothing in it
    const Fd opened_directory(static_cast<int>(opened));
    for (const std::string& name : TRY(names_in(opened_directory, directory))) {
      if (::fnmatch(part.c_str(), name.c_str(), 0) == 0) {
        TRY(expand(joined(directory, name), parts, at + 1));
      }
    }
    return {};
  }

 private:
  Result<> add(const std::string& path) {
    const sys::InRoot inside(root_.get());
    const long there = inside.open(path.empty() ? "." : path.c_str(), O_PATH);
    if (there < 0) {
      if (there != -ENOENT && there != -ENOTDIR && there != -ELOOP) {
        return fail_errno(static_cast<int>(-there), cat("stat ", shown_name(path)));
      }
      return fail(Kind::NotFound,
                  cat("file not found in build context or excluded by .dockerignore: stat ",
                      shown_name(path), ": file does not exist"));
    }
    const Fd opened(static_cast<int>(there));
    if (found_.size() >= sources_max) return fail(Kind::Exhausted, "too many sources");
    found_.push_back(path);
    return {};
  }

  const Fd& root_;
  std::vector<std::string>& found_;
};

// Their digest. ----------------------------------------------------------------------------------

class Fingerprint {
 public:
  explicit Fingerprint(Asker& asker) : asker_(asker) {}

  Result<> add(Found found, const std::string& path, int depth) {
    if (depth > depth_max) {
      return fail(Kind::Exhausted, cat("'", shown_name(path), "' is too deep"));
    }
    asker_.still_here();
    const struct stat& status = found.status;
    put(path);
    put(cat(status.st_mode));
    put(found.link_target);
    put(cat(S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ? status.st_rdev : 0));
    put(cat(found.xattrs.size()));
    for (const auto& [name, value] : found.xattrs) {
      put(name);
      put(value);
    }
    if (S_ISREG(status.st_mode)) return add_content(found.file, path);
    if (!S_ISDIR(status.st_mode)) return {};
    for (const std::string& name : TRY(names_in(found.file, path))) {
      const std::string inner = joined(path, name);
      TRY(add(TRY(look_in(found.file, name.c_str(), inner)), inner, depth + 1));
    }
    put("end");
    return {};
  }
  Digest finish() { return hasher_.finish(); }

 private:
  // With its length in front: no two lists of texts look the same.
  void put(std::string_view text) {
    hasher_.update(cat(text.size(), ':'));
    hasher_.update(text);
  }

  Result<> add_content(const Fd& file, const std::string& path) {
    codec::Hasher content;
    while (true) {
      const ssize_t got = ::read(file.get(), buffer_.data(), buffer_.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return failed("reading", path);
      if (got == 0) break;
      content.update(std::string_view(buffer_).substr(0, static_cast<size_t>(got)));
      asker_.progress(done_ += static_cast<uint64_t>(got));
    }
    put(content.finish().text());
    return {};
  }

  Asker& asker_;
  codec::Hasher hasher_;
  std::string buffer_ = std::string(piece_bytes, '\0');
  uint64_t done_ = 0;
};

// Copying. ---------------------------------------------------------------------------------------

// The directory, and those above it that are missing.
Result<> ensure_directories(const Fd& root, std::string_view path, uint32_t uid, uint32_t gid) {
  Fd at = TRY(open_directory(root, ""));
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::string name(take_until(rest, '/'));
    if (name.empty()) continue;
    auto next = open_directory(at, name);
    if (!next && next.error().error_number() == ENOENT) {
      if (::mkdirat(at.get(), name.c_str(), 0755) < 0) return failed("mkdir", path);
      next = open_directory(at, name);
      if (next && (::fchown(next->get(), uid, gid) < 0 || ::fchmod(next->get(), 0755) < 0)) {
        return failed("chown", path);
      }
    }
    if (!next && next.error().error_number() == ENOTDIR) {
      return fail(Kind::Invalid, cat("cannot copy to non-directory: ", shown_name(path)));
    }
    at = TRY(std::move(next));
  }
  return {};
}

bool is_directory(const Fd& root, const std::string& path) {
  return open_directory(root, path).has_value();
}

// Whether a file is an archive that ADD takes apart.
Result<bool> is_archive(const Fd& file, const std::string& path) {
  StreamInput stream(file);
  auto bytes = stream.next();
  const bool rewound = ::lseek(file.get(), 0, SEEK_SET) == 0;
  if (!rewound) return failed("rewinding", path);
  if (!bytes) {
    // gzip or zstd by its first bytes, and not to be read: a file like any other. What is
    // compressed in another way would come out as it is, where Docker unpacks it.
    if (bytes.error().kind() == Kind::Unsupported) return std::unexpected(bytes.error());
    return false;
  }
  std::string_view head = *bytes;
  if (head.size() < archive_head_bytes / 2) return false;
  codec::tar::Reader reader;
  const auto event = reader.next(head);
  using Event = codec::tar::Reader::Event;
  return event && *event == Event::Entry;
}

// Feeds files to an Extraction, as entries below one directory.
class Copier {
 public:
  Copier(const CopyFilesRequest& request, Asker& asker) : request_(request), asker_(asker) {
    rules_.has_owner = true;
    rules_.uid = request.uid;
    rules_.gid = request.gid;
    rules_.keep_kinds = true;
  }

  // `name`: of the file in `place`, or "" for what is in a directory.
  Result<> copy(Found found, const std::string& name, Fd place) {
    Extraction extraction(rules_, std::move(place));
    links_.clear();
    if (name.empty()) {
      TRY(put_all(extraction, found.file, "", 0));
    } else {
      TRY(put(extraction, std::move(found), name, 0));
    }
    return close(extraction);
  }

  Result<> write(const std::string& text, const std::string& name, Fd place) {
    Extraction extraction(rules_, std::move(place));
    Entry entry;
    entry.name = name;
    entry.size = text.size();
    entry.mode = request_.mode.value_or(0644);
    TRY(extraction.begin(entry));
    TRY(extraction.data(0, text));
    TRY(extraction.end());
    return close(extraction);
  }

  Result<> unpack(const Fd& archive, Fd place) {
    WritePathRequest rules;
    Extraction extraction(rules, std::move(place));
    TRY(extract_archive(archive, extraction, asker_));
    return close(extraction);
  }

  CopyFilesRequest::Reply totals() const { return totals_; }

 private:
  Result<> close(Extraction& extraction) {
    TRY(extraction.finish());
    totals_.entries += extraction.totals().entries;
    totals_.bytes += extraction.totals().bytes;
    return {};
  }

  Result<> put_all(Extraction& extraction, const Fd& directory, const std::string& path,
                   int depth) {
    for (const std::string& name : TRY(names_in(directory, path))) {
      const std::string inner = joined(path, name);
      TRY(put(extraction, TRY(look_in(directory, name.c_str(), inner)), inner, depth + 1));
    }
    return {};
  }

  Result<> put(Extraction& extraction, Found found, const std::string& name, int depth) {
    if (depth > depth_max) {
      return fail(Kind::Exhausted, cat("'", shown_name(name), "' is too deep"));
    }
    asker_.still_here();
    if (S_ISSOCK(found.status.st_mode)) return {};
    Entry entry = describe(found, name);
    if (entry.type == Type::File && found.status.st_nlink > 1) {
      const auto [first, is_new] =
          links_.try_emplace({found.status.st_dev, found.status.st_ino}, name);
      if (!is_new && !request_.mode) {
        entry.type = Type::HardLink;
        entry.link_target = first->second;
        entry.size = 0;
      }
    }
    TRY(extraction.begin(entry));
    if (entry.type == Type::File) TRY(put_content(extraction, found.file, entry));
    TRY(extraction.end());
    if (entry.type == Type::Directory) TRY(put_all(extraction, found.file, name, depth));
    return {};
  }

  Entry describe(const Found& found, const std::string& name) const {
    const struct stat& status = found.status;
    Entry entry;
    entry.type = S_ISDIR(status.st_mode)    ? Type::Directory
                 : S_ISLNK(status.st_mode)  ? Type::Symlink
                 : S_ISCHR(status.st_mode)  ? Type::CharacterDevice
                 : S_ISBLK(status.st_mode)  ? Type::BlockDevice
                 : S_ISFIFO(status.st_mode) ? Type::Fifo
                                            : Type::File;
    entry.name = name;
    entry.link_target = found.link_target;
    entry.mode = request_.mode.value_or(status.st_mode & 07777);
    entry.modified = {status.st_mtim.tv_sec, static_cast<uint32_t>(status.st_mtim.tv_nsec)};
    entry.device_major = major(status.st_rdev);
    entry.device_minor = minor(status.st_rdev);
    entry.xattrs = found.xattrs;
    if (entry.type == Type::File) entry.size = static_cast<uint64_t>(status.st_size);
    return entry;
  }

  Result<> put_content(Extraction& extraction, const Fd& file, Entry& entry) {
    uint64_t at = 0;
    while (at < entry.size) {
      const ssize_t got = ::read(file.get(), buffer_.data(), buffer_.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return failed("reading", entry.name);
      if (got == 0) break;
      TRY(extraction.data(at, std::string_view(buffer_).substr(0, static_cast<size_t>(got))));
      at += static_cast<uint64_t>(got);
      asker_.progress(done_ += static_cast<uint64_t>(got));
    }
    return {};
  }

  const CopyFilesRequest& request_;
  Asker& asker_;
  WritePathRequest rules_;
  CopyFilesRequest::Reply totals_;
  // The names under which hard links of this source were first met.
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
  std::string buffer_ = std::string(piece_bytes, '\0');
  uint64_t done_ = 0;
};

// Where one source goes.
struct Target {
  std::string directory;  // absolute
  std::string name;       // in it; "" is the directory itself
};

Target target_of(const CopyFilesRequest& request, const Fd& root, std::string_view source_name) {
  const std::string path = absolute_path(request.destination);
  const bool into = request.destination.ends_with('/') || request.destination.ends_with("/.") ||
                    path == "/" || is_directory(root, path);
  if (into) return {path, std::string(source_name)};
  const size_t slash = path.rfind('/');
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

Result<FindSourcesRequest::Reply> find_sources(const FindSourcesRequest& request, const Fd& root,
                                               Asker& asker) {
  FindSourcesRequest::Reply reply;
  reply.all_are_directories = true;
  Search search(root, reply.paths);
  for (const std::string& pattern : request.patterns) {
    TRY(search.expand("", TRY(components_of(pattern)), 0));
  }
  if (reply.paths.empty()) return fail(Kind::Invalid, "no source files were specified");
  Fingerprint fingerprint(asker);
  for (const std::string& path : reply.paths) {
    Found found = TRY(look_from_root(root, path));
    const bool directory = S_ISDIR(found.status.st_mode);
    reply.all_are_directories = reply.all_are_directories && directory;
    TRY(fingerprint.add(std::move(found), directory ? "" : std::string(last_of(path)), 0));
  }
  reply.digest = fingerprint.finish();
  return reply;
}

Result<CopyFilesRequest::Reply> copy_files(const CopyFilesRequest& request, const Fd& root,
                                           const Fd& source, Asker& asker) {
  Copier copier(request, asker);
  for (const std::string& path : request.paths) {
    Found found = TRY(look_from_root(source, path));
    const bool directory = S_ISDIR(found.status.st_mode);
    const bool unpacks =
        request.unpacks && S_ISREG(found.status.st_mode) && TRY(is_archive(found.file, path));
    Target target = target_of(request, root, last_of(path));
    if (directory || unpacks) target = {absolute_path(request.destination), ""};
    TRY(ensure_directories(root, target.directory, request.uid, request.gid));
    Fd place = TRY(open_directory(root, target.directory));
    if (unpacks) {
      TRY(copier.unpack(found.file, std::move(place)));
    } else {
      TRY(copier.copy(std::move(found), target.name, std::move(place)));
    }
  }
  for (const CopyFilesRequest::Text& text : request.texts) {
    const Target target = target_of(request, root, last_of(text.name));
    TRY(ensure_directories(root, target.directory, request.uid, request.gid));
    TRY(copier.write(text.content, target.name, TRY(open_directory(root, target.directory))));
  }
  return copier.totals();
}

Result<MakeDirectoryRequest::Reply> make_directory(const MakeDirectoryRequest& request,
                                                   const Fd& root) {
  TRY(ensure_directories(root, absolute_path(request.path), 0, 0));
  return MakeDirectoryRequest::Reply{};
}

}  // namespace nacelle::image
