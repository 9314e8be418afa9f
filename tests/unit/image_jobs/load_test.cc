#include "tests/unit/image_jobs/load_image.h"

namespace nacelle::image {
namespace {

using codec::Compression;
using Names = std::vector<std::string>;

struct Loaded {
  Directory root;
  TestAsker asker;
  Result<LoadRequest::Reply> reply = fail(Kind::Internal, "not run");

  explicit Loaded(const std::string& archive) {
    const Fd file = memory_file(archive);
    reply = load({}, root.fd(), file, asker);
    expect_only_reported(root, reply);
  }
};

std::string layout_archive(const SmallImage& image, std::string_view more = {}) {
  Tar tar;
  tar.file("oci-layout", oci_layout).file("index.json", index_of(image.descriptor(more)));
  image.add_blobs(tar);
  return tar.end();
}

TEST(Load, takes_an_oci_layout) {
  const SmallImage image;
  const Loaded loaded(layout_archive(image, named("docker.io/library/a:1")));
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  ASSERT_EQ(loaded.reply->images.size(), 1u);
  EXPECT_EQ(loaded.reply->images[0].manifest.digest, codec::digest_of(image.manifest));
  EXPECT_EQ(loaded.reply->images[0].names, Names{"docker.io/library/a:1"});
  EXPECT_EQ(loaded.root.names(), image.kept());
}

TEST(Load, takes_entries_in_any_order_and_with_dots_before_their_names) {
  const SmallImage image;
  Tar tar;
  tar.other(codec::tar::Type::Directory, "./");
  for (const std::string& bytes : {image.manifest, image.layers[1], image.config}) {
    tar.file(cat("./blobs/sha256/", hex_of(bytes)), bytes);
  }
  tar.file("./index.json", index_of(image.descriptor()));
  tar.blob(image.layers[0]);
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_EQ(loaded.root.names(), image.kept());
  EXPECT_EQ(loaded.reply->images[0].names, Names{});
}

TEST(Load, takes_compressed_archives_through_a_pipe) {
  const SmallImage image("z", 3, Compression::Gzip);
  for (const Compression compression : {Compression::None, Compression::Gzip, Compression::Zstd}) {
    const std::string archive = layout_archive(image);
    const Piped piped(compression == Compression::None ? archive
                                                       : compressed(archive, compression));
    Directory root;
    TestAsker asker;
    const auto reply = load({}, root.fd(), piped.fd(), asker);
    ASSERT_TRUE(reply) << complaint(reply);
    EXPECT_EQ(root.names(), image.kept());
    EXPECT_GT(asker.last, 0u);
  }
}

TEST(Load, takes_what_docker_save_wrote_before_version_25) {
  const SmallImage image;
  Tar tar;
  image.add_docker_files(tar);
  tar.file("manifest.json", cat("[", image.docker_element(R"(["busybox:1","a/b:2"])"), "]"));
  tar.file("repositories", "{}");
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  ASSERT_EQ(loaded.reply->images.size(), 1u);
  EXPECT_EQ(loaded.reply->images[0].names,
            (Names{"docker.io/library/busybox:1", "docker.io/a/b:2"}));
  EXPECT_EQ(loaded.reply->images[0].manifest.media_type, oci::media::oci_manifest);
  // The manifest is made here, always the same way.
  const Loaded again(tar.end());
  EXPECT_EQ(again.reply->images[0].manifest.digest, loaded.reply->images[0].manifest.digest);
  EXPECT_EQ(loaded.reply->blobs.size(), 4u);
}

TEST(Load, follows_the_links_that_stand_for_layers_docker_wrote_already) {
  SmallImage image("same", 1);
  image.layers.push_back(image.layers[0]);
  const std::string diff_id = codec::digest_of(image.layers[0]).text();
  image.config = cat(R"({"architecture":"amd64","os":"linux","rootfs":{"type":"layers",)",
                     R"("diff_ids":[")", diff_id, R"(",")", diff_id, R"("]}})");
  Tar tar;
  tar.symlink("2/layer.tar", "../1/layer.tar").file("1/layer.tar", image.layers[0]);
  tar.file("c.json", image.config);
  tar.link(codec::tar::Type::HardLink, "d.json", "c.json");
  tar.file("manifest.json", R"([{"Config":"d.json","RepoTags":null,)"
                            R"("Layers":["1/layer.tar","2/layer.tar"]}])");
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_EQ(loaded.reply->blobs.size(), 3u);
  EXPECT_EQ(loaded.reply->images[0].names, Names{});
}

TEST(Load, gives_one_image_when_both_forms_tell_of_it) {
  const SmallImage image("both", 2, Compression::Gzip);
  Tar tar;
  tar.file("index.json",
           index_of(image.descriptor(
               R"(,"annotations":{"io.containerd.image.name":"docker.io/library/b:1",)"
               R"("org.opencontainers.image.ref.name":"1"})")));
  image.add_blobs(tar);
  tar.file("manifest.json",
           cat(R"([{"Config":"blobs/sha256/)", hex_of(image.config),
               R"(","RepoTags":["b:1","b:2"],"Layers":["blobs/sha256/)", hex_of(image.layers[0]),
               R"(","blobs/sha256/)", hex_of(image.layers[1]), R"("]}])"));
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  ASSERT_EQ(loaded.reply->images.size(), 1u);
  EXPECT_EQ(loaded.reply->images[0].manifest.digest, codec::digest_of(image.manifest));
  EXPECT_EQ(loaded.reply->images[0].names,
            (Names{"docker.io/library/b:1", "docker.io/library/b:2"}));
  EXPECT_EQ(loaded.root.names(), image.kept());
}

