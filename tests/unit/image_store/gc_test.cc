#include "image/gc.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <ctime>

#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

using image::Collected;
using image::Described;
using image::Lease;

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::ranges::sort(names);
  return names;
}

TEST_F(StoreTest, what_an_image_needs_stays) {
  add({"one", "two"}, "a");
  const Collected none = collected();
  EXPECT_EQ(none.blobs + none.layers + none.ingests, 0u);
  EXPECT_EQ(names_in("content/blobs/sha256").size(), 4u);
  EXPECT_EQ(names_in("layers").size(), 2u);
  EXPECT_TRUE(findings().empty());
}

TEST_F(StoreTest, what_no_image_needs_goes_and_what_two_share_stays) {
  const MadeImage kept = add({"one", "two"}, "kept");
  const MadeImage gone = add({"one", "three"}, "gone");
  ASSERT_TRUE(run(store().remove(loop(), gone.record.descriptor.digest)));
  const Collected only_counted = collected({.roots = {}, .describe = {}, .dry_run = true});
  EXPECT_EQ(names_in("layers").size(), 3u);
  const Collected done = collected();
  EXPECT_EQ(done.blobs, 3u) << "manifest, configuration, one layer";
  EXPECT_EQ(done.blob_bytes, gone.manifest.size() + gone.config.size() + 5);
  EXPECT_EQ(done.layers, 1u);
  EXPECT_EQ(done.layer_bytes, 5u);
  EXPECT_EQ(done.layer_chains, std::vector<Digest>{gone.chains[1]});
  EXPECT_EQ(only_counted.blob_bytes, done.blob_bytes);
  EXPECT_EQ(names_in("layers"),
            sorted({std::string(kept.chains[0].hex()), std::string(kept.chains[1].hex())}));
  EXPECT_EQ(names_in("images").size(), 1u);
  EXPECT_TRUE(names_in("ingest").empty());
  EXPECT_TRUE(findings().empty());
}

