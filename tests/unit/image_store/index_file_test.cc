// index.json: what others wrote is understood and kept; what is damaged is an error, never a crash.
#include "image/index_file.h"

#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

using image::parse_index_file;
using image::write_index_file;

const std::string hex_a(64, 'a'), hex_b(64, 'b');

std::string entry(const std::string& hex, const std::string& more) {
  return cat(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:)", hex,
             R"(","size":7)", more, "}");
}
std::string index(const std::string& entries) {
  return cat(R"({"schemaVersion":2,"manifests":[)", entries, "]}");
}
std::string named(const std::string& name) {
  return cat(R"(,"annotations":{"org.opencontainers.image.ref.name":")", name, R"("})");
}

TEST(IndexFile, understands_the_names_that_others_write) {
  const struct {
    const char *written, *name;
  } cases[] = {
      {"latest", "docker.io/library/latest:latest"},
      {"busybox:1", "docker.io/library/busybox:1"},
      {"docker.io/library/busybox:latest", "docker.io/library/busybox:latest"},
      {"localhost:5000/a/b:c", "localhost:5000/a/b:c"},
      {"Not a Name", ""},
      {"", ""},
  };
  for (const auto& each : cases) {
    const auto parsed = parse_index_file(index(entry(hex_a, named(each.written))));
    ASSERT_TRUE(parsed) << parsed.error().message();
    EXPECT_EQ(parsed->manifests[0].name, each.name) << each.written;
    // Untouched, it is written as it was read.
    EXPECT_NE(write_index_file(*parsed).find(cat('"', each.written, '"')), std::string::npos);
  }
}

TEST(IndexFile, takes_containerds_name_first) {
  const auto parsed = parse_index_file(
      index(entry(hex_a, R"(,"annotations":{"io.containerd.image.name":"docker.io/library/a:1",)"
                         R"("org.opencontainers.image.ref.name":"1"})")));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->manifests[0].name, "docker.io/library/a:1");
}

TEST(IndexFile, a_copied_annotation_does_not_outweigh_a_new_name) {
  const auto parsed = parse_index_file(
      index(entry(hex_a, R"(,"annotations":{"io.containerd.image.name":"docker.io/library/a:1",)"
                         R"("org.opencontainers.image.ref.name":"b"})")));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->manifests[0].name, "docker.io/library/b:latest");
}

TEST(IndexFile, keeps_what_it_does_not_know) {
  const std::string text =
      R"({"schemaVersion":2,"annotations":{"x":"y"},"manifests":[)" +
      entry(hex_a,
            R"(,"platform":{"os":"linux","architecture":"s390x","os.features":["z"]},)"
            R"("annotations":{"com.example":"kept"},"urls":["https://x"],"artifactType":"t")") +
      "]}";
  auto parsed = parse_index_file(text);
  ASSERT_TRUE(parsed) << parsed.error().message();
  parsed->tag({{.media_type = {},
                .digest = parsed->manifests[0].digest,
                .size = 7,
                .annotations = {},
                .platform = {},
                .artifact_type = {}},
               "docker.io/library/a:1",
               {}});
  ASSERT_EQ(parsed->manifests.size(), 1u);
  const std::string written = write_index_file(*parsed);
  for (const char* part :
       {R"("annotations":{"x":"y"})", R"("os.features":["z"])", R"("com.example":"kept")",
        R"("urls":["https://x"])", R"("artifactType":"t")",
        R"("org.opencontainers.image.ref.name":"docker.io/library/a:1")",
        R"("io.containerd.image.name":"docker.io/library/a:1")"}) {
    EXPECT_NE(written.find(part), std::string::npos) << part << " in " << written;
  }
  EXPECT_TRUE(parse_index_file(written));
}

TEST(IndexFile, a_name_that_is_not_an_images_stays_beside_ours) {
  auto parsed = parse_index_file(index(entry(hex_a, named("Not a Name"))));
  ASSERT_TRUE(parsed);
  parsed->tag({{.media_type = {},
                .digest = parsed->manifests[0].digest,
                .size = 7,
                .annotations = {},
                .platform = {},
                .artifact_type = {}},
               "docker.io/library/a:1",
               {}});
  EXPECT_EQ(parsed->manifests.size(), 2u);
  EXPECT_EQ(parsed->images().size(), 1u);
}

std::string called(const std::string& ref, const std::string& image) {
  std::string list;
  if (!ref.empty()) list = cat(R"("org.opencontainers.image.ref.name":")", ref, '"');
  if (!image.empty()) {
    list += cat(list.empty() ? "" : ",", R"("io.containerd.image.name":")", image, '"');
  }
  return cat(R"(,"annotations":{)", list, "}");
}

TEST(IndexFile, a_name_is_of_one_image_whoever_wrote_it) {
  const std::string a = "docker.io/library/a:1";
  const struct {
    std::string first, second;
    bool second_wins;
  } cases[] = {
      {called(a, a), called(a, ""), true},   // appended
      {called("", a), called(a, ""), true},  // what skopeo makes of ours
      {called(a, ""), called("", a), false},     {called("", a), called("", a), true},
      {called("a:1", ""), called("1", a), true},  // written differently
  };
  for (const auto& each : cases) {
    const std::string text = index(entry(hex_a, each.first) + "," + entry(hex_b, each.second));
    const auto parsed = parse_index_file(text);
    ASSERT_TRUE(parsed) << parsed.error().message();
    const auto images = parsed->images();
    ASSERT_EQ(images.size(), 2u);
    EXPECT_EQ(images[each.second_wins ? 1 : 0].names, std::vector<std::string>{a}) << text;
    EXPECT_TRUE(images[each.second_wins ? 0 : 1].names.empty()) << text;
    const std::string written = write_index_file(*parsed);
    const auto again = parse_index_file(written);
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->images()[each.second_wins ? 0 : 1].names.empty()) << written;
  }
}

