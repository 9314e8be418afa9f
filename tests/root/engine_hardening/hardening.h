// An engine for each test, with an image named busybox; when it has gone, everything else is as it
// was before.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "tests/support/bundle.h"
#include "tests/support/census.h"
#include "tests/support/command.h"
#include "tests/support/engine_program.h"
#include "tests/support/hostile_tar.h"

namespace nacelle::test {

using namespace std::chrono_literals;

// Without what is counted on the whole machine, where others work, too.
inline Census census_of_this_host() {
  Census census = take_census();
  census.found.erase("bpf");
  return census;
}

inline testing::AssertionResult is_as_before(const Census& before) {
  std::string difference;
  const bool same = eventually(
      [&] {
        difference = census_difference(before, census_of_this_host());
        return difference.empty();
      },
      10s);
  if (same) return testing::AssertionSuccess();
  return testing::AssertionFailure() << '\n' << difference;
}

class Hardening : public testing::Test {
 protected:
  void SetUp() override {
    before_ = census_of_this_host();
    open({});
  }
  void TearDown() override {
    if (!engine_) return;
    EXPECT_EQ(ping_engine(engine_->socket_path()), "OK") << engine_->errors();
    engine_->remove_containers();
    engine_.reset();
    EXPECT_TRUE(is_as_before(before_));
  }
  void open(EngineProgram::Options options) {
    engine_.reset();
    engine_.emplace(std::move(options));
    ASSERT_TRUE(engine_->is_up()) << engine_->errors();
    const Answer made = engine_->import_image("busybox", {"ENV PATH=/bin", "CMD [\"sh\"]"});
    ASSERT_EQ(made.status, 200) << made.body;
  }
  EngineProgram& engine() { return *engine_; }
  // A request by itself: `refused` is what is said then.
  Answer create_json(std::string_view json, std::string_view query = {}) {
    return engine().call("POST", cat("/containers/create", query), json);
  }
  size_t containers() {
    const std::string list = engine().call("GET", "/containers/json?all=1").body;
    size_t count = 0;
    for (size_t at = 0; (at = list.find("\"Id\":", at)) != std::string::npos; ++at) ++count;
    return count;
  }

  Census before_;
  std::optional<EngineProgram> engine_;
};

}  // namespace nacelle::test
