// Mounts that were asked for, in all of Docker's ways, one per destination; and what options a
// tmpfs may have. Pure: whether a source exists is the host's to say, later.
#include <algorithm>
#include <array>
#include <set>

#include "base/text.h"
#include "container/plan.h"
#include "engine/spec_parts.h"

namespace nacelle::engine {
namespace {

using container::clean_path;

std::unexpected<Error> invalid(std::string text) { return fail(Kind::Invalid, std::move(text)); }

constexpr std::array propagation_words = {"private", "rprivate", "slave",
                                          "rslave",  "shared",   "rshared"};

// "ro,z,rslave": the third part of a bind.
struct BindMode {
  bool read_only = false;
  bool no_copy = false;
  std::string propagation;
};

// Nothing: not a mode. Of each kind of word one may be there.
std::optional<BindMode> parse_bind_mode(std::string_view text) {
  BindMode mode;
  int access = 0, label = 0, propagation = 0, copy = 0, consistency = 0;
  while (!text.empty()) {
    const bool more = text.contains(',');
    const std::string_view word = take_until(text, ',');
    if (word == "rw" || word == "ro") {
      ++access;
      mode.read_only = word == "ro";
    } else if (word == "z" || word == "Z") {
      ++label;
    } else if (contains(propagation_words, word)) {
      ++propagation;
      mode.propagation = word;
    } else if (word == "copy" || word == "nocopy") {
      ++copy;
      mode.no_copy = word == "nocopy";
    } else if (word == "consistent" || word == "cached" || word == "delegated") {
      ++consistency;
    } else {
      return std::nullopt;
    }
    if (more && text.empty()) return std::nullopt;
  }
  if (std::max({access, label, propagation, copy, consistency}) > 1) return std::nullopt;
  return mode;
}

bool is_local_path(std::string_view path) {
  int depth = 0;
  if (path.empty() || path.starts_with('/')) return false;
  while (!path.empty()) {
    const std::string_view part = take_until(path, '/');
    if (part.empty() || part == ".") continue;
    depth += part == ".." ? -1 : 1;
    if (depth < 0) return false;
  }
  return true;
}

// Options of the bind that brings `plan` about.
void set_bind_options(MountPlan& plan, const BindOptions& bind) {
  plan.options = {bind.non_recursive ? "bind" : "rbind"};
  if (!plan.point.rw) {
    plan.options.emplace_back(bind.read_only_non_recursive || bind.non_recursive ? "ro" : "rro");
  }
  plan.options.push_back(plan.point.propagation.empty() ? "rprivate" : plan.point.propagation);
}

MountPlan plan_of_volume(std::string name, std::string target, std::string mode, bool rw) {
  MountPlan plan;
  plan.anonymous = name.empty();
  plan.point.type = "volume";
  plan.point.name = std::move(name);
  plan.point.destination = clean_path(target);
  plan.point.driver = "local";
  plan.point.mode = std::move(mode);
  plan.point.rw = rw;
  set_bind_options(plan, {});
  return plan;
}

Result<MountPlan> parse_bind(const std::string& raw, const std::string& volume_driver) {
  const auto complain = [&] { return invalid(cat("invalid volume specification: '", raw, "'")); };
  std::vector<std::string_view> parts;
  for (std::string_view rest = raw;;) {
    const bool more = rest.contains(':');
    parts.push_back(take_until(rest, ':'));
    if (!more) break;
  }
  if (parts.size() > 3 || parts[0].empty()) return complain();
  if (parts.size() == 2 && parse_bind_mode(parts[1])) return complain();
  const std::string mode_text(parts.size() == 3 ? parts[2] : "");
  const auto mode = parse_bind_mode(mode_text);
  if (!mode) return invalid(cat("invalid mode: ", mode_text));
  const std::string source(parts.size() > 1 ? parts[0] : "");
  const std::string target(parts.size() > 1 ? parts[1] : parts[0]);
  const bool is_bind = source.starts_with('/');

  // What is wrong with it is said as of a mount of that type.
  MountRequest as_mount;
  as_mount.type = is_bind ? "bind" : "volume";
  as_mount.source = source;
  as_mount.target = target;
  as_mount.read_only = mode->read_only && !source.empty();
  if (!mode->propagation.empty()) as_mount.bind_options.emplace().propagation = mode->propagation;
  const auto with_spec = [&] { return cat("invalid volume specification: '", raw, "'"); };
  TRY(check_mount_request(as_mount).context(with_spec));
  if (!is_bind) {
    MountPlan plan = plan_of_volume(source, target, mode_text, !mode->read_only);
    if (plan.point.mode.empty()) plan.point.mode = "z";
    if (!volume_driver.empty()) plan.point.driver = volume_driver;
    plan.no_copy = mode->no_copy;
    return plan;
  }
  MountPlan plan;
  plan.point.type = "bind";
  plan.point.source = clean_path(source);
  plan.point.destination = clean_path(target);
  plan.point.mode = mode_text;
  plan.point.rw = !mode->read_only;
  plan.point.propagation = mode->propagation.empty() ? "rprivate" : mode->propagation;
  plan.create_source = true;  // `-v` makes a directory where there is nothing
  set_bind_options(plan, {});
  return plan;
}

Result<std::vector<std::string>> options_of_tmpfs_mount(const MountRequest& mount) {
  std::string data;
  const auto add = [&](std::string_view word) { data += cat(data.empty() ? "" : ",", word); };
  if (mount.read_only) add("ro");
  if (mount.tmpfs_options) {
    const TmpfsOptions& tmpfs = *mount.tmpfs_options;
    if (tmpfs.size_bytes < 0) return invalid("invalid tmpfs size");
    if (tmpfs.size_bytes > 0) add(cat("size=", tmpfs.size_bytes));
    if (tmpfs.mode != 0) {
      char octal[16];
      const auto end = std::to_chars(octal, octal + sizeof octal, tmpfs.mode & 07777, 8).ptr;
      add(cat("mode=", std::string_view(octal, static_cast<size_t>(end - octal))));
    }
    for (const auto& option : tmpfs.options) {
      if (option.empty() || option.size() > 2) return invalid("invalid option array length");
      const bool known = option.size() == 1 && (option[0] == "exec" || option[0] == "noexec");
      if (!known) return invalid(cat("invalid option: ", option[0]));
      add(option[0]);
    }
  }
  return tmpfs_options(data);
}

Result<MountPlan> plan_of_request(const MountRequest& mount) {
  MountPlan plan;
  if (mount.type == "volume") {
    plan = plan_of_volume(mount.source, mount.target, "z", !mount.read_only);
    if (mount.volume_options) {
      plan.no_copy = mount.volume_options->no_copy;
      plan.subpath = mount.volume_options->subpath;
      const auto& driver = mount.volume_options->driver_config;
      if (driver && !driver->name.empty()) plan.point.driver = driver->name;
    }
    return plan;
  }
  plan.point.type = mount.type;
  plan.point.destination = clean_path(mount.target);
  plan.point.rw = !mount.read_only;
  if (mount.type == "tmpfs") {
    plan.options = TRY(options_of_tmpfs_mount(mount));
    return plan;
  }
  if (mount.type == "image") {
    plan.point.source = mount.source;
    plan.point.rw = false;
    if (mount.image_options) plan.subpath = mount.image_options->subpath;
    set_bind_options(plan, {});
    return plan;
  }
  const BindOptions bind = mount.bind_options.value_or(BindOptions{});
  plan.point.source = clean_path(mount.source);
  plan.point.propagation = bind.propagation.empty() ? "rprivate" : bind.propagation;
  plan.create_source = bind.create_mountpoint;
  set_bind_options(plan, bind);
  return plan;
}

// "container[:ro|rw]"; whether what comes from it can be written.
Result<bool> parse_volumes_from(std::string_view text) {
  if (text.empty()) return invalid("volumes-from specification cannot be an empty string");
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return true;
  const std::string_view mode_text = text.substr(colon + 1);
  const auto mode = parse_bind_mode(mode_text);
  if (!mode || mode_text.empty() || !mode->propagation.empty() || mode_text.contains("copy")) {
    return invalid(cat("invalid mode: ", mode_text));
  }
  return !mode->read_only;
}

// Collects plans; a later way of asking takes the place of what came with VolumesFrom, and two of
// the same rank for one place are an error.
class Planner {
 public:
  explicit Planner(const CreateRequest& request) : request_(request) {
    for (const auto& [target, options] : request.host.tmpfs) tmpfs_.insert(clean_path(target));
  }

