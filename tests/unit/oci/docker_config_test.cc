// Goal: the configuration Docker really writes is understood.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "oci/spec_parse.h"

namespace nacelle::oci {
namespace {

std::string docker_config() {
  std::stringstream text;
  text << std::ifstream(NACELLE_TEST_DATA "/docker-28-config.json").rdbuf();
  return text.str();
}

TEST(DockerConfig, says_what_docker_meant) {
  const auto spec = parse_spec(docker_config());
  ASSERT_TRUE(spec) << spec.error().message();
  EXPECT_EQ(spec->oci_version, "1.2.1");
  EXPECT_EQ(spec->process->args, std::vector<std::string>{"true"});
  EXPECT_EQ(spec->process->user.additional_gids, std::vector<uint32_t>{0});
  ASSERT_TRUE(spec->process->capabilities);
  EXPECT_EQ(spec->process->capabilities->bounding, 0xa80425fbu) << "Docker's well-known default";
  EXPECT_EQ(spec->process->capabilities->effective, 0xa80425fbu);
  EXPECT_EQ(spec->process->capabilities->inheritable, 0u);
  EXPECT_EQ(spec->process->oom_score_adj, 0);
  EXPECT_EQ(spec->root->path, "rootfs");
  ASSERT_EQ(spec->mounts.size(), 7u);
  EXPECT_EQ(spec->mounts[2].destination, "/dev/pts");
  EXPECT_EQ(spec->mounts[2].options.back(), "gid=5");
  EXPECT_EQ(spec->linux_->namespaces.size(), 6u);
  EXPECT_EQ(spec->linux_->sysctl.size(), 2u);
  EXPECT_EQ(spec->linux_->masked_paths.size(), 12u);
  const DeviceRule& deny = spec->linux_->resources.devices.front();
  EXPECT_EQ(deny.type, 'a');
  EXPECT_FALSE(deny.allow);
  EXPECT_FALSE(deny.major);
}

TEST(DockerConfig, has_a_seccomp_profile_that_is_read_by_itself) {
  const auto spec = parse_spec(docker_config());
  ASSERT_TRUE(spec);
  const auto seccomp = parse_seccomp(spec->linux_->seccomp_json);
  ASSERT_TRUE(seccomp) << seccomp.error().message();
  EXPECT_EQ(seccomp->default_action, SeccompAction::Errno);
  EXPECT_EQ(seccomp->default_errno_ret, 1u);
  EXPECT_EQ(seccomp->architectures.size(), 3u);
  ASSERT_EQ(seccomp->rules.size(), 13u);
  EXPECT_GT(seccomp->rules[0].names.size(), 300u);
}

}  // namespace
}  // namespace nacelle::oci
