#include "spawn.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fixture.h"

namespace nacelle::startup {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

// Opened once: opening files anew for every command would be time that is not the runtime's.
struct Streams {
  posix_spawn_file_actions_t actions;
  int null_fd;
  int error_fd;

  Streams() {
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    error_fd = open(error_log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (null_fd < 0 || error_fd < 0) die("cannot open /dev/null and the error log");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, null_fd, 0);
    posix_spawn_file_actions_adddup2(&actions, null_fd, 1);
    posix_spawn_file_actions_adddup2(&actions, error_fd, 2);
  }
};

Streams& streams() {
  static Streams streams;
  return streams;
}

}  // namespace

double now_us() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

Spawned spawn(const std::vector<std::string>& command,
              const std::vector<std::string>& environment) {
  std::vector<std::string> variables = environment;
  variables.push_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  std::vector<char*> arguments = pointers(command);
  std::vector<char*> variable_pointers = pointers(variables);
  Streams& shared = streams();
  Spawned spawned;
  spawned.began = now_us();
  int error = posix_spawn(&spawned.pid, command[0].c_str(), &shared.actions, nullptr,
                          arguments.data(), variable_pointers.data());
  if (error) die("cannot execute " + command[0] + ": " + strerror(error));
  return spawned;
}

Outcome run(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  if (ftruncate(streams().error_fd, 0) < 0) die("cannot empty the error log");
  Spawned spawned = spawn(command, environment);
  int status = 0;
  while (waitpid(spawned.pid, &status, 0) < 0 && errno == EINTR) {
  }
  return {.succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0,
          .microseconds = now_us() - spawned.began};
}

std::string read_text(const std::string& path) {
  std::string text;
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char buffer[4096];
  for (ssize_t bytes; (bytes = read(fd, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(bytes));
  }
  close(fd);
  return text;
}

}  // namespace nacelle::startup
