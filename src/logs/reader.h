// What a container has written, read back from its log: `docker logs`. Reading never holds the
// writer up. A line that is being written is not seen before it is whole, and a damaged one is
// passed over; rotated (and compressed) files are read in order, and following goes on across
// rotations.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "logs/options.h"
#include "nacelle/fd.h"
#include "nacelle/loop.h"
#include "nacelle/result.h"
#include "nacelle/task.h"

namespace nacelle::logs {

enum class Stream : uint8_t { Stdin = 0, Stdout = 1, Stderr = 2 };  // as in the stream header

struct Entry {
  Stream stream = Stream::Stdout;
  int64_t time_ns = 0;  // since 1970
  std::string text;     // with its newline, if it had one
  std::vector<std::pair<std::string, std::string>> attributes;
};

struct ReadOptions {
  bool stdout_wanted = true, stderr_wanted = true;
  int64_t tail = -1;  // the last so many entries; -1: all
  int64_t since_ns = 0;
  int64_t until_ns = 0;  // 0: no end
  bool follow = false;
};

class Reader {
 public:
  // `directory` is the log's, borrowed; it must outlive the Reader. Conflict, in Docker's words,
  // for Driver::None.
  static Result<std::unique_ptr<Reader>> open(ring::Loop& loop, const Fd& directory,
                                              const Options& options, ReadOptions what);
  virtual ~Reader() = default;
  // As many entries as are there at once, at least one; none: the end. When following, waits for
  // more until `ended` says that nothing more will be written and everything was read.
  virtual ring::Task<std::vector<Entry>> next() = 0;
  // The container has ended and its log is whole: following stops at its end.
  virtual void writer_is_done() = 0;
};

// The name of the file that is being written, in the log's directory.
inline constexpr const char* json_file_name = "container.log";

}  // namespace nacelle::logs
