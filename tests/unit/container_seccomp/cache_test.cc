// Goal: whatever stands in the cache directory, the program that comes out is the one the profile
// means. Method: store, spoil the file in one way, and look at the answer and at what is stored
// then.
#include "container/seccomp_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>

#include "base/text.h"

namespace nacelle::container {
namespace {

constexpr SeccompTarget native{oci::SeccompArch::X86_64};
constexpr std::string_view profile =
    R"({"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],)"
    R"("syscalls":[{"names":["read","statx","no_such_call"],"action":"SCMP_ACT_ALLOW"}]})";
constexpr SeccompCacheKey key{profile, "6.12.0-test"};

class SeccompCache : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/nacelle-seccomp-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    top_ = path;
    path_ = top_ + "/cache";
    auto opened = open_seccomp_cache(path_.c_str());
    ASSERT_TRUE(opened) << opened.error().message();
    directory_ = *std::move(opened);
  }
  void TearDown() override {
    for (const std::string& name : names()) unlinkat(directory_.get(), name.c_str(), 0);
    rmdir(path_.c_str());
    rmdir(top_.c_str());
  }

  std::set<std::string> names() const {
    std::set<std::string> found;
    DIR* stream = opendir(path_.c_str());
    while (stream != nullptr) {
      const dirent* entry = readdir(stream);
      if (entry == nullptr) break;
      if (entry->d_name[0] != '.') found.insert(entry->d_name);
    }
    if (stream != nullptr) closedir(stream);
    return found;
  }

  std::string file() const { return path_ + "/" + seccomp_cache_file(key, native); }
  std::string read_file() const {
    std::ifstream in(file(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write_file(const std::string& bytes) const {
    const int opened = open(file().c_str(), O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(opened, 0);
    ASSERT_EQ(write(opened, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(opened);
  }

  SeccompProgram load() const {
    auto program = load_or_compile(directory_, key, native);
    EXPECT_TRUE(program) << program.error().message();
    return program ? *program : SeccompProgram{};
  }

  // A program that allows everything: what an attacker would like to see loaded.
  static bool allows_all(const SeccompProgram& program) {
    return codec::run_seccomp(program.instructions, {.number = 1, .arch = AUDIT_ARCH_X86_64})
               .action == SECCOMP_RET_ALLOW;
  }

  std::string top_, path_;
  Fd directory_;
};

constexpr size_t header_bytes = 40;

TEST_F(SeccompCache, a_second_load_gives_the_stored_program) {
  const SeccompProgram first = load();
  ASSERT_EQ(names(), std::set<std::string>{seccomp_cache_file(key, native)});
  EXPECT_EQ(first.warnings.size(), 1u);
  EXPECT_EQ(load(), first);
  // That it is the file that answers is seen by changing one verdict in it, ALLOW to LOG.
  std::string bytes = read_file();
  codec::CbpfInstruction allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&allow), sizeof allow));
  ASSERT_NE(at, std::string::npos);
  allow.k = SECCOMP_RET_LOG;
  memcpy(bytes.data() + at, &allow, sizeof allow);
  write_file(bytes);
  EXPECT_NE(load(), first);
}

TEST_F(SeccompCache, profile_kernel_and_architecture_have_files_of_their_own) {
  load();
  const std::string other_profile = std::string(profile) + " ";
  for (const auto& [other, target] :
       {std::pair{SeccompCacheKey{other_profile, key.kernel_release}, native},
        std::pair{SeccompCacheKey{profile, "6.12.0-tesu"}, native},
        std::pair{SeccompCacheKey{profile, ""}, native}}) {
    EXPECT_NE(seccomp_cache_file(other, target), seccomp_cache_file(key, native));
    ASSERT_TRUE(load_or_compile(directory_, other, target));
  }
  EXPECT_NE(seccomp_cache_file(key, {oci::SeccompArch::Aarch64}), seccomp_cache_file(key, native));
  EXPECT_EQ(names().size(), 4u);
}

TEST_F(SeccompCache, spoiled_files_are_replaced) {
  const SeccompProgram first = load();
  const std::string good = read_file();
  const auto flip = [](size_t at) {
    return [at](std::string bytes) {
      bytes[at] = static_cast<char>(bytes[at] ^ 1);
      return bytes;
    };
  };
  const size_t release_at = good.find("6.12.0-test");
  const size_t profile_at = good.find("defaultAction");
  const std::function<std::string(std::string)> spoilers[] = {
      [](std::string) { return std::string(); },
      [](std::string bytes) { return bytes.substr(0, header_bytes - 1); },
      [](std::string bytes) { return bytes.substr(0, header_bytes); },
      [](std::string bytes) { return bytes.substr(0, bytes.size() - 1); },
      [](std::string bytes) { return bytes + "x"; },
      [](std::string bytes) { return bytes + std::string(1 << 20, 'x'); },
      [](std::string bytes) { return std::string(bytes.size(), '\0'); },
      [](std::string bytes) { return std::string(bytes.size(), '\xff'); },
      flip(0),
      flip(8),
      flip(12),
      flip(20),
      flip(24),
      flip(28),
      flip(32),
      flip(36),
      flip(header_bytes),  // the first instruction's operation
      flip(release_at),
      flip(profile_at),
      // Sizes whose sum would be right in 32 bits.
      [](std::string bytes) {
        const uint32_t many = 0x20000000;
        uint32_t instructions;
        memcpy(&instructions, bytes.data() + 24, 4);
        instructions += many;
        memcpy(bytes.data() + 24, &instructions, 4);
        return bytes;
      },
  };
  for (const auto& spoil : spoilers) {
    write_file(spoil(good));
    EXPECT_EQ(load(), first) << &spoil - spoilers;
    EXPECT_EQ(read_file(), good) << &spoil - spoilers;
  }
  EXPECT_EQ(names().size(), 1u);
}

// Goal: the hash is not trusted. Method: another profile's whole file, which allows everything,
// under our file's name.
TEST_F(SeccompCache, another_profile_under_our_name_is_a_miss) {
  const SeccompCacheKey permissive{R"({"defaultAction":"SCMP_ACT_ALLOW"})", key.kernel_release};
  ASSERT_TRUE(allows_all(*load_or_compile(directory_, permissive, native)));
  ASSERT_EQ(rename((path_ + "/" + seccomp_cache_file(permissive, native)).c_str(), file().c_str()),
            0);
  EXPECT_FALSE(allows_all(load()));
}

TEST_F(SeccompCache, files_that_others_can_reach_are_not_read) {
  const SeccompProgram first = load();
  const std::string good = read_file();
  std::string planted = good;
  codec::CbpfInstruction allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  for (size_t at = header_bytes; at + 8 <= header_bytes + first.instructions.size() * 8; at += 8) {
    memcpy(planted.data() + at, &allow, sizeof allow);
  }
  write_file(planted);
  ASSERT_TRUE(allows_all(load())) << "the planted file is a good one";

  for (const mode_t mode : {0604u, 0640u, 0602u, 0700u, 04600u, 0400u}) {
    write_file(planted);
    ASSERT_EQ(chmod(file().c_str(), mode), 0);
    EXPECT_EQ(load(), first) << std::oct << mode;
    EXPECT_EQ(read_file(), good);
  }
  const std::string aside = path_ + "/aside";
  write_file(planted);
  ASSERT_EQ(link(file().c_str(), aside.c_str()), 0);
  EXPECT_EQ(load(), first) << "a second link";
  unlink(aside.c_str());

  write_file(planted);
  ASSERT_EQ(rename(file().c_str(), aside.c_str()), 0);
  ASSERT_EQ(symlink("aside", file().c_str()), 0);
  EXPECT_EQ(load(), first) << "a symbolic link";
  struct stat status;
  ASSERT_EQ(lstat(file().c_str(), &status), 0);
  EXPECT_TRUE(S_ISREG(status.st_mode));

  unlink(file().c_str());
  ASSERT_EQ(mkfifo(file().c_str(), 0600), 0);
  EXPECT_EQ(load(), first) << "a FIFO must not hold us up";
  if (geteuid() == 0) {
    write_file(planted);
    ASSERT_EQ(chown(file().c_str(), 1, 1), 0);
    EXPECT_EQ(load(), first) << "someone else's file";
  }
}

TEST_F(SeccompCache, directories_that_others_can_reach_are_refused) {
  for (const mode_t mode : {0701u, 0750u, 0777u, 01700u}) {
    ASSERT_EQ(chmod(path_.c_str(), mode), 0);
    const auto opened = open_seccomp_cache(path_.c_str());
    ASSERT_FALSE(opened) << std::oct << mode;
    EXPECT_EQ(opened.error().kind(), Kind::Denied);
  }
  ASSERT_EQ(chmod(path_.c_str(), 0700), 0);
  const std::string link = top_ + "/link";
  ASSERT_EQ(symlink(path_.c_str(), link.c_str()), 0);
  EXPECT_FALSE(open_seccomp_cache(link.c_str()));
  unlink(link.c_str());
  EXPECT_FALSE(open_seccomp_cache((top_ + "/no/such").c_str()));
}

TEST_F(SeccompCache, the_number_of_files_is_bounded) {
  for (size_t i = 0; i < seccomp_cache_files_max + 20; ++i) {
    const std::string release = cat("release-", i);
    ASSERT_TRUE(load_or_compile(directory_, {profile, release}, native));
    ASSERT_LE(names().size(), seccomp_cache_files_max);
    EXPECT_TRUE(names().contains(seccomp_cache_file({profile, release}, native)));
  }
}

TEST_F(SeccompCache, a_bad_profile_is_an_error_and_leaves_nothing) {
  for (const char* bad : {"", "{", "[]", R"({"defaultAction":"SCMP_ACT_NOTIFY"})",
                          R"({"defaultAction":"SCMP_ACT_ALLOW","flags":["x"]})"}) {
    EXPECT_FALSE(load_or_compile(directory_, {bad, "r"}, native)) << bad;
  }
  EXPECT_TRUE(names().empty());
}

TEST_F(SeccompCache, a_directory_that_cannot_be_written_costs_only_the_cache) {
  ASSERT_EQ(rmdir(path_.c_str()), 0);
  const auto program = load_or_compile(directory_, key, native);
  ASSERT_TRUE(program);
  EXPECT_FALSE(allows_all(*program));
  ASSERT_EQ(mkdir(path_.c_str(), 0700), 0);
}

TEST_F(SeccompCache, large_profiles_are_compiled_but_not_kept) {
  const std::string large =
      std::string(profile) + std::string(seccomp_cache_profile_bytes_max, ' ');
  EXPECT_TRUE(load_or_compile(directory_, {large, "r"}, native));
  EXPECT_TRUE(names().empty());
}

}  // namespace
}  // namespace nacelle::container
