// The private machine that the benchmark runs in: pid, mount, network, cgroup, IPC and UTS
// namespaces of its own, cgroup v2 alone at /sys/fs/cgroup, and Debian sid's tree (or the host's)
// as root, so that sid's runtimes use their own loader and libraries as they do at home. Nothing of
// it outlives the run.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace nacelle::startup {

struct FixtureOptions {
  std::string root;    // the tree that becomes "/"; "/" for the host's own
  std::string rootfs;  // the containers' root file system, bound into every bundle
  std::string config;  // the text of config.json
  std::vector<std::pair<std::string, std::string>>
      programs;  // name -> host path, bound at /tmp/bin
};

// What a bundle directory inside the fixture is called.
inline constexpr const char* true_bundle = "/tmp/bundle/true";
inline constexpr const char* sleep_bundle = "/tmp/bundle/sleep";

// Runs `body` as the first process of the fixture, removes the fixture, and returns body's result.
int run_in_fixture(const FixtureOptions& options, const std::function<int()>& body);

// What starts and stops may leave behind, counted inside the fixture.
struct Census {
  size_t processes = 0;
  size_t mounts = 0;
  size_t cgroups = 0;
  size_t network_namespaces = 0;
  size_t state_entries = 0;

  bool operator==(const Census&) const = default;
};

// Reaps orphans first: the fixture's first process is its init. `state` is a runtime's --root,
// whose entries are counted but for caches, whose names begin with '@'.
Census take_census(const std::string& state);
std::string to_text(const Census& census);

// Reaps what has been orphaned to the fixture's first process, without waiting.
void reap_orphans();

[[noreturn]] void die(const std::string& what);

}  // namespace nacelle::startup
