// main() of tests that run in a private host. Without root every test is skipped, with the reason.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/private_host.h"

namespace {

class NeedsRoot : public testing::Environment {
 public:
  void SetUp() override { GTEST_SKIP() << "needs root"; }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (GTEST_FLAG_GET(list_tests)) return RUN_ALL_TESTS();
  if (::geteuid() != 0) {
    testing::AddGlobalTestEnvironment(new NeedsRoot);
    return RUN_ALL_TESTS();
  }
  return nacelle::test::in_private_host([] { return RUN_ALL_TESTS(); });
}
