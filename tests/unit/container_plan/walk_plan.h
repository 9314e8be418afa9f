// Reads every byte of a checked plan that the launch would read, as the launch reads it: strings to
// their NUL, arrays to their end. The sanitizers say whether check() let something through.
#pragma once

#include <cstdint>
#include <cstring>

#include "container/launch_plan.h"

namespace nacelle::container {

class PlanWalk {
 public:
  explicit PlanWalk(const PlanView& plan) : plan_(plan) {}

  // Something that depends on all that was read, so that no read is left out.
  uint64_t all() {
    const PlanHeader& header = plan_.header();
    for (const JoinStep& step : plan_.items(header.joins)) one(step.path);
    for (const Text text : {header.uid_map, header.gid_map, header.time_offsets, header.hostname,
                            header.domainname, header.root, header.mount_label}) {
      one(text);
    }
    for (const MountStep& step : plan_.items(header.mounts)) mount(step);
    for (const DeviceStep& step : plan_.items(header.devices)) one(step.path);
    many(header.masked_paths);
    many(header.readonly_paths);
    for (const SysctlStep& step : plan_.items(header.sysctls)) {
      one(step.path);
      one(step.value);
    }
    for (const HookStep& step : plan_.items(header.hooks)) {
      one(step.path);
      many(step.args);
      many(step.env);
    }
    for (const NetDeviceStep& step : plan_.items(header.net_devices)) {
      one(step.host_name);
      one(step.name);
    }
    if (header.has_process != 0) process(header.process);
    return sum_;
  }

 private:
  void one(Text text) {
    if (!text) return;
    sum_ += std::strlen(plan_.text(text));
    for (const char c : plan_.view(text)) sum_ += static_cast<unsigned char>(c);
  }
  void many(Array<Text> texts) {
    for (const Text text : plan_.items(texts)) one(text);
  }
  template <class T>
  void bytes(Array<T> array) {
    for (const T& item : plan_.items(array)) {
      unsigned char raw[sizeof(T)];
      std::memcpy(raw, &item, sizeof raw);
      for (const unsigned char byte : raw) sum_ += byte;
    }
  }
  void mount(const MountStep& step) {
    one(step.destination);
    one(step.type);
    one(step.source);
    for (const OptionStep& option : plan_.items(step.options)) {
      one(option.key);
      one(option.value);
    }
    bytes(step.propagation);
    const auto idmaps = plan_.items(plan_.header().idmaps);
    if (step.idmap == no_idmap) return;
    one(idmaps[step.idmap].uid_map);
    one(idmaps[step.idmap].gid_map);
  }
  void process(const ProcessPlan& process) {
    one(process.program);
    many(process.args);
    one(plan_.items(process.args)[0]);
    many(process.env);
    one(process.cwd);
    one(process.search_path);
    bytes(process.groups);
    bytes(process.rlimits);
    bytes(process.memory_policy_nodes);
    bytes(process.cpu_affinity);
    one(process.apparmor_profile);
    one(process.selinux_label);
    bytes(process.seccomp);
    one(process.seccomp_listener_path);
    one(process.seccomp_listener_metadata);
  }

  const PlanView& plan_;
  uint64_t sum_ = 0;
};

}  // namespace nacelle::container
