#include "tests/support/private_host.h"

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "base/text.h"
#include "nacelle/fd.h"
#include "tests/support/command.h"

namespace nacelle::test {
namespace {

constexpr int host_failed = 125;
constexpr std::string_view group_prefix = "nacelle-test-";
constexpr int stale_group_seconds = 600;

[[noreturn]] void give_up(std::string_view doing) {
  const std::string line = cat("private host: ", doing, ": ", strerror(errno), '\n');
  [[maybe_unused]] const ssize_t written = ::write(2, line.data(), line.size());
  ::_exit(host_failed);
}

void need(bool worked, std::string_view doing) {
  if (!worked) give_up(doing);
}

// The mount point of the machine's cgroup v2 tree, or nothing.
std::string unified_tree() {
  const std::string mounts = read_file("/proc/self/mounts");
  std::string_view rest = mounts;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    take_until(line, ' ');
    const std::string_view where = take_until(line, ' ');
    if (take_until(line, ' ') == "cgroup2") return std::string(where);
  }
  return {};
}

std::vector<std::string> subgroups(const std::string& group) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(group.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    names.push_back(cat(group, '/', std::string_view(entry->d_name)));
  }
  ::closedir(directory);
  return names;
}

bool remove_tree(const std::string& group) {
  for (const std::string& child : subgroups(group)) remove_tree(child);
  return ::rmdir(group.c_str()) == 0 || errno == ENOENT;
}

void remove_group(const std::string& group) {
  write_file(group + "/cgroup.kill", "1");
  if (!eventually([&] { return remove_tree(group); })) {
    std::fprintf(stderr, "private host: cannot remove %s: %s\n", group.c_str(), strerror(errno));
  }
}

// What a run that was killed with SIGKILL left behind: empty, ours by name, and old enough that no
// run can be on its way into it.
void sweep_stale_groups(const std::string& tree) {
  for (const std::string& group : subgroups(tree)) {
    const size_t slash = group.rfind('/');
    if (!std::string_view(group).substr(slash + 1).starts_with(group_prefix)) continue;
    struct stat info{};
    if (::stat(group.c_str(), &info) != 0 ||
        ::time(nullptr) - info.st_ctime < stale_group_seconds) {
      continue;
    }
    if (read_file(group + "/cgroup.events").find("populated 0") == std::string::npos) continue;
    remove_tree(group);
  }
}

void mount_afresh(const char* type, const char* where, unsigned long flags, const char* data) {
  ::mkdir(where, 0755);
  need(::mount(type, where, type, flags, data) == 0, cat("mounting ", type, " on ", where));
}

// A build tree in /tmp must stay visible: the programs under test are in it.
bool lives_under_tmp() {
  char path[4096];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  return length > 0 && std::string_view(path, static_cast<size_t>(length)).starts_with("/tmp/");
}

void raise_loopback() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  need(::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0, "raising the loopback link");
}

void furnish() {
  // Nothing below may travel back to the machine.
  need(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "making mounts private");
  constexpr unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  // The machine's own /proc and /sys show other processes, links and hierarchies.
  ::umount2("/proc", MNT_DETACH);
  mount_afresh("proc", "/proc", quiet, nullptr);
  ::umount2("/sys", MNT_DETACH);
  mount_afresh("sysfs", "/sys", quiet, nullptr);
  mount_afresh("cgroup2", "/sys/fs/cgroup", quiet, "nsdelegate");
  // Not every kernel has it, and only some tests look for it.
  ::mount("bpf", "/sys/fs/bpf", "bpf", quiet, "mode=700");
  mount_afresh("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755");
  if (!lives_under_tmp()) mount_afresh("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
  need(::sethostname("nacelle-test", 12) == 0, "naming the host");
  raise_loopback();
}

// Process 1 of the host: reaps what tests orphan, as a machine's init does, and ends with the
// tests.
[[noreturn]] void serve_as_init(pid_t body) {
  for (;;) {
    int status = 0;
    const pid_t gone = ::wait(&status);
    if (gone < 0 && errno == EINTR) continue;
    if (gone < 0) ::_exit(host_failed);
    if (gone != body) continue;
    if (WIFEXITED(status)) ::_exit(WEXITSTATUS(status));
    std::fprintf(stderr, "private host: the tests were ended by signal %d\n", WTERMSIG(status));
    ::_exit(128 + WTERMSIG(status));
  }
}

[[noreturn]] void live_inside(const std::function<int()>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  furnish();
  const pid_t child = ::fork();
  need(child >= 0, "fork");
  if (child != 0) serve_as_init(child);
  std::exit(body());  // sanitizers report from their exit handlers
}

// Enters the group first: the group a process is in when it unshares becomes its root. Only then is
// a child born, because a new pid namespace begins with the next child.
[[noreturn]] void enter_and_wait(const std::string& group, const std::function<int()>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  need(write_file(group + "/cgroup.procs", "0"), "entering the group of this run");
  need(::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP | CLONE_NEWUTS |
                 CLONE_NEWIPC) == 0,
       "unshare");
  const std::string own = group + "/test";
  need(::mkdir(own.c_str(), 0755) == 0, "making the tests' own group");
  need(write_file(own + "/cgroup.procs", "0"), "entering the tests' own group");
  const pid_t init = ::fork();
  need(init >= 0, "fork");
  if (init == 0) live_inside(body);
  int status = 0;
  while (::waitpid(init, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

pid_t entering = -1;

void pass_on(int) {
  if (entering > 0) ::kill(entering, SIGKILL);
}

}  // namespace

int in_private_host(const std::function<int()>& body) {
  const std::string tree = unified_tree();
  if (tree.empty()) {
    std::fprintf(stderr, "private host: no cgroup v2 tree is mounted on this machine\n");
    return host_failed;
  }
  sweep_stale_groups(tree);
  const std::string group = cat(tree, '/', group_prefix, ::getpid());
  if (::mkdir(group.c_str(), 0755) != 0) {
    std::fprintf(stderr, "private host: mkdir %s: %s\n", group.c_str(), strerror(errno));
    return host_failed;
  }
  std::fflush(nullptr);
  entering = ::fork();
  if (entering == 0) enter_and_wait(group, body);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, pass_on);
  int status = 0;
  while (::waitpid(entering, &status, 0) < 0 && errno == EINTR) {
  }
  remove_group(group);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace nacelle::test
