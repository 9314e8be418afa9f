#include "codec/compression.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/check.h"
#include "base/text.h"
#include "codec/compression_foreign.h"
#include "codec/compression_gzip.h"

namespace nacelle::codec {
namespace {

using namespace std::string_view_literals;

constexpr auto gzip_magic = "\x1f\x8b"sv;
constexpr auto zstd_magic = "\x28\xb5\x2f\xfd"sv;
constexpr auto bzip2_magic = "BZh"sv;
constexpr auto xz_magic =
    "\xfd"
    "7zXZ\0"sv;

// RFC 8878 section 3.1.2: sixteen numbers mark what a reader of zstd passes over.
bool is_skippable_magic(std::string_view magic) {
  return magic.size() >= 4 && (magic[0] & '\xf0') == '\x50' && magic.substr(1, 3) == "\x2a\x4d\x18";
}

CodingStep copy(std::string_view input, std::span<char> output) {
  const size_t size = std::min(input.size(), output.size());
  std::copy_n(input.begin(), size, output.begin());
  return {.consumed = size, .produced = size};
}

}  // namespace

std::string_view to_string(Compression compression) {
  switch (compression) {
    case Compression::None: return "none";
    case Compression::Gzip: return "gzip";
    case Compression::Zstd: return "zstd";
    case Compression::Bzip2: return "bzip2";
    case Compression::Xz: return "xz";
  }
  return "?";
}

Compression detect_compression(std::string_view first_bytes) {
  if (first_bytes.starts_with(gzip_magic)) return Compression::Gzip;
  if (first_bytes.starts_with(zstd_magic) || is_skippable_magic(first_bytes)) {
    return Compression::Zstd;
  }
  if (first_bytes.starts_with(bzip2_magic)) return Compression::Bzip2;
  if (first_bytes.starts_with(xz_magic)) return Compression::Xz;
  return Compression::None;
}

struct Decompressor::State {
  bool failed = false;
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  virtual ~State() = default;
  virtual Result<CodingStep> step(std::string_view input, std::span<char> output) = 0;
  virtual Result<> finish() { return {}; }

  struct Plain;
  template <class Reader>
  struct By;
  class Zstd;
};

struct Decompressor::State::Plain final : State {
  Result<CodingStep> step(std::string_view input, std::span<char> output) override {
    return copy(input, output);
  }
};

template <class Reader>
struct Decompressor::State::By final : State {
  Reader reader;
  Result<CodingStep> step(std::string_view input, std::span<char> output) override {
    return reader.step(input, output);
  }
  Result<> finish() override { return reader.finish(); }
};

// Frames in a row. Each one's magic number is looked at here: the library, as Debian builds it,
// also reads formats from before RFC 8878, which nobody sends for a good reason.
class Decompressor::State::Zstd final : public State {
 public:
  Zstd() : context_(ZSTD_createDCtx()) {
    CHECK(context_ != nullptr);
    static_assert(std::has_single_bit(window_bytes_max));
    const size_t status =
        ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, std::countr_zero(window_bytes_max));
    CHECK(ZSTD_isError(status) == 0);
  }
  ~Zstd() override { ZSTD_freeDCtx(context_); }

  Result<CodingStep> step(std::string_view input, std::span<char> output) override {
    CodingStep done;
    for (;;) {
      const std::string_view rest = input.substr(done.consumed);
      if (part_ != Part::Frame) {
        if (rest.empty()) break;
        done.consumed += TRY(take_between(rest));
        continue;
      }
      if (done.produced == output.size()) break;
      const CodingStep part = TRY(decode(rest, output.subspan(done.produced)));
      done.consumed += part.consumed;
      done.produced += part.produced;
      if (part_ == Part::Frame && part.consumed == 0 && part.produced == 0) break;
    }
    return done;
  }

  Result<> finish() override {
    if (whole_ && have_ == 0 && part_ != Part::Frame) return {};
    return fail(Kind::Invalid, "zstd: the stream ends in the middle");
  }

 private:
  enum class Part : uint8_t { Header, Frame, Padding };