  Result<> inherit(const std::vector<std::vector<MountPoint>>& volumes_from) {
    const std::vector<std::string>& specs = request_.host.volumes_from;
    for (size_t i = 0; i < specs.size(); ++i) {
      const bool writable = TRY(parse_volumes_from(specs[i]));
      if (i >= volumes_from.size()) continue;
      for (const MountPoint& point : volumes_from[i]) {
        if (tmpfs_.contains(point.destination)) continue;
        MountPlan plan;
        plan.point = point;
        plan.point.rw = point.rw && writable;
        // What was mounted there once has been filled then.
        plan.no_copy = true;
        set_bind_options(plan, {});
        put(std::move(plan));
      }
    }
    return {};
  }

  // A bind and a tmpfs of HostConfig contradict each other; a Mount takes such a tmpfs's place.
  Result<> add_bind(MountPlan plan) {
    if (tmpfs_.contains(plan.point.destination)) {
      return invalid(cat("Duplicate mount point: ", plan.point.destination));
    }
    return add(std::move(plan));
  }

  Result<> add(MountPlan plan) {
    if (!taken_.insert(plan.point.destination).second) {
      return invalid(cat("Duplicate mount point: ", plan.point.destination));
    }
    put(std::move(plan));
    return {};
  }

  // Volumes of the image and of `-v /path`: only where nothing is yet.
  Result<> add_volume(const std::string& path) {
    const std::string destination = clean_path(path);
    TRY(check_mount_target(destination));
    if (taken_.contains(destination) || tmpfs_.contains(destination) ||
        find(destination) != plans_.end())
      return {};
    put(plan_of_volume("", path, "", true));
    return {};
  }

