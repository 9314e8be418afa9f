// config.md's option words, one by one, and the destinations that are refused.
#include "container/mount_plan.h"

#include <gtest/gtest.h>
#include <linux/mount.h>

namespace nacelle::container {
namespace {

struct Planned {
  std::string bytes;
  MountStep step;
  std::vector<IdmapStep> idmaps;
  std::string error;
};

Planned plan(oci::Mount mount, bool cgroup_namespace = true) {
  Planned planned;
  PlanWriter writer;
  MountContext context;
  context.has_cgroup_namespace = cgroup_namespace;
  context.bundle = "/bundle";
  auto step = plan_mount(writer, mount, 7, context, planned.idmaps);
  if (!step) {
    planned.error = step.error().message();
    return planned;
  }
  planned.step = *step;
  planned.bytes = std::move(writer).finish({});
  return planned;
}

oci::Mount mount_of(std::string type, std::vector<std::string> options,
                    std::string destination = "/mnt") {
  oci::Mount mount;
  mount.destination = std::move(destination);
  mount.type = std::move(type);
  mount.source = "source";
  mount.options = std::move(options);
  return mount;
}

std::string text(const Planned& planned, Text at) {
  return at ? planned.bytes.substr(at.offset, at.length) : "";
}
std::vector<std::string> options_of(const Planned& planned) {
  std::vector<std::string> options;
  for (uint32_t i = 0; i < planned.step.options.count; ++i) {
    OptionStep option;
    std::memcpy(&option, planned.bytes.data() + planned.step.options.offset + i * sizeof option,
                sizeof option);
    options.push_back(text(planned, option.key) +
                      (option.value ? "=" + text(planned, option.value) : ""));
  }
  return options;
}

struct AttributeCase {
  const char* word;
  uint64_t set;
  uint64_t clear;
};
constexpr AttributeCase attribute_cases[] = {
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
    {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
    {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
};

TEST(MountPlan, attribute_words_and_their_recursive_forms) {
  for (const AttributeCase& one : attribute_cases) {
    const Planned top = plan(mount_of("tmpfs", {one.word}));
    EXPECT_EQ(top.step.attributes_set, one.set) << one.word;
    // A bit that is both set and cleared would be refused by nobody, so none may be left.
    EXPECT_EQ(top.step.attributes_clear & ~one.set, one.clear & ~one.set) << one.word;
    EXPECT_EQ(top.step.tree_attributes_set, 0u) << one.word;
    EXPECT_TRUE(options_of(top).empty()) << one.word;
    const Planned tree = plan(mount_of("none", {"rbind", std::string("r") + one.word}));
    EXPECT_EQ(tree.step.tree_attributes_set, one.set) << one.word;
    EXPECT_EQ(tree.step.attributes_set, 0u) << one.word;
  }
}

TEST(MountPlan, opposite_words_undo_each_other) {
  const Planned writable = plan(mount_of("tmpfs", {"ro", "rw"}));
  EXPECT_EQ(writable.step.attributes_set & MOUNT_ATTR_RDONLY, 0u);
  const Planned readonly = plan(mount_of("tmpfs", {"rw", "ro"}));
  EXPECT_EQ(readonly.step.attributes_set, uint64_t{MOUNT_ATTR_RDONLY});
  EXPECT_EQ(readonly.step.attributes_clear, 0u);
  const Planned time = plan(mount_of("tmpfs", {"noatime", "strictatime"}));
  EXPECT_EQ(time.step.attributes_set, uint64_t{MOUNT_ATTR_STRICTATIME});
}

TEST(MountPlan, propagation_words_keep_their_order) {
  const Planned planned = plan(mount_of("none", {"rbind", "rslave", "shared"}));
  ASSERT_EQ(planned.step.propagation.count, 2u);
  PropagationStep first;
  std::memcpy(&first, planned.bytes.data() + planned.step.propagation.offset, sizeof first);
  EXPECT_EQ(first.recursive, 1u);
}

TEST(MountPlan, kinds_follow_from_type_and_words) {
  EXPECT_EQ(plan(mount_of("tmpfs", {})).step.kind, MountKind::New);
  EXPECT_EQ(plan(mount_of("none", {"bind"})).step.kind, MountKind::Bind);
  EXPECT_EQ(plan(mount_of("", {"bind"})).step.kind, MountKind::Bind);
  EXPECT_EQ(plan(mount_of("none", {"rbind"})).step.kind, MountKind::BindTree);
  EXPECT_EQ(plan(mount_of("bind", {})).step.kind, MountKind::BindTree);
  EXPECT_EQ(plan(mount_of("none", {"remount", "bind", "ro"})).step.kind, MountKind::Remount);
  EXPECT_EQ(plan(mount_of("cgroup", {})).step.kind, MountKind::New);
  EXPECT_EQ(plan(mount_of("cgroup", {}), false).step.kind, MountKind::CgroupTree);
}

TEST(MountPlan, words_that_undo_a_default_or_have_no_parameter_are_dropped) {
  for (const char* word : {"async", "nolazytime", "nomand", "noiversion", "iversion", "loud",
                           "silent", "defaults", ""}) {
    EXPECT_TRUE(options_of(plan(mount_of("tmpfs", {word}))).empty()) << word;
  }
}

TEST(MountPlan, all_else_is_the_file_systems) {
  EXPECT_EQ(options_of(plan(mount_of("tmpfs", {"size=64k", "huge", "a=b=c", "e=", "rox", "sync"}))),
            (std::vector<std::string>{"size=64k", "huge", "a=b=c", "e=", "rox", "sync"}));
}

TEST(MountPlan, relative_bind_sources_start_at_the_bundle) {
  const Planned relative = plan(mount_of("none", {"bind"}));
  EXPECT_EQ(text(relative, relative.step.source), "/bundle/source");
  const Planned other = plan(mount_of("tmpfs", {}));
  EXPECT_EQ(text(other, other.step.source), "source");
}

TEST(MountPlan, refused_destinations) {
  for (const char* destination : {"/", "//", "/..", "/a/..", "/proc/self", "/proc/sys/kernel",
                                  "/x/../proc/1", "/proc//self/", "/proc"}) {
    EXPECT_NE(plan(mount_of("tmpfs", {}, destination)).error.find("mounts[7].destination"),
              std::string::npos)
        << destination;
  }
  for (const char* destination : {"/procx", "/proc/cpuinfo", "/proc/net/dev", "/a/proc/self"}) {
    EXPECT_EQ(plan(mount_of("none", {"bind"}, destination)).error, "") << destination;
  }
  EXPECT_EQ(plan(mount_of("proc", {}, "/proc")).error, "");
}

TEST(MountPlan, no_link_may_lead_to_proc_sys_and_dev) {
  for (const char* destination : {"/proc", "/sys", "/dev"}) {
    const char* type = destination[1] == 'p' ? "proc" : destination[1] == 's' ? "sysfs" : "tmpfs";
    EXPECT_EQ(plan(mount_of(type, {}, destination)).step.real_directory, 1u) << destination;
  }
  EXPECT_EQ(plan(mount_of("proc", {}, "/else")).step.real_directory, 1u);
  EXPECT_EQ(plan(mount_of("tmpfs", {}, "/else")).step.real_directory, 0u);
}

TEST(MountPlan, contradictions_are_refused) {
  EXPECT_NE(plan(mount_of("", {})).error.find("mounts[7].type"), std::string::npos);
  EXPECT_NE(plan(mount_of("none", {"bind", "tmpcopyup"})).error.find("tmpcopyup"),
            std::string::npos);
  EXPECT_NE(plan(mount_of("tmpfs", {"idmap"})).error.find("idmap"), std::string::npos);
  EXPECT_NE(plan(mount_of("none", {"bind", "idmap"})).error.find("idmap"), std::string::npos);
}

TEST(MountPlan, mappings_are_the_kernels_lines) {
  EXPECT_EQ(mapping_lines({{.container_id = 0, .host_id = 1000, .size = 1},
                           {.container_id = 1, .host_id = 100000, .size = 65536}}),
            "0 1000 1\n1 100000 65536\n");
}

}  // namespace
}  // namespace nacelle::container
