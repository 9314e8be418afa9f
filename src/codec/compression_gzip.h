// The gzip file format (RFC 1952) around a raw deflate decoder (RFC 1951): headers, trailers,
// members in a row, zeros after the last. The decoder is a parameter, since there are two: ISA-L's,
// which is more than twice as fast, and zlib's, which is everywhere.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "codec/compression.h"
#include "nacelle/result.h"

namespace nacelle::codec::gzip {

// What the CRC-32 of gzip comes to when `bytes` follow what made `crc`; 0 is that of nothing.
uint32_t crc32_after(uint32_t crc, std::string_view bytes);

struct InflateStep {
  size_t consumed = 0;
  size_t produced = 0;
  bool ended = false;
  bool damaged = false;
};

// Both decoders: start() once per deflate stream; step() takes and gives what it can; after the end
// read_ahead() is what it took beyond it, and crc() of all that came out.
class ZlibInflate {
 public:
  ZlibInflate();
  ~ZlibInflate();
  void start();
  InflateStep step(std::string_view input, std::span<char> output);
  std::string_view read_ahead() const { return {}; }
  uint32_t crc() const { return crc_; }

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  uint32_t crc_ = 0;
};

#ifdef NACELLE_ISAL
class IsalInflate {
 public:
  IsalInflate();
  ~IsalInflate();
  void start();
  InflateStep step(std::string_view input, std::span<char> output);
  std::string_view read_ahead() const { return {ahead_.data(), ahead_size_}; }
  uint32_t crc() const;

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  std::array<char, 8> ahead_;  // no more than a member's trailer: it reads 64 bits at a time
  size_t ahead_size_ = 0;
};
using Inflate = IsalInflate;
#else
using Inflate = ZlibInflate;
#endif

template <class Decoder>
class Reader {
 public:
  Result<CodingStep> step(std::string_view input, std::span<char> output) {
    CodingStep done;
    // A member without contents takes no room, so input may be left only when there is none.
    while (done.consumed < input.size() || part_ == Part::Body) {
      const std::string_view rest = input.substr(done.consumed);
      if (part_ != Part::Body) {
        done.consumed += TRY(take_frame(rest));
        continue;
      }
      if (done.produced == output.size()) break;
      const InflateStep part = decoder_.step(rest, output.subspan(done.produced));
      if (part.damaged) return fail(Kind::Invalid, "gzip: damaged compressed data");
      done.consumed += part.consumed;
      done.produced += part.produced;
      size_ += static_cast<uint32_t>(part.produced);  // modulo 2^32, as the trailer counts
      if (part.ended) {
        TRY(enter_trailer());
      } else if (part.consumed == 0 && part.produced == 0) {
        break;
      }
    }
    return done;
  }

  Result<> finish() const {
    if (part_ == Part::Between || part_ == Part::Padding) return {};
    return fail(Kind::Invalid, "gzip: the stream ends in the middle");
  }

 private:
  enum class Part : uint8_t {
    Header,
    ExtraSize,
    Extra,
    Name,
    Comment,
    HeaderCrc,
    Body,
    Trailer,
    Between,
    Padding
  };
  enum Flag : uint8_t { Crc = 2, HasExtra = 4, HasName = 8, HasComment = 16, Reserved = 0xe0 };

  // Everything but compressed data; returns how much of `rest`, which is not empty, it was.
  Result<size_t> take_frame(std::string_view rest) {
    switch (part_) {
      case Part::Header: return take_header(rest);
      case Part::ExtraSize: {
        const size_t taken = gather(rest, 2, InHeader::Yes);
        if (have_ == 2) {
          skip_ = little_endian(0, 2);
          enter(skip_ == 0 ? after(Part::Extra) : Part::Extra);
        }
        return taken;
      }
      case Part::Extra: {
        const size_t taken = std::min<size_t>(skip_, rest.size());
        header_crc_ = crc32_after(header_crc_, rest.substr(0, taken));
        skip_ -= static_cast<uint32_t>(taken);
        if (skip_ == 0) enter(after(Part::Extra));
        return taken;
      }
      case Part::Name:
      case Part::Comment: {
        const size_t end = rest.find('\0');
        const size_t taken = end == std::string_view::npos ? rest.size() : end + 1;
        header_crc_ = crc32_after(header_crc_, rest.substr(0, taken));
        if (end != std::string_view::npos) enter(after(part_));
        return taken;
      }
      case Part::HeaderCrc: {
        const size_t taken = gather(rest, 2, InHeader::No);
        if (have_ == 2) {
          if (little_endian(0, 2) != (header_crc_ & 0xffff)) {
            return fail(Kind::Invalid, "gzip: wrong checksum of a header");
          }
          enter(Part::Body);
        }
        return taken;
      }
      case Part::Trailer: {
        const size_t taken = gather(rest, trailer_size, InHeader::No);
        if (have_ == trailer_size) TRY(check_trailer());
        return taken;
      }
      case Part::Between: return take_between(rest);
      case Part::Padding: {
        if (rest.find_first_not_of('\0') != std::string_view::npos) {
          return fail(Kind::Invalid, "gzip: other bytes after padding of zeros");
        }
        return rest.size();
      }
      case Part::Body: break;
    }
    return size_t{0};
  }

