#include "tests/support/census.h"

#include <dirent.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ostream>
#include <vector>

#include "base/text.h"
#include "nacelle/fd.h"
#include "tests/support/command.h"

namespace nacelle::test {
namespace {

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  return names;
}

std::string target_of(const std::string& link) {
  char target[4096];
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  return length < 0 ? std::string() : std::string(target, static_cast<size_t>(length));
}

std::vector<std::string> processes() {
  std::vector<std::string> pids;
  for (std::string& name : names_in("/proc")) {
    if (parse_number<int>(name)) pids.push_back(std::move(name));
  }
  return pids;
}

void count_processes(std::multiset<std::string>& into) {
  for (const std::string& pid : processes()) {
    std::string name = read_file(cat("/proc/", pid, "/comm"));
    if (name.empty()) continue;  // gone between the two looks
    name.pop_back();
    into.insert(cat(pid, ' ', name));
  }
}

void count_mounts(std::multiset<std::string>& into) {
  const std::string mounts = read_file("/proc/self/mounts");
  std::string_view rest = mounts;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    const std::string_view source = take_until(line, ' ');
    const std::string_view where = take_until(line, ' ');
    into.insert(cat(where, ' ', take_until(line, ' '), " from ", source));
  }
}

void count_directories(const std::string& path, std::multiset<std::string>& into) {
  for (const std::string& name : names_in(path)) {
    const std::string child = cat(path, '/', name);
    struct stat info{};
    if (::lstat(child.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) continue;
    into.insert(child);
    count_directories(child, into);
  }
}

void count_entries(const std::string& path, std::multiset<std::string>& into) {
  for (const std::string& name : names_in(path)) {
    const std::string child = cat(path, '/', name);
    into.insert(child);
    struct stat info{};
    if (::lstat(child.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) count_entries(child, into);
  }
}

// Namespaces that a process is in, or holds open. Those that a mount holds are in the mount table.
void count_namespaces(std::multiset<std::string>& into) {
  std::set<std::string> seen;
  for (const std::string& pid : processes()) {
    for (const std::string& name : names_in(cat("/proc/", pid, "/ns"))) {
      seen.insert(target_of(cat("/proc/", pid, "/ns/", name)));
    }
    for (const std::string& fd : names_in(cat("/proc/", pid, "/fd"))) {
      std::string target = target_of(cat("/proc/", pid, "/fd/", fd));
      if (target.ends_with(']') && !target.starts_with('/') && target.find(":[") < 18 &&
          !target.starts_with("pipe:") && !target.starts_with("socket:") &&
          !target.starts_with("anon_inode:")) {
        seen.insert(std::move(target));
      }
    }
  }
  seen.erase("");
  into.insert(seen.begin(), seen.end());
}

long bpf(int command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

// Device programs and links of the whole machine: those are what a runtime makes, and programs of
// other kinds come and go with the machine's own services.
void count_bpf(std::multiset<std::string>& into) {
  bpf_attr next{};
  while (bpf(BPF_PROG_GET_NEXT_ID, next) == 0) {
    next.start_id = next.next_id;
    bpf_attr open{};
    open.prog_id = next.next_id;
    const Fd program(static_cast<int>(bpf(BPF_PROG_GET_FD_BY_ID, open)));
    if (!program) continue;
    bpf_prog_info info{};
    bpf_attr ask{};
    ask.info.bpf_fd = static_cast<unsigned>(program.get());
    ask.info.info_len = sizeof info;
    ask.info.info = reinterpret_cast<unsigned long long>(&info);
    if (bpf(BPF_OBJ_GET_INFO_BY_FD, ask) != 0 || info.type != BPF_PROG_TYPE_CGROUP_DEVICE) continue;
    into.insert(cat("device program ", info.id));
  }
  bpf_attr link{};
  while (bpf(BPF_LINK_GET_NEXT_ID, link) == 0) {
    link.start_id = link.next_id;
    into.insert(cat("link ", link.next_id));
  }
}

void count_descriptors(std::multiset<std::string>& into) {
  // The one that reads this very directory is closed again before anyone looks.
  for (const std::string& fd : names_in("/proc/self/fd")) {
    const std::string target = target_of("/proc/self/fd/" + fd);
    if (!target.empty()) into.insert(cat(fd, " -> ", target));
  }
}

}  // namespace

Census take_census(const std::string& state_root) {
  Census census;
  count_processes(census.found["process"]);
  count_mounts(census.found["mount"]);
  count_directories("/sys/fs/cgroup", census.found["cgroup"]);
  count_namespaces(census.found["namespace"]);
  for (std::string& link : names_in("/sys/class/net")) census.found["link"].insert(std::move(link));
  count_bpf(census.found["bpf"]);
  count_descriptors(census.found["descriptor"]);
  if (!state_root.empty()) count_entries(state_root, census.found["state"]);
  return census;
}

std::string census_difference(const Census& before, const Census& after) {
  std::string text;
  const auto list = [&text](const Census& these, const Census& those, const char* what) {
    for (const auto& [kind, entries] : these.found) {
      std::multiset<std::string> rest = entries;
      if (const auto other = those.found.find(kind); other != those.found.end()) {
        for (const std::string& entry : other->second) {
          if (const auto at = rest.find(entry); at != rest.end()) rest.erase(at);
        }
      }
      for (const std::string& entry : rest) text += cat(what, kind, ' ', entry, '\n');
    }
  };
  list(after, before, "left behind: ");
  list(before, after, "gone: ");
  return text;
}

testing::AssertionResult nothing_left_since(const Census& before, const std::string& state_root,
                                            std::chrono::milliseconds deadline) {
  std::string difference;
  const bool same = eventually(
      [&] {
        difference = census_difference(before, take_census(state_root));
        return difference.empty();
      },
      deadline);
  if (same) return testing::AssertionSuccess();
  return testing::AssertionFailure() << '\n' << difference;
}

void PrintTo(const Census& census, std::ostream* out) {
  for (const auto& [kind, entries] : census.found) {
    for (const std::string& entry : entries) *out << kind << ' ' << entry << '\n';
  }
}

}  // namespace nacelle::test