  Result<size_t> take_between(std::string_view rest) {
    if (part_ == Part::Header && whole_ && have_ == 0 && rest[0] == '\0') part_ = Part::Padding;
    if (part_ == Part::Padding) {
      if (rest.find_first_not_of('\0') != std::string_view::npos) {
        return fail(Kind::Invalid, "zstd: other bytes after padding of zeros");
      }
      return rest.size();
    }
    const size_t taken = std::min(rest.size(), header_wanted() - have_);
    std::copy_n(rest.begin(), taken, header_.begin() + have_);
    have_ += taken;
    const std::string_view header(header_.data(), have_);
    if (have_ == zstd_magic.size() && header != zstd_magic && !is_skippable_magic(header)) {
      return fail(Kind::Invalid, whole_ ? "zstd: bytes after the end that are no further frame"
                                        : "zstd: not zstd");
    }
    if (have_ < header_wanted()) return taken;

    // The header goes in by itself and whole. The library has a short way for frames that it sees
    // the end of, and takes the input of that one call for such a frame: with the header's first
    // bytes given before, it would look for a frame inside of the frame.
    have_ = 0;
    part_ = Part::Frame;
    const CodingStep stored = TRY(decode(header, {}));
    CHECK(stored.consumed == header.size());
    return taken;
  }

  // How many bytes of a frame's header there must be, as far as those at hand say: the magic
  // number, the byte that tells what follows, all (RFC 8878, sections 3.1.1.1 and 3.1.2).
  size_t header_wanted() const {
    constexpr size_t magic_size = zstd_magic.size();
    if (have_ < magic_size) return magic_size;
    if (header_[0] != zstd_magic[0]) return magic_size + 4;  // skippable, and a size
    if (have_ == magic_size) return magic_size + 1;
    const auto descriptor = static_cast<uint8_t>(header_[magic_size]);
    const bool single_segment = (descriptor >> 5 & 1) != 0;
    constexpr std::array<size_t, 4> dictionary_sizes = {0, 1, 2, 4};
    const std::array<size_t, 4> content_sizes = {single_segment ? 1u : 0u, 2, 4, 8};
    return magic_size + 1 + (single_segment ? 0 : 1) + dictionary_sizes[descriptor & 3] +
           content_sizes[descriptor >> 6];
  }

  Result<CodingStep> decode(std::string_view rest, std::span<char> room) {
    ZSTD_inBuffer in{.src = rest.data(), .size = rest.size(), .pos = 0};
    ZSTD_outBuffer out{.dst = room.data(), .size = room.size(), .pos = 0};
    const size_t status = ZSTD_decompressStream(context_, &out, &in);
    if (ZSTD_isError(status) != 0) return refused(status);
    if (status == 0) {
      part_ = Part::Header;
      whole_ = true;
    }
    return CodingStep{.consumed = in.pos, .produced = out.pos};
  }

  static std::unexpected<Error> refused(size_t status) {
    switch (ZSTD_getErrorCode(status)) {
      case ZSTD_error_frameParameter_windowTooLarge:
        return fail(Kind::Unsupported,
                    cat("zstd: needs a window of more than ", window_bytes_max >> 20, " MiB"));
      case ZSTD_error_memory_allocation: return fail(Kind::Exhausted, "zstd: no memory");
      default: return fail(Kind::Invalid, cat("zstd: damaged: ", ZSTD_getErrorName(status)));
    }
  }

  ZSTD_DCtx* context_;
  Part part_ = Part::Header;
  bool whole_ = false;             // at least one frame has ended
  std::array<char, 18> header_{};  // the longest there is
  size_t have_ = 0;                // of header_
};

Decompressor::Decompressor(std::unique_ptr<State> state) : state_(std::move(state)) {}
Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;

Result<Decompressor> Decompressor::make(Compression compression) {
  switch (compression) {
    case Compression::None: return Decompressor(std::make_unique<State::Plain>());
    case Compression::Gzip:
      return Decompressor(std::make_unique<State::By<gzip::Reader<gzip::Inflate>>>());
    case Compression::Zstd: return Decompressor(std::make_unique<State::Zstd>());
    case Compression::Bzip2:
      return Decompressor(std::make_unique<State::By<foreign::Bzip2Reader>>());
    case Compression::Xz: return Decompressor(std::make_unique<State::By<foreign::XzReader>>());
  }
  return fail(Kind::Invalid, "no such compression");
}

Result<CodingStep> Decompressor::step(std::string_view input, std::span<char> output) {
  CHECK(state_ != nullptr);
  if (state_->failed) return fail(Kind::Invalid, "the stream was found damaged before");
  Result<CodingStep> done = state_->step(input, output);
  state_->failed = !done.has_value();
  return done;
}

Result<> Decompressor::finish() {
  CHECK(state_ != nullptr);
  if (state_->failed) return fail(Kind::Invalid, "the stream was found damaged before");
  return state_->finish();
}

struct Compressor::State {
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  virtual ~State() = default;
  virtual Result<CodingStep> step(std::string_view input, std::span<char> output, bool last) = 0;

