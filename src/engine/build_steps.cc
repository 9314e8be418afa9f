// The steps that bring files: COPY, ADD and WORKDIR; and what every step ends with.
#include <fcntl.h>
#include <sys/mount.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/build_state.h"
#include "engine/moment.h"
#include "engine/spec_builder.h"
#include "image/messages.h"
#include "sys/file.h"
#include "sys/mount_api.h"

namespace nacelle::engine {
namespace {

bool is_url(std::string_view source) {
  return source.starts_with("http://") || source.starts_with("https://") ||
         source.starts_with("git@") || source.starts_with("git://") || source.starts_with("ssh://");
}

Result<std::optional<uint32_t>> parse_mode(const std::string& text) {
  if (text.empty()) return std::optional<uint32_t>();
  const auto mode = parse_number<uint32_t>(text, 8);
  if (!mode || *mode > 07777) {
    return fail(Kind::Invalid, cat("--chmod=", text, ": not an octal mode up to 7777"));
  }
  return mode;
}

// Why a transfer cannot be done, if it cannot.
Result<> check_transfer(const build::Transfer& what, std::string_view keyword) {
  if (!what.exclude.empty()) {
    return fail(Kind::Unsupported, "--exclude is not supported by this builder");
  }
  for (const std::string& source : what.sources) {
    if (keyword == "ADD" && is_url(source)) {
      return fail(Kind::Unsupported,
                  cat("ADD ", source, ": files are not fetched from elsewhere: RUN can do that"));
    }
  }
  const bool many = what.sources.size() + what.files.size() > 1;
  if (many && !what.destination.ends_with('/')) {
    return fail(Kind::Invalid,
                cat("When using ", keyword,
                    " with more than one source file, the destination must be a directory and end "
                    "with a /"));
  }
  return {};
}

std::string destination_of(const oci::RunConfig& run, const std::string& destination) {
  if (destination.starts_with('/')) return destination;
  const std::string below = run.working_directory.empty() ? "/" : run.working_directory;
  return cat(below, below.ends_with('/') ? "" : "/", destination);
}

}  // namespace

codec::Digest step_key(const std::vector<std::string>& parts) {
  codec::Hasher hasher;
  for (const std::string& part : parts) {
    hasher.update(cat(part.size(), ':'));
    hasher.update(part);
  }
  return hasher.finish();
}

StageConfig Build::config_of(const BuildStage& stage) const {
  return {.run = stage.record.config.run,
          .author = stage.record.config.author,
          .has_command = stage.has_command};
}

Build::Step Build::step_of(const BuildStage& stage, StageConfig config, std::string history,
                           std::vector<std::string> parts) const {
  // All that lies below, configuration and layers both, is in the id of what is there so far.
  std::vector<std::string> all{"nacelle build step 1", stage.record.id().text(),
                               stage.record.descriptor.digest.text(),
                               stage.has_command ? "has a command" : ""};
  std::ranges::move(parts, std::back_inserter(all));
  return {.key = step_key(all), .history = std::move(history), .config = std::move(config)};
}

ring::Task<bool> Build::take_cached(BuildStage& stage, const Step& step) {
  if (request_.no_cache) co_return false;
  const image::BuildCache cache(store());
  std::optional<image::CachedStep> known = cache.find(step.key);
  if (!known) co_return false;
  // Protected first, looked at again then: a collection may have come between.
  std::vector<codec::Digest> digests = oci::chain_ids(known->record.config.diff_ids);
  for (const oci::Descriptor& layer : known->record.manifest.layers) {
    digests.push_back(layer.digest);
  }
  co_await lease_.protect(engine_.loop, std::move(digests));
  known = cache.find(step.key);
  if (!known) co_return false;
  stage.record = std::move(known->record);
  stage.has_command = step.config.has_command;
  stage.name.reset();
  stage.listener->text(" ---> Using cache\n");
  stage.listener->step_is_cached();
  co_return true;
}

ring::Task<> Build::finish(BuildStage& stage, Step step,
                           std::optional<image::Images::NewLayer> layer) {
  oci::ImageConfig config = stage.record.config;
  std::vector<oci::Descriptor> layers = stage.record.manifest.layers;
  const uint64_t bytes = layer ? layer->blob.size : 0;
  config.run = std::move(step.config.run);
  config.author = std::move(step.config.author);
  config.created = moment_text(now_ns());
  config.history.push_back({.created = config.created,
                            .created_by = step.history,
                            .author = config.author,
                            .comment = "",
                            .empty_layer = !layer});
  if (layer) {
    config.diff_ids.push_back(layer->diff_id);
    layers.push_back(std::move(layer->blob));
  }
  stage.record = image::Images::draft(std::move(layers), std::move(config));
  stage.has_command = step.config.has_command;
  stage.name.reset();
  co_await lease_.protect(engine_.loop, oci::chain_ids(stage.record.config.diff_ids));
  if (bytes > 0) co_await engine_.images->unpack(stage.record);
  image::CachedStep done;
  done.key = step.key;
  done.record = stage.record;
  done.description = std::move(step.history);
  done.created_s = ::time(nullptr);
  done.bytes = bytes;
  co_await image::BuildCache(store()).put(engine_.loop, std::move(done));
}

ring::Task<Build::Scratch> Build::make_scratch(const BuildStage& stage) {
  const int parent = workspace_.directory().get();
  const std::string upper = cat("upper-", scratches_), work = cat("work-", scratches_);
  ++scratches_;
  co_await sys::make_directory_at(parent, upper.c_str(), 0755);
  co_await sys::make_directory_at(parent, work.c_str(), 0700);
  Scratch scratch;
  scratch.upper = co_await sys::open_at(parent, upper.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  scratch.work = co_await sys::open_at(parent, work.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (stage.record.config.diff_ids.empty()) {
    // Nothing lies below: what is written is the layer.
    scratch.root = co_await sys::clone_mount(scratch.upper);
  } else {
    image::Images::MountOptions options;
    options.upper = &scratch.upper;
    options.work = &scratch.work;
    options.is_volatile = true;
    scratch.root = co_await engine_.images->mount(stage.record, options);
  }
  co_return scratch;
}

ring::Task<> Build::make_workdir(BuildStage& stage, const build::Instruction& instruction) {
  StageConfig config = config_of(stage);
  const std::string text = co_await apply_instruction(instruction, config);
  const std::string path = config.run.working_directory;
  std::string history = history_text(stage.run(), text);
  Step step = step_of(stage, std::move(config), std::move(history), {"WORKDIR", path});
  if (co_await take_cached(stage, step)) co_return;
  Scratch scratch = co_await make_scratch(stage);
  co_await ask_files(engine_.loop, scratch.root, FilesRoot::Writable,
                     image::MakeDirectoryRequest{.path = path}, nullptr);
  scratch.root = Fd();
  auto layer = co_await engine_.images->pack_layer(scratch.upper, lease_);
  co_await finish(stage, std::move(step), std::move(layer));
}

ring::Task<Fd> Build::open_source(const BuildStage& stage, const Origin* from) {
  if (from == nullptr) {
    co_await need_context();
    Fd mount = co_await sys::clone_mount(context_);
    co_await sys::set_mount_attributes(mount, MOUNT_ATTR_RDONLY);
    co_return mount;
  }
  image::ImageRecord record;
  if (from->stage) {
    record = stages_.at(*from->stage).record;
  } else if (!from->is_scratch()) {
    record = (co_await find_image(stage, from->image, request_.platform, false)).record;
    co_await lease_.protect(engine_.loop, {record.descriptor.digest});
  }
  if (!record.config.diff_ids.empty()) co_return co_await engine_.images->mount(record, {});
  const int parent = workspace_.directory().get();
  constexpr const char* empty = "empty";
  auto made = sys::make_directory_at(parent, empty, 0755);
  if (!made && made.error().error_number() != EEXIST) co_await std::move(made);
  const Fd directory = co_await sys::open_at(parent, empty, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  co_return co_await sys::clone_mount(directory);
}

ring::Task<std::pair<uint32_t, uint32_t>> Build::owner_of(const BuildStage& stage,
                                                          std::string text) {
  if (text.empty()) co_return std::pair(0u, 0u);
  std::string_view group = text;
  const std::string user(take_until(group, ':'));
  // A user alone is a group of that name, too.
  const std::string both = cat(user, ':', group.empty() ? std::string_view(user) : group);
  Fd root;
  const bool numbers = both.find_first_not_of("0123456789:") == std::string::npos;
  if (!numbers && !stage.record.config.diff_ids.empty()) {
    root = co_await engine_.images->mount(stage.record, {});
  }
  const ResolvedUser owner = co_await resolve_user(both, {}, root);
  co_return std::pair(owner.uid, owner.gid);
}

ring::Task<> Build::transfer(BuildStage& stage, const build::Transfer& what, std::string keyword,
                             const Origin* from) {
  co_await check_transfer(what, keyword);
  const std::optional<uint32_t> mode = co_await parse_mode(what.chmod);
  const Fd source = co_await open_source(stage, from);
  image::FindSourcesRequest::Reply found;
  if (!what.sources.empty()) {
    auto reply =
        co_await ring::as_result(ask_files(engine_.loop, source, FilesRoot::ReadOnly,
                                           image::FindSourcesRequest{what.sources}, nullptr));
    if (!reply && reply.error().kind() != Kind::Cancelled) {
      co_await fail(reply.error().kind(), cat(keyword, " failed: ", reply.error().message()));
    }
    found = co_await std::move(reply);
  }
  image::CopyFilesRequest request;
  request.paths = found.paths;
  request.destination = destination_of(stage.run(), what.destination);
  if (found.paths.size() > 1 && !request.destination.ends_with('/')) {
    co_await fail(Kind::Invalid, cat("When using ", keyword,
                                     " with more than one source file, the destination must be a "
                                     "directory and end with a /"));
  }
  request.unpacks = keyword == "ADD";
  request.mode = mode;
  std::vector<std::string> parts{keyword,    request.destination, found.digest.text(),
                                 what.chown, what.chmod,          "texts"};
  for (const build::Heredoc& file : what.files) {
    request.texts.push_back({file.name, file.text()});
    parts.push_back(file.name);
    parts.push_back(file.text());
  }
  for (const std::string& path : found.paths) parts.push_back(path.substr(path.rfind('/') + 1));
  const bool one = found.paths.size() + request.texts.size() == 1;
  const std::string_view kind = !one ? "multi:" : found.all_are_directories ? "dir:" : "file:";
  const codec::Digest shown = found.digest.empty() || !one ? step_key(parts) : found.digest;
  const std::string owner_text = what.chown.empty() ? "" : cat("--chown=", what.chown, ' ');
  std::string history = history_text(
      stage.run(), cat(keyword, ' ', owner_text, kind, shown.hex(), " in ", what.destination, ' '));
  Step step = step_of(stage, config_of(stage), std::move(history), std::move(parts));
  if (co_await take_cached(stage, step)) co_return;
  const auto [uid, gid] = co_await owner_of(stage, what.chown);
  request.uid = uid;
  request.gid = gid;
  Scratch scratch = co_await make_scratch(stage);
  auto copied = co_await ring::as_result(
      ask_files(engine_.loop, scratch.root, FilesRoot::Writable, std::move(request), &source));
  scratch.root = Fd();
  if (!copied && copied.error().kind() != Kind::Cancelled) {
    co_await fail(copied.error().kind(), cat(keyword, " failed: ", copied.error().message()));
  }
  co_await std::move(copied);
  auto layer = co_await engine_.images->pack_layer(scratch.upper, lease_);
  co_await finish(stage, std::move(step), std::move(layer));
}

}  // namespace nacelle::engine
