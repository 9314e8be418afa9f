// What an engine has on the disk is for root alone (CVE-2021-41091, CVE-2021-41103,
// CVE-2024-25621).
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/root/engine_hardening/hardening.h"

namespace nacelle::test {
namespace {

constexpr gid_t users_of_the_socket = 12345;

std::vector<std::string> all_below(const std::string& root) {
  std::vector<std::string> paths = {root};
  std::error_code error;
  for (const auto& each : std::filesystem::recursive_directory_iterator(root, error)) {
    paths.push_back(each.path());
  }
  return paths;
}

// What of `paths` somebody who is nobody, but in `group`, can read, write, or pass through.
std::vector<std::string> open_to(gid_t group, const std::vector<std::string>& paths) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::setgroups(1, &group) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(1);
    for (const std::string& path : paths) {
      const bool is_open = ::access(path.c_str(), R_OK) == 0 || ::access(path.c_str(), W_OK) == 0 ||
                           ::access(path.c_str(), X_OK) == 0;
      const std::string line = path + '\n';
      if (is_open && ::write(ends[1], line.data(), line.size()) < 0) ::_exit(1);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text;
  char piece[4096];
  ssize_t got = 0;
  while ((got = ::read(ends[0], piece, sizeof piece)) > 0)
    text.append(piece, static_cast<size_t>(got));
  ::close(ends[0]);
  int status = -1;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  std::vector<std::string> found;
  std::string_view rest = text;
  while (!rest.empty()) found.emplace_back(take_until(rest, '\n'));
  return found;
}

class Files : public Hardening {
 protected:
  // Some of everything: a container that runs, one that has ended, volumes, a network, and an
  // image with a program that makes whoever runs it root.
  void furnish() {
    TarBuilder layer;
    layer.header(TarHeader('0', "bin/suid").mode(06755).size(4)).content("text");
    layer.header(TarHeader('5', "open/").mode(0777));
    ASSERT_EQ(engine().load_image("odd", layer.finish(), R"({"Volumes":{"/open":{}}})").status,
              200);
    engine().run_container({"sleep", "1000"}, "", R"("Binds":["named:/named"])", "odd");
    const std::string ended = engine().run_container(
        {"sh", "-c", "echo secret > /open/file; chmod 777 /open/file 2>/dev/null; echo secret"});
    (void)engine().wait_container(ended);
    ASSERT_EQ(engine().call("POST", "/networks/create", R"({"Name":"net"})").status, 201);
  }
  std::vector<std::string> everything() {
    std::vector<std::string> paths = all_below(engine().data_root());
    for (std::string& each : all_below(engine().run_directory())) paths.push_back(std::move(each));
    return paths;
  }
};

TEST_F(Files, nobody_else_reaches_any_of_them) {
  const mode_t before = ::umask(0);  // as careless as can be
  open({});
  ::umask(before);
  ASSERT_FALSE(HasFatalFailure());
  furnish();
  const std::vector<std::string> paths = everything();
  ASSERT_GT(paths.size(), 100u);
  ASSERT_TRUE(write_file("/tmp/open", ""));  // such a one is found
  ASSERT_EQ(open_to(65534, {"/tmp/open"}), std::vector<std::string>{"/tmp/open"});
  EXPECT_EQ(open_to(65534, paths), std::vector<std::string>{});
  EXPECT_EQ(mode_of(engine().data_root()), 0700u);
  EXPECT_EQ(mode_of(engine().run_directory()), 0700u);
}

TEST_F(Files, a_group_that_may_use_the_socket_reaches_that_and_nothing_else) {
  open({.data_root = {}, .arguments = {"--group", cat(users_of_the_socket)}});
  ASSERT_FALSE(HasFatalFailure());
  furnish();
  const std::vector<std::string> expected = {engine().run_directory(), engine().socket_path()};
  EXPECT_EQ(open_to(users_of_the_socket, everything()), expected);
  EXPECT_EQ(open_to(65534, everything()), std::vector<std::string>{});
}

TEST_F(Files, an_engine_closes_what_was_left_open) {
  ASSERT_EQ(engine().end(), 0);
  for (const std::string& each : {engine().data_root(), engine().run_directory()}) {
    ASSERT_EQ(::chmod(each.c_str(), 0755), 0);
  }
  engine().start();
  ASSERT_TRUE(engine().is_up());
  EXPECT_EQ(open_to(65534, everything()), std::vector<std::string>{});
}

}  // namespace
}  // namespace nacelle::test
