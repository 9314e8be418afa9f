// Goal: a step of a build is found again as long as what it made is there, and what it made stays
// as long as the step does.
#include "image/build_cache.h"

#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

using image::BuildCache;
using image::CachedStep;

CachedStep step_of(const MadeImage& made, const char* key) {
  CachedStep step;
  step.key = digest_of(key);
  step.record = made.record;
  step.description = "RUN true";
  step.created_s = 1;
  return step;
}

TEST_F(StoreTest, a_step_is_found_by_its_key_alone) {
  const MadeImage made = add({"one"}, "a");
  const BuildCache cache(store());
  EXPECT_FALSE(cache.find(digest_of("key")));
  ASSERT_TRUE(run(cache.put(loop(), step_of(made, "key"))));
  const auto found = cache.find(digest_of("key"));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->record.config, made.record.config);
  EXPECT_FALSE(cache.find(digest_of("other")));
  EXPECT_EQ(cache.list()->size(), 1u);
}

TEST_F(StoreTest, what_a_step_made_stays_until_the_step_goes) {
  const MadeImage made = add({"one", "two"}, "a");
  const BuildCache cache(store());
  ASSERT_TRUE(run(cache.put(loop(), step_of(made, "key"))));
  ASSERT_TRUE(run(store().remove(loop(), made.record.descriptor.digest)));
  (void)collected();
  EXPECT_EQ(names_in("layers").size(), 2u);
  EXPECT_TRUE(cache.find(digest_of("key")));
  ASSERT_TRUE(cache.remove(digest_of("key")));
  ASSERT_TRUE(cache.remove(digest_of("key")));
  (void)collected();
  EXPECT_EQ(names_in("layers").size(), 0u);
  EXPECT_FALSE(cache.find(digest_of("key")));
}

TEST_F(StoreTest, a_step_whose_layer_is_gone_is_not_found) {
  const MadeImage made = add({"one"}, "a");
  const BuildCache cache(store());
  CachedStep step = step_of(made, "key");
  step.record.manifest.layers.front().digest = digest_of("nowhere");
  ASSERT_TRUE(run(cache.put(loop(), step)));
  EXPECT_FALSE(cache.find(digest_of("key")));
}

// A power cut may leave any bytes.
TEST_F(StoreTest, a_damaged_step_is_none) {
  const MadeImage made = add({"one"}, "a");
  const BuildCache cache(store());
  ASSERT_TRUE(run(cache.put(loop(), step_of(made, "key"))));
  const std::string path = cat("build-cache/", digest_of("key").hex());
  const auto bytes = sys::read_file_at(store().root().get(), path.c_str(), 1u << 20);
  ASSERT_TRUE(bytes);
  for (const size_t length : {size_t{0}, size_t{5}, bytes->size() / 2, bytes->size() - 1}) {
    ASSERT_TRUE(
        sys::replace_file_at(store().root().get(), path.c_str(), bytes->substr(0, length), 0600));
    EXPECT_FALSE(cache.find(digest_of("key"))) << length;
    EXPECT_TRUE(cache.list()->empty());
  }
}

}  // namespace
}  // namespace nacelle::test
