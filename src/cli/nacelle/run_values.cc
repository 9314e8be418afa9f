#include "cli/nacelle/run_values.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>

#include "base/text.h"
#include "cli/nacelle/units.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

std::unexpected<Error> wrong(std::string complaint) {
  return fail(Kind::Invalid, std::move(complaint));
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::optional<bool> truth(std::string_view text) {
  if (text == "true" || text == "1" || text == "t" || text == "T" || text == "TRUE") return true;
  if (text == "false" || text == "0" || text == "f" || text == "F" || text == "FALSE") return false;
  return std::nullopt;
}

// Mounts ---------------------------------------------------------------------------------------

struct MountFields {
  engine::MountRequest& mount;

  engine::BindOptions& bind() {
    if (!mount.bind_options) mount.bind_options.emplace();
    return *mount.bind_options;
  }
  engine::VolumeOptions& volume() {
    if (!mount.volume_options) mount.volume_options.emplace();
    return *mount.volume_options;
  }
  engine::VolumeDriverConfig& driver() {
    if (!volume().driver_config) volume().driver_config.emplace();
    return *volume().driver_config;
  }
  engine::TmpfsOptions& tmpfs() {
    if (!mount.tmpfs_options) mount.tmpfs_options.emplace();
    return *mount.tmpfs_options;
  }

  Result<> set(const std::string& key, std::string_view value, std::string_view field);
  Result<> set_recursive(std::string_view value);
};

Result<> MountFields::set_recursive(std::string_view value) {
  if (value == "enabled") return {};
  if (value == "disabled") {
    bind().non_recursive = true;
  } else if (value == "writable") {
    bind().read_only_non_recursive = true;
  } else if (value == "readonly") {
    bind().read_only_force_recursive = true;
  } else {
    return wrong(cat("invalid value for bind-recursive: ", value,
                     " (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"));
  }
  return {};
}

Result<> MountFields::set(const std::string& key, std::string_view value, std::string_view field) {
  const auto yes = [&]() -> Result<bool> {
    const std::optional<bool> found = truth(value);
    if (!found) return wrong(cat("invalid value for ", key, ": ", value));
    return *found;
  };
  if (key == "type") {
    mount.type = lower(value);
  } else if (key == "source" || key == "src") {
    mount.source = value;
    // A relative path is one of this directory's.
    if (value.starts_with('.')) {
      char* here = ::realpath(".", nullptr);
      if (here != nullptr) {
        mount.source = value == "." ? std::string(here)
                                    : cat(here, '/', value.substr(value.starts_with("./") ? 2 : 0));
        ::free(here);
      }
    }
  } else if (key == "target" || key == "dst" || key == "destination") {
    mount.target = value;
  } else if (key == "readonly" || key == "ro") {
    mount.read_only = TRY(yes());
  } else if (key == "consistency") {
    mount.consistency = lower(value);
  } else if (key == "bind-propagation") {
    bind().propagation = lower(value);
  } else if (key == "bind-nonrecursive") {
    bind().non_recursive = TRY(yes());
  } else if (key == "bind-recursive") {
    return set_recursive(value);
  } else if (key == "bind-create-mountpoint" || key == "bind-create-src") {
    bind().create_mountpoint = TRY(yes());
  } else if (key == "volume-subpath") {
    volume().subpath = value;
  } else if (key == "volume-nocopy") {
    volume().no_copy = TRY(yes());
  } else if (key == "volume-label") {
    add_pair(volume().labels, value);
  } else if (key == "volume-driver") {
    driver().name = value;
  } else if (key == "volume-opt") {
    add_pair(driver().options, value);
  } else if (key == "image-subpath") {
    if (!mount.image_options) mount.image_options.emplace();
    mount.image_options->subpath = value;
  } else if (key == "tmpfs-size") {
    const Result<int64_t> size = parse_binary_size(value);
    if (!size) return wrong(cat("invalid value for ", key, ": ", value));
    tmpfs().size_bytes = *size;
  } else if (key == "tmpfs-mode") {
    const std::optional<uint32_t> mode = parse_number<uint32_t>(value, 8);
    if (!mode) return wrong(cat("invalid value for ", key, ": ", value));
    tmpfs().mode = *mode;
  } else {
    return wrong(cat("unexpected key '", key, "' in '", field, "'"));
  }
  return {};
}

Result<> check_mount(const engine::MountRequest& mount) {
  if (mount.type.empty()) return wrong("type is required");
  if (mount.target.empty()) return wrong("target is required");
  const auto mixed = [&](std::string_view options) {
    return wrong(cat("cannot mix '", options, "-*' options with mount type '", mount.type, "'"));
  };
  if (mount.type != "volume" && mount.volume_options) return mixed("volume");
  if (mount.type != "bind" && mount.bind_options) return mixed("bind");
  if (mount.type != "tmpfs" && mount.tmpfs_options) return mixed("tmpfs");
  if (mount.type != "image" && mount.image_options) return mixed("image");
  if (mount.bind_options && mount.bind_options->read_only_non_recursive && !mount.read_only) {
    return wrong(
        "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction");
  }
  if (mount.bind_options && mount.bind_options->read_only_force_recursive) {
    if (!mount.read_only) {
      return wrong(
          "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction");
    }
    if (mount.bind_options->propagation != "rprivate") {
      return wrong(
          "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified "
          "in "
          "conjunction");
    }
  }
  return {};
}

// Ports ----------------------------------------------------------------------------------------

struct PortRange {
  unsigned first = 0, last = 0;
};

std::optional<PortRange> parse_range(std::string_view text) {
  std::string_view last = text;
  const std::string_view first = take_until(last, '-');
  const auto from = parse_number<uint16_t>(first);
  const auto to = text.contains('-') ? parse_number<uint16_t>(last) : from;
  if (!from || !to || *from > *to) return std::nullopt;
  return PortRange{*from, *to};
}

Result<std::string> protocol_of(std::string_view& text) {
  std::string_view protocol = text;
  text = take_until(protocol, '/');
  const std::string name = protocol.empty() ? "tcp" : lower(protocol);
  if (name != "tcp" && name != "udp" && name != "sctp") {
    return wrong(cat("invalid proto: ", protocol));
  }
  return name;
}

// The long form, made the short one.
Result<std::string> short_form(std::string_view text) {
  std::string target, published, protocol = "tcp", mode = "ingress";
  for (const std::string& field : TRY(parse_csv(text))) {
    std::string_view value = field;
    const std::string key = lower(take_until(value, '='));
    if (!field.contains('=')) {
      return wrong(cat("invalid field format. it should be of the form key=value: ", field));
    }
    if (key == "protocol") {
      protocol = value;
    } else if (key == "mode") {
      mode = value;
    } else if (key == "target" || key == "published") {
      if (!parse_number<uint16_t>(value)) {
        return wrong(cat("invalid ", key, " port (", value, "): value must be an integer"));
      }
      (key == "target" ? target : published) = value;
    } else {
      return wrong(cat("invalid field key ", key));
    }
  }
  if (target.empty()) return wrong("missing mandatory field 'target'");
  return published.empty() ? cat(target, '/', protocol)
                           : cat(published, ':', target, '/', protocol);
}

}  // namespace

