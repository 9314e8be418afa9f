#include "oci/image_fields.h"

#include <algorithm>
#include <ranges>

#include "base/check.h"
#include "base/text.h"
#include "oci/image.h"

namespace nacelle::oci {
namespace {

using codec::json::Document;
using codec::json::Value;

// No known name is longer, whatever its letters look like (three bytes may stand for one).
constexpr size_t key_bytes_max = 64;

// As Go compares names: without case, and with the two letters of Unicode whose lower case is ASCII
// (U+017F, a long s, and U+212A, the Kelvin sign).
std::string folded(std::string_view key) {
  std::string out;
  while (!key.empty()) {
    if (key.starts_with("\u017f")) {
      out += 's';
      key.remove_prefix(2);
    } else if (key.starts_with("\u212a")) {
      out += 'k';
      key.remove_prefix(3);
    } else {
      const char c = key[0];
      out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      key.remove_prefix(1);
    }
  }
  return out;
}

}  // namespace

Result<Fields> Fields::read(const Value& value, std::span<const std::string_view> known,
                            Case letters) {
  Fields fields(TRY(value.object()), known);
  std::vector<std::string> plain;
  for (const std::string_view name : known) plain.push_back(folded(name));
  std::string scratch;
  for (const auto [key, content] : fields.object_) {
    scratch.clear();
    const std::string_view name = TRY(key.text(scratch));
    if (name.size() > key_bytes_max) continue;
    const auto at = std::ranges::find(plain, folded(name));
    if (at == plain.end()) continue;
    const auto index = static_cast<size_t>(at - plain.begin());
    if (fields.found_[index]) {
      return fields.invalid(known[index], "given twice (upper and lower case count as the same)");
    }
    if (letters == Case::Exact && name != known[index]) {
      return key.invalid(cat("must be written '", known[index], "'"));
    }
    fields.found_[index] = content;
  }
  return fields;
}

const std::optional<Value>& Fields::slot(std::string_view key) const {
  const auto at = std::ranges::find(known_, key);
  CHECK(at != known_.end());
  return found_[static_cast<size_t>(at - known_.begin())];
}

std::optional<Value> Fields::find(std::string_view key) const {
  const auto& value = slot(key);
  if (!value || value->type() == codec::json::Type::Null) return std::nullopt;
  return value;
}

Result<Value> Fields::need(std::string_view key) const {
  const auto value = find(key);
  if (!value) return invalid(key, "missing");
  return *value;
}

std::unexpected<Error> fail_at(const Value& value, Kind kind, std::string_view complaint) {
  const std::string where = value.path();
  return fail(kind, where.empty() ? std::string(complaint) : cat(where, ": ", complaint));
}

Result<> read_string_map(const Value& value, std::map<std::string, std::string>& out) {
  out.clear();
  for (const auto [key, content] : TRY(value.object())) {
    const auto [at, added] = out.try_emplace(TRY(key.string()));
    if (!added) return key.invalid("given twice");
    at->second = TRY(content.string());
  }
  return {};
}

Result<codec::Digest> read_digest(const Value& value) {
  std::string scratch;
  auto digest = codec::Digest::parse(TRY(value.text(scratch)));
  if (!digest) return fail_at(value, digest.error().kind(), digest.error().message());
  return digest;
}

Result<Document> parse_image_document(std::string_view json, size_t bytes_max,
                                      std::string_view noun) {
  if (json.size() > bytes_max) {
    return fail(Kind::Exhausted,
                cat(noun, " of ", json.size(), " bytes: the limit is ", bytes_max));
  }
  return Document::parse(json, {.bytes_max = bytes_max, .depth_max = image_depth_max})
      .context(noun);
}

}  // namespace nacelle::oci
