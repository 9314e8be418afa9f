// Entries out of the bytes of log files, from their beginning in pieces of any size, or counted
// from their end. What is damaged is passed over. Pure: files are the Reader's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "logs/options.h"
#include "logs/reader.h"

namespace nacelle::logs {

class EntryParser {
 public:
  static std::unique_ptr<EntryParser> make(Driver driver);
  virtual ~EntryParser() = default;

  void take(std::string_view bytes) { held_ += bytes; }
  // Appends the entries that are whole; false: there are no more.
  virtual bool next(std::vector<Entry>& entries) = 0;
  // What was taken and is no whole entry yet.
  size_t held_bytes() const { return held_.size() - at_; }
  void take_back(uint64_t bytes) {
    held_.resize(held_.size() - bytes);
    searched_ = 0;
  }
  void reset();

 protected:
  void let_go();

  std::string held_;
  size_t at_ = 0;
  size_t searched_ = 0;           // where there is no end of an entry before
  bool is_passing_over_ = false;  // a line too long to be one
};

// Where the last `wanted` entries of a file begin. Blocks come from its end backwards.
class TailFinder {
 public:
  TailFinder(Driver driver, uint64_t wanted);

  // `block` stands at `offset`. False: the file cannot be read backwards.
  bool take(uint64_t offset, std::string_view block);
  bool found() const { return found_; }
  bool is_damaged() const { return is_damaged_; }
  uint64_t offset() const { return offset_; }
  uint64_t count() const { return count_; }  // of entries from there on, or in all

 private:
  bool take_lines(uint64_t offset, std::string_view block);
  bool take_local(uint64_t offset, std::string_view block);

  Driver driver_;
  uint64_t wanted_;
  uint64_t count_ = 0;
  uint64_t offset_ = 0;
  bool found_ = false, is_damaged_ = false, has_begun_ = false;
  std::string later_;  // of a local file: what stands behind the block and is not used up
};

}  // namespace nacelle::logs
