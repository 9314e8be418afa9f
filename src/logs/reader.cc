#include "logs/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <deque>
#include <span>

#include "base/text.h"
#include "codec/compression.h"
#include "logs/entries.h"
#include "logs/log_file.h"
#include "logs/read_log.h"
#include "ring/ops.h"
#include "sys/file.h"

namespace nacelle::logs {
namespace {

constexpr size_t block_bytes = 64u << 10;
// A writer that could not write takes back no more than this; a file that is shorter has been cut
// by somebody else, and begins anew.
constexpr uint64_t taken_back_max = 1u << 20;
constexpr size_t same_bytes = 512;  // by which a compressed file is known again
constexpr int64_t second_ns = 1'000'000'000;

// One file of the row.
struct LogSource {
  Fd file;
  bool compressed = false;
  uint64_t inode = 0;
  uint64_t offset = 0;           // the next to be read
  uint64_t end = ~uint64_t{0};   // not beyond
  uint64_t opened_bytes = 0;     // how long it was when it was opened: its tail is of that
  uint64_t entries_to_skip = 0;  // of a compressed file, which is read from its beginning only
};

class DirectoryReader final : public Reader {
 public:
  DirectoryReader(ring::Loop& loop, const Fd& directory, const Options& options, ReadOptions what)
      : loop_(loop), directory_(directory), options_(options), what_(what) {}

  Result<> prepare();
  ring::Task<std::vector<Entry>> next() override;
  void writer_is_done() override;

 private:
  Result<> open_row();
  Result<std::optional<LogSource>> open_source(const std::string& name, bool compressed);
  Result<> watch_directory();
  ring::Task<> find_tail();
  ring::Task<uint64_t> tail_of_plain(LogSource& source, uint64_t wanted);
  ring::Task<uint64_t> count_entries(LogSource& source);
  ring::Task<bool> read_block();
  ring::Task<> read_compressed(LogSource& source);
  ring::Task<bool> end_of_row();
  ring::Task<bool> move_on();
  ring::Task<bool> is_same(const LogSource& finished, const std::string& candidate);
  ring::Task<> wait();
  void begin_source();
  void take_entries(bool is_last);

  ring::Loop& loop_;
  const Fd& directory_;
  const Options options_;
  const ReadOptions what_;
  std::deque<LogSource> sources_;  // oldest first; the last is being written
  std::unique_ptr<EntryParser> parser_;
  std::optional<codec::Decompressor> decompressor_;
  std::vector<Entry> entries_;
  std::string block_;
  bool has_begun_ = false, is_at_end_ = false, has_passed_until_ = false;
  bool writer_is_done_ = false, was_done_ = false;
  // When following: the directory's changes, and a word from our owner, in one descriptor.
  Fd changes_, word_, timer_, wait_;
};

int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * second_ns + now.tv_nsec;
}

Result<std::optional<LogSource>> DirectoryReader::open_source(const std::string& name,
                                                              bool compressed) {
  auto file = sys::open_at(directory_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file) {
    if (file.error().kind() == Kind::NotFound) return std::optional<LogSource>();
    return std::unexpected(std::move(file).error());
  }
  const struct stat status = TRY(sys::stat_fd(*file));
  if (!S_ISREG(status.st_mode)) return std::optional<LogSource>();
  LogSource source;
  source.file = *std::move(file);
  source.compressed = compressed;
  source.inode = status.st_ino;
  source.opened_bytes = static_cast<uint64_t>(status.st_size);
  if (compressed || !what_.follow) source.end = source.opened_bytes;
  return std::optional<LogSource>(std::move(source));
}

// From the newest to the oldest, so that a rotation in the meantime shows a file twice and hides
// none.
Result<> DirectoryReader::open_row() {
  unsigned gaps = 0;
  for (uint32_t index = 0; gaps < 2; ++index) {
    std::optional<LogSource> found;
    if (index == 0) {
      found = TRY(open_source(json_file_name, false));
    } else {
      found = TRY(open_source(rotated_name(index, true), true));
      if (!found) found = TRY(open_source(rotated_name(index, false), false));
    }
    if (!found) {
      if (index > 0) ++gaps;
      continue;
    }
    const bool is_known = contains(sources_, found->inode, &LogSource::inode);
    if (!is_known) sources_.push_front(*std::move(found));
  }
  return {};
}

Result<> DirectoryReader::watch_directory() {
  changes_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!changes_) return fail_errno(errno, "inotify_init");
  // A descriptor's directory has no other name that would be sure to be its.
  const std::string path = cat("/proc/self/fd/", directory_.get());
  if (::inotify_add_watch(changes_.get(), path.c_str(),
                          IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR) < 0)
    return fail_errno(errno, "inotify_add_watch on the directory of a log");
  word_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!word_) return fail_errno(errno, "eventfd");
  wait_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!wait_) return fail_errno(errno, "epoll_create1");
  if (what_.until_ns != 0) {
    timer_ = Fd(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer_) return fail_errno(errno, "timerfd_create");
    itimerspec when{};
    when.it_value = {.tv_sec = what_.until_ns / second_ns, .tv_nsec = what_.until_ns % second_ns};
    if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr) < 0)
      return fail_errno(errno, "timerfd_settime");
  }
  for (const Fd* each : {&changes_, &word_, &timer_}) {
    if (!*each) continue;
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(wait_.get(), EPOLL_CTL_ADD, each->get(), &event) < 0)
      return fail_errno(errno, "epoll_ctl");
  }
  return {};
}

