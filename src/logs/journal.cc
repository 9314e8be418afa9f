#include "logs/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/text.h"
#include "logs/messages.h"
#include "sys/file.h"

namespace nacelle::logs {
namespace {

constexpr uint64_t magic = 0x316c6e726a6c636eull;
constexpr int work_pipe_bytes = 1 << 20;
constexpr size_t header_bytes = 4096;
constexpr size_t take_bytes_max = 96u << 10;
// Below this an area is tidied before more is read.
constexpr size_t good_room = 64u << 10;
constexpr int lock_attempts_max = 2'000;
constexpr long lock_pause_ns = 1'000'000;

// What is being moved, before it is in the area.
enum class Phase : uint32_t { None, Moving, Reading };

size_t readable_bytes(const Fd& pipe) {
  int bytes = 0;
  return ::ioctl(pipe.get(), FIONREAD, &bytes) == 0 ? static_cast<size_t>(bytes) : 0;
}

}  // namespace

// The first page of the memory. Stores become visible in their order, and the end of a process
// falls between two of them.
struct Journal::Header {
  std::atomic<uint64_t> magic;
  std::atomic<uint32_t> current;  // which of `states` counts
  std::atomic<uint32_t> phase;
  // A flight that was begun at another state than the current one is over.
  uint64_t flight_sequence;
  uint64_t flight_pipe;
  uint64_t flight_stream;
  uint64_t flight_bytes;  // from Phase::Reading on
  int64_t flight_time_ns;
  State states[2];
};

static_assert(header_bytes + Journal::streams_max * Journal::area_bytes <= journal_bytes);

int64_t wall_clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Result<WorkPipe> WorkPipe::open(Fd read_end, Fd write_end) {
  WorkPipe pipe;
  if (!read_end || !write_end) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return fail_errno(errno, "pipe2");
    read_end = Fd(ends[0]);
    write_end = Fd(ends[1]);
  }
  pipe.inode_ = TRY(sys::stat_fd(read_end)).st_ino;
  pipe.left_behind_ = readable_bytes(read_end);
  // Not more than the kernel allows without privilege; a smaller pipe is only slower.
  (void)::fcntl(write_end.get(), F_SETPIPE_SZ, work_pipe_bytes);
  pipe.read_end_ = std::move(read_end);
  pipe.write_end_ = std::move(write_end);
  return pipe;
}

void WorkPipe::give_up() {
  char nowhere[4096];
  size_t left = readable_bytes(read_end_);
  while (left > 0) {
    const ssize_t got = ::read(read_end_.get(), nowhere, std::min(left, sizeof nowhere));
    if (got <= 0) break;
    left -= static_cast<size_t>(got);
  }
  if (left_behind_ > 0) is_lost_ = true;
  left_behind_ = 0;
}

Journal::~Journal() {
  if (map_ != nullptr) ::munmap(map_, journal_bytes);
}

char* Journal::area(size_t stream) const {
  return reinterpret_cast<char*>(map_) + header_bytes + stream * area_bytes;
}

std::string_view Journal::pending(size_t stream) const {
  const Area& found = state_.areas[stream];
  if (found.begin == found.end) return {};
  return {area(stream) + found.begin, found.end - found.begin};
}

