// Devices: nodes a container gets, and rules about which it may use. What the host has is looked up
// by stat; a directory stands for all nodes below it.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/text.h"
#include "container/plan.h"
#include "engine/spec_parts.h"
#include "nacelle/fd.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

constexpr size_t devices_max = 4096;
constexpr int directory_depth_max = 8;

bool is_access(std::string_view text) {
  return !text.empty() && text.size() <= 3 &&
         text.find_first_not_of("rwm") == std::string_view::npos;
}

oci::Device device_of(const struct stat& status, std::string path) {
  oci::Device device;
  device.type = S_ISBLK(status.st_mode) ? 'b' : 'c';
  device.path = std::move(path);
  device.major = major(status.st_rdev);
  device.minor = minor(status.st_rdev);
  device.file_mode = status.st_mode & 07777;
  device.uid = status.st_uid;
  device.gid = status.st_gid;
  return device;
}

bool is_device(const struct stat& status) {
  return S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode);
}

using Directory = std::unique_ptr<DIR, decltype([](DIR* stream) { closedir(stream); })>;

// What lies in /dev that is the host's own business.
bool is_host_only(std::string_view name) {
  constexpr std::array names = {"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"};
  return contains(names, name);
}

// Device nodes below `host_path`, at the same places below `path`. Links are not followed.
Result<> collect(const std::string& host_path, const std::string& path, int depth, bool all_of_host,
                 std::vector<oci::Device>& devices) {
  if (depth > directory_depth_max) return {};
  const Directory stream(::opendir(host_path.c_str()));
  if (!stream) return fail_errno(errno, cat("open ", host_path));
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    if (names.size() > devices_max)
      return fail(Kind::Exhausted, cat(host_path, ": too many files"));
  }
  std::ranges::sort(names);
  for (const std::string& name : names) {
    if (all_of_host && is_host_only(name)) continue;
    if (all_of_host && depth == 0 && (name == "console" || name == "ptmx")) continue;
    struct stat status;
    if (::fstatat(::dirfd(stream.get()), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const std::string host_inner = cat(host_path, "/", name);
    const std::string inner = cat(path, "/", name);
    if (S_ISDIR(status.st_mode)) {
      TRY(collect(host_inner, inner, depth + 1, all_of_host, devices));
    } else if (is_device(status)) {
      if (devices.size() >= devices_max) return fail(Kind::Exhausted, "too many devices");
      devices.push_back(device_of(status, inner));
    }
  }
  return {};
}

Result<std::vector<oci::Device>> devices_at(const DeviceMapping& mapping) {
  const std::string& host_path = mapping.path_on_host;
  const std::string path =
      mapping.path_in_container.empty() ? host_path : mapping.path_in_container;
  const auto complain = [&](std::string_view why) {
    return fail(Kind::Invalid,
                cat("error gathering device information while adding custom device \"", host_path,
                    "\": ", why));
  };
  if (!host_path.starts_with('/') || !path.starts_with('/') || !is_plain_text(path)) {
    return complain("not an absolute path");
  }
  struct stat status;
  if (::stat(host_path.c_str(), &status) != 0) {
    if (errno == ENOENT) return complain("no such file or directory");
    return complain(Error::from_errno(errno, "stat").message());
  }
  std::vector<oci::Device> devices;
  if (is_device(status)) {
    devices.push_back(device_of(status, container::clean_path(path)));
  } else if (S_ISDIR(status.st_mode)) {
    TRY(collect(container::clean_path(host_path), container::clean_path(path), 0, false, devices));
  } else {
    return complain("not a device node");
  }
  return devices;
}

oci::DeviceRule rule_of(const oci::Device& device, std::string access) {
  return {.allow = true,
          .type = device.type,
          .major = device.major,
          .minor = device.minor,
          .access = std::move(access)};
}

// What every container may use, as dockerd writes it.
void add_default_rules(std::vector<oci::DeviceRule>& rules) {
  rules.push_back({.allow = false, .type = 'a', .major = {}, .minor = {}, .access = "rwm"});
  constexpr std::pair<int, int> allowed[] = {{1, 5}, {1, 3}, {1, 9}, {1, 8}, {5, 0}, {5, 1}};
  for (const auto& [major, minor] : allowed) {
    rules.push_back({.allow = true, .type = 'c', .major = major, .minor = minor, .access = "rwm"});
  }
  constexpr int misc = 10, fuse = 229;
  rules.push_back({.allow = false, .type = 'c', .major = misc, .minor = fuse, .access = "rwm"});
}

std::string capability_lists(const std::vector<std::vector<std::string>>& lists) {
  std::string text = "[";
  for (const auto& list : lists) {
    if (text.size() > 1) text += ' ';
    text += '[';
    for (size_t i = 0; i < list.size(); ++i) text += cat(i > 0 ? " " : "", list[i]);
    text += ']';
  }
  return text + "]";
}

Result<> add_privileged(const HostConfig& host, oci::Linux& linux_) {
  TRY(collect("/dev", "/dev", 0, true, linux_.devices));
  for (const DeviceMapping& mapping : host.devices) {
    if (mapping.path_on_host == mapping.path_in_container) continue;
    for (oci::Device& device : TRY(devices_at(mapping))) {
      linux_.devices.push_back(std::move(device));
    }
  }
  linux_.resources.devices = {
      {.allow = true, .type = 'a', .major = {}, .minor = {}, .access = "rwm"}};
  return {};
}

}  // namespace

