// Apart from fixture.cc: oci/spec_parse.h and oci/image.h have a constant of the same name.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "oci/spec_parse.h"
#include "sys/file.h"

namespace nacelle::engine {

oci::Spec docker_spec() {
  const auto text = sys::read_file_at(sys::working_directory,
                                      NACELLE_TEST_DATA "/docker-28-config.json", 1u << 20);
  EXPECT_TRUE(text);
  auto spec = oci::parse_spec(*text);
  EXPECT_TRUE(spec) << spec.error().message();
  return *std::move(spec);
}

oci::Seccomp parse_profile(const std::string& json) {
  auto profile = oci::parse_seccomp(json);
  EXPECT_TRUE(profile) << profile.error().message();
  return profile ? *std::move(profile) : oci::Seccomp();
}

}  // namespace nacelle::engine
