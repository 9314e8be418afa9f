// Goal: the same choice among platforms as containerd makes. Method: tables of what its rules say.
#include <gtest/gtest.h>

#include "oci/image.h"
#include "tests/unit/oci_image/documents.h"

namespace nacelle::oci {
namespace {

Platform platform(std::string_view text) {
  const auto parsed = parse_platform(text);
  EXPECT_TRUE(parsed.has_value()) << text << ": " << parsed.error().message();
  return parsed.value_or(Platform{});
}

TEST(Platform, IsReadWithItsAliases) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"linux/amd64", "linux/amd64"},
      {"linux/x86_64", "linux/amd64"},
      {"linux/x86-64", "linux/amd64"},
      {"linux/amd64/v1", "linux/amd64"},
      {"linux/amd64/v3", "linux/amd64/v3"},
      {"linux/i386", "linux/386"},
      {"linux/aarch64", "linux/arm64"},
      {"linux/arm64/8", "linux/arm64/v8"},
      {"linux/arm64/v8", "linux/arm64/v8"},
      {"linux/arm64/v9.2", "linux/arm64/v9.2"},
      {"linux/arm", "linux/arm/v7"},
      {"linux/armhf", "linux/arm/v7"},
      {"linux/armel", "linux/arm/v6"},
      {"linux/arm/5", "linux/arm/v5"},
      {"linux/arm/v8", "linux/arm/v8"},
      {"Linux/ARM/V6", "linux/arm/v6"},
      {"macos/arm64", "darwin/arm64"},
      {"windows(10.0.17763)/amd64", "windows/amd64"},
      {"plan10/vax", "plan10/vax"},
      {"arm64", "linux/arm64"},
      {"armhf", "linux/arm/v7"},
      {"s390x", "linux/s390x"},
      {"x86_64", "linux/amd64"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(platform(text).text(), expected) << text;
  EXPECT_EQ(platform("windows(10.0.17763)/amd64").os_version, "10.0.17763");
  EXPECT_EQ(platform("linux"), host_platform());
  EXPECT_EQ(platform("windows").os, "windows");
  EXPECT_EQ(platform("windows").architecture, host_platform().architecture);
}

TEST(Platform, IsRefused) {
  for (const std::string_view text :
       {"", "/", "vax", "linux/", "/amd64", "linux/amd64/", "linux//v8", "linux/arm/v7/x", "*",
        "linux/*", "linux/amd 64", "lin ux", "linux(1/amd64", "linux(/)/amd64", "linux.1/amd64",
        "linux/amd64\n", "linux/\xff", "../../x/y"}) {
    const auto parsed = parse_platform(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().kind(), Kind::Invalid);
    EXPECT_EQ(parsed.error().message().find('\n'), std::string::npos);
  }
}

TEST(Platform, TextLeavesOutWhatIsNotThere) {
  EXPECT_EQ(Platform{}.text(), "unknown");
  EXPECT_EQ((Platform{"linux", "", "", ""}).text(), "linux");
  EXPECT_EQ((Platform{"linux", "arm", "v7", "5"}).text(), "linux/arm/v7");
}

// Each row: a host, and what it runs from best to worst.
TEST(Platform, HostsPreferTheirOwnThenEarlierThenSmaller) {
  const std::vector<std::vector<std::string_view>> rows = {
      {"linux/amd64", "linux/amd64", "linux/386"},
      {"linux/amd64/v3", "linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"},
      {"linux/arm/v8", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"},
      {"linux/arm/v6", "linux/arm/v6", "linux/arm/v5"},
      {"linux/arm64", "linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6",
       "linux/arm/v5"},
      {"linux/arm64/v8.2", "linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64", "linux/arm/v8"},
      {"linux/arm64/v9.1", "linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6",
       "linux/arm64/v8.1", "linux/arm64/v8", "linux/arm/v8"},
      {"linux/riscv64", "linux/riscv64"},
  };
  for (const auto& row : rows) {
    int before = platform_match_exact + 1;
    for (size_t i = 1; i < row.size(); ++i) {
      const int match = platform_match(platform(row[0]), platform(row[i]));
      EXPECT_GT(match, 0) << row[0] << " runs " << row[i];
      EXPECT_LT(match, before) << row[0] << ": " << row[i];
      if (i == 1) EXPECT_EQ(match, platform_match_exact) << row[0];
      before = match;
    }
  }
}

TEST(Platform, HostsDoNotRunWhatIsLaterOrElse) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"linux/amd64", "linux/amd64/v2"},      {"linux/amd64/v2", "linux/amd64/v3"},
      {"linux/amd64", "linux/arm64"},         {"linux/386", "linux/amd64"},
      {"linux/arm64", "linux/amd64"},         {"linux/arm/v7", "linux/arm64"},
      {"linux/arm/v6", "linux/arm/v7"},       {"linux/arm64", "linux/arm64/v9"},
      {"linux/arm64/v9", "linux/arm64/v8.6"}, {"linux/amd64", "windows/amd64"},
      {"linux/amd64", "darwin/amd64"},        {"linux/riscv64", "linux/riscv64/x"},
      {"linux/amd64", "linux/amd64/vx"},      {"linux/arm/v7", "linux/arm/v4"},
  };
  for (const auto& [host, image] : cases) {
    EXPECT_EQ(platform_match(platform(host), platform(image)), 0) << host << " " << image;
  }
  EXPECT_EQ(platform_match(platform("linux/amd64"), Platform{}), 0);
  EXPECT_EQ(platform_match(platform("linux/amd64"), {"unknown", "unknown", "", ""}), 0);
}

