#include "engine/build.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "base/text.h"
#include "codec/ignore.h"
#include "codec/json.h"
#include "engine/build_state.h"
#include "image/messages.h"
#include "image/worker.h"
#include "sys/file.h"
#include "sys/resolve.h"

namespace nacelle::engine {
namespace {

constexpr const char* ignore_name = ".dockerignore";
constexpr size_t short_id_digits = 12;
constexpr std::string_view epoch_name = "SOURCE_DATE_EPOCH";

std::string short_id(const codec::Digest& id) {
  return std::string(id.hex().substr(0, short_id_digits));
}

// A file of the context, links followed inside of it; nothing where there is none.
Result<std::optional<std::string>> read_from(const Fd& context, const std::string& path,
                                             size_t bytes_max) {
  const long opened =
      sys::InRoot(context.get()).open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (opened == -ENOENT || opened == -ENOTDIR) return std::optional<std::string>();
  if (opened < 0) return fail_errno(static_cast<int>(-opened), cat("open ", path));
  const Fd file(static_cast<int>(opened));
  const struct stat status = TRY(sys::stat_fd(file));
  if (!S_ISREG(status.st_mode)) return fail(Kind::Invalid, cat(path, " is not a regular file"));
  return TRY(sys::read_all(file, bytes_max, path));
}

// Which variables a build can be given: ARGs, wherever they stand.
std::set<std::string> names_of_arguments(const build::Dockerfile& dockerfile) {
  std::set<std::string> names;
  const auto add = [&](const build::Arg& arg) {
    for (const build::Arg::Argument& each : arg.arguments) names.insert(each.name);
  };
  for (const build::Dockerfile::GlobalArg& each : dockerfile.global_args) add(each.arg);
  for (const build::Stage& stage : dockerfile.stages) {
    for (const build::Instruction& each : stage.instructions) {
      if (const auto* arg = std::get_if<build::Arg>(&each.what)) add(*arg);
    }
  }
  return names;
}

// https://reproducible-builds.org/specs/source-date-epoch/
Result<std::optional<int64_t>> read_source_date_epoch(const build::Environment& arguments) {
  const auto found = arguments.find(epoch_name);
  if (found == arguments.end() || found->second.empty()) return std::optional<int64_t>();
  const auto seconds = parse_number<int64_t>(found->second);
  constexpr int64_t last = INT64_MAX / 1'000'000'000;  // in the year 2262
  if (!seconds || *seconds < 0 || *seconds > last) {
    return fail(Kind::Invalid,
                cat("invalid SOURCE_DATE_EPOCH: ", codec::json::in_quotes(found->second),
                    " is no number of seconds since 1970"));
  }
  return std::optional(*seconds);
}

bool writes_files(const build::Instruction& instruction) {
  const auto& what = instruction.what;
  return std::holds_alternative<build::Run>(what) || std::holds_alternative<build::Copy>(what) ||
         std::holds_alternative<build::Add>(what) || std::holds_alternative<build::Workdir>(what);
}

build::Instruction label_instruction(const Labels& labels) {
  build::Instruction instruction;
  build::Label label;
  instruction.source.text = "LABEL";
  for (const auto& [key, value] : labels) {
    label.labels.push_back({key, value});
    instruction.source.text += cat(' ', key, '=', value);
  }
  instruction.what = std::move(label);
  return instruction;
}

}  // namespace

Build::Build(Engine& engine, BuildRequest request, BuildListener& listener, image::Lease lease,
             image::Workspace workspace)
    : engine_(engine),
      request_(std::move(request)),
      listener_(listener),
      lease_(std::move(lease)),
      workspace_(std::move(workspace)) {}

namespace {

ring::Task<> stop_worker(image::Worker worker) { co_await worker.stop(); }

}  // namespace

Build::~Build() {
  stages_.clear();
  if (context_reader_) engine_.background->start(stop_worker(std::move(*context_reader_)));
  context_ = {};
  named_.clear();
  fetched_ = Fd();
  engine_.background->start(image::Workspace::remove(engine_.loop, std::move(workspace_)));
}

// The Dockerfile. --------------------------------------------------------------------------------

ring::Task<> Build::read_dockerfile() {
  if (!request_.dockerfile_text) co_await need_context();
  const std::string& name = request_.dockerfile;
  std::optional<std::string> text = request_.dockerfile_text;
  if (!text) text = co_await read_from(context_.directory, name, build::dockerfile_bytes_max);
  if (!text) co_await fail(Kind::Invalid, cat("Cannot locate specified Dockerfile: ", name));
  dockerfile_ = co_await build::parse_dockerfile(*text, name);
  build::PlanOptions options;
  options.target = request_.target;
  options.build_arguments = request_.arguments;
  options.target_platform = request_.platform;
  for (const auto& [each, source] : request_.contexts) options.replaced.insert(each);
  plan_ = co_await build::plan_stages(dockerfile_, options);
  if (request_.dockerfile_text) co_return;
  // Clients send both files whatever is ignored, since they are needed here.
  const std::optional<std::string> ignored =
      co_await read_from(context_.directory, ignore_name, codec::ignore_bytes_max);
  if (!ignored) co_return;
  const codec::IgnoreList list = co_await codec::parse_ignore(*ignored);
  for (const std::string& each : {std::string(ignore_name), name}) {
    if (!list.ignores(each)) continue;
    const char* last = nullptr;
    const long directory = sys::InRoot(context_.directory.get()).ensure_parent(each.c_str(), &last);
    if (directory < 0) continue;
    const Fd opened(static_cast<int>(directory));
    (void)::unlinkat(opened.get(), last, 0);
  }
}

// Stages. ----------------------------------------------------------------------------------------

// `instruction`: null for a FROM, and for what the request adds.
void Build::announce(BuildStage& stage, const build::Instruction* instruction,
                     std::string_view text) {
  const build::Stage& written = dockerfile_.stages[stage.plan->stage];
  const bool is_from = stage.file_step == 0;
  BuildStep step;
  step.number = ++stage.step;
  step.stage = written.from.name;
  step.stage_number = stage.plan->stage;
  step.stages = plan_.stages.size();
  if (is_from || (instruction != nullptr && writes_files(*instruction))) {
    step.place = ++stage.file_step;
    step.places = 1 + std::ranges::count_if(written.instructions, writes_files);
  }
  step.text = text;
  stage.listener->step_begins(step);
  stage.listener->text(cat("Step ", step.number, '/', steps_, " : ", text, '\n'));
}

void Build::show(const BuildStage& stage) {
  const bool is_nothing = !stage.name && stage.record.config.history.empty();
  stage.listener->text(cat(" ---> ", is_nothing ? "" : short_id(stage.record.id()), '\n'));
  stage.listener->step_ends();
}

ring::Task<image::PullOutcome> Build::pull_image(oci::Reference name, oci::Platform platform,
                                                 image::Observer& observer) {
  image::Images::Login login;
  if (request_.login) login = co_await request_.login(name);
  co_return co_await engine_.images->pull(std::move(name), std::move(platform), observer,
                                          std::move(login));
}

ring::Task<image::Details> Build::find_image(const BuildStage& stage, WantedImage wanted) {
  const auto fits = [&](const image::Details& found) {
    const oci::Platform& offered = found.record.config.platform;
    return offered.architecture.empty() || oci::platform_match(wanted.platform, offered) > 0;
  };
  if (!wanted.pull) {
    auto found = co_await ring::as_result(engine_.images->inspect(wanted.name));
    if (found && (!wanted.platform_counts || fits(*found))) co_return *std::move(found);
    if (!found && found.error().kind() != Kind::NotFound) co_await std::move(found);
  }
  const oci::Reference reference = co_await oci::parse_reference(wanted.name);
  const image::PullOutcome pulled =
      co_await pull_image(reference, wanted.platform, stage.listener->pulls());
  image::Details details = co_await engine_.images->inspect(pulled.image.manifest.digest);
  if (!fits(details)) {
    stage.listener->text(cat(
        "\nWARNING: Pulled image with specified platform (", wanted.platform.text(),
        "), but the resulting image's configured platform (", details.record.config.platform.text(),
        ") does not match.\nThis is most likely caused by a bug in the build system that created "
        "the fetched image (",
        wanted.name, ").\nPlease notify the image author to correct the configuration.\n"));
  }
  co_return details;
}

ring::Task<> Build::begin_from_image(BuildStage& stage, std::string image, oci::Platform platform) {
  if (const BuildSource* const source = find_source(image)) {
    if (source->image.empty()) {
      co_await begin_from_files(stage, std::move(image), std::move(platform));
      co_return;
    }
    image = source->image;
  }
  WantedImage wanted{.name = std::move(image),
                     .platform = std::move(platform),
                     .platform_counts = request_.platform_counts,
                     .pull = request_.pull};
  image::Details details = co_await find_image(stage, std::move(wanted));
  co_await lease_.protect(engine_.loop, {details.image.manifest.digest});
  stage.name = details.id().text();
  stage.record = std::move(details.record);
}

ring::Task<> Build::begin_stage(BuildStage& stage) {
  const build::PlannedStage& plan = *stage.plan;
  oci::Platform platform = request_.platform;
  if (!plan.platform.empty()) platform = co_await oci::parse_platform(plan.platform);
  if (plan.base.stage) {
    const BuildStage& base = stages_.at(*plan.base.stage);
    stage.record = base.record;
    stage.name = base.name;
  } else if (plan.base.is_scratch()) {
    oci::ImageConfig config;
    config.platform = platform;
    stage.record = image::Images::draft({}, std::move(config));
  } else {
    co_await begin_from_image(stage, plan.base.image, std::move(platform));
  }
  set_default_path(stage.record.config.run);
}

// What a base image asks of whoever builds upon it. Not handed on to what is made here.
ring::Task<> Build::run_triggers(BuildStage& stage) {
  const std::vector<std::string> triggers =
      std::exchange(stage.record.config.run.on_build, std::vector<std::string>());
  if (triggers.empty()) co_return;
  stage.listener->text(cat("# Executing ", triggers.size(),
                           triggers.size() == 1 ? " build trigger\n" : " build triggers\n"));
  for (const std::string& text : triggers) {
    build::Instruction trigger = co_await build::parse_trigger(text, "ONBUILD");
    std::vector<Origin> origins;
    if (const auto* copy = std::get_if<build::Copy>(&trigger.what); copy && !copy->from.empty()) {
      origins.push_back(co_await build::find_origin(dockerfile_, copy->from));
      if (const auto other = origins.front().stage) {
        const auto found = stages_.find(*other);
        if (found == stages_.end() || found->second.plan >= stage.plan) {
          co_await fail(Kind::Invalid, cat("ONBUILD ", text, ": the stage is not built before"));
        }
        co_await give_way_to(found->second);
      }
    }
    co_await run_instruction(stage, std::move(trigger), origins);
  }
}

ring::Task<> Build::run_stage(BuildStage& stage) {
  const build::PlannedStage& plan = *stage.plan;
  const build::Stage& written = dockerfile_.stages[plan.stage];
  announce(stage, nullptr, written.source.text);
  co_await begin_stage(stage);
  stage.base = stage.record;
  show(stage);
  co_await run_triggers(stage);
  for (size_t at = 0; at < written.instructions.size(); ++at) {
    const build::Instruction& instruction = written.instructions[at];
    announce(stage, &instruction, instruction.source.text);
    const std::vector<Origin> origins =
        at < plan.origins.size() ? plan.origins[at] : std::vector<Origin>();
    co_await run_instruction(stage, instruction, origins);
    show(stage);
  }
  const bool is_target = &plan == &plan_.stages.back();
  if (is_target && !request_.labels.empty()) {
    build::Instruction label = label_instruction(request_.labels);
    announce(stage, nullptr, label.source.text);
    co_await change_config(stage, label);
    show(stage);
  }
  if (is_target && request_.squashed) co_await squash(stage);
  if (stage.name || !stage.record.config.history.empty()) {
    stage.listener->built(stage.record.id());
  }
  co_await stage.listener->room();
}

ring::Task<> Build::run_instruction(BuildStage& stage, build::Instruction instruction,
                                    const std::vector<Origin>& origins) {
  const char escape = dockerfile_.directives.escape;
  const build::Environment environment = stage.arguments->environment(stage.run());
  co_await build::expand_variables(instruction, environment, escape);
  if (const auto* run = std::get_if<build::Run>(&instruction.what)) {
    co_await run_command(stage, *run, origins);
  } else if (const auto* copy = std::get_if<build::Copy>(&instruction.what)) {
    co_await run_transfer(stage, transfer_of(*copy, origins));
  } else if (const auto* add = std::get_if<build::Add>(&instruction.what)) {
    Transfer transfer = co_await transfer_of(*add);
    co_await run_transfer(stage, std::move(transfer));
  } else if (std::holds_alternative<build::Workdir>(instruction.what)) {
    co_await make_workdir(stage, instruction);
  } else {
    if (const auto* arg = std::get_if<build::Arg>(&instruction.what)) {
      co_await stage.arguments->declare(*arg, environment, escape);
    }
    co_await change_config(stage, instruction);
  }
}

ring::Task<> Build::change_config(BuildStage& stage, const build::Instruction& instruction) {
  StageConfig config = config_of(stage);
  const std::string text = co_await apply_instruction(instruction, config);
  // Two blanks, as dockerd writes what changes no file. A SHELL is its own.
  std::string history = history_text(config.run, cat(' ', text));
  Step step = step_of(stage, std::move(config), std::move(history), {"configuration", text});
  step.history_says_all = true;
  if (co_await take_cached(stage, step)) co_return;
  co_await finish(stage, std::move(step), std::nullopt);
}

// Side by side. ----------------------------------------------------------------------------------

void Build::add_stages() {
  for (const build::PlannedStage& plan : plan_.stages) {
    BuildStage& stage = stages_[plan.stage];
    stage.plan = &plan;
    stage.arguments = std::make_unique<StageArguments>(request_.arguments, plan_.global_arguments);
    stage.listener = listener_.add_stage();
    stage.step = steps_;
    steps_ += 1 + dockerfile_.stages[plan.stage].instructions.size();
  }
  if (!request_.labels.empty()) ++steps_;
}

// Each begins when all that it needs is done, and no more run than there are processors: most of
// what a step does is work.
ring::Task<> Build::run_in_turn(BuildStage& stage) {
  const auto running_max = static_cast<size_t>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 2L));
  for (const size_t needed : stage.plan->needs) co_await await_done(stages_.at(needed));
  while (running_ >= running_max) co_await changed_.wait();
  ++running_;
  const Result<> ran = co_await ring::as_result(run_stage(stage));
  --running_;
  stage.is_done = ran.has_value();
  if (ran) {
    stage.listener->ended();
  } else if (!error_) {
    error_ = ran.error();
    if (error_->kind() != Kind::Cancelled) stage.listener->failed(*error_);
  }
  changed_.notify_all();
}

