#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <vector>

#include "base/fault.h"
#include "base/text.h"
#include "codec/json.h"
#include "codec/tar_writer.h"
#include "image/job_path.h"
#include "image/job_stream.h"
#include "image/jobs.h"
#include "sys/file.h"

// The tree is walked by descriptors, names sorted, without recursion. What is in it may change
// meanwhile (a container that still runs): what disappears is left out, what grows is cut, what
// shrinks is filled with zeros, so that the archive is always whole.

namespace nacelle::image {
namespace {

namespace tar = codec::tar;

// Of the names in all directories that are open at one time, and of hard links not met again yet.
constexpr size_t listing_bytes_max = 20u << 20;
constexpr size_t hard_link_bytes_max = 8u << 20;
// A directory with more names is counted before they are stored: a string that grows by doubling
// would hold three times as much.
constexpr size_t small_listing_bytes = 256u << 10;
// Directories held open; those above are opened again from below when the walk comes back.
constexpr size_t open_directories_max = 128;

constexpr std::string_view whiteout_prefix = ".wh.";
constexpr std::string_view opaque_name = ".wh..wh..opq";
constexpr std::string_view overlay_prefix = "trusted.overlay.";

// The names in one directory: one string of them, and where each begins.
class Listing {
 public:
  static Result<Listing> read(const Fd& directory, size_t bytes_max, std::string_view path) {
    Listing listing;
    bool counted = false;
    alignas(8) std::array<char, 32768> buffer;
    while (true) {
      const long got = ::syscall(SYS_getdents64, directory.get(), buffer.data(), buffer.size());
      if (got < 0) return fail_errno(errno, cat("reading directory '", path, "'"));
      if (got == 0) break;
      listing.take(std::string_view(buffer.data(), static_cast<size_t>(got)));
      if (listing.bytes() > bytes_max) {
        return fail(Kind::Exhausted, cat("directory '", path, "': more than ", listing_bytes_max,
                                         " bytes of names to remember"));
      }
      if (!counted && listing.bytes() > small_listing_bytes) {
        listing = TRY(sized_for(directory, path));
        counted = true;
      }
    }
    std::sort(listing.begins_.begin(), listing.begins_.end(), [&](uint32_t a, uint32_t b) {
      return std::strcmp(listing.names_.data() + a, listing.names_.data() + b) < 0;
    });
    return listing;
  }

  // The next name, or null. Points into this object.
  const char* next() { return at_ == begins_.size() ? nullptr : names_.data() + begins_[at_++]; }
  size_t bytes() const { return names_.size() + begins_.size() * sizeof(uint32_t); }

 private:
  // An empty one with room for all that is in the directory, which is at its beginning again.
  static Result<Listing> sized_for(const Fd& directory, std::string_view path) {
    if (::lseek(directory.get(), 0, SEEK_SET) < 0)
      return fail_errno(errno, "rewinding a directory");
    size_t count = 0, bytes = 0;
    alignas(8) std::array<char, 32768> buffer;
    long got = 0;
    while ((got = ::syscall(SYS_getdents64, directory.get(), buffer.data(), buffer.size())) > 0) {
      Listing part;
      part.take(std::string_view(buffer.data(), static_cast<size_t>(got)));
      count += part.begins_.size();
      bytes += part.names_.size();
    }
    if (got < 0) return fail_errno(errno, cat("reading directory '", path, "'"));
    if (::lseek(directory.get(), 0, SEEK_SET) < 0)
      return fail_errno(errno, "rewinding a directory");
    Listing sized;
    sized.names_.reserve(std::min(bytes, listing_bytes_max));
    sized.begins_.reserve(std::min(count, listing_bytes_max / sizeof(uint32_t)));
    return sized;
  }

  void take(std::string_view records) {
    while (!records.empty()) {
      // struct linux_dirent64: inode, offset, record length, type, name.
      uint16_t length;
      std::memcpy(&length, records.data() + 16, sizeof length);
      const char* name = records.data() + 19;
      records.remove_prefix(length);
      if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
      begins_.push_back(static_cast<uint32_t>(names_.size()));
      names_.append(name, std::strlen(name) + 1);
    }
  }

