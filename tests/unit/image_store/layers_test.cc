#include "image/layers.h"

#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

using image::LayerRecord;
using image::Layers;

LayerRecord record_of(const Digest& chain) {
  LayerRecord record;
  record.chain = chain;
  record.diff_id = digest_of("diff");
  return record;
}

TEST_F(StoreTest, a_layer_is_there_once_it_is_finished) {
  Layers layers(store());
  const Digest chain = digest_of("chain");
  auto partial = run(layers.begin(loop(), chain));
  ASSERT_TRUE(partial) << partial.error().message();
  ASSERT_TRUE(sys::replace_file_at(partial->tree().get(), "file", "hello", 0644));
  EXPECT_FALSE(layers.has(chain));
  EXPECT_EQ(layers.open(chain).error().kind(), Kind::NotFound);
  ASSERT_TRUE(run(layers.finish(loop(), *std::move(partial), record_of(chain))));
  EXPECT_TRUE(layers.has(chain));
  EXPECT_EQ(layers.find_record(chain)->diff_id, digest_of("diff"));
  EXPECT_EQ(sys::read_file_at(layers.open(chain)->get(), "file", 100).value(), "hello");
  const auto again = run(layers.begin(loop(), chain));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->done());
  EXPECT_EQ(names_in("layers"), std::vector<std::string>{std::string(chain.hex())});
}

TEST_F(StoreTest, a_tree_begins_empty_and_readable_by_all) {
  Layers layers(store());
  ::umask(077);
  const auto partial = run(layers.begin(loop(), digest_of("chain")));
  ASSERT_TRUE(partial);
  EXPECT_EQ(sys::stat_fd(partial->tree())->st_mode & 07777, 0755u);
}

TEST_F(StoreTest, a_layer_left_unfinished_is_begun_anew) {
  Layers layers(store());
  const Digest chain = digest_of("chain");
  {
    const auto partial = run(layers.begin(loop(), chain));
    ASSERT_TRUE(partial);
    ASSERT_TRUE(sys::replace_file_at(partial->tree().get(), "file", "half", 0644));
  }
  const auto partial = run(layers.begin(loop(), chain));
  ASSERT_TRUE(partial);
  EXPECT_TRUE(image::list_directory(partial->tree())->empty());
  EXPECT_EQ(names_in("layers").size(), 1u);
}

TEST_F(StoreTest, a_layer_is_not_finished_as_another) {
  Layers layers(store());
  auto partial = run(layers.begin(loop(), digest_of("chain")));
  ASSERT_TRUE(partial);
  EXPECT_FALSE(run(layers.finish(loop(), *std::move(partial), record_of(digest_of("other")))));
  EXPECT_FALSE(layers.has(digest_of("chain")));
  EXPECT_FALSE(layers.has(digest_of("other")));
  EXPECT_FALSE(layers.has(Digest()));
}

TEST_F(StoreTest, discarding_and_removing_leave_nothing) {
  Layers layers(store());
  auto partial = run(layers.begin(loop(), digest_of("chain")));
  ASSERT_TRUE(partial && run(layers.discard(loop(), *std::move(partial))));
  EXPECT_TRUE(names_in("layers").empty());
  const MadeImage made = add({"one"}, "a");
  ASSERT_TRUE(run(layers.remove(loop(), made.chains[0])));
  EXPECT_TRUE(names_in("layers").empty());
  EXPECT_FALSE(run(layers.remove(loop(), made.chains[0])));
}

TEST_F(StoreTest, all_of_a_stack_or_none) {
  const MadeImage made = add({"one", "two"}, "a");
  const Layers layers(store());
  EXPECT_EQ(layers.open_all(made.chains)->size(), 2u);
  const auto missing = layers.open_all({made.chains[0], digest_of("missing")});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind(), Kind::NotFound);
}

// Goal: ten pulls of one image unpack each layer once. Method: processes that all begin the same
// layer and blob; each writes who it is, and says by its exit code whether it was the one.
ring::Task<> build_once(ring::Loop& loop, image::Store& store, bool& built, bool& fetched) {
  Layers layers(store);
  const Digest chain = digest_of("shared");
  image::PartialLayer partial = co_await layers.begin(loop, chain);
  built = !partial.done();
  if (built) {
    const Fd file = co_await sys::open_at(partial.tree().get(), "by",
                                          O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0644);
    co_await ring::sleep_for(loop, std::chrono::milliseconds(30));
    co_await sys::write_all(file, "one", "by");
    co_await layers.finish(loop, std::move(partial), record_of(chain));
  }
  image::Ingest ingest = co_await store.begin_ingest(loop, digest_of("blob"), 4);
  fetched = !ingest.done();
  if (fetched) {
    if (ingest.offset() != 0) co_await fail(Kind::Internal, "someone was here");
    co_await ring::sleep_for(loop, std::chrono::milliseconds(30));
    co_await sys::write_all(ingest.file(), "blob", "blob");
    co_await store.commit(loop, std::move(ingest));
  }
  const Fd tree = co_await layers.open(chain);
  const std::string by = co_await sys::read_file_at(tree.get(), "by", 100);
  if (by != "one" || !store.has_blob(digest_of("blob"), 4)) {
    co_await fail(Kind::Internal, "it is not whole");
  }
}