ring::Task<> Build::await_done(const BuildStage& stage) {
  while (!stage.is_done) co_await changed_.wait();
}

// Whoever waits in its turn for one that waits for a turn lets it have that.
ring::Task<> Build::give_way_to(const BuildStage& stage) {
  --running_;
  changed_.notify_all();
  const Result<> done = co_await ring::as_result(await_done(stage));
  ++running_;
  co_await Result<>(done);
}

// The last needs all the others.
ring::Task<> Build::await_all() {
  const BuildStage& target = stages_.at(plan_.stages.back().stage);
  while (!target.is_done && !error_) co_await changed_.wait();
}

ring::Task<> Build::run_stages() {
  ring::Scope running(engine_.loop, [](const Error&) {});
  for (const build::PlannedStage& plan : plan_.stages) {
    running.start(run_in_turn(stages_.at(plan.stage)));
  }
  const Result<> waited = co_await ring::as_result(await_all());
  running.cancel();
  co_await running.join();
  co_await Result<>(waited);
  if (error_) co_await std::unexpected(*error_);
}

// The whole. -------------------------------------------------------------------------------------

ring::Task<codec::Digest> Build::publish(const BuildStage& stage) {
  if (!request_.is_published) co_return stage.record.id();
  if (stage.name) {
    for (const oci::Reference& name : request_.names) {
      co_await engine_.images->tag(*stage.name, name);
    }
    co_return stage.record.id();
  }
  if (stage.record.config.history.empty()) {
    co_await fail(Kind::Invalid, "No image was generated. Is your Dockerfile empty?");
  }
  if (request_.names.empty()) co_await engine_.images->publish(stage.record, std::nullopt);
  for (const oci::Reference& name : request_.names) {
    co_await engine_.images->publish(stage.record, name);
  }
  co_return stage.record.id();
}