Result<oci::DeviceRule> parse_device_rule(std::string_view text) {
  const auto complain = [&] {
    return fail(Kind::Invalid, cat("invalid device cgroup rule format: '", text, "'"));
  };
  std::string_view rest = text;
  const std::string_view type = take_until(rest, ' ');
  const std::string_view numbers = take_until(rest, ' ');
  if ((type != "a" && type != "b" && type != "c") || !is_access(rest)) return complain();
  if (std::ranges::count(numbers, ':') != 1) return complain();
  oci::DeviceRule rule{
      .allow = true, .type = type[0], .major = {}, .minor = {}, .access = std::string(rest)};
  const size_t colon = numbers.find(':');
  const std::pair<std::string_view, std::optional<int64_t>*> parts[] = {
      {numbers.substr(0, colon), &rule.major}, {numbers.substr(colon + 1), &rule.minor}};
  for (const auto& [part, number] : parts) {
    if (part == "*") continue;
    const auto value = parse_number<uint32_t>(part);
    if (!value) return complain();
    *number = *value;
  }
  return rule;
}

Result<> add_devices(const HostConfig& host, oci::Linux& linux_) {
  if (host.privileged) {
    TRY(add_privileged(host, linux_));
  } else {
    std::vector<oci::DeviceRule>& rules = linux_.resources.devices;
    add_default_rules(rules);
    for (const DeviceMapping& mapping : host.devices) {
      const std::string access =
          mapping.cgroup_permissions.empty() ? "rwm" : mapping.cgroup_permissions;
      if (!is_access(access)) {
        return fail(Kind::Invalid, cat("invalid device mode: ", access));
      }
      for (oci::Device& device : TRY(devices_at(mapping))) {
        rules.push_back(rule_of(device, access));
        linux_.devices.push_back(std::move(device));
      }
    }
    for (const std::string& rule : host.device_cgroup_rules) {
      rules.push_back(TRY(parse_device_rule(rule)));
    }
  }
  if (!host.device_requests.empty()) {
    const DeviceRequest& first = host.device_requests.front();
    return fail(Kind::Invalid, cat("could not select device driver \"", first.driver,
                                   "\" with capabilities: ", capability_lists(first.capabilities)));
  }
  return {};
}

}  // namespace nacelle::engine
