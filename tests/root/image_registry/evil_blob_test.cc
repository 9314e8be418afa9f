// Blobs from a registry that cuts, lies and stalls.
#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "base/text.h"
#include "tests/root/image_registry/registry_fixture.h"

namespace nacelle::image {
namespace {

Result<FetchBlobRequest::Reply> fetch_layer(RegistryJob& job, const Fd& file, const Fd& pipe = {}) {
  CountingAsker asker;
  return job.fetch(EvilRegistries::get().content().layer_request(), file, pipe, asker);
}

TEST(EvilBlob, that_is_cut_off_goes_on_where_it_was_cut) {
  EvilRegistries& evil = EvilRegistries::get();
  for (const char* how : {"good", "cut", "cut-no-range", "blob-elsewhere", "wrong-once"}) {
    const Fd file = blob_file();
    CountingAsker asker;
    const auto reply = evil.job(how)->fetch(evil.content().layer_request(), file, Fd(), asker);
    ASSERT_TRUE(reply) << how << ": " << reply.error().message();
    EXPECT_TRUE(text_of(file) == evil.content().layer) << how;
    EXPECT_EQ(asker.last, evil.content().layer.size());
    // No byte was paid for twice, but those that were wrong.
    const size_t times = std::string_view(how) == "wrong-once" ? 2 : 1;
    EXPECT_EQ(reply->downloaded, times * evil.content().layer.size()) << how;
  }
  EXPECT_TRUE(evil.log("first").contains("GET /v2/cut/blobs/"));
}

TEST(EvilBlob, goes_on_from_what_an_earlier_job_left) {
  EvilRegistries& evil = EvilRegistries::get();
  const std::string& layer = evil.content().layer;
  for (const size_t there : {size_t(1), size_t(100'000), layer.size() - 1, layer.size()}) {
    const Fd file = blob_file(layer.substr(0, there));
    const auto reply = fetch_layer(*evil.job("good"), file);
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_EQ(reply->downloaded, layer.size() - there);
    EXPECT_TRUE(text_of(file) == layer);
  }
  // What was left is wrong, or too long: the whole is fetched.
  for (const std::string& left :
       {std::string(1000, 'x'), layer + "x", std::string(layer.size(), 'x')}) {
    const Fd file = blob_file(left);
    const auto reply = fetch_layer(*evil.job("good"), file);
    ASSERT_TRUE(reply) << reply.error().message();
    EXPECT_TRUE(text_of(file) == layer);
  }
}

TEST(EvilBlob, is_refused_in_words_and_nothing_wrong_is_left) {
  const struct {
    const char* how;
    Kind kind;
    const char* words;
  } cases[] = {
      {"wrong-bytes", Kind::Invalid, "the bytes have another digest"},
      {"longer", Kind::Invalid, "with 300001 bytes, where the descriptor says 300000 bytes"},
      {"shorter", Kind::Invalid, "with 299999 bytes"},
      {"longer-unsaid", Kind::Invalid, "more than the 300000 bytes"},
      {"shorter-unsaid", Kind::Unavailable, "cut off after"},
      {"part-unasked", Kind::Invalid, "a part that nobody asked for"},
      {"no-content", Kind::Invalid, "with status 204"},
      {"gzip", Kind::Invalid, "where the descriptor says"},
      {"absent", Kind::NotFound, "not found"},
      {"cut-lying-range", Kind::Invalid, "another part than was asked for"},
      {"cut-lying-total", Kind::Invalid, "another part than was asked for"},
      {"cut-mad-range", Kind::Invalid, "Content-Range"},
      {"cut-missing-range", Kind::Invalid, "Content-Range"},
      {"cut-416", Kind::Invalid, "less than the 300000 bytes"},
      {"cut-silent", Kind::Unavailable, ""},
      {"trickle", Kind::Unavailable, "stalled"},
  };
  EvilRegistries& evil = EvilRegistries::get();
  for (const auto& each : cases) {
    const Fd file = blob_file();
    auto patience = little_patience();
    if (std::string_view(each.how) == "trickle") patience.attempts = 1;
    const auto reply = fetch_layer(*open_job(to(evil.url(), each.how), patience), file);
    ASSERT_FALSE(reply) << each.how;
    expect_refusal(reply.error(), each.kind, each.words, each.how);
    const std::string left = text_of(file);
    EXPECT_LE(left.size(), evil.content().layer.size());
    if (std::string_view(each.how) == "wrong-bytes") EXPECT_EQ(left, "");
    if (std::string_view(each.how) == "cut-silent") {
      EXPECT_TRUE(left == evil.content().layer.substr(0, left.size()));
      EXPECT_EQ(left.size(), evil.content().layer.size() / 2);
    }
  }
}

// Method: of these names the first server makes a half or wrong blob, the second one the right one.
TEST(EvilBlob, of_a_mirror_is_finished_by_the_next_one) {
  EvilRegistries& evil = EvilRegistries::get();
  for (const char* how : {"half-mirror", "wrong-mirror"}) {
    RegistryOpenRequest request = to(evil.url(), how);
    request.endpoints.push_back({.url = evil.other_url()});
    const Fd file = blob_file();
    const auto reply = fetch_layer(*open_job(request), file);
    ASSERT_TRUE(reply) << how << ": " << reply.error().message();
    EXPECT_TRUE(text_of(file) == evil.content().layer) << how;
    // What the first one had right was kept.
    const size_t times = std::string_view(how) == "wrong-mirror" ? 2 : 1;
    EXPECT_EQ(reply->downloaded, times * evil.content().layer.size()) << how;
    EXPECT_TRUE(evil.log("first").contains(cat("GET /v2/", how, "/blobs/"))) << how;
  }
}

TEST(EvilBlob, reaches_a_pipe_from_its_first_byte) {
  EvilRegistries& evil = EvilRegistries::get();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd out(ends[0]);
  std::string seen;
  std::thread reader([&] {
    char buffer[7000];
    ssize_t size;
    while ((size = ::read(out.get(), buffer, sizeof buffer)) > 0) {
      seen.append(buffer, static_cast<size_t>(size));
      ::usleep(500);  // slower than the sender
    }
  });
  {
    const Fd in(ends[1]);
    const Fd file = blob_file(evil.content().layer.substr(0, 12'345));
    const auto reply = fetch_layer(*evil.job("cut-again"), file, in);
    EXPECT_TRUE(reply) << reply.error().message();
  }
  reader.join();
  EXPECT_TRUE(seen == evil.content().layer);
}

TEST(EvilBlob, whose_reader_has_gone_ends_with_an_error) {
  EvilRegistries& evil = EvilRegistries::get();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ::close(ends[0]);
  const Fd in(ends[1]);
  const auto reply = fetch_layer(*evil.job("good"), blob_file(), in);
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Cancelled, "has gone", "pipe");
}

// A wrong byte that went through the pipe cannot be taken back.
TEST(EvilBlob, with_another_digest_is_not_fetched_again_into_the_same_pipe) {
  EvilRegistries& evil = EvilRegistries::get();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd out(ends[0]);
  std::thread reader([&] {
    char buffer[65536];
    while (::read(out.get(), buffer, sizeof buffer) > 0) {
    }
  });
  const Fd file = blob_file();
  {
    const Fd in(ends[1]);
    const auto reply = fetch_layer(*evil.job("wrong-bytes"), file, in);
    EXPECT_FALSE(reply);
    if (!reply) expect_refusal(reply.error(), Kind::Invalid, "another digest", "pipe");
  }
  reader.join();
  EXPECT_EQ(text_of(file), "");
}

TEST(EvilBlob, that_does_not_fit_the_file_is_an_error_of_the_file) {
  EvilRegistries& evil = EvilRegistries::get();
  const Fd full(::open("/dev/full", O_RDWR | O_CLOEXEC));
  const auto reply = fetch_layer(*evil.job("good"), full);
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().error_number(), ENOSPC) << reply.error().message();
}

TEST(EvilBlob, that_is_slow_or_cut_for_ever_is_given_up) {
  EvilRegistries& evil = EvilRegistries::get();
  auto patience = little_patience();
  patience.floor_time = std::chrono::seconds(1);
  patience.attempts = 2;
  auto reply = fetch_layer(*open_job(to(evil.url(), "slow"), patience), blob_file());
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Unavailable, "too slow: ", "slow");
  patience = little_patience();
  patience.attempts = 100;
  patience.attempts_per_blob = 7;
  reply = fetch_layer(*open_job(to(evil.url(), "cut-often"), patience), blob_file());
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Exhausted, "given up after 7 attempts", "cut-often");
}

}  // namespace
}  // namespace nacelle::image
