// COPY and ADD: bringing files into a root. Both sides were written by others: files are found from
// descriptors inside their own root, and made as an archive's entries would be.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/text.h"
#include "codec/compression.h"
#include "codec/file_mode.h"
#include "codec/tar_reader.h"
#include "image/copy_source.h"
#include "image/extraction.h"
#include "image/job_path.h"
#include "image/job_stream.h"
#include "image/jobs.h"
#include "image/unpack_tree.h"
#include "sys/file.h"

namespace nacelle::image {
namespace {

using codec::tar::Entry;
using codec::tar::Type;

constexpr size_t piece_bytes = 256u << 10;
constexpr size_t archive_head_bytes = 1024;

std::unexpected<Error> failed(std::string_view attempt, std::string_view path) {
  return fail_errno(errno, cat(attempt, " '", shown_name(path), "'"));
}

// What directories get that are made on the way.
struct Rights {
  uint32_t uid = 0, gid = 0, mode = 0755;
};

// To what mkdir(2) has just made. A directory that hands on its group has done so, too.
Result<> give_rights(const Fd& made, const Rights& rights, std::string_view path) {
  const struct stat status = TRY(sys::stat_fd(made));
  const uint32_t handed_on = status.st_mode & S_ISGID;
  const gid_t group = handed_on != 0 && rights.gid == 0 ? status.st_gid : rights.gid;
  if (::fchown(made.get(), rights.uid, group) < 0) return failed("chown", path);
  if (::fchmod(made.get(), rights.mode | handed_on) < 0) return failed("chmod", path);
  return {};
}

// The directory, made with those above it that are missing; what links name is made where they
// lead.
Result<Fd> ensure_directory(const Fd& root, std::string_view path, const Rights& rights) {
  Fd at = TRY(open_directory(root, ""));
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::string name(take_until(rest, '/'));
    if (name.empty()) continue;
    auto next = open_directory(at, name);
    if (!next && next.error().error_number() == ENOENT) {
      if (::mkdirat(at.get(), name.c_str(), 0755) < 0) {
        if (errno != EEXIST) return failed("mkdir", path);
        const std::string real = TRY(follow_path(root, std::string(path)));
        if (real == path) return fail_errno(EEXIST, cat("mkdir '", shown_name(path), "'"));
        return ensure_directory(root, real, rights);
      }
      next = open_directory(at, name);
      if (next) TRY(give_rights(*next, rights, path));
    }
    if (!next && next.error().error_number() == ENOTDIR) {
      return fail(Kind::Invalid, cat("cannot copy to non-directory: ", shown_name(path)));
    }
    at = TRY(std::move(next));
  }
  return at;
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
  if (!bytes) return false;  // compressed by its first bytes, and not to be read
  std::string_view head = *bytes;
  if (head.size() < archive_head_bytes / 2) return false;
  codec::tar::Reader reader;
  const auto event = reader.next(head);
  using Event = codec::tar::Reader::Event;
  return event && *event == Event::Entry;
}

// Feeds files to an Extraction, as entries below one directory.
class Copier final : public SourceVisitor {
 public:
  Copier(const CopyFilesRequest& request, std::optional<codec::ModeChange> mode, Asker& asker)
      : mode_(std::move(mode)), asker_(asker) {
    rules_.has_owner = !request.keeps_owners;
    rules_.uid = request.uid;
    rules_.gid = request.gid;
    rules_.keep_kinds = true;
  }

  // `name`: of the file in `place`, or "" for what is in a directory.
  Result<> copy(Found found, const Selection& selection, const std::string& name, Fd place) {
    Extraction extraction(rules_, std::move(place));
    extraction_ = &extraction;
    links_.clear();
    TRY(SourceWalk(selection, *this, asker_).run(found, name));
    return close(extraction);
  }

