// Messages between our own processes as bytes: numbers little-endian, strings and lists with a
// 32-bit count before them, structs as their fields in order. A struct takes part by naming them:
//   template <class Visit> void fields(Visit& visit) { visit(id, names, size); }
// Decoding checks every count against what is left, so a hostile message costs its own length at
// most, and refuses trailing bytes.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/containers.h"
#include "codec/digest.h"
#include "nacelle/result.h"

namespace nacelle::codec::flat {

namespace detail {
class Encoder {
 public:
  explicit Encoder(std::string& out) : out_(out) {}
  template <class... T>
  void operator()(T&... each) {
    (put(each), ...);
  }

 private:
  template <class T>
  void put(T& value) {
    if constexpr (std::is_enum_v<T>) {
      number(static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (std::same_as<T, bool>) {
      number(static_cast<uint8_t>(value));
    } else if constexpr (std::integral<T>) {
      number(value);
    } else if constexpr (std::same_as<T, std::string>) {
      number(static_cast<uint32_t>(value.size()));
      out_ += value;
    } else if constexpr (std::same_as<T, Digest>) {
      number(static_cast<uint32_t>(value.text().size()));
      out_ += value.text();
    } else if constexpr (is_vector<T>) {
      number(static_cast<uint32_t>(value.size()));
      for (auto& each : value) put(each);
    } else if constexpr (is_map<T>) {
      number(static_cast<uint32_t>(value.size()));
      for (auto& [key, each] : value) {
        std::string name = key;
        put(name);
        put(each);
      }
    } else if constexpr (is_pair<T>) {
      put(value.first);
      put(value.second);
    } else if constexpr (is_optional<T>) {
      number(static_cast<uint8_t>(value.has_value()));
      if (value) put(*value);
    } else {
      value.fields(*this);
    }
  }
  template <std::integral Number>
  void number(Number value) {
    for (size_t byte = 0; byte < sizeof value; ++byte) {
      out_ += static_cast<char>(static_cast<std::make_unsigned_t<Number>>(value) >> (8 * byte));
    }
  }
  std::string& out_;
};

class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : rest_(bytes) {}
  template <class... T>
  void operator()(T&... each) {
    (get(each), ...);
  }
  bool whole() const { return good_ && rest_.empty(); }

 private:
  template <class T>
  void get(T& value) {
    if constexpr (std::is_enum_v<T>) {
      // Which values exist is for the reader of the field to check; all it can be is its own
      // type's.
      value = static_cast<T>(number<std::underlying_type_t<T>>());
    } else if constexpr (std::same_as<T, bool>) {
      const auto byte = number<uint8_t>();
      good_ = good_ && byte <= 1;
      value = byte == 1;
    } else if constexpr (std::integral<T>) {
      value = number<T>();
    } else if constexpr (std::same_as<T, std::string>) {
      value = text();
    } else if constexpr (std::same_as<T, Digest>) {
      const std::string_view found = text();
      value = Digest();
      if (found.empty()) return;
      auto digest = Digest::parse(found);
      good_ = good_ && digest.has_value();
      if (digest) value = *std::move(digest);
    } else if constexpr (is_vector<T>) {
      value.clear();
      // Every element takes at least a byte, so no count above what is left can be true.
      const auto count = number<uint32_t>();
      if (count > rest_.size()) good_ = false;
      for (uint32_t each = 0; each < count && good_; ++each) get(value.emplace_back());
    } else if constexpr (is_map<T>) {
      value.clear();
      const auto count = number<uint32_t>();
      if (count > rest_.size()) good_ = false;
      for (uint32_t each = 0; each < count && good_; ++each) {
        typename T::key_type key;
        get(key);
        get(value[std::move(key)]);
      }
    } else if constexpr (is_pair<T>) {
      get(value.first);
      get(value.second);
    } else if constexpr (is_optional<T>) {
      bool there = false;
      get(there);
      if (there && good_) get(value.emplace());
    } else {
      value.fields(*this);
    }
  }
  template <std::integral Number>
  Number number() {
    if (!good_ || rest_.size() < sizeof(Number)) {
      good_ = false;
      return {};
    }
    std::make_unsigned_t<Number> value = 0;
    for (size_t byte = 0; byte < sizeof value; ++byte) {
      value = static_cast<decltype(value)>(
          value | static_cast<decltype(value)>(static_cast<uint8_t>(rest_[byte])) << (8 * byte));
    }
    rest_.remove_prefix(sizeof value);
    return static_cast<Number>(value);
  }
  std::string_view text() {
    const auto size = number<uint32_t>();
    if (!good_ || size > rest_.size()) {
      good_ = false;
      return {};
    }
    const std::string_view found = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return found;
  }
  std::string_view rest_;
  bool good_ = true;
};
}  // namespace detail

template <class T>
std::string encode(const T& message) {
  std::string out;
  detail::Encoder encoder(out);
  encoder(const_cast<T&>(message));  // fields() serves both directions, and only reads here
  return out;
}

template <class T>
Result<T> decode(std::string_view bytes, std::string_view what) {
  T message{};
  detail::Decoder decoder(bytes);
  decoder(message);
  if (!decoder.whole()) {
    return fail(Kind::Invalid, std::string(what) + ": not a message of this kind, or damaged");
  }
  return message;
}

}  // namespace nacelle::codec::flat
