#include "codec/compression.h"

#include <sys/resource.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <lzma.h>
#include <zstd.h>

#include "streams.h"

namespace nacelle::codec {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using testing::compress;
using testing::decompress;
using testing::Member;
using testing::mixed_bytes;

constexpr Compression both[] = {Compression::Gzip, Compression::Zstd};
constexpr Compression read[] = {Compression::Gzip, Compression::Zstd, Compression::Bzip2,
                                Compression::Xz};
// Their libraries take memory for each stream that is begun: not all cases are tried with them.
size_t stride_of(Compression compression) {
  return compression == Compression::Bzip2 || compression == Compression::Xz ? 13 : 1;
}
constexpr Compression every[] = {Compression::None, Compression::Gzip, Compression::Zstd,
                                 Compression::Bzip2, Compression::Xz};

std::string zstd_frame(std::string_view bytes, int window_log = 0, bool checksum = false) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum ? 1 : 0);
  if (window_log != 0) ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  std::string out(ZSTD_compressBound(bytes.size()) + 64, '\0');
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  // In two pieces: a frame whose size is known in advance has a window of that size, no more.
  ZSTD_inBuffer first{bytes.data(), bytes.size() / 2, 0};
  while (first.pos < first.size) ZSTD_compressStream2(context, &to, &first, ZSTD_e_continue);
  ZSTD_inBuffer rest{bytes.data() + first.size, bytes.size() - first.size, 0};
  EXPECT_EQ(ZSTD_compressStream2(context, &to, &rest, ZSTD_e_end), 0u);
  ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

std::string skippable(char number, std::string_view bytes) {
  std::string out = {static_cast<char>(0x50 + number), '\x2a', '\x4d', '\x18'};
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(bytes.size() >> shift);
  return out += bytes;
}

void expect_refused(Compression compression, std::string_view stream, std::string_view complaint,
                    Kind kind = Kind::Invalid) {
  // However the bytes arrive, the answer is the same.
  for (const testing::Steps steps : {testing::Steps{}, {.input = 1}, {.output = 1}}) {
    const auto out = decompress(compression, stream, steps);
    ASSERT_FALSE(out) << complaint;
    EXPECT_EQ(out.error().kind(), kind);
    EXPECT_NE(out.error().message().find(complaint), std::string::npos) << out.error().message();
  }
}

TEST(Compression, is_detected_by_its_first_bytes) {
  const std::pair<std::string_view, Compression> cases[] = {
      {"\x1f\x8b\x08\x00"sv, Compression::Gzip},
      {"\x28\xb5\x2f\xfd", Compression::Zstd},
      {"\x50\x2a\x4d\x18", Compression::Zstd},
      {"\x5f\x2a\x4d\x18", Compression::Zstd},
      {"\x60\x2a\x4d\x18", Compression::None},
      {"\x4f\x2a\x4d\x18", Compression::None},
      {"", Compression::None},
      {"\x1f", Compression::None},
      {"\x28\xb5\x2f", Compression::None},
      {"\x25\xb5\x2f\xfd", Compression::None},  // zstd before its standard
      {"BZh91AY&SY", Compression::Bzip2},
      {"\xfd"
       "7zXZ\0"sv,
       Compression::Xz},
      {"\xfd"
       "7zXZ",
       Compression::None},
      {"./etc/passwd", Compression::None},
      {"\0\0\0\0"sv, Compression::None},
  };
  for (const auto& [bytes, expected] : cases) {
    EXPECT_EQ(detect_compression(bytes), expected) << bytes;
  }
}

TEST(Compression, bzip2_and_xz_are_not_written) {
  EXPECT_FALSE(Compressor::make(Compression::Bzip2));
  EXPECT_FALSE(Compressor::make(Compression::Xz));
}

TEST(Compression, has_names) {
  EXPECT_EQ(to_string(Compression::None), "none");
  EXPECT_EQ(to_string(Compression::Gzip), "gzip");
  EXPECT_EQ(to_string(Compression::Zstd), "zstd");
  EXPECT_EQ(to_string(Compression::Bzip2), "bzip2");
  EXPECT_EQ(to_string(Compression::Xz), "xz");
}

