// A Dockerfile of any bytes: parsed, or refused with a text that is safe to show. What was parsed
// can be planned, its variables replaced, and its triggers read again; twice gives the same.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "base/check.h"
#include "base/text.h"
#include "build/dockerfile.h"
#include "build/expand.h"
#include "build/stage_plan.h"

namespace {

using namespace nacelle;

void check_complaint(const Error& error) {
  const std::string& complaint = error.message();
  CHECK(!complaint.empty() && is_utf8(complaint) && !complaint.contains('\x1B'));
  CHECK(complaint.size() < 30'000);
}

void check_run(const build::Run& run) {
  const build::RunForm form = build::run_form(run);
  CHECK(!form.command.arguments({}).empty());
  CHECK(form.script.empty() == form.script_path.empty());
  CHECK(!form.script_path.contains(".."));
}

void check_instruction(const build::Dockerfile& file, build::Instruction instruction,
                       const build::Environment& environment) {
  const build::Source& source = instruction.source;
  CHECK(1 <= source.first_line && source.first_line <= source.last_line);
  CHECK(source.last_line <= file.lines.size());
  check_complaint(file.complain(source, "wrong"));
  if (const auto* const run = std::get_if<build::Run>(&instruction.what)) check_run(*run);
  if (const auto* const on_build = std::get_if<build::OnBuild>(&instruction.what)) {
    // Docker reads a trigger with a backslash for its escape character.
    const auto trigger = build::parse_trigger(on_build->trigger, "trigger");
    if (file.directives.escape == '\\') CHECK(trigger.has_value());
  }
  if (!build::expand_variables(instruction, environment, file.directives.escape)) return;
  if (const auto* const run = std::get_if<build::Run>(&instruction.what)) {
    for (const build::Mount& mount : run->mounts) CHECK(mount.complete);
  }
}

void check_plan(const build::Dockerfile& file, const build::StagePlan& plan) {
  CHECK(!plan.stages.empty() && plan.stages.size() <= file.stages.size());
  std::vector<bool> done(file.stages.size());
  for (const build::PlannedStage& stage : plan.stages) {
    CHECK(stage.origins.size() == file.stages[stage.stage].instructions.size());
    for (const size_t needed : stage.needs) CHECK(done[needed]);
    CHECK(!done[stage.stage]);
    done[stage.stage] = true;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto file = build::parse_dockerfile(text);
  if (!file) {
    check_complaint(file.error());
    return 0;
  }
  CHECK(*build::parse_dockerfile(text) == *file);
  CHECK(!file->stages.empty());
  const build::Environment environment = {{"a", "x y"}, {"b", ""}, {"PATH", "/bin:/usr/bin"}};
  for (const build::Stage& stage : file->stages) {
    for (const build::Instruction& instruction : stage.instructions)
      check_instruction(*file, instruction, environment);
  }
  const auto plan = build::plan_stages(*file, {.target = {}, .build_arguments = environment});
  if (!plan) {
    check_complaint(plan.error());
    return 0;
  }
  check_plan(*file, *plan);
  return 0;
}
