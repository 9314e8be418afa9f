// Goal: whenever a process is killed, the store is whole, a repetition succeeds and nothing is left
// over. Method: the fault points of a scenario are counted, and for each of them a process is
// killed there, in a store of its own.
#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

const MadeImage& old_image() {
  static const MadeImage image = make_image({"base", "old"});
  return image;
}
const MadeImage& new_image() {
  static const MadeImage image = make_image({"base", "new", "newer"});
  return image;
}

// An update as people do it: the name moves to the new image, the old one is removed, garbage goes.
ring::Task<> update(ring::Loop& loop, image::Store& store) {
  co_await store_image(loop, store, new_image(), "app");
  const Digest& old = old_image().record.descriptor.digest;
  const Result<> removed = co_await ring::as_result(store.remove(loop, old));
  if (!removed && removed.error().kind() != Kind::NotFound) co_await removed;
  {
    // An import that is given up.
    const image::Workspace workspace = co_await store.make_workspace();
    co_await sys::replace_file_at(workspace.directory().get(), "layer", "imported", 0600);
    co_await store.adopt_blob(loop, workspace, "layer", digest_of("imported"), 8);
  }
  image::Layers layers(store);
  image::PartialLayer partial = co_await layers.begin(loop, digest_of("given up"));
  co_await layers.discard(loop, std::move(partial));
  (void)co_await image::collect(loop, store);
}

class Crash : public StoreTest {
 protected:
  int run_update(const std::string& fault) {
    return wait_for(start_process(
        [&] {
          const auto own_loop = open_loop();
          auto own_store = image::Store::open(path_);
          if (!own_store) return 2;
          const auto done = own_loop->run(update(*own_loop, *own_store));
          if (!done) ::fprintf(stderr, "%s\n", done.error().message().c_str());
          return done ? 0 : 1;
        },
        fault));
  }
  void begin_anew() {
    if (::faccessat(AT_FDCWD, path_.c_str(), F_OK, 0) == 0) {
      const auto parent =
          sys::open_at(sys::working_directory, directory_.c_str(), O_RDONLY | O_DIRECTORY);
      ASSERT_TRUE(parent && image::remove_tree_now(*parent, "data"));
    }
    reopen();
    ASSERT_TRUE(run(store_image(loop(), store(), old_image(), "app")));
  }
  void expect_only_the_new_one() {
    EXPECT_EQ(store().find("app")->manifest.digest, new_image().record.descriptor.digest);
    EXPECT_EQ(store().images()->size(), 1u);
    EXPECT_EQ(names_in("content/blobs/sha256").size(), 5u);
    EXPECT_EQ(names_in("content"), (std::vector<std::string>{"blobs", "index.json", "oci-layout"}));
    EXPECT_EQ(names_in("layers").size(), 3u);
    EXPECT_EQ(names_in("images").size(), 1u);
    EXPECT_TRUE(names_in("ingest").empty());
    EXPECT_TRUE(names_in("leases").empty());
    EXPECT_TRUE(findings().empty());
  }
};

TEST_F(Crash, at_any_step_of_an_update_leaves_a_whole_store) {
  begin_anew();
  const std::string list = directory_ + "/faults";
  ASSERT_EQ(run_update("list:" + list), 0);
  expect_only_the_new_one();
  const std::string names =
      sys::read_file_at(sys::working_directory, list.c_str(), 1u << 20).value();
  const auto count = std::ranges::count(names, '\n');
  ASSERT_GT(count, 50);
  for (const char* name :
       {"ingest.begun",    "blob.written", "blob.synced",    "blob.renamed", "blob.published",
        "index.written",   "index.synced", "index.renamed",  "lease.taken",  "lease.written",
        "layer.reserved",  "layer.begun",  "layer.recorded", "layer.synced", "layer.renamed",
        "layer.published", "gc.marked",    "gc.set_aside",   "gc.unlocked",  "gc.deleted"}) {
    EXPECT_NE(names.find(cat(name, '\n')), std::string::npos) << name;
  }
  for (long at = 1; at <= count; ++at) {
    SCOPED_TRACE(cat("killed at step ", at));
    begin_anew();
    const int status = run_update(cat("kill:", at));
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    reopen();
    EXPECT_TRUE(findings().empty()) << findings().front();
    const auto app = store().find("app");
    ASSERT_TRUE(app) << app.error().message();
    EXPECT_TRUE(store().has_blob(app->manifest));
    ASSERT_EQ(run_update(""), 0);
    expect_only_the_new_one();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace nacelle::test
