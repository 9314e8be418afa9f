#include "engine/model.h"

namespace nacelle::engine {

Result<> read_json(const codec::json::Value& value, CommandLine& out) {
  out = {};
  if (value.type() == codec::json::Type::Null) return {};
  out.set = true;
  if (value.type() == codec::json::Type::String) {
    out.words = {TRY(value.string())};
    return {};
  }
  return value.read(out.words);
}

void write_json(codec::json::Writer& json, const CommandLine& command) {
  if (command.set) {
    json.values(command.words);
  } else {
    json.null();
  }
}

const char* to_string(Phase phase) {
  switch (phase) {
    case Phase::Created: return "created";
    case Phase::Running: return "running";
    case Phase::Paused: return "paused";
    case Phase::Restarting: return "restarting";
    case Phase::Removing: return "removing";
    case Phase::Exited: return "exited";
    case Phase::Dead: return "dead";
  }
  return "";
}

}  // namespace nacelle::engine
