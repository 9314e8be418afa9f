// Any profile that parses compiles or is refused; a program that comes out is one that the kernel
// takes, and answers every call with an action that the profile names or that every filter has.
#include <linux/audit.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <set>
#include <string_view>

#include "base/check.h"
#include "codec/cbpf.h"
#include "container/seccomp.h"
#include "oci/spec_parse.h"

namespace {

using namespace nacelle;

void ask(const container::SeccompProgram& program, uint32_t arch) {
  static const std::set<uint32_t> actions = {
      SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP,  SECCOMP_RET_ERRNO,
      SECCOMP_RET_TRACE,        SECCOMP_RET_LOG,         SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF};
  for (uint32_t number = 0; number < 500; ++number) {
    for (const uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32, UINT64_MAX}) {
      const codec::SeccompData data{.number = number,
                                    .arch = arch,
                                    .instruction_pointer = 0,
                                    .args = {value, value, value, value, value, value}};
      const uint32_t answer = codec::run_seccomp(program.instructions, data).action;
      CHECK(actions.contains(answer & SECCOMP_RET_ACTION_FULL));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto profile = oci::parse_seccomp({reinterpret_cast<const char*>(bytes), size});
  if (!profile) return 0;
  const auto program = container::compile_seccomp(*profile, {oci::SeccompArch::X86_64});
  if (!program) {
    CHECK(program.error().message().starts_with("linux.seccomp"));
    return 0;
  }
  CHECK(codec::check_seccomp_program(program->instructions));
  ask(*program, AUDIT_ARCH_X86_64);
  ask(*program, AUDIT_ARCH_I386);
  return 0;
}
