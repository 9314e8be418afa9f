// `cp`: a tree as an archive and back, and archives that want to write elsewhere.
#include "cli/nacelle/archive_source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/file.h"

namespace nacelle::cli {
namespace {

namespace tar = codec::tar;

class Copy : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/nacelle-cp-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    work = name;
    ASSERT_EQ(::mkdir((work + "/to").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir((work + "/outside").c_str(), 0755), 0);
  }
  void TearDown() override { ASSERT_EQ(::system(("rm -rf " + work).c_str()), 0); }

  void write(const std::string& path, std::string_view text, mode_t mode = 0644) {
    const Fd file = *sys::open_at(AT_FDCWD, (work + "/" + path).c_str(), O_WRONLY | O_CREAT, mode);
    ASSERT_TRUE(sys::write_all(file, text, path));
    ASSERT_EQ(::fchmod(file.get(), mode), 0);
  }
  std::string read(const std::string& path) {
    const auto text = sys::read_file_at(AT_FDCWD, (work + "/" + path).c_str(), 1u << 20);
    return text ? *text : "<" + text.error().message() + ">";
  }
  std::string pack(const std::string& path, const std::string& top) {
    ArchiveSource source(work + "/" + path, top, false);
    std::string all;
    char bytes[777];
    for (;;) {
      const Result<size_t> length = source.read(bytes);
      EXPECT_TRUE(length) << length.error().message();
      if (!length || *length == 0) return all;
      all.append(bytes, *length);
    }
  }
  Result<> unpack(std::string_view archive, const std::string& name) {
    ArchiveSink sink(*sys::open_at(AT_FDCWD, (work + "/to").c_str(), O_RDONLY | O_DIRECTORY), name,
                     {});
    while (!archive.empty()) {
      TRY(sink.feed(archive.substr(0, 500)));
      archive.remove_prefix(std::min<size_t>(500, archive.size()));
    }
    return sink.finish();
  }
  static std::string archive(const std::vector<tar::Entry>& entries) {
    std::string out;
    tar::Writer writer;
    for (const tar::Entry& entry : entries) {
      EXPECT_TRUE(writer.begin_entry(entry, out));
      out.append(entry.size, 'x');
      writer.end_entry(entry.size, out);
    }
    writer.end_archive(out);
    return out;
  }

  std::string work;
};

TEST_F(Copy, a_tree_comes_back_under_another_name) {
  ASSERT_EQ(::mkdir((work + "/from").c_str(), 0750), 0);
  ASSERT_EQ(::mkdir((work + "/from/d").c_str(), 0700), 0);
  write("from/a", "alpha", 0640);
  write("from/d/b", std::string(200'000, 'b'));
  write("from/empty", "");
  ASSERT_EQ(::symlink("a", (work + "/from/link").c_str()), 0);
  const Result<> done = unpack(pack("from", "from"), "new");
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(read("to/new/a"), "alpha");
  EXPECT_EQ(read("to/new/d/b"), std::string(200'000, 'b'));
  EXPECT_EQ(read("to/new/empty"), "");
  EXPECT_EQ(*sys::read_link_at(AT_FDCWD, (work + "/to/new/link").c_str()), "a");
  struct stat status{};
  ASSERT_EQ(::stat((work + "/to/new").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0750u);
  ASSERT_EQ(::stat((work + "/to/new/a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

TEST_F(Copy, only_what_is_in_a_directory) {
  ASSERT_EQ(::mkdir((work + "/from").c_str(), 0755), 0);
  write("from/a", "alpha");
  // Its own name is none: entries stand at the archive's top, each under the target's directory.
  const std::string packed = pack("from", "");
  EXPECT_NE(packed.find("a"), std::string::npos);
  EXPECT_EQ(packed.find("from"), std::string::npos);
}

TEST_F(Copy, a_file_replaces_a_file) {
  write("a", "new");
  write("to/x", "old and longer");
  ASSERT_TRUE(unpack(pack("a", "a"), "x"));
  EXPECT_EQ(read("to/x"), "new");
}

TEST_F(Copy, an_archive_writes_nowhere_else) {
  const tar::Entry top{.type = tar::Type::Directory, .name = "top", .mode = 0755};
  const tar::Entry file{.type = tar::Type::File, .name = "top/x/f", .size = 1, .mode = 0644};
  const std::string outside = work + "/outside";
  const std::vector<tar::Entry> cases[] = {
      {top, {.type = tar::Type::File, .name = "other/f", .size = 1}},
      {top, {.type = tar::Type::File, .name = "top/../../outside/f", .size = 1}},
      {top, {.type = tar::Type::File, .name = "../outside/f", .size = 1}},
      {top, {.type = tar::Type::Symlink, .name = "top/x", .link_target = outside}, file},
      {top, {.type = tar::Type::Symlink, .name = "top/x", .link_target = "../../outside"}, file},
      {top, {.type = tar::Type::HardLink, .name = "top/x", .link_target = "/etc/passwd"}},
      {top, {.type = tar::Type::HardLink, .name = "top/x", .link_target = "top/../../a"}},
      {{.type = tar::Type::File, .name = "a/b", .size = 1}},
  };
  int number = 0;
  for (const auto& entries : cases) {
    const Result<> done = unpack(archive(entries), "t" + std::to_string(number));
    EXPECT_FALSE(done) << number;
    ++number;
  }
  EXPECT_NE(::access((outside + "/f").c_str(), F_OK), 0);
}

TEST_F(Copy, an_archive_cut_short_is_told) {
  write("a", "text");
  const std::string whole = pack("a", "a");
  EXPECT_FALSE(unpack(std::string_view(whole).substr(0, 600), "x"));
}

}  // namespace
}  // namespace nacelle::cli
