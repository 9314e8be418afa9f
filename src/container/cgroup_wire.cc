#include "container/cgroup_wire.h"

#include <cstring>

#include "base/text.h"
#include "codec/flat.h"

namespace nacelle::container {
namespace {

constexpr uint32_t wire_version = 1;

struct WireWrite {
  std::string file, value, source;
  uint8_t if_absent = 0;
  template <class Visit>
  void fields(Visit& visit) {
    visit(file, value, source, if_absent);
  }
};

struct WirePlan {
  uint32_t version = wire_version;
  std::vector<std::pair<std::string, std::string>> controllers;
  std::vector<WireWrite> writes;
  uint64_t memory_floor = 0, memory_and_swap_floor = 0;
  std::string device_program;  // bpf_insn by bpf_insn
  template <class Visit>
  void fields(Visit& visit) {
    visit(version, controllers, writes, memory_floor, memory_and_swap_floor, device_program);
  }
};

template <class... Parts>
std::unexpected<Error> refuse(const Parts&... parts) {
  return fail(Kind::Invalid, cat("cgroup plan: ", parts...));
}

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= ' ' && byte != 0x7f;
  });
}

bool is_controller(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// Of the core's own files only those that limit: the others move, kill or stop processes.
Result<> check_file(std::string_view file) {
  const size_t dot = file.find('.');
  const bool plain = file.size() <= 255 && dot != 0 && dot != file.npos && dot + 1 < file.size() &&
                     file.find('/') == file.npos && file.find(' ') == file.npos &&
                     is_printable(file);
  if (!plain) return refuse("not the name of a control file");
  if (file.starts_with("cgroup.") && file != "cgroup.max.depth" &&
      file != "cgroup.max.descendants" && file != "cgroup.pressure") {
    return refuse("'", file, "' is not a limit");
  }
  return {};
}

Result<ControlWrite> check_write(WireWrite write) {
  TRY(check_file(write.file));
  if (write.value.size() > cgroup_plan_value_bytes_max || !is_printable(write.value)) {
    return refuse("the value for '", write.file, "' is not one line");
  }
  if (write.source.size() > cgroup_plan_value_bytes_max || !is_printable(write.source)) {
    return refuse("the source of '", write.file, "' is not one line");
  }
  if (write.if_absent > static_cast<uint8_t>(IfAbsent::Next)) {
    return refuse("'", write.file, "': unknown rule for its absence");
  }
  return ControlWrite{std::move(write.file), std::move(write.value), std::move(write.source),
                      static_cast<IfAbsent>(write.if_absent)};
}

}  // namespace

std::string encode_cgroup_plan(const CgroupPlan& plan) {
  WirePlan wire;
  for (const NeededController& each : plan.controllers) {
    wire.controllers.emplace_back(each.name, each.source);
  }
  for (const ControlWrite& each : plan.writes) {
    wire.writes.push_back(
        {each.file, each.value, each.source, static_cast<uint8_t>(each.if_absent)});
  }
  wire.memory_floor = plan.check_before_update.memory;
  wire.memory_and_swap_floor = plan.check_before_update.memory_and_swap;
  wire.device_program.assign(reinterpret_cast<const char*>(plan.device_program.data()),
                             plan.device_program.size() * sizeof(bpf_insn));
  return codec::flat::encode(wire);
}

Result<CgroupPlan> decode_cgroup_plan(std::string_view bytes) {
  WirePlan wire = TRY(codec::flat::decode<WirePlan>(bytes, "cgroup plan"));
  if (wire.version != wire_version) return refuse("version ", wire.version, " is not known");
  if (wire.controllers.size() > cgroup_plan_controllers_max) return refuse("too many controllers");
  if (wire.writes.size() > cgroup_plan_writes_max) return refuse("too many writes");
  if (wire.device_program.size() % sizeof(bpf_insn) != 0 ||
      wire.device_program.size() / sizeof(bpf_insn) > device_program_instructions_max) {
    return refuse("the device program has a size that no program has");
  }
  CgroupPlan plan;
  for (auto& [name, source] : wire.controllers) {
    if (!is_controller(name)) return refuse("not the name of a controller");
    if (source.size() > cgroup_plan_value_bytes_max || !is_printable(source)) {
      return refuse("the source of '", name, "' is not one line");
    }
    plan.controllers.push_back({std::move(name), std::move(source)});
  }
  for (WireWrite& write : wire.writes) {
    plan.writes.push_back(TRY(check_write(std::move(write))));
  }
  if (!plan.writes.empty() && plan.writes.back().if_absent == IfAbsent::Next) {
    return refuse("the last write refers to a next one");
  }
  plan.check_before_update = {wire.memory_floor, wire.memory_and_swap_floor};
  plan.device_program.resize(wire.device_program.size() / sizeof(bpf_insn));
  if (!plan.device_program.empty()) {
    std::memcpy(plan.device_program.data(), wire.device_program.data(), wire.device_program.size());
  }
  return plan;
}

}  // namespace nacelle::container
