// The steps that bring files: COPY and ADD.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "codec/file_mode.h"
#include "engine/build_state.h"
#include "engine/spec_builder.h"
#include "image/messages.h"

namespace nacelle::engine {
namespace {

bool is_url(std::string_view source) {
  return source.starts_with("http://") || source.starts_with("https://") ||
         source.starts_with("git@") || source.starts_with("git://") || source.starts_with("ssh://");
}

// The words in which dockerd says that several files go into a directory.
std::unexpected<Error> needs_directory(std::string_view keyword) {
  return fail(Kind::Invalid,
              cat("When using ", keyword,
                  " with more than one source file, the destination must be a directory and end "
                  "with a /"));
}

// Why a transfer cannot be done, if it cannot.
Result<> check_transfer(const build::Transfer& what, std::string_view keyword) {
  for (const std::string& source : what.sources) {
    if (keyword == "ADD" && is_url(source)) {
      return fail(Kind::Unsupported,
                  cat("ADD ", source, ": files are not fetched from elsewhere: RUN can do that"));
    }
  }
  if (!what.chmod.empty()) TRY(codec::ModeChange::parse(what.chmod));
  const bool many = what.sources.size() + what.files.size() > 1;
  if (many && !what.destination.ends_with('/')) return needs_directory(keyword);
  return {};
}

std::string destination_of(const oci::RunConfig& run, const std::string& destination) {
  if (destination.starts_with('/')) return destination;
  const std::string below = run.working_directory.empty() ? "/" : run.working_directory;
  return cat(below, below.ends_with('/') ? "" : "/", destination);
}

}  // namespace

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

Build::Transfer Build::transfer_of(const build::Copy& copy, const std::vector<Origin>& origins) {
  Transfer transfer{.what = &copy, .keyword = "COPY"};
  transfer.from = origins.empty() ? nullptr : &origins.front();
  transfer.parents = copy.parents;
  return transfer;
}

Build::Transfer Build::transfer_of(const build::Add& add) {
  return {.what = &add, .keyword = "ADD", .unpacks = add.unpack.value_or(true)};
}

ring::Task<Build::FoundSources> Build::find_sources(const Transfer& transfer, const Fd& root) {
  const build::Transfer& what = *transfer.what;
  if (what.sources.empty()) co_return FoundSources();
  image::FindSourcesRequest request{
      .patterns = what.sources, .exclude = what.exclude, .parents = transfer.parents};
  auto found = co_await ring::as_result(
      ask_files(engine_.loop, root, FilesRoot::ReadOnly, std::move(request), nullptr));
  if (!found && found.error().kind() != Kind::Cancelled) {
    co_await fail(found.error().kind(),
                  cat(transfer.keyword, " failed: ", found.error().message()));
  }
  co_return co_await std::move(found);
}

Build::Step Build::step_of_transfer(const BuildStage& stage, const Transfer& transfer,
                                    const image::CopyFilesRequest& request,
                                    const FoundSources& found) const {
  const build::Transfer& what = *transfer.what;
  std::vector<std::string> parts{std::string(transfer.keyword),
                                 request.destination,
                                 found.digest.text(),
                                 what.chown,
                                 what.chmod,
                                 request.unpacks ? "unpacks" : "",
                                 transfer.parents ? "parents" : "",
                                 step_key(what.exclude).text(),
                                 "texts"};
  for (const image::CopyFilesRequest::Text& text : request.texts) {
    parts.push_back(text.name);
    parts.push_back(text.content);
  }
  for (const image::CopySource& source : found.sources) {
    parts.push_back(source.path.substr(source.path.rfind('/') + 1));
    parts.push_back(source.pattern);
  }
  const bool one = found.sources.size() + request.texts.size() == 1;
  const std::string_view kind = !one ? "multi:" : found.all_are_directories ? "dir:" : "file:";
  const codec::Digest shown = found.digest.empty() || !one ? step_key(parts) : found.digest;
  // Flags as BuildKit writes them, which says nothing of --exclude.
  std::string flags = transfer.parents ? "--parents " : "";
  if (!what.chown.empty()) flags += cat("--chown=", what.chown, ' ');
  if (!what.chmod.empty()) flags += cat("--chmod=", what.chmod, ' ');
  std::string history = history_text(stage.run(), cat(transfer.keyword, ' ', flags, kind,
                                                      shown.hex(), " in ", what.destination, ' '));
  return step_of(stage, config_of(stage), std::move(history), std::move(parts));
}

ring::Task<> Build::run_transfer(BuildStage& stage, Transfer transfer) {
  const build::Transfer& what = *transfer.what;
  co_await check_transfer(what, transfer.keyword);
  image::CopyFilesRequest request;
  request.mode = what.chmod;
  const Fd source = co_await open_source(stage, transfer.from);
  const FoundSources found = co_await find_sources(transfer, source);
  request.sources = found.sources;
  request.exclude = what.exclude;
  request.destination = destination_of(stage.run(), what.destination);
  request.unpacks = transfer.unpacks;
  for (const build::Heredoc& file : what.files) request.texts.push_back({file.name, file.text()});
  // With its parents a file's place is below the destination, however many there are.
  if (found.sources.size() > 1 && !transfer.parents && !request.destination.ends_with('/')) {
    co_await needs_directory(transfer.keyword);
  }
  Step step = step_of_transfer(stage, transfer, request, found);
  if (co_await take_cached(stage, step)) co_return;
  const auto [uid, gid] = co_await owner_of(stage, what.chown);
  request.uid = uid;
  request.gid = gid;
  Scratch scratch = co_await make_scratch(stage);
  auto copied = co_await ring::as_result(
      ask_files(engine_.loop, scratch.root, FilesRoot::Writable, std::move(request), &source));
  scratch.root = Fd();
  if (!copied && copied.error().kind() != Kind::Cancelled) {
    co_await fail(copied.error().kind(),
                  cat(transfer.keyword, " failed: ", copied.error().message()));
  }
  co_await std::move(copied);
  auto layer = co_await engine_.images->pack_layer(scratch.upper, lease_);
  co_await finish(stage, std::move(step), std::move(layer));
}

}  // namespace nacelle::engine
