// Goal: a manifest or an index means one thing to every reader, or is refused with the place that
// is wrong. Method: one good document of each kind, broken in one way per case.
#include <gtest/gtest.h>

#include "oci/image.h"
#include "tests/unit/oci_image/documents.h"

namespace nacelle::oci {
namespace {

std::string manifest_text() {
  return cat(R"({"schemaVersion":2,"mediaType":")", media::oci_manifest, R"(","config":)",
             descriptor(media::oci_config, digest_a), R"(,"layers":[)",
             descriptor(media::oci_layer_gzip, digest_a), ',',
             descriptor(media::oci_layer_zstd, digest_b), "]}");
}

std::string index_text() {
  return cat(R"({"schemaVersion":2,"mediaType":")", media::oci_index, R"(","manifests":[)",
             descriptor(media::oci_manifest, digest_a,
                        R"(,"platform":{"os":"linux","architecture":"amd64"})"),
             ',',
             descriptor(media::docker_manifest, digest_b,
                        R"(,"platform":{"os":"linux","architecture":"arm64","variant":"v8"})"),
             "]}");
}

struct Broken {
  std::string name;
  std::string what, by;   // replaced in the good document
  std::string complaint;  // is in the message
  Kind kind = Kind::Invalid;
};

template <class Parse>
void expect_refused(const std::string& good, const std::vector<Broken>& cases, Parse parse) {
  ASSERT_TRUE(parse(good).has_value()) << parse(good).error().message();
  for (const Broken& each : cases) {
    SCOPED_TRACE(each.name);
    const auto result = parse(with(good, each.what, each.by));
    if (result) {
      ADD_FAILURE() << "accepted";
      continue;
    }
    EXPECT_EQ(result.error().kind(), each.kind) << result.error().message();
    EXPECT_NE(result.error().message().find(each.complaint), std::string::npos)
        << result.error().message();
    EXPECT_LT(result.error().message().size(), 1000u);
    EXPECT_EQ(result.error().message().find('\n'), std::string::npos);
  }
}

TEST(Manifest, IsReadWithItsLayersInOrder) {
  const auto manifest = parse_manifest(manifest_text(), media::oci_manifest);
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message();
  EXPECT_EQ(manifest->media_type, media::oci_manifest);
  EXPECT_EQ(manifest->config.digest.text(), digest_a);
  ASSERT_EQ(manifest->layers.size(), 2u);
  EXPECT_EQ(manifest->layers[0].media_type, media::oci_layer_gzip);
  EXPECT_EQ(manifest->layers[1].digest.text(), digest_b);
  EXPECT_EQ(manifest->layers[1].size, 7u);
}

TEST(Manifest, TakesItsTypeFromWhoeverNamesIt) {
  const std::string text =
      with(manifest_text(), cat(R"("mediaType":")", media::oci_manifest, R"(",)"), "");
  EXPECT_EQ(parse_manifest(text, "")->media_type, media::oci_manifest);
  EXPECT_EQ(parse_manifest(text, media::docker_manifest)->media_type, media::docker_manifest);
  EXPECT_EQ(parse_manifest(text, cat(media::docker_manifest, "; charset=utf-8"))->media_type,
            media::docker_manifest);
}

TEST(Manifest, MayHaveNoLayersEvenAsNull) {
  const std::string text = manifest_text();
  const size_t at = text.find("[");
  EXPECT_TRUE(parse_manifest(text.substr(0, at) + "[]}", "")->layers.empty());
  EXPECT_TRUE(parse_manifest(text.substr(0, at) + "null}", "")->layers.empty());
}

TEST(Manifest, TakesEveryTypeOfLayer) {
  const std::string_view types[] = {media::oci_layer,
                                    media::oci_layer_gzip,
                                    media::oci_layer_zstd,
                                    media::docker_layer,
                                    media::docker_layer_gzip,
                                    media::docker_layer_zstd,
                                    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                                    "application/vnd.oci.image.layer.nondistributable.v1.tar",
                                    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                                    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"};
  for (const std::string_view type : types) {
    EXPECT_TRUE(is_layer_type(type));
    const auto text = with(manifest_text(), media::oci_layer_gzip, type);
    EXPECT_TRUE(parse_manifest(text, "").has_value()) << type;
  }
}

TEST(Manifest, KeepsNothingOfTheUrlsOfForeignLayers) {
  const auto plain = parse_manifest(manifest_text(), "");
  const auto foreign = parse_manifest(
      with(manifest_text(), R"("size":7}])", R"("size":7,"urls":["http://169.254.169.254/x"]}])"),
      "");
  ASSERT_TRUE(foreign.has_value());
  EXPECT_EQ(*plain, *foreign);
  EXPECT_EQ(write_manifest(*foreign).find("169.254"), std::string::npos);
}

TEST(Manifest, IsRefused) {
  const std::string config_type(media::oci_config), gzip(media::oci_layer_gzip);
  const std::string type = cat(R"("mediaType":")", media::oci_manifest, '"');
  const std::vector<Broken> cases = {
      {"no JSON", "{", "", "not JSON"},
      {"two documents", "]}", "]}{}", "not JSON"},
      {"no version", R"("schemaVersion":2,)", "", "schemaVersion: missing"},
      {"version 3", R"("schemaVersion":2)", R"("schemaVersion":3)", "schemaVersion: expected 2"},
      {"version text", R"("schemaVersion":2)", R"("schemaVersion":"2")", "schemaVersion"},
      {"version 2.0", R"("schemaVersion":2)", R"("schemaVersion":2.0)", "schemaVersion"},
      {"version null", R"("schemaVersion":2)", R"("schemaVersion":null)", "schemaVersion: missing"},
      {"schema 1", R"("schemaVersion":2)", R"("schemaVersion":1)", "schema 1", Kind::Unsupported},
      {"schema 1 layers", "{", R"({"fsLayers":[],)", "schema 1", Kind::Unsupported},
      {"signed", "{", R"({"signatures":[],)", "schema 1", Kind::Unsupported},
      {"type of an index", type, cat(R"("mediaType":")", media::oci_index, '"'), "mediaType:"},
      {"type of something", type, R"("mediaType":"text/html")", "mediaType: 'text/html'"},
      {"type a number", type, R"("mediaType":5)", "mediaType: expected a string"},
      {"an index too", "{", R"({"manifests":[],)", "manifests: must not be in"},
      {"an index too, oddly written", "{", R"({"Manifests":[],)", "must be written 'manifests'"},
      {"layers twice", "]}", R"(],"layers":[]})", "layers: given twice"},
      {"layers in other letters", "]}", R"(],"Layers":[]})", "layers: given twice"},
      {"layers in other letters first", "{", R"({"LAYERS":[],)", "must be written 'layers'"},
      {"layers with a long s", "]}", "],\"layer\u017f\":[]}", "layers: given twice"},
      {"layers with an escape", "]}", R"(],"\u006cayers":[]})", "layers: given twice"},
      {"config twice", "{", R"({"config":{},)", "config: given twice"},
      {"type twice", "{", R"({"mediatype":"x",)", "mediaType"},
      {"version twice", "{", R"({"schemaversion":1,)", "schemaVersion"},
      {"digest twice", R"("size":7}])", cat(R"("size":7,"digest":")", digest_a, R"("}])"),
       "layers[1].digest: given twice"},
      {"digest in other letters", R"("size":7}])", R"("size":7,"Digest":"x"}])",
       "layers[1].digest: given twice"},
      {"size twice", R"("size":7}])", R"("size":7,"size":8}])", "layers[1].size: given twice"},
      {"no config", R"("config":)", R"("other":)", "config: missing"},
      {"config null", cat(R"("config":)", descriptor(media::oci_config, digest_a)),
       R"("config":null)", "config: missing"},
      {"config a list", cat(R"("config":)", descriptor(media::oci_config, digest_a)),
       R"("config":[])", "config: expected an object"},
      {"no layers", R"("layers":)", R"("other":)", "layers: missing"},
      {"layers an object", R"("layers":[)", R"("layers":{},"other":[)",
       "layers: expected an array"},
      {"layer a string", R"("layers":[)", R"("layers":["x",)", "layers[0]: expected an object"},
      {"layer null", R"("layers":[)", R"("layers":[null,)", "layers[0]: expected an object"},
      {"layer without type", cat(R"("mediaType":")", gzip, R"(",)"), "",
       "layers[0].mediaType: missing"},
      {"layer of no known type", gzip, "application/zip", "layers[0]: not a known type of layer",
       Kind::Unsupported},
      {"layer encrypted", gzip, gzip + "+encrypted", "layers[0]: an encrypted layer",
       Kind::Unsupported},
      {"layer a manifest", gzip, std::string(media::oci_manifest), "layers[0]", Kind::Unsupported},
      {"digest with a path", digest_b, "../../etc/passwd", "layers[1].digest"},
      {"digest with a path inside", digest_b, "sha256:../../x", "layers[1].digest"},
      {"digest short", digest_b, digest_b.substr(0, 70), "layers[1].digest"},
      {"digest long", digest_b, digest_b + "b", "layers[1].digest"},
      {"digest in capitals", digest_b, "sha256:" + std::string(64, 'B'), "layers[1].digest"},
      {"digest of md5", digest_b, "md5:" + std::string(32, 'b'), "layers[1].digest"},
      {"digest of sha384", digest_b, "sha384:" + std::string(96, 'b'), "layers[1].digest"},
      {"digest with NUL", digest_b, digest_b + R"(\u0000)", "layers[1].digest"},
      {"digest with newline", digest_b, digest_b + R"(\n)", "layers[1].digest"},
      {"digest empty", digest_b, "", "layers[1].digest"},
      {"digest a number", '"' + digest_b + '"', "7", "layers[1].digest: expected a string"},
      {"no size", R"(,"size":7}])", "}]", "layers[1].size: missing"},
      {"size negative", R"("size":7}])", R"("size":-1}])", "layers[1].size"},
      {"size a fraction", R"("size":7}])", R"("size":7.5}])", "layers[1].size"},
      {"size text", R"("size":7}])", R"("size":"7"}])", "layers[1].size"},
      {"size beyond numbers", R"("size":7}])", R"("size":18446744073709551616}])",
       "layers[1].size"},
      {"layer too large", R"("size":7}])", R"("size":1099511627777}])", "layers[1].size: 10995",
       Kind::Exhausted},
      {"config too large", R"("size":7)", R"("size":8388609)", "config: 8388609", Kind::Exhausted},
      {"artifact", config_type, "application/vnd.cncf.helm.config.v1+json",
       "an artifact of type 'application/vnd.cncf.helm.config.v1+json'", Kind::Unsupported},
      {"empty artifact", config_type, "application/vnd.oci.empty.v1+json",
       "this is an artifact, not", Kind::Unsupported},
      {"annotations a list", "]}", R"(],"annotations":[]})", "annotations: expected an object"},
      {"annotation a number", "]}", R"(],"annotations":{"a":1}})", "annotations.a"},
      {"annotation twice", "]}", R"(],"annotations":{"a":"1","a":"2"}})",
       "annotations.a: given twice"},
      {"bare control character", digest_b, "\x01", "not JSON"},
      {"not UTF-8", digest_b, "\xff", "not valid UTF-8"},
  };
  expect_refused(manifest_text(), cases,
                 [](std::string_view text) { return parse_manifest(text, ""); });
}

TEST(Manifest, IsRefusedWhenItWasAnnouncedAsSomethingElse) {
  for (const std::string_view said :
       {media::docker_manifest, media::oci_index, media::docker_index, media::oci_config,
        std::string_view("text/html"), std::string_view("x")}) {
    const auto result = parse_manifest(manifest_text(), said);
    ASSERT_FALSE(result.has_value()) << said;
    EXPECT_EQ(result.error().kind(), Kind::Invalid);
    EXPECT_NE(result.error().message().find(said), std::string::npos);
  }
  const auto schema1 =
      parse_manifest(manifest_text(), "application/vnd.docker.distribution.manifest.v1+prettyjws");
  ASSERT_FALSE(schema1.has_value());
  EXPECT_EQ(schema1.error().kind(), Kind::Unsupported);
}

TEST(Manifest, NamesTheArtifactByTheTypeItGivesItself) {
  const auto result = parse_manifest(
      with(with(manifest_text(), media::oci_config, "application/vnd.oci.empty.v1+json"), "{",
           R"({"artifactType":"application/x-sbom",)"),
      "");
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().message(),
            "this is an artifact of type 'application/x-sbom', not a container image");
}

TEST(Manifest, HasBounds) {
  std::string layers;
  for (size_t i = 0; i <= layers_max; ++i) {
    layers += descriptor(media::oci_layer, digest_a);
    layers += ',';
  }
  const auto many =
      parse_manifest(with(manifest_text(), R"("layers":[)", R"("layers":[)" + layers), "");
  ASSERT_FALSE(many.has_value());
  EXPECT_EQ(many.error().kind(), Kind::Exhausted);
  EXPECT_EQ(many.error().message(), "layers: 503 entries: the limit is 500");

  const auto large = parse_manifest(std::string(manifest_bytes_max + 1, ' '), "");
  ASSERT_FALSE(large.has_value());
  EXPECT_EQ(large.error().kind(), Kind::Exhausted);

  const std::string deep =
      with(manifest_text(), "{", "{\"x\":" + std::string(40, '[') + std::string(40, ']') + ',');
  const auto nested = parse_manifest(deep, "");
  ASSERT_FALSE(nested.has_value());
  EXPECT_NE(nested.error().message().find("nested deeper than 32"), std::string::npos);
}

TEST(Index, IsReadWithPlatformsAndAnnotations) {
  const auto index = parse_index(
      with(index_text(), "]}", R"(],"annotations":{"a":"b"},"subject":null})"), media::oci_index);
  ASSERT_TRUE(index.has_value()) << index.error().message();
  ASSERT_EQ(index->manifests.size(), 2u);
  EXPECT_EQ(index->manifests[1].platform->text(), "linux/arm64/v8");
  EXPECT_EQ(index->annotations.at("a"), "b");
}

TEST(Index, IsRefused) {
  const std::vector<Broken> cases = {
      {"no version", R"("schemaVersion":2,)", "", "schemaVersion: missing"},
      {"schema 1", R"("schemaVersion":2)", R"("schemaVersion":1)", "schema 1", Kind::Unsupported},
      {"type of a manifest", media::oci_index.data(), std::string(media::oci_manifest),
       "mediaType:"},
      {"layers too", "{", R"({"layers":[],)", "layers: must not be in an image index"},
      {"config too", "{", R"({"config":{},)", "config: must not be in an image index"},
      {"Config too", "{", R"({"Config":{},)", "must be written 'config'"},
      {"manifests twice", "]}", R"(],"manifests":[]})", "manifests: given twice"},
      {"Manifests", "]}", R"(],"Manifests":[]})", "manifests: given twice"},
      {"no manifests", R"("manifests":)", R"("other":)", "manifests: missing"},
      {"manifests a string", R"("manifests":[)", R"("manifests":"","other":[)",
       "manifests: expected an array"},
      {"digest", digest_b, "sha256:/etc/passwd", "manifests[1].digest"},
      {"size", R"("size":7)", R"("size":4194305)", "manifests[0].size: 4194305", Kind::Exhausted},
      {"size missing", R"(,"size":7)", "", "manifests[0].size: missing"},
      {"platform a string", R"("platform":{"os":"linux","architecture":"amd64"})",
       R"("platform":"linux")", "manifests[0].platform: expected an object"},
      {"os twice", R"("os":"linux")", R"("os":"linux","os":"windows")",
       "manifests[0].platform.os: given twice"},
      {"OS too", R"("os":"linux")", R"("OS":"windows","os":"linux")",
       "manifests[0].platform.OS: must be written 'os'"},
      {"architecture a number", R"("amd64")", "64", "manifests[0].platform.architecture"},
      {"platform twice", R"("size":7)", R"("size":7,"Platform":{})", "must be written 'platform'"},
      {"annotation twice", R"("size":7)",
       R"("size":7,"annotations":{"vnd.docker.reference.type":"x","vnd.docker.reference.type":"y"})",
       "given twice"},
  };
  expect_refused(index_text(), cases, [](std::string_view text) { return parse_index(text, ""); });
  EXPECT_FALSE(parse_index(index_text(), media::docker_index).has_value());
  EXPECT_FALSE(parse_index(index_text(), media::oci_manifest).has_value());
}

TEST(Index, HasABound) {
  std::string entries = R"("manifests":[)";
  for (size_t i = 0; i < index_entries_max; ++i) {
    entries += descriptor(media::oci_manifest, digest_a);
    entries += ',';
  }
  const auto many = parse_index(with(index_text(), R"("manifests":[)", entries), "");
  ASSERT_FALSE(many.has_value());
  EXPECT_EQ(many.error().message(), "manifests: 4098 entries: the limit is 4096");
}

// The same bytes as the tool that wrote the document, which is what keeps digests.
TEST(Written, DocumentsAreWhatOtherToolsWrote) {
  for (const std::string_view name : {"buildah-docker-manifest.json", "buildah-oci-manifest.json",
                                      "buildah-oci-zstd-manifest.json"}) {
    const auto manifest = parse_manifest(file(name), "");
    ASSERT_TRUE(manifest.has_value()) << name << manifest.error().message();
    EXPECT_EQ(write_manifest(*manifest), file(name));
  }
  for (const std::string_view name : {"buildah-docker-list.json", "buildah-oci-index.json"}) {
    const auto index = parse_index(file(name), "");
    ASSERT_TRUE(index.has_value()) << name << index.error().message();
    EXPECT_EQ(write_index(*index), file(name));
  }
}

TEST(Written, DocumentsWithoutATypeGetOne) {
  const auto manifest = parse_manifest(file("umoci-manifest.json"), "");
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message();
  EXPECT_EQ(write_manifest(*manifest),
            with(with(file("umoci-manifest.json"), "\n", ""), "2,",
                 cat(R"(2,"mediaType":")", media::oci_manifest, R"(",)")));
  for (const std::string_view name : {"buildah-oci-layout-index.json", "umoci-layout-index.json"}) {
    const auto index = parse_index(file(name), "");
    ASSERT_TRUE(index.has_value()) << name << index.error().message();
    EXPECT_EQ(*parse_index(write_index(*index), ""), *index);
  }
}

TEST(Written, ValuesComeBackEqual) {
  Manifest manifest;
  manifest.media_type = media::docker_manifest;
  manifest.config = {
      std::string(media::docker_config), *codec::Digest::parse(digest_a), 3, {}, {}, {}};
  manifest.layers.push_back({std::string(media::docker_layer),
                             *codec::Digest::parse(digest_b),
                             1ull << 40,
                             {{"k\n", "\"v\""}},
                             {},
                             {}});
  manifest.annotations = {{"", ""}, {"ü", "\u2028"}};
  EXPECT_EQ(*parse_manifest(write_manifest(manifest), ""), manifest);

  Index index;
  index.media_type = media::oci_index;
  index.manifests.push_back({std::string(media::oci_manifest),
                             *codec::Digest::parse(digest_a),
                             0,
                             {},
                             Platform{"windows", "arm", "v7", "10.0.1"},
                             "application/x"});
  index.manifests.push_back(
      {"text/x", *codec::Digest::parse(digest_b), 5u << 20, {}, Platform{}, {}});
  EXPECT_EQ(*parse_index(write_index(index), ""), index);
}

}  // namespace
}  // namespace nacelle::oci
