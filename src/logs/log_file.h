// The files of one log: container.log, and container.log.1, .2, ... (or .1.gz) which it becomes in
// rotation, the newest first. Writes go to the offset that the journal holds, so that a write that
// was cut off is done again over itself.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "codec/compression.h"
#include "logs/journal.h"
#include "logs/options.h"
#include "logs/reader.h"
#include "nacelle/fd.h"
#include "nacelle/result.h"

namespace nacelle::logs {

std::string rotated_name(uint32_t index, bool compressed);

class LogFile {
 public:
  // `directory` may be empty for Driver::None.
  LogFile(Fd directory, Options options);

  const Options& options() const { return options_; }
  const Fd& directory() const { return directory_; }

  // Writes what is pending of `stream` in whole entries, all of it when `is_last`, and commits.
  // `scratch` is as long as scratch_bytes() says. Fails when the file cannot be written: what was
  // pending still is, and no part of an entry stays behind.
  Result<> write(Journal& journal, size_t stream, Stream kind, bool is_last,
                 std::span<char> scratch);
  static size_t scratch_bytes(const Options& options);

  // There are rotated files to compress.
  bool wants_compression() const { return wants_compression_; }
  void compression_is_taken_up() { wants_compression_ = false; }

 private:
  Result<> ensure_open(Journal& journal);
  Result<> rotate(Journal& journal);
  Result<> write_encoded(Journal& journal, std::string_view bytes);

  Fd directory_;
  Options options_;
  std::string attributes_;
  Fd file_;
  bool wants_compression_ = false;
};

// Compresses the rotated files of one log, a slice at a time, so that nobody has to wait for it.
// Killed at any moment, it is begun again.
class Compaction {
 public:
  static Result<std::unique_ptr<Compaction>> open(const Fd& directory, uint32_t files_max);
  // False: there is nothing left to do.
  Result<bool> step();

 private:
  explicit Compaction(codec::Compressor compressor) : compressor_(std::move(compressor)) {}
  Result<bool> next_file();
  Result<> finish_file();

  Fd directory_;
  uint32_t files_max_ = 0;
  codec::Compressor compressor_;
  Fd from_, to_;
  uint64_t from_inode_ = 0;
  std::string input_;
  size_t input_at_ = 0;
  bool input_ended_ = false;
};

}  // namespace nacelle::logs
