// Reads a tar archive from bytes that are pushed in. Nothing of it is trusted: header sums,
// numbers, lengths, record syntax and sparse maps are checked, and every error names the entry and
// its place. Where readers differ this one follows Go's archive/tar, and so Docker: a global PAX
// header changes nothing, no content follows what is not a file, and a file whose name ends in a
// slash is a directory. Refused: types no layer has, and what two readers would take for different
// entries.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "codec/tar.h"
#include "nacelle/result.h"

namespace nacelle::codec::tar {

class Reader {
 public:
  enum class Event : uint8_t {
    NeedInput,  // all of the input was taken: come back with more
    Entry,      // entry() is a new one; its Data events follow
    Data,       // bytes of the entry's content: data() belongs at data_offset(); holes are left out
    EntryEnd,   // all of the entry's content has been given
    End,        // two zero blocks: whatever follows them is ignored
  };

  Reader();
  ~Reader();
  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;

  // Takes bytes off the front of `input` until there is something to say. data() points into the
  // input, without a copy, and is valid until the next call.
  Result<Event> next(std::string_view& input);
  // The input has ended: fine at the end of an archive or between two entries (as GNU tar and
  // Docker accept), Invalid ("ends in the middle of ...") elsewhere.
  Result<> finish();

  const Entry& entry() const;
  std::string_view data() const;
  uint64_t data_offset() const;
  uint64_t position() const;  // bytes taken so far, for messages

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nacelle::codec::tar
