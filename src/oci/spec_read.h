// How each object of the runtime-spec is read from JSON: the functions codec::json::Value::read()
// looks for. Private to this floor; spec_parse.h is the door. They check shape (types, ranges,
// names that exist), and leave what needs a second look at the whole to validate.h. need() is what
// the specification marks REQUIRED; maybe() keeps the default written in spec.h.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/text.h"
#include "codec/json.h"
#include "nacelle/result.h"
#include "oci/names.h"
#include "oci/spec.h"

namespace nacelle::oci {

using codec::json::Object;
using codec::json::Value;

// config.md
Result<> read_json(const Value& json, Process& process);
Result<> read_json(const Value& json, ConsoleSize& size);
Result<> read_json(const Value& json, User& user);
Result<> read_json(const Value& json, Capabilities& capabilities);
Result<> read_json(const Value& json, Rlimit& rlimit);
Result<> read_json(const Value& json, Scheduler& scheduler);
Result<> read_json(const Value& json, IoPriority& priority);
Result<> read_json(const Value& json, ExecCpuAffinity& affinity);
Result<> read_json(const Value& json, Root& root);
Result<> read_json(const Value& json, IdMapping& mapping);
Result<> read_json(const Value& json, Mount& mount);
Result<> read_json(const Value& json, Hook& hook);
Result<> read_json(const Value& json, Hooks& hooks);
Result<> read_json(const Value& json, Spec& spec);

// config-linux.md
Result<> read_json(const Value& json, Namespace& entry);
Result<> read_json(const Value& json, TimeOffset& offset);
Result<> read_json(const Value& json, Device& device);
Result<> read_json(const Value& json, NetDevice& device);
Result<> read_json(const Value& json, IntelRdt& rdt);
Result<> read_json(const Value& json, MemoryPolicy& policy);
Result<> read_json(const Value& json, Linux& linux_);

// config-linux.md, "Control groups"
Result<> read_json(const Value& json, DeviceRule& rule);
Result<> read_json(const Value& json, Memory& memory);
Result<> read_json(const Value& json, Cpu& cpu);
Result<> read_json(const Value& json, WeightDevice& device);
Result<> read_json(const Value& json, ThrottleDevice& device);
Result<> read_json(const Value& json, BlockIo& block_io);
Result<> read_json(const Value& json, HugepageLimit& limit);
Result<> read_json(const Value& json, NetworkPriority& priority);
Result<> read_json(const Value& json, Network& network);
Result<> read_json(const Value& json, Rdma& rdma);
Result<> read_json(const Value& json, Resources& resources);

// config-linux.md, "Seccomp"
Result<> read_json(const Value& json, SeccompArgument& argument);
Result<> read_json(const Value& json, SeccompRule& rule);
Result<> read_json(const Value& json, Seccomp& seccomp);

// A string that must be one of `table`; `noun` says in errors what it names.
template <class T>
Result<T> read_name(const Value& json, std::span<const Named<T>> table, std::string_view noun) {
  std::string scratch;
  const std::string_view name = TRY(json.text(scratch));
  const std::optional<T> value = find_named(table, name);
  if (!value) return json.invalid(cat("unknown ", noun, ' ', codec::json::in_quotes(name)));
  return *value;
}

template <class T>
Result<T> read_name(const Object& json, std::string_view key, std::span<const Named<T>> table,
                    std::string_view noun) {
  const Value value = TRY(json.need(key));
  return read_name(value, table, noun);
}

// An optional array of names that are bits, put together.
template <class T>
Result<T> read_flags(const Object& json, std::string_view key, std::span<const Named<T>> table,
                     std::string_view noun) {
  T flags = 0;
  const auto list = json.find(key);
  if (!list) return flags;
  for (const Value each : TRY(list->array())) {
    flags |= TRY(read_name(each, table, noun));
  }
  return flags;
}

}  // namespace nacelle::oci
