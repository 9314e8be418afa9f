#include "build/stage_plan.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/text.h"
#include "build/dockerfile_words.h"
#include "codec/json.h"

namespace nacelle::build {
namespace {

using codec::json::in_quotes;

using Names = std::set<std::string, std::less<>>;

// The last stage of `name` among the first `count`.
std::optional<size_t> find_stage(const Dockerfile& file, std::string_view name, size_t count,
                                 const Names& replaced = {}) {
  const std::string lower = to_lower(name);
  if (replaced.contains(lower)) return std::nullopt;
  while (count-- > 0) {
    if (!lower.empty() && file.stages[count].from.name == lower) return count;
  }
  return std::nullopt;
}

// What global ARGs are, each seeing those before it.
Result<Environment> global_arguments(const Dockerfile& file, const PlanOptions& options) {
  Environment environment =
      platform_arguments(options.build_platform, options.target_platform, options.target);
  for (auto& [name, value] : environment) {
    const auto given = options.build_arguments.find(name);
    if (given != options.build_arguments.end()) value = given->second;
  }
  for (const Dockerfile::GlobalArg& global : file.global_args) {
    for (const Arg::Argument& argument : global.arg.arguments) {
      const auto given = options.build_arguments.find(argument.name);
      if (given != options.build_arguments.end()) {
        environment[argument.name] = given->second;
      } else if (argument.value) {
        auto value = expand(*argument.value, environment, {.escape = file.directives.escape});
        if (!value)
          return std::unexpected(
              file.complain(global.source, value.error().message(), value.error().kind()));
        environment[argument.name] = *std::move(value);
      }
    }
  }
  return environment;
}

class Planner {
 public:
  Planner(const Dockerfile& file, const Environment& global, const Names& replaced)
      : file_(file), global_(global), replaced_(replaced), states_(file.stages.size()) {}

  // Plans `index` behind everything it needs.
  Result<> visit(size_t index) {
    if (states_[index] == State::Planned) return {};
    if (states_[index] == State::Open)
      return fail_at(file_.stages[index].source,
                     cat("circular dependency detected on stage ", stage_name(index)));
    states_[index] = State::Open;
    PlannedStage planned = TRY(plan(index));
    for (const size_t needed : planned.needs) TRY(visit(needed));
    states_[index] = State::Planned;
    stages_.push_back(std::move(planned));
    return {};
  }
  std::vector<PlannedStage> take() && { return std::move(stages_); }

 private:
  enum class State : uint8_t { Unseen, Open, Planned };

  std::unexpected<Error> fail_at(const Source& source, std::string_view complaint) const {
    return std::unexpected(file_.complain(source, complaint));
  }
  std::string stage_name(size_t index) const {
    const std::string& name = file_.stages[index].from.name;
    return name.empty() ? cat(index) : name;
  }

  Result<std::string> expand_from(const Stage& stage, std::string_view word) const {
    auto value = expand(word, global_, {.escape = file_.directives.escape});
    if (!value) return fail_at(stage.source, value.error().message());
    return value;
  }

  Result<PlannedStage> plan(size_t index) const {
    const Stage& stage = file_.stages[index];
    PlannedStage planned{.stage = index, .base = {}, .platform = {}, .origins = {}, .needs = {}};
    const std::string base = TRY(expand_from(stage, stage.from.base));
    if (base.empty())
      return fail_at(stage.source, cat("base name (", stage.from.base, ") should not be blank"));
    planned.base.stage = find_stage(file_, base, index, replaced_);
    if (!planned.base.stage) planned.base.image = base;
    if (!stage.from.platform.empty()) {
      planned.platform = TRY(expand_from(stage, stage.from.platform));
      if (planned.platform.empty())
        return fail_at(stage.source,
                       cat("empty platform value from expression ", stage.from.platform));
      const auto platform = oci::parse_platform(planned.platform);
      if (!platform) return fail_at(stage.source, platform.error().message());
    }
    need(planned, planned.base);
    for (const Instruction& instruction : stage.instructions) {
      planned.origins.push_back(TRY(origins_of(instruction)));
      for (const Origin& origin : planned.origins.back()) need(planned, origin);
    }
    return planned;
  }

