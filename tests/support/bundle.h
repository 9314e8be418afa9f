// Bundles for tests: a busybox root file system of their own with the guest program in it, and a
// config.json put together from raw JSON parts, so that a test can write anything, nonsense too.
// Nothing here knows the runtime-spec beyond its defaults: the parser under test must not check
// itself.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/command.h"

namespace nacelle::test {

// Text as a JSON string, quotes included.
std::string json_string(std::string_view text);
// `["a","b"]`
std::string json_strings(const std::vector<std::string>& texts);

// A config.json as four objects of raw JSON values; what a test sets replaces the default, and a
// value of "" leaves the property out. A value type.
struct Config {
  std::map<std::string, std::string> top;        // hostname, mounts, hooks, annotations ...
  std::map<std::string, std::string> root;       // path, readonly
  std::map<std::string, std::string> process;    // args, env, user, capabilities ...
  std::map<std::string, std::string> for_linux;  // namespaces, resources, seccomp ...

  // What Docker asks for by default: its capabilities, mounts, masked and read-only paths and five
  // new namespaces; without its seccomp filter and device rules.
  static Config docker_like();
  // `runc spec`'s idea: the same namespaces, no masks to speak of, a handful of mounts.
  static Config minimal();

  Config& args(const std::vector<std::string>& arguments) {
    process["args"] = json_strings(arguments);
    return *this;
  }
  // Runs the guest program with these words.
  Config& guest(std::vector<std::string> words) {
    words.insert(words.begin(), "/guest");
    return args(words);
  }
  Config& namespaces(const std::vector<std::string>& kinds);
  Config& add_mount(std::string_view mount_json);

  std::string json() const;
};

// A directory under /tmp with `rootfs` and `config.json`, removed with everything in it.
class Bundle {
 public:
  explicit Bundle(const Config& config) : Bundle(std::string_view(config.json())) {}
  explicit Bundle(std::string_view config_json);
  Bundle(Bundle&&) = delete;
  ~Bundle();

  const std::string& path() const { return path_; }
  std::string rootfs() const { return path_ + "/rootfs"; }
  // Replaces config.json.
  void configure(std::string_view config_json);
  void configure(const Config& config) { configure(std::string_view(config.json())); }

 private:
  std::string path_;
};

// Docker's own recorded config.json, byte for byte; empty when the machine has none.
std::string recorded_docker_config();

// The guest program and the runtime under test, as files on this machine; empty when not built.
std::string guest_path();
std::string runtime_path();

// The runtime under test with a state directory of its own, /run/nacelle-test.
constexpr const char* runtime_root = "/run/nacelle-test";
CommandResult oci(std::vector<std::string> arguments, const CommandOptions& options = {});

// Listens where a runtime sends a terminal (`--console-socket`).
class ConsoleSocket {
 public:
  explicit ConsoleSocket(const std::string& path);
  const std::string& path() const { return path_; }
  // The terminal's master end; empty when none comes before the deadline.
  Fd receive(milliseconds deadline = milliseconds(5'000));

 private:
  std::string path_;
  Fd socket_;
};

}  // namespace nacelle::test