  std::string names_;
  std::vector<uint32_t> begins_;
  size_t at_ = 0;
};

struct Identity {
  dev_t device = 0;
  ino_t inode = 0;
  auto operator<=>(const Identity&) const = default;
};
Identity identity(const struct stat& status) { return {status.st_dev, status.st_ino}; }

// A directory the walk is inside of.
struct Level {
  Fd directory;  // empty while too many are open
  Identity is;
  Listing names;
  size_t path_size = 0;  // of the path of the directory itself
};

// The names under which files with several have been written.
class HardLinks {
 public:
  // The name of the first, or null: `path` is it.
  Result<const std::string*> find_or_add(const struct stat& status, const std::string& path) {
    const auto [at, is_new] = known_.try_emplace(identity(status));
    Known& known = at->second;
    if (is_new) {
      known = {path, status.st_nlink - 1};
      bytes_ += cost(path);
      if (bytes_ > hard_link_bytes_max) {
        return fail(Kind::Exhausted, cat("'", path, "': more than ", hard_link_bytes_max,
                                         " bytes of hard links to remember"));
      }
      return nullptr;
    }
    name_ = known.path;
    if (--known.left == 0) {
      bytes_ -= cost(known.path);
      known_.erase(at);
    }
    return &name_;
  }

 private:
  struct Known {
    std::string path;
    nlink_t left = 0;
  };
  static size_t cost(const std::string& path) { return path.size() + 128; }

  std::map<Identity, Known> known_;
  std::string name_;
  size_t bytes_ = 0;
};

// What the extended attributes of a file say.
struct Attributes {
  std::vector<std::pair<std::string, std::string>> kept;
  bool opaque = false;
  bool whiteout = false;
};

// As Docker: file capabilities and the user's own. What overlayfs keeps for itself never leaves.
bool is_kept(std::string_view name) {
  return name == "security.capability" ||
         (name.starts_with("user.") && !name.starts_with("user.overlay."));
}

class AttributeReader {
 public:
  Result<Attributes> read(const Fd& file, PackRequest::Form form, std::string_view path) {
    Attributes found;
    const ssize_t length = ::flistxattr(file.get(), names_.data(), names_.size());
    if (length < 0 && (errno == ENOTSUP || errno == ENODATA)) return found;
    if (length < 0) return fail_errno(errno, cat("listing the attributes of '", path, "'"));
    std::string_view rest(names_.data(), static_cast<size_t>(length));
    while (!rest.empty()) {
      const std::string name(take_until(rest, '\0'));
      if (is_kept(name)) {
        if (TRY(value_of(file, name, path))) found.kept.emplace_back(name, value_);
      } else if (form == PackRequest::Form::Diff && name.starts_with(overlay_prefix)) {
        TRY(take_overlay(file, name, path, found));
      }
    }
    std::sort(found.kept.begin(), found.kept.end());
    return found;
  }

 private:
  // False: it has just been removed.
  Result<bool> value_of(const Fd& file, const std::string& name, std::string_view path) {
    value_.resize(tar::xattr_value_bytes_max);
    const ssize_t size = ::fgetxattr(file.get(), name.c_str(), value_.data(), value_.size());
    if (size < 0 && errno == ENODATA) return false;
    if (size < 0) return fail_errno(errno, cat("reading ", name, " of '", path, "'"));
    value_.resize(static_cast<size_t>(size));
    return true;
  }

  Result<> take_overlay(const Fd& file, const std::string& name, std::string_view path,
                        Attributes& found) {
    const std::string_view kind = std::string_view(name).substr(overlay_prefix.size());
    if (kind == "redirect" || kind == "metacopy") {
      return fail(
          Kind::Unsupported,
          cat("'", path, "' has ", name,
              ": its content is in a lower layer, under a name a "
              "layer cannot tell; mount the overlay with redirect_dir=off and metacopy=off"));
    }
    // "x" means that there are whiteouts made of attributes inside.
    if (kind == "opaque") found.opaque = TRY(value_of(file, name, path)) && value_ == "y";
    if (kind == "whiteout") found.whiteout = true;
    return {};
  }

