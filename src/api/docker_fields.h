// A described type (base/describe.h) as dockerd writes it: what Go's structs mark `omitempty` is
// left out when it is empty, other empty lists and maps are null. codec/json_fields.h writes what
// we read again; this is for clients.
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

#include "base/containers.h"
#include "base/describe.h"
#include "base/text.h"
#include "codec/json_writer.h"
#include "engine/model.h"

namespace nacelle::api {

template <class T, class... Others>
concept OneOf = (std::same_as<T, Others> || ...);

// Types of whose members dockerd leaves all out that are empty.
template <class T>
inline constexpr bool omits_all =
    OneOf<T, engine::HealthConfig, engine::EndpointIpamConfig, engine::BindOptions,
          engine::VolumeDriverConfig, engine::VolumeOptions, engine::TmpfsOptions,
          engine::ImageOptions, engine::MountRequest>;

// Of other types: single ones.
template <class T>
bool omits(std::string_view name) {
  if constexpr (omits_all<T>) return true;
  if constexpr (std::same_as<T, engine::ContainerConfig>) {
    for (const std::string_view each :
         {"ExposedPorts", "Healthcheck", "ArgsEscaped", "NetworkDisabled", "MacAddress",
          "StopSignal", "StopTimeout", "Shell"}) {
      if (name == each) return true;
    }
  }
  if constexpr (std::same_as<T, engine::HostConfig>) {
    for (const std::string_view each :
         {"Annotations", "Mounts", "StorageOpt", "Tmpfs", "Sysctls", "Init"}) {
      if (name == each) return true;
    }
  }
  if constexpr (std::same_as<T, engine::MountPoint>) return name == "Name" || name == "Driver";
  return false;
}

// Maps that are {} when nothing is in them.
inline bool never_null(std::string_view name) {
  return name == "Labels" || name == "Config" || name == "PortBindings";
}

template <class T>
bool is_empty(const T& value) {
  if constexpr (is_optional<T>) {
    return !value;
  } else if constexpr (requires { value.empty(); }) {
    return value.empty();
  } else if constexpr (std::is_arithmetic_v<T>) {
    return value == T{};
  } else {
    return false;
  }
}

template <class T>
void write_docker(codec::json::Writer& json, const T& value, std::string_view name = {});

template <class T>
struct DockerFields {
  codec::json::Writer& json;
  template <class M>
  void operator()(const char* name, M& member) {
    if (is_empty(member) && omits<T>(name)) return;
    json.key(name);
    write_docker(json, member, name);
  }
};

template <class T>
void write_docker_members(codec::json::Writer& json, const T& value) {
  DockerFields<T> fields{json};
  const_cast<T&>(value).describe(fields);  // which only reads
}

template <class T>
void write_docker(codec::json::Writer& json, const T& value, std::string_view name) {
  if constexpr (requires { write_json(json, value); }) {
    write_json(json, value);
  } else if constexpr (is_optional<T>) {
    if (!value) {
      json.null();
      return;
    }
    // A list that was set is a list, be it empty.
    if constexpr (is_vector<typename T::value_type>) {
      json.begin_array();
      for (const auto& each : *value) write_docker(json, each);
      json.end_array();
    } else {
      write_docker(json, *value);
    }
  } else if constexpr (is_vector<T>) {
    if (value.empty()) {
      json.null();
      return;
    }
    json.begin_array();
    for (const auto& each : value) write_docker(json, each);
    json.end_array();
  } else if constexpr (is_map<T>) {
    if (value.empty() && !never_null(name)) {
      json.null();
      return;
    }
    json.begin_object();
    for (const auto& [key, member] : value) {
      json.key(key);
      write_docker(json, member);
    }
    json.end_object();
  } else if constexpr (Described<T>) {
    json.begin_object();
    write_docker_members(json, value);
    json.end_object();
  } else {
    json.value(value);
  }
}

}  // namespace nacelle::api