TEST(Compression, round_trips_in_steps_of_every_size) {
  const std::string large = mixed_bytes(300'000);
  for (const Compression compression : every) {
    const auto some = std::string_view(large).substr(0, large.size() / stride_of(compression));
    for (const std::string_view bytes : {some, "a"sv, "\0"sv}) {
      const std::string stream = compress(compression, bytes);
      EXPECT_EQ(detect_compression(stream), compression);
      for (const size_t input : {size_t{1}, size_t{7}, size_t{4096}, testing::all_at_once}) {
        for (const size_t output : {size_t{1}, size_t{13}, size_t{32768}, size_t{1} << 20}) {
          const auto out = decompress(compression, stream, {.input = input, .output = output});
          ASSERT_TRUE(out) << out.error().message();
          ASSERT_TRUE(*out == bytes) << input << " into " << output;
        }
      }
    }
  }
}

TEST(Compression, of_nothing_is_a_stream_too) {
  for (const Compression compression : every) {
    const auto out = decompress(compression, compress(compression, ""));
    ASSERT_TRUE(out);
    EXPECT_EQ(*out, "");
  }
}

TEST(Compression, makes_the_same_bytes_however_the_input_is_cut) {
  const std::string bytes = mixed_bytes(200'000);
  for (const Compression compression : every) {
    const std::string whole = compress(compression, bytes);
    for (const size_t step : {size_t{1000}, size_t{4096}, size_t{65536}, bytes.size() - 1}) {
      EXPECT_TRUE(compress(compression, bytes, step) == whole) << to_string(compression) << step;
    }
    const std::string few = bytes.substr(0, 2000);
    EXPECT_TRUE(compress(compression, few, 1) == compress(compression, few));
  }
}

TEST(Compression, takes_levels_and_refuses_what_are_none) {
  const std::string bytes = mixed_bytes(500'000);
  for (const Compression compression : both) {
    const std::string fast = compress(compression, bytes, testing::all_at_once, 1);
    const std::string small = compress(compression, bytes, testing::all_at_once, 9);
    EXPECT_LT(small.size(), fast.size());
    EXPECT_EQ(*decompress(compression, fast), bytes);
    EXPECT_EQ(*decompress(compression, small), bytes);
  }
  EXPECT_TRUE(compress(Compression::Gzip, bytes) == compress(Compression::Gzip, bytes, 5000, 6));
  EXPECT_EQ(*decompress(Compression::Zstd, compress(Compression::Zstd, bytes, 100'000, 19)), bytes);
  for (const auto& [compression, level] : {std::pair{Compression::Gzip, 10},
                                           {Compression::Gzip, -1},
                                           {Compression::Zstd, 20},
                                           {Compression::Zstd, -5},
                                           {Compression::Zstd, 1 << 30}}) {
    const auto compressor = Compressor::make(compression, level);
    ASSERT_FALSE(compressor);
    EXPECT_EQ(compressor.error().kind(), Kind::Invalid);
  }
}

TEST(Compression, gzip_says_nothing_of_when_and_where) {
  const std::string stream = compress(Compression::Gzip, "x");
  EXPECT_EQ(stream.substr(0, 10), "\x1f\x8b\x08\0\0\0\0\0\0\x03"sv);
}

TEST(Compression, streams_in_a_row_are_one) {
  const std::string bytes = mixed_bytes(50'000);
  for (const Compression compression : read) {
    const std::string stream =
        compress(compression, bytes) + compress(compression, "") + compress(compression, "end");
    for (const testing::Steps steps : {testing::Steps{}, {.input = 1}, {.output = 1}}) {
      const auto out = decompress(compression, stream, steps);
      ASSERT_TRUE(out) << out.error().message();
      EXPECT_EQ(*out, bytes + "end");
    }
  }
}

TEST(Compression, zeros_after_the_end_are_padding) {
  for (const Compression compression : both) {
    const std::string stream = compress(compression, "contents");
    for (const size_t zeros : {1, 2, 3, 511, 10240}) {
      for (const testing::Steps steps : {testing::Steps{}, {.input = 1}}) {
        const auto out = decompress(compression, stream + std::string(zeros, '\0'), steps);
        ASSERT_TRUE(out) << out.error().message();
        EXPECT_EQ(*out, "contents");
      }
    }
    expect_refused(compression, stream + "\0\0x"s, "after padding");
    expect_refused(compression, stream + "\0"s + stream, "after padding");
    expect_refused(compression, std::string(512, '\0'), "not ");
  }
}

TEST(Bzip2, zeros_after_the_end_are_padding) {
  const std::string stream = compress(Compression::Bzip2, "contents");
  EXPECT_EQ(*decompress(Compression::Bzip2, stream + std::string(511, '\0')), "contents");
  expect_refused(Compression::Bzip2, stream + "\0x"s, "after padding");
  expect_refused(Compression::Bzip2, stream + "garbage", "after the end");
  expect_refused(Compression::Bzip2, "BZip me", "not bzip2");
}

TEST(Xz, padding_is_of_four_zeros_and_may_come_in_between) {
  const std::string stream = compress(Compression::Xz, "contents");
  const std::string padded = stream + std::string(8, '\0') + stream + std::string(4, '\0');
  EXPECT_EQ(*decompress(Compression::Xz, padded), "contentscontents");
  expect_refused(Compression::Xz, stream + "\0\0\0"s, "xz: ");
  expect_refused(Compression::Xz, stream + "garbage", "xz: ");
  expect_refused(Compression::Xz,
                 "\xfd"
                 "7zip me, whoever you are",
                 "not xz");
}

TEST(Xz, refuses_a_dictionary_beyond_the_limit) {
  lzma_options_lzma options;
  ASSERT_EQ(lzma_lzma_preset(&options, 9), false);
  for (const uint32_t dictionary : {64u << 20, 256u << 20}) {
    options.dict_size = dictionary;
    lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
    std::string stream(1024, '\0');
    size_t used = 0;
    ASSERT_EQ(lzma_stream_buffer_encode(
                  filters, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const uint8_t*>("contents"),
                  8, reinterpret_cast<uint8_t*>(stream.data()), &used, stream.size()),
              LZMA_OK);
    stream.resize(used);
    if (dictionary <= xz_memory_bytes_max) {
      EXPECT_EQ(*decompress(Compression::Xz, stream), "contents");
    } else {
      expect_refused(Compression::Xz, stream, "needs more than 66 MiB", Kind::Unsupported);
    }
  }
}

TEST(Compression, other_bytes_after_the_end_are_refused) {
  for (const Compression compression : both) {
    const std::string stream = compress(compression, "contents");
    for (const std::string_view more : {"garbage!"sv, "\x1e...."sv, "./etc/passwd"sv}) {
      expect_refused(compression, stream + std::string(more), "after the end");
    }
  }
  expect_refused(Compression::Gzip, compress(Compression::Gzip, "a") + "\x1f\x8c", "not gzip");
  expect_refused(Compression::Gzip,
                 compress(Compression::Gzip, "a") + compress(Compression::Zstd, "b"),
                 "after the end");
}

// Goal: no prefix of a stream passes for the whole. Method: every one of a small stream, in both
// forms of stepping; what came out until then is a prefix too.
TEST(Compression, a_stream_cut_anywhere_is_refused) {
  const std::string bytes = mixed_bytes(600);
  for (const Compression compression : read) {
    const std::string stream = compress(compression, bytes);
    const size_t stride = stride_of(compression);
    for (size_t cut = 0; cut < stream.size(); cut += stride) {
      expect_refused(compression, std::string_view(stream).substr(0, cut), "in the middle");
    }
    // The second of two is no different, but for the cut between them.
    for (size_t cut = 1; cut < stream.size(); cut += stride) {
      expect_refused(compression, stream + stream.substr(0, cut), "in the middle");
    }
  }
}

// Goal: damage is noticed, wherever it is. Method: every bit of a small stream, one at a time:
// either the stream is refused or (in the fields nothing depends on) the contents are the same.
TEST(Compression, a_flipped_bit_never_changes_the_contents_in_silence) {
  const std::string bytes = mixed_bytes(300);
  for (const Compression compression : read) {
    const std::string stream = compress(compression, bytes);
    size_t refused = 0, tried = 0;
    for (size_t bit = 0; bit < stream.size() * 8; bit += stride_of(compression), ++tried) {
      std::string damaged = stream;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      const auto whole = decompress(compression, damaged);
      const auto stepped = decompress(compression, damaged, {.input = 1, .output = 1});
      EXPECT_EQ(whole.has_value(), stepped.has_value()) << "bit " << bit;
      if (whole) {
        EXPECT_EQ(*whole, bytes) << "bit " << bit;
      } else {
        ++refused;
      }
    }
    // gzip's time, extra flags, system, and the text flag: 4 + 1 + 1 bytes and a bit may differ.
    EXPECT_GE(refused, tried - 60) << to_string(compression);
  }
}

TEST(Compression, after_an_error_there_is_no_way_back) {
  Decompressor decompressor = *Decompressor::make(Compression::Gzip);
  std::vector<char> room(100);
  ASSERT_FALSE(decompressor.step("not gzip", room));
  EXPECT_FALSE(decompressor.step(compress(Compression::Gzip, "good"), room));
  EXPECT_FALSE(decompressor.finish());
}

// RFC 1952 section 2.3.1: each optional field of a header, alone and all together.
TEST(Gzip, passes_over_the_fields_of_a_header) {
  const std::string fixed = "\x1f\x8b\x08";
  const auto with_checksum = [&](uint8_t flags, const std::string& fields) {
    const std::string header =
        fixed + static_cast<char>(flags) + std::string(4, '\0') + "\x02\x03" + fields;
    return fields + testing::header_checksum(header);
  };
  const std::string extra = "\x05\0apple"s;
  const std::string long_extra = "\xff\xff"s + std::string(65535, 'e');
  const std::string name = "layer.tar\0"s;
  const std::string comment = "said\0"s;
  const Member members[] = {
      {.bytes = "text", .flags = 1},
      {.bytes = "crc", .flags = 2, .fields = with_checksum(2, "")},
      {.bytes = "extra", .flags = 4, .fields = extra},
      {.bytes = "no extra", .flags = 4, .fields = "\0\0"s},
      {.bytes = "long extra", .flags = 4, .fields = long_extra},
      {.bytes = "name", .flags = 8, .fields = name},
      {.bytes = "no name", .flags = 8, .fields = "\0"s},
      {.bytes = "comment", .flags = 16, .fields = comment},
      {.bytes = "extra, crc", .flags = 6, .fields = with_checksum(6, extra)},
      {.bytes = "name, crc", .flags = 10, .fields = with_checksum(10, name)},
      {.bytes = "all", .flags = 31, .fields = with_checksum(31, extra + name + comment)},
      {.bytes = "all, long",
       .flags = 31,
       .fields = with_checksum(31, long_extra + std::string(100'000, 'n') + "\0"s + comment)},
  };
  std::string stream;
  std::string bytes;
  for (const Member& member : members) {
    for (const testing::Steps steps : {testing::Steps{}, {.input = 1}, {.output = 1}}) {
      const auto out = decompress(Compression::Gzip, member.text(), steps);
      ASSERT_TRUE(out) << member.bytes << ": " << out.error().message();
      EXPECT_EQ(*out, member.bytes);
    }
    stream += member.text();
    bytes += member.bytes;
  }
  EXPECT_EQ(*decompress(Compression::Gzip, stream), bytes);
}

TEST(Gzip, refuses_a_member_that_contradicts_itself) {
  const Member wrong_crc{.bytes = "contents", .crc_change = 1};
  const Member wrong_size{.bytes = "contents", .size_change = 1};
  const Member wrong_header{.bytes = "contents", .flags = 2, .fields = "\x12\x34"};
  expect_refused(Compression::Gzip, wrong_crc.text(), "wrong checksum of the contents");
  expect_refused(Compression::Gzip, wrong_size.text(), "wrong size");
  expect_refused(Compression::Gzip, wrong_header.text(), "wrong checksum of a header");
  expect_refused(Compression::Gzip, Member{.bytes = "good"}.text() + wrong_crc.text(),
                 "wrong checksum of the contents");
  for (const uint8_t flag : std::initializer_list<uint8_t>{0x20, 0x40, 0x80}) {
    expect_refused(Compression::Gzip, Member{.bytes = "x", .flags = flag}.text(), "reserved");
  }
  std::string method = Member{.bytes = "x"}.text();
  method[2] = 7;
  expect_refused(Compression::Gzip, method, "other than deflate");
  expect_refused(Compression::Gzip, "plain text, of no kind", "not gzip");
  expect_refused(Compression::Gzip, "\x1f\x9d\x90 compress", "not gzip");
}

// The damaged deflate streams that each decoder must notice itself: its checks are its own.
TEST(Gzip, refuses_what_is_no_deflate) {
  const std::string header = "\x1f\x8b\x08\0\0\0\0\0\0\x03"s;
  const std::string_view bodies[] = {
      "\x07"sv,                       // a block of the type that does not exist
      "\x01\x05\x00\x00\x00hello"sv,  // a stored block whose length contradicts its complement
      "\x03\x02"sv,                   // a distance before any byte
      "\x4b\x04\x52\x00"sv,           // a distance further back than the start
      "\xfd\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"sv,  // code lengths beyond what fits
  };
  for (const std::string_view body : bodies) {
    const std::string stream = header + std::string(body) + std::string(64, '\x55');
    const auto out = decompress(Compression::Gzip, stream);
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().kind(), Kind::Invalid);
  }
}

TEST(Gzip, stored_blocks_and_long_distances_come_through) {
  // Level 9 of incompressible bytes is stored; a repeat 32 KB back is as far as deflate reaches.
  std::string noise;
  uint32_t state = 7;
  for (size_t at = 0; at < 32768; ++at)
    noise += static_cast<char>((state = state * 69069 + 1) >> 24);
  const std::string bytes = noise + noise + noise;
  const std::string stream = compress(Compression::Gzip, bytes);
  for (const size_t output : {1, 1000, 32767, 32768, 32769, 65536, 200'000}) {
    for (const size_t input : {size_t{1}, size_t{1000}, testing::all_at_once}) {
      ASSERT_EQ(*decompress(Compression::Gzip, stream, {.input = input, .output = output}), bytes);
    }
  }
}

TEST(Zstd, refuses_a_window_above_the_limit) {
  const std::string bytes = mixed_bytes(100'000);
  for (const int window_log : {10, 20, 23}) {
    const auto out = decompress(Compression::Zstd, zstd_frame(bytes, window_log));
    ASSERT_TRUE(out) << window_log;
    EXPECT_EQ(*out, bytes);
  }
  for (const int window_log : {24, 27, 30}) {
    expect_refused(Compression::Zstd, zstd_frame(bytes, window_log), "window", Kind::Unsupported);
  }
  // A frame that says its size instead of a window: 2^40 bytes in one segment.
  expect_refused(Compression::Zstd, "\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\x01\0\0\x01\0\0"s, "window",
                 Kind::Unsupported);
}

TEST(Zstd, passes_over_skippable_frames) {
  const std::string frame = zstd_frame("contents", 0, true);
  const std::string large = skippable(15, std::string(100'000, 's'));
  const std::string streams[] = {
      skippable(0, "") + frame,
      skippable(3, "before") + frame,
      frame + skippable(7, "after"),
      skippable(1, "\x28\xb5\x2f\xfd") + skippable(2, "") + frame + large,
      large + frame + skippable(0, "") + std::string(100, '\0'),
  };
  for (const std::string& stream : streams) {
    EXPECT_EQ(detect_compression(stream), Compression::Zstd);
    for (const testing::Steps steps : {testing::Steps{}, {.input = 1}, {.output = 1}}) {
      const auto out = decompress(Compression::Zstd, stream, steps);
      ASSERT_TRUE(out) << out.error().message();
      EXPECT_EQ(*out, "contents");
    }
  }
  const auto nothing = decompress(Compression::Zstd, skippable(0, "only"));
  ASSERT_TRUE(nothing);
  EXPECT_EQ(*nothing, "");
  expect_refused(Compression::Zstd, frame + skippable(0, "cut").substr(0, 9), "in the middle");
  expect_refused(Compression::Zstd, frame + "\x50\x2a\x4d\x18\xff\xff\xff\xff"s, "in the middle");
}

TEST(Zstd, refuses_forms_from_before_the_standard_and_other_magic) {
  for (int version = 0x1e; version <= 0x27; ++version) {
    const std::string stream =
        std::string(1, static_cast<char>(version)) + "\xb5\x2f\xfd" + std::string(20, '\x01');
    expect_refused(Compression::Zstd, stream, "not zstd");
  }
  expect_refused(Compression::Zstd, "\x60\x2a\x4d\x18\0\0\0\0"s, "not zstd");
  expect_refused(Compression::Zstd, "\x28\xb5\x2f\xfc"s, "not zstd");
  expect_refused(Compression::Zstd, zstd_frame("a") + "\x27\xb5\x2f\xfd", "after the end");
}

// Goal: a frame is read as a frame, though what follows its magic number looks like one itself (the
// library, left alone, takes the inner one when input and room are large enough).
TEST(Zstd, looks_for_no_frame_inside_of_a_frame) {
  const std::string magic = "\x28\xb5\x2f\xfd";
  for (const std::string& inner : {skippable(3, "inside"), zstd_frame("inside", 0, true)}) {
    for (const size_t input : {size_t{1}, size_t{4}, size_t{5}, testing::all_at_once}) {
      const auto out = decompress(Compression::Zstd, magic + inner, {.input = input});
      EXPECT_FALSE(out) << input;
    }
  }
}

TEST(Zstd, reads_headers_of_every_length) {
  // One stored block of one byte, at the end; what the header must say about it.
  const std::string block = "\x09\0\0x"s;
  const std::string content_size = "\x01\0\0\0\0\0\0\0"s;
  const std::string large_size = "\0\0"s;  // two bytes hold a size less 256
  struct Case {
    char descriptor;
    std::string fields;
  };
  const Case cases[] = {
      {0x00, "\x50"},     // a window alone
      {0x01, "\x50\0"s},  // and a dictionary's number: none
      {0x02, "\x50\0\0"s},
      {0x03, "\x50\0\0\0\0"s},
      {0x20, content_size.substr(0, 1)},  // one segment, and its size
      {static_cast<char>(0x80), "\x50" + content_size.substr(0, 4)},
      {static_cast<char>(0xc0), "\x50" + content_size},
      {static_cast<char>(0xa0), content_size.substr(0, 4)},
      {static_cast<char>(0xe3), "\0\0\0\0"s + content_size},
      {static_cast<char>(0xc3), "\x50\0\0\0\0"s + content_size},  // 18 bytes
  };
  for (const Case& each : cases) {
    const std::string stream =
        "\x28\xb5\x2f\xfd" + std::string(1, each.descriptor) + each.fields + block;
    for (const testing::Steps steps : {testing::Steps{}, {.input = 1}, {.output = 1}}) {
      const auto out = decompress(Compression::Zstd, stream + stream, steps);
      ASSERT_TRUE(out) << out.error().message() << int{each.descriptor};
      EXPECT_EQ(*out, "xx");
    }
  }
  const std::string wrong = "\x28\xb5\x2f\xfd\x40\x50" + large_size + block;
  expect_refused(Compression::Zstd, wrong, "damaged");
  expect_refused(Compression::Zstd, "\x28\xb5\x2f\xfd\x08\x50" + block, "damaged");  // reserved bit
  expect_refused(Compression::Zstd, "\x28\xb5\x2f\xfd\x01\x50\x07" + block, "ictionary");
}

TEST(Zstd, checks_the_checksum) {
  std::string frame = zstd_frame("contents", 0, true);
  frame.back() = static_cast<char>(frame.back() ^ 1);
  expect_refused(Compression::Zstd, frame, "checksum");
  // Ours carry one.
  std::string ours = compress(Compression::Zstd, "contents");
  ours.back() = static_cast<char>(ours.back() ^ 1);
  expect_refused(Compression::Zstd, ours, "checksum");
}

long memory_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

// Goal: a stream of a few kilobytes that unpacks to a large one costs no memory. Method: 1 GiB of
// zeros through a room of 64 KiB, twice nested members included; the most that was ever resident
// hardly grows.
TEST(Compression, a_bomb_does_not_grow_memory) {
  for (const Compression compression : read) {
    std::string bomb;
    {
      const std::string zeros(16 << 20, '\0');
      const std::string one = compress(compression, zeros, testing::all_at_once, 9);
      for (int member = 0; member < 16; ++member) bomb += one;
    }
    Decompressor decompressor = *Decompressor::make(compression);
    std::vector<char> room(64 << 10);
    const long before = memory_kib();
    uint64_t total = 0;
    std::string_view rest = bomb;
    for (size_t produced = room.size(); produced == room.size();) {
      const auto done = decompressor.step(rest, room);
      ASSERT_TRUE(done) << done.error().message();
      rest.remove_prefix(done->consumed);
      produced = done->produced;
      total += produced;
    }
    EXPECT_TRUE(decompressor.finish());
    EXPECT_EQ(total, uint64_t{16} * (16 << 20));
    EXPECT_GT(total, bomb.size() * 500);
    EXPECT_LT(memory_kib() - before, 20 << 10) << to_string(compression);
  }
}

}  // namespace
}  // namespace nacelle::codec