Result<std::vector<std::string>> parse_csv(std::string_view text) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (at + 1 < text.size() && text[at + 1] == '"') {
        fields.back() += '"';
        ++at;
      } else {
        quoted = false;
        if (at + 1 < text.size() && text[at + 1] != ',') {
          return wrong("extraneous or missing \" in quoted-field");
        }
      }
    } else if (c == ',') {
      fields.emplace_back();
    } else if (c == '"') {
      if (!fields.back().empty()) return wrong("bare \" in non-quoted-field");
      quoted = true;
    } else {
      fields.back() += c;
    }
  }
  if (quoted) return wrong("extraneous or missing \" in quoted-field");
  return fields;
}

void add_pair(engine::Labels& to, std::string_view text) {
  std::string_view value = text;
  const std::string_view key = take_until(value, '=');
  to[std::string(key)] = value;
}

Result<engine::MountRequest> parse_mount(std::string_view text) {
  if (text.empty()) return wrong("value is empty");
  engine::MountRequest mount;
  mount.type = "volume";
  MountFields fields{mount};
  for (const std::string& field : TRY(parse_csv(text))) {
    std::string_view value = field;
    const std::string key = lower(take_until(value, '='));
    if (!field.contains('=')) {
      if (key != "readonly" && key != "ro" && key != "volume-nocopy" &&
          key != "bind-nonrecursive") {
        return wrong(cat("invalid field '", field, "' must be a key=value pair"));
      }
      value = "true";
    }
    TRY(fields.set(key, value, field));
  }
  TRY(check_mount(mount));
  return mount;
}

