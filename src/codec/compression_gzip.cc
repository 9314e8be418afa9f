#include "codec/compression_gzip.h"

#include <limits>

#include <zlib.h>

#include "base/check.h"

#ifdef NACELLE_ISAL
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#endif

namespace nacelle::codec::gzip {
namespace {

// Both libraries count in 32 bits.
constexpr size_t piece_bytes_max = 1u << 30;

}  // namespace

struct ZlibInflate::Stream {
  z_stream zlib{};
};

ZlibInflate::ZlibInflate() : stream_(std::make_unique<Stream>()) {
  // A negative window: no header and no trailer are to be expected. What can fail is memory.
  CHECK(inflateInit2(&stream_->zlib, -MAX_WBITS) == Z_OK);
}
ZlibInflate::~ZlibInflate() { inflateEnd(&stream_->zlib); }

void ZlibInflate::start() {
  CHECK(inflateReset(&stream_->zlib) == Z_OK);
  crc_ = 0;
}

InflateStep ZlibInflate::step(std::string_view input, std::span<char> output) {
  z_stream& zlib = stream_->zlib;
  const size_t input_size = std::min(input.size(), piece_bytes_max);
  const size_t output_size = std::min(output.size(), piece_bytes_max);
  zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
  zlib.avail_in = static_cast<uInt>(input_size);
  zlib.next_out = reinterpret_cast<Bytef*>(output.data());
  zlib.avail_out = static_cast<uInt>(output_size);
  const int status = inflate(&zlib, Z_NO_FLUSH);
  CHECK(status != Z_MEM_ERROR);
  InflateStep done;
  done.consumed = input_size - zlib.avail_in;
  done.produced = output_size - zlib.avail_out;
  done.ended = status == Z_STREAM_END;
  // Z_BUF_ERROR says only that there was nothing to do.
  done.damaged = status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR;
  crc_ = crc32_after(crc_, {output.data(), done.produced});
  return done;
}

#ifdef NACELLE_ISAL

uint32_t crc32_after(uint32_t crc, std::string_view bytes) {
  return crc32_gzip_refl(crc, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

struct IsalInflate::Stream {
  inflate_state isal;
};

// Not value-initialized: most of its 90 KB are buffers.
IsalInflate::IsalInflate() : stream_(std::make_unique_for_overwrite<Stream>()) {}
IsalInflate::~IsalInflate() = default;

void IsalInflate::start() {
  isal_inflate_init(&stream_->isal);
  stream_->isal.crc_flag = ISAL_GZIP_NO_HDR;  // the checksum is made, and compared by us
  ahead_size_ = 0;
}

InflateStep IsalInflate::step(std::string_view input, std::span<char> output) {
  inflate_state& isal = stream_->isal;
  const size_t input_size = std::min(input.size(), piece_bytes_max);
  const size_t output_size = std::min(output.size(), piece_bytes_max);
  isal.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(input.data()));
  isal.avail_in = static_cast<uint32_t>(input_size);
  isal.next_out = reinterpret_cast<uint8_t*>(output.data());
  isal.avail_out = static_cast<uint32_t>(output_size);
  const int status = isal_inflate(&isal);
  InflateStep done;
  done.consumed = input_size - isal.avail_in;
  done.produced = output_size - isal.avail_out;
  done.damaged = status != ISAL_DECOMP_OK;
  done.ended = !done.damaged && isal.block_state == ISAL_BLOCK_FINISH;
  if (done.ended) {
    // Whole bytes it has read but not used; bits of the last used byte come first.
    const auto bits = static_cast<size_t>(isal.read_in_length);
    uint64_t ahead = isal.read_in >> bits % 8;
    for (ahead_size_ = 0; ahead_size_ < bits / 8; ahead >>= 8) {
      ahead_[ahead_size_++] = static_cast<char>(ahead);
    }
  }
  return done;
}

uint32_t IsalInflate::crc() const { return stream_->isal.crc; }

#else

uint32_t crc32_after(uint32_t crc, std::string_view bytes) {
  return static_cast<uint32_t>(
      crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

#endif

}  // namespace nacelle::codec::gzip
