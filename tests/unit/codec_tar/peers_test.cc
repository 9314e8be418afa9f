// Archives of GNU tar and of Python's tarfile are read as those read them, and ours are to them
// what they are to us.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/text.h"
#include "tests/support/command.h"
#include "tests/unit/codec_tar/tar_walk.h"

namespace nacelle::codec::tar {
namespace {

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += digits[static_cast<uint8_t>(c) >> 4];
    out += digits[static_cast<uint8_t>(c) & 15];
  }
  return out;
}

uint32_t crc32(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> out{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xedb88320 : 0);
      out[i] = value;
    }
    return out;
  }();
  uint32_t crc = 0xffffffff;
  for (const char c : bytes) crc = table[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string to_octal(uint32_t mode) {
  std::string out;
  for (; mode != 0; mode >>= 3) out.insert(out.begin(), static_cast<char>('0' + (mode & 7)));
  return out.empty() ? "0" : out;
}

// As tar_tool.py lists.
std::string listing(const Archive& archive) {
  std::string out;
  for (const auto& [entry, content, pieces] : archive.members) {
    out +=
        cat(static_cast<int>(entry.type), "|", to_hex(entry.name), "|", to_hex(entry.link_target),
            "|", entry.size, "|", to_octal(entry.mode), "|", entry.user, "|", entry.group, "|",
            entry.modified.seconds, ".", entry.modified.nanoseconds, "|", entry.device_major, "|",
            entry.device_minor, "|", crc32(content), "|");
    std::string_view comma;
    for (const auto& [name, value] : entry.xattrs) {
      out += cat(comma, to_hex(name), "=", to_hex(value));
      comma = ",";
    }
    out += '\n';
  }
  return out;
}

class TarPeers : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = "/var/tmp/nacelle-tar-XXXXXX";  // a file system with xattrs and holes
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    directory_ = path;
  }
  void TearDown() override { test::run({"rm", "-rf", directory_}); }

  std::string in(std::string_view name) const { return cat(directory_, "/", name); }

  static test::CommandResult tool(std::vector<std::string> words) {
    words.insert(words.begin(), {"python3", NACELLE_TAR_TOOL});
    return test::run(words, {.environment = {"LC_ALL=C.UTF-8"}});
  }

  // Read by us and by Python: the same listing.
  void expect_same_listing(const std::string& file) const {
    const test::CommandResult python = tool({"list", file});
    ASSERT_TRUE(python.ok()) << python.text();
    const std::string bytes = test::read_file(file);
    const Archive archive = read_archive(bytes);
    EXPECT_EQ(archive.error, "") << file;
    EXPECT_FALSE(archive.members.empty());
    EXPECT_EQ(listing(archive), python.out) << file;
    for (const size_t chunk : {size_t{7}, size_t{511}, size_t{513}}) {
      std::string difference;
      EXPECT_TRUE(same(archive, read_archive(bytes, chunk), difference)) << difference;
    }
  }

  void write_holes(const std::string& name, const std::vector<off_t>& offsets, off_t size) const {
    const int file = open(in(name).c_str(), O_CREAT | O_WRONLY, 0644);
    ASSERT_GE(file, 0);
    const std::string block(4096, 'h');
    for (const off_t offset : offsets) {
      ASSERT_EQ(pwrite(file, block.data(), block.size(), offset), 4096);
    }
    ASSERT_EQ(ftruncate(file, size), 0);
    close(file);
  }

  void make_tree() const {
    const auto make = [&](const std::string& name, const std::string& text, mode_t mode = 0644) {
      ASSERT_TRUE(test::write_file(in(name), text));
      ASSERT_EQ(chmod(in(name).c_str(), mode), 0);
    };
    for (const char* name : {"tree", "tree/a", "tree/a/b", "tree/sticky"}) {
      ASSERT_EQ(mkdir(in(name).c_str(), 0755), 0);
    }
    ASSERT_EQ(chmod(in("tree/sticky").c_str(), 01777), 0);
    make("tree/a/file", std::string(1000, 'x'), 04755);
    make("tree/a/empty", "");
    make("tree/cafe\xcc\x81", "decomposed");
    make("tree/latin-\xe9", "not UTF-8");
    make("tree/new\nline", "newline");
    make(cat("tree/", std::string(99, 'n')), "long");
    ASSERT_EQ(symlink("../x", in("tree/link").c_str()), 0);
    ASSERT_EQ(symlink(std::string(99, 't').c_str(), in("tree/long-link").c_str()), 0);
    ASSERT_EQ(link(in("tree/a/file").c_str(), in("tree/hard").c_str()), 0);
    ASSERT_EQ(mkfifo(in("tree/pipe").c_str(), 0600), 0);
    const timespec times[2] = {{1'600'000'000, 123'456'789}, {1'600'000'000, 123'456'789}};
    ASSERT_EQ(utimensat(AT_FDCWD, in("tree/a/empty").c_str(), times, 0), 0);
  }

  void make_long_tree() const {
    const std::string long_name = cat("tree/", std::string(200, 'l'));
    ASSERT_EQ(mkdir(in(long_name).c_str(), 0755), 0);
    ASSERT_TRUE(test::write_file(in(cat(long_name, "/", std::string(200, 'm'))), "deep"));
    ASSERT_EQ(symlink(std::string(500, 't').c_str(), in("tree/longer-link").c_str()), 0);
    const timespec times[2] = {{-1'000, 500'000'000}, {-1'000, 500'000'000}};
    ASSERT_TRUE(test::write_file(in("tree/old"), "before 1970"));
    ASSERT_EQ(utimensat(AT_FDCWD, in("tree/old").c_str(), times, 0), 0);
  }

  void make_archive(const std::string& name, std::vector<std::string> options) const {
    std::vector<std::string> words = {"tar", "-C", directory_, "-cf", in(name)};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back("tree");
    const test::CommandResult made = test::run(words);
    ASSERT_TRUE(made.ok()) << made.text();
  }

  std::string directory_;
};

