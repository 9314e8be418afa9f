#include "container/launch_plan.h"

#include "base/text.h"

namespace nacelle::container {
namespace {

// Walks a plan as its readers will, and refuses the first thing that would leave its bytes.
class Checker {
 public:
  explicit Checker(std::string_view bytes) : bytes_(bytes) {}

  bool good() const { return good_; }

  void text(Text one) {
    if (!one) {
      good_ &= one.length == 0;
      return;
    }
    const uint64_t end = uint64_t{one.offset} + one.length;
    good_ &= end < bytes_.size() && bytes_[end] == '\0';
  }

  template <class T>
  std::span<const T> array(Array<T> one) {
    const uint64_t end = uint64_t{one.offset} + uint64_t{one.count} * sizeof(T);
    if (one.offset % 8 != 0 || end > bytes_.size()) {
      good_ = false;
      return {};
    }
    return {reinterpret_cast<const T*>(bytes_.data() + one.offset), one.count};
  }

  void texts(Array<Text> one) {
    for (const Text item : array(one)) text(item);
  }

  void process(const ProcessPlan& plan) {
    text(plan.program);
    texts(plan.args);
    texts(plan.env);
    text(plan.cwd);
    text(plan.search_path);
    array(plan.groups);
    array(plan.rlimits);
    array(plan.memory_policy_nodes);
    array(plan.cpu_affinity);
    text(plan.apparmor_profile);
    text(plan.selinux_label);
    array(plan.seccomp);
    text(plan.seccomp_listener_path);
    text(plan.seccomp_listener_metadata);
    good_ &= plan.args.count > 0 && plan.cwd;
  }

  void mounts(const PlanHeader& header) {
    for (const MountStep& step : array(header.mounts)) {
      text(step.destination);
      text(step.type);
      text(step.source);
      for (const OptionStep& option : array(step.options)) {
        text(option.key);
        text(option.value);
        good_ &= static_cast<bool>(option.key);
      }
      array(step.propagation);
      good_ &= static_cast<bool>(step.destination);
      good_ &= step.idmap == no_idmap || step.idmap < header.idmaps.count;
      good_ &= static_cast<uint32_t>(step.kind) <= static_cast<uint32_t>(MountKind::Remount);
    }
    for (const IdmapStep& step : array(header.idmaps)) {
      text(step.uid_map);
      text(step.gid_map);
    }
  }

  void header(const PlanHeader& header) {
    for (const JoinStep& step : array(header.joins)) {
      text(step.path);
      good_ &= static_cast<bool>(step.path);
    }
    for (const Text one : {header.uid_map, header.gid_map, header.time_offsets, header.hostname,
                           header.domainname, header.root, header.mount_label}) {
      text(one);
    }
    good_ &= static_cast<bool>(header.root);
    mounts(header);
    for (const DeviceStep& step : array(header.devices)) {
      text(step.path);
      good_ &= static_cast<bool>(step.path);
    }
    texts(header.masked_paths);
    texts(header.readonly_paths);
    for (const SysctlStep& step : array(header.sysctls)) {
      text(step.path);
      text(step.value);
      good_ &= step.path && step.value;
    }
    for (const HookStep& step : array(header.hooks)) {
      text(step.path);
      texts(step.args);
      texts(step.env);
      good_ &= static_cast<bool>(step.path);
    }
    for (const NetDeviceStep& step : array(header.net_devices)) {
      text(step.host_name);
      text(step.name);
      good_ &= step.host_name && step.name;
    }
    if (header.has_process != 0) process(header.process);
  }

 private:
  std::string_view bytes_;
  bool good_ = true;
};

}  // namespace

Result<PlanView> PlanView::check(std::string_view bytes) {
  if (bytes.size() < sizeof(PlanHeader) || bytes.size() > plan_bytes_max ||
      reinterpret_cast<uintptr_t>(bytes.data()) % 8 != 0) {
    return fail(Kind::Invalid, cat("launch plan: ", bytes.size(), " bytes cannot be one"));
  }
  const PlanView plan(bytes.data());
  const PlanHeader expected;
  if (std::memcmp(plan.header().magic, expected.magic, sizeof expected.magic) != 0) {
    return fail(Kind::Invalid, "launch plan: not one");
  }
  if (plan.header().version != plan_version || plan.header().size != bytes.size()) {
    return fail(Kind::Invalid, "launch plan: of another version or cut short");
  }
  Checker checker(bytes);
  checker.header(plan.header());
  if (!checker.good()) return fail(Kind::Invalid, "launch plan: an offset leads outside of it");
  return plan;
}

Text PlanWriter::text(std::string_view value) {
  const Text at{static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(value.size())};
  bytes_ += value;
  bytes_ += '\0';
  return at;
}

std::string PlanWriter::finish(PlanHeader header) && {
  align();
  header.size = static_cast<uint32_t>(bytes_.size());
  std::memcpy(bytes_.data(), &header, sizeof header);
  return std::move(bytes_);
}

}  // namespace nacelle::container