ring::Task<BuiltImage> Build::run(const Fd* context) {
  source_date_epoch_ = co_await read_source_date_epoch(request_.arguments);
  if (context != nullptr) co_await take_context(*context);
  co_await read_dockerfile();
  co_await find_cache_sources();
  add_stages();
  co_await run_stages();
  const std::set<std::string> known = names_of_arguments(dockerfile_);
  std::string unused;
  for (const auto& [name, value] : request_.arguments) {
    if (known.contains(name) || is_proxy_argument(name) || name == epoch_name) continue;
    unused += cat(unused.empty() ? "" : " ", name);
  }
  if (!unused.empty()) {
    listener_.text(cat("[Warning] One or more build-args [", unused, "] were not consumed\n"));
  }
  const BuildStage& last = stages_.at(plan_.stages.back().stage);
  const codec::Digest id = co_await publish(last);
  listener_.text(cat("Successfully built ", short_id(id), '\n'));
  for (const oci::Reference& name : request_.names) {
    if (!request_.is_published) break;
    listener_.text(cat("Successfully tagged ", name.familiar(), '\n'));
  }
  co_return BuiltImage{last.record, std::move(lease_), source_date_epoch_};
}

ring::Task<BuiltImage> build_image(Engine& engine, BuildRequest request, const Fd* context,
                                   BuildListener& listener) {
  image::Store& store = engine.images->store();
  image::Lease lease = co_await image::Lease::take(engine.loop, store);
  image::Workspace workspace = co_await store.make_workspace();
  Build build(engine, std::move(request), listener, std::move(lease), std::move(workspace));
  co_return co_await build.run(context);
}

ring::Task<PrunedCache> prune_build_cache(Engine& engine, std::optional<int64_t> unused_for_s) {
  const image::BuildCache cache(engine.images->store());
  PrunedCache pruned;
  const int64_t now = ::time(nullptr);
  for (const image::BuildCache::Listed& each : co_await cache.list()) {
    if (unused_for_s && now - each.used_s < *unused_for_s) continue;
    co_await cache.remove(each.step.key);
    pruned.ids.emplace_back(each.step.key.hex().substr(0, cache_id_digits));
  }
  if (!unused_for_s) co_await remove_cache_mounts(engine);
  pruned.bytes = (co_await engine.images->collect_garbage()).bytes;
  co_return pruned;
}

}  // namespace nacelle::engine
