#include "container/mount_plan.h"

#include <linux/mount.h>

#include <algorithm>
#include <string>

#include "base/text.h"
#include "container/plan.h"

namespace nacelle::container {
namespace {

// MOUNT_ATTR__ATIME is a field of its own inside the attributes: setting one mode clears the
// others.
constexpr uint64_t atime_field = MOUNT_ATTR__ATIME;

struct AttributeWord {
  std::string_view word;
  uint64_t set;
  uint64_t clear;
};

// Also known with an "r" in front, for the whole tree (config.md, note 3).
constexpr AttributeWord attribute_words[] = {
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"noatime", MOUNT_ATTR_NOATIME, atime_field},
    {"atime", MOUNT_ATTR_RELATIME, atime_field},
    {"relatime", MOUNT_ATTR_RELATIME, atime_field},
    {"norelatime", MOUNT_ATTR_STRICTATIME, atime_field},
    {"strictatime", MOUNT_ATTR_STRICTATIME, atime_field},
    {"nostrictatime", MOUNT_ATTR_RELATIME, atime_field},
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
};

struct PropagationWord {
  std::string_view word;
  uint64_t kind;
  bool recursive;
};
constexpr PropagationWord propagation_words[] = {
    {"private", MS_PRIVATE, false},       {"rprivate", MS_PRIVATE, true},
    {"slave", MS_SLAVE, false},           {"rslave", MS_SLAVE, true},
    {"shared", MS_SHARED, false},         {"rshared", MS_SHARED, true},
    {"unbindable", MS_UNBINDABLE, false}, {"runbindable", MS_UNBINDABLE, true},
};

// Flags of the file system instance rather than of the mount; fsconfig knows them by these names.
// Words that only undo a default ("async", "nolazytime", ...) need nothing on a new instance, and
// "silent" and "iversion" are flags of mount(2) that fsconfig has no parameter for: file systems
// that have versions turn them on themselves.
struct InstanceWord {
  std::string_view word;
  std::string_view flag;
};
constexpr InstanceWord instance_words[] = {
    {"sync", "sync"},   {"async", ""},    {"dirsync", "dirsync"},
    {"mand", "mand"},   {"nomand", ""},   {"lazytime", "lazytime"},
    {"nolazytime", ""}, {"iversion", ""}, {"noiversion", ""},
    {"silent", ""},     {"loud", ""},     {"defaults", ""},
};

// Files that may be laid over procfs, e.g. by lxcfs; everything else below /proc is refused
// (a mount there can redirect what we and the workload write to).
constexpr std::string_view allowed_on_proc[] = {
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
};

const AttributeWord* find_attribute(std::string_view word) {
  const auto* found = std::ranges::find(attribute_words, word, &AttributeWord::word);
  return found == std::end(attribute_words) ? nullptr : found;
}

// What the option words of one mount add up to.
struct Words {
  bool bind = false;
  bool bind_tree = false;
  bool remount = false;
  bool copy_up = false;
  bool idmap = false;
  bool idmap_tree = false;
  bool nofollow_source = false;
  std::vector<PropagationStep> propagation;
  std::vector<OptionStep> options;
};

void apply(const AttributeWord& word, uint64_t& set, uint64_t& clear) {
  set = (set & ~word.clear) | word.set;
  clear = (clear & ~word.set) | word.clear;
}

bool read_tree_word(std::string_view option, MountStep& step) {
  if (!option.starts_with('r')) return false;
  const AttributeWord* word = find_attribute(option.substr(1));
  if (word == nullptr) return false;
  apply(*word, step.tree_attributes_set, step.tree_attributes_clear);
  return true;
}

bool read_switch(std::string_view option, Words& words) {
  if (option == "bind") return words.bind = true;
  if (option == "rbind") return words.bind = words.bind_tree = true;
  if (option == "remount") return words.remount = true;
  if (option == "tmpcopyup") return words.copy_up = true;
  if (option == "idmap") return words.idmap = true;
  if (option == "ridmap") return words.idmap = words.idmap_tree = true;
  if (option == "src-nofollow" || option == "copy-symlink") return words.nofollow_source = true;
  return false;
}

void read_word(PlanWriter& writer, std::string_view option, MountStep& step, Words& words) {
  if (const AttributeWord* word = find_attribute(option)) {
    apply(*word, step.attributes_set, step.attributes_clear);
    return;
  }
  if (read_switch(option, words) || read_tree_word(option, step)) return;
  for (const PropagationWord& word : propagation_words) {
    if (word.word == option) {
      words.propagation.push_back({word.kind, word.recursive, 0});
      return;
    }
  }
  for (const InstanceWord& word : instance_words) {
    if (word.word != option) continue;
    if (!word.flag.empty()) words.options.push_back({writer.text(word.flag), {}});
    return;
  }
  // Anything else is the file system's own (config.md: unknown options are passed on).
  const size_t equals = option.find('=');
  if (option.empty()) return;
  if (equals == std::string_view::npos) {
    words.options.push_back({writer.text(option), {}});
  } else {
    words.options.push_back(
        {writer.text(option.substr(0, equals)), writer.text(option.substr(equals + 1))});
  }
}

Result<> check_destination(std::string_view at, std::string_view destination, MountStep& step,
                           std::string_view type) {
  step.real_directory = type == "proc" || type == "sysfs" || destination == "/proc" ||
                        destination == "/sys" || destination == "/dev";
  step.allowed_on_proc =
      std::ranges::find(allowed_on_proc, destination) != std::end(allowed_on_proc);
  if (destination == "/") {
    return fail(Kind::Invalid, cat(at, ".destination: '/' is the root itself"));
  }
  if (destination == "/proc" && type != "proc" && step.kind == MountKind::New) {
    return fail(Kind::Invalid, cat(at, ".destination: only procfs may be mounted on '/proc'"));
  }
  if (destination.starts_with("/proc/") && !step.allowed_on_proc) {
    return fail(Kind::Invalid,
                cat(at, ".destination: '", destination, "' is inside /proc: not allowed"));
  }
  return {};
}

Result<> plan_idmap(PlanWriter& writer, const oci::Mount& mount, std::string_view at,
                    const MountContext& context, const Words& words, MountStep& step,
                    std::vector<IdmapStep>& idmaps) {
  const bool own = !mount.uid_mappings.empty() || !mount.gid_mappings.empty();
  if (!own && !words.idmap) return {};
  if (step.kind != MountKind::Bind && step.kind != MountKind::BindTree) {
    return fail(Kind::Unsupported, cat(at, ".options: idmap is supported on bind mounts only"));
  }
  const auto* uids = own ? &mount.uid_mappings : context.uid_mappings;
  const auto* gids = own ? &mount.gid_mappings : context.gid_mappings;
  if (uids == nullptr || uids->empty() || gids == nullptr || gids->empty()) {
    return fail(Kind::Invalid,
                cat(at, ".options: idmap needs uidMappings and gidMappings here or in linux"));
  }
  step.idmap = static_cast<uint32_t>(idmaps.size());
  step.idmap_recursive = words.idmap_tree;
  idmaps.push_back({writer.text(mapping_lines(*uids)), writer.text(mapping_lines(*gids))});
  return {};
}

void plan_source(PlanWriter& writer, const oci::Mount& mount, const MountContext& context,
                 MountStep& step) {
  if (step.kind == MountKind::CgroupTree) return;  // known at launch only: Brief::cgroup_directory
  const bool bind = step.kind == MountKind::Bind || step.kind == MountKind::BindTree;
  if (bind && !mount.source.starts_with('/')) {
    step.source = writer.text(cat(context.bundle, "/", mount.source));
    return;
  }
  step.source = writer.text(mount.source.empty() ? mount.type : mount.source);
}

}  // namespace

