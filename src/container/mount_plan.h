// One entry of config.json's `mounts`, with mount(8)'s option words, as a MountStep. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "container/launch_plan.h"
#include "nacelle/result.h"
#include "oci/spec.h"

namespace nacelle::container {

struct MountContext {
  bool has_cgroup_namespace = false;
  std::string_view bundle;  // relative bind sources start here
  std::string_view mount_label;
  // The container's own mappings, for `idmap` without mappings of its own; empty: none.
  const std::vector<oci::IdMapping>* uid_mappings = nullptr;
  const std::vector<oci::IdMapping>* gid_mappings = nullptr;
};

// `index` names the entry in errors; idmaps are appended to `idmaps`.
Result<MountStep> plan_mount(PlanWriter& writer, const oci::Mount& mount, size_t index,
                             const MountContext& context, std::vector<IdmapStep>& idmaps);

// Lines as /proc/PID/uid_map takes them.
std::string mapping_lines(const std::vector<oci::IdMapping>& mappings);

}  // namespace nacelle::container
