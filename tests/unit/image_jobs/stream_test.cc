#include "image/job_stream.h"

#include "tests/unit/image_jobs/job_test.h"

namespace nacelle::image {
namespace {

using codec::Compression;

std::string decoded(const std::string& bytes) {
  const Fd file = memory_file(bytes);
  StreamInput input(file);
  std::string out;
  while (true) {
    const auto part = input.next();
    EXPECT_TRUE(part) << complaint(part);
    if (!part || part->empty()) return out;
    out += *part;
  }
}

std::string refusal(const std::string& bytes, ExpansionLimits limits = {}) {
  const Fd file = memory_file(bytes);
  StreamInput input(file, limits);
  while (true) {
    const auto part = input.next();
    if (!part) return part.error().message();
    if (part->empty()) return "(success)";
  }
}

// Something that compresses, but not to nothing.
std::string some_text(size_t size) {
  std::string text;
  for (uint32_t each = 1; text.size() < size; each = each * 1664525 + 1013904223) {
    text += cat("line ", each >> 16, "\n");
  }
  text.resize(size);
  return text;
}

TEST(StreamOutput, gives_back_what_went_in_and_knows_both_digests) {
  for (const Compression compression : {Compression::None, Compression::Gzip, Compression::Zstd}) {
    for (const size_t size : {0ul, 1ul, 1ul << 20, (1ul << 20) + 1, 9'000'001ul}) {
      const std::string text = some_text(size);
      const Fd file = memory_file();
      {
        const auto stream = StreamOutput::open(file, compression);
        ASSERT_TRUE(stream);
        ASSERT_TRUE((*stream)->append(text));
        const auto totals = (*stream)->finish();
        ASSERT_TRUE(totals) << complaint(totals);
        const std::string written = content_of(file);
        EXPECT_EQ(totals->blob, codec::digest_of(written));
        EXPECT_EQ(totals->diff_id, codec::digest_of(text));
        EXPECT_EQ(totals->blob_bytes, written.size());
        EXPECT_EQ(totals->archive_bytes, size);
        EXPECT_EQ(decoded(written), text) << to_string(compression) << " " << size;
      }
    }
  }
}

TEST(StreamOutput, writes_what_other_tools_read) {
  const std::string text = some_text(5'000'000);
  for (const auto& [compression, tool] :
       {std::pair(Compression::Gzip, "gzip"), std::pair(Compression::Zstd, "zstd")}) {
    const Fd file = memory_file();
    const auto stream = *StreamOutput::open(file, compression);
    ASSERT_TRUE(stream->append(text));
    ASSERT_TRUE(stream->finish());
    const auto read = test::run({tool, "-dc"}, {.input = content_of(file)});
    ASSERT_TRUE(read.ok()) << read.text();
    EXPECT_TRUE(read.out == text);
    EXPECT_LT(content_of(file).size(), text.size() / 3);
  }
}

TEST(StreamOutput, is_the_same_each_time) {
  const std::string text = some_text(6'000'000);
  std::string first;
  for (int run = 0; run < 4; ++run) {
    const Fd file = memory_file();
    const auto stream = *StreamOutput::open(file, Compression::Gzip);
    // In parts of other sizes each time.
    for (size_t at = 0; at < text.size(); at += 10'000 + run * 7'777) {
      ASSERT_TRUE(stream->append(std::string_view(text).substr(at, 10'000 + run * 7'777)));
    }
    ASSERT_TRUE(stream->finish());
    if (run == 0) first = content_of(file);
    EXPECT_TRUE(content_of(file) == first);
  }
}

TEST(StreamOutput, can_be_given_up_at_any_time) {
  const std::string text = some_text(6'000'000);
  const Fd file = memory_file();
  for (const size_t size : {0ul, 5ul, 2'000'000ul, 6'000'000ul}) {
    const auto stream = *StreamOutput::open(file, Compression::Gzip);
    ASSERT_TRUE(stream->append(std::string_view(text).substr(0, size)));
  }
}

TEST(StreamOutput, says_when_nothing_more_can_be_written) {
  const Fd full = *sys::open_at(sys::working_directory, "/dev/full", O_WRONLY);
  for (const Compression compression : {Compression::None, Compression::Gzip, Compression::Zstd}) {
    const auto stream = *StreamOutput::open(full, compression);
    const auto appended = stream->append(some_text(8'000'000));
    const auto finished = stream->finish();
    ASSERT_FALSE(appended && finished);
    EXPECT_EQ((appended ? finished.error() : appended.error()).error_number(), ENOSPC);
  }
}

TEST(StreamInput, reads_members_and_frames_that_follow_each_other) {
  for (const Compression compression : {Compression::Gzip, Compression::Zstd}) {
    EXPECT_EQ(decoded(cat(compressed("one ", compression), compressed("", compression),
                          compressed("two", compression))),
              "one two");
  }
}

TEST(StreamInput, refuses_streams_that_end_early_or_go_on) {
  for (const Compression compression : {Compression::Gzip, Compression::Zstd}) {
    const std::string whole = compressed(some_text(100'000), compression);
    EXPECT_NE(refusal(whole.substr(0, whole.size() - 1)).find("ends in the middle"),
              std::string::npos);
    EXPECT_NE(refusal(whole.substr(0, 20)).find("ends in the middle"), std::string::npos);
    EXPECT_NE(refusal(cat(whole, "more")), "(success)");
  }
}

TEST(StreamInput, refuses_what_grows_too_much) {
  const std::string zeros(4u << 20, '\0');
  for (const std::string& bomb :
       {compressed(zeros, Compression::Gzip), compressed(zeros, Compression::Zstd), as_bzip2(zeros),
        as_xz(zeros)}) {
    EXPECT_EQ(refusal(bomb), "(success)");
    EXPECT_EQ(refusal(bomb, {.free_bytes = 1u << 20, .factor = 100}),
              "a compressed stream that grows to more than 100 times its size");
  }
}

}  // namespace
}  // namespace nacelle::image
