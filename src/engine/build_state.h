// What the files of a build share; private to build*.cc.
#pragma once

#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "build/dockerfile.h"
#include "build/expand.h"
#include "build/git_source.h"
#include "build/stage_plan.h"
#include "codec/digest.h"
#include "engine/build.h"
#include "engine/build_config.h"
#include "image/build_cache.h"
#include "image/images.h"
#include "image/lease.h"
#include "image/messages.h"
#include "image/store.h"
#include "image/worker.h"
#include "logs/reader.h"
#include "nacelle/fd.h"
#include "nacelle/task.h"
#include "ring/notice.h"

namespace nacelle::engine {

// One stage, as far as it has come.
struct BuildStage {
  const build::PlannedStage* plan = nullptr;
  image::ImageRecord record;        // its layers and configuration, on disk but for the documents
  image::ImageRecord base;          // what it began with
  std::optional<std::string> name;  // of the image it is, as long as nothing was added
  bool has_command = false;
  std::unique_ptr<StageArguments> arguments;
  std::unique_ptr<StageListener> listener;
  size_t step = 0;       // the last that has begun, among those of all stages
  size_t file_step = 0;  // among those of this one that can write files
  bool is_done = false;

  const oci::RunConfig& run() const { return record.config.run; }
};

// One request to a worker that stands in `root`. Its mounts are gone when this ends.
enum class FilesRoot : bool { ReadOnly, Writable };
template <class Request>
ring::Task<typename Request::Reply> ask_files(ring::Loop& loop, const Fd& root, FilesRoot how,
                                              Request request, const Fd* descriptor) {
  image::WorkerOptions options;
  options.kind = image::WorkerKind::Files;
  options.root = &root;
  options.read_only_root = how == FilesRoot::ReadOnly;
  image::Worker worker = co_await image::Worker::start(loop, options);
  std::vector<const Fd*> descriptors;
  if (descriptor != nullptr) descriptors.push_back(descriptor);
  auto reply = co_await ring::as_result(worker.call(std::move(request), std::move(descriptors)));
  if (reply || reply.error().kind() != Kind::Cancelled) {
    (void)co_await ring::as_result(worker.stop());
  }
  co_return std::move(reply);
}

// A list of texts as one digest: what a step is found again by. No two lists look the same.
codec::Digest step_key(const std::vector<std::string>& parts);

// A file whose name goes with this.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Where secrets and agents' sockets lie while a step has them: closed to all but us.
Result<std::string> secrets_directory(const Engine& engine);
MountRequest bind_mount(std::string source, std::string target, bool read_only);
std::string host_path(const Fd& directory);

class Build {
 public:
  Build(Engine& engine, BuildRequest request, BuildListener& listener, image::Lease lease,
        image::Workspace workspace);
  Build(const Build&) = delete;
  Build& operator=(const Build&) = delete;
  ~Build();  // what it has on disk goes, in the background

  ring::Task<BuiltImage> run(const Fd* context);

 private:
  using Origin = build::Origin;
  // What a step is, and what it will be called.
  struct Step {
    codec::Digest key;
    std::string history;  // created_by
    StageConfig config;   // after it
    // What it makes is found by its history alone: there is nothing to it that this does not say.
    bool history_says_all = false;
  };

  // build.cc
  ring::Task<> read_dockerfile();
  ring::Task<> run_stage(BuildStage& stage);
  ring::Task<> begin_stage(BuildStage& stage);
  ring::Task<> begin_from_image(BuildStage& stage, std::string image, oci::Platform platform);
  ring::Task<> run_triggers(BuildStage& stage);
  ring::Task<> run_instruction(BuildStage& stage, build::Instruction instruction,
                               const std::vector<Origin>& origins);
  ring::Task<> change_config(BuildStage& stage, const build::Instruction& instruction);
  struct WantedImage {
    std::string name;
    oci::Platform platform;
    bool platform_counts = false;  // of one that is here
    bool pull = false;
  };
  // As whom the request's login says.
  ring::Task<image::PullOutcome> pull_image(oci::Reference name, oci::Platform platform,
                                            image::Observer& observer);
  ring::Task<image::Details> find_image(const BuildStage& stage, WantedImage wanted);
  void add_stages();
  ring::Task<> run_stages();
  ring::Task<> await_all();
  ring::Task<> run_in_turn(BuildStage& stage);
  ring::Task<> await_done(const BuildStage& stage);
  ring::Task<> give_way_to(const BuildStage& stage);
  ring::Task<codec::Digest> publish(const BuildStage& stage);
  void announce(BuildStage& stage, const build::Instruction* instruction, std::string_view text);
  void show(const BuildStage& stage);