TEST_F(TarPeers, python_archives_of_every_format) {
  for (const char* format : {"ustar", "gnu", "pax"}) {
    const std::string file = in(cat(format, ".tar"));
    const test::CommandResult made = tool({"make", format, file});
    ASSERT_TRUE(made.ok()) << made.text();
    expect_same_listing(file);
  }
}

TEST_F(TarPeers, gnu_tar_archives_of_every_format) {
  make_tree();
  for (const char* format : {"v7", "ustar"}) {
    // v7 has no pipes.
    make_archive(cat(format, ".tar"), {cat("--format=", format), "--exclude=tree/pipe",
                                       cat("--exclude=tree/", std::string(99, 'n'))});
    expect_same_listing(in(cat(format, ".tar")));
  }
  make_long_tree();
  for (const char* format : {"oldgnu", "gnu", "posix"}) {
    make_archive(cat(format, ".tar"), {cat("--format=", format)});
    expect_same_listing(in(cat(format, ".tar")));
  }
}

TEST_F(TarPeers, gnu_tar_sparse_files_of_every_version) {
  ASSERT_EQ(mkdir(in("tree").c_str(), 0755), 0);
  std::vector<off_t> many;
  for (off_t i = 0; i < 50; ++i) many.push_back(i * 65'536);
  write_holes("tree/many", many, 50 * 65'536);
  write_holes("tree/few", {65'536, 1'048'576}, 2'000'000);
  write_holes("tree/hole", {}, 1'000'000);
  write_holes("tree/end", {999'424}, 1'003'520);
  const std::string long_name = cat("tree/", std::string(150, 's'));
  write_holes(long_name, {65'536}, 200'000);
  const std::vector<std::string> ways[] = {{"--format=oldgnu"},
                                           {"--format=gnu"},
                                           {"--format=posix", "--sparse-version=0.0"},
                                           {"--format=posix", "--sparse-version=0.1"},
                                           {"--format=posix", "--sparse-version=1.0"}};
  for (std::vector<std::string> way : ways) {
    const std::string file = cat(way.back().substr(2), ".tar");
    way.emplace_back("--sparse");
    make_archive(file, way);
    // The holes are not in the archive.
    EXPECT_LT(test::read_file(in(file)).size(), 400'000u) << file;
    const Archive archive = read_archive(test::read_file(in(file)));
    const bool named = std::ranges::any_of(
        archive.members, [&](const Member& member) { return member.entry.name == long_name; });
    EXPECT_TRUE(named) << file;
    // Python gives long names of version 0.1 as the header's stand-in.
    if (file == "sparse-version=0.1.tar") {
      way.push_back(cat("--exclude=", long_name));
      make_archive(file, way);
    }
    expect_same_listing(in(file));
  }
}

TEST_F(TarPeers, gnu_tar_extended_attributes) {
  make_tree();
  const std::string value("\0\n=\xff", 4);
  ASSERT_EQ(setxattr(in("tree/a/file").c_str(), "user.bytes", value.data(), value.size(), 0), 0);
  ASSERT_EQ(setxattr(in("tree/a/file").c_str(), "user.text", "text", 4, 0), 0);
  ASSERT_EQ(setxattr(in("tree/a").c_str(), "user.directory", "d", 1, 0), 0);
  make_archive("xattrs.tar", {"--format=posix", "--xattrs", "--xattrs-include=*"});
  expect_same_listing(in("xattrs.tar"));
  const Archive archive = read_archive(test::read_file(in("xattrs.tar")));
  size_t found = 0;
  for (const Member& member : archive.members) found += member.entry.xattrs.size();
  EXPECT_GE(found, 3u);
}

std::vector<Member> entries_of_ours() {
  std::vector<Member> all;
  const auto add = [&](Entry entry, std::string content = {}) {
    entry.size = content.size();
    all.push_back({std::move(entry), std::move(content), {}});
  };
  add({.type = Type::Directory, .name = "d", .mode = 01777, .modified = {1, 0}});
  add({.name = "d/file", .mode = 04755, .user = 1000, .group = 100, .modified = {5, 0}}, "text");
  add({.name = "d/block", .mode = 0644}, std::string(512, 'b'));
  add({.name = "d/cafe\xcc\x81", .mode = 0644}, "decomposed");
  add({.name = "d/latin-\xe9", .mode = 0644}, "not UTF-8");
  add({.name = std::string(300, 'l'), .mode = 0600}, "long");
  add({.name = cat(std::string(155, 'p'), "/", std::string(100, 'n'))}, "all of ustar");
  add({.type = Type::Directory, .name = std::string(100, 'd'), .mode = 0700});
  add({.type = Type::Symlink, .name = "link", .link_target = "../x", .mode = 0777});
  add({.type = Type::Symlink, .name = "links", .link_target = std::string(300, 't')});
  add({.type = Type::HardLink, .name = "hard", .link_target = "d/file", .mode = 04755});
  add({.type = Type::CharacterDevice, .name = "null", .device_major = 1, .device_minor = 3});
  add({.type = Type::BlockDevice, .name = "disk", .device_major = 259, .device_minor = 99'999});
  add({.type = Type::Fifo, .name = "pipe", .mode = 0600});
  add({.name = "ids", .user = 3'000'000'000, .group = 4'000'000'000});
  add({.name = "fine", .modified = {1'700'000'000, 123'456'789}});
  add({.name = "early", .modified = {-3, 750'000'000}});
  add({.name = "late", .modified = {8'589'934'592, 0}});
  add({.name = "xattrs",
       .xattrs = {{"user.a", "b"}, {"security.capability", std::string("\1\0\n=\xff", 5)}}});
  return all;
}

TEST_F(TarPeers, python_reads_ours) {
  const std::string file = in("ours.tar");
  ASSERT_TRUE(test::write_file(file, write_archive(entries_of_ours())));
  expect_same_listing(file);
}

TEST_F(TarPeers, gnu_tar_reads_ours) {
  const std::string file = in("ours.tar");
  std::vector<Member> members = entries_of_ours();
  ASSERT_TRUE(test::write_file(file, write_archive(members)));
  const test::CommandResult listed =
      test::run({"tar", "--quoting-style=literal", "-tf", file}, {.environment = {"LC_ALL=C"}});
  ASSERT_TRUE(listed.ok()) << listed.text();
  EXPECT_EQ(listed.err, "");
  std::string names;
  for (const Member& member : members) {
    names += cat(member.entry.name, member.entry.type == Type::Directory ? "/\n" : "\n");
  }
  EXPECT_EQ(listed.out, names);
}

// What GNU tar unpacks from ours and packs again is ours.
TEST_F(TarPeers, gnu_tar_unpacks_ours_and_packs_the_same) {
  std::vector<Member> members;
  for (Member& member : entries_of_ours()) {
    const Type type = member.entry.type;
    if (type == Type::CharacterDevice || type == Type::BlockDevice) continue;
    if (member.entry.modified.seconds > 8'000'000'000) continue;
    member.entry.user = getuid();
    member.entry.group = getgid();
    if (member.entry.name.size() > 255) continue;
    std::erase_if(member.entry.xattrs, [](const auto& xattr) { return xattr.first[0] != 'u'; });
    member.entry.name.insert(0, "tree/");
    if (type == Type::HardLink) member.entry.link_target.insert(0, "tree/");
    if (type == Type::HardLink || type == Type::Symlink) continue;  // their times are not set
    members.push_back(std::move(member));
  }
  ASSERT_TRUE(test::write_file(in("ours.tar"), write_archive(members)));
  const test::CommandResult unpacked =
      test::run({"tar", "-C", directory_, "--xattrs", "-xpf", in("ours.tar")});
  ASSERT_TRUE(unpacked.ok()) << unpacked.text();
  std::string names;
  for (const Member& member : members) names += member.entry.name + '\0';
  ASSERT_TRUE(test::write_file(in("names"), names));
  const test::CommandResult packed =
      test::run({"tar", "-C", directory_, "--format=posix", "--xattrs", "--no-recursion", "--null",
                 "--verbatim-files-from", "-cf", in("again.tar"), "-T", in("names")});
  ASSERT_TRUE(packed.ok()) << packed.text();
  EXPECT_EQ(listing(read_archive(test::read_file(in("again.tar")))),
            listing(read_archive(test::read_file(in("ours.tar")))));
}

}  // namespace
}  // namespace nacelle::codec::tar
