// JSON in: the only door to simdjson. A Document is checked whole when it is parsed (syntax, UTF-8,
// depth, size); the views read values out of it and name the path of whatever has the wrong shape:
// `process.args[1]: expected a string`. Nothing is copied until it is asked for.
// Refuses: trailing bytes, NUL characters inside strings that are read, numbers out of range.
// Duplicate keys: the last one wins. `null` for an optional property counts as absent.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/containers.h"
#include "nacelle/result.h"

namespace nacelle::codec::json {

class Array;
class Document;
class Object;

enum class Type : uint8_t { Null, Bool, Number, String, Array, Object };

// `key` as a step of a path: `.key`, or `["strange key"]` when a dot would mislead.
std::string path_step(std::string_view key);

// `text` for use in an error line: without control characters, and cut when it is long.
std::string in_quotes(std::string_view text);

// One value in a Document. A view: valid as long as the Document and its source text.
class Value {
 public:
  Type type() const;
  // The bytes of this value as they stand in the source.
  std::string_view raw() const;
  std::string path() const;
  // An error about this value: `path: complaint`.
  std::unexpected<Error> invalid(std::string_view complaint) const;

  Result<Object> object() const;
  Result<Array> array() const;
  Result<bool> boolean() const;
  Result<std::string> string() const;
  // As string(), but without a copy when the source has no escapes; `scratch` holds it otherwise.
  Result<std::string_view> text(std::string& scratch) const;
  template <std::integral Number>
  Result<Number> integer() const;

  // The value as whatever `out` is. A type of one's own is read by a function
  // `Result<> read_json(const Value&, T&)` in the namespace of T.
  template <class T>
  Result<> read(T& out) const;

 private:
  friend class Array;
  friend class Document;
  friend class Object;
  Value(const Document& document, uint32_t node) : document_(&document), node_(node) {}

  Result<uint64_t> magnitude(bool& negative) const;
  std::unexpected<Error> out_of_range() const;

  const Document* document_;
  uint32_t node_;
};

// Elements in order: `for (const Value element : array)`.
class Array {
 public:
  class Iterator {
   public:
    Value operator*() const { return {*document_, node_}; }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return node_ != other.node_; }

   private:
    friend class Array;
    Iterator(const Document& document, uint32_t node) : document_(&document), node_(node) {}
    const Document* document_;
    uint32_t node_;
  };
  Iterator begin() const;
  Iterator end() const;
  size_t size() const;  // counts

 private:
  friend class Value;
  explicit Array(Value value) : value_(value) {}
  Value value_;
};

class Object {
 public:
  struct Member {
    Value key;
    Value value;
  };
  class Iterator {
   public:
    Member operator*() const;
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return node_ != other.node_; }

   private:
    friend class Object;
    Iterator(const Document& document, uint32_t node) : document_(&document), node_(node) {}
    const Document* document_;
    uint32_t node_;
  };
  // Members in order, duplicates included.
  Iterator begin() const;
  Iterator end() const;

  // The last value of this name; nothing when there is none or it is null.
  std::optional<Value> find(std::string_view key) const;
  // A required property: `path.key: missing` when it is not there.
  Result<Value> need(std::string_view key) const;
  template <class T>
  Result<> need(std::string_view key, T& out) const {
    return TRY(need(key)).read(out);
  }
  // An optional property: `out` keeps what it has when there is none.
  template <class T>
  Result<> maybe(std::string_view key, T& out) const {
    const std::optional<Value> value = find(key);
    return value ? value->read(out) : Result<>();
  }
  // An error about a property, there or not.
  std::unexpected<Error> invalid(std::string_view key, std::string_view complaint) const;
  Value value() const { return value_; }

 private:
  friend class Value;
  explicit Object(Value value) : value_(value) {}
  Value value_;
};

struct Limits {
  size_t bytes_max = 10u << 20;
  size_t depth_max = 64;
};

// A whole text, checked. Borrows `source`: it must outlive the Document.
class Document {
 public:
  // `prefix` is the path of the root value, for texts that are a part of a larger one.
  static Result<Document> parse(std::string_view source, Limits limits = {},
                                std::string_view prefix = {});

  Value root() const { return {*this, 0}; }

 private:
  friend class Array;
  friend class Builder;
  friend class Object;
  friend class Value;

  // Values in the order of the text, a container before its children, a key before its value.
  struct Node {
    uint32_t begin;  // in the source
    uint32_t end;
    uint32_t next;  // the node after this one and all its children
    Type type;
    bool escaped;  // a string that has backslashes
  };
  const Node& at(uint32_t node) const { return nodes_[node]; }
  std::string_view raw(uint32_t node) const {
    return source_.substr(nodes_[node].begin, nodes_[node].end - nodes_[node].begin);
  }
  bool key_is(uint32_t node, std::string_view key) const;
  std::string decoded(uint32_t node) const;
  std::string path_of(uint32_t node) const;

  std::string_view source_;
  std::string prefix_;
  std::unique_ptr<Node[]> nodes_;
};

// Templates --------------------------------------------------------------------------------------

template <std::integral Number>
Result<Number> Value::integer() const {
  bool negative = false;
  const uint64_t magnitude_found = TRY(magnitude(negative));
  constexpr auto max = static_cast<uint64_t>(std::numeric_limits<Number>::max());
  if (!negative) {
    if (magnitude_found > max) return out_of_range();
    return static_cast<Number>(magnitude_found);
  }
  // The lowest number of a signed type is one further from zero than the highest.
  if (magnitude_found > (std::signed_integral<Number> ? max + 1 : 0)) return out_of_range();
  return static_cast<Number>(-magnitude_found);
}

template <class T>
Result<> Value::read(T& out) const {
  if constexpr (std::same_as<T, bool>) {
    out = TRY(boolean());
  } else if constexpr (std::same_as<T, std::string>) {
    out = TRY(string());
  } else if constexpr (std::integral<T>) {
    out = TRY(integer<T>());
  } else if constexpr (is_optional<T>) {
    return read(out.emplace());
  } else if constexpr (is_vector<T>) {
    const Array elements = TRY(array());
    out.clear();
    out.reserve(elements.size());
    for (const Value element : elements) {
      TRY(element.read(out.emplace_back()));
    }
  } else if constexpr (is_map<T>) {
    out.clear();
    for (const auto [key, value] : TRY(object())) {
      std::string name = TRY(key.string());
      TRY(value.read(out[std::move(name)]));
    }
  } else {
    return read_json(*this, out);
  }
  return {};
}

}  // namespace nacelle::codec::json