  // build_contexts.cc
  // Files from outside: a context, or one that has a name.
  struct Files {
    Fd directory;
    bool is_here = false, is_coming = false;
  };
  ring::Task<> take_archive(Files& files, const Fd& archive);
  ring::Task<> take_context(const Fd& archive);
  ring::Task<> need_context();
  ring::Task<> need(Files& files, const BuildSource& source);
  ring::Task<> take_sent(Files& files, const BuildSource& source);
  ring::Task<> take_fetched(Files& files, const std::string& url);
  bool keeps_git_of_contexts() const;
  // Of the request: nothing where the name is a stage's or an image's.
  const BuildSource* find_source(const std::string& name) const;
  ring::Task<> begin_from_files(BuildStage& stage, std::string name, oci::Platform platform);
  ring::Task<Fd> open_files(const std::string& name, const BuildSource& source);
  // A mount of them, to be read.
  static ring::Task<Fd> open_tree_of(const Files& files);
  // Whose a file is counts in an image and a stage, and not in files that somebody sent.
  bool counts_owners(const Origin* from) const;

  // build_git.cc
  struct Repository {
    Fd directory;  // of it, or the one in there that is wanted
    std::string commit;
  };
  ring::Task<> clone(Repository& repository, const build::GitSource& source, bool keeps_git);

  // build_cache_from.cc
  ring::Task<> find_cache_sources();
  ring::Task<bool> take_from_image(BuildStage& stage, const Step& step);

  // build_steps.cc
  Step step_of(const BuildStage& stage, StageConfig config, std::string history,
               std::vector<std::string> parts) const;
  StageConfig config_of(const BuildStage& stage) const;
  // True: it was, and the stage is where it leads to.
  ring::Task<bool> take_cached(BuildStage& stage, const Step& step);
  ring::Task<> finish(BuildStage& stage, Step step, std::optional<image::Images::NewLayer> layer);
  // A writable root on top of the stage's layers; its mounts are gone before it is packed.
  struct Scratch {
    Fd upper, work, root;
  };
  ring::Task<Scratch> make_scratch(const BuildStage& stage);
  ring::Task<> make_workdir(BuildStage& stage, const build::Instruction& instruction);
  ring::Task<Fd> open_source(const BuildStage& stage, const Origin* from);
  ring::Task<Fd> open_empty();

  // build_transfer.cc
  // COPY and ADD as one.
  struct Transfer {
    const build::Transfer* what = nullptr;
    std::string_view keyword;
    const Origin* from = nullptr;  // none: the context
    bool parents = false;
    bool unpacks = false;                  // archives
    bool unpacks_fetched = false;          // those that come from a URL
    codec::Digest checksum;                // of the one source, which is a URL; empty: any will do
    std::vector<std::string> paths, urls;  // the sources
    std::vector<build::GitSource> repositories;
    bool keeps_git = false;
  };
  // A file of a URL's: what counts of it, and where it is once it is here.
  struct Fetched {
    std::string url, name;
    codec::Digest digest;
    int64_t modified_s = 0;
    std::string path;  // in fetched_; empty: not yet
  };
  static Transfer transfer_of(const build::Copy& copy, const std::vector<Origin>& origins);
  static Result<Transfer> transfer_of(const build::Add& add);
  ring::Task<> run_transfer(BuildStage& stage, Transfer transfer);
  using FoundSources = image::FindSourcesRequest::Reply;
  // `root` is what open_source() gave of `from`.
  ring::Task<FoundSources> find_sources(const Origin* from, const Fd& root,
                                        image::FindSourcesRequest request);
  ring::Task<FoundSources> find_in_context(image::FindSourcesRequest request);
  ring::Task<FoundSources> find_paths(const Transfer& transfer, const Fd& root);
  ring::Task<> fetch(Fetched& file, const codec::Digest& checksum);
  ring::Task<> fetch_for_add(Fetched& file, const codec::Digest& checksum);
  // What a transfer brings.
  struct BroughtRepository {
    Repository repository;
    FoundSources found;
  };
  struct Brought {
    FoundSources found;  // of its paths
    std::vector<Fetched> fetched;
    std::vector<BroughtRepository> repositories;
  };
  ring::Task<> copy_brought(const Scratch& scratch, const Transfer& transfer,
                            image::CopyFilesRequest request, Brought brought);
  ring::Task<Brought> find_brought(const Transfer& transfer, const Fd& root);
  Step step_of_transfer(const BuildStage& stage, const Transfer& transfer,
                        const image::CopyFilesRequest& request, const Brought& brought) const;
  ring::Task<> copy(const Scratch& scratch, image::CopyFilesRequest request, const Fd& source,
                    std::string_view keyword);
  ring::Task<std::pair<uint32_t, uint32_t>> owner_of(const BuildStage& stage, std::string text);

