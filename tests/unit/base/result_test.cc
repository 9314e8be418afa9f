#include "nacelle/result.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace nacelle {
namespace {

Result<int> open_nothing() { return fail_errno(ENOENT, "open 'x'"); }

Result<int> wrapped() { return TRY(open_nothing().context("starting 'web'")) + 1; }

TEST(Result, an_error_reads_outermost_attempt_first) {
  const auto result = wrapped();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "starting 'web': open 'x': No such file or directory");
  EXPECT_EQ(result.error().kind(), Kind::NotFound);
  EXPECT_EQ(result.error().error_number(), ENOENT);
}

TEST(Result, success_never_builds_the_context_text) {
  Result<int> good = 7;
  const auto kept = std::move(good).context([]() -> std::string { std::abort(); });
  EXPECT_EQ(kept.value(), 7);
}

}  // namespace
}  // namespace nacelle
