#include "tests/unit/image_store/store_fixture.h"

namespace nacelle::test {
namespace {

using image::Image;
using image::Store;

TEST_F(StoreTest, is_for_its_owner_alone) {
  for (const char* where : {"", "content", "content/blobs", "content/blobs/sha256", "ingest",
                            "layers", "images", "leases"}) {
    struct stat status;
    ASSERT_EQ(::stat(in_store(where).c_str(), &status), 0) << where;
    EXPECT_EQ(status.st_mode & 07777, 0700u) << where;
  }
}

TEST_F(StoreTest, refuses_a_data_root_that_others_may_write_to) {
  ASSERT_EQ(::chmod(path_.c_str(), 0777), 0);
  const auto opened = Store::open(path_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind(), Kind::Denied);
}

TEST_F(StoreTest, refuses_a_relative_data_root) {
  const auto opened = Store::open("data");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind(), Kind::Invalid);
}

TEST_F(StoreTest, begins_as_an_empty_layout_and_opens_again_as_it_was) {
  EXPECT_EQ(read("content/oci-layout"), R"({"imageLayoutVersion":"1.0.0"})");
  EXPECT_TRUE(store().images().value().empty());
  const MadeImage made = add({"one"}, "busybox");
  reopen();
  ASSERT_EQ(store().images().value().size(), 1u);
  EXPECT_EQ(store().images().value()[0].manifest.digest, made.record.descriptor.digest);
}

// Blobs. -----------------------------------------------------------------------------------------

TEST_F(StoreTest, keeps_a_document_under_its_digest) {
  const auto digest = run(store().put_blob(loop(), "hello"));
  ASSERT_TRUE(digest) << digest.error().message();
  EXPECT_EQ(*digest, digest_of("hello"));
  EXPECT_TRUE(store().has_blob(*digest, 5));
  EXPECT_EQ(read(cat("content/blobs/sha256/", digest->hex())), "hello");
  EXPECT_TRUE(names_in("ingest").empty());
  ASSERT_TRUE(run(store().put_blob(loop(), "hello"))) << "a second time";
}

TEST_F(StoreTest, keeps_sha512_beside_sha256) {
  const Digest digest = codec::digest_of("hello", codec::DigestAlgorithm::Sha512);
  ASSERT_TRUE(run(store().put_blob(loop(), "hello", digest)));
  EXPECT_EQ(read(cat("content/blobs/sha512/", digest.hex())), "hello");
  EXPECT_TRUE(store().open_blob(digest));
}

TEST_F(StoreTest, refuses_a_document_of_another_digest) {
  const auto put = run(store().put_blob(loop(), "hello", digest_of("other")));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().kind(), Kind::Invalid);
  EXPECT_FALSE(store().has_blob(digest_of("other"), 5));
  EXPECT_TRUE(names_in("ingest").empty());
}

TEST_F(StoreTest, a_blob_of_another_size_is_not_there_and_is_replaced) {
  const Digest digest = digest_of("hello");
  write(cat("content/blobs/sha256/", digest.hex()), "hel");
  EXPECT_FALSE(store().has_blob(digest, 5));
  ASSERT_TRUE(run(store().put_blob(loop(), "hello")));
  EXPECT_EQ(read(cat("content/blobs/sha256/", digest.hex())), "hello");
}

TEST_F(StoreTest, says_which_blob_is_not_there) {
  const auto blob = store().open_blob(digest_of("hello"));
  ASSERT_FALSE(blob);
  EXPECT_EQ(blob.error().kind(), Kind::NotFound);
  EXPECT_NE(blob.error().message().find(digest_of("hello").text()), std::string::npos);
  EXPECT_FALSE(store().open_blob(Digest()));
}

TEST_F(StoreTest, a_directory_or_a_link_is_no_blob) {
  const Digest directory = digest_of("directory"), link = digest_of("link");
  const std::string place = in_store("content/blobs/sha256/");
  ASSERT_EQ(::mkdir((place + std::string(directory.hex())).c_str(), 0700), 0);
  ASSERT_EQ(::symlink("/etc/passwd", (place + std::string(link.hex())).c_str()), 0);
  EXPECT_FALSE(store().open_blob(directory));
  EXPECT_FALSE(store().open_blob(link));
}

