#include "logs/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "logs/entries.h"
#include "sys/file.h"

namespace nacelle::logs {
namespace {

constexpr size_t encode_bytes = 512u << 10;
constexpr size_t slice_bytes = 64u << 10;
constexpr const char* compressed_part_name = "container.log.gz.part";
// Fast before small: this runs beside the logging itself, and logs are compressed well by anything.
constexpr int compression_level = 1;
constexpr mode_t log_mode = 0640;

Result<bool> exists_at(const Fd& directory, const std::string& name) {
  const auto found = sys::stat_at(directory.get(), name.c_str(), AT_SYMLINK_NOFOLLOW);
  if (found) return true;
  if (found.error().kind() == Kind::NotFound) return false;
  return std::unexpected(found.error());
}

Result<> remove_at(const Fd& directory, const std::string& name) {
  auto removed = sys::unlink_at(directory.get(), name.c_str());
  if (!removed && removed.error().kind() == Kind::NotFound) return {};
  return removed;
}

// Whichever of the plain and the compressed file is there; false: neither.
Result<bool> rename_rotated(const Fd& directory, uint32_t from, uint32_t to) {
  bool found = false;
  for (const bool compressed : {true, false}) {
    auto renamed = sys::rename_at(directory.get(), rotated_name(from, compressed).c_str(),
                                  rotated_name(to, compressed).c_str());
    if (!renamed && renamed.error().kind() != Kind::NotFound)
      return std::unexpected(std::move(renamed).error());
    found |= renamed.has_value();
  }
  return found;
}

}  // namespace

std::string rotated_name(uint32_t index, bool compressed) {
  return cat(json_file_name, '.', index, compressed ? ".gz" : "");
}

LogFile::LogFile(Fd directory, Options options)
    : directory_(std::move(directory)),
      options_(std::move(options)),
      attributes_(encode_attributes(options_.attributes)),
      // Files a predecessor has not come to.
      wants_compression_(options_.compress && options_.files_max > 1) {
  if (!directory_) options_.driver = Driver::None;
}

size_t LogFile::scratch_bytes(const Options& options) {
  return encode_bytes + encoded_entry_bytes_max(encode_attributes(options.attributes));
}

Result<> LogFile::ensure_open(Journal& journal) {
  struct stat status{};
  if (file_) {
    status = TRY(sys::stat_fd(file_));
    if (status.st_nlink == 0) file_ = Fd();  // somebody has removed it
  }
  if (!file_) {
    file_ = TRY(sys::open_at(directory_.get(), json_file_name,
                             O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, log_mode));
    status = TRY(sys::stat_fd(file_));
    if (!S_ISREG(status.st_mode)) {
      file_ = Fd();
      return fail(Kind::Conflict, cat("'", json_file_name, "' is no regular file"));
    }
  }
  Journal::State& state = journal.state();
  const auto size = static_cast<uint64_t>(status.st_size);
  if (state.log_inode != status.st_ino) {
    state.log_inode = status.st_ino;
    state.log_offset = size;
    return journal.commit();
  }
  // Somebody has cut it. Longer than we know it is only by what a predecessor did not come to
  // commit, and that is written again.
  if (size < state.log_offset) {
    state.log_offset = size;
    return journal.commit();
  }
  return {};
}

// One rename at a time moves the gap from the end of the row down to container.log. Wherever this
// is cut off there is one gap, and doing it again goes on from there.
Result<> LogFile::rotate(Journal& journal) {
  if (options_.files_max < 2) {
    TRY(remove_at(directory_, json_file_name));
  } else {
    const uint32_t last = options_.files_max - 1;
    uint32_t gap = 1;
    while (gap <= last && (TRY(exists_at(directory_, rotated_name(gap, false))) ||
                           TRY(exists_at(directory_, rotated_name(gap, true)))))
      ++gap;
    if (gap > last) {
      TRY(remove_at(directory_, rotated_name(last, false)));
      TRY(remove_at(directory_, rotated_name(last, true)));
      gap = last;
    }
    for (; gap > 1; --gap) TRY(rename_rotated(directory_, gap - 1, gap));
    auto renamed = sys::rename_at(directory_.get(), json_file_name, rotated_name(1, false).c_str());
    if (!renamed && renamed.error().kind() != Kind::NotFound) return renamed;
    wants_compression_ = options_.compress;
  }
  file_ = Fd();
  // Not even by its number may the new file be taken for the old one.
  journal.state().log_inode = 0;
  journal.state().log_offset = 0;
  TRY(journal.commit());
  return ensure_open(journal);
}

Result<> LogFile::write_encoded(Journal& journal, std::string_view bytes) {
  const uint64_t start = journal.state().log_offset;
  uint64_t at = start;
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error_number = written < 0 ? errno : EIO;
      (void)::ftruncate(file_.get(), static_cast<off_t>(start));
      return fail_errno(error_number, cat("writing '", json_file_name, "'"));
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    at += static_cast<uint64_t>(written);
  }
  journal.state().log_offset = at;
  return {};
}

