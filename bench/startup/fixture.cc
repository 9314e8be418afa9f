#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

namespace nacelle::startup {
namespace {

constexpr int group_removal_attempts_max = 200;

pid_t fixture_pid = 0;

void must(bool succeeded, const std::string& what) {
  if (!succeeded) die(what + ": " + strerror(errno));
}

void make_directory(const std::string& path) {
  must(mkdir(path.c_str(), 0755) == 0 || errno == EEXIST, "mkdir " + path);
}

void write_text(const std::string& path, const std::string& text) {
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  must(fd >= 0, "open " + path);
  must(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write " + path);
  close(fd);
}

void mount_at(const char* type, const std::string& path, unsigned long flags, const char* data) {
  must(mount(type, path.c_str(), type, flags, data) == 0, "mount " + path);
}

void bind_mount(const std::string& from, const std::string& to) {
  must(mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) == 0,
       "bind " + from + " at " + to);
}

std::vector<std::string> entries(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = opendir(path.c_str());
  if (!directory) return names;
  while (dirent* entry = readdir(directory)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(directory);
  return names;
}

bool is_directory(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::string cgroup2_mount() {
  for (const char* path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    struct statfs status;
    if (statfs(path, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC) return path;
  }
  die("no cgroup v2 tree at /sys/fs/cgroup or /sys/fs/cgroup/unified");
}

void remove_group(const std::string& path) {
  for (const std::string& name : entries(path)) {
    if (is_directory(path + "/" + name)) remove_group(path + "/" + name);
  }
  for (int i = 0; rmdir(path.c_str()) < 0 && errno == EBUSY && i < group_removal_attempts_max;
       ++i) {
    usleep(10'000);
  }
}

// process.args is the first "args" of Docker's file; the seccomp rules have others further down.
std::string with_args(const std::string& config, const std::string& args) {
  size_t key = config.find("\"args\"");
  size_t begin = key == std::string::npos ? key : config.find('[', key);
  size_t end = begin == std::string::npos ? begin : config.find(']', begin);
  if (end == std::string::npos) die("config.json has no process.args");
  return config.substr(0, begin) + args + config.substr(end + 1);
}

void make_bundle(const std::string& path, const FixtureOptions& options, const std::string& args) {
  make_directory(path);
  make_directory(path + "/rootfs");
  write_text(path + "/config.json", with_args(options.config, args));
}

// The root file systems are bound before the pivot, while the host's paths still lead somewhere.
void build_tree(const FixtureOptions& options, const std::string& root) {
  must(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "private /");
  bind_mount(options.root, root);
  mount_at("proc", root + "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  mount_at("sysfs", root + "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  mount_at("cgroup2", root + "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  bind_mount("/dev", root + "/dev");
  mount_at("tmpfs", root + "/run", MS_NOSUID | MS_NODEV, "mode=755");
  mount_at("tmpfs", root + "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
  for (const char* directory : {"/tmp/bin", "/tmp/bundle", "/tmp/state"}) {
    make_directory(root + directory);
  }
  for (const auto& [name, path] : options.programs) {
    write_text(root + "/tmp/bin/" + name, "");
    bind_mount(path, root + "/tmp/bin/" + name);
  }
  make_bundle(root + true_bundle, options, R"(["true"])");
  make_bundle(root + sleep_bundle, options, R"(["sleep", "1000"])");
  bind_mount(options.rootfs, root + true_bundle + "/rootfs");
  bind_mount(options.rootfs, root + sleep_bundle + "/rootfs");
}

void enter_tree(const std::string& root) {
  must(chdir(root.c_str()) == 0, "chdir " + root);
  must(syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root");
  must(umount2(".", MNT_DETACH) == 0, "umount the old root");
  must(chdir("/") == 0, "chdir /");
}

[[noreturn]] void live_in_fixture(const FixtureOptions& options, const std::string& group,
                                  const std::string& root, const std::function<int()>& body) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  write_text(group + "/cgroup.procs", "0");
  must(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUTS) == 0,
       "unshare");
  build_tree(options, root);
  enter_tree(root);
  // A group that holds processes cannot give controllers to its children: ours moves to a leaf.
  make_directory("/sys/fs/cgroup/bench");
  write_text("/sys/fs/cgroup/bench/cgroup.procs", "0");
  int result = body();
  fflush(nullptr);
  _exit(result);
}

void kill_fixture(int) {
  if (fixture_pid > 0) kill(fixture_pid, SIGKILL);
}

size_t count_directories(const std::string& path) {
  size_t count = 0;
  for (const std::string& name : entries(path)) {
    if (is_directory(path + "/" + name)) count += 1 + count_directories(path + "/" + name);
  }
  return count;
}

size_t count_lines(const char* path) {
  FILE* file = fopen(path, "re");
  if (!file) return 0;
  size_t lines = 0;
  for (int c = getc(file); c != EOF; c = getc(file)) lines += c == '\n';
  fclose(file);
  return lines;
}

}  // namespace

void die(const std::string& what) {
  fprintf(stderr, "startup: %s\n", what.c_str());
  fflush(nullptr);
  _exit(2);
}

int run_in_fixture(const FixtureOptions& options, const std::function<int()>& body) {
  const std::string group = cgroup2_mount() + "/nacelle-bench-" + std::to_string(getpid());
  char root[] = "/tmp/nacelle-bench-XXXXXX";
  must(mkdtemp(root) != nullptr, "mkdtemp");
  make_directory(group);
  must(unshare(CLONE_NEWPID) == 0, "unshare pid");
  fflush(nullptr);
  fixture_pid = fork();
  must(fixture_pid >= 0, "fork");
  if (fixture_pid == 0) live_in_fixture(options, group, root, body);
  // The fixture's first process cannot be interrupted from a terminal; it is ended and cleaned up.
  signal(SIGINT, kill_fixture);
  signal(SIGTERM, kill_fixture);
  signal(SIGHUP, kill_fixture);
  signal(SIGPIPE, SIG_IGN);
  int status = 0;
  while (waitpid(fixture_pid, &status, 0) < 0 && errno == EINTR) {
  }
  remove_group(group);
  rmdir(root);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void reap_orphans() {
  while (waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

Census take_census(const std::string& state) {
  reap_orphans();
  Census census;
  std::set<std::string> networks;
  for (const std::string& name : entries("/proc")) {
    if (name[0] < '0' || name[0] > '9') continue;
    ++census.processes;
    char target[64] = {};
    if (readlink(("/proc/" + name + "/ns/net").c_str(), target, sizeof target - 1) > 0) {
      networks.insert(target);
    }
  }
  census.network_namespaces = networks.size();
  census.mounts = count_lines("/proc/self/mountinfo");
  census.cgroups = count_directories("/sys/fs/cgroup");
  for (const std::string& name : entries(state)) census.state_entries += name[0] != '@';
  return census;
}

std::string to_text(const Census& census) {
  char text[160];
  snprintf(text, sizeof text,
           "%zu processes, %zu mounts, %zu cgroups, %zu netns, %zu state entries", census.processes,
           census.mounts, census.cgroups, census.network_namespaces, census.state_entries);
  return text;
}

}  // namespace nacelle::startup