  std::vector<MountPlan> take() && { return std::move(plans_); }

 private:
  std::vector<MountPlan>::iterator find(const std::string& destination) {
    return std::ranges::find_if(
        plans_, [&](const MountPlan& plan) { return plan.point.destination == destination; });
  }
  void put(MountPlan plan) {
    const auto same = find(plan.point.destination);
    if (same != plans_.end()) {
      *same = std::move(plan);
    } else {
      plans_.push_back(std::move(plan));
    }
  }

  const CreateRequest& request_;
  std::set<std::string> taken_, tmpfs_;
  std::vector<MountPlan> plans_;
};

std::string_view name_of_option(std::string_view option) {
  return option.substr(0, option.find('='));
}

// Words that undo each other.
constexpr std::string_view opposites[][2] = {
    {"ro", "rw"},
    {"nosuid", "suid"},
    {"nodev", "dev"},
    {"noexec", "exec"},
    {"async", "sync"},
    {"noatime", "atime"},
    {"norelatime", "relatime"},
    {"nostrictatime", "strictatime"},
    {"nodiratime", "diratime"},
    {"nosymfollow", "symfollow"},
};
constexpr std::array tmpfs_words = {
    "ro",          "rw",         "nosuid",      "suid",          "nodev",       "dev",
    "noexec",      "exec",       "async",       "sync",          "noatime",     "atime",
    "relatime",    "norelatime", "strictatime", "nostrictatime", "nodiratime",  "diratime",
    "nosymfollow", "symfollow",  "dirsync",     "private",       "rprivate",    "slave",
    "rslave",      "shared",     "rshared",     "unbindable",    "runbindable", "bind",
    "rbind",       "remount",    "defaults",    "noswap",
};
constexpr std::array tmpfs_settings = {"size",      "mode",      "uid",  "gid",
                                       "nr_inodes", "nr_blocks", "mpol", "huge"};

bool says_the_same(std::string_view one, std::string_view other) {
  if (name_of_option(one) == name_of_option(other)) return true;
  if (contains(propagation_words, one) && contains(propagation_words, other)) return true;
  return std::ranges::any_of(opposites, [&](const auto& pair) {
    return (pair[0] == one && pair[1] == other) || (pair[1] == one && pair[0] == other);
  });
}

}  // namespace

Result<> check_mount_target(std::string_view target) {
  if (!target.starts_with('/')) {
    return invalid(cat("invalid mount path: '", target, "' mount path must be absolute"));
  }
  if (clean_path(target) == "/") {
    return invalid("invalid specification: destination can't be '/'");
  }
  if (!is_plain_text(target)) {
    return invalid("invalid mount path: control characters are not allowed");
  }
  return {};
}

// Each of those given is kept once, the last one that says something about its subject.
Result<std::vector<std::string>> tmpfs_options(std::string_view data) {
  std::vector<std::string> options = {"noexec", "nosuid", "nodev", "rprivate"};
  std::string_view rest = data;
  while (!rest.empty()) {
    const std::string_view option = take_until(rest, ',');
    if (option.empty()) continue;
    const std::string_view name = name_of_option(option);
    const bool setting = option.contains('=');
    const bool known = setting ? contains(tmpfs_settings, name) : contains(tmpfs_words, option);
    if (!known || !is_plain_text(option) || option == "bind" || option == "rbind" ||
        option == "remount") {
      return invalid(cat("invalid tmpfs option \"", option, "\""));
    }
    std::erase_if(options, [&](const std::string& each) { return says_the_same(each, option); });
    options.emplace_back(option);
  }
  return options;
}

Result<> check_mount_request(const MountRequest& mount) {
  const auto complain = [&](std::string_view why) {
    return invalid(cat("invalid mount config for type \"", mount.type, "\": ", why));
  };
  const auto extra = [&](std::string_view field) {
    return complain(cat("field ", field, " must not be specified"));
  };
  if (mount.target.empty()) return complain("field Target must not be empty");
  if (auto target = check_mount_target(mount.target); !target) {
    return complain(target.error().message());
  }
  if (!is_plain_text(mount.source)) return complain("control characters are not allowed");
  const bool is_bind = mount.type == "bind", is_volume = mount.type == "volume";
  const bool is_tmpfs = mount.type == "tmpfs", is_image = mount.type == "image";
  if (!is_bind && !is_volume && !is_tmpfs && !is_image) return complain("mount type unknown");
  if (!is_bind && mount.bind_options) return extra("BindOptions");
  if (!is_volume && mount.volume_options) return extra("VolumeOptions");
  if (!is_image && mount.image_options) return extra("ImageOptions");
  if (!is_tmpfs && mount.tmpfs_options) {
    return invalid(cat("TmpfsOptions must not be specified on mount type \"", mount.type, "\""));
  }
  if ((is_bind || is_image) && mount.source.empty()) {
    return complain("field Source must not be empty");
  }
  if (is_bind) {
    if (!mount.source.starts_with('/')) {
      return complain(cat("invalid mount path: '", mount.source, "' mount path must be absolute"));
    }
    const BindOptions bind = mount.bind_options.value_or(BindOptions{});
    if (!bind.propagation.empty() && !contains(propagation_words, bind.propagation)) {
      return complain(cat("invalid propagation mode: ", bind.propagation));
    }
    if (bind.read_only_force_recursive && bind.read_only_non_recursive) {
      return complain("ReadOnlyForceRecursive and ReadOnlyNonRecursive contradict each other");
    }
  }
  if (is_volume) {
    const std::string subpath = mount.volume_options ? mount.volume_options->subpath : "";
    if (!subpath.empty() && mount.source.empty()) {
      return complain("must not set Subpath when using anonymous volumes");
    }
    if (!subpath.empty() && !is_local_path(subpath)) {
      return complain("subpath must be a relative path within the volume");
    }
    if (mount.read_only && mount.source.empty()) {
      return complain("must not set ReadOnly mode when using anonymous volumes");
    }
  }
  if (is_tmpfs) {
    if (!mount.source.empty()) return extra("Source");
    if (auto options = options_of_tmpfs_mount(mount); !options) {
      return complain(options.error().message());
    }
  }
  if (is_image && mount.image_options && !mount.image_options->subpath.empty() &&
      !is_local_path(mount.image_options->subpath)) {
    return complain("subpath must be a relative path within the volume");
  }
  return {};
}

Result<std::vector<MountPlan>> plan_mounts(
    const CreateRequest& request, const std::vector<std::vector<MountPoint>>& volumes_from) {
  Planner planner(request);
  TRY(planner.inherit(volumes_from));
  for (const std::string& bind : request.host.binds) {
    auto plan = parse_bind(bind, request.host.volume_driver);
    // dockerd answers 500 to what it cannot read here.
    if (!plan) return fail(Kind::Internal, plan.error().message());
    TRY(planner.add_bind(*std::move(plan)));
  }
  for (const MountRequest& mount : request.host.mounts) {
    TRY(check_mount_request(mount));
    TRY(planner.add(TRY(plan_of_request(mount))));
  }
  for (const auto& [path, present] : request.config.volumes) TRY(planner.add_volume(path));
  return std::move(planner).take();
}

}  // namespace nacelle::engine