std::string mapping_lines(const std::vector<oci::IdMapping>& mappings) {
  std::string lines;
  for (const oci::IdMapping& one : mappings) {
    lines += cat(one.container_id, ' ', one.host_id, ' ', one.size, '\n');
  }
  return lines;
}

Result<MountStep> plan_mount(PlanWriter& writer, const oci::Mount& mount, size_t index,
                             const MountContext& context, std::vector<IdmapStep>& idmaps) {
  const std::string at = cat("mounts[", index, "]");
  MountStep step;
  Words words;
  for (const std::string& option : mount.options) read_word(writer, option, step, words);

  std::string_view type = mount.type;
  if (words.remount) {
    step.kind = MountKind::Remount;
  } else if (words.bind || type == "bind") {
    step.kind = words.bind_tree || !words.bind ? MountKind::BindTree : MountKind::Bind;
  } else if (type == "cgroup" || type == "cgroup2") {
    type = "cgroup2";
    if (!context.has_cgroup_namespace) step.kind = MountKind::CgroupTree;
  } else if (type.empty()) {
    return fail(Kind::Invalid, cat(at, ".type: missing, and no bind option either"));
  }

  const std::string destination = clean_path(mount.destination);
  TRY(check_destination(at, destination, step, type));
  TRY(plan_idmap(writer, mount, at, context, words, step, idmaps));
  step.copy_up = words.copy_up;
  step.nofollow_source = words.nofollow_source;
  if (words.copy_up && type != "tmpfs") {
    return fail(Kind::Invalid, cat(at, ".options: tmpcopyup is for tmpfs only"));
  }
  if (!context.mount_label.empty() && step.kind == MountKind::New && type != "proc" &&
      type != "sysfs") {
    words.options.push_back({writer.text("context"), writer.text(context.mount_label)});
  }
  step.destination = writer.text(destination);
  step.type = writer.text(type);
  plan_source(writer, mount, context, step);
  step.options = writer.array(std::span<const OptionStep>(words.options));
  step.propagation = writer.array(std::span<const PropagationStep>(words.propagation));
  return step;
}

}  // namespace nacelle::container
