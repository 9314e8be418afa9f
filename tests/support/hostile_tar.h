// Layer archives as nobody's tool writes them: headers field by field, sums and PAX records
// verbatim, and a list of cases that whoever unpacks layers must survive. It shares no code with
// the reader under test.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nacelle::test {

// One header block. It begins as a well-formed ustar header (owner 0:0, time 0, no size; mode 0755
// for directories and 0644 otherwise); everything may be changed after that.
class TarHeader {
 public:
  TarHeader(char type, std::string_view name);

  // Any bytes at any place: what the other setters cannot say. Cut at the block's end.
  TarHeader& at(size_t offset, std::string_view bytes);
  TarHeader& name(std::string_view name);  // cut to 100 bytes, as link() and prefix() cut theirs
  TarHeader& link(std::string_view target);
  TarHeader& prefix(std::string_view prefix);
  TarHeader& mode(uint32_t mode);
  TarHeader& owner(uint64_t user, uint64_t group);
  TarHeader& size(uint64_t size);  // base 256 beyond 8 GiB
  TarHeader& time(int64_t seconds);
  TarHeader& device(uint32_t major, uint32_t minor);
  TarHeader& v7();                         // no magic
  TarHeader& gnu();                        // GNU's magic
  TarHeader& sum(std::string_view bytes);  // these eight instead of the right ones
  TarHeader& signed_sum();                 // as early tars summed

  std::string bytes() const;  // 512

 private:
  TarHeader& number(size_t offset, size_t width, uint64_t number);

  std::string block_;
  std::string sum_;
  bool signed_sum_ = false;
};

// `number` as `width` bytes of base 256.
std::string tar_base_256(int64_t number, size_t width);
// `length key=value\n` with the right length.
std::string pax_record(std::string_view key, std::string_view value);

// Puts blocks together. The short forms below write what a plain tool would.
class TarBuilder {
 public:
  TarBuilder& raw(std::string_view bytes);
  TarBuilder& header(const TarHeader& header);
  // Content and its padding, whatever the header said.
  TarBuilder& content(std::string_view bytes);

  TarBuilder& file(std::string_view name, std::string_view content = "x");
  TarBuilder& directory(std::string_view name);
  TarBuilder& symlink(std::string_view name, std::string_view target);
  TarBuilder& hard_link(std::string_view name, std::string_view target);
  TarBuilder& fifo(std::string_view name);
  TarBuilder& device(char type, std::string_view name, uint32_t major, uint32_t minor);

  // A header of type 'x' ('g') with this text, verbatim.
  TarBuilder& pax(std::string_view records);
  TarBuilder& pax(std::string_view key, std::string_view value);
  TarBuilder& global(std::string_view records);
  TarBuilder& long_name(std::string_view name);  // GNU's 'L'
  TarBuilder& long_link(std::string_view name);  // GNU's 'K'

  const std::string& without_end() const { return bytes_; }
  std::string finish() const;  // with the two blocks of zeros

 private:
  TarBuilder& special(char type, std::string_view text);

  std::string bytes_;
};

// What unpacking a case must come to. Whatever it is: nothing outside the target may be made,
// changed or removed, no process may hang, and no memory beyond the bounds may be held.
enum class Expect : uint8_t {
  Refused,    // an error whose message holds `complaint`
  Contained,  // accepted
  Either,     // a matter of choice, of the file system or of privilege
};

struct HostileLayer {
  std::string name;  // a word, unique
  std::string bytes;
  Expect expect = Expect::Refused;
  // For Refused: what the reader of the archive says, or the name of the entry, as messages quote
  // it, where the refusal is the unpacker's own.
  std::string complaint;
};

// The rules behind the expectations, which are Docker's:
//  - `/x` and `./x` are `x`. `..` is resolved by name first: `a/../b` is `b`, and a name or a hard
//    link's target that climbs above the root is Refused.
//  - A symbolic link's target is bytes: any is Contained, since it is not followed on the host.
//  - A parent that is a symbolic link is resolved inside the root, as chroot(2) would: Contained
//    where an in-root reading makes sense, Either where it may as well not.
//  - Later entries replace earlier ones; a directory over a directory keeps what is in it. The root
//    itself stays a directory.
//  - `.wh.NAME` hides NAME of lower layers; without a NAME, or with one that is `.` or `..`, it is
//    Refused; other names that begin with `.wh..wh.` are nothing to keep.
// A canary that the unpacker must not touch is expected beside the target, as `../canary` seen from
// the root, and as `/tmp/nacelle-canary`.
std::vector<HostileLayer> hostile_layers();

}  // namespace nacelle::test
