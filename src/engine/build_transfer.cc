// The steps that bring files: COPY and ADD.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/text.h"
#include "codec/file_mode.h"
#include "engine/build_state.h"
#include "engine/spec_builder.h"
#include "image/messages.h"
#include "image/remote_file.h"
#include "sys/file.h"
#include "sys/mount_api.h"

namespace nacelle::engine {
namespace {

constexpr const char* fetched_name = "fetched";
constexpr mode_t fetched_mode = 0600;  // as Docker makes a file of a URL's

bool is_web(std::string_view source) {
  return source.starts_with("http://") || source.starts_with("https://");
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
  if (!what.chmod.empty()) TRY(codec::ModeChange::parse(what.chmod));
  const bool many = what.sources.size() + what.files.size() > 1;
  if (many && !what.destination.ends_with('/')) return needs_directory(keyword);
  return {};
}

Result<codec::Digest> read_checksum(const build::Add& add) {
  if (add.checksum.empty()) return codec::Digest();
  if (add.sources.size() + add.files.size() != 1) {
    return fail(Kind::Invalid, "checksum can't be specified for multiple sources");
  }
  if (add.sources.empty() || !is_web(add.sources.front())) {
    return fail(Kind::Invalid, "checksum requires HTTP(S) sources");
  }
  return codec::Digest::parse(add.checksum).context("--checksum");
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
  const bool numbers = text.find_first_not_of("0123456789:") == std::string::npos;
  // A user alone brings his group, and a number is that of a group, too.
  if (numbers && !text.contains(':')) text = cat(text, ':', text);
  Fd root;
  if (!numbers && !stage.record.config.diff_ids.empty()) {
    root = co_await engine_.images->mount(stage.record, {});
  }
  const ResolvedUser owner = co_await resolve_user(text, {}, root);
  co_return std::pair(owner.uid, owner.gid);
}

Build::Transfer Build::transfer_of(const build::Copy& copy, const std::vector<Origin>& origins) {
  Transfer transfer{.what = &copy, .keyword = "COPY"};
  transfer.from = origins.empty() ? nullptr : &origins.front();
  transfer.parents = copy.parents;
  transfer.paths = copy.sources;
  return transfer;
}

Result<Build::Transfer> Build::transfer_of(const build::Add& add) {
  Transfer transfer{.what = &add, .keyword = "ADD"};
  transfer.unpacks = add.unpack.value_or(true);
  transfer.unpacks_fetched = add.unpack.value_or(false);
  transfer.keeps_git = add.keep_git_dir;
  for (const std::string& source : add.sources) {
    if (auto repository = TRY(build::parse_git_source(source))) {
      transfer.repositories.push_back(*std::move(repository));
    } else {
      (is_web(source) ? transfer.urls : transfer.paths).push_back(source);
    }
  }
  const bool is_one_repository = add.sources.size() == 1 && transfer.repositories.size() == 1;
  if (is_one_repository && add.files.empty()) {
    if (!add.checksum.empty()) transfer.repositories.front().checksum = add.checksum;
  } else {
    transfer.checksum = TRY(read_checksum(add));
  }
  return transfer;
}

ring::Task<Build::FoundSources> Build::find_in_context(image::FindSourcesRequest request) {
  // Taken while it works: a stage beside this one starts another.
  std::optional<image::Worker> reader = std::exchange(context_reader_, std::nullopt);
  if (!reader) {
    const Fd root = co_await open_tree_of(context_);
    image::WorkerOptions options;
    options.kind = image::WorkerKind::Files;
    options.root = &root;
    options.read_only_root = true;
    reader = co_await image::Worker::start(engine_.loop, options);
  }
  // Whoever fails is not asked again.
  FoundSources found = co_await reader->call(std::move(request));
  context_reader_ = std::move(reader);
  co_return found;
}

ring::Task<Build::FoundSources> Build::find_sources(const Origin* from, const Fd& root,
                                                    image::FindSourcesRequest request) {
  if (from == nullptr) return find_in_context(std::move(request));
  return ask_files(engine_.loop, root, FilesRoot::ReadOnly, std::move(request), nullptr);
}

ring::Task<Build::FoundSources> Build::find_paths(const Transfer& transfer, const Fd& root) {
  if (transfer.paths.empty()) co_return FoundSources();
  image::FindSourcesRequest request{.patterns = transfer.paths,
                                    .exclude = transfer.what->exclude,
                                    .parents = transfer.parents,
                                    .owners = counts_owners(transfer.from)};
  auto found = co_await ring::as_result(find_sources(transfer.from, root, std::move(request)));
  if (!found && found.error().kind() != Kind::Cancelled) {
    co_await fail(found.error().kind(),
                  cat(transfer.keyword, " failed: ", found.error().message()));
  }
  co_return co_await std::move(found);
}

ring::Task<> Build::fetch(Fetched& file, const codec::Digest& checksum) {
  if (!file.path.empty()) co_return;
  if (!fetched_) {
    const int parent = workspace_.directory().get();
    co_await sys::make_directory_at(parent, fetched_name, 0755);
    fetched_ = co_await sys::open_at(parent, fetched_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }
  // A directory for each: names may be the same.
  const std::string directory = cat(scratches_++);
  co_await sys::make_directory_at(fetched_.get(), directory.c_str(), 0755);
  const std::string path = cat(directory, '/', file.name);
  constexpr int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
  const Fd into = co_await sys::open_at(fetched_.get(), path.c_str(), flags, fetched_mode);
  const auto algorithm = checksum.empty() ? codec::DigestAlgorithm::Sha256 : checksum.algorithm();
  auto remote =
      co_await ring::as_result(image::fetch_remote_file(engine_.loop, file.url, into, algorithm));
  if (!remote && remote.error().kind() != Kind::Cancelled) {
    co_await fail(remote.error().kind(), cat(file.url, ": ", remote.error().message()));
  }
  const image::RemoteFile fetched = co_await std::move(remote);
  if (!checksum.empty() && fetched.digest != checksum) {
    co_await fail(Kind::Invalid, cat("digest mismatch for ", file.url, ": ", fetched.digest.text(),
                                     " (expected: ", checksum.text(), ')'));
  }
  const timespec time{.tv_sec = fetched.modified_s, .tv_nsec = 0};
  const timespec times[2] = {time, time};
  if (::futimens(into.get(), times) < 0) co_await fail_errno(errno, "futimens");
  file.digest = fetched.digest;
  // What is pinned by its content is the same file whenever it comes.
  file.modified_s = checksum.empty() ? fetched.modified_s : 0;
  file.path = path;
}

ring::Task<> Build::fetch_for_add(Fetched& file, const codec::Digest& checksum) {
  auto fetched = co_await ring::as_result(fetch(file, checksum));
  if (!fetched && fetched.error().kind() != Kind::Cancelled) {
    co_await fail(fetched.error().kind(), cat("ADD failed: ", fetched.error().message()));
  }
  co_await std::move(fetched);
}

ring::Task<Build::Brought> Build::find_brought(const Transfer& transfer, const Fd& root) {
  Brought brought;
  brought.found = co_await find_paths(transfer, root);
  for (const std::string& url : transfer.urls) {
    Fetched& file = brought.fetched.emplace_back();
    file.url = url;
    file.name = co_await image::remote_file_name(url).context("ADD");
    file.digest = transfer.checksum;
    // With a checksum it is known what will come, and whether it is here in a step.
    if (transfer.checksum.empty()) co_await fetch_for_add(file, transfer.checksum);
  }
  for (const build::GitSource& source : transfer.repositories) {
    BroughtRepository& one = brought.repositories.emplace_back();
    const bool keeps_git = source.keep_git_dir.value_or(transfer.keeps_git);
    co_await clone(one.repository, source, keeps_git);
    image::FindSourcesRequest all{.patterns = {"."}, .exclude = transfer.what->exclude};
    one.found = co_await ask_files(engine_.loop, one.repository.directory, FilesRoot::ReadOnly,
                                   std::move(all), nullptr);
    // What git keeps for itself is never twice the same.
    if (keeps_git) {
      one.found.digest = step_key({"with .git", one.repository.commit, source.directory});
    }
  }
  co_return brought;
}

Build::Step Build::step_of_transfer(const BuildStage& stage, const Transfer& transfer,
                                    const image::CopyFilesRequest& request,
                                    const Brought& brought) const {
  const build::Transfer& what = *transfer.what;
  const FoundSources& found = brought.found;
  std::vector<std::string> parts{std::string(transfer.keyword),
                                 request.destination,
                                 found.digest.text(),
                                 what.chown,
                                 what.chmod,
                                 transfer.unpacks ? "unpacks" : "",
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
  for (const Fetched& file : brought.fetched) {
    parts.insert(parts.end(), {transfer.unpacks_fetched ? "unpacked" : "fetched", file.name,
                               file.digest.text(), cat(file.modified_s)});
  }
  for (const BroughtRepository& each : brought.repositories) {
    parts.insert(parts.end(), {"repository", each.found.digest.text()});
  }
  const bool one = found.sources.size() + request.texts.size() + brought.fetched.size() +
                       brought.repositories.size() ==
                   1;
  const bool is_directory = found.all_are_directories || !brought.repositories.empty();
  const std::string_view kind = !one ? "multi:" : is_directory ? "dir:" : "file:";
  codec::Digest shown = found.digest;
  if (!brought.fetched.empty()) shown = brought.fetched.front().digest;
  if (!brought.repositories.empty()) shown = brought.repositories.front().found.digest;
  if (shown.empty() || !one) shown = step_key(parts);
  // Flags as BuildKit writes them, which says nothing of --exclude.
  std::string flags = transfer.parents ? "--parents " : "";
  if (!what.chown.empty()) flags += cat("--chown=", what.chown, ' ');
  if (!what.chmod.empty()) flags += cat("--chmod=", what.chmod, ' ');
  std::string history = history_text(stage.run(), cat(transfer.keyword, ' ', flags, kind,
                                                      shown.hex(), " in ", what.destination, ' '));
  return step_of(stage, config_of(stage), std::move(history), std::move(parts));
}

ring::Task<> Build::copy(const Scratch& scratch, image::CopyFilesRequest request, const Fd& source,
                         std::string_view keyword) {
  auto copied = co_await ring::as_result(
      ask_files(engine_.loop, scratch.root, FilesRoot::Writable, std::move(request), &source));
  if (!copied && copied.error().kind() != Kind::Cancelled) {
    co_await fail(copied.error().kind(), cat(keyword, " failed: ", copied.error().message()));
  }
  co_await std::move(copied);
}

// What came from elsewhere, each from where it is by now.
ring::Task<> Build::copy_brought(const Scratch& scratch, const Transfer& transfer,
                                 image::CopyFilesRequest request, Brought brought) {
  request.texts.clear();
  for (BroughtRepository& each : brought.repositories) {
    image::CopyFilesRequest all = request;
    all.sources = each.found.sources;
    if (!all.destination.ends_with('/')) all.destination += '/';
    all.unpacks = false;
    const Fd mount = co_await sys::clone_mount(each.repository.directory);
    co_await copy(scratch, std::move(all), mount, transfer.keyword);
  }
  if (brought.fetched.empty()) co_return;
  request.sources.clear();
  request.exclude.clear();
  request.unpacks = transfer.unpacks_fetched;
  for (Fetched& file : brought.fetched) {
    request.sources.push_back({.path = std::move(file.path), .pattern = {}});
  }
  const Fd fetched = co_await sys::clone_mount(fetched_);
  co_await copy(scratch, std::move(request), fetched, transfer.keyword);
}

ring::Task<> Build::run_transfer(BuildStage& stage, Transfer transfer) {
  const build::Transfer& what = *transfer.what;
  co_await check_transfer(what, transfer.keyword);
  // The context is asked for where it is needed: not by URLs alone.
  Fd source;
  const size_t elsewhere = transfer.urls.size() + transfer.repositories.size();
  if (elsewhere == 0 || what.sources.size() + what.files.size() > elsewhere) {
    source = co_await open_source(stage, transfer.from);
  }
  Brought brought = co_await find_brought(transfer, source);
  image::CopyFilesRequest request;
  request.sources = brought.found.sources;
  request.exclude = what.exclude;
  request.destination = destination_of(stage.run(), what.destination);
  request.unpacks = transfer.unpacks;
  request.mode = what.chmod;
  for (const build::Heredoc& file : what.files) request.texts.push_back({file.name, file.text()});
  // With its parents a file's place is below the destination, however many there are.
  if (request.sources.size() > 1 && !transfer.parents && !request.destination.ends_with('/')) {
    co_await needs_directory(transfer.keyword);
  }
  Step step = step_of_transfer(stage, transfer, request, brought);
  // Which files came is in there, by their digest.
  step.history_says_all = what.exclude.empty() && !transfer.unpacks_fetched;
  if (co_await take_cached(stage, step)) co_return;
  const auto [uid, gid] = co_await owner_of(stage, what.chown);
  request.uid = uid;
  request.gid = gid;
  request.keeps_owners = counts_owners(transfer.from) && what.chown.empty();
  for (Fetched& file : brought.fetched) co_await fetch_for_add(file, transfer.checksum);
  Scratch scratch = co_await make_scratch(stage);
  if (source) co_await copy(scratch, request, source, transfer.keyword);
  co_await copy_brought(scratch, transfer, std::move(request), std::move(brought));
  scratch.root = Fd();
  auto layer = co_await engine_.images->pack_layer(scratch.upper, lease_, source_date_epoch_);
  co_await finish(stage, std::move(step), std::move(layer));
}

}  // namespace nacelle::engine
