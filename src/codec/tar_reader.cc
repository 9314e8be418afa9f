#include "codec/tar_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include "base/check.h"
#include "base/text.h"
#include "codec/json.h"
#include "codec/tar_header.h"
#include "codec/tar_pax.h"
#include "codec/tar_sparse.h"

// Where the formats leave room, this reads as Go's archive/tar does, since the tools that make and
// run layers are built on that. What two readers could take for different entries is refused.

namespace nacelle::codec::tar {
namespace {

using json::in_quotes;

// The headers that come before an entry's own and amend it.
enum Before : uint8_t { PaxBefore = 1, LongNameBefore = 2, LongLinkBefore = 4 };

std::string_view what_vendor_type(char flag) {
  switch (flag) {
    case 'A': return "Solaris access list";
    case 'D': return "GNU directory listing";
    case 'I': return "inode without content";
    case 'M': return "continued from another volume";
    case 'N': return "GNU list of long names";
    case 'V': return "volume label";
    case 'X': return "Solaris extended header";
    default: return "unknown";
  }
}

Result<int64_t> number(Block block, Field field) {
  const std::optional<int64_t> number = block.number(field);
  if (!number) return fail(Kind::Invalid, cat(field.what, ": not a number"));
  return *number;
}

// One that a uint32_t holds, other than the highest, which chown() and the device numbers have a
// meaning of their own for.
Result<uint32_t> small_number(int64_t number, const char* what) {
  if (number < 0 || number >= std::numeric_limits<uint32_t>::max()) {
    return fail(Kind::Invalid, cat(what, ": ", number, " is out of range"));
  }
  return static_cast<uint32_t>(number);
}

Result<std::string_view> bounded_name(std::string_view name, const char* what) {
  if (name.size() <= name_bytes_max) return name;
  return fail(Kind::Exhausted, cat(what, ": longer than ", name_bytes_max, " bytes"));
}

}  // namespace

struct Reader::State {
  enum class Step : uint8_t {
    Header,
    SecondZeroBlock,
    Extension,  // the content of a header that comes before another
    OldSparse,  // more blocks of an old GNU sparse map
    SparseText,
    Announce,
    Content,
    ContentEnd,
    Padding,
    End,
  };

  Result<Event> advance(std::string_view& input);
  std::optional<Block> take_block(std::string_view& input);
  size_t take(std::string_view& input, uint64_t bytes_max);

  Result<> header(Block block);
  Result<> extension_begins(Block block, char flag);
  void take_extension(std::string_view& input);
  Result<> extension_ends();
  static Result<> check_global(std::string_view text);

  Result<> member(Block block, char flag);
  Result<> read_names(Block block);
  Result<> read_numbers(Block block);
  Result<> read_device(Block block);
  Result<> read_type(char flag);
  Result<> read_sparse(Block block, char flag);
  Result<> read_pax_sparse();
  Result<> map_is_whole();
  void give_content();

  std::string where() const;
  std::string_view in_the_middle_of() const;

  Step step = Step::Header;
  std::array<char, block_bytes> held;
  size_t held_bytes = 0;
  uint64_t position = 0;
  std::optional<Error> failure;

  Entry entry;
  uint64_t entry_begins = 0;
  uint8_t before = 0;  // of Before
  char extension_flag = 0;
  std::string extension;  // what is being collected
  std::string pax_text;
  PaxHeader pax;  // views into pax_text
  std::string long_name;
  std::string long_link;