Result<> add_exposed(std::string_view text, engine::Keys& exposed) {
  if (text.contains(':')) return wrong(cat("invalid port format for --expose: ", text));
  std::string_view ports = text;
  const std::string protocol = TRY(protocol_of(ports));
  const std::optional<PortRange> range = parse_range(ports);
  if (!range) return wrong(cat("invalid range format for --expose: ", text));
  for (unsigned port = range->first; port <= range->last; ++port) {
    exposed[cat(port, '/', protocol)];
  }
  return {};
}

Result<> add_published(std::string_view text, engine::Keys& exposed, engine::PortMap& bindings) {
  std::string converted;
  if (text.contains('=')) {
    converted = TRY(short_form(text));
    text = converted;
  }
  std::string_view rest = text;
  const std::string protocol = TRY(protocol_of(rest));
  const size_t last_colon = rest.rfind(':');
  const std::string_view inside =
      last_colon == std::string_view::npos ? rest : rest.substr(last_colon + 1);
  std::string_view host, address;
  if (last_colon != std::string_view::npos) {
    host = rest.substr(0, last_colon);
    const size_t colon = host.rfind(':');
    if (colon != std::string_view::npos) {
      address = host.substr(0, colon);
      host = host.substr(colon + 1);
      if (address.starts_with('[') && address.ends_with(']')) {
        address = address.substr(1, address.size() - 2);
      }
    }
  }
  if (inside.empty()) return wrong(cat("no port specified: ", text, "<empty>"));
  if (!address.empty()) {
    unsigned char bytes[16];
    const std::string copy(address);
    if (::inet_pton(AF_INET, copy.c_str(), bytes) != 1 &&
        ::inet_pton(AF_INET6, copy.c_str(), bytes) != 1) {
      return wrong(cat("invalid IP address: ", address));
    }
  }
  const std::optional<PortRange> container = parse_range(inside);
  if (!container) return wrong(cat("invalid containerPort: ", inside));
  std::optional<PortRange> outside;
  if (!host.empty()) {
    outside = parse_range(host);
    if (!outside) return wrong(cat("invalid hostPort: ", host));
  }
  const unsigned count = container->last - container->first;
  // One port may have any of a range; otherwise each has its own.
  const bool any = outside && count == 0 && outside->last != outside->first;
  if (outside && !any && outside->last - outside->first != count) {
    return wrong(
        cat("invalid ranges specified for container and host Ports: ", inside, " and ", host));
  }
  for (unsigned each = 0; each <= count; ++each) {
    const std::string port = cat(container->first + each, '/', protocol);
    exposed[port];
    bindings[port].push_back({.host_ip = std::string(address),
                              .host_port = any       ? std::string(host)
                                           : outside ? cat(outside->first + each)
                                                     : std::string()});
  }
  return {};
}