Result<> Journal::ensure_map() {
  if (map_ != nullptr) return {};
  void* const mapped =
      ::mmap(nullptr, journal_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
  if (mapped == MAP_FAILED) return fail_errno(errno, "mmap of a log's journal");
  map_ = static_cast<Header*>(mapped);
  return {};
}

Result<> Journal::open(Fd memory, WorkPipe& work) {
  // Beyond its end would be SIGBUS.
  if (static_cast<uint64_t>(TRY(sys::stat_fd(memory)).st_size) < journal_bytes)
    return fail(Kind::Invalid, "a log's journal is too short");
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  // The lock is of a process and goes with it, so two workers never read one pipe.
  for (int attempt = 0; ::fcntl(memory.get(), F_SETLK, &lock) < 0; ++attempt) {
    if ((errno != EAGAIN && errno != EACCES) || attempt == lock_attempts_max)
      return fail_errno(errno, "locking a log's journal");
    const timespec pause{.tv_sec = 0, .tv_nsec = lock_pause_ns};
    ::nanosleep(&pause, nullptr);
  }
  memory_ = std::move(memory);
  uint64_t found_magic = 0;
  if (::pread(memory_.get(), &found_magic, sizeof found_magic, 0) !=
          static_cast<ssize_t>(sizeof found_magic) ||
      found_magic != magic)
    return {};
  TRY(ensure_map());
  state_ = map_->states[map_->current.load() & 1];
  for (Area& each : state_.areas) {
    if (each.begin > each.end || each.end > area_bytes) each = {};
  }
  if (static_cast<Phase>(map_->phase.load()) == Phase::None ||
      map_->flight_sequence != state_.sequence)
    return {};
  const bool is_owner = map_->flight_pipe == work.inode() && !work.is_lost();
  const size_t left = is_owner ? work.left_behind() : 0;
  if (!is_owner) {
    // The pipe these bytes were in is gone, and they with it.
    if (static_cast<Phase>(map_->phase.load()) == Phase::Reading)
      state_.dropped_bytes += map_->flight_bytes;
    return commit();
  }
  work.claim();
  return finish_flight(left, work);
}

Result<> Journal::finish_flight(size_t left_in_pipe, const WorkPipe& work) {
  const size_t stream = map_->flight_stream & 1;
  Area& into = state_.areas[stream];
  size_t bytes = left_in_pipe;
  int64_t time_ns = wall_clock_ns();
  if (static_cast<Phase>(map_->phase.load()) == Phase::Reading) {
    bytes = map_->flight_bytes;
    time_ns = map_->flight_time_ns;
  } else if (bytes == 0) {
    return commit();
  } else {
    // We may be cut off here as well.
    map_->flight_bytes = bytes;
    map_->flight_time_ns = time_ns;
    map_->phase.store(static_cast<uint32_t>(Phase::Reading), std::memory_order_release);
  }
  if (bytes < left_in_pipe || bytes > area_bytes - into.end)
    return fail(Kind::Internal, "a log's journal and the work pipe disagree");
  // What is not in the pipe any more has been read.
  into.end += static_cast<uint32_t>(bytes - left_in_pipe);
  into.time_ns = time_ns;
  return read_from_work(stream, left_in_pipe, work);
}

Result<> Journal::commit() {
  TRY(ensure_map());
  const uint32_t next = (map_->current.load(std::memory_order_relaxed) & 1) ^ 1;
  ++state_.sequence;
  map_->states[next] = state_;
  map_->current.store(next, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  map_->magic.store(magic, std::memory_order_release);
  return {};
}

void Journal::make_room(size_t stream) {
  Area& here = state_.areas[stream];
  const uint32_t size = here.end - here.begin;
  // What is moved stays where it was until it is committed.
  if (here.begin == 0 || size > here.begin) return;
  std::memcpy(area(stream), area(stream) + here.begin, size);
  here.begin = 0;
  here.end = size;
}

Result<size_t> Journal::take(const Fd& source, size_t stream, const WorkPipe& work) {
  TRY(ensure_map());
  Area& into = state_.areas[stream];
  if (into.begin == into.end) {
    into.begin = into.end = 0;
    TRY(commit());
  } else if (room(stream) < good_room) {
    make_room(stream);
    TRY(commit());
  }
  map_->phase.store(static_cast<uint32_t>(Phase::None), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  map_->flight_sequence = state_.sequence;
  map_->flight_pipe = work.inode();
  map_->flight_stream = stream;
  map_->magic.store(magic, std::memory_order_release);
  map_->phase.store(static_cast<uint32_t>(Phase::Moving), std::memory_order_release);
  const ssize_t moved =
      ::splice(source.get(), nullptr, work.write_end().get(), nullptr,
               std::min(room(stream), take_bytes_max), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (moved <= 0) {
    const int error_number = errno;
    map_->phase.store(static_cast<uint32_t>(Phase::None), std::memory_order_release);
    if (moved == 0) return size_t{0};
    return fail_errno(error_number, "splice from a container's output");
  }
  map_->flight_bytes = static_cast<uint64_t>(moved);
  map_->flight_time_ns = wall_clock_ns();
  map_->phase.store(static_cast<uint32_t>(Phase::Reading), std::memory_order_release);
  into.time_ns = map_->flight_time_ns;
  TRY(read_from_work(stream, static_cast<size_t>(moved), work));
  return static_cast<size_t>(moved);
}

Result<> Journal::read_from_work(size_t stream, size_t bytes, const WorkPipe& work) {
  Area& into = state_.areas[stream];
  while (bytes > 0) {
    const ssize_t got = ::read(work.read_end().get(), area(stream) + into.end, bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail_errno(got < 0 ? errno : EIO, "reading the work pipe");
    into.end += static_cast<uint32_t>(got);
    bytes -= static_cast<size_t>(got);
  }
  TRY(commit());
  map_->phase.store(static_cast<uint32_t>(Phase::None), std::memory_order_release);
  return {};
}

void Journal::release_memory() {
  if (map_ == nullptr) return;
  ::munmap(map_, journal_bytes);
  map_ = nullptr;
  (void)::fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                    static_cast<off_t>(journal_bytes));
}

}  // namespace nacelle::logs