TEST_F(StoreTest, of_several_processes_one_builds_and_all_have_it) {
  std::vector<pid_t> processes;
  for (int count = 0; count < 6; ++count) {
    processes.push_back(start_process([&] {
      const auto own_loop = open_loop();
      auto own_store = image::Store::open(path_);
      bool built = false, fetched = false;
      if (!own_store || !own_loop->run(build_once(*own_loop, *own_store, built, fetched)))
        return 99;
      return (built ? 1 : 0) + (fetched ? 2 : 0);
    }));
  }
  int built = 0, fetched = 0;
  for (const pid_t process : processes) {
    const int status = wait_for(process);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 4) << status;
    built += WEXITSTATUS(status) & 1;
    fetched += WEXITSTATUS(status) >> 1;
  }
  EXPECT_EQ(built, 1);
  EXPECT_EQ(fetched, 1);
  EXPECT_TRUE(names_in("ingest").empty());
}

// Goal: between looking for a layer or blob and having its lock, another one may finish it, and
// then it is done. Method: processes that begin the same ones at once, many times; nothing takes
// time.
ring::Task<> build_many(ring::Loop& loop, image::Store& store, int rounds) {
  Layers layers(store);
  for (int round = 0; round < rounds; ++round) {
    const Digest chain = digest_of(cat("chain ", round));
    image::PartialLayer partial = co_await layers.begin(loop, chain);
    if (!partial.done()) {
      if (layers.has(chain)) co_await fail(Kind::Internal, "the layer is begun once more");
      co_await layers.finish(loop, std::move(partial), record_of(chain));
    }
    const std::string bytes = cat("blob ", round);
    image::Ingest ingest = co_await store.begin_ingest(loop, digest_of(bytes), bytes.size());
    if (ingest.done()) continue;
    if (store.has_blob(digest_of(bytes), bytes.size())) {
      co_await fail(Kind::Internal, "the blob is begun once more");
    }
    co_await sys::write_all(ingest.file(), bytes, "blob");
    co_await store.commit(loop, std::move(ingest));
  }
}

TEST_F(StoreTest, what_another_finished_a_moment_ago_is_done) {
  std::vector<pid_t> processes;
  for (int count = 0; count < 4; ++count) {
    processes.push_back(start_process([&] {
      const auto own_loop = open_loop();
      auto own_store = image::Store::open(path_);
      const auto done = own_loop->run(build_many(*own_loop, *own_store, 300));
      if (!done) ::fprintf(stderr, "%s\n", done.error().message().c_str());
      return done ? 0 : 1;
    }));
  }
  for (const pid_t process : processes) EXPECT_EQ(wait_for(process), 0);
  EXPECT_TRUE(names_in("ingest").empty());
  EXPECT_EQ(names_in("layers").size(), 300u);
}

TEST_F(StoreTest, a_layer_that_came_meanwhile_counts_as_finished) {
  Layers layers(store());
  const Digest chain = digest_of("chain");
  auto partial = run(layers.begin(loop(), chain));
  ASSERT_TRUE(partial);
  ASSERT_EQ(::mkdir(in_store(cat("layers/", chain.hex())).c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(in_store(cat("layers/", chain.hex(), "/tree")).c_str(), 0700), 0);
  const auto finished = run(layers.finish(loop(), *std::move(partial), record_of(chain)));
  ASSERT_TRUE(finished) << finished.error().message();
  EXPECT_EQ(names_in("layers"), std::vector<std::string>{std::string(chain.hex())});
}

// The same with two tasks of one loop: a lock is the descriptor's, not the process's.
ring::Task<> build_beside(ring::Loop& loop, image::Store& store, int& builders) {
  bool built = false, fetched = false;
  co_await build_once(loop, store, built, fetched);
  builders += built ? 1 : 0;
}
ring::Task<> build_thrice(ring::Loop& loop, image::Store& store, int& builders, int& failures) {
  ring::Scope scope(loop, [&failures](const Error&) { ++failures; });
  for (int count = 0; count < 3; ++count) scope.start(build_beside(loop, store, builders));
  co_await scope.join();
}

TEST_F(StoreTest, of_several_tasks_one_builds_and_all_have_it) {
  int builders = 0, failures = 0;
  ASSERT_TRUE(run(build_thrice(loop(), store(), builders, failures)));
  EXPECT_EQ(builders, 1);
  EXPECT_EQ(failures, 0);
}

}  // namespace
}  // namespace nacelle::test