Result<NetworkChoice> parse_network(std::string_view text) {
  NetworkChoice choice;
  if (!text.contains('=')) {
    choice.name = text;
    return choice;
  }
  const auto ipam = [&]() -> engine::EndpointIpamConfig& {
    if (!choice.endpoint.ipam_config) choice.endpoint.ipam_config.emplace();
    return *choice.endpoint.ipam_config;
  };
  for (const std::string& field : TRY(parse_csv(text))) {
    std::string_view value = field;
    const std::string key = lower(take_until(value, '='));
    if (!field.contains('=')) return wrong(cat("invalid field ", field));
    if (key == "name") {
      choice.name = value;
    } else if (key == "alias") {
      choice.endpoint.aliases.emplace_back(value);
    } else if (key == "ip") {
      ipam().ipv4_address = value;
    } else if (key == "ip6") {
      ipam().ipv6_address = value;
    } else if (key == "link-local-ip") {
      ipam().link_local_ips.emplace_back(value);
    } else if (key == "mac-address") {
      choice.endpoint.mac_address = TRY(check_mac_address(value));
    } else if (key == "driver-opt") {
      add_pair(choice.endpoint.driver_opts, value);
    } else if (key == "gw-priority") {
      const auto priority = parse_number<int64_t>(value);
      if (!priority) return wrong(cat("invalid gw-priority: ", value));
      choice.endpoint.gw_priority = *priority;
    } else {
      return wrong(cat("invalid field key ", key));
    }
  }
  if (choice.name.empty()) return wrong("network name/id is not specified");
  return choice;
}

bool is_cdi_device(std::string_view text) {
  if (text.starts_with('/')) return false;
  const size_t slash = text.find('/'), equals = text.find('=');
  return slash != std::string_view::npos && slash != 0 && equals != std::string_view::npos &&
         equals > slash + 1 && equals + 1 < text.size();
}

Result<engine::DeviceMapping> parse_device(std::string_view text) {
  std::string_view rest = text;
  const std::string_view source = take_until(rest, ':');
  const bool has_second = text.contains(':');
  std::string_view target = take_until(rest, ':');
  std::string_view permissions = rest;
  const auto is_mode = [](std::string_view mode) {
    return !mode.empty() && mode.find_first_not_of("rwm") == std::string_view::npos;
  };
  if (source.empty() || rest.contains(':')) return wrong(cat("bad format for path: ", text));
  if (has_second && permissions.empty() && is_mode(target)) std::swap(permissions, target);
  if (!permissions.empty() && !is_mode(permissions)) {
    return wrong(cat("bad mode specified: ", permissions));
  }
  if (!source.starts_with('/')) return wrong(cat(source, " is not an absolute path"));
  if (!target.empty() && !target.starts_with('/'))
    return wrong(cat(target, " is not an absolute path"));
  return engine::DeviceMapping{
      .path_on_host = std::string(source),
      .path_in_container = std::string(target.empty() ? source : target),
      .cgroup_permissions = std::string(permissions.empty() ? "rwm" : permissions)};
}

Result<engine::DeviceRequest> parse_gpus(std::string_view text) {
  engine::DeviceRequest request;
  bool has_count = false, has_ids = false;
  std::vector<std::string> capabilities{"gpu"};
  const auto count = [&](std::string_view value) -> Result<> {
    has_count = true;
    if (value == "all") {
      request.count = -1;
      return {};
    }
    const auto number = parse_number<int64_t>(value);
    if (!number) {
      return wrong(cat("invalid count (", value, "): value must be either \"all\" or an integer"));
    }
    request.count = *number;
    return {};
  };
  for (const std::string& field : TRY(parse_csv(text))) {
    std::string_view value = field;
    const std::string key(take_until(value, '='));
    if (!field.contains('=')) {
      TRY(count(field));
    } else if (key == "count") {
      TRY(count(value));
    } else if (key == "driver") {
      request.driver = value;
    } else if (key == "device") {
      has_ids = true;
      while (!value.empty()) request.device_ids.emplace_back(take_until(value, ','));
    } else if (key == "capabilities") {
      capabilities.clear();
      while (!value.empty()) capabilities.emplace_back(take_until(value, ','));
      if (!contains(capabilities, "gpu")) capabilities.emplace_back("gpu");
    } else if (key == "options") {
      for (const std::string& each : TRY(parse_csv(value))) add_pair(request.options, each);
    } else {
      return wrong(cat("unexpected key '", key, "' in '", field, "'"));
    }
  }
  if (!has_count && !has_ids) request.count = 1;
  request.capabilities.push_back(std::move(capabilities));
  return request;
}

