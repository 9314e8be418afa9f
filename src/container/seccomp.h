// linux.seccomp to a kernel program, as a pure function: nothing is loaded and no kernel is asked.
// A profile means what libseccomp 2.5.4 makes of it under runc, with runc's answer ENOSYS for calls
// newer than the profile; the program is a balanced tree, because the kernel's price for loading a
// filter is running it for every system call number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codec/cbpf.h"
#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::container {

struct SeccompTarget {
  // The architecture of this build; it is part of every filter, listed or not.
  oci::SeccompArch native;
  static SeccompTarget of_this_build();
};

struct SeccompProgram {
  std::vector<codec::CbpfInstruction> instructions;
  uint32_t filter_flags = 0;  // SECCOMP_FILTER_FLAG_*, for seccomp(2)
  bool has_notify = false;    // then filter_flags asks for a listener
  // One line each: names that no architecture knows, flags that have no effect.
  std::vector<std::string> warnings;
  bool operator==(const SeccompProgram&) const = default;
};

// More warnings than this are counted, not kept.
inline constexpr size_t seccomp_warnings_max = 16;

// Errors begin with the JSON path at fault: `linux.seccomp.architectures[2]: ...`.
Result<SeccompProgram> compile_seccomp(const oci::Seccomp& profile, const SeccompTarget& target);

}  // namespace nacelle::container