TEST(Platform, OfImagesIsComparedByItsMeaning) {
  EXPECT_EQ(platform_match(platform("linux/arm64/v8"), {"linux", "aarch64", "", ""}),
            platform_match_exact);
  EXPECT_EQ(platform_match(platform("linux/arm"), {"Linux", "arm", "7", ""}), platform_match_exact);
  EXPECT_EQ(platform_match(platform("linux/amd64"), {"linux", "amd64", "v1", ""}),
            platform_match_exact);
}

class Choice : public testing::Test {
 protected:
  Descriptor& add(std::string_view name, std::string_view media_type = media::oci_manifest) {
    Descriptor& entry = index_.manifests.emplace_back();
    entry.media_type = media_type;
    entry.size = index_.manifests.size();
    if (!name.empty()) entry.platform = platform(name);
    return entry;
  }
  void add_attestation() {
    Descriptor& entry = add("");
    entry.platform = Platform{"unknown", "unknown", "", ""};
    entry.annotations = {{"vnd.docker.reference.digest", digest_a},
                         {"vnd.docker.reference.type", "attestation-manifest"}};
  }
  // The place of what is chosen, counted from 1; 0 for nothing.
  size_t choose(std::string_view wanted) const {
    const auto chosen = choose_platform(index_, platform(wanted));
    return chosen ? chosen->size : 0;
  }
  std::string complaint(std::string_view wanted) const {
    const auto chosen = choose_platform(index_, platform(wanted));
    if (chosen) return "chosen";
    EXPECT_EQ(chosen.error().kind(), Kind::NotFound);
    return chosen.error().message();
  }
  Index index_;
};

TEST_F(Choice, IsTheBestMatch) {
  add("linux/386");
  add("linux/amd64");
  add("linux/arm/v5");
  add("linux/arm/v7");
  add("linux/arm64/v8");
  add("windows/amd64");
  EXPECT_EQ(choose("linux/amd64"), 2u);
  EXPECT_EQ(choose("linux/386"), 1u);
  EXPECT_EQ(choose("linux/arm/v6"), 3u);
  EXPECT_EQ(choose("linux/arm/v8"), 4u);
  EXPECT_EQ(choose("linux/arm64"), 5u);
  EXPECT_EQ(choose("windows/amd64"), 6u);
  EXPECT_EQ(choose("linux/s390x"), 0u);
}

