// The store read and written by skopeo and umoci: real programs, both ways.
#include "tests/support/command.h"
#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

class Peers : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    if (!test::run({"skopeo", "--version"}).ok() || !test::run({"umoci", "--version"}).ok()) {
      GTEST_SKIP() << "missing: skopeo or umoci";
    }
  }
  std::string content() const { return path_ + "/content"; }
  CommandResult skopeo(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"skopeo", "--insecure-policy", "--tmpdir", "/tmp"});
    return test::run(arguments, {.environment = {"HOME=/tmp"}});
  }
  // A layer that is an archive, as theirs must be.
  MadeImage add_archive(const std::string& name) { return add({std::string(10240, '\0')}, name); }
};

TEST_F(Peers, skopeo_reads_an_image_by_its_full_name) {
  const MadeImage made = add_archive("busybox");
  const std::string name = "oci:" + content() + ":docker.io/library/busybox:latest";
  const CommandResult raw = skopeo({"inspect", "--raw", name});
  ASSERT_TRUE(raw.ok()) << raw.text();
  EXPECT_EQ(raw.out, made.manifest);
  const CommandResult copied = skopeo({"copy", name, "oci:" + directory_ + "/copy:x"});
  ASSERT_TRUE(copied.ok()) << copied.text();
}

TEST_F(Peers, umoci_lists_our_names) {
  add_archive("busybox:1.36");
  const CommandResult list = test::run({"umoci", "ls", "--layout", content()});
  ASSERT_TRUE(list.ok()) << list.text();
  EXPECT_EQ(list.out, "docker.io/library/busybox:1.36\n");
}

TEST_F(Peers, what_skopeo_and_umoci_write_is_an_image_and_stays_theirs) {
  const MadeImage made = add_archive("busybox");
  const std::string ours = "oci:" + content() + ":docker.io/library/busybox:latest";
  ASSERT_TRUE(skopeo({"copy", "--preserve-digests", ours, "oci:" + directory_ + "/copy:x"}).ok());
  const CommandResult back = skopeo({"copy", "--preserve-digests", "oci:" + directory_ + "/copy:x",
                                     "oci:" + content() + ":by-skopeo:1"});
  ASSERT_TRUE(back.ok()) << back.text();
  const CommandResult tagged = test::run(
      {"umoci", "tag", "--image", content() + ":docker.io/library/busybox:latest", "by-umoci"});
  ASSERT_TRUE(tagged.ok()) << tagged.text();
  for (const char* name : {"busybox", "by-skopeo:1", "by-umoci"}) {
    const auto found = store().find(name);
    ASSERT_TRUE(found) << found.error().message() << read("content/index.json");
    EXPECT_EQ(found->manifest.digest, made.record.descriptor.digest) << name;
  }
  // Ours after theirs, and theirs after ours.
  ASSERT_TRUE(run(store().tag(loop(), {made.record.descriptor, "after", {}})));
  const CommandResult list = test::run({"umoci", "ls", "--layout", content()});
  for (const char* name : {"by-skopeo:1\n", "by-umoci\n", "docker.io/library/after:latest\n"}) {
    EXPECT_NE(list.out.find(name), std::string::npos) << name << list.text();
  }
  ASSERT_TRUE(run(store().untag(loop(), "by-umoci")));
  EXPECT_TRUE(skopeo({"inspect", "--raw", ours}).ok());
  EXPECT_EQ(collected().blobs, 0u);
}

}  // namespace
}  // namespace nacelle::test