Result<engine::Ulimit> parse_ulimit(std::string_view text) {
  constexpr std::string_view names[] = {"core",    "cpu",      "data",   "fsize",      "locks",
                                        "memlock", "msgqueue", "nice",   "nofile",     "nproc",
                                        "rss",     "rtprio",   "rttime", "sigpending", "stack"};
  std::string_view values = text;
  const std::string_view name = take_until(values, '=');
  if (!text.contains('=') || name.empty()) return wrong(cat("invalid ulimit argument: ", text));
  if (!contains(names, name)) return wrong(cat("invalid ulimit type: ", name));
  std::string_view hard_text = values;
  const std::string_view soft_text = take_until(hard_text, ':');
  const auto soft = parse_number<int64_t>(soft_text);
  const auto hard = values.contains(':') ? parse_number<int64_t>(hard_text) : soft;
  if (!soft || !hard) return wrong(cat("invalid ulimit argument: ", text));
  if (*hard != -1 && (*soft == -1 || *soft > *hard)) {
    return wrong(
        cat("ulimit soft limit must be less than or equal to hard limit: ", *soft, " > ", *hard));
  }
  return engine::Ulimit{.name = std::string(name), .hard = *hard, .soft = *soft};
}

Result<engine::RestartPolicy> parse_restart(std::string_view text) {
  engine::RestartPolicy policy;
  if (text.empty()) return policy;
  std::string_view count = text;
  const std::string_view name = take_until(count, ':');
  if (name.empty()) {
    return wrong("invalid restart policy format: no policy provided before colon");
  }
  policy.name = name;
  if (text.contains(':')) {
    const auto number = parse_number<int64_t>(count);
    if (!number) {
      return wrong("invalid restart policy format: maximum retry count must be an integer");
    }
    policy.maximum_retry_count = *number;
  }
  return policy;
}

Result<engine::WeightDevice> parse_weight_device(std::string_view text) {
  std::string_view value = text;
  const std::string_view path = take_until(value, ':');
  if (!text.contains(':')) return wrong(cat("bad format: ", text));
  if (!path.starts_with("/dev/")) {
    return wrong(cat("bad format for device path: ", text));
  }
  const auto weight = parse_number<uint16_t>(value);
  if (!weight || (*weight != 0 && (*weight < 10 || *weight > 1000))) {
    return wrong(cat("invalid weight for device: ", text));
  }
  return engine::WeightDevice{.path = std::string(path), .weight = *weight};
}

Result<engine::ThrottleDevice> parse_throttle(std::string_view text, bool bytes) {
  std::string_view value = text;
  const std::string_view path = take_until(value, ':');
  if (!text.contains(':')) return wrong(cat("bad format: ", text));
  if (!path.starts_with("/dev/")) return wrong(cat("bad format for device path: ", text));
  if (bytes) {
    const Result<int64_t> rate = parse_binary_size(value);
    if (!rate) {
      return wrong(cat("invalid rate for device: ", text,
                       ". The correct format is <device-path>:<number>[<unit>]. Number must be a "
                       "positive integer. Unit is optional and can be kb, mb, or gb"));
    }
    return engine::ThrottleDevice{.path = std::string(path), .rate = static_cast<uint64_t>(*rate)};
  }
  const auto rate = parse_number<uint64_t>(value);
  if (!rate) {
    return wrong(cat("invalid rate for device: ", text,
                     ". The correct format is <device-path>:<number>. Number must be a positive "
                     "integer"));
  }
  return engine::ThrottleDevice{.path = std::string(path), .rate = *rate};
}

