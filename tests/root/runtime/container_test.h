// What the tests of whole containers share: one container at a time on the private host, and after
// each test a census that must equal the one before it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "tests/support/bundle.h"
#include "tests/support/census.h"
#include "tests/support/command.h"

namespace nacelle::test {

class ContainerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(runtime_path().empty()) << "nacelle-oci is not built";
    ASSERT_TRUE(oci({"list"}).ok());  // makes the state directory, which stays
    before_ = take_own_census();
  }
  void TearDown() override {
    std::string difference;
    EXPECT_TRUE(eventually([&] {
      difference = census_difference(before_, take_own_census());
      return difference.empty();
    })) << difference;
    if (HasFailure())
      remove_what_is_left();  // so that the next test fails for its own reasons only
  }

 private:
  // Compiled filters stay in the state directory, as meant. Device programs are counted on the
  // whole machine, where others start containers too; they go with their cgroup, which is counted.
  static Census take_own_census() {
    Census census = take_census(runtime_root);
    census.found.erase("bpf");
    std::erase_if(census.found["state"], [](const std::string& path) {
      return path.find("/@seccomp") != std::string::npos;
    });
    return census;
  }
  static void remove_what_is_left() {
    const std::string ids = oci({"list", "--quiet"}).out;
    for (std::string_view rest = ids; !rest.empty();) {
      oci({"delete", "--force", std::string(take_until(rest, '\n'))});
    }
  }

  Census before_;
};

// A container in the foreground, from its making to its end.
inline CommandResult run_once(const Bundle& bundle, const CommandOptions& options = {},
                              std::vector<std::string> more = {}) {
  std::vector<std::string> words = {"run", "--bundle", bundle.path()};
  words.insert(words.end(), more.begin(), more.end());
  words.emplace_back("once");
  return oci(words, options);
}
inline CommandResult run_once(const Config& config, const CommandOptions& options = {}) {
  return run_once(Bundle(config), options);
}
inline CommandResult run_shell(Config config, const std::string& script) {
  return run_once(config.args({"/bin/sh", "-c", script}));
}

// A container that was created or started in the background; removed when the test leaves it.
class Live {
 public:
  explicit Live(const Bundle& bundle, std::string id = "live", std::string verb = "run")
      : id_(std::move(id)) {
    std::vector<std::string> words = {verb, "--bundle", bundle.path()};
    if (verb == "run") words.emplace_back("--detach");
    words.push_back(id_);
    made_ = oci(words);
    EXPECT_TRUE(made_.ok()) << made_.text();
  }
  Live(Live&&) = delete;
  ~Live() { oci({"delete", "--force", id_}); }

  const std::string& id() const { return id_; }
  const CommandResult& made() const { return made_; }
  CommandResult exec(std::vector<std::string> words, const CommandOptions& options = {}) const {
    words.insert(words.begin(), {"exec", id_});
    return oci(words, options);
  }
  // One property of the `state` output, as jq prints it.
  std::string state(const std::string& property) const {
    CommandOptions options;
    options.input = oci({"state", id_}).out;
    std::string text = run({"jq", "-r", cat(".", property)}, options).out;
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }
  bool becomes(const std::string& status) const {
    return eventually([&] { return state("status") == status; });
  }

 private:
  std::string id_;
  CommandResult made_;
};

inline std::string mount_json(std::string_view destination, std::string_view type,
                              std::string_view source,
                              const std::vector<std::string>& options = {}) {
  return cat("{\"destination\":", json_string(destination), ",\"type\":", json_string(type),
             ",\"source\":", json_string(source), ",\"options\":", json_strings(options), "}");
}

// The line of a mountinfo text whose mount point is `where`: the last one, which is on top.
inline std::string mount_line(std::string_view mountinfo, std::string_view where) {
  std::string found;
  while (!mountinfo.empty()) {
    const std::string_view line = take_until(mountinfo, '\n');
    std::string_view rest = line;
    for (int i = 0; i < 4; ++i) take_until(rest, ' ');
    if (take_until(rest, ' ') == where) found = line;
  }
  return found;
}
// Its sixth field: the options of the mount itself.
inline std::string mount_options(std::string_view mountinfo, std::string_view where) {
  const std::string line = mount_line(mountinfo, where);
  std::string_view rest = line;
  for (int i = 0; i < 5; ++i) take_until(rest, ' ');
  return std::string(take_until(rest, ' '));
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

#define EXPECT_CONTAINS(text, part) \
  EXPECT_TRUE(::nacelle::test::contains(text, part)) << "no '" << (part) << "' in: " << (text)
#define EXPECT_LACKS(text, part) \
  EXPECT_FALSE(::nacelle::test::contains(text, part)) << "'" << (part) << "' in: " << (text)

}  // namespace nacelle::test
