// Which stages of a Dockerfile a build needs, in which order, and what each stands on. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "build/dockerfile.h"
#include "build/expand.h"
#include "nacelle/result.h"
#include "oci/image.h"

namespace nacelle::build {

// BUILDPLATFORM, TARGETARCH and their kin: global ARGs that are there without being declared.
Environment platform_arguments(const oci::Platform& build, const oci::Platform& target,
                               std::string_view target_stage);

struct PlanOptions {
  std::string target;           // a stage's name or number; empty is the last
  Environment build_arguments;  // --build-arg
  oci::Platform build_platform = oci::host_platform();
  oci::Platform target_platform = oci::host_platform();
  std::set<std::string, std::less<>>
      replaced;  // names that mean no stage, whatever stages there are
};

// What FROM, COPY --from or a mount's `from` means: another stage, or else an image (`scratch`
// too).
struct Origin {
  std::optional<size_t> stage;  // index into Dockerfile::stages
  std::string image;            // where there is no stage; as written, variables expanded
  bool is_scratch() const { return !stage && image == "scratch"; }
  bool operator==(const Origin&) const = default;
};

struct PlannedStage {
  size_t stage = 0;  // index into Dockerfile::stages
  Origin base;
  std::string platform;  // FROM --platform expanded; empty is the target's
  // Of each instruction, what its COPY --from or its mounts' `from` mean, in their order: one of a
  // COPY, one per mount with a `from` of a RUN. Empty for all others.
  std::vector<std::vector<Origin>> origins;
  std::vector<size_t> needs;  // stages that must be there before, base included, each once
  bool operator==(const PlannedStage&) const = default;
};

struct StagePlan {
  // What global ARGs came to, platform arguments included: what `ARG name` in a stage takes up.
  Environment global_arguments;
  // Needed ones only, each behind all that it needs; the target is the last.
  std::vector<PlannedStage> stages;
  bool operator==(const StagePlan&) const = default;
};

// Invalid: no such target, stages in a circle, a number that is no stage, a FROM that is empty once
// expanded. Stages that are not needed are not looked at.
Result<StagePlan> plan_stages(const Dockerfile& dockerfile, const PlanOptions& options);

// The same for one name alone: a trigger's COPY --from. Stage names go by lower case; the last
// stage of a name is meant; a number is always a stage.
Result<Origin> find_origin(const Dockerfile& dockerfile, std::string_view from,
                           const std::set<std::string, std::less<>>& replaced = {});

}  // namespace nacelle::build
