#include "image/job_load.h"
#include "tests/unit/image_jobs/load_image.h"

// Goal: an archive that was made to deceive is refused with a line that says where, and leaves
// nothing behind, neither in the root nor beside it. Method: a directory beside the root is the
// canary; every case is one archive and the end of the complaint.

namespace nacelle::image {
namespace {

using codec::Compression;
using codec::tar::Type;

struct Case {
  std::string what;
  std::string archive;
  std::string complaint;  // a part of it
};

// The image and what every archive of it needs but the index.
const SmallImage& image() {
  static const SmallImage small;
  return small;
}
Tar blobs() {
  Tar tar;
  image().add_blobs(tar);
  return tar;
}
std::string blob_name(std::string_view bytes) { return cat("blobs/sha256/", hex_of(bytes)); }
std::string with_index(std::string_view index) { return blobs().file("index.json", index).end(); }
std::string with_manifest(std::string_view manifest) {
  Tar tar;
  image().add_docker_files(tar);
  return tar.file("manifest.json", manifest).end();
}
std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  CHECK(at != std::string::npos);
  return text.replace(at, from.size(), to);
}
// An OCI layout whose only image has this manifest.
std::string with_oci_manifest(const std::string& manifest, std::string_view more = {}) {
  return blobs()
      .blob(manifest)
      .file("index.json", index_of(SmallImage::describe(manifest, oci::media::oci_manifest, more)))
      .end();
}
// The same with this configuration.
std::string with_config(const std::string& config) {
  SmallImage other;
  other.config = config;
  other.make_manifest("");
  Tar tar;
  other.add_blobs(tar);
  return tar.file("index.json", index_of(other.descriptor())).end();
}
std::string nested_indexes(unsigned depth) {
  Tar tar = blobs();
  std::string inner = image().descriptor();
  for (unsigned each = 1; each < depth; ++each) {
    const std::string index = index_of(inner);
    tar.blob(index);
    inner = SmallImage::describe(index, oci::media::oci_index);
  }
  return tar.file("index.json", index_of(inner)).end();
}

void expect_refused(const Case& c) {
  Directory above;
  ASSERT_TRUE(sys::make_directory_at(above.fd().get(), "root", 0755));
  const Fd root = *sys::open_at(above.fd().get(), "root", O_RDONLY | O_DIRECTORY);
  TestAsker asker;
  const Fd file = memory_file(c.archive);
  const auto reply = load({}, root, file, asker);
  ASSERT_FALSE(reply) << c.what;
  EXPECT_NE(reply.error().message().find(c.complaint), std::string::npos)
      << c.what << ": " << reply.error().message();
  EXPECT_TRUE(reply.error().message().starts_with("archive: ")) << reply.error().message();
  EXPECT_EQ(above.names(), std::set<std::string>{"root"}) << c.what;
  EXPECT_EQ(test::run({"ls", "-A", cat(above.path(), "/root")}).out, "") << c.what;
}

TEST(LoadHostile, streams_that_are_no_archive_of_images) {
  const std::string good = with_index(index_of(image().descriptor()));
  const std::string zipped = compressed(good, Compression::Gzip);
  std::string damaged = zipped;
  damaged[damaged.size() / 2] ^= 0x55;
  std::string wrong_sum = good;
  wrong_sum[150] ^= 1;
  const Case cases[] = {
      {"nothing", "", "it is empty"},
      {"an archive of nothing", Tar().end(), "no image in it"},
      {"text", std::string(2000, 'x'), "not a tar header"},
      {"a single byte", "x", "ends in the middle"},
      {"JSON", R"({"schemaVersion":2})", "ends in the middle"},
      {"a layer", image().layers[0], "no image in it: neither index.json nor manifest.json"},
      {"an ELF file", cat("\x7f", "ELF", std::string(4096, '\1')), "not a tar header"},
      {"xz",
       std::string("\xfd"
                   "7zXZ\0\0\0",
                   8),
       "xz"},
      {"bzip2", "BZh91AY&SY", "bzip2"},
      {"cut in a header", good.substr(0, 300), "ends in the middle of a header"},
      {"cut in a blob", good.substr(0, 700), "ends in the middle"},
      {"cut gzip", zipped.substr(0, zipped.size() - 9), "ends in the middle"},
      {"cut zstd", compressed(good, Compression::Zstd).substr(0, 100), "ends in the middle"},
      {"damaged gzip", damaged, "gzip: "},
      {"gzip in gzip", compressed(zipped, Compression::Gzip), "not a tar header"},
      {"a header whose sum is wrong", wrong_sum, "sum is wrong"},
      {"only what Docker 1.9 wrote",
       Tar().file("repositories", "{}").file("1/json", "{}").file("1/layer.tar", "").end(),
       "no image in it"},
  };
  for (const Case& c : cases) expect_refused(c);
}

TEST(LoadHostile, names_that_lead_somewhere_else) {
  const auto index = [](Tar tar) {
    return tar.file("index.json", index_of(image().descriptor())).end();
  };
  const auto link = [&](Type type, std::string_view name, std::string_view target) {
    return index(blobs().link(type, name, target));
  };
  const Case cases[] = {
      {"above", index(blobs().file("../canary", "x")), "a name with '..' in it"},
      {"above, further in", index(blobs().file("a/../../canary", "x")), "a name with '..' in it"},
      {"absolute", index(blobs().file("/tmp/canary", "x")), "an absolute name"},
      {"a directory above", index(blobs().other(Type::Directory, "../canary")), "'..' in it"},
      {"a blob above", index(blobs().file("blobs/sha256/../../canary", "x")), "'..' in it"},
      {"a blob that is no digest", index(blobs().file("blobs/sha256/canary", "x")), "canary"},
      {"a blob in a blob", index(blobs().file(cat(blob_name("x"), "/x"), "x")), "blobs/sha256"},
      {"an upper-case digest", index(blobs().file(cat("blobs/sha256/", std::string(64, 'A')), "x")),
       "AAAA"},
      {"blobs/sha256 as a file", index(blobs().file("blobs/sha256", "x")), "sha256:"},
      {"a blob as a symbolic link", link(Type::Symlink, blob_name("x"), "/etc/passwd"),
       "a link where a blob must be"},
      {"a blob as a hard link", link(Type::HardLink, blob_name("x"), "index.json"),
       "a link where a blob must be"},
      {"blobs as a link", link(Type::Symlink, "blobs", "/etc"), "a link where a blob must be"},
      {"a blob as a FIFO", index(blobs().other(Type::Fifo, blob_name("x"))),
       "neither a file nor a directory"},
      {"a blob as a device", index(blobs().other(Type::BlockDevice, blob_name("x"))),
       "neither a file nor a directory"},
      {"a device", index(blobs().other(Type::CharacterDevice, "null")),
       "neither a file nor a directory"},
      {"index.json as an absolute link", blobs().symlink("index.json", "/etc/passwd").end(),
       "a link to an absolute name"},
      {"index.json as a link out", blobs().symlink("index.json", "../x").end(),
       "a link that leads out of the archive"},
      {"a link out, further in", blobs().symlink("a/b", "../c/../../../x").end(),
       "a link that leads out of the archive"},
      {"a hard link out", blobs().link(Type::HardLink, "index.json", "../x").end(), "'..' in it"},
      {"a link to nothing", blobs().symlink("index.json", "nothing").end(), "no image in it"},
      {"a link to itself", blobs().symlink("index.json", "index.json").end(),
       "more than 8 links behind each other"},
      {"links in a circle", blobs().symlink("index.json", "b").symlink("b", "index.json").end(),
       "more than 8 links behind each other"},
      {"a name too long", index(blobs().file(std::string(1500, 'n'), "x")),
       "a name of more than 1024 bytes"},
      {"a link target too long", blobs().symlink("l", std::string(1500, 'n')).end(),
       "a name of more than 1024 bytes"},
      {"a file without a name", blobs().file(".", "x").end(), "a file without a name"},
  };
  for (const Case& c : cases) expect_refused(c);
}

TEST(LoadHostile, contents_that_are_not_what_they_are_called) {
  const std::string index = index_of(image().descriptor());
  const Case cases[] = {
      {"a layer with another content",
       Tar().file(blob_name(image().layers[0]), "other").file("index.json", index).end(),
       cat(blob_name(image().layers[0]), ": digest mismatch: its content is sha256:")},
      {"an empty blob", Tar().file(blob_name("x"), "").file("index.json", index).end(),
       "digest mismatch"},
      {"a blob under the digest of another algorithm",
       blobs().file(cat("blobs/sha512/", std::string(128, '0')), "x").end(), "digest mismatch"},
      {"the right blob and then a wrong one of its name",
       blobs().file(blob_name(image().config), "{}").file("index.json", index).end(),
       "digest mismatch"},
      {"two index.json", blobs().file("index.json", index).file("index.json", index_of("")).end(),
       "twice in the archive, with different contents"},
      {"two index.json, one with a dot",
       blobs().file("index.json", index).file("./index.json", index_of("")).end(),
       "twice in the archive, with different contents"},
      {"index.json and a link of its name",
       blobs().file("index.json", index).file("b", index_of("")).symlink("index.json", "b").end(),
       "twice in the archive, with different contents"},
      {"two manifest.json", blobs().file("manifest.json", "[]").file("manifest.json", "[ ]").end(),
       "twice in the archive, with different contents"},
      {"a layer twice, differently", Tar().file("1/layer.tar", "a").file("1/layer.tar", "b").end(),
       "archive: '1/layer.tar': twice in the archive"},
  };
  for (const Case& c : cases) expect_refused(c);
}

TEST(LoadHostile, indexes) {
  const std::string good = image().descriptor();
  const auto digest = codec::digest_of(image().manifest).text();
  const std::string missing = index_of(good);  // a real index that is not in the archive
  const std::string none_there =
      index_of(SmallImage::describe("elsewhere", oci::media::oci_manifest));
  const Case cases[] = {
      {"not JSON", with_index("{"), "index.json"},
      {"not UTF-8", with_index("{\"a\":\"\xff\"}"), "index.json"},
      {"an array", with_index("[]"), "index.json"},
      {"without anything", with_index("{}"), "schemaVersion"},
      {"schema 1", with_index(R"({"schemaVersion":1,"manifests":[]})"), "schema 1"},
      {"empty", with_index(index_of("")), "no image in it"},
      {"index and manifest in one",
       with_index(replaced(image().manifest, "\"layers\"", "\"manifests\":[],\"layers\"")),
       "index.json"},
      {"a manifest", with_index(image().manifest), "is not the type of an image index"},
      {"a digest as a path", with_index(index_of(replaced(good, digest, "../../../etc/passwd"))),
       "manifests[0].digest"},
      {"a digest with a path behind it",
       with_index(index_of(replaced(good, digest, cat(digest, "/../x")))), "manifests[0].digest"},
      {"a digest cut short", with_index(index_of(replaced(good, digest, digest.substr(0, 40)))),
       "manifests[0].digest"},
      {"an unknown algorithm", with_index(index_of(replaced(good, "sha256:", "md5:"))),
       "manifests[0].digest"},
      {"a negative size", with_index(index_of(replaced(good, "\"size\":", "\"size\":-"))),
       "manifests[0].size"},
      {"another size", with_index(index_of(replaced(good, "\"size\":", "\"size\":1"))),
       "are announced"},
      {"a huge size", with_index(index_of(replaced(good, "\"size\":", "\"size\":99999999"))),
       "the limit is 4194304"},
      {"a manifest that is not there",
       with_index(index_of(SmallImage::describe("elsewhere", oci::media::oci_manifest))),
       "not in the archive"},
      {"an index that is not there",
       with_index(index_of(SmallImage::describe(missing, oci::media::oci_index))),
       "not in the archive"},
      {"an index of nothing there",
       blobs()
           .blob(none_there)
           .file("index.json", index_of(SmallImage::describe(none_there, oci::media::oci_index)))
           .end(),
       "none of the manifests it lists is in the archive"},
      {"an index called a manifest",
       blobs()
           .blob(missing)
           .file("index.json", index_of(SmallImage::describe(missing, oci::media::oci_manifest)))
           .end(),
       "is not the type of an image manifest"},
      {"a manifest called an index",
       with_index(index_of(replaced(good, "image.manifest", "image.index"))),
       "is not the type of an image index"},
      {"nesting", nested_indexes(6), "more than 4 indexes in each other"},
      {"only an artifact", with_index(index_of(replaced(good, "}", R"(,"artifactType":"a/b"})"))),
       "no image in it"},
      {"a name that is none", with_index(index_of(image().descriptor(named("a/UPPER:1")))),
       "io.containerd.image.name"},
      {"a name with a line break", with_index(index_of(image().descriptor(named("a\\nb:1")))),
       "io.containerd.image.name"},
      {"a path as a name", with_index(index_of(image().descriptor(named("../../etc/passwd")))),
       "io.containerd.image.name"},
      {"a layout of the future",
       blobs()
           .file("oci-layout", R"({"imageLayoutVersion":"2.0.0"})")
           .file("index.json", missing)
           .end(),
       "oci-layout: version '2.0.0'"},
      {"a layout that is not JSON",
       blobs().file("oci-layout", "x").file("index.json", missing).end(), "oci-layout"},
      {"a layout of an array", blobs().file("oci-layout", "[]").file("index.json", missing).end(),
       "oci-layout"},
      {"a giant index", with_index(cat(index_of(good), std::string(5u << 20, ' '))),
       "index.json: more than 4194304 bytes"},
      {"a deep index",
       with_index(cat(R"({"annotations":)", std::string(200, '['), std::string(200, ']'), "}")),
       "index.json"},
  };
  for (const Case& c : cases) expect_refused(c);
  expect_refused({"the name of two images",
                  [] {
                    const SmallImage other("other");
                    Tar tar = blobs();
                    other.add_blobs(tar);
                    return tar
                        .file("index.json", index_of(cat(image().descriptor(named("a:1")), ",",
                                                         other.descriptor(named("a:1")))))
                        .end();
                  }(),
                  "two images with the name 'docker.io/library/a:1'"});
}

TEST(LoadHostile, manifests_and_configurations) {
  const std::string& good = image().manifest;
  const std::string& config = image().config;
  const std::string layer = codec::digest_of(image().layers[1]).text();
  const Case cases[] = {
      {"a manifest that is not JSON", with_oci_manifest("manifest"), "image sha256:"},
      {"a manifest without a config", with_oci_manifest(R"({"schemaVersion":2,"layers":[]})"),
       "config: missing"},
      {"a manifest of another type",
       with_oci_manifest(replaced(good, "oci.image.manifest.v1", "oci.image.index.v1")),
       "is not the type of an image manifest"},
      {"a config as a path",
       with_oci_manifest(replaced(good, codec::digest_of(config).text(), "../x")), "config.digest"},
      {"a config that is not there",
       with_oci_manifest(
           replaced(good, codec::digest_of(config).text(), codec::digest_of("x").text())),
       "not in the archive"},
      {"a config of another size",
       with_oci_manifest(replaced(good, cat("\"size\":", config.size()), "\"size\":7")),
       "are announced"},
      {"a layer that is not there",
       with_oci_manifest(replaced(good, layer, codec::digest_of("x").text())),
       "not in the archive"},
      {"a layer of another size",
       with_oci_manifest(replaced(good, cat("\"size\":", image().layers[0].size()), "\"size\":7")),
       "where 7 are announced"},
      {"a layer as a path", with_oci_manifest(replaced(good, layer, "sha256:../../x")),
       "layers[1].digest"},
      {"a layer of an unknown type",
       with_oci_manifest(replaced(good, "image.layer.v1.tar", "image.layer.v1.squashfs"),
                         named("a:1")),
       "not a known type of layer"},
      {"an artifact alone", with_oci_manifest(replaced(good, "image.config.v1", "image.thing.v1")),
       "artifact"},
      {"a config that is not JSON", with_config("config"), "configuration sha256:"},
      {"a config that is an array", with_config("[]"), "configuration sha256:"},
      {"too few diff_ids",
       with_config(R"({"os":"linux","architecture":"amd64","rootfs":{"type":"layers",)"
                   R"("diff_ids":[]}})"),
       "the manifest has 2 layers, its configuration 0"},
      {"a diff_id as a path", with_config(replaced(config, "sha256:", "../")), "diff_ids[0]"},
      {"a config without a rootfs", with_config(R"({"os":"linux","architecture":"amd64"})"),
       "configuration"},
  };
  for (const Case& c : cases) expect_refused(c);
}

TEST(LoadHostile, docker_archives) {
  const std::string element = image().docker_element(R"(["a:1"])");
  const auto element_with = [&](std::string_view from, std::string_view to) {
    return with_manifest(cat("[", replaced(element, from, to), "]"));
  };
  const std::string config = cat("\"", image().config_file(), "\"");
  const std::string layer = image().layer_file(0);
  Tar swapped;
  image().add_docker_files(swapped);
  const std::string swapped_element =
      cat(R"([{"Config":"c.json","RepoTags":null,"Layers":[")", image().layer_file(1), R"(",")",
          image().layer_file(0), R"("]}])");
  std::string many = "[";
  for (int each = 0; each < 501; ++each) many += cat(each == 0 ? "" : ",", "\"", layer, "\"");
  many += "]";
  const std::string layer_list = element.substr(element.find("\"Layers\":") + 9);
  const Case cases[] = {
      {"not JSON", with_manifest("[{"), "manifest.json"},
      {"an object", with_manifest("{}"), "manifest.json"},
      {"empty", with_manifest("[]"), "no image in it"},
      {"an element that is a number", with_manifest("[7]"), "manifest.json: [0]"},
      {"without a config", with_manifest(R"([{"RepoTags":null,"Layers":[]}])"), "Config"},
      {"a config that is not there", element_with(config, "\"missing.json\""),
       "manifest.json: [0]: Config: 'missing.json': not in the archive"},
      {"a config as a path", element_with(config, "\"../../etc/passwd\""), "'..' in it"},
      {"an absolute config", element_with(config, "\"/etc/passwd\""), "an absolute name"},
      {"an empty name for a config", element_with(config, "\"\""), "not in the archive"},
      {"a config that is a number", element_with(config, "7"), "Config"},
      {"a config that is a layer", element_with(config, cat("\"", layer, "\"")), "manifest.json"},
      {"a layer that is not there", element_with(layer, "missing/layer.tar"),
       "Layers: 'missing/layer.tar': not in the archive"},
      {"a layer as a path", element_with(layer, "../../../etc/shadow"), "'..' in it"},
      {"an absolute layer", element_with(layer, "/etc/shadow"), "an absolute name"},
      {"layers that are numbers", with_manifest(R"([{"Config":"c","Layers":[1,2]}])"), "Layers"},
      {"fewer layers than diff_ids", element_with(cat("\"", layer, "\","), ""),
       "the manifest has 1 layers, its configuration 2"},
      {"a million empty values", with_manifest([] {
         std::string json = "[";
         for (int each = 0; each < 1'000'000; ++each) json += "[],";
         return json + "[]]";
       }()),
       "manifest.json: more than 262144 values in one document"},
      {"layers in the wrong order",
       swapped.file("c.json", image().config).file("manifest.json", swapped_element).end(),
       "Layers[0]: digest mismatch: its content is"},
      {"500 layers and one", element_with(layer_list, cat(many, "}")), "Layers: more than 500"},
      {"upper-case names", element_with("a:1", "A/B:1"), "RepoTags"},
      {"an empty name", element_with("a:1", ""), "RepoTags"},
      {"a name that is an id", element_with("a:1", std::string(64, 'a')), "RepoTags"},
      {"a name with a digest", element_with("a:1", cat("a@", codec::digest_of("x").text())),
       "a name with a digest is none to give"},
      {"a tag too long", element_with("a:1", cat("a:", std::string(129, 't'))), "RepoTags"},
      {"names that are no list", element_with("[\"a:1\"]", "\"a:1\""), "RepoTags"},
      {"a giant manifest.json", with_manifest(cat("[", element, "]", std::string(5u << 20, ' '))),
       "manifest.json: more than 4194304 bytes"},
  };
  for (const Case& c : cases) expect_refused(c);

  Tar both = blobs();
  both.file("index.json", index_of(image().descriptor()));
  const std::string other_layers =
      cat(R"([{"Config":")", blob_name(image().config), R"(","RepoTags":["a:1"],"Layers":[")",
          blob_name(image().layers[1]), R"("]}])");
  expect_refused({"manifest.json says otherwise than index.json",
                  both.file("manifest.json", other_layers).end(),
                  "other layers for configuration"});
}

