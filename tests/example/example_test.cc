// The program of README.md, as its reader gets it, over a bundle of ours.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/text.h"
#include "nacelle/fd.h"
#include "tests/support/bundle.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace nacelle::test {
namespace {

constexpr const char* host_state = "/run/function-host";

CommandResult run_example(const std::string& bundle) {
  CommandResult result = run({NACELLE_EXAMPLE, bundle});
  result.out_file = Fd();  // or a census would find them
  result.err_file = Fd();
  return result;
}

// The first census counts for every test: the kernel frees programs and groups behind our back, and
// one taken between two tests would find some of the earlier one's.
class Example : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    ASSERT_TRUE(run({"mkdir", "-p", "-m", "700", host_state}).ok());
    before_ = new Census(take_census(host_state));
  }
  static void TearDownTestSuite() { delete before_; }
  void TearDown() override { EXPECT_TRUE(nothing_left_since(*before_, host_state)); }

 private:
  inline static Census* before_ = nullptr;
};

std::multiset<std::string> lines_of(std::string_view text) {
  std::multiset<std::string> lines;
  while (!text.empty()) lines.emplace(take_until(text, '\n'));
  return lines;
}

TEST_F(Example, every_call_reports_its_exit_code) {
  const Bundle bundle(Config::minimal().args({"/bin/sh", "-c", "exit 3"}));
  const CommandResult result = run_example(bundle.path());
  EXPECT_TRUE(result.ok()) << result.text();
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(lines_of(result.out),
            (std::multiset<std::string>{"call-0: 3", "call-1: 3", "call-2: 3", "call-3: 3"}));
}

// Each call writes that it is there and waits for the other three: one after another they would
// wait for ever.
TEST_F(Example, the_calls_run_side_by_side) {
  Config config = Config::minimal();
  const Bundle bundle(config.args({"/bin/sh", "-c",
                                   "touch /all/$$.$(cat /proc/sys/kernel/random/uuid);"
                                   "for i in $(seq 200); do"
                                   "  [ $(ls /all | wc -l) -ge 4 ] && exit 0; usleep 20000;"
                                   " done; exit 1"}));
  const std::string shared = bundle.path() + "/all";
  ASSERT_TRUE(run({"mkdir", shared}).ok());
  config.add_mount(
      cat(R"({"destination":"/all","type":"bind","source":")", shared, R"(","options":["bind"]})"));
  const Bundle configured(config);
  const CommandResult result = run_example(configured.path());
  EXPECT_TRUE(result.ok()) << result.text();
  EXPECT_EQ(lines_of(result.out),
            (std::multiset<std::string>{"call-0: 0", "call-1: 0", "call-2: 0", "call-3: 0"}));
}

TEST_F(Example, a_program_that_is_not_there_is_said_once_per_call) {
  const Bundle bundle(Config::minimal().args({"/bin/no-such-program"}));
  const CommandResult result = run_example(bundle.path());
  const auto said = lines_of(result.err);
  EXPECT_EQ(said.size(), 4u) << result.text();
  for (const std::string& line : said) {
    EXPECT_NE(line.find("/bin/no-such-program"), std::string::npos) << line;
  }
  EXPECT_EQ(result.out, "");
}

TEST_F(Example, a_bundle_that_is_not_there_is_an_error_that_names_it) {
  const CommandResult result = run_example("/no/such/bundle");
  EXPECT_EQ(result.exit_code, 1) << result.text();
  EXPECT_NE(result.err.find("/no/such/bundle"), std::string::npos) << result.text();
}

}  // namespace
}  // namespace nacelle::test
