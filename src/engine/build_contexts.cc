// Files that a build takes from outside: its context, and those that a request gives names of their
// own. They come as archives, from whoever asks for the build or from a server, and a worker
// unpacks them.
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <utility>

#include "base/text.h"
#include "build/git_source.h"
#include "codec/compression.h"
#include "codec/tar_header.h"
#include "engine/build_state.h"
#include "image/remote_file.h"
#include "oci/reference.h"
#include "sys/file.h"
#include "sys/mount_api.h"

namespace nacelle::engine {
namespace {

constexpr std::chrono::hours silence_max{24};
constexpr const char* dockerfile_name = "Dockerfile";

// By its first bytes. What it really is a worker finds out.
Result<bool> looks_like_archive(const Fd& file) {
  std::array<char, codec::tar::block_bytes> head{};
  const ssize_t got = ::pread(file.get(), head.data(), head.size(), 0);
  if (got < 0) return fail_errno(errno, "pread");
  const std::string_view bytes(head.data(), static_cast<size_t>(got));
  if (codec::detect_compression(bytes) != codec::Compression::None) return true;
  return bytes.size() == head.size() && codec::tar::Block(head.data()).sum_is_right();
}

}  // namespace

ring::Task<> Build::take_archive(Files& files, const Fd& archive) {
  const int parent = workspace_.directory().get();
  const std::string name = cat("context-", scratches_++);
  co_await sys::make_directory_at(parent, name.c_str(), 0755);
  files.directory =
      co_await sys::open_at(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  image::WorkerOptions options;
  options.kind = image::WorkerKind::Files;
  options.root = &files.directory;
  options.silence_max = silence_max;
  options.standstill_max = silence_max;
  image::Worker worker = co_await image::Worker::start(engine_.loop, options);
  image::WritePathRequest request;
  request.path = "/";
  auto written = co_await ring::as_result(worker.call(std::move(request), {&archive}));
  if (!written && written.error().kind() == Kind::Cancelled) co_await std::move(written);
  (void)co_await ring::as_result(worker.stop());
  if (!written) {
    co_await fail(written.error().kind(),
                  cat("Error processing tar file: ", written.error().message()));
  }
}

ring::Task<> Build::take_context(const Fd& archive) {
  co_await take_archive(context_, archive);
  context_.is_here = true;
}

ring::Task<> Build::need_context() {
  if (!context_.is_here && request_.context.is_set()) co_await need(context_, request_.context);
}

// The first step that needs them asks for them. Where they do not come the build fails, and with it
// whoever waits.
ring::Task<> Build::need(Files& files, const BuildSource& source) {
  if (files.is_here) co_return;
  if (std::exchange(files.is_coming, true)) {
    while (!files.is_here) co_await changed_.wait();
    co_return;
  }
  co_await (source.send ? take_sent(files, source) : take_fetched(files, source.url));
  files.is_here = true;
  changed_.notify_all();
}

ring::Task<> Build::take_sent(Files& files, const BuildSource& source) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) co_await fail_errno(errno, "pipe2");
  const Fd archive(ends[0]);
  Result<> sent;
  ring::Scope sending(engine_.loop, [&](const Error& error) { sent = std::unexpected(error); });
  sending.start(source.send(Fd(ends[1])));
  Result<> taken = co_await ring::as_result(take_archive(files, archive));
  if (!taken) sending.cancel();
  co_await sending.join();
  co_await std::move(sent);
  co_await std::move(taken);
}

// As BuildKit has it: https://docs.docker.com/build/building/variables
bool Build::keeps_git_of_contexts() const {
  const auto asked = request_.arguments.find("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
  return asked != request_.arguments.end() && (asked->second == "1" || asked->second == "true");
}

// What is no archive is a directory of one file, and as the context the Dockerfile.
ring::Task<> Build::take_fetched(Files& files, const std::string& url) {
  if (const auto source = co_await build::parse_git_source(url)) {
    Repository repository;
    co_await clone(repository, *source, source->keep_git_dir.value_or(keeps_git_of_contexts()));
    files.directory = std::move(repository.directory);
    co_return;
  }
  Fetched file;
  file.url = url;
  file.name = co_await image::remote_file_name(url);
  const bool is_context = &files == &context_;
  if (is_context) file.name = dockerfile_name;
  const Result<> came = co_await ring::as_result(fetch(file, {}));
  co_await Result<>(came).context("downloading a remote context");
  const Fd fetched = co_await sys::open_at(fetched_.get(), file.path.c_str(), O_RDONLY);
  if (co_await looks_like_archive(fetched)) {
    co_await take_archive(files, fetched);
    co_return;
  }
  if (is_context) request_.dockerfile = dockerfile_name;
  const std::string directory = file.path.substr(0, file.path.find('/'));
  files.directory =
      co_await sys::open_at(fetched_.get(), directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

// Names of their own. ----------------------------------------------------------------------------

// Clients write them as an image's name is shown, without what it is called by default.
const BuildSource* Build::find_source(const std::string& name) const {
  if (request_.contexts.empty()) return nullptr;
  auto found = request_.contexts.find(name);
  if (const auto reference = oci::parse_reference(name);
      found == request_.contexts.end() && reference) {
    constexpr std::string_view by_default = ":latest";
    std::string shown = reference->familiar();
    if (shown.ends_with(by_default)) shown.resize(shown.size() - by_default.size());
    found = request_.contexts.find(shown);
  }
  return found == request_.contexts.end() ? nullptr : &found->second;
}

ring::Task<Fd> Build::open_files(const std::string& name, const BuildSource& source) {
  Files& files = named_[name];
  co_await need(files, source);
  co_return co_await open_tree_of(files);
}

ring::Task<Fd> Build::open_tree_of(const Files& files) {
  Fd mount = co_await sys::clone_mount(files.directory);
  co_await sys::set_mount_attributes(mount, MOUNT_ATTR_RDONLY);
  co_return mount;
}

bool Build::counts_owners(const Origin* from) const {
  if (from == nullptr) return false;
  const BuildSource* const source = from->stage ? nullptr : find_source(from->image);
  return source == nullptr || !source->image.empty();
}

// FROM files: as from nothing, with all of them in it.
ring::Task<> Build::begin_from_files(BuildStage& stage, std::string name, oci::Platform platform) {
  oci::ImageConfig config;
  config.platform = std::move(platform);
  stage.record = image::Images::draft({}, std::move(config));
  const std::vector<Origin> from{{.stage = std::nullopt, .image = std::move(name)}};
  build::Copy all;
  all.destination = "/";
  all.sources = {"."};
  co_await run_transfer(stage, transfer_of(all, from));
}

}  // namespace nacelle::engine