TEST_F(StoreTest, roots_of_the_caller_and_of_containers_stay) {
  const MadeImage by_caller = add({"one", "two"}, "a");
  const MadeImage by_container = add({"three", "four"}, "b");
  ASSERT_TRUE(run(store().remove(loop(), by_caller.record.descriptor.digest)));
  ASSERT_TRUE(run(store().remove(loop(), by_container.record.descriptor.digest)));
  ASSERT_EQ(::mkdir(in_store("containers").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(in_store("containers/web").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(in_store("containers/being-made").c_str(), 0700), 0);
  write("containers/web/image", by_container.chains[1].text() + "\n");
  const Collected done =
      collected({.roots = {by_caller.record.descriptor.digest}, .describe = {}, .dry_run = false});
  EXPECT_EQ(done.layers, 0u) << "a chain keeps the chains below it";
  // A lowest layer that was never compressed has its chain's digest.
  EXPECT_EQ(done.blobs, 3u) << "a container needs no blobs";
  EXPECT_TRUE(store().has_blob(by_caller.record.descriptor));
}

TEST_F(StoreTest, a_mounted_image_stays_whole) {
  const MadeImage made = add({"one", "two"}, "a");
  ASSERT_EQ(::mkdir(in_store("containers").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(in_store("containers/mount").c_str(), 0700), 0);
  write("containers/mount/base", made.record.descriptor.digest.text());
  ASSERT_TRUE(run(store().remove(loop(), made.record.descriptor.digest)));
  const Collected done = collected();
  EXPECT_EQ(done.blobs + done.layers, 0u);
  EXPECT_TRUE(store().find_record(made.record.descriptor.digest));
  // Without its record nobody knows what it needs.
  write(cat("images/", made.record.descriptor.digest.hex()), "");
  EXPECT_NE(collected().kept_all_because, "");
  ASSERT_EQ(::rename(in_store("containers/mount").c_str(), in_store("containers/.trash-1").c_str()),
            0);
  EXPECT_EQ(collected().blobs, 4u) << "what is to be deleted needs nothing";
  EXPECT_TRUE(names_in("containers").empty());
}

TEST_F(StoreTest, what_is_no_container_is_left_alone) {
  ASSERT_EQ(::mkdir(in_store("containers").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(in_store("containers/web").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(in_store("containers/.trash-left").c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(in_store("containers/.trash-held").c_str(), 0700), 0);
  write("containers/stray", "x");
  write("containers/.trash-left/file", "x");
  const Fd held = sys::open_at(sys::working_directory, in_store("containers/.trash-held").c_str(),
                               O_RDONLY | O_DIRECTORY)
                      .value();
  ASSERT_TRUE(image::try_lock(held).value());
  const auto done = run(image::collect(loop(), store()));
  ASSERT_TRUE(done) << done.error().message();
  EXPECT_EQ(names_in("containers"), sorted({"stray", "web", ".trash-held"}));
}

TEST_F(StoreTest, a_lease_protects_until_it_ends) {
  auto lease = run(Lease::take(loop(), store()));
  ASSERT_TRUE(lease);
  const Digest digest = digest_of("hello");
  ASSERT_TRUE(run(lease->protect(loop(), {digest, Digest(), digest_of("chain")})));
  ASSERT_TRUE(run(store().put_blob(loop(), "hello")));
  EXPECT_EQ(collected().blobs, 0u);
  ASSERT_EQ(::mkdir(in_store(cat("layers/", digest_of("chain").hex())).c_str(), 0700), 0);
  EXPECT_EQ(collected().layers, 0u);
  {
    const Lease moved = *std::move(lease);
    EXPECT_EQ(names_in("leases").size(), 1u);
  }
  EXPECT_TRUE(names_in("leases").empty());
  const Collected done = collected();
  EXPECT_EQ(done.blobs, 1u);
  EXPECT_EQ(done.layers, 1u);
}

TEST_F(StoreTest, a_dead_ones_lease_protects_nothing) {
  const pid_t pid = start_process([&] {
    const auto own_loop = open_loop();
    auto own_store = image::Store::open(path_);
    auto lease = own_loop->run(Lease::take(*own_loop, *own_store));
    (void)own_loop->run(lease->protect(*own_loop, {digest_of("hello")}));
    ::kill(::getpid(), SIGKILL);
    return 0;
  });
  ASSERT_TRUE(WIFSIGNALED(wait_for(pid)));
  ASSERT_TRUE(run(store().put_blob(loop(), "hello")));
  ASSERT_EQ(names_in("leases").size(), 1u);
  EXPECT_EQ(collected().blobs, 1u);
  EXPECT_TRUE(names_in("leases").empty());
}

TEST_F(StoreTest, a_manifest_nobody_can_read_keeps_everything) {
  add({"one"}, "a");
  const MadeImage foreign = make_image({"two"});
  for (const std::string& bytes : {foreign.manifest, foreign.config, foreign.layers[0]}) {
    ASSERT_TRUE(run(store().put_blob(loop(), bytes)));
  }
  ASSERT_TRUE(run(store().put_blob(loop(), "garbage")));
  ASSERT_TRUE(run(store().tag(loop(), {foreign.record.descriptor, "foreign", {}})));
  const Collected done = collected();
  EXPECT_EQ(done.blobs, 0u);
  EXPECT_NE(done.kept_all_because.find(foreign.record.descriptor.digest.text()), std::string::npos);
}

// A worker's part, played by what the test knows.
ring::Task<Described> describe_from(const std::vector<MadeImage>* images,
                                    const std::vector<std::pair<Digest, oci::Index>>* indexes,
                                    int* asked, oci::Descriptor manifest) {
  ++*asked;
  Described described;
  for (const MadeImage& each : *images) {
    if (each.record.descriptor.digest == manifest.digest) described.image = each.record;
  }
  for (const auto& [digest, index] : *indexes) {
    if (digest == manifest.digest) described.manifests = index.manifests;
  }
  if (!described.image && described.manifests.empty()) {
    co_await fail(Kind::Invalid, "what is this?");
  }
  co_return described;
}

TEST_F(StoreTest, manifests_without_a_record_are_described_and_indexes_followed) {
  std::vector<MadeImage> images{make_image({"one"}, "x"), make_image({"two"}, "y")};
  for (const MadeImage& each : images) {
    for (const std::string& bytes : {each.manifest, each.config, each.layers[0]}) {
      ASSERT_TRUE(run(store().put_blob(loop(), bytes)));
    }
  }
  oci::Index index;
  index.media_type = oci::media::oci_index;
  oci::Descriptor elsewhere = make_image({"three"}).record.descriptor;
  index.manifests = {images[1].record.descriptor, elsewhere};
  const std::string index_text = oci::write_index(index);
  ASSERT_TRUE(run(store().put_blob(loop(), index_text)));
  ASSERT_TRUE(run(store().put_blob(loop(), "garbage")));
  oci::Descriptor of_index;
  of_index.media_type = oci::media::oci_index;
  of_index.digest = digest_of(index_text);
  of_index.size = index_text.size();
  ASSERT_TRUE(run(store().tag(loop(), {images[0].record.descriptor, "plain", {}})));
  ASSERT_TRUE(run(store().tag(loop(), {of_index, "index", {}})));
  const std::vector<std::pair<Digest, oci::Index>> indexes{{of_index.digest, index}};
  int asked = 0;
  const image::Describe describe = [&](oci::Descriptor manifest) {
    return describe_from(&images, &indexes, &asked, std::move(manifest));
  };
  const Collected done = collected({.roots = {}, .describe = describe, .dry_run = false});
  EXPECT_EQ(done.kept_all_because, "");
  EXPECT_EQ(done.blobs, 1u) << "the garbage";
  EXPECT_EQ(asked, 3);
  EXPECT_TRUE(store().find_record(images[1].record.descriptor.digest));
  asked = 0;
  (void)collected({.roots = {}, .describe = describe, .dry_run = false});
  EXPECT_EQ(asked, 1) << "only the index has no record";

  ASSERT_TRUE(run(store().put_blob(loop(), "strange")));
  oci::Descriptor strange;
  strange.digest = digest_of("strange");
  strange.size = 7;
  ASSERT_TRUE(run(store().tag(loop(), {strange, "strange", {}})));
  ASSERT_TRUE(run(store().put_blob(loop(), "garbage")));
  EXPECT_NE(collected({.roots = {}, .describe = describe, .dry_run = false}).kept_all_because, "");
  EXPECT_TRUE(store().has_blob(digest_of("garbage"), 7));
}

void make_old(const std::string& path) {
  const timespec then{::time(nullptr) - 8 * 24 * 3600, 0};
  const timespec times[2] = {then, then};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

TEST_F(StoreTest, downloads_are_kept_for_a_while_and_while_somebody_has_them) {
  const std::string young = cat("ingest/sha256-", digest_of("young").hex());
  const std::string old = cat("ingest/sha256-", digest_of("old").hex());
  const std::string held = cat("ingest/sha256-", digest_of("held").hex());
  for (const std::string& each : {young, old, held}) write(each, "part");
  const auto ingest = run(store().begin_ingest(loop(), digest_of("held"), 100));
  ASSERT_TRUE(ingest);
  make_old(in_store(old));
  make_old(in_store(held));
  const Collected done = collected();
  EXPECT_EQ(done.ingests, 1u);
  EXPECT_EQ(done.ingest_bytes, 4u);
  EXPECT_EQ(names_in("ingest"), sorted({young.substr(7), held.substr(7)}));
}

TEST_F(StoreTest, what_the_dead_left_goes_and_what_the_living_hold_stays) {
  image::Layers layers(store());
  const auto living_layer = run(layers.begin(loop(), digest_of("living")));
  const auto living_workspace = store().make_workspace();
  ASSERT_TRUE(living_layer && living_workspace);
  for (const char* where : {"layers/.partial-x", "layers/.trash-x", "ingest/work-x",
                            "ingest/.trash-x", "layers/.partial-x/tree"}) {
    ASSERT_EQ(::mkdir(in_store(where).c_str(), 0700), 0);
  }
  write("layers/.trash-x/file", "x");
  (void)collected();
  EXPECT_EQ(names_in("layers"),
            std::vector<std::string>{cat(".partial-", digest_of("living").hex())});
  EXPECT_EQ(names_in("ingest").size(), 1u);
  EXPECT_TRUE(names_in("ingest")[0].starts_with("work-"));
}

TEST_F(StoreTest, what_is_not_a_blob_of_ours_is_left_alone) {
  write("content/blobs/sha256/README", "hello");
  write("content/other", "hello");
  ASSERT_EQ(::mkdir(in_store("layers/lost+found").c_str(), 0700), 0);
  (void)collected();
  EXPECT_EQ(read("content/blobs/sha256/README"), "hello");
  EXPECT_EQ(read("content/other"), "hello");
  EXPECT_EQ(names_in("layers"), std::vector<std::string>{"lost+found"});
}

// Goal: no pull ever loses what it relies on. Method: processes that add and remove images of
// common layers as fast as they can, while others collect garbage; each looks for everything it
// protected until its lease ends.
ring::Task<> churn(ring::Loop& loop, image::Store& store, int who, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    const MadeImage made =
        make_image({"common", cat("layer ", (who + round) % 3)}, cat("author ", who));
    Lease lease = co_await Lease::take(loop, store);
    co_await lease.protect(loop, made.digests());
    co_await store_image(loop, store, made, cat("image", who));
    const image::Layers layers(store);
    for (const Digest& digest : made.digests()) {
      const bool is_chain = contains(made.chains, digest);
      if (is_chain ? !layers.open(digest) : !store.open_blob(digest)) {
        co_await fail(Kind::Internal, cat(digest.text(), " was taken away"));
      }
    }
    if (round + 1 < rounds) co_await store.remove(loop, made.record.descriptor.digest);
  }
}

TEST_F(StoreTest, garbage_is_collected_beside_running_pulls) {
  std::vector<pid_t> pulls;
  for (int who = 0; who < 4; ++who) {
    pulls.push_back(start_process([&, who] {
      const auto own_loop = open_loop();
      auto own_store = image::Store::open(path_);
      const auto done = own_loop->run(churn(*own_loop, *own_store, who, 25));
      if (!done) ::fprintf(stderr, "pull %d: %s\n", who, done.error().message().c_str());
      return done ? 0 : 1;
    }));
  }
  const pid_t other_gc = start_process([&] {
    const auto own_loop = open_loop();
    auto own_store = image::Store::open(path_);
    for (;;) {
      const auto done = own_loop->run(image::collect(*own_loop, *own_store));
      if (!done) ::fprintf(stderr, "gc: %s\n", done.error().message().c_str());
      if (!done) return 1;
    }
  });
  uint64_t removed = 0;
  for (const pid_t pull : pulls) {
    int status = 0;
    while (::waitpid(pull, &status, WNOHANG) == 0) removed += collected().blobs;
    EXPECT_EQ(status, 0);
  }
  ::kill(other_gc, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(wait_for(other_gc)));
  EXPECT_GT(removed, 0u);
  (void)collected();
  EXPECT_TRUE(findings().empty());
  EXPECT_EQ(store().images()->size(), 4u);
  EXPECT_TRUE(names_in("ingest").empty());
  EXPECT_TRUE(names_in("leases").empty());
}

// Verification. ----------------------------------------------------------------------------------

TEST_F(StoreTest, damage_is_found_named_and_repaired_by_removal) {
  const MadeImage made = add({"one", "two"}, "a");
  ASSERT_TRUE(findings().empty());
  const Digest blob = made.record.manifest.layers[0].digest;
  write(cat("content/blobs/sha256/", blob.hex()), "eno");
  write(cat("layers/", made.chains[1].hex(), "/tree/content"), "");
  std::vector<std::string> found = findings();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], cat("blob ", blob.text(), " has the content of ", digest_of("eno").text()));
  EXPECT_EQ(found[1],
            cat("layer ", made.chains[1].text(), " has 0 bytes in its files instead of 3"));
  found = findings(true);
  ASSERT_EQ(found.size(), 3u) << "and then it is missing";
  EXPECT_NE(found[2].find("is missing"), std::string::npos);
  EXPECT_FALSE(store().has_blob(blob, 3));
  EXPECT_FALSE(image::Layers(store()).has(made.chains[1]));
  ASSERT_TRUE(run(store_image(loop(), store(), made, "a"))) << "a pull brings both back";
  EXPECT_TRUE(findings().empty());
}

TEST_F(StoreTest, a_layer_without_its_record_or_tree_is_damaged) {
  const MadeImage made = add({"one", "two"}, "a");
  write(cat("layers/", made.chains[0].hex(), "/record"), "");
  ASSERT_EQ(::rename(in_store(cat("layers/", made.chains[1].hex(), "/tree")).c_str(),
                     in_store("layers/elsewhere").c_str()),
            0);
  EXPECT_EQ(findings().size(), 2u);
  EXPECT_EQ(findings(true).size(), 2u);
  EXPECT_TRUE(findings().empty());
}

// Whoever may read anything reads nothing that is closed to all, once without capabilities.
void drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (::syscall(SYS_capset, &header, none) != 0) ::_exit(9);
}

TEST_F(StoreTest, what_cannot_be_read_is_a_finding_and_not_the_end) {
  const MadeImage made = add({"one", "two"}, "a");
  const Digest& blob = made.record.manifest.layers[0].digest;
  const Digest& other = made.record.manifest.layers[1].digest;
  write(cat("content/blobs/sha256/", other.hex()), "owt");
  const std::string inside = in_store(cat("layers/", made.chains[0].hex(), "/tree/inside"));
  ASSERT_EQ(::mkdir(inside.c_str(), 0), 0);
  write(cat("layers/", made.chains[1].hex(), "/tree/content"), "");
  ASSERT_EQ(::chmod(in_store(cat("content/blobs/sha256/", blob.hex())).c_str(), 0), 0);
  const std::string report = directory_ + "/findings";
  const pid_t pid = start_process([&] {
    drop_capabilities();
    const auto own_loop = open_loop();
    auto own_store = image::Store::open(path_);
    if (!own_store) return 2;
    const auto found = own_loop->run(image::verify(*own_loop, *own_store, true));
    if (!found) ::fprintf(stderr, "%s\n", found.error().message().c_str());
    if (!found) return 1;
    std::string lines;
    for (const auto& each : *found) lines += cat(each.message, each.repaired ? "!\n" : "\n");
    return sys::replace_file_at(AT_FDCWD, report.c_str(), lines, 0600) ? 0 : 3;
  });
  ASSERT_EQ(wait_for(pid), 0);
  const std::string lines = sys::read_file_at(AT_FDCWD, report.c_str(), 1u << 20).value();
  EXPECT_NE(lines.find(cat("blob ", blob.text(), " cannot be read: ")), std::string::npos) << lines;
  EXPECT_NE(lines.find(cat("layer ", made.chains[0].text(), " cannot be read: ")),
            std::string::npos)
      << lines;
  EXPECT_NE(lines.find("instead of 3!\n"), std::string::npos) << lines;
  EXPECT_NE(lines.find(cat(digest_of("owt").text(), "!\n")), std::string::npos) << lines;
  EXPECT_TRUE(store().has_blob(blob, 3)) << "nobody knows that it is damaged";
  EXPECT_FALSE(store().has_blob(other, 3));
}

// Goal: verification beside removals and pulls finds nothing. Method: a process adds and removes an
// image of a layer with many files while this one looks.
TEST_F(StoreTest, what_is_removed_meanwhile_is_no_finding) {
  const MadeImage made = make_image({"one", "two"});
  const pid_t pid = start_process([&] {
    const auto own_loop = open_loop();
    auto own_store = image::Store::open(path_);
    image::Layers layers(*own_store);
    for (;;) {
      if (!own_loop->run(store_image(*own_loop, *own_store, made, "a"))) return 1;
      if (!own_loop->run(own_store->remove(*own_loop, made.record.descriptor.digest))) return 2;
      if (!own_loop->run(image::collect(*own_loop, *own_store))) return 3;
    }
    return 0;
  });
  for (int round = 0; round < 300 && !HasFailure(); ++round) {
    const auto found = run(image::verify(loop(), store()));
    EXPECT_TRUE(found) << found.error().message();
    if (found) EXPECT_TRUE(found->empty()) << found->front().message;
  }
  ::kill(pid, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(wait_for(pid)));
}

// Goal: at no moment of a repair is the index missing: who opens the store then would make an empty
// one. Method: a process that is killed after each step of it.
TEST_F(StoreTest, an_index_is_repaired_without_ever_being_missing) {
  add({"one"}, "a");
  for (const char* fault :
       {"kill:index.set_aside", "kill:index.written", "kill:index.synced", "kill:index.renamed"}) {
    write("content/index.json", "damaged");
    const pid_t pid = start_process(
        [&] {
          const auto own_loop = open_loop();
          auto own_store = image::Store::open(path_);
          (void)own_loop->run(image::verify(*own_loop, *own_store, true));
          return 0;
        },
        fault);
    ASSERT_TRUE(WIFSIGNALED(wait_for(pid))) << fault;
    EXPECT_NE(read("content/index.json"), "") << fault;
    EXPECT_EQ(read("content/index.json.damaged"), "damaged") << fault;
    reopen();
    (void)findings(true);
    EXPECT_EQ(store().images().value().size(), 1u) << fault;
  }
}

}  // namespace
}  // namespace nacelle::test
