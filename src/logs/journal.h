// What has been read of one process's output and not yet written: in a memory file that outlives
// the worker, so that its successor goes on with the very byte. Output comes in through the work
// pipe (messages.h): it is moved there, noted, read from there into an area, and committed. How
// much is in the work pipe says after a sudden end which of these had happened.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::logs {

class WorkPipe {
 public:
  // Takes over the ends that core gave, or makes a pipe where it gave none.
  static Result<WorkPipe> open(Fd read_end, Fd write_end);

  const Fd& read_end() const { return read_end_; }
  const Fd& write_end() const { return write_end_; }
  uint64_t inode() const { return inode_; }

  // Bytes that a predecessor left in it. Until their owner has come (Journal::open) or they have
  // been given up, nothing may be taken in.
  size_t left_behind() const { return left_behind_; }
  void claim() { left_behind_ = 0; }
  void give_up();
  bool is_lost() const { return is_lost_; }  // what was in it when we came was given up

 private:
  Fd read_end_, write_end_;
  uint64_t inode_ = 0;
  size_t left_behind_ = 0;
  bool is_lost_ = false;
};

class Journal {
 public:
  static constexpr size_t streams_max = 2;
  static constexpr size_t area_bytes = 124u << 10;

  struct Area {
    uint32_t begin = 0, end = 0;  // of what was read and not written
    int64_t time_ns = 0;          // when the newest of it was read
    int64_t pieces_time_ns = 0;
    bool pieces_open = false;
    bool operator==(const Area&) const = default;
  };
  struct State {
    uint64_t sequence = 0;
    uint64_t log_offset = 0;
    uint64_t log_inode = 0;  // 0: no file has been written yet
    uint64_t dropped_bytes = 0;
    std::array<Area, streams_max> areas{};
  };

  Journal() = default;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  ~Journal();

  // Takes `memory` (journal_bytes long) over from whoever had it, and finishes what that had begun.
  // Waits for a predecessor that has not quite ended.
  Result<> open(Fd memory, WorkPipe& work);

  State& state() { return state_; }
  // From now on `state()` is what a successor finds.
  Result<> commit();

  std::string_view pending(size_t stream) const;
  // Nothing can be taken before something has been written, or dropped.
  bool is_full(size_t stream) const {
    const Area& here = state_.areas[stream];
    return here.end == area_bytes && here.end - here.begin > here.begin;
  }

  // Moves what is at hand in `source` to the end of the area and commits; 0: nobody can write to
  // `source` any more. EAGAIN: nothing now. Not when it is full.
  Result<size_t> take(const Fd& source, size_t stream, const WorkPipe& work);

  // Gives the memory back, when nothing in it matters.
  void release_memory();
  bool has_memory() const { return map_ != nullptr; }

 private:
  struct Header;
  Result<> ensure_map();
  char* area(size_t stream) const;
  Result<> finish_flight(size_t left_in_pipe, const WorkPipe& work);
  Result<> read_from_work(size_t stream, size_t bytes, const WorkPipe& work);
  size_t room(size_t stream) const { return area_bytes - state_.areas[stream].end; }
  void make_room(size_t stream);

  Fd memory_;
  Header* map_ = nullptr;
  State state_;
};

int64_t wall_clock_ns();

}  // namespace nacelle::logs
