// Goal: what is read of a cgroup is what its files say, and what is not there is absent. Method: a
// directory with files as the kernel writes them in place of a cgroup; this process for its
// network.
#include "engine/stats.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "engine/engine.h"
#include "engine/stats_read.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

class StatsTest : public ::testing::Test {
 protected:
  StatsTest() {
    char path[] = "/tmp/nacelle-stats-XXXXXX";
    container_.cgroup = ::mkdtemp(path);
    container_.id = "abc";
  }
  ~StatsTest() override {
    (void)sys::remove_directory_at(sys::working_directory, container_.cgroup.c_str());
  }
  void put(const std::string& name, std::string_view text) {
    const std::string path = container_.cgroup + "/" + name;
    ASSERT_TRUE(sys::replace_file_at(sys::working_directory, path.c_str(), text, 0600));
  }

  Container container_;
  std::unique_ptr<ring::Loop> loop_ = *ring::Loop::open();
  Engine engine_{*loop_};
  Stats stats_{engine_};
};

TEST_F(StatsTest, reads_what_the_kernel_wrote) {
  put("cpu.stat",
      "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnice_usec 0\nnr_periods 7\n"
      "nr_throttled 2\nthrottled_usec 30\nnr_bursts 0\n");
  put("memory.current", "4096\n");
  put("memory.max", "8192\n");
  put("memory.stat", "anon 100\nfile 200\ninactive_file 50\n");
  put("pids.current", "3\n");
  put("pids.max", "64\n");
  put("io.stat",
      "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n"
      "8:0 \n254:1 rbytes=1\n");
  const auto sample = stats_.sample(container_);
  ASSERT_TRUE(sample) << sample.error().message();
  EXPECT_EQ(sample->cpu_total, 1'500'000u);
  EXPECT_EQ(sample->cpu_user, 1'000'000u);
  EXPECT_EQ(sample->cpu_kernel, 500'000u);
  EXPECT_EQ(sample->periods, 7u);
  EXPECT_EQ(sample->throttled_periods, 2u);
  EXPECT_EQ(sample->throttled_ns, 30'000u);
  EXPECT_EQ(sample->memory_usage, 4096u);
  EXPECT_EQ(sample->memory_limit, 8192u);
  EXPECT_EQ(sample->memory_stat.at("inactive_file"), 50u);
  EXPECT_EQ(sample->pids, 3u);
  EXPECT_EQ(sample->pids_limit, 64u);
  ASSERT_EQ(sample->io_bytes->size(), 3u);
  EXPECT_EQ(sample->io_bytes->at(1).op, "write");
  EXPECT_EQ(sample->io_bytes->at(1).minor, 16u);
  EXPECT_EQ(sample->io_bytes->at(1).value, 314773504u);
  EXPECT_EQ(sample->io_bytes->at(2).major, 254u);
  ASSERT_EQ(sample->io_operations->size(), 2u);
  EXPECT_EQ(sample->io_operations->at(0).value, 192u);
  EXPECT_GT(sample->time_ns, 0);
  EXPECT_GT(sample->system_cpu, 0u);
  EXPECT_EQ(sample->online_cpus, static_cast<uint32_t>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

TEST_F(StatsTest, a_pass_reads_more) {
  put("memory.current", "4096\n");
  put("memory.peak", "9000\n");
  put("memory.swap.current", "12\n");
  put("memory.events", "low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\noom_group_kill 0\n");
  put("cpu.pressure",
      "some avg10=0.00 avg60=1.00 avg300=0.00 total=1234\n"
      "full avg10=0.00 avg60=0.00 avg300=0.00 total=56\n");
  put("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=x\n");
  const auto sample = read_sample({container_.cgroup}, {}, Depth::Everything);
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->memory_peak, 9000u);
  EXPECT_EQ(sample->swap_usage, 12u);
  EXPECT_EQ(sample->memory_limit_hits, 5u);
  EXPECT_EQ(sample->oom_kills, 1u);
  ASSERT_TRUE(sample->cpu_pressure);
  EXPECT_EQ(sample->cpu_pressure->some_us, 1234u);
  EXPECT_EQ(sample->cpu_pressure->full_us, 56u);
  EXPECT_FALSE(sample->memory_pressure || sample->io_pressure);
}

TEST_F(StatsTest, no_limit_is_what_there_is) {
  put("memory.current", "1\n");
  put("memory.max", "max\n");
  put("pids.current", "1\n");
  put("pids.max", "max\n");
  const auto sample = stats_.sample(container_);
  ASSERT_TRUE(sample);
  EXPECT_GT(*sample->memory_limit, 1u << 20);  // the host's memory
  EXPECT_EQ(*sample->pids_limit, ~uint64_t{0});
}

TEST_F(StatsTest, what_is_not_there_is_absent) {
  const auto sample = stats_.sample(container_);
  ASSERT_TRUE(sample);
  EXPECT_FALSE(sample->cpu_total || sample->cpu_user || sample->cpu_kernel || sample->periods);
  EXPECT_FALSE(sample->memory_usage || sample->memory_limit || sample->pids || sample->pids_limit);
  EXPECT_FALSE(sample->io_bytes || sample->networks);
  EXPECT_TRUE(sample->memory_stat.empty());
}

TEST_F(StatsTest, what_cannot_be_read_is_absent) {
  put("cpu.stat",
      "usage_usec\nuser_usec x\nsystem_usec -1\n\n  \nnr_periods 99999999999999999999\n");
  put("memory.current", "");
  put("memory.max", "8192\n");
  put("pids.current", "x\n");
  put("io.stat", "\n:\n8: rbytes=1\nx:1 rbytes=1\n8:1 rbytes=x wbytes\n8:1rbytes=1\n");
  const auto sample = stats_.sample(container_);
  ASSERT_TRUE(sample);
  EXPECT_FALSE(sample->cpu_total || sample->cpu_user || sample->cpu_kernel || sample->periods);
  EXPECT_FALSE(sample->memory_usage || sample->memory_limit || sample->pids);
  EXPECT_TRUE(sample->io_bytes->empty());
}

TEST_F(StatsTest, networks_are_those_of_its_process_but_not_of_the_host) {
  container_.state.pid = ::getpid();
  auto sample = stats_.sample(container_);
  ASSERT_TRUE(sample);
  ASSERT_TRUE(sample->networks);
  EXPECT_FALSE(sample->networks->contains("lo"));
  container_.host.network_mode = "host";
  EXPECT_FALSE(stats_.sample(container_)->networks);
  container_.host.network_mode = "bridge";
  container_.state.pid = 0x7ffffffe;  // no process
  EXPECT_FALSE(stats_.sample(container_)->networks);
}

TEST_F(StatsTest, a_container_that_does_not_run_has_none) {
  Container stopped;
  EXPECT_FALSE(stats_.sample(stopped));
  stopped.cgroup = container_.cgroup + "/gone";
  EXPECT_FALSE(stats_.sample(stopped));
}

}  // namespace
}  // namespace nacelle::engine