  Result<size_t> take_header(std::string_view rest) {
    const size_t taken = gather(rest, header_size, InHeader::Yes);
    const auto wrong_at = [this](size_t at, uint8_t wanted) {
      return have_ > at && gathered_[at] != wanted;
    };
    if (wrong_at(0, 0x1f) || wrong_at(1, 0x8b)) return fail(Kind::Invalid, "gzip: not gzip");
    if (wrong_at(2, 8)) return fail(Kind::Invalid, "gzip: a method other than deflate");
    if (have_ < header_size) return taken;
    flags_ = gathered_[3];
    if ((flags_ & Reserved) != 0) return fail(Kind::Invalid, "gzip: reserved flags in a header");
    enter(after(Part::Header));
    return taken;
  }

  Result<size_t> take_between(std::string_view rest) {
    if (rest[0] == '\0') {
      enter(Part::Padding);
    } else if (rest[0] == '\x1f') {
      header_crc_ = 0;
      enter(Part::Header);
    } else {
      return fail(Kind::Invalid, "gzip: bytes after the end that are no further member");
    }
    return size_t{0};
  }

  Result<> enter_trailer() {
    enter(Part::Trailer);
    const std::string_view ahead = decoder_.read_ahead();
    gather(ahead, trailer_size, InHeader::No);
    return have_ == trailer_size ? check_trailer() : Result<>();
  }

  Result<> check_trailer() {
    if (little_endian(0, 4) != decoder_.crc()) {
      return fail(Kind::Invalid, "gzip: wrong checksum of the contents");
    }
    if (little_endian(4, 4) != size_)
      return fail(Kind::Invalid, "gzip: wrong size of the contents");
    enter(Part::Between);
    return {};
  }

  // The part of a header that follows `part` under these flags.
  Part after(Part part) const {
    if (part < Part::ExtraSize && (flags_ & HasExtra) != 0) return Part::ExtraSize;
    if (part < Part::Name && (flags_ & HasName) != 0) return Part::Name;
    if (part < Part::Comment && (flags_ & HasComment) != 0) return Part::Comment;
    if (part < Part::HeaderCrc && (flags_ & Crc) != 0) return Part::HeaderCrc;
    return Part::Body;
  }

  void enter(Part part) {
    part_ = part;
    have_ = 0;
    if (part != Part::Body) return;
    size_ = 0;
    decoder_.start();
  }

  enum class InHeader : bool { No, Yes };
  size_t gather(std::string_view rest, size_t wanted, InHeader in_header) {
    const size_t taken = std::min(wanted - have_, rest.size());
    std::copy_n(rest.begin(), taken, gathered_.begin() + static_cast<ptrdiff_t>(have_));
    have_ += taken;
    if (in_header == InHeader::Yes) header_crc_ = crc32_after(header_crc_, rest.substr(0, taken));
    return taken;
  }

  uint32_t little_endian(size_t at, size_t bytes) const {
    uint32_t value = 0;
    for (size_t each = 0; each < bytes; ++each) {
      value |= static_cast<uint32_t>(gathered_[at + each]) << (8 * each);
    }
    return value;
  }

  static constexpr size_t header_size = 10;
  static constexpr size_t trailer_size = 8;

  Decoder decoder_;
  Part part_ = Part::Header;
  uint8_t flags_ = 0;
  std::array<uint8_t, header_size> gathered_{};
  size_t have_ = 0;
  uint32_t skip_ = 0;
  uint32_t header_crc_ = 0;
  uint32_t size_ = 0;
};

}  // namespace nacelle::codec::gzip
