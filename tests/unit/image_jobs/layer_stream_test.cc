// The bounds of a layer's stream, which has its own way of decompressing.
#include "image/unpack_stream.h"
#include "tests/unit/image_jobs/job_test.h"

namespace nacelle::image {
namespace {

std::string compressed(codec::Compression compression, std::string_view text) {
  const Fd file = memory_file();
  const auto stream = StreamOutput::open(file, compression);
  EXPECT_TRUE(stream && (*stream)->append(text) && (*stream)->finish());
  return content_of(file);
}

// How the stream ends: with so many bytes, or an error.
std::string outcome(const std::string& bytes, ExpansionLimits limits) {
  const Fd file = memory_file(bytes);
  const UnpackRequest request;
  const auto stream = LayerStream::start(file, request, limits);
  if (!stream) return stream.error().message();
  uint64_t total = 0;
  while (true) {
    const auto part = (*stream)->next();
    if (!part) return part.error().message();
    if (!*part) continue;
    if ((*part)->empty()) return cat(total, " bytes");
    total += (*part)->size();
  }
}

TEST(LayerStream, grows_no_further_than_its_limits) {
  const std::string zeros(8u << 20, '\0');
  for (const auto compression : {codec::Compression::Gzip, codec::Compression::Zstd}) {
    const std::string bomb = compressed(compression, zeros);
    EXPECT_EQ(outcome(bomb, {.free_bytes = 1u << 20, .factor = 10}),
              "a compressed stream that grows to more than 10 times its size");
    EXPECT_EQ(outcome(bomb, {.free_bytes = 8u << 20, .factor = 10}), "8388608 bytes");
    EXPECT_EQ(outcome(bomb, {}), "8388608 bytes");
  }
  // What is not compressed does not grow.
  EXPECT_EQ(outcome(zeros, {.free_bytes = 0, .factor = 1}), "8388608 bytes");
}

}  // namespace
}  // namespace nacelle::image
