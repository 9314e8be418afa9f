// The same profile through libseccomp, driven the way runc drives it: what our compiler is measured
// against. Also the system calls that libseccomp knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/cbpf.h"
#include "oci/spec.h"

namespace nacelle::container::test {

struct Reference {
  int error = 0;  // errno with which libseccomp refused a rule
  std::vector<codec::CbpfInstruction> program;
  std::string text;  // libseccomp's readable form of the same filter
};
Reference compile_with_libseccomp(const oci::Seccomp& profile, uint32_t optimize);

// What the readable form says about one call. It is written from libseccomp's rules and not from
// its program, so it tells a fault of the program from a different reading of the profile.
uint32_t run_text(const std::string& text, const codec::SeccompData& data);

// The number libseccomp has for a call on an architecture; nothing for pseudo numbers.
std::optional<uint32_t> libseccomp_number(oci::SeccompArch arch, std::string_view name);
std::vector<std::string> libseccomp_names(oci::SeccompArch arch);
bool libseccomp_knows(const std::string& name);

struct KnownArch {
  oci::SeccompArch id;
  uint32_t token;  // SCMP_ARCH_*
  uint32_t audit;
};
// The little-endian ones: those that this build's filters can hold.
const std::vector<KnownArch>& known_archs();

}  // namespace nacelle::container::test