TEST_F(StoreTest, an_ingest_goes_on_where_the_last_one_ended) {
  const Digest digest = digest_of("hello world");
  {
    auto first = run(store().begin_ingest(loop(), digest, 11));
    ASSERT_TRUE(first);
    EXPECT_FALSE(first->done());
    EXPECT_EQ(first->offset(), 0u);
    ASSERT_TRUE(sys::write_all(first->file(), "hello ", "part"));
  }
  auto second = run(store().begin_ingest(loop(), digest, 11));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->offset(), 6u);
  ASSERT_EQ(::pwrite(second->file().get(), "world", 5, 6), 5);
  ASSERT_TRUE(run(store().commit(loop(), *std::move(second))));
  EXPECT_EQ(read(cat("content/blobs/sha256/", digest.hex())), "hello world");
  auto third = run(store().begin_ingest(loop(), digest, 11));
  ASSERT_TRUE(third);
  EXPECT_TRUE(third->done());
  EXPECT_TRUE(run(store().commit(loop(), *std::move(third)))) << "nothing to do";
}

TEST_F(StoreTest, an_ingest_with_too_many_bytes_begins_anew) {
  const Digest digest = digest_of("hello");
  write(cat("ingest/sha256-", digest.hex()), "too many bytes");
  const auto ingest = run(store().begin_ingest(loop(), digest, 5));
  ASSERT_TRUE(ingest);
  EXPECT_EQ(ingest->offset(), 0u);
  EXPECT_EQ(read(cat("ingest/sha256-", digest.hex())), "");
}

TEST_F(StoreTest, a_blob_is_not_committed_before_it_is_whole) {
  const Digest digest = digest_of("hello");
  auto ingest = run(store().begin_ingest(loop(), digest, 5));
  ASSERT_TRUE(ingest && sys::write_all(ingest->file(), "hell", "part"));
  const auto committed = run(store().commit(loop(), *std::move(ingest)));
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().kind(), Kind::Invalid);
  EXPECT_FALSE(store().blob_size(digest));
}

TEST_F(StoreTest, a_discarded_ingest_leaves_nothing) {
  auto ingest = run(store().begin_ingest(loop(), digest_of("hello"), 5));
  ASSERT_TRUE(ingest && sys::write_all(ingest->file(), "wrong", "part"));
  store().discard(*std::move(ingest));
  EXPECT_TRUE(names_in("ingest").empty());
}

TEST_F(StoreTest, waiting_for_anothers_ingest_can_be_given_up) {
  const auto first = run(store().begin_ingest(loop(), digest_of("hello"), 5));
  ASSERT_TRUE(first);
  const auto second = run(ring::with_deadline(
      loop(), store().begin_ingest(loop(), digest_of("hello"), 5), std::chrono::milliseconds(60)));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind(), Kind::Unavailable);
}

// Workspaces. ------------------------------------------------------------------------------------

