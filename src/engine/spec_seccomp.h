// Docker's seccomp profiles to linux.seccomp: rules that hold only with certain capabilities,
// architectures or kernels are decided here, as dockerd decides them. Pure; what the result means
// is compiled by container/seccomp.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nacelle/result.h"

namespace nacelle::engine {

// Where a profile is looked at: who decides its conditions.
struct SeccompHost {
  uint64_t bounding = 0;  // the container's capabilities, one bit each
  std::string_view arch;  // as Go calls it: "amd64"
  unsigned kernel_major = 0, kernel_minor = 0;
};
// The machine this runs on.
SeccompHost seccomp_host(uint64_t bounding);

// The capabilities that make a difference to the default profile.
uint64_t seccomp_default_capabilities();
// linux.seccomp of the default profile.
std::string default_seccomp(const SeccompHost& host);

// Profiles longer than this are refused.
inline constexpr size_t seccomp_profile_bytes_max = 1u << 20;
// A profile in Docker's form, as the client sends the file's content; empty: it asks for no filter.
Result<std::string> read_seccomp_profile(std::string_view json, const SeccompHost& host);

}  // namespace nacelle::engine