  std::array<char, 65536> names_;  // XATTR_LIST_MAX
  std::string value_;
};

class Packer {
 public:
  Packer(const PackRequest& request, StreamOutput& output, Asker& asker)
      : request_(request), output_(output), asker_(asker) {}

  Result<uint64_t> pack(const Fd& root) {
    TRY(enter_directory(TRY(sys::open_at(root.get(), ".", O_RDONLY | O_DIRECTORY))));
    return walk();
  }

  // A directory and what is in it, with names that begin with `name`.
  Result<uint64_t> pack_directory(Fd directory, const std::string& name) {
    path_ = name;
    TRY(enter_directory(std::move(directory)));
    return walk();
  }

  // Anything else, by its name in a directory.
  Result<uint64_t> pack_one(Fd directory, const std::string& name) {
    const struct stat status = TRY(sys::stat_fd(directory));
    levels_.push_back({std::move(directory), identity(status), Listing(), 0});
    path_ = name;
    TRY(pack_entry(name.c_str()));
    return walk();
  }

 private:
  bool is_diff() const { return request_.form == PackRequest::Form::Diff; }

  Result<uint64_t> walk() {
    while (!levels_.empty()) {
      // Points into the level: good until a directory is entered.
      const char* name = levels_.back().names.next();
      if (name == nullptr) {
        TRY(leave_directory());
        continue;
      }
      path_.resize(levels_.back().path_size);
      if (!path_.empty()) path_ += '/';
      path_ += name;
      TRY(pack_entry(name));
    }
    header_.clear();
    writer_.end_archive(header_);
    TRY(output_.append(header_));
    return entries_;
  }

  Result<> pack_entry(const char* name) {
    if (is_diff() && std::string_view(name).starts_with(whiteout_prefix)) {
      return fail(Kind::Invalid, cat("'", path_, "': layers reserve names that begin with '",
                                     whiteout_prefix, "' for what they delete"));
    }
    struct stat status;
    const int directory = levels_.back().directory.get();
    if (::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
      return unless_gone("stat");
    }
    if (S_ISDIR(status.st_mode) || S_ISREG(status.st_mode)) return pack_opened(name);
    if (S_ISSOCK(status.st_mode)) return {};  // means nothing without who listens on it
    if (is_diff() && S_ISCHR(status.st_mode) && status.st_rdev == 0) return write_whiteout(name);
    return pack_special(name, status);
  }

  // What is gone by now never was, for the archive.
  Result<> unless_gone(std::string_view attempt) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, cat(attempt, " '", path_, "'"));
  }

