// What the kernel asks for loading what keeps a container in: our filter beside libseccomp's for
// the same profile, and the device program. A filter stays for the life of its process, so each is
// loaded in a child.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <vector>

#include "base/check.h"
#include "bench/micro/measure.h"
#include "container/cgroup_plan.h"
#include "container/seccomp.h"
#include "oci/spec_parse.h"
#include "sys/bpf.h"
#include "sys/file.h"
#include "tests/unit/container_seccomp/reference.h"

namespace nacelle::bench {
namespace {

using benchmark::State;
using Filter = std::vector<codec::CbpfInstruction>;

const oci::Spec& spec() {
  static const oci::Spec parsed = [] {
    auto json = sys::read_file_at(
        sys::working_directory, NACELLE_TEST_DATA "/docker-28-config.json", oci::config_bytes_max);
    CHECK(json.has_value());
    auto result = oci::parse_spec(*json);
    CHECK(result.has_value());
    return *std::move(result);
  }();
  return parsed;
}

oci::Seccomp profile() {
  auto parsed = oci::parse_seccomp(spec().linux_->seccomp_json);
  CHECK(parsed.has_value());
  return *std::move(parsed);
}

long load(const Filter& filter) {
  sock_fprog program{};
  program.len = static_cast<unsigned short>(filter.size());
  program.filter =
      reinterpret_cast<sock_filter*>(const_cast<codec::CbpfInstruction*>(filter.data()));
  return sys::call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

void measure_load(State& state, const Filter& filter) {
  measure_in_children(state, 0, [&](Watch& watch) -> long {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
    watch.start();
    const long result = load(filter);
    watch.stop();
    return result;
  });
  state.counters["instructions"] = static_cast<double>(filter.size());
}

// A system call that the profile allows, under the filter: the answer is kept by the kernel for
// most of them, so this is seldom more than the price of having a filter.
void measure_call(State& state, const Filter& filter) {
  constexpr int calls = 1000;
  measure_in_children(
      state, 0,
      [&](Watch& watch) -> long {
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -errno;
        if (const long result = filter.empty() ? 0 : load(filter); result < 0) return result;
        watch.start();
        for (int i = 0; i < calls; ++i) sys::call(SYS_getppid);
        watch.stop();
        return 0;
      },
      calls);
}

Filter ours() {
  auto program = container::compile_seccomp(profile(), container::SeccompTarget::of_this_build());
  CHECK(program.has_value());
  return std::move(program->instructions);
}

// Level 1 tries the calls one after the other, 2 is libseccomp's own tree.
Filter of_libseccomp(uint32_t level) {
  return container::test::compile_with_libseccomp(profile(), level).program;
}

void seccomp_load_ours(State& state) { measure_load(state, ours()); }
BENCHMARK(seccomp_load_ours)->BY_HAND;
void seccomp_load_libseccomp(State& state) {
  measure_load(state, of_libseccomp(static_cast<uint32_t>(state.range(0))));
}
BENCHMARK(seccomp_load_libseccomp)->ArgName("optimize")->Arg(1)->Arg(2)->BY_HAND;

void seccomp_call_without(State& state) { measure_call(state, {}); }
BENCHMARK(seccomp_call_without)->BY_HAND;
void seccomp_call_ours(State& state) { measure_call(state, ours()); }
BENCHMARK(seccomp_call_ours)->BY_HAND;
void seccomp_call_libseccomp(State& state) {
  measure_call(state, of_libseccomp(static_cast<uint32_t>(state.range(0))));
}
BENCHMARK(seccomp_call_libseccomp)->ArgName("optimize")->Arg(1)->Arg(2)->BY_HAND;

std::vector<bpf_insn> device_program() {
  auto plan = container::plan_cgroup(spec().linux_->resources);
  CHECK(plan.has_value() && !plan->device_program.empty());
  return std::move(plan->device_program);
}

void device_program_load(State& state) {
  const auto instructions = device_program();
  measure(state, [&](Watch& watch) -> long {
    watch.start();
    const auto program = sys::load_device_program(instructions, "bench");
    watch.stop();
    return program ? 0 : -program.error().error_number();
  });
}
BENCHMARK(device_program_load)->BY_HAND;

void device_program_attach(State& state) {
  const Group group;
  if (!group.opened(state)) return;
  const auto program = sys::load_device_program(device_program(), "bench");
  if (!program) return skip(state, -program.error().error_number());
  measure(state, [&](Watch& watch) -> long {
    watch.start();
    const auto attached = sys::attach_to_cgroup(group.dir(), *program, BPF_CGROUP_DEVICE);
    watch.stop();
    if (!attached) return -attached.error().error_number();
    const auto detached = sys::detach_from_cgroup(group.dir(), *program, BPF_CGROUP_DEVICE);
    return detached ? 0 : -detached.error().error_number();
  });
}
BENCHMARK(device_program_attach)->BY_HAND;

}  // namespace
}  // namespace nacelle::bench