TEST(Load, knows_how_the_layers_of_a_docker_archive_are_compressed) {
  for (const auto& [compression, type] :
       {std::pair(Compression::None, oci::media::oci_layer),
        std::pair(Compression::Gzip, oci::media::oci_layer_gzip),
        std::pair(Compression::Zstd, oci::media::oci_layer_zstd)}) {
    const SmallImage image("c", 1, compression);
    Tar tar;
    image.add_docker_files(tar);
    tar.file("manifest.json", cat("[", image.docker_element(R"(["x:1"])"), "]"));
    const Loaded loaded(tar.end());
    ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
    const std::string manifest = test::read_file(
        cat(loaded.root.path(), "/", std::string(loaded.reply->images[0].manifest.digest.hex())));
    const auto parsed = oci::parse_manifest(manifest, "");
    ASSERT_TRUE(parsed) << complaint(parsed);
    EXPECT_EQ(parsed->layers[0].media_type, type);
  }
}

TEST(Load, chooses_the_hosts_platform_and_needs_no_other) {
  const SmallImage mine("mine", 1), other("other", 1, Compression::None, "s390x");
  const std::string index = index_of(cat(other.descriptor(for_platform("linux", "s390x")), ",",
                                         mine.descriptor(for_platform("linux", "amd64"))));
  Tar tar;
  tar.file("index.json", index_of(SmallImage::describe(index, oci::media::oci_index,
                                                       named("docker.io/library/m:1"))));
  tar.blob(index);
  mine.add_blobs(tar);
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_EQ(loaded.reply->images[0].manifest.digest, codec::digest_of(mine.manifest));
  EXPECT_EQ(loaded.reply->images[0].names, Names{"docker.io/library/m:1"});
  EXPECT_EQ(loaded.root.names(), mine.kept());

  Tar both = tar;
  other.add_blobs(both);
  const Loaded chosen(both.end());
  ASSERT_TRUE(chosen.reply) << complaint(chosen.reply);
  EXPECT_EQ(chosen.root.names(), mine.kept());
}

TEST(Load, chooses_among_platforms_written_straight_into_index_json) {
  const SmallImage mine("mine", 1), other("other", 1, Compression::None, "s390x");
  Tar tar;
  tar.file("index.json", index_of(cat(other.descriptor(for_platform("linux", "s390x")), ",",
                                      mine.descriptor(for_platform("linux", "amd64")))));
  mine.add_blobs(tar);
  other.add_blobs(tar);
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_EQ(loaded.root.names(), mine.kept());
}

