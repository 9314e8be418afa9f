#include <algorithm>

#include "oci/spec_read.h"

namespace nacelle::oci {

Result<> read_json(const Value& value, SeccompArgument& argument) {
  const Object json = TRY(value.object());
  TRY(json.need("index", argument.index));
  TRY(json.need("value", argument.value));
  TRY(json.maybe("valueTwo", argument.value_two));
  argument.op = TRY(read_name(json, "op", seccomp_operator_names(), "operator"));
  return {};
}

Result<> read_json(const Value& value, SeccompRule& rule) {
  const Object json = TRY(value.object());
  TRY(json.need("names", rule.names));
  rule.action = TRY(read_name(json, "action", seccomp_action_names(), "action"));
  TRY(json.maybe("errnoRet", rule.errno_ret));
  TRY(json.maybe("args", rule.args));
  return {};
}

Result<> read_json(const Value& value, Seccomp& seccomp) {
  const Object json = TRY(value.object());
  seccomp.default_action = TRY(read_name(json, "defaultAction", seccomp_action_names(), "action"));
  TRY(json.maybe("defaultErrnoRet", seccomp.default_errno_ret));
  if (const auto list = json.find("architectures")) {
    for (const Value each : TRY(list->array())) {
      seccomp.architectures.push_back(TRY(read_name(each, seccomp_arch_names(), "architecture")));
    }
  }
  TRY(json.maybe("flags", seccomp.flags));
  TRY(json.maybe("listenerPath", seccomp.listener_path));
  TRY(json.maybe("listenerMetadata", seccomp.listener_metadata));
  TRY(json.maybe("syscalls", seccomp.rules));
  return {};
}

}  // namespace nacelle::oci
