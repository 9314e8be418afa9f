// What our writer writes, our reader reads, in chunks of any size.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/text.h"
#include "tests/unit/codec_tar/tar_walk.h"

namespace nacelle::codec::tar {
namespace {

Member file(std::string name, std::string content) {
  Member member;
  member.entry = {.type = Type::File,
                  .name = std::move(name),
                  .size = content.size(),
                  .mode = 0644,
                  .user = 1000,
                  .group = 100,
                  .modified = {1'700'000'000, 0}};
  member.content = std::move(content);
  return member;
}

Member other(Type type, std::string name, std::string target = {}) {
  Member member;
  member.entry = {
      .type = type, .name = std::move(name), .link_target = std::move(target), .mode = 0755};
  return member;
}

std::string of_length(size_t bytes) {
  std::string out;
  for (size_t i = 0; i < bytes; ++i) out += static_cast<char>('a' + i % 26);
  return out;
}

std::vector<Member> varied() {
  std::vector<Member> all = {
      other(Type::Directory, "etc"),
      file("etc/hostname", "nacelle\n"),
      file("empty", ""),
      file("block", of_length(512)),
      file("block-and-one", of_length(513)),
      file("large", of_length(70'000)),
      other(Type::Symlink, "etc/mtab", "../proc/self/mounts"),
      other(Type::HardLink, "etc/again", "etc/hostname"),
      other(Type::Fifo, "pipe"),
      other(Type::Symlink, "long-target", of_length(300)),
      other(Type::HardLink, "long-link", of_length(101)),
      file(of_length(100), "name of 100"),
      file(of_length(101), "name of 101"),
      file(cat(of_length(155), '/', of_length(100)), "fills ustar"),
      file(cat(of_length(156), '/', of_length(100)), "prefix too long"),
      file(cat(of_length(90), '/', of_length(101)), "no place to cut"),
      file(of_length(4096), "as long as may be"),
      other(Type::Directory, of_length(99)),
      other(Type::Directory, of_length(100)),
      other(Type::Directory, cat(of_length(155), '/', of_length(99))),
      other(Type::Directory, cat(of_length(155), '/', of_length(100))),
      file("caf\xc3\xa9", "composed"),
      file("cafe\xcc\x81", "decomposed"),
      file("latin1-\xe9\xff", "not UTF-8"),
      file(cat("latin1-\xe9", of_length(200)), "long and not UTF-8"),
      file("new\nline and = sign", "x"),
  };
  all.push_back(other(Type::CharacterDevice, "dev/null"));
  all.back().entry.device_major = 1;
  all.back().entry.device_minor = 3;
  all.push_back(other(Type::BlockDevice, "dev/sda"));
  all.back().entry.device_major = 4095;
  all.back().entry.device_minor = 1048575;
  return all;
}

std::vector<Member> odd_numbers() {
  std::vector<Member> all;
  constexpr int64_t lowest = std::numeric_limits<int64_t>::min();
  constexpr int64_t highest = std::numeric_limits<int64_t>::max();
  for (const Time time :
       {Time{0, 0}, Time{-1, 0}, Time{-1, 500'000'000}, Time{-1, 999'999'999}, Time{-2, 1},
        Time{1, 1}, Time{1, 100'000'000}, Time{8'589'934'591, 0}, Time{8'589'934'592, 0},
        Time{lowest, 0}, Time{lowest + 1, 7}, Time{highest, 999'999'999}}) {
    all.push_back(file("time", "t"));
    all.back().entry.modified = time;
  }
  for (const uint32_t id : {0u, 2'097'151u, 2'097'152u, 4'294'967'294u}) {
    all.push_back(file("owner", ""));
    all.back().entry.user = id;
    all.push_back(file("owner", ""));
    all.back().entry.group = id;
  }
  for (const uint32_t mode : {0u, 04755u, 01777u, 07777u}) {
    all.push_back(file("mode", ""));
    all.back().entry.mode = mode;
  }
  return all;
}

std::vector<Member> with_xattrs() {
  std::vector<Member> all = {file("plain", "p"), other(Type::Directory, "directory"),
                             file("many", "")};
  all[0].entry.xattrs = {{"security.capability", std::string("\1\0\0\2\n=\xff", 7)},
                         {"user.=equals=", "a=b"},
                         {"user.empty", ""},
                         {"user.per%cent", std::string(1, '\0')}};
  all[1].entry.xattrs = {{"trusted.overlay.opaque", "y"}, {"user.big", std::string(65536, 'x')}};
  for (size_t i = 0; i < xattrs_max; ++i) {
    all[2].entry.xattrs.emplace_back(cat("user.", 1000 + i), of_length(i));
  }
  return all;
}

void expect_round_trip(const std::vector<Member>& members) {
  const std::string bytes = write_archive(members);
  Archive expected;
  expected.members = members;
  for (Member& member : expected.members) {
    if (!member.content.empty()) member.pieces = {{0, member.content}};
  }
  for (const size_t chunk :
       {SIZE_MAX, size_t{1}, size_t{7}, size_t{511}, size_t{512}, size_t{513}, size_t{4096}}) {
    const Archive read = read_archive(bytes, chunk);
    std::string difference;
    EXPECT_TRUE(same(expected, read, difference)) << difference << " in chunks of " << chunk;
    EXPECT_TRUE(read.ended);
  }
}

TEST(TarRoundTrip, entries_of_every_type_and_length_of_name) { expect_round_trip(varied()); }
TEST(TarRoundTrip, numbers_that_ustar_has_no_room_for) { expect_round_trip(odd_numbers()); }
TEST(TarRoundTrip, extended_attributes) { expect_round_trip(with_xattrs()); }

TEST(TarRoundTrip, the_same_entries_give_the_same_bytes_whatever_the_order_of_xattrs) {
  std::vector<Member> members = with_xattrs();
  const std::string bytes = write_archive(members);
  std::ranges::reverse(members[0].entry.xattrs);
  std::ranges::reverse(members[2].entry.xattrs);
  EXPECT_EQ(write_archive(members), bytes);
}

TEST(TarRoundTrip, an_archive_without_entries) {
  const std::string bytes = write_archive({});
  EXPECT_EQ(bytes, std::string(1024, '\0'));
  const Archive read = read_archive(bytes);
  EXPECT_TRUE(read.ended);
  EXPECT_EQ(read.error, "");
}

// A header of 16 GiB is all that this size costs.
TEST(TarRoundTrip, sizes_beyond_ustar) {
  for (const uint64_t size : {uint64_t{8'589'934'591}, uint64_t{8'589'934'592},
                              uint64_t{std::numeric_limits<int64_t>::max()}}) {
    Entry entry{.name = "large", .size = size};
    std::string bytes;
    ASSERT_TRUE(Writer().begin_entry(entry, bytes));
    Reader reader;
    std::string_view input = bytes;
    const auto event = reader.next(input);
    ASSERT_TRUE(event) << event.error().message();
    EXPECT_EQ(*event, Reader::Event::Entry);
    EXPECT_EQ(reader.entry().size, size);
  }
}

TEST(TarRoundTrip, data_is_not_copied) {
  const std::string bytes = write_archive({file("a", of_length(100'000))});
  Reader reader;
  std::string_view input = bytes;
  ASSERT_EQ(*reader.next(input), Reader::Event::Entry);
  ASSERT_EQ(*reader.next(input), Reader::Event::Data);
  EXPECT_EQ(reader.data().data(), bytes.data() + 512);
  EXPECT_EQ(reader.data().size(), 100'000u);
  EXPECT_EQ(reader.position(), 100'512u);
  EXPECT_EQ(*reader.next(input), Reader::Event::EntryEnd);
  EXPECT_EQ(*reader.next(input), Reader::Event::End);
}

TEST(TarWriter, refuses_what_would_read_back_as_something_else) {
  struct Case {
    Entry entry;
    const char* complaint;
  };
  std::vector<std::pair<std::string, std::string>> many;
  for (size_t i = 0; i <= xattrs_max; ++i) many.emplace_back(cat("user.", i), "");
  std::vector<std::pair<std::string, std::string>> large;
  for (size_t i = 0; i < 17; ++i) large.emplace_back(cat("user.", i), std::string(65536, 'x'));
  const Case cases[] = {
      {{.name = ""}, "name: empty"},
      {{.name = std::string("a\0b", 3)}, "name: a NUL"},
      {{.name = std::string(4097, 'n')}, "name: longer than 4096 bytes"},
      {{.name = "file/"}, "a file with the name of a directory"},
      {{.type = Type::Symlink, .name = "l"}, "link target: empty"},
      {{.type = Type::HardLink, .name = "l"}, "link target: empty"},
      {{.type = Type::Symlink, .name = "l", .link_target = std::string("\0", 1)},
       "link target: a NUL"},
      {{.type = Type::Symlink, .name = "l", .link_target = std::string(4097, 'n')},
       "link target: longer"},
      {{.name = "f", .size = uint64_t{1} << 63}, "size: out of range"},
      {{.name = "f", .modified = {0, 1'000'000'000}}, "time: "},
      {{.type = Type::BlockDevice, .name = "d", .device_major = 1u << 21}, "device number"},
      {{.type = Type::BlockDevice, .name = "d", .device_minor = 1u << 21}, "device number"},
      {{.name = "f", .xattrs = {{"", "x"}}}, "extended attribute: empty"},
      {{.name = "f", .xattrs = {{std::string("a\0", 2), "x"}}}, "extended attribute: a NUL"},
      {{.name = "f", .xattrs = {{"user.a", "1"}, {"user.a", "2"}}}, "two extended attributes"},
      {{.name = "f", .xattrs = {{"user.a", std::string(65537, 'x')}}}, "longer than 65536"},
      {{.name = "f", .xattrs = many}, "more than 256 extended"},
      {{.name = "f", .xattrs = large}, "PAX header: more than 1048576 bytes"},
  };
  for (const Case& c : cases) {
    std::string out;
    const auto begun = Writer().begin_entry(c.entry, out);
    ASSERT_FALSE(begun) << c.complaint;
    EXPECT_NE(begun.error().message().find(c.complaint), std::string::npos)
        << begun.error().message();
    EXPECT_EQ(out, "") << c.complaint;
  }
}

}  // namespace
}  // namespace nacelle::codec::tar
