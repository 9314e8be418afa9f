#include "engine/record.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/names.h"
#include "image/disk.h"
#include "sys/file.h"

namespace nacelle::engine {
namespace {

Record full_record() {
  Record record;
  Container& container = record.container;
  container.id = std::string(63, 'a') + "b";
  container.name = "web";
  container.created = "2024-02-29T12:00:00.000000001Z";
  container.image_id = "sha256:1";
  container.image_manifest = "sha256:2";
  container.path = "sh";
  container.args = {"-c", "echo \"a\nb\" \\ \x01 \xc3\xa4"};
  container.config.env = {"A=1", "B="};
  container.config.cmd = {true, {}};
  container.config.entrypoint = {false, {}};
  container.config.labels = {{"a", "b"}, {"", "empty"}};
  container.config.healthcheck = HealthConfig{.test = {"CMD", "true"}, .interval = 5};
  container.config.stop_timeout = -1;
  container.config.exposed_ports["80/tcp"];
  container.host.memory = int64_t{1} << 40;
  container.host.masked_paths.emplace();
  container.host.readonly_paths = std::vector<std::string>{"/proc/x"};
  container.host.restart_policy = {"on-failure", 3};
  container.host.port_bindings["80/tcp"] = {{"127.0.0.1", "8080"}, {}};
  container.host.init = false;
  container.endpoints["bridge"].aliases = {"x"};
  container.endpoints["bridge"].ip_address = "172.17.0.2";
  container.state.phase = Phase::Paused;
  container.state.exit_code = 137;
  container.state.oom_killed = true;
  container.state.error = "why";
  container.state.pid = 42;
  container.state.health =
      Health{.status = "healthy", .failing_streak = 0, .log = {{"a", "b", 1, "c"}}};
  container.restart_count = 7;
  container.has_been_stopped = true;
  container.cgroup = "/sys/fs/cgroup/x";
  MountPlan plan;
  plan.point.type = "volume";
  plan.point.name = "v";
  plan.point.destination = "/d";
  plan.point.rw = false;
  plan.anonymous = true;
  plan.no_copy = true;
  plan.subpath = "s";
  plan.options = {"ro", "nosuid"};
  record.mounts.push_back(plan);
  record.removing = true;
  record.remove_volumes = true;
  return record;
}

TEST(Record, is_the_same_when_it_was_written_and_read) {
  const std::string text = write_record(full_record());
  const auto read = parse_record(text);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(write_record(*read), text);
  EXPECT_EQ(read->container.state.phase, Phase::Paused);
  EXPECT_EQ(read->container.state.pid, 42);
  EXPECT_EQ(read->container.host.memory, int64_t{1} << 40);
  EXPECT_EQ(read->container.config.stop_timeout, -1);
  EXPECT_EQ(read->container.args[1], full_record().container.args[1]);
  EXPECT_TRUE(read->container.config.cmd.set);
  EXPECT_FALSE(read->container.config.entrypoint.set);
  EXPECT_EQ(read->container.host.init, false);
  EXPECT_FALSE(read->container.host.oom_kill_disable);
  EXPECT_EQ(read->container.host.restart_policy.maximum_retry_count, 3);
  EXPECT_EQ(read->container.mounts.at(0).destination, "/d");
  EXPECT_FALSE(read->container.mounts.at(0).rw);
  EXPECT_EQ(read->mounts.at(0).options.size(), 2u);
  EXPECT_TRUE(read->mounts.at(0).anonymous);
  EXPECT_TRUE(read->removing);
  EXPECT_TRUE(read->remove_volumes);
  EXPECT_EQ(read->container.state.health->log.at(0).exit_code, 1);
}

TEST(Record, keeps_lists_that_are_empty_apart_from_those_that_are_not_there) {
  Record record = full_record();
  auto read = parse_record(write_record(record));
  ASSERT_TRUE(read);
  ASSERT_TRUE(read->container.host.masked_paths);
  EXPECT_TRUE(read->container.host.masked_paths->empty());
  EXPECT_EQ(read->container.host.readonly_paths->size(), 1u);
  record.container.host.masked_paths.reset();
  read = parse_record(write_record(record));
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->container.host.masked_paths);
}

TEST(Record, cut_off_anywhere_is_none) {
  const std::string text = write_record(full_record());
  for (size_t size = 0; size < text.size(); ++size) {
    ASSERT_FALSE(parse_record(std::string_view(text).substr(0, size))) << size;
  }
}

TEST(Record, with_wrong_content_is_none) {
  const std::string text = write_record(full_record());
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string changed = text;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    return parse_record(changed);
  };
  EXPECT_FALSE(with("\"Version\":1", "\"Version\":2"));
  EXPECT_FALSE(with("\"Version\":1", "\"Version\":\"1\""));
  EXPECT_FALSE(with("\"paused\"", "\"asleep\""));
  EXPECT_FALSE(with("\"Name\":\"web\"", "\"Name\":\"../x\""));
  EXPECT_FALSE(with("\"Name\":\"web\"", "\"Name\":\"\""));
  EXPECT_FALSE(with("\"ID\":\"a", "\"ID\":\"A"));
  EXPECT_FALSE(with("\"ID\":\"a", "\"ID\":\""));
  EXPECT_FALSE(with("\"Memory\":1099511627776", "\"Memory\":99999999999999999999"));
  EXPECT_FALSE(parse_record("{}"));
  EXPECT_FALSE(parse_record("[]"));
  EXPECT_FALSE(parse_record(text + "x"));
  EXPECT_FALSE(parse_record(std::string(text.size(), '\0')));
}

class RecordOnDisk : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/nacelle-record-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    path_ = name;
    root_ = sys::open_at(sys::working_directory, name, O_RDONLY | O_DIRECTORY).value();
    id_ = full_record().container.id;
    ASSERT_TRUE(sys::make_directory_at(root_.get(), id_.c_str(), 0700));
    place_ = sys::open_at(root_.get(), id_.c_str(), O_RDONLY | O_DIRECTORY).value();
  }
  void TearDown() override {
    const Fd parent = sys::open_at(sys::working_directory, "/tmp", O_RDONLY | O_DIRECTORY).value();
    ASSERT_TRUE(image::remove_tree_now(parent, path_.substr(5)));
  }
  std::string path_, id_;
  Fd root_, place_;
};

TEST_F(RecordOnDisk, is_found_by_its_id) {
  ASSERT_TRUE(save_record(place_, write_record(full_record())));
  const auto read = load_record(root_, id_);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->container.name, "web");
  EXPECT_EQ(load_record(root_, std::string(64, 'c')).error().error_number(), ENOENT);
}

TEST_F(RecordOnDisk, of_another_container_is_none) {
  Record other = full_record();
  other.container.id = std::string(64, 'c');
  ASSERT_TRUE(save_record(place_, write_record(other)));
  EXPECT_EQ(load_record(root_, id_).error().kind(), Kind::Invalid);
}

TEST_F(RecordOnDisk, that_is_half_written_leaves_the_one_before) {
  ASSERT_TRUE(save_record(place_, write_record(full_record())));
  ASSERT_TRUE(sys::replace_file_at(place_.get(), ".record", "{\"Version\":1,", 0600));
  EXPECT_TRUE(load_record(root_, id_));
}

}  // namespace
}  // namespace nacelle::engine