Result<> DirectoryReader::prepare() {
  if (what_.follow) TRY(watch_directory());
  TRY(open_row());
  parser_ = EntryParser::make(options_.driver);
  return {};
}

void DirectoryReader::writer_is_done() {
  writer_is_done_ = true;
  const uint64_t one = 1;
  if (word_) (void)!::write(word_.get(), &one, sizeof one);
}

// The tail
// -----------------------------------------------------------------------------------------

// Sets where reading begins, so that no more than `wanted` entries come; how many those are.
ring::Task<uint64_t> DirectoryReader::tail_of_plain(LogSource& source, uint64_t wanted) {
  const uint64_t size = source.opened_bytes;
  TailFinder finder(options_.driver, wanted);
  std::string block;
  uint64_t at = size;
  while (at > 0 && !finder.found()) {
    const uint64_t bytes = std::min<uint64_t>(at, block_bytes);
    block.resize(bytes);
    const size_t got = co_await ring::read_at(loop_, source.file, block, at - bytes);
    if (got < bytes) break;  // it is being cut
    if (!finder.take(at - bytes, block)) break;
    at -= bytes;
  }
  if (finder.is_damaged()) {
    // It cannot be read from its end: from its beginning then, twice.
    const uint64_t count = co_await count_entries(source);
    source.entries_to_skip = count > wanted ? count - wanted : 0;
    co_return std::min(count, wanted);
  }
  source.offset = finder.found() ? finder.offset() : 0;
  co_return finder.count();
}

ring::Task<uint64_t> DirectoryReader::count_entries(LogSource& source) {
  uint64_t count = 0;
  auto parser = EntryParser::make(options_.driver);
  std::vector<Entry> entries;
  std::optional<codec::Decompressor> decompressor;
  if (source.compressed)
    decompressor.emplace(co_await codec::Decompressor::make(codec::Compression::Gzip));
  std::string block, plain;
  for (uint64_t at = 0; at < source.opened_bytes;) {
    block.resize(std::min<uint64_t>(block_bytes, source.opened_bytes - at));
    block.resize(co_await ring::read_at(loop_, source.file, block, at));
    if (block.empty()) break;
    at += block.size();
    std::string_view rest = block;
    bool is_damaged = false;
    do {
      std::string_view piece = rest;
      if (decompressor) {
        plain.resize(block_bytes);
        const auto step = decompressor->step(rest, plain);
        if (!step) {
          is_damaged = true;
          break;
        }
        rest.remove_prefix(step->consumed);
        piece = std::string_view(plain).substr(0, step->produced);
        parser->take(piece);
        if (step->produced < plain.size()) rest = {};
      } else {
        parser->take(piece);
        rest = {};
      }
      while (parser->next(entries)) {
      }
      count += entries.size();
      entries.clear();
    } while (!rest.empty());
    if (is_damaged) break;
  }
  co_return count;
}

ring::Task<> DirectoryReader::find_tail() {
  auto wanted = static_cast<uint64_t>(what_.tail);
  for (size_t index = sources_.size(); index-- > 0;) {
    LogSource& source = sources_[index];
    if (wanted == 0 && index + 1 < sources_.size()) {
      sources_.erase(sources_.begin(), sources_.begin() + static_cast<ptrdiff_t>(index) + 1);
      break;
    }
    uint64_t found = 0;
    if (source.compressed) {
      const uint64_t count = co_await count_entries(source);
      found = std::min(count, wanted);
      source.entries_to_skip = count - found;
    } else {
      found = co_await tail_of_plain(source, wanted);
    }
    wanted -= std::min(found, wanted);
  }
}

