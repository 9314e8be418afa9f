#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <chrono>
#include <cstdio>

#include "base/text.h"
#include "container/cgroup.h"
#include "container/device_policy.h"
#include "sys/bpf.h"
#include "tests/root/cgroup/born.h"
#include "tests/support/census.h"

namespace nacelle::container {
namespace {

using test::Tenant;

sys::Deadline soon() { return sys::deadline_in(std::chrono::seconds(5)); }

std::vector<bpf_insn> program_of(const std::vector<oci::DeviceRule>& rules) {
  const auto planned = plan_device_rules(rules);
  EXPECT_TRUE(planned) << planned.error().message();
  return compile_device_program(*planned);
}

// A group with the rules in force, and nodes in a directory where nodes work.
class DeviceProgram : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::mkdir("/tmp/nodes", 0755), 0);
    // The private host's own tmpfs may be nodev.
    ASSERT_EQ(::mount("nodes", "/tmp/nodes", "tmpfs", 0, ""), 0);
    auto tree = sys::open_cgroup_tree();
    ASSERT_TRUE(tree);
    tree_ = *std::move(tree);
  }
  void TearDown() override {
    group_ = {};
    EXPECT_TRUE(destroy_cgroup(tree_, "devices", {}, soon()));
    ::umount2("/tmp/nodes", MNT_DETACH);
    ::rmdir("/tmp/nodes");
  }

  void create(const std::vector<oci::DeviceRule>& rules) {
    oci::Resources resources;
    resources.devices = rules;
    auto group = create_cgroup(tree_, "devices", *plan_cgroup(resources));
    ASSERT_TRUE(group) << group.error().message();
    group_ = *std::move(group);
  }

  // 0, or the errno with which a process in the group fails to make the node.
  int make(mode_t type, unsigned major, unsigned minor) {
    Tenant tenant(group_.dir, [&] {
      ::unlink("/tmp/nodes/made");
      return ::mknod("/tmp/nodes/made", type | 0600, makedev(major, minor)) == 0 ? 0 : errno;
    });
    return WEXITSTATUS(tenant.wait());
  }
  int open(unsigned major, unsigned minor, int flags) {
    ::unlink("/tmp/nodes/node");
    EXPECT_EQ(::mknod("/tmp/nodes/node", S_IFCHR | 0600, makedev(major, minor)), 0);
    Tenant tenant(group_.dir,
                  [&] { return ::open("/tmp/nodes/node", flags | O_CLOEXEC) >= 0 ? 0 : errno; });
    return WEXITSTATUS(tenant.wait());
  }
  size_t attached() {
    const auto ids = sys::query_cgroup_programs(group_.dir, BPF_CGROUP_DEVICE);
    EXPECT_TRUE(ids) << ids.error().message();
    return ids ? ids->size() : 0;
  }

  sys::CgroupTree tree_;
  ContainerCgroup group_;
};

TEST_F(DeviceProgram, denies_what_no_rule_allows) {
  create({});
  EXPECT_EQ(open(1, 7, O_RDWR), 0) << "full";
  EXPECT_EQ(open(1, 3, O_RDWR), 0) << "null";
  EXPECT_EQ(open(1, 1, O_RDONLY), EPERM) << "mem";
  EXPECT_EQ(open(1, 11, O_WRONLY), EPERM) << "kmsg";
  EXPECT_EQ(make(S_IFBLK, 8, 0), 0) << "making a node alone is allowed";
}

TEST_F(DeviceProgram, a_rule_lets_through_its_bits_only) {
  create({{true, 'c', 1, 11, "w"}});
  EXPECT_EQ(open(1, 11, O_WRONLY), 0);
  EXPECT_EQ(open(1, 11, O_RDONLY), EPERM);
  EXPECT_EQ(open(1, 11, O_RDWR), EPERM);
}

// The defaults come last, so only what a program without them says can deny /dev/full.
TEST_F(DeviceProgram, is_exchanged_in_place) {
  create({});
  EXPECT_EQ(attached(), 1u);
  EXPECT_EQ(open(1, 7, O_RDONLY), 0);
  const DeviceMatch deny_full[] = {
      {true, 7, {}, {}, {}},
      {false, 7, BPF_DEVCG_DEV_CHAR, 1, 7},
  };
  const auto exchanged = set_device_program(group_.dir, compile_device_program(deny_full));
  ASSERT_TRUE(exchanged) << exchanged.error().message();
  EXPECT_EQ(attached(), 1u);
  EXPECT_EQ(open(1, 7, O_RDONLY), EPERM);
  EXPECT_EQ(make(S_IFCHR, 1, 7), EPERM);
  EXPECT_EQ(open(1, 11, O_WRONLY), 0);
  ASSERT_TRUE(set_device_program(group_.dir, {}));
  EXPECT_EQ(attached(), 0u);
  EXPECT_EQ(open(1, 7, O_RDONLY), 0);
}

