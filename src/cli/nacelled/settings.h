// What nacelled is told, on its command line and in its configuration file: names and meanings are
// dockerd's where there is such a thing. A key the file has no use for is an error, and so is one
// that is given in both places.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::cli {

enum class LogLevel : uint8_t { Debug, Info, Warn, Error };

struct Settings {
  std::vector<std::string> hosts;  // "unix://PATH", "tcp://ADDRESS:PORT", "fd://"
  std::string data_root = "/var/lib/nacelle";
  std::string exec_root = "/run/nacelle";
  std::string config_file;  // that was read; empty: there is none
  std::string pidfile, log_level = "info", group, bip, cgroup_parent = "nacelle";
  std::vector<std::string> labels, insecure_registries, registry_mirrors, log_opts;
  std::string log_driver, default_shm_size, metrics_addr;
  std::optional<int64_t> shm_bytes;  // default_shm_size, read
  bool tls = false, tlsverify = false;
  std::string tlscacert, tlscert, tlskey;
  int64_t idle_exit_s = 0;  // 0: never
  bool help = false, version = false, validate = false;

  LogLevel level() const;
};

inline constexpr const char* default_host = "unix:///run/nacelle/nacelle.sock";
inline constexpr const char* default_config_file = "/etc/nacelle/nacelled.json";

// The command line, then the file it names, checked.
Result<Settings> read_settings(const std::vector<std::string>& arguments);
std::string settings_help();

// "key=value" entries as a map: Invalid for one without `=`.
Result<std::map<std::string, std::string>> read_pairs(const std::vector<std::string>& entries,
                                                      const char* what);

}  // namespace nacelle::cli