  uint64_t left = 0;     // bytes of this step's content that are still to come
  uint64_t padding = 0;  // that follow them
  bool sparse = false;
  SparseMap map;
  SparseText map_text;
  size_t piece = 0;       // the one that content comes for
  uint64_t piece_at = 0;  // in the file
  uint64_t piece_left = 0;
  std::string_view data;
  uint64_t data_offset = 0;
};

// Input ------------------------------------------------------------------------------------------

std::optional<Block> Reader::State::take_block(std::string_view& input) {
  if (held_bytes == 0 && input.size() >= block_bytes) {
    const Block block(input.data());
    take(input, block_bytes);
    return block;
  }
  const char* from = input.data();
  const size_t bytes = take(input, block_bytes - held_bytes);
  if (bytes != 0) std::memcpy(held.data() + held_bytes, from, bytes);
  held_bytes += bytes;
  if (held_bytes < block_bytes) return std::nullopt;
  held_bytes = 0;
  return Block(held.data());
}

size_t Reader::State::take(std::string_view& input, uint64_t bytes_max) {
  const auto bytes = static_cast<size_t>(std::min<uint64_t>(input.size(), bytes_max));
  input.remove_prefix(bytes);
  position += bytes;
  return bytes;
}

Result<Reader::Event> Reader::State::advance(std::string_view& input) {
  for (;;) {
    switch (step) {
      case Step::Header:
      case Step::SecondZeroBlock:
      case Step::OldSparse:
      case Step::SparseText: {
        const std::optional<Block> block = take_block(input);
        if (!block) return Event::NeedInput;
        if (step == Step::Header) {
          TRY(header(*block));
        } else if (step == Step::SecondZeroBlock) {
          if (!block->is_zero()) {
            return fail(Kind::Invalid, "one block of zeros where the archive ends with two");
          }
          step = Step::End;
        } else if (step == Step::OldSparse) {
          TRY(map.add_old_gnu(block->raw(field::gnu_more_pieces)));
          if (block->first(field::gnu_still_more) == 0) TRY(map_is_whole());
        } else {
          left -= block_bytes;
          if (TRY(map_text.take_block({block->raw(field::name).data(), block_bytes}, map))) {
            TRY(map_is_whole());
          } else if (left < block_bytes) {
            return fail(Kind::Invalid, "sparse map: longer than the content");
          }
        }
        break;
      }
      case Step::Extension:
        take_extension(input);
        if (left != 0) return Event::NeedInput;
        TRY(extension_ends());
        break;
      case Step::Announce: step = Step::Content; return Event::Entry;
      case Step::Content:
        if (left == 0) {
          step = Step::ContentEnd;
          break;
        }
        if (input.empty()) return Event::NeedInput;
        if (piece_left == 0) {
          ++piece;
          piece_at = map.pieces()[piece].offset;
          piece_left = map.pieces()[piece].bytes;
        }
        data = input.substr(0, static_cast<size_t>(std::min<uint64_t>(input.size(), piece_left)));
        data_offset = piece_at;
        take(input, data.size());
        left -= data.size();
        piece_left -= data.size();
        piece_at += data.size();
        return Event::Data;
      case Step::ContentEnd: step = Step::Padding; return Event::EntryEnd;
      case Step::Padding:
        padding -= take(input, padding);
        if (padding != 0) return Event::NeedInput;
        step = Step::Header;
        break;
      case Step::End: take(input, input.size()); return Event::End;
    }
  }
}

std::string Reader::State::where() const {
  return entry.name.empty() ? cat("entry at byte ", entry_begins)
                            : cat("entry ", in_quotes(entry.name), " at byte ", entry_begins);
}

std::string_view Reader::State::in_the_middle_of() const {
  switch (step) {
    case Step::Header:
      if (held_bytes != 0) return "a header";
      return before == 0 ? "" : "an entry, after a header that amends it";
    case Step::SecondZeroBlock: return held_bytes == 0 ? "" : "a block";
    case Step::Extension: return "a PAX header or long name";
    case Step::OldSparse:
    case Step::SparseText: return "a sparse map";
    case Step::Announce:
    case Step::Content: return left == 0 ? "" : "its content";
    // Go's writer once left out the last padding, and every reader has learned to do without.
    case Step::Padding: return before == 0 ? "" : "an entry, after a header that amends it";
    case Step::ContentEnd:
    case Step::End: return "";
  }
}

// Headers ----------------------------------------------------------------------------------------

Result<> Reader::State::header(Block block) {
  if (before == 0) entry_begins = position - block_bytes;
  entry.name.clear();
  if (block.is_zero()) {
    if (before != 0) {
      return fail(Kind::Invalid, "the archive ends after a header that amends the next");
    }
    step = Step::SecondZeroBlock;
    return {};
  }
  if (!block.sum_is_right()) return fail(Kind::Invalid, "not a tar header: its sum is wrong");
  const char flag = block.first(field::type);
  if (flag == 'x' || flag == 'g' || flag == 'L' || flag == 'K') {
    return extension_begins(block, flag);
  }
  return member(block, flag);
}

Result<> Reader::State::extension_begins(Block block, char flag) {
  const uint8_t kind = flag == 'x'   ? PaxBefore
                       : flag == 'L' ? LongNameBefore
                       : flag == 'K' ? LongLinkBefore
                                     : uint8_t{0};
  if (kind == 0 && before != 0) {
    return fail(Kind::Invalid, "a global PAX header between an entry's headers");
  }
  if ((before & kind) != 0) {
    return fail(Kind::Invalid, cat("two headers of type '", flag, "' before one entry"));
  }
  before |= kind;
  const int64_t size = TRY(number(block, field::size));
  if (size < 0) return fail(Kind::Invalid, cat("header of type '", flag, "': a negative size"));
  if (static_cast<uint64_t>(size) > header_bytes_max) {
    return fail(Kind::Exhausted,
                cat("header of type '", flag, "': ", size, " bytes, more than ", header_bytes_max));
  }
  extension_flag = flag;
  extension.clear();
  left = static_cast<uint64_t>(size);
  padding = padding_of(left);
  step = Step::Extension;
  return {};
}

void Reader::State::take_extension(std::string_view& input) {
  const char* from = input.data();
  const size_t bytes = take(input, left);
  if (bytes != 0) extension.append(from, bytes);
  left -= bytes;
}

Result<> Reader::State::extension_ends() {
  step = Step::Padding;
  if (extension_flag == 'g') return check_global(extension);
  if (extension_flag == 'x') {
    pax_text.swap(extension);
    return {};
  }
  std::string& into = extension_flag == 'L' ? long_name : long_link;
  into.assign(extension, 0, extension.find('\0'));
  if (into.empty()) {
    return fail(Kind::Invalid, cat("header of type '", extension_flag, "': an empty name"));
  }
  return {};
}

// Docker ignores what a global header says, so its images mean what they mean without it. What
// would give every entry the same name, or move the next header, no reader could agree about.
Result<> Reader::State::check_global(std::string_view text) {
  PaxHeader global;
  TRY(PaxHeader::parse(text, global).context("global PAX header"));
  for (const PaxKey key :
       {PaxKey::Path, PaxKey::LinkPath, PaxKey::Size, PaxKey::SparseMajor, PaxKey::SparseName,
        PaxKey::SparseSize, PaxKey::SparseRealSize, PaxKey::SparseMap}) {
    if (global.has(key)) {
      return fail(Kind::Invalid, "global PAX header: names or sizes for all entries at once");
    }
  }
  if (!global.sparse_numbers().empty()) {
    return fail(Kind::Invalid, "global PAX header: names or sizes for all entries at once");
  }
  return {};
}

// Entries ----------------------------------------------------------------------------------------

Result<> Reader::State::member(Block block, char flag) {
  pax.clear();
  sparse = false;
  // For the messages of what may fail before the right one is known.
  entry.name.assign(block.text(field::name));
  if ((before & PaxBefore) != 0) TRY(PaxHeader::parse(pax_text, pax));
  TRY(read_names(block));
  TRY(read_numbers(block));
  TRY(read_type(flag));
  TRY(read_device(block));
  TRY(pax.xattrs(entry.xattrs));
  TRY(read_sparse(block, flag));
  before = 0;
  return {};
}

Result<> Reader::State::read_names(Block block) {
  const Flavour flavour = block.flavour();
  std::string_view prefix;
  if (flavour == Flavour::Ustar) prefix = block.text(field::prefix);
  if (flavour == Flavour::Star) prefix = block.text(field::star_prefix);
  std::string_view name = block.text(field::name);
  std::string_view link = block.text(field::link);
  if (pax.has(PaxKey::Path)) {
    name = pax.value(PaxKey::Path);
    prefix = {};
  }
  if (pax.has(PaxKey::LinkPath)) link = pax.value(PaxKey::LinkPath);
  if ((before & LongNameBefore) != 0) {
    name = long_name;
    prefix = {};
  }
  if ((before & LongLinkBefore) != 0) link = long_link;
  if (pax.has(PaxKey::SparseName)) {
    name = pax.value(PaxKey::SparseName);
    prefix = {};
  }
  name = TRY(bounded_name(name, "name"));
  entry.name.assign(prefix);
  if (!prefix.empty()) entry.name += '/';
  entry.name += name;
  if (entry.name.empty()) return fail(Kind::Invalid, "it has no name");
  entry.link_target.assign(TRY(bounded_name(link, "link target")));
  return {};
}

Result<> Reader::State::read_numbers(Block block) {
  int64_t size = TRY(number(block, field::size));
  if (size < 0) return fail(Kind::Invalid, "size: negative");
  if (pax.has(PaxKey::Size)) size = TRY(pax.number(PaxKey::Size));
  left = static_cast<uint64_t>(size);

  // The type of the file may stand above the permission bits.
  entry.mode = static_cast<uint32_t>(TRY(number(block, field::mode)) & 07777);
  int64_t user = TRY(number(block, field::user));
  int64_t group = TRY(number(block, field::group));
  if (pax.has(PaxKey::User)) user = TRY(pax.number(PaxKey::User));
  if (pax.has(PaxKey::Group)) group = TRY(pax.number(PaxKey::Group));
  entry.user = TRY(small_number(user, field::user.what));
  entry.group = TRY(small_number(group, field::group.what));
  entry.modified = {TRY(number(block, field::modified)), 0};
  if (pax.has(PaxKey::Modified)) entry.modified = TRY(pax.time(PaxKey::Modified));
  return {};
}

Result<> Reader::State::read_type(char flag) {
  switch (flag) {
    case '\0':
    case '0':
    case '7':  // contiguous, on systems that knew such files
    case 'S': entry.type = Type::File; break;
    case '1': entry.type = Type::HardLink; break;
    case '2': entry.type = Type::Symlink; break;
    case '3': entry.type = Type::CharacterDevice; break;
    case '4': entry.type = Type::BlockDevice; break;
    case '5': entry.type = Type::Directory; break;
    case '6': entry.type = Type::Fifo; break;
    default:
      return fail(Kind::Unsupported,
                  cat("type ", in_quotes({&flag, 1}), " (", what_vendor_type(flag), ")"));
  }
  const bool link = entry.type == Type::HardLink || entry.type == Type::Symlink;
  if (!link) entry.link_target.clear();
  if (link && entry.link_target.empty()) return fail(Kind::Invalid, "a link without a target");
  if (entry.type == Type::File && entry.name.ends_with('/')) {
    // How archives without a type for directories mark them.
    if (left != 0 || flag == 'S') return fail(Kind::Invalid, "a directory with content");
    entry.type = Type::Directory;
  }
  // Whatever size they state (some tools write that of the file on disk), no content follows.
  if (entry.type != Type::File) left = 0;
  while (entry.name.size() > 1 && entry.name.ends_with('/')) entry.name.pop_back();
  return {};
}

Result<> Reader::State::read_device(Block block) {
  entry.device_major = 0;
  entry.device_minor = 0;
  if (entry.type != Type::CharacterDevice && entry.type != Type::BlockDevice) return {};
  if (block.flavour() == Flavour::V7) return {};
  int64_t major = TRY(number(block, field::device_major));
  int64_t minor = TRY(number(block, field::device_minor));
  if (pax.has(PaxKey::DeviceMajor)) major = TRY(pax.number(PaxKey::DeviceMajor));
  if (pax.has(PaxKey::DeviceMinor)) minor = TRY(pax.number(PaxKey::DeviceMinor));
  entry.device_major = TRY(small_number(major, field::device_major.what));
  entry.device_minor = TRY(small_number(minor, field::device_minor.what));
  return {};
}

Result<> Reader::State::read_sparse(Block block, char flag) {
  entry.size = left;
  padding = padding_of(left);
  map.clear();
  if (flag == 'S') {
    if (block.flavour() != Flavour::Gnu) {
      return fail(Kind::Invalid, "an old GNU sparse file without the GNU magic");
    }
    const int64_t size = TRY(number(block, field::gnu_real_size));
    if (size < 0) return fail(Kind::Invalid, "real size: negative");
    entry.size = static_cast<uint64_t>(size);
    sparse = true;
    TRY(map.add_old_gnu(block.raw(field::gnu_pieces)));
    if (block.first(field::gnu_more) == 0) return map_is_whole();
    step = Step::OldSparse;
    return {};
  }
  TRY(read_pax_sparse());
  if (sparse) return {};
  give_content();
  return {};
}

Result<> Reader::State::read_pax_sparse() {
  const std::string_view major = pax.value(PaxKey::SparseMajor);
  const std::string_view minor = pax.value(PaxKey::SparseMinor);
  const bool stated = !major.empty() || !minor.empty();
  const bool zero = major == "0" && (minor == "0" || minor == "1");
  const bool one = major == "1" && minor == "0";
  if (stated && !zero && !one) {
    return fail(Kind::Unsupported,
                cat("a sparse file of version ", in_quotes(cat(major, '.', minor))));
  }
  // Versions 0.0 and 0.1 need not say so.
  if (!stated && !pax.has(PaxKey::SparseMap) && pax.sparse_numbers().empty()) return {};
  if (entry.type != Type::File) return fail(Kind::Invalid, "a sparse map for what is not a file");
  for (const PaxKey key : {PaxKey::SparseRealSize, PaxKey::SparseSize}) {
    if (pax.has(key)) entry.size = static_cast<uint64_t>(TRY(pax.number(key)));
  }
  sparse = true;
  if (!one) {
    TRY(map.add_pax(pax));
    return map_is_whole();
  }
  if (left < block_bytes) return fail(Kind::Invalid, "sparse map: longer than the content");
  map_text.clear();
  step = Step::SparseText;
  return {};
}

Result<> Reader::State::map_is_whole() {
  TRY(map.check(entry.size, left));
  give_content();
  return {};
}

void Reader::State::give_content() {
  step = Step::Announce;
  piece = 0;
  piece_at = 0;
  piece_left = left;
  if (sparse && !map.pieces().empty()) {
    piece_at = map.pieces()[0].offset;
    piece_left = map.pieces()[0].bytes;
  }
}

// Reader -----------------------------------------------------------------------------------------

Reader::Reader() : state_(std::make_unique<State>()) {}
Reader::~Reader() = default;
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;

Result<Reader::Event> Reader::next(std::string_view& input) {
  State& state = *state_;
  if (state.failure) return std::unexpected(*state.failure);
  Result<Event> event = state.advance(input);
  if (!event) [[unlikely]] {
    event.error().add_context(state.where());
    state.failure = event.error();
  }
  return event;
}

Result<> Reader::finish() {
  State& state = *state_;
  if (state.failure) return std::unexpected(*state.failure);
  const std::string_view middle = state.in_the_middle_of();
  if (middle.empty()) return {};
  const bool named = state.step == State::Step::Content || state.step == State::Step::SparseText ||
                     state.step == State::Step::OldSparse;
  state.failure = Error(Kind::Invalid, cat("ends in the middle of ", middle));
  state.failure->add_context(named ? state.where() : cat("tar archive at byte ", state.position));
  return std::unexpected(*state.failure);
}

const Entry& Reader::entry() const { return state_->entry; }
std::string_view Reader::data() const { return state_->data; }
uint64_t Reader::data_offset() const { return state_->data_offset; }
uint64_t Reader::position() const { return state_->position; }

}  // namespace nacelle::codec::tar