// Bounds, met with smaller ones than load() has.
TEST(LoadHostile, bounds) {
  struct Bound {
    const char* complaint;
    std::string archive;
    LoadLimits limits;
  };
  const SmallImage other("other");
  Tar two = blobs();
  other.add_blobs(two);
  two.file("index.json",
           index_of(cat(image().descriptor(named("a:1")), ",", other.descriptor(named("b:1")))));
  Tar many;
  for (int each = 0; each < 100; ++each) many.file(cat("tiny/", each), "");
  const std::string zeros(8u << 20, '\0');
  const std::string good = with_index(index_of(image().descriptor()));
  const Bound bounds[] = {
      {"more than 50 entries", many.end(), {.entries_max = 50}},
      {"more than 400 bytes of names in one archive", many.end(), {.all_names_bytes_max = 400}},
      {"more than 1 images", two.end(), {.images_max = 1}},
      {"more than 1 names", two.end(), {.names_max = 1}},
      {"more than 500 bytes of manifests and configurations",
       two.end(),
       {.all_documents_bytes_max = 500}},
      {"more than 4096 bytes behind the end of the archive",
       cat(good, zeros),
       {.trailing_bytes_max = 4096}},
      {"grows to more than 200 times its size",
       compressed(Tar().file("zeros", zeros).end(), Compression::Gzip),
       {.expansion = {.free_bytes = 1u << 20}}},
      {"grows to more than 200 times its size",
       compressed(Tar().file("zeros", zeros).end(), Compression::Zstd),
       {.expansion = {.free_bytes = 1u << 20}}},
  };
  for (const Bound& bound : bounds) {
    Directory root;
    TestAsker asker;
    const Fd file = memory_file(bound.archive);
    const auto reply = load_within(bound.limits, root.fd(), file, asker);
    ASSERT_FALSE(reply) << bound.complaint;
    EXPECT_NE(reply.error().message().find(bound.complaint), std::string::npos)
        << reply.error().message();
    EXPECT_EQ(reply.error().kind(), Kind::Exhausted);
    EXPECT_TRUE(root.names().empty());
  }
}

TEST(LoadHostile, a_hundred_thousand_entries) {
  Tar tar;
  for (int each = 0; each < 100'000; ++each) tar.file(cat(each), "");
  expect_refused({"100000 entries", tar.end(), "more than 65536 entries"});
}

TEST(LoadHostile, a_blob_that_is_sparse) {
  // A GNU sparse file of a mebibyte's hole and nothing else.
  Directory made;
  test::run({"truncate", "-s", "1M", cat(made.path(), "/index.json")});
  const auto tar = test::run({"tar", "-cS", "-C", made.path(), "index.json"});
  ASSERT_TRUE(tar.ok()) << tar.text();
  expect_refused({"sparse", tar.out, "a sparse file"});
}

}  // namespace
}  // namespace nacelle::image