  // Between the look and the open another file may have taken the name: what was opened decides.
  // O_NONBLOCK, so that a FIFO there cannot stop us.
  Result<> pack_opened(const char* name) {
    const int raw = ::openat(levels_.back().directory.get(), name,
                             O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (raw < 0 && (errno == ELOOP || errno == ENXIO)) return {};
    if (raw < 0) return unless_gone("open");
    Fd file(raw);
    const struct stat status = TRY(sys::stat_fd(file));
    if (S_ISDIR(status.st_mode)) return enter_directory(std::move(file));
    if (!S_ISREG(status.st_mode)) return {};
    return pack_file(file, status, name);
  }

  Result<> pack_file(const Fd& file, const struct stat& status, const char* name) {
    Attributes attributes = TRY(attribute_reader_.read(file, request_.form, path_));
    if (is_diff() && attributes.whiteout && status.st_size == 0) return write_whiteout(name);
    tar::Entry entry = describe(status);
    if (status.st_nlink > 1) {
      const std::string* first = TRY(hard_links_.find_or_add(status, path_));
      if (first != nullptr) return write_link(std::move(entry), *first);
    }
    entry.type = tar::Type::File;
    entry.size = static_cast<uint64_t>(status.st_size);
    entry.xattrs = std::move(attributes.kept);
    TRY(write_header(entry));
    TRY(write_content(file, entry.size));
    header_.clear();
    writer_.end_entry(entry.size, header_);
    return output_.append(header_);
  }

  Result<> write_content(const Fd& file, uint64_t size) {
    bool ended = false;
    while (size > 0) {
      std::span<char> room = TRY(output_.room());
      room = room.first(std::min<uint64_t>(room.size(), size));
      ssize_t got = ended ? 0 : ::read(file.get(), room.data(), room.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno(errno, cat("read '", path_, "'"));
      ended = got == 0;
      if (ended) {
        std::fill(room.begin(), room.end(), '\0');
        got = static_cast<ssize_t>(room.size());
      }
      output_.advance(static_cast<size_t>(got));
      size -= static_cast<uint64_t>(got);
      bytes_ += static_cast<uint64_t>(got);
      asker_.progress(bytes_);
    }
    return {};
  }

  Result<> write_link(tar::Entry entry, const std::string& first) {
    entry.type = tar::Type::HardLink;
    entry.link_target = first;
    return write_header(entry);
  }

  Result<> write_whiteout(std::string_view hidden) {
    tar::Entry entry;
    const size_t directory_size = path_.size() - hidden.size();
    entry.name = cat(path_.substr(0, directory_size), whiteout_prefix, hidden);
    entry.modified = clamped({});
    return write_header(entry);
  }

  Result<> pack_special(const char* name, const struct stat& status) {
    tar::Entry entry = describe(status);
    switch (status.st_mode & S_IFMT) {
      case S_IFLNK: {
        auto target = sys::read_link_at(levels_.back().directory.get(), name);
        if (!target &&
            (target.error().error_number() == ENOENT || target.error().error_number() == EINVAL)) {
          return {};
        }
        entry.type = tar::Type::Symlink;
        entry.link_target = TRY(std::move(target));
        break;
      }
      case S_IFIFO: entry.type = tar::Type::Fifo; break;
      case S_IFCHR: entry.type = tar::Type::CharacterDevice; break;
      case S_IFBLK: entry.type = tar::Type::BlockDevice; break;
      default: return fail(Kind::Unsupported, cat("'", path_, "': a file of an unknown type"));
    }
    if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
      entry.device_major = major(status.st_rdev);
      entry.device_minor = minor(status.st_rdev);
    }
    if (status.st_nlink > 1) {
      const std::string* first = TRY(hard_links_.find_or_add(status, path_));
      if (first != nullptr) return write_link(describe(status), *first);
    }
    return write_header(entry);
  }

  Result<> enter_directory(Fd directory) {
    const struct stat status = TRY(sys::stat_fd(directory));
    Attributes attributes = TRY(attribute_reader_.read(directory, request_.form, path_));
    tar::Entry entry = describe(status);
    entry.type = tar::Type::Directory;
    if (entry.name.empty()) entry.name = ".";
    entry.xattrs = std::move(attributes.kept);
    TRY(write_header(entry));
    if (is_diff() && attributes.opaque) {
      tar::Entry marker;
      marker.name = path_.empty() ? std::string(opaque_name) : cat(path_, "/", opaque_name);
      marker.modified = clamped({});
      TRY(write_header(marker));
    }
    Listing names = TRY(Listing::read(directory, listing_bytes_max - listing_bytes_, path_));
    listing_bytes_ += names.bytes();
    if (levels_.size() >= open_directories_max) {
      levels_[levels_.size() - open_directories_max].directory = Fd();
    }
    levels_.push_back({std::move(directory), identity(status), std::move(names), path_.size()});
    return {};
  }

  Result<> leave_directory() {
    Level left = std::move(levels_.back());
    levels_.pop_back();
    listing_bytes_ -= left.names.bytes();
    if (levels_.empty() || levels_.back().directory) return {};
    Level& parent = levels_.back();
    path_.resize(parent.path_size);
    Fd opened = TRY(sys::open_at(left.directory.get(), "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (identity(TRY(sys::stat_fd(opened))) != parent.is) {
      return fail(Kind::Conflict, cat("'", path_, "': moved while it was being packed"));
    }
    parent.directory = std::move(opened);
    return {};
  }

  tar::Entry describe(const struct stat& status) const {
    tar::Entry entry;
    entry.name = path_;
    entry.mode = status.st_mode & 07777;
    entry.user = status.st_uid;
    entry.group = status.st_gid;
    // Whole seconds, as Docker writes them: a fraction costs each entry a kilobyte.
    entry.modified = clamped({.seconds = status.st_mtim.tv_sec});
    return entry;
  }

  tar::Time clamped(tar::Time time) const {
    if (request_.times_at_most && time.seconds > *request_.times_at_most) {
      time.seconds = *request_.times_at_most;
    }
    return time;
  }

  Result<> write_header(const tar::Entry& entry) {
    header_.clear();
    const auto context = [&] { return cat("'", path_, "'"); };
    TRY(writer_.begin_entry(entry, header_).context(context));
    ++entries_;
    if (entries_ % 256 == 0) asker_.progress(bytes_);
    return output_.append(header_);
  }

  const PackRequest& request_;
  StreamOutput& output_;
  Asker& asker_;
  tar::Writer writer_;
  AttributeReader attribute_reader_;
  HardLinks hard_links_;
  std::vector<Level> levels_;
  size_t listing_bytes_ = 0;
  std::string path_;  // of what is being packed, without a leading slash
  std::string header_;
  uint64_t entries_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace

Result<PackRequest::Reply> pack(const PackRequest& request, const Fd& root, const Fd& output,
                                Asker& asker) {
  fault_point("pack.begin");
  // Somebody waits for a diff, at each step of a build: a tenth more bytes in a third of the time.
  const bool is_diff = request.form == PackRequest::Form::Diff;
  const int level = is_diff && request.compression == codec::Compression::Gzip ? 1 : 0;
  const auto stream = TRY(StreamOutput::open(output, request.compression, level));
  const auto packer = std::make_unique<Packer>(request, *stream, asker);  // 64 KiB of buffers
  PackRequest::Reply reply;
  reply.entries = TRY(packer->pack(root));
  fault_point("pack.written");
  StreamOutput::Totals totals = TRY(stream->finish());
  reply.blob = std::move(totals.blob);
  reply.diff_id = std::move(totals.diff_id);
  reply.blob_bytes = totals.blob_bytes;
  reply.archive_bytes = totals.archive_bytes;
  fault_point("pack.done");
  return reply;
}

Result<FileStat> read_path(const ReadPathRequest& request, const Fd& root, const Fd& output,
                           Asker& asker) {
  FoundPath found = TRY(find_path(root, request.path));
  const auto stream = TRY(StreamOutput::open(output, codec::Compression::None));
  const PackRequest form;
  const auto packer = std::make_unique<Packer>(form, *stream, asker);
  if (S_ISDIR(found.stat.mode)) {
    const std::string name = found.stat.name == "/" ? "." : found.stat.name;
    // Through the descriptor that was looked at, whatever has that name by now.
    Fd directory = TRY(sys::open_at(found.file.get(), ".", O_RDONLY | O_DIRECTORY));
    TRY(packer->pack_directory(std::move(directory), name));
  } else {
    const uint64_t entries = TRY(packer->pack_one(std::move(found.parent), found.stat.name));
    if (entries == 0 && !S_ISSOCK(found.stat.mode)) {
      return fail(Kind::NotFound, cat("no such file: '", request.path, "'"));
    }
  }
  TRY(stream->finish());
  return std::move(found.stat);
}

}  // namespace nacelle::image