TEST_F(StoreTest, takes_over_a_file_of_a_workspace) {
  const Digest digest = digest_of("hello");
  {
    auto workspace = store().make_workspace();
    ASSERT_TRUE(workspace) << workspace.error().message();
    ASSERT_TRUE(sys::replace_file_at(workspace->directory().get(), "x", "hello", 0644));
    ASSERT_EQ(::mkdirat(workspace->directory().get(), "left", 0700), 0);
    const auto adopted = run(store().adopt_blob(loop(), *workspace, "x", digest, 5));
    ASSERT_TRUE(adopted) << adopted.error().message();
  }
  EXPECT_TRUE(names_in("ingest").empty());
  struct stat status;
  ASSERT_EQ(::stat(in_store(cat("content/blobs/sha256/", digest.hex())).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(StoreTest, takes_over_nothing_but_a_file_of_that_size_in_the_workspace) {
  auto workspace = store().make_workspace();
  ASSERT_TRUE(workspace);
  const int directory = workspace->directory().get();
  ASSERT_TRUE(sys::replace_file_at(directory, "short", "hell", 0644));
  ASSERT_TRUE(sys::replace_file_at(directory, "twice", "hello", 0644));
  ASSERT_EQ(::linkat(directory, "twice", directory, "again", 0), 0);
  ASSERT_EQ(::symlinkat("/etc/passwd", directory, "link"), 0);
  ASSERT_EQ(::mkfifoat(directory, "fifo", 0600), 0);
  ASSERT_EQ(::mkdirat(directory, "directory", 0700), 0);
  for (const char* name : {"short", "twice", "link", "fifo", "directory", "missing", "../lock",
                           "/etc/passwd", "", "."}) {
    EXPECT_FALSE(run(store().adopt_blob(loop(), *workspace, name, digest_of("hello"), 5))) << name;
  }
  EXPECT_TRUE(names_in("content/blobs/sha256").empty());
}

TEST_F(StoreTest, takes_over_nothing_under_a_foreign_digest) {
  auto workspace = store().make_workspace();
  ASSERT_TRUE(workspace);
  const int directory = workspace->directory().get();
  const std::string large((5u << 20) + 3, 'x');
  ASSERT_TRUE(sys::replace_file_at(directory, "evil", "evil!", 0644));
  ASSERT_TRUE(sys::replace_file_at(directory, "large", large, 0644));
  for (const auto algorithm : {codec::DigestAlgorithm::Sha256, codec::DigestAlgorithm::Sha512}) {
    const Digest victim = codec::digest_of("hello", algorithm);
    const auto adopted = run(store().adopt_blob(loop(), *workspace, "evil", victim, 5));
    ASSERT_FALSE(adopted);
    EXPECT_EQ(adopted.error().kind(), Kind::Internal);
    EXPECT_FALSE(store().has_blob(victim, 5));
  }
  std::string other = large;
  other.back() = 'y';
  EXPECT_FALSE(
      run(store().adopt_blob(loop(), *workspace, "large", digest_of(other), large.size())));
  EXPECT_TRUE(run(store().adopt_blob(loop(), *workspace, "large", digest_of(large), large.size())));
}

// Goal: a gc that takes a workspace before it is locked is no error. Method: a process that removes
// every workspace as soon as it sees it, as long as nobody has its lock.
TEST_F(StoreTest, a_workspace_that_is_taken_before_it_is_locked_is_made_again) {
  const pid_t taker = start_process([&] {
    for (;;) {
      const auto names = image::list_directory(store().ingest_directory());
      for (const std::string& name : *names) {
        const auto directory =
            sys::open_at(store().ingest_directory().get(), name.c_str(), O_RDONLY | O_DIRECTORY);
        if (directory && image::try_lock(*directory).value_or(false)) {
          ::unlinkat(store().ingest_directory().get(), name.c_str(), AT_REMOVEDIR);
        }
      }
    }
    return 0;
  });
  for (int count = 0; count < 3000 && !HasFailure(); ++count) {
    const auto workspace = store().make_workspace();
    EXPECT_TRUE(workspace) << workspace.error().message();
    if (!workspace) break;
    EXPECT_TRUE(image::is_still_named(workspace->directory(), store().ingest_directory(),
                                      names_in("ingest")[0].c_str()));
  }
  ::kill(taker, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(wait_for(taker)));
}

// Names. -----------------------------------------------------------------------------------------

TEST_F(StoreTest, an_image_is_found_by_what_people_type) {
  const MadeImage made = add({"one"}, "busybox:1.36");
  const std::string id(made.record.id().hex());
  ASSERT_TRUE(run(store().tag(
      loop(),
      {made.record.descriptor, {}, cat("docker.io/library/busybox@", digest_of("x").text())})));
  for (const std::string& text :
       {std::string("busybox:1.36"), std::string("docker.io/library/busybox:1.36"),
        std::string("library/busybox:1.36"), id, id.substr(0, 12), id.substr(0, 1), "sha256:" + id,
        "sha256:" + id.substr(0, 7), made.record.descriptor.digest.text(),
        "busybox@" + made.record.descriptor.digest.text(), "busybox@" + digest_of("x").text()}) {
    const auto found = store().find(text);
    ASSERT_TRUE(found) << text << ": " << found.error().message();
    EXPECT_EQ(found->manifest.digest, made.record.descriptor.digest) << text;
    EXPECT_EQ(found->names, std::vector<std::string>{"docker.io/library/busybox:1.36"});
  }
}

TEST_F(StoreTest, what_is_not_there_is_named_as_docker_names_it) {
  const MadeImage made = add({"one"}, "busybox:1.36");
  const struct {
    std::string text, message;
  } cases[] = {
      {"busybox", "No such image: busybox:latest"},
      {"docker.io/library/busybox", "No such image: busybox:latest"},
      {"localhost:5000/a/b:1", "No such image: localhost:5000/a/b:1"},
      {"busybox:1.3", "No such image: busybox:1.3"},
      {"UPPER", "No such image: UPPER"},
      {"", "No such image: "},
      {"../../etc/passwd", "No such image: ../../etc/passwd"},
      {"other@" + made.record.descriptor.digest.text(),
       "No such image: other@" + made.record.descriptor.digest.text()},
  };
  for (const auto& each : cases) {
    const auto found = store().find(each.text);
    ASSERT_FALSE(found) << each.text;
    EXPECT_EQ(found.error().kind(), Kind::NotFound);
    EXPECT_EQ(found.error().message(), each.message);
  }
}

TEST_F(StoreTest, an_ambiguous_id_names_the_candidates) {
  std::vector<MadeImage> images;
  for (int at = 0; at < 17; ++at) images.push_back(add({cat("layer ", at)}, cat("image", at)));
  // Of 17 ids, two begin alike.
  std::string shared;
  for (const MadeImage& one : images) {
    for (const MadeImage& other : images) {
      if (&one != &other && one.record.id().hex()[0] == other.record.id().hex()[0]) {
        shared = one.record.id().hex().substr(0, 1);
      }
    }
  }
  ASSERT_FALSE(shared.empty());
  const auto found = store().find(shared);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind(), Kind::Conflict);
  for (const MadeImage& each : images) {
    const bool named = found.error().message().find(each.record.id().text()) != std::string::npos;
    if (each.record.id().hex().starts_with(shared)) EXPECT_TRUE(named) << found.error().message();
  }
}

TEST_F(StoreTest, a_name_is_more_than_the_beginning_of_an_id) {
  const MadeImage first = add({"one"}, "x");
  const MadeImage second = add({"two"}, std::string(first.record.id().hex().substr(0, 4)));
  EXPECT_EQ(store().find(first.record.id().hex().substr(0, 4)).value().manifest.digest,
            second.record.descriptor.digest);
}

TEST_F(StoreTest, a_name_that_moves_leaves_its_image_behind_without_one) {
  const MadeImage old = add({"one"}, "busybox");
  const MadeImage young = add({"two"}, "busybox:latest");
  const auto images = store().images().value();
  ASSERT_EQ(images.size(), 2u);
  EXPECT_EQ(images[0].manifest.digest, old.record.descriptor.digest);
  EXPECT_TRUE(images[0].names.empty());
  EXPECT_EQ(images[1].names, std::vector<std::string>{"docker.io/library/busybox:latest"});
  EXPECT_TRUE(store().find(old.record.id().text()));
  ASSERT_TRUE(run(store().tag(loop(), {old.record.descriptor, "busybox", {}})));
  EXPECT_EQ(store().find("busybox").value().manifest.digest, old.record.descriptor.digest);
  EXPECT_EQ(store().images().value().size(), 2u);
}

TEST_F(StoreTest, an_image_has_many_names_and_goes_with_the_last) {
  const MadeImage made = add({"one"}, "a");
  ASSERT_TRUE(run(store().tag(loop(), {made.record.descriptor, "b:2", {}})));
  ASSERT_TRUE(run(store().tag(loop(), {made.record.descriptor, "b:2", {}}))) << "twice is once";
  ASSERT_EQ(store().images().value().size(), 1u);
  EXPECT_EQ(store().images().value()[0].names.size(), 2u);
  ASSERT_TRUE(run(store().untag(loop(), "a")));
  EXPECT_EQ(store().images().value()[0].names, std::vector<std::string>{"docker.io/library/b:2"});
  ASSERT_TRUE(run(store().untag(loop(), "b:2")));
  EXPECT_TRUE(store().images().value().empty());
  EXPECT_FALSE(run(store().untag(loop(), "b:2")));
}

TEST_F(StoreTest, an_image_may_stay_without_its_last_name) {
  const MadeImage made = add({"one"}, "a");
  ASSERT_TRUE(run(store().untag(loop(), "a", Store::LastName::KeepImage)));
  ASSERT_EQ(store().images().value().size(), 1u);
  EXPECT_TRUE(store().images().value()[0].names.empty());
  ASSERT_TRUE(run(store().remove(loop(), made.record.descriptor.digest)));
  EXPECT_TRUE(store().images().value().empty());
  EXPECT_EQ(run(store().remove(loop(), made.record.descriptor.digest)).error().kind(),
            Kind::NotFound);
}

TEST_F(StoreTest, repository_digests_stay_when_names_go) {
  const MadeImage made = make_image({"one"});
  const std::string digest = cat("docker.io/library/a@", digest_of("index").text());
  ASSERT_TRUE(run(store_image(loop(), store(), made, "a")));
  ASSERT_TRUE(run(store().tag(loop(), {made.record.descriptor, "a", digest})));
  ASSERT_TRUE(run(store().tag(loop(), {made.record.descriptor, "b", {}})));
  ASSERT_TRUE(run(store().untag(loop(), "a")));
  EXPECT_EQ(store().images().value()[0].repo_digests, std::vector<std::string>{digest});
}

TEST_F(StoreTest, refuses_names_that_are_none) {
  const MadeImage made = add({"one"}, "a");
  for (const std::string& name :
       {std::string("UPPER"), std::string("a:"), std::string("a b"), std::string("../a"),
        "a@" + digest_of("x").text(), std::string(300, 'a')}) {
    EXPECT_FALSE(run(store().tag(loop(), {made.record.descriptor, name, {}}))) << name;
    EXPECT_FALSE(run(store().untag(loop(), name))) << name;
  }
  EXPECT_FALSE(run(store().tag(loop(), {made.record.descriptor, {}, "no digest"})));
  EXPECT_FALSE(run(store().tag(loop(), {{}, "a", {}})));
  EXPECT_EQ(store().images().value().size(), 1u);
}

TEST_F(StoreTest, a_digest_is_never_taken_for_a_name) {
  const MadeImage victim = add({"one"}, "victim");
  const MadeImage thief = add({"two"}, "thief");
  const std::string id = victim.record.id().text();
  const std::string manifest = victim.record.descriptor.digest.text();
  const std::string long_one = cat("sha512:", std::string(128, 'a'));
  for (const std::string& name :
       {id, manifest, long_one, std::string("sha256:latest"), std::string("sha256"),
        std::string("docker.io/library/sha512:x")}) {
    const auto tagged = run(store().tag(loop(), {thief.record.descriptor, name, {}}));
    ASSERT_FALSE(tagged) << name;
    EXPECT_EQ(tagged.error().kind(), Kind::Invalid);
    EXPECT_EQ(tagged.error().message(),
              "refusing to create an ambiguous tag using digest algorithm as name");
  }
  ASSERT_TRUE(run(store().tag(loop(), {thief.record.descriptor, "localhost/sha256:x", {}})));
  // Another tool may write such names all the same.
  for (const std::string& name : {id, manifest, long_one}) {
    std::string index = read("content/index.json");
    const std::string entry =
        cat(R"({"digest":")", thief.record.descriptor.digest.text(), R"(","size":)",
            thief.record.descriptor.size,
            R"(,"annotations":{"org.opencontainers.image.ref.name":")", name, R"("}},)");
    index.insert(index.find('[') + 1, entry);
    write("content/index.json", index);
  }
  EXPECT_EQ(store().find(id).value().manifest.digest, victim.record.descriptor.digest);
  EXPECT_EQ(store().find(manifest).value().manifest.digest, victim.record.descriptor.digest);
  EXPECT_EQ(store().find(long_one).error().kind(), Kind::NotFound);
  EXPECT_TRUE(run(store().untag(loop(), id))) << "such a name can be taken away";
}

TEST_F(StoreTest, an_image_is_found_by_its_manifest_of_either_algorithm) {
  const MadeImage made = add({"one"}, "a");
  EXPECT_EQ(store().find(made.record.descriptor.digest).value().names.size(), 1u);
  EXPECT_EQ(store().find(made.record.id()).error().kind(), Kind::NotFound) << "not by its id";
  EXPECT_EQ(store().find(Digest()).error().kind(), Kind::NotFound);
  oci::Descriptor other = made.record.descriptor;
  other.digest = codec::digest_of(made.manifest, codec::DigestAlgorithm::Sha512);
  ASSERT_TRUE(run(store().tag(loop(), {other, "b", {}})));
  EXPECT_EQ(store().find(other.digest).value().manifest.digest, other.digest);
  EXPECT_EQ(store().find(other.digest.text()).value().manifest.digest, other.digest);
}

TEST_F(StoreTest, an_image_with_other_names_than_were_seen_is_not_removed) {
  const MadeImage made = add({"one"}, "a");
  const Digest& digest = made.record.descriptor.digest;
  const std::string a = "docker.io/library/a:latest", b = "docker.io/library/b:latest";
  ASSERT_TRUE(run(store().tag(loop(), {made.record.descriptor, "b", {}})));
  for (const std::vector<std::string>& seen :
       {std::vector<std::string>{}, {a}, {b}, {a, b, a}, {"a", "b"}}) {
    const auto removed = run(store().remove(loop(), digest, seen));
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().kind(), Kind::Conflict);
    EXPECT_TRUE(removed.error().message().ends_with("was given another name meanwhile"));
  }
  EXPECT_EQ(run(store().remove(loop(), digest_of("x"), {})).error().kind(), Kind::NotFound);
  ASSERT_EQ(store().images().value().size(), 1u);
  ASSERT_TRUE(run(store().remove(loop(), digest, {b, a}))) << "in whatever order";
  EXPECT_TRUE(store().images().value().empty());
}

TEST_F(StoreTest, what_was_removed_meanwhile_gets_no_name) {
  const MadeImage made = add({"one"}, "a");
  const std::string digest = cat("a@", digest_of("index").text());
  ASSERT_TRUE(run(store().tag(loop(), {made.record.descriptor, "b", {}, true})));
  ASSERT_TRUE(run(store().tag(loop(), {made.record.descriptor, {}, digest, true})));
  ASSERT_TRUE(run(store().remove(loop(), made.record.descriptor.digest)));
  for (const image::TagRequest& request :
       {image::TagRequest{made.record.descriptor, "c", {}, true},
        image::TagRequest{made.record.descriptor, {}, digest, true}}) {
    const auto tagged = run(store().tag(loop(), request));
    ASSERT_FALSE(tagged);
    EXPECT_EQ(tagged.error().kind(), Kind::NotFound);
  }
  EXPECT_TRUE(store().images().value().empty());
}

TEST_F(StoreTest, a_repo_digest_is_taken_away_and_the_image_with_the_last) {
  const MadeImage named = add({"one"}, "a");
  const MadeImage nameless = make_image({"two"});
  const std::string first = cat("docker.io/library/a@", digest_of("first").text());
  const std::string second = cat("docker.io/library/a@", digest_of("second").text());
  ASSERT_TRUE(run(store().tag(loop(), {named.record.descriptor, {}, first})));
  ASSERT_TRUE(run(store().tag(loop(), {nameless.record.descriptor, {}, second})));
  ASSERT_TRUE(run(store().tag(loop(), {nameless.record.descriptor, {}, first})));
  ASSERT_TRUE(run(store().forget_digest(loop(), cat("a@", digest_of("first").text()))));
  const auto images = store().images().value();
  ASSERT_EQ(images.size(), 2u);
  EXPECT_TRUE(images[0].repo_digests.empty());
  EXPECT_EQ(images[1].repo_digests, std::vector<std::string>{second});
  EXPECT_EQ(run(store().forget_digest(loop(), first)).error().kind(), Kind::NotFound);
  EXPECT_EQ(run(store().forget_digest(loop(), "a:latest")).error().kind(), Kind::Invalid);
  ASSERT_TRUE(run(store().forget_digest(loop(), second)));
  ASSERT_EQ(store().images().value().size(), 1u);
  EXPECT_EQ(store().images().value()[0].manifest.digest, named.record.descriptor.digest);
}

// Records. ---------------------------------------------------------------------------------------

TEST_F(StoreTest, a_record_comes_back_as_it_was) {
  const MadeImage made = add({"one", "two"}, "a");
  const auto record = store().find_record(made.record.descriptor.digest);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->id(), made.record.id());
  EXPECT_EQ(record->config, made.record.config);
  EXPECT_FALSE(store().find_record(digest_of("other")));
  EXPECT_FALSE(store().find_record(Digest()));
  EXPECT_FALSE(store().put_record({}));
}

