#include "image/erofs.h"

#include "image/overlay.h"
#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

class Erofs : public StoreTest {
 protected:
  // EROFS reads its file through the page cache in a way that tmpfs has not.
  Erofs() { parent_ = "/var/tmp"; }
};

TEST_F(Erofs, a_layer_as_an_erofs_image_is_the_same_below_an_overlay) {
  const MadeImage made = add({std::string(100'000, 'x'), "two"}, "a");
  EXPECT_EQ(image::mount_erofs(store(), made.chains[0]).error().kind(), Kind::NotFound);
  EXPECT_FALSE(run(image::make_erofs(loop(), store(), digest_of("missing"))));
  const auto done = run(image::make_erofs(loop(), store(), made.chains[0]));
  if (!done && done.error().kind() == Kind::Unsupported) GTEST_SKIP() << done.error().message();
  ASSERT_TRUE(done) << done.error().message();
  ASSERT_TRUE(run(image::make_erofs(loop(), store(), made.chains[0]))) << "it is there";
  const auto mount = image::mount_erofs(store(), made.chains[0]);
  if (!mount &&
      (mount.error().kind() == Kind::Unsupported || mount.error().error_number() == ENODEV)) {
    GTEST_SKIP() << "missing: " << mount.error().message();
  }
  ASSERT_TRUE(mount) << mount.error().message();
  EXPECT_EQ(sys::read_file_at(mount->get(), "content", 1u << 20).value(), made.layers[0]);
  const Fd upper_tree = image::Layers(store()).open(made.chains[1]).value();
  const auto overlay = image::mount_overlay({.lower = {&upper_tree, &*mount}});
  ASSERT_TRUE(overlay) << overlay.error().message();
  EXPECT_EQ(sys::read_file_at(overlay->get(), "content", 1u << 20).value(), made.layers[0]);
  EXPECT_TRUE(findings().empty());
}

}  // namespace
}  // namespace nacelle::test