TEST(Load, takes_an_image_for_another_platform_when_there_is_no_other) {
  const SmallImage other("other", 1, Compression::None, "s390x");
  const std::string index = index_of(other.descriptor(for_platform("linux", "s390x")));
  Tar tar;
  tar.file("index.json", index_of(SmallImage::describe(index, oci::media::oci_index)));
  tar.blob(index);
  other.add_blobs(tar);
  const Loaded loaded(tar.end());
  EXPECT_TRUE(loaded.reply) << complaint(loaded.reply);
}

TEST(Load, passes_attestations_and_signatures_over) {
  const SmallImage image;
  const std::string statement = R"({"schemaVersion":2})";
  const std::string signature = cat(
      R"({"schemaVersion":2,"config":)", SmallImage::describe(image.config, oci::media::oci_config),
      R"(,"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json",)"
      R"("digest":")",
      codec::digest_of("x").text(), R"(","size":1}]})");
  Tar tar;
  tar.file(
      "index.json",
      index_of(cat(SmallImage::describe(
                       statement, oci::media::oci_manifest,
                       R"(,"annotations":{"vnd.docker.reference.type":"attestation-manifest"})"),
                   ",", SmallImage::describe(signature, oci::media::oci_manifest), ",",
                   image.descriptor(named("docker.io/library/a:1")))));
  tar.blob(statement).blob(signature).blob("x");
  image.add_blobs(tar);
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_EQ(loaded.reply->images.size(), 1u);
  EXPECT_EQ(loaded.root.names(), image.kept());
}

TEST(Load, takes_several_images_that_share_layers) {
  const SmallImage one("s", 1), two("s", 3);
  ASSERT_EQ(one.layers[0], two.layers[0]);
  Tar tar;
  one.add_docker_files(tar);
  two.add_docker_files(tar);  // the shared layer a second time
  tar.file("manifest.json", cat("[", one.docker_element(R"(["one:1"])"), ",",
                                two.docker_element(R"(["two:1"])"), "]"));
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_EQ(loaded.reply->images.size(), 2u);
  EXPECT_EQ(loaded.reply->blobs.size(), 3u + 2 + 2);
}

TEST(Load, takes_sha512) {
  SmallImage image("long", 1);
  const auto digest = codec::digest_of(image.manifest, codec::DigestAlgorithm::Sha512);
  Tar tar;
  image.add_blobs(tar);
  tar.blob(image.manifest, codec::DigestAlgorithm::Sha512);
  tar.file("index.json",
           index_of(cat(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")",
                        digest.text(), R"(","size":)", image.manifest.size(), "}")));
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_TRUE(loaded.root.names().contains(std::string(digest.hex())));
  EXPECT_FALSE(loaded.root.names().contains(hex_of(image.manifest)));
}

TEST(Load, uses_the_name_in_the_ocis_annotation_only_when_it_is_a_whole_one) {
  const SmallImage image;
  const auto names = [&](std::string_view annotation) {
    const Loaded loaded(layout_archive(
        image,
        cat(R"(,"annotations":{"org.opencontainers.image.ref.name":")", annotation, R"("})")));
    EXPECT_TRUE(loaded.reply) << complaint(loaded.reply);
    return loaded.reply ? loaded.reply->images[0].names : Names{"?"};
  };
  EXPECT_EQ(names("latest"), Names{});
  EXPECT_EQ(names("localhost/a:1"), Names{"localhost/a:1"});
  EXPECT_EQ(names("a:1"), Names{"docker.io/library/a:1"});
  EXPECT_EQ(names("Any/thing it likes"), Names{});
  EXPECT_EQ(names(cat("a@", codec::digest_of("x").text())), Names{});
}

TEST(Load, takes_an_image_without_layers) {
  const SmallImage image("none", 0);
  const Loaded loaded(layout_archive(image));
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_EQ(loaded.root.names(), image.kept());
}

TEST(Load, ignores_what_belongs_to_no_image) {
  const SmallImage image;
  Tar tar;
  tar.file("README", "text").file("a/b/c", "deep").file("blobs/blake3/whatever", "unknown");
  tar.blob("nobody's");
  tar.file("index.json", index_of(image.descriptor()));
  image.add_blobs(tar);
  const Loaded loaded(tar.end());
  ASSERT_TRUE(loaded.reply) << complaint(loaded.reply);
  EXPECT_EQ(loaded.root.names(), image.kept());
}

}  // namespace
}  // namespace nacelle::image
