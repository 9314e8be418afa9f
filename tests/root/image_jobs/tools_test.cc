#include <algorithm>

#include "tests/unit/image_jobs/job_test.h"

// Goal: what other tools write is loaded, and what is written here other tools read. Everything
// runs offline, on storage of its own.

namespace nacelle::image {
namespace {

using Names = std::vector<std::string>;

std::string shell(std::string_view script) {
  const auto done =
      test::run({"sh", "-ec", std::string(script)},
                {.environment = {"HOME=/tmp"}, .deadline = test::milliseconds(90'000)});
  EXPECT_TRUE(done.ok()) << script << "\n" << done.text();
  return done.out;
}

// An image of two layers and one of three that builds on it, in buildah's storage.
class Made {
 public:
  Made() {
    CHECK(test::write_file("/tmp/locks", "[engine]\nlock_type = \"file\"\n"));
    shell(cat("mkdir -p ", at("tree/etc"), " && echo one > ", at("tree/etc/one"),
              " && head -c 300000 ", "/dev/urandom > ", at("tree/big"), " && ln ", at("tree/big"),
              " ", at("tree/also"),
              " && echo '{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}' > ", at("policy")));
    buildah("from --name c scratch");
    buildah(cat("copy c ", at("tree"), " /"));
    buildah("config --cmd /bin/sh --env A=b --label l=m c");
    buildah("commit -q c localhost/first:1");
    buildah(cat("copy c ", at("policy"), " /second"));
    buildah("commit -q c localhost/second:2");
  }
  std::string at(std::string_view name) const { return cat(directory_.path(), "/", name); }
  std::string buildah(std::string_view words) const {
    return shell(cat("buildah ", storage(), words));
  }
  std::string podman(std::string_view words) const {
    return shell(cat("podman ", storage(), "--cgroup-manager cgroupfs ", words));
  }
  std::string skopeo(std::string_view words) const {
    return shell(cat("skopeo --policy ", at("policy"), " ", words));
  }

 private:
  std::string storage() const {
    return cat("--root ", at("storage"), " --runroot ", at("run"), " --storage-driver vfs ");
  }
  Directory directory_;
};

const Made& made() {
  static const Made* const all = new Made;  // kept to the end: making it takes seconds
  return *all;
}

struct Loaded {
  Directory root;
  TestAsker asker;
  Result<LoadRequest::Reply> reply = fail(Kind::Internal, "not run");

  explicit Loaded(const std::string& archive) {
    const Fd file = *sys::open_at(sys::working_directory, archive.c_str(), O_RDONLY);
    reply = load({}, root.fd(), file, asker);
    EXPECT_TRUE(reply) << archive << ": " << complaint(reply);
    check();
  }
  bool ok() const { return reply.has_value(); }
  Names names() const {
    Names all;
    for (const auto& image : reply->images) {
      all.insert(all.end(), image.names.begin(), image.names.end());
    }
    std::ranges::sort(all);
    return all;
  }
  std::string read(const codec::Digest& digest) const {
    return test::read_file(cat(root.path(), "/", digest.hex()));
  }

 private:
  // Every blob is what it is called, and nothing else is there.
  void check() {
    if (!reply) return;
    std::set<std::string> reported;
    for (const auto& blob : reply->blobs) {
      reported.insert(std::string(blob.digest.hex()));
      EXPECT_EQ(codec::digest_of(read(blob.digest)), blob.digest);
    }
    EXPECT_EQ(root.names(), reported);
  }
};

TEST(Tools, what_buildah_writes_is_loaded) {
  made().buildah(cat("push -q localhost/second:2 docker-archive:", made().at("b.docker"),
                     ":localhost/second:2"));
  made().buildah(
      cat("push -q localhost/second:2 oci-archive:", made().at("b.oci"), ":localhost/second:2"));
  for (const char* file : {"b.docker", "b.oci"}) {
    const Loaded loaded(made().at(file));
    ASSERT_TRUE(loaded.ok());
    EXPECT_EQ(loaded.names(), Names{"localhost/second:2"});
  }
}

TEST(Tools, what_podman_saves_is_loaded_several_images_too) {
  if (!test::run({"podman", "--version"}).ok()) GTEST_SKIP() << "no podman";
  made().podman(cat("save -q -m --format docker-archive -o ", made().at("p.docker"),
                    " localhost/first:1 localhost/second:2"));
  const Loaded several(made().at("p.docker"));
  ASSERT_TRUE(several.ok());
  EXPECT_EQ(several.reply->images.size(), 2u);
  EXPECT_EQ(several.names(), (Names{"localhost/first:1", "localhost/second:2"}));
  made().podman(cat("save -q --format oci-archive -o ", made().at("p.oci"), " localhost/first:1"));
  EXPECT_EQ(Loaded(made().at("p.oci")).names(), Names{"localhost/first:1"});
  shell(cat("gzip -k ", made().at("p.docker")));
  EXPECT_EQ(Loaded(made().at("p.docker.gz")).reply->images.size(), 2u);
}

TEST(Tools, what_skopeo_and_umoci_write_is_loaded) {
  made().buildah(cat("push -q localhost/first:1 oci-archive:", made().at("s.oci"), ":x:1"));
  made().skopeo(cat("copy -q oci-archive:", made().at("s.oci"),
                    " docker-archive:", made().at("s.docker"), ":docker.io/library/x:1"));
  made().skopeo(
      cat("copy -q oci-archive:", made().at("s.oci"), " oci:", made().at("layout"), ":x"));
  EXPECT_EQ(Loaded(made().at("s.docker")).names(), Names{"docker.io/library/x:1"});
  shell(cat("cd ", made().at("layout"), " && umoci config --image .:x --tag y --config.cmd /new",
            " && umoci insert --image .:y ", made().at("policy"),
            " /inserted && tar -cf ../u.oci ."));
  const Loaded loaded(made().at("u.oci"));
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.reply->images.size(), 2u);
  EXPECT_EQ(loaded.names(), Names{});  // `x` and `y` are tags of nothing
}

TEST(Tools, an_oci_archives_manifest_stays_what_it_was) {
  made().buildah(cat("push -q localhost/first:1 oci-archive:", made().at("same.oci"), ":a:1"));
  const Loaded loaded(made().at("same.oci"));
  ASSERT_TRUE(loaded.ok());
  const std::string digest =
      made().skopeo(cat("inspect --format '{{.Digest}}' oci-archive:", made().at("same.oci")));
  EXPECT_EQ(cat(loaded.reply->images[0].manifest.digest.text(), "\n"), digest);
}

// What was loaded, written out again in one archive of both forms as images/save does, is read by
// skopeo in either form, and its layers and configuration are the same bytes.
TEST(Tools, what_archive_writes_skopeo_and_podman_read) {
  made().buildah(cat("push -q localhost/second:2 docker-archive:", made().at("w.docker"),
                     ":localhost/second:2"));
  const Loaded loaded(made().at("w.docker"));
  ASSERT_TRUE(loaded.ok());
  shell(cat("mkdir -p ", made().at("content/blobs"), " && cp -r ", loaded.root.path(), " ",
            made().at("content/blobs/sha256")));
  const auto& image = loaded.reply->images[0];
  const auto manifest = oci::parse_manifest(loaded.read(image.manifest.digest), "");
  ASSERT_TRUE(manifest) << complaint(manifest);
  ArchiveRequest request;
  const auto blob = [](const codec::Digest& digest) { return cat("blobs/sha256/", digest.hex()); };
  std::string layers;
  request.entries.push_back({"blobs/", "", {}});
  request.entries.push_back({"blobs/sha256/", "", {}});
  for (const auto& each : loaded.reply->blobs) {
    request.entries.push_back({blob(each.digest), "", each.digest});
  }
  for (const auto& layer : manifest->layers) {
    layers += cat(layers.empty() ? "" : ",", "\"", blob(layer.digest), "\"");
  }
  oci::Index index;
  index.media_type = oci::media::oci_index;
  index.manifests.push_back(image.manifest);
  index.manifests.back().annotations["org.opencontainers.image.ref.name"] = "localhost/second:2";
  request.entries.push_back({"index.json", oci::write_index(index), {}});
  request.entries.push_back({"oci-layout", R"({"imageLayoutVersion":"1.0.0"})", {}});
  request.entries.push_back(
      {"manifest.json",
       cat(R"([{"Config":")", blob(manifest->config.digest),
           R"(","RepoTags":["localhost/second:2"],"Layers":[)", layers, "]}]"),
       {}});
  const Fd content =
      *sys::open_at(sys::working_directory, made().at("content").c_str(), O_PATH | O_DIRECTORY);
  const std::string path = made().at("out.tar");
  TestAsker asker;
  {
    const Fd output = *sys::open_at(sys::working_directory, path.c_str(), O_WRONLY | O_CREAT, 0600);
    const auto written = archive(request, content, output, asker);
    ASSERT_TRUE(written) << complaint(written);
  }
  const std::string from_oci = made().skopeo(cat("inspect --raw --config oci-archive:", path));
  EXPECT_EQ(from_oci, loaded.read(manifest->config.digest));
  EXPECT_EQ(made().skopeo(cat("inspect --raw --config docker-archive:", path)), from_oci);
  made().skopeo(cat("copy -q oci-archive:", path, " dir:", made().at("out.dir")));
  for (const auto& layer : manifest->layers) {
    EXPECT_TRUE(test::read_file(made().at(cat("out.dir/", layer.digest.hex()))) ==
                loaded.read(layer.digest));
  }
  if (test::run({"podman", "--version"}).ok()) {
    made().podman(cat("load -q -i ", path));
    EXPECT_NE(made()
                  .podman("image inspect localhost/second:2 --format '{{.Id}}'")
                  .find(manifest->config.digest.hex()),
              std::string::npos);
  }
  EXPECT_EQ(Loaded(path).names(), Names{"localhost/second:2"});
}

}  // namespace
}  // namespace nacelle::image
