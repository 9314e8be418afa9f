// Described types (base/describe.h) as JSON objects, in both directions. Unknown members are
// passed over; `null` leaves a member as it is; an error names the place
// (`HostConfig.Memory: expected a number`). What has a shape of its own has functions of its own:
// `Result<> read_json(const Value&, T&)` and `void write_json(Writer&, const T&)` in T's namespace.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>

#include "base/containers.h"
#include "base/describe.h"
#include "codec/json.h"
#include "codec/json_writer.h"
#include "nacelle/result.h"

namespace nacelle::codec::json {

template <class T>
Result<> read_fields(const Value& value, T& out);

namespace detail {

template <class T>
concept HasOwnReader = requires(const Value& value, T& out) {
  { read_json(value, out) } -> std::same_as<Result<>>;
};
template <class T>
concept HasOwnWriter = requires(Writer& json, const T& value) { write_json(json, value); };

template <class T>
Result<> read_one(const Value& value, T& out) {
  if constexpr (HasOwnReader<T>) {
    return read_json(value, out);
  } else if constexpr (is_optional<T>) {
    return read_one(value, out.emplace());
  } else if constexpr (is_vector<T>) {
    out.clear();
    for (const Value element : TRY(value.array())) TRY(read_one(element, out.emplace_back()));
    return {};
  } else if constexpr (is_map<T>) {
    out.clear();
    for (const auto [key, member] : TRY(value.object())) {
      std::string name = TRY(key.string());
      if (member.type() == Type::Null) {
        out[std::move(name)];
      } else {
        TRY(read_one(member, out[std::move(name)]));
      }
    }
    return {};
  } else if constexpr (Described<T>) {
    return read_fields(value, out);
  } else {
    return value.read(out);
  }
}

struct FieldReader {
  const Object& object;
  Result<> outcome;
  template <class T>
  void operator()(const char* name, T& member) {
    if (!outcome) return;
    if (const auto value = object.find(name)) outcome = read_one(*value, member);
  }
};

template <class T>
void write_one(Writer& json, const T& value);

struct FieldWriter {
  Writer& json;
  template <class T>
  void operator()(const char* name, T& member) {
    json.key(name);
    write_one(json, member);
  }
};

template <class T>
void write_one(Writer& json, const T& value) {
  if constexpr (HasOwnWriter<T>) {
    write_json(json, value);
  } else if constexpr (is_optional<T>) {
    if (value) {
      write_one(json, *value);
    } else {
      json.null();
    }
  } else if constexpr (is_vector<T>) {
    // As Go writes a slice nobody has set.
    if (value.empty()) {
      json.null();
      return;
    }
    json.begin_array();
    for (const auto& each : value) write_one(json, each);
    json.end_array();
  } else if constexpr (is_map<T>) {
    json.begin_object();
    for (const auto& [key, member] : value) {
      json.key(key);
      write_one(json, member);
    }
    json.end_object();
  } else if constexpr (Described<T>) {
    json.begin_object();
    FieldWriter fields{json};
    const_cast<T&>(value).describe(fields);  // serves both directions, and only reads here
    json.end_object();
  } else {
    json.value(value);
  }
}

}  // namespace detail

template <class T>
Result<> read_fields(const Value& value, T& out) {
  const Object object = TRY(value.object());
  detail::FieldReader fields{object, {}};
  out.describe(fields);
  return std::move(fields.outcome);
}

// The value, as an object or whatever its type is written as.
template <class T>
void write_fields(Writer& json, const T& value) {
  detail::write_one(json, value);
}

}  // namespace nacelle::codec::json