Result<> LogFile::write(Journal& journal, size_t stream, Stream kind, bool is_last,
                        std::span<char> scratch) {
  Journal::Area& area = journal.state().areas[stream];
  if (area.begin == area.end) return {};
  if (options_.driver == Driver::None) {
    area = {};
    return journal.commit();
  }
  TRY(ensure_open(journal));
  const uint64_t size_max = options_.file_bytes_max == 0 ? ~uint64_t{0} : options_.file_bytes_max;
  while (true) {
    const uint64_t offset = journal.state().log_offset;
    Pieces pieces{.time_ns = area.pieces_time_ns, .open = area.pieces_open};
    const Batch batch{.output = journal.pending(stream),
                      .stream = kind,
                      .time_ns = area.time_ns,
                      .is_last = is_last,
                      .room = size_max > offset ? size_max - offset : 0};
    const Encoded encoded = options_.driver == Driver::Local
                                ? encode_local_entries(batch, pieces, scratch)
                                : encode_json_lines(batch, attributes_, pieces, scratch);
    if (encoded.produced > 0) {
      TRY(write_encoded(journal, {scratch.data(), encoded.produced}));
      area.begin += static_cast<uint32_t>(encoded.consumed);
      area.pieces_time_ns = pieces.time_ns;
      area.pieces_open = pieces.open;
      TRY(journal.commit());
    }
    if (!encoded.more) return {};
    if (journal.state().log_offset >= size_max) TRY(rotate(journal));
  }
}

// Compaction ---------------------------------------------------------------------------------

Result<std::unique_ptr<Compaction>> Compaction::open(const Fd& directory, uint32_t files_max) {
  auto compressor = TRY(codec::Compressor::make(codec::Compression::Gzip, compression_level));
  std::unique_ptr<Compaction> made(new Compaction(std::move(compressor)));
  made->files_max_ = files_max;
  made->directory_ = TRY(sys::open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY));
  return made;
}

Result<bool> Compaction::next_file() {
  unsigned gaps = 0;
  for (uint32_t index = 1; index < files_max_; ++index) {
    const std::string plain = rotated_name(index, false);
    const bool is_compressed = TRY(exists_at(directory_, rotated_name(index, true)));
    if (!TRY(exists_at(directory_, plain))) {
      // A row has one gap at most, left by a rotation that was cut off.
      if (!is_compressed && ++gaps > 1) break;
      continue;
    }
    if (is_compressed) {
      // The compressed one gets its name when it is whole.
      TRY(remove_at(directory_, plain));
      continue;
    }
    from_ = TRY(sys::open_at(directory_.get(), plain.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    from_inode_ = TRY(sys::stat_fd(from_)).st_ino;
    to_ = TRY(sys::open_at(directory_.get(), compressed_part_name,
                           O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, log_mode));
    compressor_ = TRY(codec::Compressor::make(codec::Compression::Gzip, compression_level));
    input_ended_ = false;
    input_.clear();
    input_at_ = 0;
    return true;
  }
  return false;
}

// It may have been moved on by rotations meanwhile.
Result<> Compaction::finish_file() {
  for (uint32_t index = 1; index < files_max_; ++index) {
    const std::string plain = rotated_name(index, false);
    const auto found = sys::stat_at(directory_.get(), plain.c_str(), AT_SYMLINK_NOFOLLOW);
    if (!found || found->st_ino != from_inode_) continue;
    TRY(sys::rename_at(directory_.get(), compressed_part_name, rotated_name(index, true).c_str()));
    from_ = Fd();
    to_ = Fd();
    return remove_at(directory_, plain);
  }
  from_ = Fd();
  to_ = Fd();
  return remove_at(directory_, compressed_part_name);
}

Result<bool> Compaction::step() {
  if (!from_) return next_file();
  if (input_at_ == input_.size() && !input_ended_) {
    input_.resize(slice_bytes);
    const ssize_t got = ::read(from_.get(), input_.data(), input_.size());
    if (got < 0) return fail_errno(errno, "reading a rotated log");
    input_.resize(static_cast<size_t>(got));
    input_at_ = 0;
    input_ended_ = got == 0;
  }
  char output[slice_bytes / 2];
  while (true) {
    const auto step = TRY(compressor_.step(std::string_view(input_).substr(input_at_),
                                           std::span<char>(output), input_ended_));
    input_at_ += step.consumed;
    TRY(sys::write_all(to_, {output, step.produced}, compressed_part_name));
    if (step.ended) {
      TRY(finish_file());
      return true;
    }
    if (!input_ended_ && input_at_ == input_.size()) return true;
  }
}

}  // namespace nacelle::logs
