// Races against path resolution inside a root, in both of its modes: while names are exchanged as
// fast as the kernel can, no descriptor and nothing that is made may ever be outside.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "nacelle/fd.h"
#include "sys/resolve.h"
#include "tests/support/command.h"

namespace nacelle::sys {
namespace {

namespace fs = std::filesystem;
using test::write_file;

void exchange(const char* a, const char* b) {
  (void)::syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}

// /tmp/race/root is the root; /tmp/race/outside, with a file `secret`, is what must stay out of
// reach. Inside are the same names, so that a resolution that goes astray finds something.
class ResolveRace : public testing::TestWithParam<ResolveWith> {
 protected:
  void SetUp() override {
    fs::remove_all("/tmp/race");
    fs::create_directories("/tmp/race/outside/deep/er");
    fs::create_directories("/tmp/race/root/a/deep/er");
    fs::create_directories("/tmp/race/root/tmp/race/outside");
    for (const char* directory :
         {"outside", "outside/deep", "outside/deep/er", "root/a", "root/a/deep", "root/a/deep/er"})
      ASSERT_TRUE(write_file(std::string("/tmp/race/") + directory + "/secret", directory));
    ASSERT_TRUE(write_file("/tmp/race/secret", "outside"));
    fs::create_symlink("/tmp/race/outside", "/tmp/race/root/absolute");
    fs::create_symlink("../../../../../../tmp/race/outside", "/tmp/race/root/relative");
    root_ = Fd(::open("/tmp/race/root", O_PATH | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(root_);
    for (const auto& entry : fs::recursive_directory_iterator("/tmp/race/outside"))
      outside_.insert(inode(entry.path().c_str()));
    for (const char* above : {"/tmp/race/outside", "/tmp/race", "/tmp", "/", "/tmp/race/secret"})
      outside_.insert(inode(above));
    count_ = entries();
  }
  void TearDown() override {
    EXPECT_EQ(entries(), count_) << "something was made outside";
    fs::remove_all("/tmp/race");
  }

  using Inode = std::pair<dev_t, ino_t>;
  static Inode inode(const char* path) {
    struct stat status{};
    EXPECT_EQ(::stat(path, &status), 0) << path;
    return {status.st_dev, status.st_ino};
  }
  static size_t entries() {
    size_t found = 0;
    for ([[maybe_unused]] const auto& entry : fs::recursive_directory_iterator("/tmp/race/outside"))
      ++found;
    return found;
  }

  // Runs both until the time is over; counts what `attempt` reached.
  template <class Racer, class Attempt>
  void race(Racer racer, Attempt attempt) {
    const char* wanted = std::getenv("NACELLE_LONG_SECONDS");
    const double seconds = wanted == nullptr ? 0.7 : std::atof(wanted);
    std::atomic<bool> over = false;
    std::thread other([&] {
      while (!over) racer();
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    long reached = 0;
    long refused = 0;
    const InRoot in_root(root_.get(), GetParam());
    while (std::chrono::steady_clock::now() < end) {
      for (int i = 0; i < 100; ++i) {
        const long raw = attempt(in_root);
        if (raw < 0) {
          ++refused;
          EXPECT_NE(raw, -EFAULT);
          continue;
        }
        const Fd fd(static_cast<int>(raw));
        struct stat status{};
        ASSERT_EQ(::fstat(fd.get(), &status), 0);
        ++reached;
        if (outside_.contains({status.st_dev, status.st_ino})) {
          over = true;
          other.join();
          FAIL() << "escaped after " << reached << " attempts";
        }
      }
    }
    over = true;
    other.join();
    EXPECT_GT(reached, 0) << refused << " were refused: the race was never run";
  }

  Fd root_;
  std::set<Inode> outside_;
  size_t count_ = 0;
};

// CVE-2021-30465.
TEST_P(ResolveRace, CVE_2021_30465_a_directory_exchanged_with_an_absolute_link) {
  race([] { exchange("/tmp/race/root/a", "/tmp/race/root/absolute"); },
       [](const InRoot& in) { return in.open("/a/secret", O_RDONLY); });
}

TEST_P(ResolveRace, CVE_2021_30465_a_directory_exchanged_with_a_climbing_link) {
  race([] { exchange("/tmp/race/root/a", "/tmp/race/root/relative"); },
       [](const InRoot& in) { return in.open("a/deep/er", O_PATH | O_DIRECTORY); });
}

TEST_P(ResolveRace, CVE_2021_30465_a_last_component_exchanged_with_a_link) {
  fs::create_symlink("/tmp/race/outside/secret", "/tmp/race/root/a/link");
  race([] { exchange("/tmp/race/root/a/secret", "/tmp/race/root/a/link"); },
       [](const InRoot& in) { return in.open("/a/secret", O_PATH); });
}

// A directory on the way is moved out of the root while ".." is walked: the parent of what we stand
// in is then outside. Inside, the path leads to a file of the same name.
TEST_P(ResolveRace, CVE_2018_15664_climbing_ends_at_the_root) {
  ASSERT_TRUE(write_file("/tmp/race/root/secret", "inside"));
  race(
      [] {
        ::rename("/tmp/race/root/a/deep", "/tmp/race/moved");
        ::rename("/tmp/race/moved", "/tmp/race/root/a/deep");
      },
      [](const InRoot& in) { return in.open("/a/deep/er/../../../../secret", O_PATH); });
}

// CVE-2024-45310: making what is missing.
TEST_P(ResolveRace, CVE_2024_45310_directories_made_while_their_parent_is_exchanged) {
  long number = 0;
  race([] { exchange("/tmp/race/root/a", "/tmp/race/root/absolute"); },
       [&](const InRoot& in) {
         const std::string path = "/a/new" + std::to_string(number++ % 1000) + "/x/y";
         return in.ensure_directory(path.c_str(), 0755);
       });
}

TEST_P(ResolveRace, CVE_2024_45310_files_made_while_their_parent_is_exchanged) {
  long number = 0;
  race([] { exchange("/tmp/race/root/a", "/tmp/race/root/relative"); },
       [&](const InRoot& in) {
         const std::string path = "/a/new" + std::to_string(number++ % 1000) + "/file";
         return in.ensure_file(path.c_str(), 0644);
       });
}

TEST_P(ResolveRace, CVE_2024_45310_a_missing_directory_replaced_by_a_link) {
  long number = 0;
  race(
      [] {
        ::symlink("/tmp/race/outside", "/tmp/race/root/a/made");
        ::unlink("/tmp/race/root/a/made");
      },
      [&](const InRoot& in) {
        const long fd = in.ensure_directory(("/a/made/d" + std::to_string(number++)).c_str(), 0755);
        fs::remove_all("/tmp/race/root/a/made");
        return fd;
      });
}

TEST_P(ResolveRace, CVE_2024_45310_a_missing_file_replaced_by_a_dangling_link) {
  race(
      [] {
        ::symlink("/tmp/race/outside/made", "/tmp/race/root/a/file");
        ::unlink("/tmp/race/root/a/file");
      },
      [](const InRoot& in) {
        const long fd = in.ensure_file("/a/file", 0644);
        ::unlink("/tmp/race/root/a/file");
        return fd;
      });
}

TEST_P(ResolveRace, CVE_2021_30465_a_parent_is_the_one_that_was_named) {
  race([] { exchange("/tmp/race/root/a", "/tmp/race/root/absolute"); },
       [](const InRoot& in) {
         const char* name = nullptr;
         const long fd = in.ensure_parent("/a/deep/node", &name);
         if (fd >= 0) EXPECT_STREQ(name, "node");
         return fd;
       });
}

TEST_P(ResolveRace, CVE_2019_19921_links_that_are_refused_are_refused_in_every_instant) {
  race([] { exchange("/tmp/race/root/a", "/tmp/race/root/absolute"); },
       [](const InRoot& in) {
         return in.ensure_directory("/a/deep", 0755, InRoot::Symlinks::Refuse);
       });
  EXPECT_FALSE(fs::exists("/tmp/race/root/tmp/race/outside/deep")) << "a link was followed";
}

INSTANTIATE_TEST_SUITE_P(By, ResolveRace, testing::Values(ResolveWith::Kernel, ResolveWith::Walk),
                         [](const auto& info) {
                           return info.param == ResolveWith::Kernel ? "kernel" : "walk";
                         });

}  // namespace
}  // namespace nacelle::sys