Result<int64_t> parse_cpus(std::string_view text) {
  char* end = nullptr;
  const std::string copy(text);
  const double value = std::strtod(copy.c_str(), &end);
  if (copy.empty() || *end != 0 || !(value >= 0) || value > 1e6) {
    return wrong(cat("failed to parse ", text, " as a rational number"));
  }
  std::string_view fraction = text;
  take_until(fraction, '.');
  if (fraction.size() > 9) return wrong("value is too precise");
  return static_cast<int64_t>(std::llround(value * 1e9));
}

Result<std::string> check_added_host(std::string_view text) {
  // HOST:IP or HOST=IP; with '=' the address may stand in brackets.
  const size_t equals = text.find('='), colon = text.find(':');
  const size_t at = equals < colon ? equals : colon;
  if (at == std::string_view::npos || at == 0)
    return wrong(cat("bad format for add-host: \"", text, '"'));
  const std::string_view host = text.substr(0, at);
  std::string_view address = text.substr(at + 1);
  if (address.starts_with('[') && address.ends_with(']')) {
    address = address.substr(1, address.size() - 2);
  }
  unsigned char bytes[16];
  const std::string copy(address);
  if (address != "host-gateway" && ::inet_pton(AF_INET, copy.c_str(), bytes) != 1 &&
      ::inet_pton(AF_INET6, copy.c_str(), bytes) != 1) {
    return wrong(cat("invalid IP address in add-host: \"", address, '"'));
  }
  return cat(host, ':', address);
}

Result<std::string> check_mac_address(std::string_view text) {
  const bool shaped = text.size() == 17 && [&] {
    for (size_t at = 0; at < text.size(); ++at) {
      const bool separator = at % 3 == 2;
      if (separator ? text[at] != ':' && text[at] != '-'
                    : std::isxdigit(static_cast<unsigned char>(text[at])) == 0) {
        return false;
      }
    }
    return true;
  }();
  if (!shaped) return wrong(cat(text, " is not a valid mac address"));
  return std::string(text);
}

std::string with_environment(std::string_view text) {
  if (text.contains('=')) return std::string(text);
  const std::string name(text);
  const char* value = ::getenv(name.c_str());
  return value == nullptr ? name : cat(name, '=', value);
}

Result<std::vector<std::string>> read_variables(const std::string& path, bool from_environment) {
  constexpr size_t bytes_max = 16u << 20;
  const std::string text = TRY(sys::read_file_at(sys::working_directory, path.c_str(), bytes_max));
  if (!is_utf8(text)) return wrong(cat("env file ", path, " contains invalid utf8 bytes"));
  std::string_view rest = text;
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  std::vector<std::string> lines;
  while (!rest.empty()) {
    std::string_view line = take_until(rest, '\n');
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.front())) != 0) {
      line.remove_prefix(1);
    }
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line[0] == '#') continue;
    std::string_view value = line;
    const std::string_view name = take_until(value, '=');
    if (name.find_first_of(" \t") != std::string_view::npos) {
      return wrong(cat("variable '", name, "' contains whitespaces"));
    }
    if (name.empty()) return wrong(cat("no variable name on line '", line, "'"));
    if (line.contains('=')) {
      lines.emplace_back(line);
    } else if (from_environment && ::getenv(std::string(name).c_str()) != nullptr) {
      lines.push_back(with_environment(name));
    }
  }
  return lines;
}

}  // namespace nacelle::cli
