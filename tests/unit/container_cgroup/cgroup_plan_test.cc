#include "container/cgroup_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace nacelle::container {
namespace {

// The writes as "file=value" lines, which is all that reaches the kernel.
std::string written(const CgroupPlan& plan) {
  std::string out;
  for (const ControlWrite& write : plan.writes) out += write.file + "=" + write.value + "\n";
  return out;
}

std::string needed(const CgroupPlan& plan) {
  std::string out;
  for (const NeededController& controller : plan.controllers) {
    out += controller.name + " for " + controller.source + "\n";
  }
  return out;
}

CgroupPlan plan_of(const oci::Resources& resources) {
  auto plan = plan_cgroup(resources);
  EXPECT_TRUE(plan) << plan.error().message();
  return plan ? *std::move(plan) : CgroupPlan();
}

std::string memory_writes(oci::Memory memory) {
  oci::Resources resources;
  resources.memory = memory;
  return written(plan_of(resources));
}

std::string cpu_writes(oci::Cpu cpu) {
  oci::Resources resources;
  resources.cpu = cpu;
  return written(plan_of(resources));
}

TEST(CgroupPlan, no_limits_write_nothing_and_need_nothing) {
  const CgroupPlan plan = plan_of({});
  EXPECT_EQ(written(plan), "");
  EXPECT_EQ(needed(plan), "");
  EXPECT_FALSE(plan.device_program.empty()) << "devices are denied by default";
}

TEST(CgroupPlan, empty_sections_write_nothing) {
  oci::Resources resources;
  resources.memory.emplace();
  resources.cpu.emplace();
  resources.block_io.emplace();
  resources.network.emplace();
  resources.rdma["mlx5_0"] = {};
  EXPECT_EQ(written(plan_of(resources)), "");
}

TEST(CgroupPlan, zero_leaves_a_limit_alone) {
  EXPECT_EQ(memory_writes({.limit = 0, .reservation = 0, .swap = 0, .kernel = 0}), "");
  EXPECT_EQ(cpu_writes({.shares = 0, .quota_us = 0, .period_us = 0, .realtime_runtime_us = 0}), "");
}

TEST(CgroupPlan, swap_is_what_exceeds_memory) {
  EXPECT_EQ(memory_writes({.limit = 100, .swap = 300}), "memory.swap.max=200\nmemory.max=100\n");
  EXPECT_EQ(memory_writes({.limit = 100, .swap = 100}), "memory.swap.max=0\nmemory.max=100\n");
  EXPECT_EQ(memory_writes({.limit = 100, .swap = -1}), "memory.swap.max=max\nmemory.max=100\n");
  EXPECT_EQ(memory_writes({.limit = 100}), "memory.max=100\n");
  EXPECT_EQ(memory_writes({.limit = -1}), "memory.swap.max=max\nmemory.max=max\n");
  EXPECT_EQ(memory_writes({.limit = -1, .swap = 50}), "memory.swap.max=50\nmemory.max=max\n");
  EXPECT_EQ(memory_writes({.swap = -1}), "memory.swap.max=max\n");
}

TEST(CgroupPlan, reservation_is_memory_low) {
  EXPECT_EQ(memory_writes({.reservation = 4096}), "memory.low=4096\n");
}

// Podman and others ask for "no limit" by -1 on hosts that lack the controller.
TEST(CgroupPlan, lifting_a_limit_needs_no_controller) {
  oci::Resources resources;
  resources.pids_limit = -1;
  resources.memory = {.limit = -1, .reservation = -1, .swap = -1};
  resources.cpu = {.quota_us = -1, .period_us = 100000};
  const CgroupPlan plan = plan_of(resources);
  EXPECT_EQ(needed(plan), "");
  for (const ControlWrite& write : plan.writes) {
    EXPECT_EQ(write.if_absent, IfAbsent::Skip) << write.file;
  }
}

TEST(CgroupPlan, check_before_update_carries_the_new_limits) {
  oci::Resources resources;
  resources.memory = {.limit = 100, .swap = 300, .check_before_update = true};
  EXPECT_EQ(plan_of(resources).check_before_update, (MemoryFloor{100, 300}));
  resources.memory->check_before_update = false;
  EXPECT_EQ(plan_of(resources).check_before_update, MemoryFloor());
}

// Method: the published table of the logarithmic conversion, its fixed points, and its order.
TEST(CgroupPlan, cpu_shares_follow_the_logarithmic_scale) {
  EXPECT_EQ(weight_of_cpu_shares(1), 1u);
  EXPECT_EQ(weight_of_cpu_shares(2), 1u);
  EXPECT_EQ(weight_of_cpu_shares(1024), 100u);
  EXPECT_EQ(weight_of_cpu_shares(262144), 10000u);
  EXPECT_EQ(weight_of_cpu_shares(262145), 10000u);
  EXPECT_EQ(weight_of_cpu_shares(UINT64_MAX), 10000u);
  uint64_t last = 0;
  for (uint64_t shares = 0; shares <= 262144; ++shares) {
    const uint64_t weight = weight_of_cpu_shares(shares);
    ASSERT_GE(weight, last) << shares;
    ASSERT_LE(weight, 10000u) << shares;
    ASSERT_GE(weight, 1u) << shares;
    last = weight;
  }
}

TEST(CgroupPlan, bandwidth_is_one_line) {
  EXPECT_EQ(cpu_writes({.quota_us = 50000, .period_us = 100000}), "cpu.max=50000 100000\n");
  EXPECT_EQ(cpu_writes({.quota_us = 50000}), "cpu.max=50000 100000\n");
  EXPECT_EQ(cpu_writes({.period_us = 20000}), "cpu.max=max 20000\n");
  EXPECT_EQ(cpu_writes({.quota_us = -1}), "cpu.max=max 100000\n");
}

// Goal: the kernel refuses a quota below the burst in force.
TEST(CgroupPlan, burst_is_lowered_before_and_raised_after_the_quota) {
  EXPECT_EQ(cpu_writes({.quota_us = 50000, .burst_us = 10000, .period_us = 100000}),
            "cpu.max.burst=0\ncpu.max=50000 100000\ncpu.max.burst=10000\n");
  EXPECT_EQ(cpu_writes({.burst_us = 10000}), "cpu.max.burst=10000\n");
  EXPECT_EQ(cpu_writes({.burst_us = 0}), "cpu.max.burst=0\n");
}

// Goal: the kernel refuses a weight for an idle group.
TEST(CgroupPlan, idle_and_weight_come_in_the_order_the_kernel_takes) {
  EXPECT_EQ(cpu_writes({.shares = 1024, .idle = 1}), "cpu.weight=100\ncpu.idle=1\n");
  EXPECT_EQ(cpu_writes({.shares = 1024, .idle = 0}), "cpu.idle=0\ncpu.weight=100\n");
}

TEST(CgroupPlan, cpuset_lists_pass_as_written) {
  EXPECT_EQ(cpu_writes({.cpus = "0-3,7", .mems = "0"}), "cpuset.cpus=0-3,7\ncpuset.mems=0\n");
}

TEST(CgroupPlan, pids_zero_is_one_and_minus_one_is_max) {
  oci::Resources resources;
  for (const auto& [limit, value] :
       {std::pair<int64_t, const char*>{-1, "max"}, {0, "1"}, {1, "1"}, {512, "512"}}) {
    resources.pids_limit = limit;
    EXPECT_EQ(written(plan_of(resources)), std::string("pids.max=") + value + "\n");
  }
}

TEST(CgroupPlan, block_io_weight_has_two_scales) {
  oci::Resources resources;
  resources.block_io.emplace();
  resources.block_io->weight = 100;
  resources.block_io->weight_device = {{8, 16, 1000, std::nullopt}};
  const CgroupPlan plan = plan_of(resources);
  EXPECT_EQ(written(plan),
            "io.bfq.weight=100\nio.weight=910\n"
            "io.bfq.weight=8:16 1000\nio.weight=8:16 10000\n");
  EXPECT_EQ(plan.writes[0].if_absent, IfAbsent::Next);
  EXPECT_EQ(plan.writes[1].if_absent, IfAbsent::Refuse);
  EXPECT_EQ(io_weight_of_block_io_weight(10), 1u);
  EXPECT_EQ(io_weight_of_block_io_weight(1000), 10000u);
}

TEST(CgroupPlan, throttles_are_lines_of_io_max) {
  oci::Resources resources;
  resources.block_io.emplace();
  resources.block_io->throttle_read_bps = {{8, 0, 1000}, {8, 16, 0}};
  resources.block_io->throttle_write_bps = {{8, 0, 2000}};
  resources.block_io->throttle_read_iops = {{8, 0, 30}};
  resources.block_io->throttle_write_iops = {{8, 0, UINT64_MAX}};
  EXPECT_EQ(written(plan_of(resources)),
            "io.max=8:0 rbps=1000\nio.max=8:16 rbps=max\nio.max=8:0 wbps=2000\n"
            "io.max=8:0 riops=30\nio.max=8:0 wiops=18446744073709551615\n");
}

TEST(CgroupPlan, huge_pages_are_limited_with_their_reservations) {
  oci::Resources resources;
  resources.hugepage_limits = {{"2MB", 4194304}, {"1GB", 0}};
  const CgroupPlan plan = plan_of(resources);
  EXPECT_EQ(written(plan),
            "hugetlb.2MB.max=4194304\nhugetlb.2MB.rsvd.max=4194304\n"
            "hugetlb.1GB.max=0\nhugetlb.1GB.rsvd.max=0\n");
  EXPECT_EQ(needed(plan), "hugetlb for linux.resources.hugepageLimits[0]\n");
}

TEST(CgroupPlan, rdma_limits_are_one_line_a_device) {
  oci::Resources resources;
  resources.rdma["mlx5_0"] = {3, 10000};
  resources.rdma["mlx5_1"] = {std::nullopt, 5};
  EXPECT_EQ(written(plan_of(resources)),
            "rdma.max=mlx5_0 hca_handle=3 hca_object=10000\nrdma.max=mlx5_1 hca_object=5\n");
}

TEST(CgroupPlan, unified_comes_last_and_line_by_line) {
  oci::Resources resources;
  resources.pids_limit = 5;
  resources.unified = {{"io.max", "8:0 rbps=1\n8:16 wbps=2\n"},
                       {"memory.high", "1G"},
                       {"cgroup.max.depth", "3"},
                       {"cpu.pressure", "0"}};
  const CgroupPlan plan = plan_of(resources);
  EXPECT_EQ(written(plan),
            "pids.max=5\ncgroup.max.depth=3\ncpu.pressure=0\nio.max=8:0 rbps=1\n"
            "io.max=8:16 wbps=2\nmemory.high=1G\n");
  EXPECT_EQ(needed(plan),
            "pids for linux.resources.pids.limit\n"
            "io for linux.resources.unified[\"io.max\"]\n"
            "memory for linux.resources.unified[\"memory.high\"]\n");
}

// Goal: a refused limit names its JSON path. Method: one broken field per case.
TEST(CgroupPlan, names_the_path_at_fault) {
  struct Case {
    std::function<void(oci::Resources&)> broken;
    const char* complaint;
    Kind kind = Kind::Invalid;
  };
  using R = oci::Resources;
  const Case cases[] = {
      {[](R& r) { r.memory = {.limit = -2}; }, "linux.resources.memory.limit: -2 is neither"},
      {[](R& r) { r.memory = {.limit = INT64_MIN}; }, "linux.resources.memory.limit: -92233"},
      {[](R& r) { r.memory = {.reservation = -5}; }, "linux.resources.memory.reservation: -5"},
      {[](R& r) { r.memory = {.limit = 1, .swap = -7}; }, "linux.resources.memory.swap: -7"},
      {[](R& r) { r.memory = {.limit = 10, .swap = 9}; },
       "linux.resources.memory.swap: 9 is less than memory.limit (10)"},
      {[](R& r) { r.memory = {.swap = 9}; },
       "linux.resources.memory.swap: counts memory and swap together"},
      {[](R& r) { r.memory = {.kernel = -2}; }, "linux.resources.memory.kernel: -2"},
      {[](R& r) { r.memory = {.kernel = 1}; }, "linux.resources.memory.kernel: cgroup v2 has no",
       Kind::Unsupported},
      {[](R& r) { r.memory = {.kernel_tcp = 1}; }, "linux.resources.memory.kernelTCP: cgroup v2",
       Kind::Unsupported},
      {[](R& r) { r.memory = {.swappiness = 60}; }, "linux.resources.memory.swappiness: cgroup v2",
       Kind::Unsupported},
      {[](R& r) { r.memory = {.disable_oom_killer = true}; },
       "linux.resources.memory.disableOOMKiller: cgroup v2", Kind::Unsupported},
      {[](R& r) { r.cpu = {.realtime_runtime_us = 1}; },
       "linux.resources.cpu.realtimeRuntime: cgroup v2", Kind::Unsupported},
      {[](R& r) { r.cpu = {.realtime_period_us = 1}; },
       "linux.resources.cpu.realtimePeriod: cgroup v2", Kind::Unsupported},
      {[](R& r) { r.cpu = {.idle = 2}; }, "linux.resources.cpu.idle: 2 is neither 0 nor 1"},
      {[](R& r) { r.cpu = {.idle = -1}; }, "linux.resources.cpu.idle: -1"},
      {[](R& r) { r.cpu = {.quota_us = 999}; }, "linux.resources.cpu.quota: 999"},
      {[](R& r) { r.cpu = {.quota_us = -2}; }, "linux.resources.cpu.quota: -2"},
      {[](R& r) { r.cpu = {.period_us = 999}; }, "linux.resources.cpu.period: 999"},
      {[](R& r) { r.cpu = {.period_us = 1000001}; }, "linux.resources.cpu.period: 1000001"},
      {[](R& r) { r.cpu = {.cpus = "0-3\n1"}; },
       "linux.resources.cpu.cpus: '0-3\n1' is not a list"},
      {[](R& r) { r.cpu = {.mems = "all"}; }, "linux.resources.cpu.mems: 'all' is not a list"},
      {[](R& r) { r.pids_limit = -2; }, "linux.resources.pids.limit: -2"},
      {[](R& r) { r.block_io = {.weight = 9}; },
       "linux.resources.blockIO.weight: 9 is not between"},
      {[](R& r) { r.block_io = {.weight = 1001}; }, "linux.resources.blockIO.weight: 1001"},
      {[](R& r) { r.block_io = {.leaf_weight = 10}; }, "linux.resources.blockIO.leafWeight: cgroup",
       Kind::Unsupported},
      {[](R& r) { r.block_io = {.weight_device = {{8, 0, 5, {}}}}; },
       "linux.resources.blockIO.weightDevice[0].weight: 5"},
      {[](R& r) { r.block_io = {.weight_device = {{8, 0, 10, {}}, {8, 0, {}, 10}}}; },
       "linux.resources.blockIO.weightDevice[1].leafWeight: cgroup v2", Kind::Unsupported},
      {[](R& r) { r.block_io = {.throttle_read_bps = {{-1, 0, 5}}}; },
       "linux.resources.blockIO.throttleReadBpsDevice[0]: -1:0 is not a device number"},
      {[](R& r) { r.block_io = {.throttle_write_iops = {{8, 1ll << 32, 5}}}; },
       "linux.resources.blockIO.throttleWriteIOPSDevice[0]: 8:4294967296"},
      {[](R& r) { r.hugepage_limits = {{"2MB", 1}, {"", 1}}; },
       "linux.resources.hugepageLimits[1].pageSize: ''"},
      {[](R& r) { r.hugepage_limits = {{"../x", 1}}; },
       "linux.resources.hugepageLimits[0].pageSize: '../x'"},
      {[](R& r) { r.hugepage_limits = {{"2mb", 1}}; },
       "linux.resources.hugepageLimits[0].pageSize: '2mb'"},
      {[](R& r) { r.hugepage_limits = {{"02MB", 1}}; },
       "linux.resources.hugepageLimits[0].pageSize: '02MB'"},
      {[](R& r) { r.network = {.class_id = 1}; }, "linux.resources.network.classID: cgroup v2",
       Kind::Unsupported},
      {[](R& r) { r.network = {.priorities = {{"eth0", 1}}}; },
       "linux.resources.network.priorities: cgroup v2", Kind::Unsupported},
      {[](R& r) { r.rdma["a b"] = {1, 1}; }, "linux.resources.rdma: 'a b' is not"},
      {[](R& r) { r.rdma[""] = {1, 1}; }, "linux.resources.rdma: '' is not"},
      {[](R& r) { r.unified["../memory.max"] = "1"; },
       "linux.resources.unified: '../memory.max' is not a plain file name"},
      {[](R& r) { r.unified["a/memory.max"] = "1"; },
       "linux.resources.unified: 'a/memory.max' is not a plain file name"},
      {[](R& r) { r.unified[".."] = "1"; }, "linux.resources.unified: '..' is not a plain"},
      {[](R& r) { r.unified[""] = "1"; }, "linux.resources.unified: '' is not of the form"},
      {[](R& r) { r.unified["memory"] = "1"; }, "linux.resources.unified: 'memory' is not of"},
      {[](R& r) { r.unified[".max"] = "1"; }, "linux.resources.unified: '.max' is not of"},
      {[](R& r) { r.unified["memory."] = "1"; }, "linux.resources.unified: 'memory.' is not of"},
      {[](R& r) { r.unified["memory.max\n"] = "1"; }, "linux.resources.unified: a file name holds"},
      {[](R& r) { r.unified[std::string("memory.max\0x", 12)] = "1"; },
       "linux.resources.unified: a file name holds"},
      {[](R& r) { r.unified["cgroup.procs"] = "1"; },
       "linux.resources.unified: 'cgroup.procs' is not a limit"},
      {[](R& r) { r.unified["cgroup.freeze"] = "1"; },
       "linux.resources.unified: 'cgroup.freeze' is not a limit"},
      {[](R& r) { r.unified["cgroup.subtree_control"] = "-pids"; },
       "linux.resources.unified: 'cgroup.subtree_control' is not a limit"},
      {[](R& r) { r.devices = {{.access = "rwx"}}; }, "linux.resources.devices[0].access: 'rwx'"},
  };
  for (const Case& c : cases) {
    oci::Resources resources;
    c.broken(resources);
    const auto plan = plan_cgroup(resources);
    ASSERT_FALSE(plan) << c.complaint;
    EXPECT_TRUE(plan.error().message().starts_with(c.complaint)) << plan.error().message();
    EXPECT_EQ(plan.error().kind(), c.kind) << plan.error().message();
  }
}

}  // namespace
}  // namespace nacelle::container
