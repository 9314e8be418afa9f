// The same job inside nacelle-worker's sandbox: names, TLS, threads and pipes work in there, too.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "base/text.h"
#include "image/worker.h"
#include "nacelle/loop.h"
#include "tests/root/image_registry/registry_fixture.h"

namespace nacelle::image {
namespace {

template <class Request>
ring::Task<typename Request::Reply> ask(Worker& worker, Request request,
                                        std::vector<const Fd*> descriptors) {
  co_return co_await worker.call(std::move(request), std::move(descriptors));
}

class RegistryWorker : public testing::Test {
 protected:
  RegistryWorker() {
    ::setenv("NACELLE_WORKER", NACELLE_BUILT_WORKER, 1);
    loop_ = *ring::Loop::open();
    auto worker = Worker::start(*loop_, {.kind = WorkerKind::Registry});
    EXPECT_TRUE(worker) << worker.error().message();
    worker_ = std::make_unique<Worker>(*std::move(worker));
  }
  template <class Request>
  Result<typename Request::Reply> run(Request request, std::vector<const Fd*> descriptors = {}) {
    return loop_->run(ask(*worker_, std::move(request), std::move(descriptors)));
  }

  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(RegistryWorker, reads_an_image_over_tls_by_name) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = to(evil.tls_url(), "cut-worker");
  request.system_ca_pem = evil.ca_pem();
  ASSERT_TRUE(run(request));
  const auto manifest = run(FetchManifestRequest{"latest"});
  ASSERT_TRUE(manifest) << manifest.error().message();
  EXPECT_EQ(manifest->bytes, evil.content().manifest);
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd out(ends[0]);
  std::string seen;
  std::thread reader([&] {
    char buffer[65536];
    ssize_t size;
    while ((size = ::read(out.get(), buffer, sizeof buffer)) > 0) {
      seen.append(buffer, static_cast<size_t>(size));
    }
  });
  const Fd file = blob_file();
  {
    const Fd in(ends[1]);
    const auto blob = run(evil.content().layer_request(), {&file, &in});
    EXPECT_TRUE(blob) << blob.error().message();
  }
  reader.join();
  EXPECT_TRUE(seen == evil.content().layer);
  EXPECT_TRUE(text_of(file) == evil.content().layer);
}

TEST_F(RegistryWorker, hands_an_error_on_as_it_was_made) {
  ASSERT_TRUE(run(to(EvilRegistries::get().url(), "metadata")));
  const auto refused = run(FetchManifestRequest{"latest"});
  ASSERT_FALSE(refused);
  expect_refusal(refused.error(), Kind::Denied, "link-local", "metadata");
  // It is still of use.
  ASSERT_TRUE(run(to(EvilRegistries::get().url(), "good")));
  EXPECT_TRUE(run(FetchManifestRequest{"latest"}));
}

TEST_F(RegistryWorker, pushes_a_blob) {
  EvilRegistries& evil = EvilRegistries::get();
  RegistryOpenRequest request = to(evil.url(), "upload");
  request.push = true;
  ASSERT_TRUE(run(request));
  const Fd file = blob_file(evil.content().layer);
  const auto reply =
      run(PushBlobRequest{evil.content().layer_digest, evil.content().layer.size()}, {&file});
  ASSERT_TRUE(reply) << reply.error().message();
  EXPECT_EQ(reply->how, PushBlobRequest::Reply::How::Uploaded);
}

TEST_F(RegistryWorker, says_that_a_name_is_unknown) {
  ASSERT_TRUE(run(to("http://nobody.invalid:5000", "app")));
  const auto reply = run(FetchManifestRequest{"latest"});
  ASSERT_FALSE(reply);
  expect_refusal(reply.error(), Kind::Unavailable, "Could not resolve host: nobody.invalid",
                 "name");
}

}  // namespace
}  // namespace nacelle::image