  // When what is made now says it was.
  std::string created_text() const;

  // build_squash.cc
  ring::Task<> squash(BuildStage& stage);

  // build_mounts.cc
  struct RunMount {
    const build::Mount* asked = nullptr;
    std::string key;     // what of it counts
    std::string target;  // absolute
    Fd source;           // of files: where they are
    std::string path;    // in there
    bool from_context = false, is_directory = false;
    Fd held;                              // a cache, locked; a file of the context
    Fd listener;                          // an agent's socket
    std::unique_ptr<TemporaryFile> file;  // a secret, or that socket
  };
  ring::Task<std::vector<RunMount>> find_mounts(const BuildStage& stage, const build::Run& run,
                                                const std::vector<Origin>& origins);
  ring::Task<> add_mounts(std::vector<RunMount>& mounts, CreateRequest& request);
  ring::Task<MountRequest> make_bind(RunMount& mount);
  ring::Task<MountRequest> make_cache(RunMount& mount);
  ring::Task<std::optional<std::string>> find_secret(const build::Mount& mount);
  ring::Task<MountRequest> make_secret(RunMount& mount, const std::string& secret);

  // build_agents.cc
  static void place_agents(std::vector<RunMount>& mounts, CreateRequest& request);
  ring::Task<bool> find_agent(const build::Mount& mount);
  ring::Task<MountRequest> make_agent_socket(RunMount& mount);
  ring::Task<> serve_agent(const RunMount& mount);
  ring::Task<> accept_for_agent(const RunMount& mount, ring::Scope& connections);
  // While `step` runs.
  ring::Task<> with_agents(const std::vector<RunMount>& mounts, ring::Task<> step);

  // build_run.cc
  ring::Task<> run_command(BuildStage& stage, const build::Run& run,
                           const std::vector<Origin>& origins);
  CreateRequest plan_container(const BuildStage& stage, const build::Run& run,
                               const std::vector<std::string>& words) const;
  ring::Task<> run_container(BuildStage& stage, Step step, CreateRequest request,
                             std::string shown);
  // Starts a container, hands on what it writes, and returns its exit code.
  using EntriesReader = std::function<ring::Task<>(const std::vector<logs::Entry>&)>;
  ring::Task<int> run_to_end(std::string id, EntriesReader read);
  // A container that is no step, on no image's files; what it says, as far as that is kept.
  ring::Task<int> run_apart(CreateRequest request, std::string* said);
  ring::Task<std::string> write_script(const std::string& text);

  image::Store& store() const { return engine_.images->store(); }

  Engine& engine_;
  BuildRequest request_;
  BuildListener& listener_;
  image::Lease lease_;
  image::Workspace workspace_;
  Files context_;
  // Has looked through the context before and is asked again: to start one takes longer than most
  // answers do.
  std::optional<image::Worker> context_reader_;
  std::map<std::string, Files, std::less<>> named_;  // of the request's contexts
  Fd fetched_;  // a directory of directories, each of which has one file of a URL's
  build::Dockerfile dockerfile_;
  build::StagePlan plan_;
  std::map<size_t, BuildStage> stages_;  // by their place in the Dockerfile
  std::optional<int64_t> source_date_epoch_;
  std::vector<image::ImageRecord> cache_sources_;
  size_t steps_ = 0;
  size_t running_ = 0;          // stages
  std::optional<Error> error_;  // of the first that failed
  ring::Notice changed_;        // a stage has ended or gives way; the context is there
  size_t scratches_ = 0;
};

// Directories of RUN --mount=type=cache that no step has mounted.
ring::Task<> remove_cache_mounts(Engine& engine);
// Secrets of steps that ended with an engine.
ring::Task<> remove_left_secrets(Engine& engine);

}  // namespace nacelle::engine
