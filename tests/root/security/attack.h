// What the attacks share: a container that is there while a test lives, the attacker's program in
// its root, and the rule that a test leaves the host as it found it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/bundle.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace nacelle::test {

// A bundle with /attacker in it.
class ArmedBundle : public Bundle {
 public:
  explicit ArmedBundle(const Config& config);
};

// A bundle and a container of that name; removed by force at the end.
class Box {
 public:
  Box(std::string id, const Config& config) : id_(std::move(id)), bundle_(config) {}
  Box(Box&&) = delete;
  ~Box() { (void)oci({"delete", "--force", id_}); }

  ArmedBundle& bundle() { return bundle_; }
  const std::string& id() const { return id_; }
  // `run --detach`: the result's out_now() is what the container writes later.
  CommandResult start(std::vector<std::string> options = {});
  // `run` to its end.
  CommandResult run(std::vector<std::string> options = {}, const CommandOptions& how = {});
  CommandResult create(std::vector<std::string> options = {});
  CommandResult exec(std::vector<std::string> words, std::vector<std::string> options = {});
  int pid() const;  // 0: none

 private:
  std::string id_;
  ArmedBundle bundle_;
};

// As nothing_left_since, for everything that can only be ours. BPF programs are counted over the
// whole machine, so they are looked at in long runs only, which have it to themselves.
testing::AssertionResult nothing_of_ours_left_since(const Census& before);

// Every test must leave no process, mount, group, namespace, program, descriptor or state behind.
class Attack : public testing::Test {
 protected:
  static void SetUpTestSuite();
  void SetUp() override { before_ = take_census(runtime_root); }
  void TearDown() override {
    if (!IsSkipped()) EXPECT_TRUE(nothing_of_ours_left_since(before_));
  }

 private:
  Census before_;
};

// How long a race is tried: `seconds`, or NACELLE_LONG_SECONDS where that is set.
double race_seconds(double seconds);
bool is_long_run();

std::string mount_json(const std::string& destination, const std::string& type,
                       const std::string& source, const std::vector<std::string>& options = {});
std::string bind_json(const std::string& source, const std::string& destination,
                      std::vector<std::string> options = {"rbind", "rw"});
// Everything under a directory: path, kind, mode, owner, size, content of small files; one a line.
std::string snapshot(const std::string& directory);
std::string sha256(const std::string& path);
// The value of the last line `key=value`.
std::string value_of(const std::string& output, const std::string& key);
// Docker's mounts without those on or under `place`.
Config docker_without(const std::string& place);

}  // namespace nacelle::test