  struct Plain;
  class Gzip;
  class Zstd;
};

struct Compressor::State::Plain final : State {
  Result<CodingStep> step(std::string_view input, std::span<char> output, bool last) override {
    CodingStep done = copy(input, output);
    done.ended = last && done.consumed == input.size();
    return done;
  }
};

class Compressor::State::Gzip final : public State {
 public:
  explicit Gzip(int level) {
    constexpr int gzip_wrapper = 16;  // of zlib's own: no name, no time stamp
    constexpr int memory_level = 8;   // zlib's default
    CHECK(deflateInit2(&zlib_, level, Z_DEFLATED, MAX_WBITS + gzip_wrapper, memory_level,
                       Z_DEFAULT_STRATEGY) == Z_OK);
  }
  ~Gzip() override { deflateEnd(&zlib_); }

  Result<CodingStep> step(std::string_view input, std::span<char> output, bool last) override {
    constexpr size_t piece_bytes_max = 1u << 30;  // zlib counts in 32 bits
    const size_t input_size = std::min(input.size(), piece_bytes_max);
    const size_t output_size = std::min(output.size(), piece_bytes_max);
    zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    zlib_.avail_in = static_cast<uInt>(input_size);
    zlib_.next_out = reinterpret_cast<Bytef*>(output.data());
    zlib_.avail_out = static_cast<uInt>(output_size);
    const bool all = last && input_size == input.size();
    const int status = output.empty() ? Z_BUF_ERROR : deflate(&zlib_, all ? Z_FINISH : Z_NO_FLUSH);
    CHECK(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR);
    return CodingStep{.consumed = input_size - zlib_.avail_in,
                      .produced = output_size - zlib_.avail_out,
                      .ended = status == Z_STREAM_END};
  }

 private:
  z_stream zlib_{};
};

class Compressor::State::Zstd final : public State {
 public:
  explicit Zstd(int level) : context_(ZSTD_createCCtx()) {
    CHECK(context_ != nullptr);
    set(ZSTD_c_compressionLevel, level);
    set(ZSTD_c_checksumFlag, 1);
  }
  ~Zstd() override { ZSTD_freeCCtx(context_); }

  Result<CodingStep> step(std::string_view input, std::span<char> output, bool last) override {
    ZSTD_inBuffer in{.src = input.data(), .size = input.size(), .pos = 0};
    ZSTD_outBuffer out{.dst = output.data(), .size = output.size(), .pos = 0};
    // The end is a call of its own: told it together with all of a short input, zstd would write
    // another frame than when the same bytes come in pieces.
    size_t left = 0;
    if (in.size != 0) left = ZSTD_compressStream2(context_, &out, &in, ZSTD_e_continue);
    const bool end = last && ZSTD_isError(left) == 0 && in.pos == in.size;
    if (end) left = ZSTD_compressStream2(context_, &out, &in, ZSTD_e_end);
    if (ZSTD_isError(left) != 0) {
      return fail(Kind::Exhausted, cat("zstd: ", ZSTD_getErrorName(left)));
    }
    return CodingStep{.consumed = in.pos, .produced = out.pos, .ended = end && left == 0};
  }

 private:
  void set(ZSTD_cParameter parameter, int value) {
    CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context_, parameter, value)) == 0);
  }
  ZSTD_CCtx* context_;
};

Compressor::Compressor(std::unique_ptr<State> state) : state_(std::move(state)) {}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;

Result<Compressor> Compressor::make(Compression compression, int level) {
  // Above zstd's 19, windows outgrow what our own reader accepts.
  const int level_max = compression == Compression::Zstd ? 19 : 9;
  if (level < 0 || level > level_max) {
    return fail(Kind::Invalid, cat(to_string(compression), ": no compression level ", level,
                                   " (1 to ", level_max, ")"));
  }
  switch (compression) {
    case Compression::None: return Compressor(std::make_unique<State::Plain>());
    case Compression::Gzip:
      return Compressor(std::make_unique<State::Gzip>(level == 0 ? 6 : level));
    case Compression::Zstd:
      return Compressor(std::make_unique<State::Zstd>(level == 0 ? 3 : level));
    case Compression::Bzip2:
    case Compression::Xz: break;
  }
  return fail(Kind::Unsupported, cat(to_string(compression), " is read, and not written"));
}

Result<CodingStep> Compressor::step(std::string_view input, std::span<char> output, bool last) {
  CHECK(state_ != nullptr);
  return state_->step(input, output, last);
}

}  // namespace nacelle::codec
