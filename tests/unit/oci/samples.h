// Configurations that are right, for tests that break them in one place.
#pragma once

#include <string>
#include <string_view>

namespace nacelle::oci {

// Every property of config.md and config-linux.md that is read, once.
std::string_view full_config();
std::string_view full_seccomp();

// A small configuration in which more can be said. What is put in comes last, and the last of
// duplicate keys wins: a test overrides a property by giving it again.
struct Overrides {
  std::string_view top;
  std::string_view process;
  std::string_view linux_;
};
std::string config_with(const Overrides& overrides);

}  // namespace nacelle::oci