  static void need(PlannedStage& planned, const Origin& origin) {
    if (origin.stage && !contains(planned.needs, *origin.stage))
      planned.needs.push_back(*origin.stage);
  }

  Result<std::vector<Origin>> origins_of(const Instruction& instruction) const {
    std::vector<std::string_view> names;
    if (const auto* const copy = std::get_if<Copy>(&instruction.what)) {
      if (!copy->from.empty()) names.push_back(copy->from);
    } else if (const auto* const run = std::get_if<Run>(&instruction.what)) {
      for (const Mount& mount : run->mounts) {
        if (!mount.from.empty()) names.push_back(mount.from);
      }
    }
    std::vector<Origin> origins;
    for (const std::string_view name : names) {
      auto origin = find_origin(file_, name, replaced_);
      if (!origin) return fail_at(instruction.source, origin.error().message());
      origins.push_back(*std::move(origin));
    }
    return origins;
  }

  const Dockerfile& file_;
  const Environment& global_;
  const Names& replaced_;
  std::vector<State> states_;
  std::vector<PlannedStage> stages_;
};

Result<size_t> find_target(const Dockerfile& file, std::string_view target) {
  if (target.empty()) return file.stages.size() - 1;
  if (const auto named = find_stage(file, target, file.stages.size())) return *named;
  const auto number = parse_number<size_t>(target);
  if (number && *number < file.stages.size()) return *number;
  std::vector<std::string_view> names;
  for (const Stage& stage : file.stages) names.push_back(stage.from.name);
  const std::string_view meant = suggest(target, names);
  return fail(Kind::Invalid, cat("target stage ", in_quotes(target), " could not be found",
                                 meant.empty() ? "" : cat(" (did you mean ", meant, "?)")));
}

}  // namespace

Environment platform_arguments(const oci::Platform& build, const oci::Platform& target,
                               std::string_view target_stage) {
  Environment environment;
  for (const auto& [prefix, platform] :
       {std::pair{"BUILD", &build}, std::pair{"TARGET", &target}}) {
    environment[cat(prefix, "PLATFORM")] = platform->text();
    environment[cat(prefix, "OS")] = platform->os;
    environment[cat(prefix, "OSVERSION")] = platform->os_version;
    environment[cat(prefix, "ARCH")] = platform->architecture;
    environment[cat(prefix, "VARIANT")] = platform->variant;
  }
  environment["TARGETSTAGE"] = target_stage.empty() ? "default" : target_stage;
  return environment;
}

Result<Origin> find_origin(const Dockerfile& dockerfile, std::string_view from,
                           const Names& replaced) {
  if (const auto number = parse_number<int64_t>(from)) {
    if (*number < 0 || static_cast<uint64_t>(*number) >= dockerfile.stages.size())
      return fail(Kind::Invalid, cat("invalid stage index ", *number));
    return Origin{.stage = static_cast<size_t>(*number), .image = {}};
  }
  if (const auto stage = find_stage(dockerfile, from, dockerfile.stages.size(), replaced))
    return Origin{.stage = stage, .image = {}};
  return Origin{.stage = std::nullopt, .image = std::string(from)};
}

Result<StagePlan> plan_stages(const Dockerfile& dockerfile, const PlanOptions& options) {
  if (dockerfile.stages.empty()) return fail(Kind::Invalid, "a Dockerfile without stages");
  StagePlan plan;
  plan.global_arguments = TRY(global_arguments(dockerfile, options));
  Planner planner(dockerfile, plan.global_arguments, options.replaced);
  TRY(planner.visit(TRY(find_target(dockerfile, options.target))));
  plan.stages = std::move(planner).take();
  return plan;
}

}  // namespace nacelle::build
