// Headers as hand-made as they need to be: what the reader takes, and the words in which it
// refuses.
#include <gtest/gtest.h>

#include <limits>

#include "base/text.h"
#include "tests/support/hostile_tar.h"
#include "tests/unit/codec_tar/tar_walk.h"

namespace nacelle::codec::tar {
namespace {

using test::pax_record;
using test::tar_base_256;
using test::TarBuilder;
using test::TarHeader;

Member only_member(const TarBuilder& builder) {
  const Archive archive = read_archive(builder.finish());
  EXPECT_EQ(archive.error, "");
  EXPECT_EQ(archive.members.size(), 1u);
  return archive.members.empty() ? Member() : archive.members[0];
}

Entry only(const TarBuilder& builder) { return only_member(builder).entry; }

std::string spaces(std::string_view text, size_t bytes) {
  std::string out(text);
  out.resize(bytes, ' ');
  return out;
}

// Headers ----------------------------------------------------------------------------------------

TEST(TarReader, takes_numbers_as_every_tar_has_written_them) {
  struct Case {
    std::string field;
    uint64_t size;
  };
  const Case cases[] = {
      {std::string("00000000002\0", 12), 2},
      {"000000000002", 2},
      {spaces("       2", 12), 2},
      {std::string("2\0\0\0\0\0\0\0\0\0\0\0", 12), 2},
      {spaces("2", 12), 2},
      {std::string("\0\0\0     2\0\0", 12), 2},
      {std::string(12, '\0'), 0},
      {spaces("", 12), 0},
      {tar_base_256(2, 12), 2},
      {std::string("2\0garbage99", 12), 2},
      {std::string("    2 \0     ", 12), 2},
  };
  for (const Case& c : cases) {
    const TarHeader header = TarHeader('0', "f").at(124, c.field);
    EXPECT_EQ(only(TarBuilder().header(header).content(std::string(c.size, 'x'))).size, c.size)
        << c.field;
  }
}

TEST(TarReader, takes_signed_and_unsigned_sums) {
  const TarHeader header = TarHeader('0', "\xff\xfe\x80");
  EXPECT_EQ(only(TarBuilder().header(header)).name, "\xff\xfe\x80");
  EXPECT_EQ(only(TarBuilder().header(TarHeader(header).signed_sum())).name, "\xff\xfe\x80");
}

TEST(TarReader, joins_a_prefix_where_the_format_has_one) {
  const TarHeader ustar = TarHeader('0', "name").prefix("some/where");
  EXPECT_EQ(only(TarBuilder().header(ustar)).name, "some/where/name");
  EXPECT_EQ(only(TarBuilder().header(TarHeader(ustar).gnu())).name, "name");
  EXPECT_EQ(only(TarBuilder().header(TarHeader(ustar).v7())).name, "name");
  // star has 131 bytes, and times after them.
  const TarHeader star = TarHeader('0', "name")
                             .prefix(std::string(131, 'p'))
                             .at(345 + 131, "00000000001 00000000002 ")
                             .at(508, std::string_view("tar\0", 4));
  EXPECT_EQ(only(TarBuilder().header(star)).name, cat(std::string(131, 'p'), "/name"));
  const TarHeader full = TarHeader('0', std::string(100, 'n')).prefix(std::string(155, 'p'));
  EXPECT_EQ(only(TarBuilder().header(full)).name.size(), 256u);
}

TEST(TarReader, takes_the_types_that_layers_have) {
  const std::pair<char, Type> types[] = {
      {'0', Type::File},        {'\0', Type::File},     {'7', Type::File},
      {'1', Type::HardLink},    {'2', Type::Symlink},   {'3', Type::CharacterDevice},
      {'4', Type::BlockDevice}, {'5', Type::Directory}, {'6', Type::Fifo},
  };
  for (const auto& [flag, type] : types) {
    EXPECT_EQ(only(TarBuilder().header(TarHeader(flag, "n").link("t"))).type, type) << flag;
    const bool link = type == Type::HardLink || type == Type::Symlink;
    EXPECT_EQ(only(TarBuilder().header(TarHeader(flag, "n").link("t"))).link_target,
              link ? "t" : "");
  }
}

TEST(TarReader, takes_a_file_with_a_slash_for_a_directory) {
  for (const char flag : {'0', '\0', '7'}) {
    const Entry entry = only(TarBuilder().header(TarHeader(flag, "d//").v7()));
    EXPECT_EQ(entry.type, Type::Directory);
    EXPECT_EQ(entry.name, "d");
  }
}

TEST(TarReader, removes_trailing_slashes_but_not_the_root) {
  EXPECT_EQ(only(TarBuilder().directory("a/b///")).name, "a/b");
  EXPECT_EQ(only(TarBuilder().directory("/")).name, "/");
  EXPECT_EQ(only(TarBuilder().directory("///")).name, "/");
  EXPECT_EQ(only(TarBuilder().directory("./")).name, ".");
  EXPECT_EQ(only(TarBuilder().symlink("l/", "t/")).name, "l");
  EXPECT_EQ(only(TarBuilder().symlink("l/", "t/")).link_target, "t/");
}

TEST(TarReader, expects_no_content_of_what_is_not_a_file) {
  for (const char flag : {'1', '2', '3', '4', '5', '6'}) {
    const TarHeader header = TarHeader(flag, "n").link("t").size(100'000);
    const Archive archive = read_archive(TarBuilder().header(header).file("next").finish());
    EXPECT_EQ(archive.error, "") << flag;
    ASSERT_EQ(archive.members.size(), 2u) << flag;
    EXPECT_EQ(archive.members[0].entry.size, 0u);
    EXPECT_EQ(archive.members[1].entry.name, "next");
  }
}

TEST(TarReader, keeps_twelve_bits_of_the_mode) {
  EXPECT_EQ(only(TarBuilder().header(TarHeader('0', "f").mode(0104755))).mode, 04755u);
}

TEST(TarReader, reads_devices) {
  const Entry entry = only(TarBuilder().device('4', "sda", 259, 1'048'575));
  EXPECT_EQ(entry.device_major, 259u);
  EXPECT_EQ(entry.device_minor, 1'048'575u);
  EXPECT_EQ(only(TarBuilder().header(TarHeader('0', "f").device(1, 2))).device_major, 0u);
  const Entry by_pax =
      only(TarBuilder()
               .pax(pax_record("SCHILY.devmajor", "7") + pax_record("SCHILY.devminor", "3000000"))
               .device('3', "d", 1, 2));
  EXPECT_EQ(by_pax.device_major, 7u);
  EXPECT_EQ(by_pax.device_minor, 3'000'000u);
}

TEST(TarReader, reads_numbers_in_base_256) {
  const Entry entry = only(
      TarBuilder().header(TarHeader('0', "f").gnu().owner(4'000'000'000, 3'000'000'000).time(-2)));
  EXPECT_EQ(entry.user, 4'000'000'000u);
  EXPECT_EQ(entry.group, 3'000'000'000u);
  EXPECT_EQ(entry.modified, (Time{-2, 0}));
}

// Amending headers -------------------------------------------------------------------------------

TEST(TarReader, lets_pax_records_win_over_the_header) {
  const Member member = only_member(
      TarBuilder()
          .pax(pax_record("path", "right") + pax_record("size", "3") + pax_record("uid", "5") +
               pax_record("gid", "6") + pax_record("mtime", "7.25") +
               pax_record("uname", "ignored") + pax_record("atime", "ignored") +
               pax_record("comment", std::string_view("any\0thing=\n", 11)) +
               pax_record("hdrcharset", "BINARY"))
          .header(TarHeader('0', "wrong").prefix("wrong").size(512).owner(1, 2).time(3))
          .content("abc"));
  EXPECT_EQ(member.entry.name, "right");
  EXPECT_EQ(member.content, "abc");
  EXPECT_EQ(member.entry.user, 5u);
  EXPECT_EQ(member.entry.group, 6u);
  EXPECT_EQ(member.entry.modified, (Time{7, 250'000'000}));
}

TEST(TarReader, forgets_a_pax_header_after_its_entry) {
  const Archive archive =
      read_archive(TarBuilder()
                       .pax(pax_record("path", "first") + pax_record("SCHILY.xattr.user.a", "b"))
                       .file("f")
                       .file("second")
                       .finish());
  ASSERT_EQ(archive.members.size(), 2u);
  EXPECT_EQ(archive.members[1].entry.name, "second");
  EXPECT_TRUE(archive.members[1].entry.xattrs.empty());
}

TEST(TarReader, takes_the_last_of_equal_records_and_none_that_is_empty) {
  EXPECT_EQ(
      only(TarBuilder().pax(pax_record("path", "a") + pax_record("path", "b")).file("f")).name,
      "b");
  EXPECT_EQ(only(TarBuilder().pax(pax_record("path", "a") + pax_record("path", "")).file("f")).name,
            "f");
  EXPECT_EQ(only(TarBuilder().pax("size", "").file("f", "abc")).size, 3u);
}

TEST(TarReader, reads_times_to_the_nanosecond) {
  const std::pair<const char*, Time> times[] = {
      {"0", {0, 0}},
      {"1.5", {1, 500'000'000}},
      {"1.", {1, 0}},
      {"1.0000000019", {1, 1}},
      {"1.123456789123456789", {1, 123'456'789}},
      {"-1", {-1, 0}},
      {"-1.5", {-2, 500'000'000}},
      {"-0.5", {-1, 500'000'000}},
      {"-0.000000001", {-1, 999'999'999}},
      {"-0.0000000001", {0, 0}},
      {"9223372036854775807.999999999", {std::numeric_limits<int64_t>::max(), 999'999'999}},
      {"-9223372036854775808", {std::numeric_limits<int64_t>::min(), 0}},
  };
  for (const auto& [text, time] : times) {
    EXPECT_EQ(only(TarBuilder().pax("mtime", text).file("f")).modified, time) << text;
  }
}

TEST(TarReader, refuses_what_is_not_a_time) {
  for (const char* text :
       {"x", ".5", "-", "-.5", "1.5x", "1,5", "1.-5", "+1", " 1", "1 ", "1e3",
        "9223372036854775808", "-9223372036854775809", "-9223372036854775808.5", "1.5.5"}) {
    const Archive archive = read_archive(TarBuilder().pax("mtime", text).file("f").finish());
    EXPECT_EQ(archive.error, "entry 'f' at byte 0: PAX record 'mtime': not a time") << text;
  }
}

TEST(TarReader, ignores_what_global_headers_say_as_docker_does) {
  const Archive archive =
      read_archive(TarBuilder()
                       .global(pax_record("comment", "a commit") + pax_record("uid", "7") +
                               pax_record("mtime", "9") + pax_record("SCHILY.xattr.user.a", "b"))
                       .file("f")
                       .global("")
                       .file("g")
                       .finish());
  EXPECT_EQ(archive.error, "");
  ASSERT_EQ(archive.members.size(), 2u);
  EXPECT_EQ(archive.members[0].entry.user, 0u);
  EXPECT_EQ(archive.members[0].entry.modified, Time());
  EXPECT_TRUE(archive.members[0].entry.xattrs.empty());
}

TEST(TarReader, reads_long_names_of_gnu_in_either_order) {
  const std::string name(300, 'n');
  const std::string target(400, 't');
  for (const bool name_first : {false, true}) {
    TarBuilder builder;
    if (name_first) builder.long_name(name).long_link(target);
    if (!name_first) builder.long_link(target).long_name(name);
    const Entry entry = only(builder.symlink("short", "short"));
    EXPECT_EQ(entry.name, name);
    EXPECT_EQ(entry.link_target, target);
  }
  // It wins over a PAX record, and lasts for one entry.
  const Archive archive =
      read_archive(TarBuilder().long_name("gnu").pax("path", "pax").file("f").file("g").finish());
  ASSERT_EQ(archive.members.size(), 2u);
  EXPECT_EQ(archive.members[0].entry.name, "gnu");
  EXPECT_EQ(archive.members[1].entry.name, "g");
}

TEST(TarReader, reads_xattrs_of_both_tools_once) {
  using Xattrs = std::vector<std::pair<std::string, std::string>>;
  const Xattrs expected = {
      {"security.capability", std::string("\1\0\n=", 4)}, {"user. %", "only here"}, {"user.z", ""}};
  EXPECT_EQ(
      only(TarBuilder()
               .pax(pax_record("LIBARCHIVE.xattr.user.%20%25", "b25seSBoZXJl") +
                    pax_record("SCHILY.xattr.user.z", "") +
                    pax_record("SCHILY.xattr.security.capability", "twice: the last one") +
                    pax_record("SCHILY.xattr.security.capability", std::string_view("\1\0\n=", 4)) +
                    pax_record("LIBARCHIVE.xattr.security.capability", "b3RoZXI="))
               .file("f"))
          .xattrs,
      expected);
}

// Sparse files -----------------------------------------------------------------------------------

std::string pair(int64_t offset, int64_t bytes) {
  return tar_base_256(offset, 12) + tar_base_256(bytes, 12);
}

// Five pieces of one byte, which is one more than a header holds, and the marker of the end.
TEST(TarReader, reads_sparse_files_of_old_gnu) {
  std::string more = pair(4'000, 1) + pair(5'000, 0);
  more.resize(512);
  const Member member = only_member(
      TarBuilder()
          .header(TarHeader('S', "f")
                      .gnu()
                      .size(5)
                      .at(386, pair(0, 1) + pair(1'000, 1) + pair(2'000, 1) + pair(3'000, 1))
                      .at(482, "\1")
                      .at(483, tar_base_256(5'000, 12)))
          .raw(more)
          .content("abcde"));
  EXPECT_EQ(member.entry.size, 5'000u);
  EXPECT_EQ(member.entry.type, Type::File);
  const std::vector<std::pair<uint64_t, std::string>> expected = {
      {0, "a"}, {1'000, "b"}, {2'000, "c"}, {3'000, "d"}, {4'000, "e"}};
  EXPECT_EQ(member.pieces, expected);
}

TEST(TarReader, reads_sparse_files_of_pax) {
  const std::string zero_zero =
      pax_record("GNU.sparse.size", "100") + pax_record("GNU.sparse.numblocks", "2") +
      pax_record("GNU.sparse.offset", "10") + pax_record("GNU.sparse.numbytes", "1") +
      pax_record("GNU.sparse.offset", "20") + pax_record("GNU.sparse.numbytes", "2");
  const std::string zero_one =
      pax_record("GNU.sparse.size", "100") + pax_record("GNU.sparse.numblocks", "2") +
      pax_record("GNU.sparse.name", "f") + pax_record("GNU.sparse.map", "10,1,20,2");
  const std::string one = pax_record("GNU.sparse.major", "1") +
                          pax_record("GNU.sparse.minor", "0") + pax_record("GNU.sparse.name", "f") +
                          pax_record("GNU.sparse.realsize", "100");
  std::string map = "2\n10\n1\n20\n2\n";
  map.resize(512);
  const std::vector<std::pair<uint64_t, std::string>> expected = {{10, "a"}, {20, "bc"}};
  for (const TarBuilder& builder : {TarBuilder().pax(zero_zero).file("f", "abc"),
                                    TarBuilder().pax(zero_one).file("GNUSparseFile.0/f", "abc"),
                                    TarBuilder().pax(one).file("GNUSparseFile.0/f", map + "abc")}) {
    const Member member = only_member(builder);
    EXPECT_EQ(member.entry.size, 100u);
    EXPECT_EQ(member.entry.name, "f");
    EXPECT_EQ(member.pieces, expected);
  }
}

TEST(TarReader, reads_files_that_are_one_hole) {
  const Member member = only_member(TarBuilder()
                                        .pax(pax_record("GNU.sparse.size", "100") +
                                             pax_record("GNU.sparse.numblocks", "1") +
                                             pax_record("GNU.sparse.map", "100,0"))
                                        .file("f", ""));
  EXPECT_EQ(member.entry.size, 100u);
  EXPECT_TRUE(member.pieces.empty());
  EXPECT_EQ(member.content, std::string(100, '\0'));
}

TEST(TarReader, reads_a_map_of_65536_pieces_and_none_larger) {
  for (const int count : {65'536, 65'537}) {
    std::string map = cat(count, "\n");
    for (int i = 0; i < count; ++i) map += cat(2 * i, "\n1\n");
    map.append((512 - map.size() % 512) % 512, '\0');
    const std::string bytes =
        TarBuilder()
            .pax(pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
                 pax_record("GNU.sparse.realsize", "1000000"))
            .file("f", map + std::string(static_cast<size_t>(count), 'x'))
            .finish();
    const Archive archive = read_archive(bytes);
    if (count == 65'536) {
      EXPECT_EQ(archive.error, "");
      EXPECT_EQ(archive.members[0].pieces.size(), 65'536u);
    } else {
      EXPECT_EQ(archive.error, "entry 'f' at byte 0: more than 65536 pieces in the sparse map");
      EXPECT_EQ(archive.kind, Kind::Exhausted);
    }
  }
}

// Refusals ---------------------------------------------------------------------------------------

struct Refusal {
  TarBuilder archive;
  const char* message;
};

void expect_refusals(const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    const Archive archive = read_archive(refusal.archive.finish());
    EXPECT_EQ(archive.error, refusal.message);
  }
}

TEST(TarReader, names_the_header_at_fault) {
  const auto field = [](size_t offset, std::string_view bytes) {
    return TarBuilder().file("before").header(TarHeader('3', "d").at(offset, bytes));
  };
  expect_refusals({
      {field(100, "rwxr-xr-"), "entry 'd' at byte 1024: mode: not a number"},
      {field(108, "8"), "entry 'd' at byte 1024: user id: not a number"},
      {field(108, tar_base_256(-1, 8)), "entry 'd' at byte 1024: user id: -1 is out of range"},
      {field(116, "root"), "entry 'd' at byte 1024: group id: not a number"},
      {field(116, tar_base_256(1LL << 32, 8)),
       "entry 'd' at byte 1024: group id: 4294967296 is out of range"},
      {field(124, "-1         "), "entry 'd' at byte 1024: size: not a number"},
      {field(124, "1 1"), "entry 'd' at byte 1024: size: not a number"},
      {field(124, tar_base_256(-1, 12)), "entry 'd' at byte 1024: size: negative"},
      {field(136, "now"), "entry 'd' at byte 1024: time: not a number"},
      {field(136, std::string("\xff\xff\xff\x7f", 4) + std::string(8, '\xff')),
       "entry 'd' at byte 1024: time: not a number"},
      {field(329, "x"), "entry 'd' at byte 1024: device major: not a number"},
      {field(337, tar_base_256(-5, 8)), "entry 'd' at byte 1024: device minor: -5 is out of range"},
      {field(0, std::string_view("\0", 1)), "entry at byte 1024: it has no name"},
      {field(156, "V"), "entry 'd' at byte 1024: type 'V' (volume label)"},
      {field(156, "D"), "entry 'd' at byte 1024: type 'D' (GNU directory listing)"},
      {field(156, "\x1b"), "entry 'd' at byte 1024: type '\\u001b' (unknown)"},
      {field(156, "1"), "entry 'd' at byte 1024: a link without a target"},
      {field(156, "S"), "entry 'd' at byte 1024: an old GNU sparse file without the GNU magic"},
      {TarBuilder().header(TarHeader('0', "f").sum("        ")),
       "entry at byte 0: not a tar header: its sum is wrong"},
      {TarBuilder().header(TarHeader('0', "f").sum("00000x")),
       "entry at byte 0: not a tar header: its sum is wrong"},
      {TarBuilder().header(TarHeader('0', "f").sum(tar_base_256(4'000, 8))),
       "entry at byte 0: not a tar header: its sum is wrong"},
      {TarBuilder().raw(std::string(512, '\0')).file("f"),
       "entry at byte 0: one block of zeros where the archive ends with two"},
  });
}

TEST(TarReader, names_the_record_at_fault) {
  const auto pax = [](std::string_view records) { return TarBuilder().pax(records).file("f"); };
  expect_refusals({
      {pax(pax_record("size", "many")), "entry 'f' at byte 0: PAX record 'size': not a number"},
      {pax(pax_record("size", "-1")), "entry 'f' at byte 0: PAX record 'size': not a number"},
      {pax(pax_record("size", "+1")), "entry 'f' at byte 0: PAX record 'size': not a number"},
      {pax(pax_record("size", " 1")), "entry 'f' at byte 0: PAX record 'size': not a number"},
      {pax(pax_record("size", "1.0")), "entry 'f' at byte 0: PAX record 'size': not a number"},
      {pax(pax_record("size", "9223372036854775808")),
       "entry 'f' at byte 0: PAX record 'size': not a number"},
      {pax(pax_record("uid", "0x0")), "entry 'f' at byte 0: PAX record 'uid': not a number"},
      {pax(pax_record("uid", "4294967295")),
       "entry 'f' at byte 0: user id: 4294967295 is out of range"},
      {pax(pax_record("gid", "-2")), "entry 'f' at byte 0: PAX record 'gid': not a number"},
      {pax(pax_record("path", std::string_view("a\0", 2))),
       "entry 'f' at byte 0: PAX record 'path': a NUL in its value"},
      {pax(pax_record("linkpath", std::string_view("\0", 1))),
       "entry 'f' at byte 0: PAX record 'linkpath': a NUL in its value"},
      {pax(pax_record(std::string_view("a\0b", 3), "v")),
       "entry 'f' at byte 0: PAX record 'a\\u0000b': a NUL in its key"},
      {pax("path=x\n"), "entry 'f' at byte 0: a PAX record without a length"},
      {pax(" path=x\n"), "entry 'f' at byte 0: a PAX record without a length"},
      {pax("10path=xx\n"), "entry 'f' at byte 0: a PAX record without a length"},
      {pax("10"), "entry 'f' at byte 0: a PAX record without a length"},
      {pax("+10 path=x\n"), "entry 'f' at byte 0: a PAX record without a length"},
      {pax("18446744073709551626 path=x\n"), "entry 'f' at byte 0: a PAX record without a length"},
      {pax("11 path=x\n"), "entry 'f' at byte 0: a PAX record longer than its header"},
      {pax("9223372036854775807 path=x\n"),
       "entry 'f' at byte 0: a PAX record longer than its header"},
      {pax("2 path=x\n"), "entry 'f' at byte 0: a PAX record shorter than its own length"},
      {pax("9 path=xx\n"),
       "entry 'f' at byte 0: PAX record 'path=x': no newline where its length says"},
      {pax("10 path=x\n" + std::string(1, '\0')),
       "entry 'f' at byte 0: a PAX record without a length"},
      {pax("10 path+x\n"), "entry 'f' at byte 0: PAX record 'path+x': no '='"},
      {pax("4 =\n"), "entry 'f' at byte 0: PAX record '=': no key"},
      {pax(pax_record("SCHILY.xattr.", "v")),
       "entry 'f' at byte 0: PAX record 'SCHILY.xattr.': an extended attribute without a name"},
      {pax(pax_record("LIBARCHIVE.xattr.a%4", "")),
       "entry 'f' at byte 0: PAX record 'LIBARCHIVE.xattr.a%4': its name has a wrong %"},
      {pax(pax_record("LIBARCHIVE.xattr.a%g0", "")),
       "entry 'f' at byte 0: PAX record 'LIBARCHIVE.xattr.a%g0': its name has a wrong %"},
      {TarBuilder().file("a").pax("uid", "x").header(TarHeader('0', "b").prefix("usr")),
       "entry 'usr/b' at byte 1024: PAX record 'uid': not a number"},
  });
}

TEST(TarReader, refuses_headers_that_amend_what_they_may_not) {
  expect_refusals({
      {TarBuilder().pax("path", "a").pax("path", "b").file("f"),
       "entry at byte 0: two headers of type 'x' before one entry"},
      {TarBuilder().long_name("a").long_name("b").file("f"),
       "entry at byte 0: two headers of type 'L' before one entry"},
      {TarBuilder().long_link("a").long_name("n").long_link("b").file("f"),
       "entry at byte 0: two headers of type 'K' before one entry"},
      {TarBuilder().pax("path", "a").global("").file("f"),
       "entry at byte 0: a global PAX header between an entry's headers"},
      {TarBuilder().pax("path", "a"),
       "entry at byte 0: the archive ends after a header that amends the next"},
      {TarBuilder().long_name("").file("f"), "entry at byte 0: header of type 'L': an empty name"},
      {TarBuilder().header(TarHeader('K', "@").gnu()).file("f"),
       "entry at byte 0: header of type 'K': an empty name"},
      {TarBuilder().header(TarHeader('x', "@").at(124, "zz")).file("f"),
       "entry at byte 0: size: not a number"},
      {TarBuilder().header(TarHeader('g', "@").at(124, tar_base_256(-1, 12))).file("f"),
       "entry at byte 0: header of type 'g': a negative size"},
      {TarBuilder().header(TarHeader('x', "@").size(1'048'577)).file("f"),
       "entry at byte 0: header of type 'x': 1048577 bytes, more than 1048576"},
      {TarBuilder().header(TarHeader('L', "@").gnu().size(UINT64_MAX >> 1)).file("f"),
       "entry at byte 0: header of type 'L': 9223372036854775807 bytes, more than 1048576"},
      {TarBuilder().global("nonsense").file("f"),
       "entry at byte 0: global PAX header: a PAX record without a length"},
      {TarBuilder().global(pax_record("path", "x")).file("f"),
       "entry at byte 0: global PAX header: names or sizes for all entries at once"},
      {TarBuilder().global(pax_record("linkpath", "x")).file("f"),
       "entry at byte 0: global PAX header: names or sizes for all entries at once"},
      {TarBuilder().global(pax_record("size", "1")).file("f"),
       "entry at byte 0: global PAX header: names or sizes for all entries at once"},
      {TarBuilder().global(pax_record("GNU.sparse.offset", "1")).file("f"),
       "entry at byte 0: global PAX header: names or sizes for all entries at once"},
      {TarBuilder().global(pax_record("GNU.sparse.major", "1")).file("f"),
       "entry at byte 0: global PAX header: names or sizes for all entries at once"},
  });
}

TEST(TarReader, refuses_sparse_maps_that_lie) {
  const auto map = [](std::string_view count, std::string_view numbers, std::string_view size,
                      std::string_view content) {
    return TarBuilder()
        .pax(pax_record("GNU.sparse.size", size) + pax_record("GNU.sparse.numblocks", count) +
             pax_record("GNU.sparse.map", numbers))
        .file("f", content);
  };
  const auto text = [](std::string_view numbers, std::string_view content) {
    std::string block(numbers);
    block.resize(512);
    return TarBuilder()
        .pax(pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
             pax_record("GNU.sparse.realsize", "100"))
        .file("f", cat(block, content));
  };
  const auto old_gnu = [](std::string_view pieces, int64_t real_size, uint64_t held) {
    return TarBuilder()
        .header(TarHeader('S', "f")
                    .gnu()
                    .size(held)
                    .at(386, pieces)
                    .at(483, tar_base_256(real_size, 12)))
        .content(std::string(held, 'x'));
  };
  expect_refusals({
      {map("2", "0,2,1,2", "100", "abcd"),
       "entry 'f' at byte 0: sparse map: pieces overlap or go back"},
      {map("2", "9,1,0,1", "100", "ab"),
       "entry 'f' at byte 0: sparse map: pieces overlap or go back"},
      {map("1", "99,2", "100", "ab"),
       "entry 'f' at byte 0: sparse map: a piece beyond the end of the file"},
      {map("1", "101,0", "100", ""),
       "entry 'f' at byte 0: sparse map: a piece beyond the end of the file"},
      {map("1", "9223372036854775807,9223372036854775807", "9223372036854775807", ""),
       "entry 'f' at byte 0: sparse map: a piece beyond the end of the file"},
      {map("1", "0,2", "100", "a"),
       "entry 'f' at byte 0: sparse map: pieces of 2 bytes, content of 1"},
      {map("1", "0,1", "100", "ab"),
       "entry 'f' at byte 0: sparse map: pieces of 1 bytes, content of 2"},
      {map("1", "0,1,2", "100", "a"), "entry 'f' at byte 0: sparse map: 3 numbers for 1 pieces"},
      {map("2", "0,1", "100", "a"), "entry 'f' at byte 0: sparse map: 2 numbers for 2 pieces"},
      {map("1", "0,1,", "100", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {map("1", ",0,1", "100", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {map("1", "0,-1", "100", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {map("1", "0;1", "100", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {map("x", "0,1", "100", "a"),
       "entry 'f' at byte 0: PAX record 'GNU.sparse.numblocks': not a number"},
      {map("", "0,1", "100", "a"),
       "entry 'f' at byte 0: PAX record 'GNU.sparse.numblocks': not a number"},
      {map("1", "0,1", "-100", "a"),
       "entry 'f' at byte 0: PAX record 'GNU.sparse.size': not a number"},
      {map("70000", "0,1", "100", "a"),
       "entry 'f' at byte 0: more than 65536 pieces in the sparse map"},
      {text("", ""), "entry 'f' at byte 0: sparse map: not a number"},
      {text("1\n0\n", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {text("\n1\n0\n", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {text("1\n0\n1x\n", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {text("1\n-1\n1\n", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {text("99999999999999999999\n", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {text("9999999999999999999\n", "a"), "entry 'f' at byte 0: sparse map: not a number"},
      {text("99999\n", "a"), "entry 'f' at byte 0: more than 65536 pieces in the sparse map"},
      {text("1\n0\n5\n", "a"), "entry 'f' at byte 0: sparse map: pieces of 5 bytes, content of 1"},
      {TarBuilder()
           .pax(pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0"))
           .file("f", "1\n0\n1\n"),
       "entry 'f' at byte 0: sparse map: longer than the content"},
      {TarBuilder()
           .pax(pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0"))
           .file("f", "2\n0\n1\n" + std::string(506, '0')),
       "entry 'f' at byte 0: sparse map: not a number"},
      {TarBuilder().pax("GNU.sparse.major", "2").file("f"),
       "entry 'f' at byte 0: a sparse file of version '2.'"},
      {TarBuilder()
           .pax(pax_record("GNU.sparse.numbytes", "1") + pax_record("GNU.sparse.offset", "1"))
           .file("f"),
       "entry 'f' at byte 0: PAX record 'GNU.sparse.numbytes': not by turns with its other half"},
      {TarBuilder()
           .pax(pax_record("GNU.sparse.offset", "1") + pax_record("GNU.sparse.offset", "1"))
           .file("f"),
       "entry 'f' at byte 0: PAX record 'GNU.sparse.offset': not by turns with its other half"},
      {TarBuilder()
           .pax(pax_record("GNU.sparse.offset", "0") + pax_record("GNU.sparse.numbytes", "1") +
                pax_record("GNU.sparse.numblocks", "1") + pax_record("GNU.sparse.map", "0,1"))
           .file("f"),
       "entry 'f' at byte 0: two sparse maps"},
      {TarBuilder()
           .pax(pax_record("GNU.sparse.map", "0,1") + pax_record("GNU.sparse.numblocks", "1"))
           .directory("d"),
       "entry 'd' at byte 0: a sparse map for what is not a file"},
      {old_gnu(pair(0, -1), 100, 1), "entry 'f' at byte 0: sparse map: a negative number"},
      {old_gnu(pair(-1, 1), 100, 1), "entry 'f' at byte 0: sparse map: a negative number"},
      {old_gnu("zzzzzzzzzzzz", 100, 1), "entry 'f' at byte 0: sparse map: not a number"},
      {old_gnu(pair(0, 1), -1, 1), "entry 'f' at byte 0: real size: negative"},
      {old_gnu("", 100, 1), "entry 'f' at byte 0: sparse map: pieces of 0 bytes, content of 1"},
      {old_gnu(pair(0, INT64_MAX) + pair(INT64_MAX, INT64_MAX), INT64_MAX, 1),
       "entry 'f' at byte 0: sparse map: a piece beyond the end of the file"},
  });
}

// Ends -------------------------------------------------------------------------------------------

// An archive cut after any byte is refused, unless the cut is between two entries or in padding.
TEST(TarReader, refuses_archives_that_end_early) {
  std::string map = "1\n5\n3\n";
  map.resize(512);
  const std::string parts[] = {
      TarBuilder().file("first", std::string(512, 'x')).without_end(),
      TarBuilder().pax("path", "second").directory("d").without_end(),
      TarBuilder().long_name("third").long_link("target").symlink("l", "t").without_end(),
      TarBuilder()
          .pax(pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
               pax_record("GNU.sparse.realsize", "8"))
          .file("f", map + std::string(3, 'y'))
          .without_end(),
  };
  std::string whole;
  std::vector<size_t> ends = {0};
  for (const std::string& part : parts) {
    whole += part;
    ends.push_back(whole.size());
  }
  const size_t content_ends = whole.size() - 512 + 3;
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    // Every byte near blocks' ends, some of the others.
    if (cut % 512 > 3 && cut % 512 < 509 && cut % 37 != 0) continue;
    const Archive archive = read_archive(whole.substr(0, cut));
    const bool fine = std::ranges::find(ends, cut) != ends.end() || cut >= content_ends;
    if (fine) {
      EXPECT_EQ(archive.error, "") << cut;
    } else {
      EXPECT_NE(archive.error.find("ends in the middle of "), std::string::npos)
          << cut << ": " << archive.error;
      EXPECT_EQ(archive.kind, Kind::Invalid);
    }
  }
}

TEST(TarReader, says_where_an_archive_ends_early) {
  const std::string bytes = TarBuilder().file("a").file("usr/bin/x", "content").without_end();
  EXPECT_EQ(read_archive(bytes.substr(0, 1100)).error,
            "tar archive at byte 1100: ends in the middle of a header");
  EXPECT_EQ(read_archive(bytes.substr(0, 1540)).error,
            "entry 'usr/bin/x' at byte 1024: ends in the middle of its content");
}

TEST(TarReader, ignores_what_follows_the_end) {
  const Archive archive =
      read_archive(TarBuilder().file("f").finish() + TarBuilder().file("g").finish() + "noise");
  EXPECT_EQ(archive.error, "");
  EXPECT_EQ(archive.members.size(), 1u);
  Reader reader;
  const std::string bytes = TarBuilder().finish() + "noise";
  std::string_view input = bytes;
  EXPECT_EQ(*reader.next(input), Reader::Event::End);
  EXPECT_EQ(*reader.next(input), Reader::Event::End);
  EXPECT_TRUE(input.empty());
  EXPECT_TRUE(reader.finish());
}

TEST(TarReader, takes_an_archive_without_an_end_or_with_half_of_one) {
  const std::string bytes = TarBuilder().file("f").without_end();
  EXPECT_EQ(read_archive(bytes).error, "");
  EXPECT_EQ(read_archive(bytes + std::string(512, '\0')).error, "");
  EXPECT_EQ(read_archive("").error, "");
  EXPECT_EQ(read_archive(bytes + std::string(600, '\0')).error,
            "tar archive at byte 1624: ends in the middle of a block");
}

// Bounds -----------------------------------------------------------------------------------------

TEST(TarReader, takes_headers_up_to_their_bounds) {
  const std::string name(name_bytes_max, 'n');
  EXPECT_EQ(only(TarBuilder().pax("path", name).file("f")).name, name);
  EXPECT_EQ(only(TarBuilder().long_name(name).file("f")).name, name);
  EXPECT_EQ(only(TarBuilder().long_link(name).symlink("f", "t")).link_target, name);
  // The comment fills the header to its last byte.
  const std::string comment(header_bytes_max - std::string_view("1048576 comment=\n").size(), 'c');
  EXPECT_EQ(pax_record("comment", comment).size(), header_bytes_max);
  EXPECT_EQ(only(TarBuilder().pax("comment", comment).file("f")).name, "f");
}

TEST(TarReader, names_the_bound_that_is_exceeded) {
  const std::string name(name_bytes_max + 1, 'n');
  std::string many;
  for (size_t i = 0; i <= xattrs_max; ++i) many += pax_record(cat("SCHILY.xattr.user.", i), "");
  std::string offsets;
  for (size_t i = 0; i <= xattrs_max * 2; ++i) offsets += pax_record("SCHILY.xattr.user.a", "");
  const std::pair<TarBuilder, const char*> cases[] = {
      {TarBuilder().pax("path", name).file("f"), "name: longer than 4096 bytes"},
      {TarBuilder().pax("linkpath", name).symlink("f", "t"), "link target: longer than 4096"},
      {TarBuilder().long_name(name).file("f"), "name: longer than 4096 bytes"},
      {TarBuilder().long_link(name).symlink("f", "t"), "link target: longer than 4096"},
      {TarBuilder().pax("comment", std::string(header_bytes_max, 'c')).file("f"),
       "more than 1048576"},
      {TarBuilder().pax(many).file("f"), "more than 256 extended attributes"},
      {TarBuilder().pax(offsets).file("f"), "more than 256 extended attributes"},
      {TarBuilder().pax("SCHILY.xattr.user.a", std::string(65'537, 'v')).file("f"),
       "a value of more than 65536 bytes"},
      {TarBuilder().pax(cat("SCHILY.xattr.", std::string(256, 'n')), "v").file("f"),
       "a name of more than 255 bytes"},
  };
  for (const auto& [builder, complaint] : cases) {
    const Archive archive = read_archive(builder.finish());
    EXPECT_NE(archive.error.find(complaint), std::string::npos) << archive.error;
    EXPECT_EQ(archive.kind, Kind::Exhausted);
  }
}

TEST(TarReader, says_nothing_that_a_terminal_would_obey) {
  const std::string name = cat("\x1b[2J\r\n", std::string(200, 'n'));
  const Archive archive =
      read_archive(TarBuilder().long_name(name).pax("size", "x").file("f").finish());
  EXPECT_LT(archive.error.size(), 250u);
  for (const char c : archive.error) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
}

}  // namespace
}  // namespace nacelle::codec::tar