// Reading
// ------------------------------------------------------------------------------------------

void DirectoryReader::begin_source() {
  decompressor_.reset();
  parser_->reset();
}

void DirectoryReader::take_entries(bool is_last) {
  LogSource& source = sources_.front();
  std::vector<Entry> found;
  while (parser_->next(found)) {
  }
  if (is_last) parser_->reset();
  for (Entry& entry : found) {
    if (source.entries_to_skip > 0) {
      --source.entries_to_skip;
      continue;
    }
    if (what_.until_ns != 0 && entry.time_ns > what_.until_ns) {
      has_passed_until_ = true;
      return;
    }
    if (entry.time_ns < what_.since_ns) continue;
    const bool wanted = entry.stream == Stream::Stderr ? what_.stderr_wanted : what_.stdout_wanted;
    if (wanted) entries_.push_back(std::move(entry));
  }
}

ring::Task<> DirectoryReader::read_compressed(LogSource& source) {
  if (!decompressor_)
    decompressor_.emplace(co_await codec::Decompressor::make(codec::Compression::Gzip));
  std::string plain(block_bytes, '\0');
  std::string_view rest = block_;
  while (!rest.empty() && !has_passed_until_) {
    const auto step = decompressor_->step(rest, plain);
    if (!step) {
      source.offset = source.end;  // the rest of this file is lost
      co_return;
    }
    rest.remove_prefix(step->consumed);
    parser_->take(std::string_view(plain).substr(0, step->produced));
    take_entries(false);
    if (step->produced < plain.size()) break;
  }
}

// False: the end of this file, for now.
ring::Task<bool> DirectoryReader::read_block() {
  LogSource& source = sources_.front();
  const struct stat status = co_await sys::stat_fd(source.file);
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size < source.offset && !source.compressed) {
    const uint64_t held = parser_->held_bytes();
    if (size + held >= source.offset) {
      parser_->take_back(source.offset - size);
      source.offset = size;
    } else {
      parser_->reset();
      source.offset = size + taken_back_max < source.offset ? 0 : size;
    }
  }
  const uint64_t end = std::min(size, source.end);
  if (source.offset >= end) co_return false;
  block_.resize(std::min<uint64_t>(block_bytes, end - source.offset));
  const size_t got = co_await ring::read_at(loop_, source.file, block_, source.offset);
  if (got == 0) co_return false;
  block_.resize(got);
  source.offset += got;
  if (source.compressed) {
    co_await read_compressed(source);
  } else {
    parser_->take(block_);
    take_entries(false);
  }
  co_return true;
}

ring::Task<bool> DirectoryReader::is_same(const LogSource& finished, const std::string& candidate) {
  auto opened = sys::open_at(directory_.get(), candidate.c_str(), O_RDONLY | O_NOFOLLOW);
  if (!opened) co_return false;
  const Fd file = *std::move(opened);
  const struct stat status = co_await sys::stat_fd(file);
  std::array<char, 4> trailer{};
  if (status.st_size < 18) co_return false;
  const size_t trailer_bytes = co_await ring::read_at(
      loop_, file, trailer, static_cast<uint64_t>(status.st_size) - trailer.size());
  if (trailer_bytes != trailer.size()) co_return false;
  uint32_t size = 0;
  for (size_t each = trailer.size(); each-- > 0;)
    size = size << 8 | static_cast<unsigned char>(trailer[each]);
  const struct stat ours = co_await sys::stat_fd(finished.file);
  if (size != static_cast<uint32_t>(ours.st_size)) co_return false;
  std::string packed(block_bytes, '\0'), theirs(same_bytes, '\0'), mine(same_bytes, '\0');
  packed.resize(co_await ring::read_at(loop_, file, packed, 0));
  auto decompressor = co_await codec::Decompressor::make(codec::Compression::Gzip);
  const auto step = decompressor.step(packed, theirs);
  if (!step) co_return false;
  theirs.resize(step->produced);
  mine.resize(co_await ring::read_at(loop_, finished.file, mine, 0));
  co_return mine == theirs;
}

