// Goal: a value of the wrong type is refused at every path there is, and the path named is exactly
// that one. Method: walk a full document, put every other kind of value in place of each.
#include <gtest/gtest.h>

#include <functional>

#include "base/text.h"
#include "codec/json.h"
#include "oci/spec_parse.h"
#include "tests/unit/oci/samples.h"

namespace nacelle::oci {
namespace {

using codec::json::Document;
using codec::json::Type;
using codec::json::Value;

struct Place {
  size_t begin;
  size_t length;
  Type type;
  std::string path;
};

void collect(const Value& value, std::string_view source, std::vector<Place>& places) {
  const std::string_view raw = value.raw();
  places.push_back(
      {static_cast<size_t>(raw.data() - source.data()), raw.size(), value.type(), value.path()});
  if (value.type() == Type::Array) {
    for (const Value element : *value.array()) collect(element, source, places);
  }
  // What linux.seccomp holds is read later, by parse_seccomp.
  if (value.type() == Type::Object && value.path() != "linux.seccomp.defaultAction") {
    for (const auto [key, member] : *value.object()) {
      if (member.path() != "linux.seccomp.defaultAction" || source == full_seccomp()) {
        collect(member, source, places);
      }
    }
  }
}

using Parse = std::function<std::string(std::string_view)>;

// The number of documents tried.
size_t try_every_place(std::string_view source, std::string_view prefix, const Parse& parse) {
  const auto document = Document::parse(source, {}, prefix);
  std::vector<Place> places;
  collect(document->root(), source, places);
  const std::pair<Type, std::string_view> others[] = {
      {Type::Null, "null"},    {Type::Bool, "true"}, {Type::Number, "7"},
      {Type::String, "\"x\""}, {Type::Array, "[]"},  {Type::Object, "{}"},
  };
  size_t tried = 0;
  for (const Place& place : places) {
    for (const auto& [type, text] : others) {
      if (type == place.type) continue;
      std::string broken(source);
      broken.replace(place.begin, place.length, text);
      const std::string complaint = parse(broken);
      ++tried;
      const std::string start = place.path.empty() ? "expected" : cat(place.path, ": expected ");
      if (type == Type::Null && !complaint.starts_with(start)) continue;  // as if it were absent
      EXPECT_TRUE(complaint.starts_with(start)) << place.path << " = " << text << ": " << complaint;
    }
    if (place.type != Type::Number) continue;
    for (const std::string_view number :
         {"1.5", "1e3", "99999999999999999999", "-99999999999999999999"}) {
      std::string broken(source);
      broken.replace(place.begin, place.length, number);
      ++tried;
      EXPECT_TRUE(parse(broken).starts_with(cat(place.path, ": ")))
          << place.path << " = " << number;
    }
  }
  return tried;
}

template <class T>
std::string complaint_of(const Result<T>& result) {
  return result ? std::string("accepted") : result.error().message();
}

TEST(OciWrongType, is_refused_at_every_path_of_a_configuration) {
  const size_t tried = try_every_place(
      full_config(), "", [](std::string_view text) { return complaint_of(parse_spec(text)); });
  EXPECT_GT(tried, 1200u);
}

TEST(OciWrongType, is_refused_at_every_path_of_a_seccomp_profile) {
  const size_t tried = try_every_place(full_seccomp(), "linux.seccomp", [](std::string_view text) {
    return complaint_of(parse_seccomp(text));
  });
  EXPECT_GT(tried, 100u);
}

}  // namespace
}  // namespace nacelle::oci
