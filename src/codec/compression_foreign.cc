#include "codec/compression_foreign.h"

#include <algorithm>
#include <string>

#include <bzlib.h>
#include <lzma.h>

#include "base/check.h"
#include "base/text.h"

namespace nacelle::codec::foreign {
namespace {

constexpr size_t piece_bytes_max = 1u << 30;  // bzip2 counts in 32 bits

}  // namespace

// bzip2. -----------------------------------------------------------------------------------------

struct Bzip2Reader::Stream {
  bz_stream bzip2{};
  bool is_open = false;
  ~Stream() { close(); }
  void close() {
    if (is_open) BZ2_bzDecompressEnd(&bzip2);
    is_open = false;
  }
};

Bzip2Reader::Bzip2Reader() : stream_(std::make_unique<Stream>()) {}
Bzip2Reader::~Bzip2Reader() = default;

Result<> Bzip2Reader::start() {
  stream_->close();
  stream_->bzip2 = {};
  if (BZ2_bzDecompressInit(&stream_->bzip2, /*verbosity=*/0, /*small=*/0) != BZ_OK) {
    return fail(Kind::Exhausted, "bzip2: no memory");
  }
  stream_->is_open = true;
  part_ = Part::Stream;
  return {};
}

Result<CodingStep> Bzip2Reader::decode(std::string_view input, std::span<char> output) {
  bz_stream& bzip2 = stream_->bzip2;
  const size_t input_size = std::min(input.size(), piece_bytes_max);
  const size_t output_size = std::min(output.size(), piece_bytes_max);
  bzip2.next_in = const_cast<char*>(input.data());
  bzip2.avail_in = static_cast<unsigned>(input_size);
  bzip2.next_out = output.data();
  bzip2.avail_out = static_cast<unsigned>(output_size);
  const int status = BZ2_bzDecompress(&bzip2);
  switch (status) {
    case BZ_OK: break;
    case BZ_STREAM_END:
      part_ = Part::Between;
      whole_ = true;
      break;
    case BZ_MEM_ERROR: return fail(Kind::Exhausted, "bzip2: no memory");
    case BZ_DATA_ERROR_MAGIC:
      return fail(Kind::Invalid, whole_ ? "bzip2: bytes after the end that are no further stream"
                                        : "bzip2: not bzip2");
    default: return fail(Kind::Invalid, "bzip2: damaged");
  }
  return CodingStep{.consumed = input_size - bzip2.avail_in,
                    .produced = output_size - bzip2.avail_out};
}

Result<CodingStep> Bzip2Reader::step(std::string_view input, std::span<char> output) {
  CodingStep done;
  for (;;) {
    const std::string_view rest = input.substr(done.consumed);
    if (part_ == Part::Between) {
      if (rest.empty()) return done;
      if (whole_ && rest[0] == '\0') {
        part_ = Part::Padding;
      } else {
        TRY(start());
      }
    }
    if (part_ == Part::Padding) {
      if (rest.find_first_not_of('\0') != std::string_view::npos) {
        return fail(Kind::Invalid, "bzip2: other bytes after padding of zeros");
      }
      done.consumed = input.size();
      return done;
    }
    if (done.produced == output.size()) return done;
    const CodingStep part = TRY(decode(rest, output.subspan(done.produced)));
    done.consumed += part.consumed;
    done.produced += part.produced;
    if (part.consumed == 0 && part.produced == 0) return done;
  }
}

Result<> Bzip2Reader::finish() const {
  if (whole_ && part_ != Part::Stream) return {};
  return fail(Kind::Invalid, "bzip2: the stream ends in the middle");
}

// xz. --------------------------------------------------------------------------------------------

struct XzReader::Stream {
  lzma_stream xz = LZMA_STREAM_INIT;
  ~Stream() { lzma_end(&xz); }
};

XzReader::XzReader() : stream_(std::make_unique<Stream>()) {
  constexpr uint32_t flags = LZMA_CONCATENATED | LZMA_TELL_UNSUPPORTED_CHECK;
  CHECK(lzma_stream_decoder(&stream_->xz, xz_memory_bytes_max, flags) == LZMA_OK);
}
XzReader::~XzReader() = default;

namespace {

Result<> complaint_of(lzma_ret status) {
  switch (status) {
    case LZMA_OK:
    case LZMA_STREAM_END:
    case LZMA_BUF_ERROR: return {};  // says only that there was nothing to do
    case LZMA_FORMAT_ERROR: return fail(Kind::Invalid, "xz: not xz");
    case LZMA_MEM_ERROR: return fail(Kind::Exhausted, "xz: no memory");
    case LZMA_MEMLIMIT_ERROR:
      return fail(Kind::Unsupported,
                  cat("xz: needs more than ", xz_memory_bytes_max >> 20, " MiB of memory"));
    case LZMA_OPTIONS_ERROR:
    case LZMA_UNSUPPORTED_CHECK: return fail(Kind::Unsupported, "xz: of a kind that is not known");
    default: return fail(Kind::Invalid, "xz: damaged");
  }
}

}  // namespace

Result<CodingStep> XzReader::step(std::string_view input, std::span<char> output) {
  lzma_stream& xz = stream_->xz;
  xz.next_in = reinterpret_cast<const uint8_t*>(input.data());
  xz.avail_in = input.size();
  xz.next_out = reinterpret_cast<uint8_t*>(output.data());
  xz.avail_out = output.size();
  while (xz.avail_out != 0) {
    const size_t left_in = xz.avail_in, left_out = xz.avail_out;
    TRY(complaint_of(lzma_code(&xz, LZMA_RUN)));
    if (xz.avail_in == left_in && xz.avail_out == left_out) break;
  }
  return CodingStep{.consumed = input.size() - xz.avail_in,
                    .produced = output.size() - xz.avail_out};
}

Result<> XzReader::finish() {
  lzma_stream& xz = stream_->xz;
  uint8_t nothing = 0;
  xz.next_in = nullptr;
  xz.next_out = &nothing;
  xz.avail_in = xz.avail_out = 0;
  const lzma_ret status = lzma_code(&xz, LZMA_FINISH);
  TRY(complaint_of(status));
  if (status == LZMA_STREAM_END) return {};
  return fail(Kind::Invalid, "xz: the stream ends in the middle");
}

}  // namespace nacelle::codec::foreign