// The file that was being written has been read to its end: true when it is not any more, and its
// successors are in `sources_` behind it.
ring::Task<bool> DirectoryReader::move_on() {
  const auto current = sys::stat_at(directory_.get(), json_file_name, AT_SYMLINK_NOFOLLOW);
  if (!current) co_return false;  // between two renames, or it is gone for good
  LogSource& finished = sources_.front();
  const bool is_first = !finished.file;
  if (!is_first && current->st_ino == finished.inode) co_return false;
  // How far it has moved down the row says how many came after it.
  uint32_t place = 0;
  unsigned gaps = 0;
  for (uint32_t index = 1; !is_first && place == 0 && gaps < 2; ++index) {
    const auto plain =
        sys::stat_at(directory_.get(), rotated_name(index, false).c_str(), AT_SYMLINK_NOFOLLOW);
    if (plain && plain->st_ino == finished.inode) place = index;
    if (place == 0 && co_await is_same(finished, rotated_name(index, true))) place = index;
    const bool is_packed =
        sys::stat_at(directory_.get(), rotated_name(index, true).c_str(), AT_SYMLINK_NOFOLLOW)
            .has_value();
    if (!plain && !is_packed) ++gaps;
  }
  // Not there any more: everything that is there is newer.
  if (place == 0 && !is_first && options_.files_max > 1) place = ~0u;
  std::vector<LogSource> newer;
  gaps = 0;
  for (uint32_t index = 0; index < std::max(place, 1u) && gaps < 2; ++index) {
    std::optional<LogSource> found;
    if (index == 0) {
      found = co_await open_source(json_file_name, false);
    } else {
      found = co_await open_source(rotated_name(index, true), true);
      if (!found) found = co_await open_source(rotated_name(index, false), false);
    }
    if (!found) {
      ++gaps;
      continue;
    }
    const bool is_known = contains(newer, found->inode, &LogSource::inode) ||
                          (!is_first && found->inode == finished.inode);
    if (!is_known) newer.push_back(*std::move(found));
  }
  for (size_t index = newer.size(); index-- > 0;) sources_.push_back(std::move(newer[index]));
  co_return !newer.empty();
}

ring::Task<> DirectoryReader::wait() {
  co_await ring::readable(loop_, wait_);
  char nothing[4096];
  while (::read(changes_.get(), nothing, sizeof nothing) > 0) {
  }
  uint64_t word = 0;
  (void)!::read(word_.get(), &word, sizeof word);
}

// False: there is nothing more to come.
ring::Task<bool> DirectoryReader::end_of_row() {
  if (!what_.follow) co_return false;
  const bool rotated = co_await move_on();
  if (rotated) {
    // What was written into the old one before it was renamed.
    while (sources_.front().file && co_await read_block()) {
    }
    take_entries(true);
    sources_.pop_front();
    begin_source();
    co_return true;
  }
  // Whatever was written before that word has been read when the end is found once more.
  if (writer_is_done_ && std::exchange(was_done_, true)) co_return false;
  if (writer_is_done_) co_return true;
  if (what_.until_ns != 0 && now_ns() > what_.until_ns) co_return false;
  if (entries_.empty()) co_await wait();
  co_return true;
}

ring::Task<std::vector<Entry>> DirectoryReader::next() {
  if (!std::exchange(has_begun_, true)) {
    if (what_.tail >= 0) co_await find_tail();
    if (sources_.empty()) sources_.emplace_back();
  }
  entries_.clear();
  while (entries_.empty() && !is_at_end_) {
    bool has_read = false;
    if (sources_.front().file) has_read = co_await read_block();
    if (has_passed_until_) is_at_end_ = true;
    if (has_read || is_at_end_) continue;
    if (sources_.size() > 1) {
      take_entries(true);
      sources_.pop_front();
      begin_source();
      continue;
    }
    const bool goes_on = co_await end_of_row();
    if (!goes_on) is_at_end_ = true;
  }
  co_return std::move(entries_);
}

}  // namespace

Result<std::unique_ptr<Reader>> Reader::open(ring::Loop& loop, const Fd& directory,
                                             const Options& options, ReadOptions what) {
  if (options.driver == Driver::None)
    return fail(Kind::Conflict, "configured logging driver does not support reading");
  auto reader = std::make_unique<DirectoryReader>(loop, directory, options, what);
  TRY(reader->prepare());
  return std::unique_ptr<Reader>(std::move(reader));
}

}  // namespace nacelle::logs