TEST_F(Choice, IsTheFirstOfEquals) {
  add("linux/arm64");
  add("linux/amd64");
  add("linux/amd64");
  EXPECT_EQ(choose("linux/amd64"), 2u);
}

TEST_F(Choice, PassesOverAttestationsAndArtifacts) {
  add_attestation();
  add("linux/amd64").artifact_type = "application/x-sbom";
  add("linux/amd64", "application/x-thing");
  add("linux/amd64").annotations["vnd.docker.reference.type"] = "attestation-manifest";
  EXPECT_EQ(choose("linux/amd64"), 0u);
  add("linux/amd64");
  EXPECT_EQ(choose("linux/amd64"), 5u);
}

TEST_F(Choice, NeverIsAnAttestationThatIsAlone) {
  add_attestation();
  EXPECT_EQ(complaint("linux/amd64"), "no image for 'linux/amd64': it has no images");
  index_.manifests[0].platform.reset();
  EXPECT_EQ(choose("linux/amd64"), 0u);
}

TEST_F(Choice, IsTheOnlyManifestWithoutAPlatform) {
  add_attestation();
  add("");
  EXPECT_EQ(choose("linux/amd64"), 2u);
  add("");
  EXPECT_EQ(complaint("linux/amd64"),
            "no image for 'linux/amd64': there is one without a platform");
}

TEST_F(Choice, GoesIntoAnIndexWhenNoManifestFits) {
  add("linux/amd64", media::docker_index);
  add("linux/arm64");
  EXPECT_EQ(choose("linux/arm64"), 2u);
  EXPECT_EQ(choose("linux/amd64"), 1u);
  EXPECT_EQ(choose("linux/s390x"), 0u);
  add("", media::oci_index);
  EXPECT_EQ(choose("linux/s390x"), 3u);
}

TEST_F(Choice, ThatFailsListsWhatThereIs) {
  EXPECT_EQ(complaint("linux/amd64"), "no image for 'linux/amd64': it has no images");
  add("linux/arm64/v8");
  add_attestation();
  add("windows/amd64");
  add("windows/amd64");
  EXPECT_EQ(complaint("linux/amd64"),
            "no image for 'linux/amd64': there is 'linux/arm64/v8', 'windows/amd64'");
  for (int i = 0; i < 4000; ++i) add("").platform = Platform{cat("os\n", i), "x", "", ""};
  const std::string message = complaint("linux/amd64");
  EXPECT_TRUE(message.ends_with(" and 3978 more")) << message;
  EXPECT_LT(message.size(), 2000u);
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

// The shape in which `docker buildx build --provenance` pushes.
TEST_F(Choice, WorksOnWhatBuildKitWrites) {
  const std::string text =
      cat(R"({"schemaVersion":2,"mediaType":")", media::oci_index, R"(","manifests":[)",
          descriptor(media::oci_manifest, digest_a,
                     R"(,"platform":{"architecture":"amd64","os":"linux"})"),
          ',',
          descriptor(media::oci_manifest, digest_b,
                     cat(R"(,"annotations":{"vnd.docker.reference.digest":")", digest_a,
                         R"(","vnd.docker.reference.type":"attestation-manifest"},)",
                         R"("platform":{"architecture":"unknown","os":"unknown"})")),
          "]}");
  const auto index = parse_index(text, media::oci_index);
  ASSERT_TRUE(index.has_value()) << index.error().message();
  EXPECT_EQ(choose_platform(*index, platform("linux/amd64"))->digest.text(), digest_a);
  EXPECT_FALSE(choose_platform(*index, platform("linux/arm64")).has_value());
}

}  // namespace
}  // namespace nacelle::oci