TEST_F(DeviceProgram, leaves_the_programs_of_others_alone) {
  create({{true, 'a', {}, {}, "rwm"}});
  EXPECT_EQ(attached(), 0u) << "everything is allowed: no program";
  const auto other = sys::load_device_program(program_of({{true, 'c', 1, 11, "w"}}), "other");
  ASSERT_TRUE(other) << other.error().message();
  ASSERT_TRUE(sys::attach_to_cgroup(group_.dir, *other, BPF_CGROUP_DEVICE));
  ASSERT_TRUE(set_device_program(group_.dir, program_of({})));
  EXPECT_EQ(attached(), 2u);
  EXPECT_EQ(open(1, 11, O_WRONLY), EPERM) << "both must allow it";
  ASSERT_TRUE(set_device_program(group_.dir, {}));
  EXPECT_EQ(attached(), 1u);
  EXPECT_EQ(open(1, 11, O_WRONLY), 0);
}

TEST_F(DeviceProgram, a_group_taken_over_gets_the_new_rules_alone) {
  create({{true, 'c', 1, 11, "w"}});
  create({});
  EXPECT_EQ(attached(), 1u);
  EXPECT_EQ(open(1, 11, O_WRONLY), EPERM);
}

TEST_F(DeviceProgram, a_loaded_one_serves_every_group_with_the_same_rules) {
  DevicePrograms programs;
  const auto make_group = [&](const char* name, const std::vector<oci::DeviceRule>& rules) {
    oci::Resources resources;
    resources.devices = rules;
    auto group = create_cgroup(tree_, name, *plan_cgroup(resources), &programs);
    EXPECT_TRUE(group) << group.error().message();
    return sys::query_cgroup_programs(group->dir, BPF_CGROUP_DEVICE).value();
  };
  const std::vector<oci::DeviceRule> rules = {{true, 'c', 1, 11, "w"}};
  const auto first = make_group("one", rules), second = make_group("two", rules);
  const auto other = make_group("three", {{true, 'c', 1, 7, "w"}});
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first, second);
  EXPECT_NE(first, other);
  // More than are kept: what has been forgotten is loaded again.
  for (int64_t minor = 20; minor < 60; ++minor) {
    ASSERT_EQ(make_group(cat("other", minor).c_str(), {{true, 'c', 1, minor, "w"}}).size(), 1u);
    EXPECT_TRUE(destroy_cgroup(tree_, cat("other", minor), {}, soon()));
  }
  EXPECT_EQ(make_group("four", rules).size(), 1u);
  for (const char* name : {"one", "two", "three", "four"}) {
    EXPECT_TRUE(destroy_cgroup(tree_, name, {}, soon()));
  }
  create(rules);  // for what every case takes down
}

// Goal: no rule list we accept is refused by the verifier. Method: the largest, in shapes that
// branch most: every rule its own major, its own minor, alternating verdicts, single bits.
TEST_F(DeviceProgram, the_verifier_takes_the_longest_lists) {
  for (const int shape : {0, 1, 2, 3}) {
    std::vector<oci::DeviceRule> rules;
    for (int64_t i = 0; i < 1000; ++i) {
      oci::DeviceRule rule{true, i % 3 == 0 ? 'b' : 'c', 200 + i, i, "rw"};
      if (shape == 1) rule.major = 200;
      if (shape == 2) rule.access = i % 2 == 0 ? "r" : "w";
      if (shape == 3) {
        rule.allow = i % 2 == 0;
        rule.major = 200 + i / 2;
        rule.minor = i % 2 == 0 ? std::optional<int64_t>() : i;
      }
      rules.push_back(rule);
    }
    const auto program = sys::load_device_program(program_of(rules), "longest");
    EXPECT_TRUE(program) << "shape " << shape << ": " << program.error().message();
  }
}

TEST_F(DeviceProgram, a_refused_program_is_explained) {
  const bpf_insn wrong[] = {{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};  // no verdict in r0
  const auto program = sys::load_device_program(wrong, "wrong");
  ASSERT_FALSE(program);
  EXPECT_NE(program.error().message().find("R0 !read_ok"), std::string::npos)
      << program.error().message();
}

}  // namespace
}  // namespace nacelle::container