  Result<> write(const std::string& text, const std::string& name, Fd place) {
    Extraction extraction(rules_, std::move(place));
    Entry entry;
    entry.name = name;
    entry.size = text.size();
    entry.mode = mode_of(0644, false);
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

  Result<> enter(Found& found, const std::string& path) override {
    // The place itself, or what nobody can copy.
    if (path.empty() || S_ISSOCK(found.status.st_mode)) return {};
    Entry entry = describe(found, path);
    if (entry.type == Type::File && found.status.st_nlink > 1) {
      const auto [first, is_new] =
          links_.try_emplace({found.status.st_dev, found.status.st_ino}, path);
      if (!is_new && !mode_) {
        entry.type = Type::HardLink;
        entry.link_target = first->second;
        entry.size = 0;
      }
    }
    TRY(extraction_->begin(entry));
    if (entry.type == Type::File) TRY(put_content(*extraction_, found.file, entry));
    return extraction_->end();
  }
  Result<> leave() override { return {}; }

  uint32_t mode_of(uint32_t mode, bool is_directory) const {
    return mode_ ? mode_->apply(mode, is_directory) : mode;
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
    entry.mode = mode_of(status.st_mode & 07777, S_ISDIR(status.st_mode));
    entry.user = status.st_uid;
    entry.group = status.st_gid;
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

  std::optional<codec::ModeChange> mode_;
  Asker& asker_;
  WritePathRequest rules_;
  Extraction* extraction_ = nullptr;  // of what is being copied
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

// A link at the destination's end is not replaced: what it leads to is written.
Result<Target> target_of(const CopyFilesRequest& request, const Fd& root,
                         std::string_view source_name) {
  const std::string path = absolute_path(request.destination);
  const bool into = request.destination.ends_with('/') || request.destination.ends_with("/.") ||
                    path == "/" || is_directory(root, path);
  if (into) return Target{path, std::string(source_name)};
  const std::string real = TRY(follow_path(root, path));
  const size_t slash = real.rfind('/');
  return Target{slash == 0 ? "/" : real.substr(0, slash), real.substr(slash + 1)};
}

}  // namespace

Result<CopyFilesRequest::Reply> copy_files(const CopyFilesRequest& request, const Fd& root,
                                           const Fd& source, Asker& asker) {
  std::optional<codec::ModeChange> mode;
  if (!request.mode.empty()) mode = TRY(codec::ModeChange::parse(request.mode));
  // As BuildKit has it: a number is their mode, too.
  const Rights way{.uid = request.uid,
                   .gid = request.gid,
                   .mode = mode && mode->number() ? *mode->number() : Rights().mode};
  Copier copier(request, std::move(mode), asker);
  for (const CopySource& each : request.sources) {
    Found found = TRY(look_from_root(source, each.path));
    const bool directory = S_ISDIR(found.status.st_mode);
    const bool unpacks =
        request.unpacks && S_ISREG(found.status.st_mode) && TRY(is_archive(found.file, each.path));
    Target target = TRY(target_of(request, root, last_component(each.path)));
    if (directory || unpacks) target = {absolute_path(request.destination), ""};
    Fd place = TRY(ensure_directory(root, target.directory, way));
    if (unpacks) {
      TRY(copier.unpack(found.file, std::move(place)));
      continue;
    }
    const Selection selection = TRY(Selection::make(each.pattern, request.exclude));
    TRY(copier.copy(std::move(found), selection, target.name, std::move(place)));
  }
  for (const CopyFilesRequest::Text& text : request.texts) {
    const Target target = TRY(target_of(request, root, last_component(text.name)));
    Fd place = TRY(ensure_directory(root, target.directory, way));
    TRY(copier.write(text.content, target.name, std::move(place)));
  }
  return copier.totals();
}

Result<MakeDirectoryRequest::Reply> make_directory(const MakeDirectoryRequest& request,
                                                   const Fd& root) {
  const Rights rights{.uid = request.uid, .gid = request.gid};
  TRY(ensure_directory(root, absolute_path(request.path), rights));
  return MakeDirectoryRequest::Reply{};
}

}  // namespace nacelle::image
