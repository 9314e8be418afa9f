// What deciding costs before the kernel is asked for anything: Docker's config.json to a spec, a
// plan, a filter and a device program. `load_cold` and `load_warm` are the sum that a start pays,
// without and with the filter in the cache.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <cstdlib>
#include <string>

#include "base/check.h"
#include "container/cgroup_plan.h"
#include "container/device_policy.h"
#include "container/plan.h"
#include "container/seccomp.h"
#include "container/seccomp_cache.h"
#include "oci/spec_parse.h"
#include "sys/file.h"

namespace nacelle::container {
namespace {

using benchmark::DoNotOptimize;
using benchmark::State;

const std::string& config() {
  static const std::string json = [] {
    auto text = sys::read_file_at(
        sys::working_directory, NACELLE_TEST_DATA "/docker-28-config.json", oci::config_bytes_max);
    CHECK(text.has_value());
    return *std::move(text);
  }();
  return json;
}

const oci::Spec& spec() {
  static const oci::Spec parsed = [] {
    auto result = oci::parse_spec(config());
    CHECK(result.has_value());
    return *std::move(result);
  }();
  return parsed;
}

const SeccompTarget target = SeccompTarget::of_this_build();

Result<SeccompProgram> compile_cold(const oci::Spec& from) {
  const oci::Seccomp profile = TRY(oci::parse_seccomp(from.linux_->seccomp_json));
  return compile_seccomp(profile, target);
}

Result<std::string> plan_with(const oci::Spec& from, const SeccompProgram& filter) {
  PlanOptions options;
  options.bundle = "/bundle";
  options.seccomp.instructions = {
      reinterpret_cast<const FilterInstruction*>(filter.instructions.data()),
      filter.instructions.size()};
  options.seccomp.flags = filter.filter_flags;
  return plan_container(from, options);
}

// Where filters are kept, removed with them.
class FilterCache {
 public:
  FilterCache() {
    if (::mkdtemp(path_.data()) == nullptr) return;
    if (auto opened = open_seccomp_cache(path_.c_str())) directory_ = *std::move(opened);
  }
  ~FilterCache() { (void)sys::remove_directory_at(sys::working_directory, path_.c_str()); }
  FilterCache(const FilterCache&) = delete;
  FilterCache& operator=(const FilterCache&) = delete;

  Result<SeccompProgram> load(const oci::Spec& from) const {
    return load_or_compile(
        directory_, {.profile_json = from.linux_->seccomp_json, .kernel_release = {}}, target);
  }

 private:
  std::string path_ = "/tmp/nacelle-bench-XXXXXX";
  Fd directory_;
};

// `work` gives a Result; a failure is an error of the benchmark.
template <class Work>
void repeat(State& state, Work work) {
  for (auto _ : state) {
    auto result = work();
    if (!result) return state.SkipWithError(("failed: " + result.error().message()).c_str());
    DoNotOptimize(result);
  }
}

#define PLAN_BENCHMARK(name) BENCHMARK(name)->Unit(benchmark::kMicrosecond)

void parse_spec(State& state) {
  repeat(state, [] { return oci::parse_spec(config()); });
}
PLAN_BENCHMARK(parse_spec);

void plan_container(State& state) {
  repeat(state, [filter = compile_cold(spec())] { return plan_with(spec(), *filter); });
}
PLAN_BENCHMARK(plan_container);

void check_plan(State& state) {
  repeat(state,
         [plan = plan_with(spec(), *compile_cold(spec()))] { return PlanView::check(*plan); });
}
PLAN_BENCHMARK(check_plan);

void plan_exec(State& state) {
  const auto plan = plan_with(spec(), *compile_cold(spec()));
  const auto view = PlanView::check(*plan);
  repeat(state, [&] { return container::plan_exec(*spec().process, *view, PlanOptions{}); });
}
PLAN_BENCHMARK(plan_exec);

// As `exec` without options has it: the process of the container's plan, read back from the plan.
void plan_exec_of_plan(State& state) {
  const auto plan = plan_with(spec(), *compile_cold(spec()));
  const auto view = PlanView::check(*plan);
  repeat(state, [&] { return container::plan_exec(process_of(*view), *view, PlanOptions{}); });
}
PLAN_BENCHMARK(plan_exec_of_plan);

void seccomp_parse(State& state) {
  repeat(state, [] { return oci::parse_seccomp(spec().linux_->seccomp_json); });
}
PLAN_BENCHMARK(seccomp_parse);

void seccomp_compile(State& state) {
  const auto profile = oci::parse_seccomp(spec().linux_->seccomp_json);
  repeat(state, [&] { return compile_seccomp(*profile, target); });
  if (const auto program = compile_seccomp(*profile, target))
    state.counters["instructions"] = static_cast<double>(program->instructions.size());
}
PLAN_BENCHMARK(seccomp_compile);

void seccomp_cold(State& state) {
  repeat(state, [] { return compile_cold(spec()); });
}
PLAN_BENCHMARK(seccomp_cold);

void seccomp_warm(State& state) {
  const FilterCache cache;
  (void)cache.load(spec());
  repeat(state, [&] { return cache.load(spec()); });
}
PLAN_BENCHMARK(seccomp_warm);

void plan_cgroup(State& state) {
  repeat(state, [] { return container::plan_cgroup(spec().linux_->resources); });
}
PLAN_BENCHMARK(plan_cgroup);

void device_program(State& state) {
  repeat(state, []() -> Result<std::vector<bpf_insn>> {
    return compile_device_program(TRY(plan_device_rules(spec().linux_->resources.devices)));
  });
}
PLAN_BENCHMARK(device_program);

template <class Filter>
Result<CgroupPlan> load(Filter filter) {
  const oci::Spec parsed = TRY(oci::parse_spec(config()));
  const SeccompProgram program = TRY(filter(parsed));
  const std::string plan = TRY(plan_with(parsed, program));
  TRY(PlanView::check(plan));
  return container::plan_cgroup(parsed.linux_->resources);
}

void load_cold(State& state) {
  repeat(state, [] { return load(compile_cold); });
}
PLAN_BENCHMARK(load_cold);

void load_warm(State& state) {
  const FilterCache cache;
  (void)cache.load(spec());
  repeat(state, [&] { return load([&](const oci::Spec& from) { return cache.load(from); }); });
}
PLAN_BENCHMARK(load_warm);

}  // namespace
}  // namespace nacelle::container

BENCHMARK_MAIN();
