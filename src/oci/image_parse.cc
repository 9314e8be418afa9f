#include <algorithm>

#include "base/text.h"
#include "oci/image.h"
#include "oci/image_fields.h"

// Manifests and indexes. The configuration is image_parse_config.cc.
namespace nacelle::oci {
namespace {

using codec::json::in_quotes;
using codec::json::Value;

constexpr std::string_view schema1_types[] = {
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+jws",
};
constexpr std::string_view empty_type = "application/vnd.oci.empty.v1+json";

// The members of manifests and of indexes: what belongs to the other is known, to be refused.
constexpr std::string_view document_keys[] = {
    "schemaVersion", "mediaType",   "artifactType", "config",     "layers",
    "manifests",     "annotations", "fsLayers",     "signatures",
};
constexpr std::string_view descriptor_keys[] = {
    "mediaType", "digest", "size", "annotations", "platform", "artifactType",
};
constexpr std::string_view platform_keys[] = {"architecture", "os", "os.version", "variant"};

std::unexpected<Error> fail_schema1() {
  return fail(Kind::Unsupported,
              "this is a Docker image manifest of schema 1, which ended with Docker 1.10: "
              "pull and push it with a Docker between 1.10 and 26 to make it a newer one");
}

// A media type without the parameters that a server may have put behind it.
std::string_view without_parameters(std::string_view media_type) {
  media_type = media_type.substr(0, media_type.find(';'));
  while (media_type.ends_with(' ')) media_type.remove_suffix(1);
  return media_type;
}

struct DocumentKind {
  std::string_view noun;
  bool (*is_type)(std::string_view media_type);
  std::string_view default_type;
  std::span<const std::string_view> foreign_keys;  // would make it something else too
};

Result<> read_platform(const Value& value, Platform& platform) {
  const Fields fields = TRY(Fields::read(value, platform_keys));
  TRY(fields.maybe("os", platform.os));
  TRY(fields.maybe("architecture", platform.architecture));
  TRY(fields.maybe("variant", platform.variant));
  TRY(fields.maybe("os.version", platform.os_version));
  return {};
}

Result<> check_size(const Value& value, uint64_t size, uint64_t limit) {
  if (size <= limit) return {};
  return fail_at(value, Kind::Exhausted, cat(size, " bytes: the limit is ", limit));
}

// `size_max` of nothing leaves the size to the caller. `urls` and `data` are not looked at: content
// comes from where the document came from, and is checked against its digest.
Result<Descriptor> read_descriptor(const Value& value, std::optional<uint64_t> size_max) {
  const Fields fields = TRY(Fields::read(value, descriptor_keys));
  Descriptor descriptor;
  TRY(fields.need("mediaType", descriptor.media_type));
  descriptor.digest = TRY(read_digest(TRY(fields.need("digest"))));
  const Value size = TRY(fields.need("size"));
  TRY(size.read(descriptor.size));
  if (!size_max) {
    size_max = is_manifest_type(descriptor.media_type) || is_index_type(descriptor.media_type)
                   ? manifest_bytes_max
                   : layer_bytes_max;
  }
  TRY(check_size(size, descriptor.size, *size_max));
  if (const auto annotations = fields.find("annotations")) {
    TRY(read_string_map(*annotations, descriptor.annotations));
  }
  if (const auto platform = fields.find("platform")) {
    TRY(read_platform(*platform, descriptor.platform.emplace()));
  }
  TRY(fields.maybe("artifactType", descriptor.artifact_type));
  return descriptor;
}

bool is_schema1(const Fields& fields, std::string_view said) {
  if (fields.present("fsLayers") || fields.present("signatures")) return true;
  if (std::ranges::find(schema1_types, said) != std::end(schema1_types)) return true;
  const auto version = fields.find("schemaVersion");
  return version && version->type() == codec::json::Type::Number && version->raw() == "1";
}

Result<std::string> read_media_type(const Fields& fields, std::string_view said,
                                    const DocumentKind& kind) {
  std::string own;
  TRY(fields.maybe("mediaType", own));
  if (!own.empty() && !kind.is_type(own)) {
    return fields.invalid("mediaType", cat(in_quotes(own), " is not the type of ", kind.noun));
  }
  if (!said.empty() && !kind.is_type(said)) {
    return fail(Kind::Invalid,
                cat("expected ", kind.noun, ", it was announced as ", in_quotes(said)));
  }
  if (!own.empty() && !said.empty() && own != said) {
    return fields.invalid("mediaType",
                          cat(in_quotes(own), ", but it was announced as ", in_quotes(said)));
  }
  if (!own.empty()) return own;
  return std::string(said.empty() ? kind.default_type : said);
}

// What manifests and indexes have in common. Returns the media type.
Result<std::string> check_document(const Fields& fields, std::string_view said,
                                   const DocumentKind& kind) {
  if (is_schema1(fields, said)) return fail_schema1();
  uint64_t version = 0;
  TRY(fields.need("schemaVersion", version));
  if (version != 2) {
    return fields.invalid("schemaVersion", cat("expected 2, not ", version));
  }
  std::string media_type = TRY(read_media_type(fields, said, kind));
  for (const std::string_view key : kind.foreign_keys) {
    if (fields.find(key)) return fields.invalid(key, cat("must not be in ", kind.noun));
  }
  return media_type;
}

Result<> check_is_image(const Fields& fields, const Descriptor& config) {
  if (is_config_type(config.media_type)) return {};
  std::string type;
  TRY(fields.maybe("artifactType", type));
  if (type.empty() && config.media_type != empty_type) type = config.media_type;
  return fail(Kind::Unsupported, type.empty()
                                     ? std::string("this is an artifact, not a container image")
                                     : cat("this is an artifact of type ", in_quotes(type),
                                           ", not a container image"));
}

Result<> check_layer_type(const Value& value, std::string_view media_type) {
  if (is_layer_type(media_type)) return {};
  const bool encrypted = media_type.ends_with("+encrypted");
  return fail_at(value, Kind::Unsupported,
                 cat(encrypted ? "an encrypted layer, " : "not a known type of layer: ",
                     in_quotes(media_type)));
}

// The elements of a list that must be there, though null will do: Go writes an empty list so.
template <class Read>
Result<> read_list(const Fields& fields, std::string_view key, size_t count_max, Read read) {
  if (!fields.present(key)) return fields.invalid(key, "missing");
  const auto list = fields.find(key);
  if (!list) return {};
  const codec::json::Array array = TRY(list->array());
  const size_t count = array.size();
  if (count > count_max) {
    return fail_at(*list, Kind::Exhausted, cat(count, " entries: the limit is ", count_max));
  }
  for (const Value each : array) TRY(read(each));
  return {};
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view json, std::string_view media_type) {
  static constexpr std::string_view foreign[] = {"manifests"};
  static constexpr DocumentKind kind = {"an image manifest", is_manifest_type, media::oci_manifest,
                                        foreign};
  const auto document = TRY(parse_image_document(json, manifest_bytes_max, "image manifest"));
  const Fields fields = TRY(Fields::read(document.root(), document_keys));
  Manifest manifest;
  manifest.media_type = TRY(check_document(fields, without_parameters(media_type), kind));
  const Value config = TRY(fields.need("config"));
  manifest.config = TRY(read_descriptor(config, layer_bytes_max));
  TRY(check_is_image(fields, manifest.config));
  TRY(check_size(config, manifest.config.size, config_bytes_max));
  TRY(read_list(fields, "layers", layers_max, [&](const Value& each) -> Result<> {
    Descriptor layer = TRY(read_descriptor(each, layer_bytes_max));
    TRY(check_layer_type(each, layer.media_type));
    manifest.layers.push_back(std::move(layer));
    return {};
  }));
  if (const auto annotations = fields.find("annotations")) {
    TRY(read_string_map(*annotations, manifest.annotations));
  }
  return manifest;
}

Result<Index> parse_index(std::string_view json, std::string_view media_type) {
  static constexpr std::string_view foreign[] = {"config", "layers"};
  static constexpr DocumentKind kind = {"an image index", is_index_type, media::oci_index, foreign};
  const auto document = TRY(parse_image_document(json, manifest_bytes_max, "image index"));
  const Fields fields = TRY(Fields::read(document.root(), document_keys));
  Index index;
  index.media_type = TRY(check_document(fields, without_parameters(media_type), kind));
  TRY(read_list(fields, "manifests", index_entries_max, [&](const Value& each) -> Result<> {
    index.manifests.push_back(TRY(read_descriptor(each, std::nullopt)));
    return {};
  }));
  if (const auto annotations = fields.find("annotations")) {
    TRY(read_string_map(*annotations, index.annotations));
  }
  return index;
}

}  // namespace nacelle::oci
