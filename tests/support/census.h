// A census of everything a container can leave behind on the private host, taken before and after.
// It counts what is there, and refuses to guess who made it: run one test at a time.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <set>
#include <string>

namespace nacelle::test {

struct Census {
  // Kind (`process`, `mount`, `cgroup`, `namespace`, `link`, `bpf`, `descriptor`, `state`) to what
  // exists of it. A value.
  std::map<std::string, std::multiset<std::string>> found;

  bool operator==(const Census&) const = default;
};

// `state_root` is the runtime's --root; empty when there is none to look at.
Census take_census(const std::string& state_root = "");

// One line per difference: `left behind: mount /tmp/x tmpfs`, `gone: link eth0`; empty when equal.
std::string census_difference(const Census& before, const Census& after);

// Takes a census again and again until it equals `before`: the kernel tears namespaces, groups and
// programs down behind our back. Fails with the difference when the deadline passes.
testing::AssertionResult nothing_left_since(
    const Census& before, const std::string& state_root = "",
    std::chrono::milliseconds deadline = std::chrono::milliseconds(5'000));

// For gtest's failure messages.
void PrintTo(const Census& census, std::ostream* out);

}  // namespace nacelle::test
