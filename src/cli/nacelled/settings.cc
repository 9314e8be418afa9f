#include "cli/nacelled/settings.h"

#include <algorithm>
#include <variant>

#include "base/text.h"
#include "codec/json.h"
#include "codec/quantity.h"
#include "sys/file.h"

namespace nacelle::cli {
namespace {

constexpr size_t file_bytes_max = 1u << 20;

using Target = std::variant<std::string Settings::*, bool Settings::*, int64_t Settings::*,
                            std::vector<std::string> Settings::*>;

struct Setting {
  std::string_view flag;
  char letter;
  std::string_view key;  // in the file; empty: not there
  Target target;
  std::string_view value_name, help;
};

// In the order of the help.
const std::vector<Setting>& all_settings() {
  static const std::vector<Setting> all = {
      {"bip", 0, "bip", &Settings::bip, "CIDR", "subnet of the default network"},
      {"cgroup-parent", 0, "cgroup-parent", &Settings::cgroup_parent, "PATH",
       "cgroup below which containers live"},
      {"config-file", 0, "", &Settings::config_file, "FILE", "configuration file"},
      {"data-root", 0, "data-root", &Settings::data_root, "DIRECTORY", "what is kept"},
      {"default-shm-size", 0, "default-shm-size", &Settings::default_shm_size, "BYTES",
       "size of /dev/shm of containers that ask for none"},
      {"exec-root", 0, "exec-root", &Settings::exec_root, "DIRECTORY",
       "state that dies with the machine"},
      {"group", 'G', "group", &Settings::group, "GROUP", "who may use the unix socket"},
      {"help", 'h', "", &Settings::help, "", "print this"},
      {"host", 'H', "hosts", &Settings::hosts, "HOST",
       "where to listen: unix://PATH, fd://, tcp://ADDRESS:PORT (with mutual TLS)"},
      {"idle-exit", 0, "", &Settings::idle_exit_s, "SECONDS",
       "end when nothing runs and nobody asked for so long"},
      {"insecure-registry", 0, "insecure-registries", &Settings::insecure_registries, "REGISTRY",
       "registries that may be spoken to without TLS"},
      {"label", 0, "labels", &Settings::labels, "KEY=VALUE", "labels of this engine"},
      {"log-driver", 0, "log-driver", &Settings::log_driver, "NAME",
       "how containers' output is kept: json-file, local, none"},
      {"log-level", 'l', "log-level", &Settings::log_level, "LEVEL", "debug, info, warn, error"},
      {"log-opt", 0, "log-opts", &Settings::log_opts, "KEY=VALUE", "options of the log driver"},
      {"metrics-addr", 0, "metrics-addr", &Settings::metrics_addr, "ADDRESS:PORT",
       "serve GET /metrics for Prometheus, and nothing else, to whoever asks here; :PORT is "
       "loopback"},
      {"pidfile", 'p', "pidfile", &Settings::pidfile, "FILE", "where to write our process id"},
      {"registry-mirror", 0, "registry-mirrors", &Settings::registry_mirrors, "URL",
       "mirrors of docker.io"},
      {"tls", 0, "tls", &Settings::tls, "", "use TLS (always with client certificates)"},
      {"tlscacert", 0, "tlscacert", &Settings::tlscacert, "FILE",
       "clients must show a certificate of this authority"},
      {"tlscert", 0, "tlscert", &Settings::tlscert, "FILE", "our certificate"},
      {"tlskey", 0, "tlskey", &Settings::tlskey, "FILE", "its key"},
      {"tlsverify", 0, "tlsverify", &Settings::tlsverify, "", "use TLS with client certificates"},
      {"validate", 0, "", &Settings::validate, "", "check the configuration and end"},
      {"version", 'v', "", &Settings::version, "", "print the version"},
  };
  return all;
}

Result<bool> read_switch(std::string_view flag, std::string_view text) {
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return fail(Kind::Invalid, cat("--", flag, ": '", text, "' is neither true nor false"));
}

Result<> assign(Settings& settings, const Setting& setting, std::string_view text) {
  if (const auto* member = std::get_if<std::string Settings::*>(&setting.target)) {
    settings.** member = text;
  } else if (const auto* list =
                 std::get_if<std::vector<std::string> Settings::*>(&setting.target)) {
    (settings.**list).emplace_back(text);
  } else if (const auto* yes = std::get_if<bool Settings::*>(&setting.target)) {
    settings.** yes = TRY(read_switch(setting.flag, text));
  } else {
    const auto number = parse_number<int64_t>(text);
    if (!number || *number < 0) {
      return fail(Kind::Invalid, cat("--", setting.flag, ": '", text, "' is no number"));
    }
    settings.*std::get<int64_t Settings::*>(setting.target) = *number;
  }
  return {};
}

const Setting* find_flag(std::string_view name) {
  const auto found = std::ranges::find(all_settings(), name, &Setting::flag);
  return found == all_settings().end() ? nullptr : &*found;
}

// The names of the flags that were given.
Result<std::vector<std::string_view>> read_flags(const std::vector<std::string>& arguments,
                                                 Settings& settings) {
  std::vector<std::string_view> given;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string_view word = arguments[i];
    const Setting* setting = nullptr;
    std::optional<std::string_view> value;
    if (word.starts_with("--")) {
      word.remove_prefix(2);
      if (const size_t equals = word.find('='); equals != std::string_view::npos) {
        value = word.substr(equals + 1);
        word = word.substr(0, equals);
      }
      setting = find_flag(word);
    } else if (word.size() >= 2 && word[0] == '-') {
      const auto found = std::ranges::find(all_settings(), word[1], &Setting::letter);
      if (found != all_settings().end()) setting = &*found;
      if (word.size() > 2) value = word.substr(word[2] == '=' ? 3 : 2);
    }
    if (setting == nullptr) {
      return fail(Kind::Invalid, cat("unknown option or operand '", arguments[i], "'"));
    }
    const bool is_switch = std::holds_alternative<bool Settings::*>(setting->target);
    if (!value && is_switch) value = "true";
    if (!value && i + 1 < arguments.size()) value = arguments[++i];
    if (!value) return fail(Kind::Invalid, cat("--", setting->flag, ": its value is missing"));
    TRY(assign(settings, *setting, *value));
    given.push_back(setting->flag);
  }
  return given;
}

Result<> read_key(const codec::json::Value& value, const Setting& setting, Settings& settings) {
  if (setting.key == "log-opts") {
    for (const auto [key, option] : TRY(value.object())) {
      settings.log_opts.push_back(cat(TRY(key.string()), "=", TRY(option.string())));
    }
    return {};
  }
  if (const auto* list = std::get_if<std::vector<std::string> Settings::*>(&setting.target)) {
    return value.read(settings.**list);
  }
  if (const auto* yes = std::get_if<bool Settings::*>(&setting.target)) {
    return value.read(settings.**yes);
  }
  return value.read(settings.*std::get<std::string Settings::*>(setting.target));
}

Result<> read_file(const std::string& path, const std::vector<std::string_view>& given,
                   Settings& settings) {
  const std::string text =
      TRY(sys::read_file_at(sys::working_directory, path.c_str(), file_bytes_max));
  const auto document = TRY(codec::json::Document::parse(text));
  for (const auto [key, value] : TRY(document.root().object())) {
    const std::string name = TRY(key.string());
    const auto setting = std::ranges::find(all_settings(), std::string_view(name), &Setting::key);
    if (name.empty() || setting == all_settings().end()) {
      return fail(Kind::Invalid,
                  cat("the following directives don't match any configuration option: ", name));
    }
    if (contains(given, setting->flag)) {
      return fail(Kind::Invalid,
                  cat("the following directives are specified both as a flag and in the "
                      "configuration file: ",
                      name));
    }
    TRY(read_key(value, *setting, settings));
  }
  return {};
}

Result<> check_host(const std::string& host, const Settings& settings) {
  const bool tcp = host.starts_with("tcp://");
  if (!tcp && !host.starts_with("unix://") && !host.starts_with("fd://")) {
    return fail(Kind::Invalid, cat("host '", host, "': must begin with unix://, fd:// or tcp://"));
  }
  const bool has_files =
      !settings.tlscacert.empty() && !settings.tlscert.empty() && !settings.tlskey.empty();
  if (tcp && !((settings.tls || settings.tlsverify) && has_files)) {
    return fail(Kind::Denied, cat("host '", host,
                                  "': TCP needs --tlsverify with --tlscacert, --tlscert and "
                                  "--tlskey: who can reach it is root here"));
  }
  return {};
}

Result<> check(const Settings& settings) {
  for (const std::string& host : settings.hosts) TRY(check_host(host, settings));
  for (const auto& [path, what] :
       {std::pair{&settings.data_root, "data-root"}, std::pair{&settings.exec_root, "exec-root"}}) {
    if (!path->starts_with('/')) return fail(Kind::Invalid, cat(what, ": must be absolute"));
  }
  constexpr std::string_view levels[] = {"debug", "info", "warn", "error"};
  if (!contains(levels, settings.log_level)) {
    return fail(Kind::Invalid, cat("log-level: '", settings.log_level, "': not a level"));
  }
  if (const std::string& address = settings.metrics_addr; !address.empty()) {
    const size_t colon = address.rfind(':');
    if (colon == std::string::npos || !parse_number<uint16_t>(address.substr(colon + 1))) {
      return fail(Kind::Invalid, cat("metrics-addr: '", address, "': must be ADDRESS:PORT"));
    }
  }
  TRY(read_pairs(settings.labels, "label"));
  TRY(read_pairs(settings.log_opts, "log-opt"));
  return {};
}

Result<> read_shm_size(Settings& settings) {
  if (settings.default_shm_size.empty()) return {};
  const auto name = [] { return std::string("default-shm-size"); };
  settings.shm_bytes = TRY(codec::parse_size(settings.default_shm_size).context(name));
  if (*settings.shm_bytes > 0) return {};
  return fail(Kind::Invalid, cat("default-shm-size: '", settings.default_shm_size,
                                 "': must be more than nothing"));
}

}  // namespace