TEST_F(StoreTest, a_damaged_record_is_no_record) {
  const MadeImage made = add({"one"}, "a");
  const Digest& digest = made.record.descriptor.digest;
  const std::string where = cat("images/", digest.hex());
  const std::string whole = read(where);
  for (size_t at = 0; at < whole.size(); at += 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    write(where, damaged);
    EXPECT_FALSE(store().find_record(digest)) << "byte " << at;
  }
  for (const std::string& damaged : {std::string(), std::string(whole.size(), '\0'),
                                     whole.substr(0, whole.size() / 2), whole + "x"}) {
    write(where, damaged);
    EXPECT_FALSE(store().find_record(digest));
  }
  write(where, whole);
  EXPECT_TRUE(store().find_record(digest));
  write(cat("images/", digest_of("other").hex()), whole);
  EXPECT_FALSE(store().find_record(digest_of("other"))) << "another image's record";
}

// Trees. -----------------------------------------------------------------------------------------

TEST_F(StoreTest, a_deep_and_a_wide_tree_are_removed_with_few_descriptors) {
  Fd at = sys::open_at(sys::working_directory, directory_.c_str(), O_RDONLY | O_DIRECTORY).value();
  const Fd top = sys::open_at(at.get(), ".", O_RDONLY | O_DIRECTORY).value();
  for (int depth = 0; depth < 3000; ++depth) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0700), 0);
    at = sys::open_at(at.get(), "d", O_RDONLY | O_DIRECTORY).value();
  }
  at = sys::open_at(top.get(), "d", O_RDONLY | O_DIRECTORY).value();
  for (int count = 0; count < 3000; ++count) {
    ASSERT_TRUE(sys::replace_file_at(at.get(), cat("f", count).c_str(), "x", 0600));
    ASSERT_EQ(::mkdirat(at.get(), cat(".", count).c_str(), 0700), 0);
  }
  ASSERT_EQ(::symlinkat("/tmp", at.get(), "link"), 0);
  ASSERT_TRUE(run(image::remove_tree(loop(), top, "d")));
  EXPECT_EQ(::faccessat(top.get(), "d", F_OK, 0), -1);
  EXPECT_TRUE(run(image::remove_tree(loop(), top, "d"))) << "it is gone already";
}

}  // namespace
}  // namespace nacelle::test