TEST(IndexFile, a_name_that_moves_leaves_all_entries_that_had_it) {
  auto parsed = parse_index_file(index(entry(hex_a, named("a:1")) + "," + entry(hex_b, "")));
  ASSERT_TRUE(parsed);
  // As if it had not been settled on reading.
  image::IndexFile file = *parsed;
  file.manifests[1].set_name("docker.io/library/a:1");
  image::TagRequest request;
  request.manifest.digest = file.manifests[1].digest;
  request.name = "docker.io/library/a:1";
  file.tag(request);
  ASSERT_EQ(file.images().size(), 2u);
  EXPECT_TRUE(file.images()[0].names.empty());
  EXPECT_EQ(file.images()[1].names, std::vector<std::string>{"docker.io/library/a:1"});
}

TEST(IndexFile, an_image_with_a_name_that_is_not_ours_is_not_without_one) {
  auto parsed =
      parse_index_file(index(entry(hex_a, named("Not_a_Name")) + "," + entry(hex_a, named("b:1")) +
                             "," + entry(hex_b, named("with\\u001b[31m"))));
  ASSERT_TRUE(parsed) << parsed.error().message();
  ASSERT_EQ(parsed->images().size(), 2u);
  EXPECT_EQ(parsed->images()[0].names,
            (std::vector<std::string>{"Not_a_Name", "docker.io/library/b:1"}));
  ASSERT_EQ(parsed->images()[1].names.size(), 1u);
  EXPECT_EQ(parsed->images()[1].names[0].find('\x1b'), std::string::npos);
  EXPECT_TRUE(parsed->untag("docker.io/library/b:1", false));
  EXPECT_EQ(parsed->images()[0].names, std::vector<std::string>{"Not_a_Name"});
  EXPECT_NE(write_index_file(*parsed).find("Not_a_Name"), std::string::npos);
}

TEST(IndexFile, the_last_name_takes_entries_without_one_along) {
  auto parsed = parse_index_file(index(entry(hex_a, named("a:1")) + "," + entry(hex_a, "")));
  ASSERT_TRUE(parsed);
  auto kept = *parsed;
  EXPECT_TRUE(parsed->untag("docker.io/library/a:1", false));
  EXPECT_TRUE(parsed->images().empty());
  EXPECT_TRUE(kept.untag("docker.io/library/a:1", true));
  EXPECT_EQ(kept.images().size(), 1u);
}

TEST(IndexFile, refuses_what_is_no_index) {
  const std::string cases[] = {
      "",
      "{",
      "[]",
      "null",
      "7",
      "{}",
      R"({"schemaVersion":1,"manifests":[]})",
      R"({"schemaVersion":"2"})",
      R"({"schemaVersion":2,"manifests":{}})",
      R"({"schemaVersion":2,"manifests":[7]})",
      R"({"schemaVersion":2,"manifests":[{}]})",
      index(R"({"digest":"sha256:../../x","size":1})"),
      index(R"({"digest":"","size":1})"),
      index(R"({"digest":7,"size":1})"),
      index(cat(R"({"digest":"sha256:)", hex_a, R"("})")),
      index(cat(R"({"digest":"sha256:)", hex_a, R"(","size":-1})")),
      index(cat(R"({"digest":"md5:)", std::string(32, 'a'), R"(","size":1})")),
      index(entry(hex_a, R"(,"annotations":[])")),
      index(entry(hex_a, R"(,"annotations":{"a":1})")),
      index(entry(hex_a, "")) + "x",
      std::string(100, '\0'),
      std::string(1000, '[')};
  for (const std::string& text : cases) EXPECT_FALSE(parse_index_file(text)) << text;
}

TEST(IndexFile, names_the_place_of_a_mistake) {
  const auto parsed = parse_index_file(index(entry(hex_a, "") + R"(,{"digest":"x","size":1})"));
  ASSERT_FALSE(parsed);
  EXPECT_TRUE(parsed.error().message().starts_with("manifests[1].digest: "))
      << parsed.error().message();
}

// Goal: no damage to the file, whichever, makes more than an error. Method: every byte changed and
// every length cut.
TEST(IndexFile, survives_any_damage) {
  const std::string whole = index(entry(hex_a, named("a:1")) + "," + entry(hex_b, ""));
  ASSERT_TRUE(parse_index_file(whole));
  for (size_t at = 0; at < whole.size(); ++at) {
    EXPECT_FALSE(parse_index_file(std::string_view(whole).substr(0, at)));
    for (const char put : {'\0', '"', '{', '\xff'}) {
      std::string damaged = whole;
      damaged[at] = put;
      const auto parsed = parse_index_file(damaged);
      if (parsed) (void)write_index_file(*parsed);
    }
  }
}

TEST_F(StoreTest, an_empty_index_is_an_error_and_can_be_made_anew) {
  const MadeImage made = add({"one"}, "a");
  write("content/index.json", "");
  const auto images = store().images();
  ASSERT_FALSE(images);
  EXPECT_NE(images.error().message().find("it is empty"), std::string::npos);
  EXPECT_FALSE(run(store().tag(loop(), {made.record.descriptor, "b", {}})));
  EXPECT_FALSE(run(image::collect(loop(), store()))) << "gc must not take it for an empty store";
  ASSERT_EQ(findings(true).size(), 1u);
  ASSERT_TRUE(store().images());
  ASSERT_EQ(store().images()->size(), 1u);
  EXPECT_EQ(store().images()->front().manifest.digest, made.record.descriptor.digest);
  EXPECT_TRUE(findings().empty());
}

}  // namespace
}  // namespace nacelle::test
