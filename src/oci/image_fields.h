// One JSON object of an image document, read so that two readers cannot understand it differently.
// Go's decoder, which most others use, takes `Layers` for `layers` and the last of several; ours
// would take the exact name only. So a document in which that makes a difference is refused.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/digest.h"
#include "codec/json.h"
#include "nacelle/result.h"

namespace nacelle::oci {

class Fields {
 public:
  enum class Case {
    Exact,       // a known name in other letters is refused
    DockersWay,  // it is accepted as the name, once: configurations are often written by hand
  };
  // `known` are the names that are looked for; it must outlive this. Everything else is passed
  // over.
  static Result<Fields> read(const codec::json::Value& value,
                             std::span<const std::string_view> known, Case letters = Case::Exact);

  // Whether the member is there, even as null.
  bool present(std::string_view key) const { return slot(key).has_value(); }
  // The member; nothing when there is none or it is null.
  std::optional<codec::json::Value> find(std::string_view key) const;
  Result<codec::json::Value> need(std::string_view key) const;
  template <class T>
  Result<> need(std::string_view key, T& out) const {
    return TRY(need(key)).read(out);
  }
  template <class T>
  Result<> maybe(std::string_view key, T& out) const {
    const auto value = find(key);
    return value ? value->read(out) : Result<>();
  }
  // An error about the member `key`, there or not.
  std::unexpected<Error> invalid(std::string_view key, std::string_view complaint) const {
    return object_.invalid(key, complaint);
  }

 private:
  Fields(codec::json::Object object, std::span<const std::string_view> known)
      : object_(object), known_(known), found_(known.size()) {}
  const std::optional<codec::json::Value>& slot(std::string_view key) const;

  codec::json::Object object_;
  std::span<const std::string_view> known_;
  std::vector<std::optional<codec::json::Value>> found_;  // beside known_
};

// An error of another kind than Invalid about `value`.
std::unexpected<Error> fail_at(const codec::json::Value& value, Kind kind,
                               std::string_view complaint);

// A map of strings in which no key comes twice.
Result<> read_string_map(const codec::json::Value& value, std::map<std::string, std::string>& out);

Result<codec::Digest> read_digest(const codec::json::Value& value);

// The document whole, within image_depth_max and `bytes_max`; `noun` names it in errors.
Result<codec::json::Document> parse_image_document(std::string_view json, size_t bytes_max,
                                                   std::string_view noun);

}  // namespace nacelle::oci