LogLevel Settings::level() const {
  if (log_level == "debug") return LogLevel::Debug;
  if (log_level == "warn") return LogLevel::Warn;
  return log_level == "error" ? LogLevel::Error : LogLevel::Info;
}

Result<std::map<std::string, std::string>> read_pairs(const std::vector<std::string>& entries,
                                                      const char* what) {
  std::map<std::string, std::string> pairs;
  for (const std::string& entry : entries) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(Kind::Invalid, cat(what, " '", entry, "': must be KEY=VALUE"));
    }
    pairs[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return pairs;
}

Result<Settings> read_settings(const std::vector<std::string>& arguments) {
  Settings settings;
  const std::vector<std::string_view> given = TRY(read_flags(arguments, settings));
  if (settings.help || settings.version) return settings;
  const bool named = !settings.config_file.empty();
  const std::string path = named ? settings.config_file : default_config_file;
  Result<> read = read_file(path, given, settings).context(path);
  if (!read && (named || read.error().kind() != Kind::NotFound)) {
    return std::unexpected(std::move(read).error());
  }
  settings.config_file = read ? path : std::string();
  if (settings.hosts.empty()) settings.hosts.push_back(default_host);
  TRY(check(settings));
  TRY(read_shm_size(settings));
  return settings;
}

std::string settings_help() {
  std::string text =
      "usage: nacelled [OPTIONS]\n\nThe engine: Docker's API on a unix socket. Options that mean "
      "what dockerd's do are named so.\n\nOptions:\n";
  for (const Setting& each : all_settings()) {
    std::string line =
        each.letter != 0 ? cat("  -", each.letter, ", --", each.flag) : cat("      --", each.flag);
    if (!each.value_name.empty()) line += cat(" ", each.value_name);
    line.resize(std::max<size_t>(line.size() + 2, 36), ' ');
    text += cat(line, each.help, "\n");
  }
  return text;
}

}  // namespace nacelle::cli
