#include "api/image_transfer.h"

#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "api/body_pipe.h"
#include "api/image_events.h"
#include "api/image_json.h"
#include "api/json_requests.h"
#include "api/progress.h"
#include "api/registry_auth.h"
#include "base/text.h"
#include "codec/json_fields.h"
#include "codec/json_writer.h"
#include "sys/file.h"

namespace nacelle::api {
namespace {

using codec::json::Writer;

std::vector<std::string> parameters(const Call& call, std::string_view name) {
  std::vector<std::string> values;
  for (const auto& [key, value] : call.http.request().query) {
    if (key == name && !value.empty()) values.push_back(value);
  }
  return values;
}

Result<oci::Platform> platform_of(const Call& call) {
  const std::string_view text = call.http.query("platform");
  if (text.empty()) return oci::host_platform();
  auto platform = oci::parse_platform(text);
  if (platform) return platform;
  return fail(Kind::Invalid, cat(codec::json::in_quotes(text),
                                 ": cannot parse platform specifier: invalid argument"));
}

}  // namespace

Result<oci::Reference> new_reference(const std::string& repository, const std::string& tag) {
  oci::Reference reference = TRY(oci::parse_reference_name(repository));
  if (!reference.digest.empty()) {
    return fail(Kind::Invalid, "refusing to create a tag with a digest reference");
  }
  if (tag.empty()) return oci::parse_reference(repository);
  return oci::parse_reference(cat(reference.name(), ':', tag));
}

Result<oci::Reference> pull_reference(const std::string& name, const std::string& tag) {
  if (tag.empty()) return oci::parse_reference(name);
  const oci::Reference reference = TRY(oci::parse_reference_name(name));
  return oci::parse_reference(cat(reference.name(), tag.contains(':') ? "@" : ":", tag));
}

// Pull and import --------------------------------------------------------------------------------

namespace {

ring::Task<> pull(Call* call, oci::Reference name, oci::Platform platform, ProgressLines* lines) {
  const std::string shown = name.digest.empty() ? name.tag : name.digest;
  image::Images::Login login = registry_login(call->http.request().headers);
  // Nothing is told before the registry has answered: what it refuses is an error answer.
  struct Beginning final : image::Observer {
    ProgressLines* lines = nullptr;
    std::string first;
    void begin() {
      if (!first.empty()) lines->add(std::exchange(first, {}));
    }
    void layer(const image::Progress& progress) override {
      begin();
      lines->layer(progress);
    }
    void say(std::string_view line) override {
      begin();
      lines->say(line);
    }
  };
  Beginning observer;
  observer.lines = lines;
  const std::string from = name.registry == "docker.io" ? name.repository : name.familiar_name();
  observer.first = status_line(cat("Pulling from ", from), shown);
  const image::PullOutcome outcome =
      co_await call->engine.images->pull(name, std::move(platform), observer, std::move(login));
  observer.begin();
  lines->add(status_line(cat("Digest: ", outcome.digest.text())));
  lines->add(status_line(cat(
      "Status: ", outcome.was_there ? "Image is up to date for " : "Downloaded newer image for ",
      name.familiar())));
  const auto details =
      co_await as_result(call->engine.images->inspect(outcome.image.manifest.digest));
  tell_image(*call, "pull", name.familiar(), name.familiar_name(),
             details ? &details->record.config.run : nullptr);
}

ring::Task<image::Image> import_piped(Call* call, const Fd* input, image::ImportOptions options) {
  co_return co_await call->engine.images->import(*input, std::move(options));
}

ring::Task<> import_and_tell(Call* call, const Fd* input, image::ImportOptions options,
                             ProgressLines* lines) {
  const std::string name = options.name ? options.name->familiar() : std::string();
  const image::Image made = co_await import_piped(call, input, std::move(options));
  const image::Details details = co_await call->engine.images->inspect(made.manifest.digest);
  const std::string id = details.id().text();
  tell_image(*call, "import", id, name.empty() ? id : name);
  lines->add(status_line(id));
}

ring::Task<> import(Call* call, ProgressLines* lines) {
  image::ImportOptions options;
  const std::string repository(call->http.query("repo")), tag(call->http.query("tag"));
  if (!repository.empty()) options.name = co_await new_reference(repository, tag);
  options.message = call->http.query("message");
  options.changes = parameters(*call, "changes");
  options.platform = co_await platform_of(*call);
  if (call->http.query("fromSrc") != "-") {
    co_await fail(Kind::Unsupported,
                  "an image is imported from the request's body (fromSrc=-), not from a URL");
  }
  Pipe pipe = co_await open_pipe();
  const Fd input = std::move(pipe.read_end);
  co_await with_body(call, std::move(pipe.write_end),
                     import_and_tell(call, &input, std::move(options), lines));
}

}  // namespace

ring::Task<> create_image(Call& call) {
  const std::string from(call.http.query("fromImage")), tag(call.http.query("tag"));
  ProgressLines lines;
  if (from.empty()) {
    if (call.http.query("fromSrc").empty()) {
      co_await fail(Kind::Invalid, "invalid reference format");
    }
    co_await lines.tell(call, import(&call, &lines));
    co_return;
  }
  const oci::Reference name = co_await pull_reference(from, tag);
  const oci::Platform platform = co_await platform_of(call);
  co_await lines.tell(call, pull(&call, name, platform, &lines));
}

// Push -------------------------------------------------------------------------------------------

namespace {

ring::Task<> push_one(Call* call, oci::Reference name, ProgressLines* lines) {
  image::Images::Login login = registry_login(call->http.request().headers);
  const oci::Descriptor pushed = co_await call->engine.images->push(name, *lines, std::move(login));
  const std::string digest = pushed.digest.text();
  lines->add(status_line(cat(name.tag, ": digest: ", digest, " size: ", pushed.size)));
  Writer json;
  json.begin_object().key("progressDetail").begin_object().end_object().key("aux").begin_object();
  json.member("Tag", name.tag).member("Digest", digest).member("Size", pushed.size);
  json.end_object().end_object();
  lines->add(std::move(json).take() + "\r\n");
  tell_image(*call, "push", name.familiar(), name.familiar_name());
}

ring::Task<> push_all(Call* call, std::vector<oci::Reference> names, ProgressLines* lines) {
  const oci::Reference& first = names.front();
  lines->add(status_line(cat("The push refers to repository [", first.name(), "]")));
  for (const oci::Reference& each : names) co_await push_one(call, each, lines);
}

}  // namespace

ring::Task<> push_image(Call& call) {
  const oci::Reference named = co_await oci::parse_reference_name(call.variables[0]);
  std::string tag(call.http.query("tag"));
  if (tag.empty()) tag = named.tag;
  std::vector<oci::Reference> names;
  for (const image::Image& each : co_await call.engine.images->store().images()) {
    for (const std::string& text : each.names) {
      const auto reference = oci::parse_reference(text);
      if (!reference || reference->name() != named.name()) continue;
      if (tag.empty() || reference->tag == tag) names.push_back(*reference);
    }
  }
  if (names.empty()) {
    co_await fail(Kind::NotFound,
                  tag.empty()
                      ? cat("An image does not exist locally with the tag: ", named.familiar_name())
                      : cat("tag does not exist: ", named.familiar_name(), ':', tag));
  }
  ProgressLines lines;
  co_await lines.tell(call, push_all(&call, std::move(names), &lines));
}

// Archives ---------------------------------------------------------------------------------------

namespace {

ring::Task<> load(Call* call, const Fd* input, image::Observer* observer, ProgressLines* lines) {
  const std::vector<image::Image> images = co_await call->engine.images->load(*input, *observer);
  for (const image::Image& each : images) {
    const auto details = co_await as_result(call->engine.images->inspect(each.manifest.digest));
    if (!details) continue;
    const std::string id = details->id().text();
    const std::vector<std::string> tags = repo_tags(*details);
    tell_image(*call, "load", id, tags.empty() ? id : tags.front(), &details->record.config.run);
  }
  if (images.empty()) lines->add(stream_line(""));
}

// Layers are unpacked, which a client that asked for quiet does not want to know.
struct Quiet final : image::Observer {
  ProgressLines* lines = nullptr;
  void layer(const image::Progress&) override {}
  void say(std::string_view line) override { lines->say(line); }
};

ring::Task<> save(Call* call, std::vector<std::string> names, const Fd* output) {
  co_await call->engine.images->save(std::move(names), *output);
}

// Both sides of a pipe side by side; the error of whoever made the bytes comes first.
ring::Task<> save_through_pipe(Call* call, std::vector<std::string> names) {
  Pipe pipe = co_await open_pipe();
  auto output = std::make_unique<Fd>(std::move(pipe.write_end));
  Result<> saved;
  ring::Scope sending(call->engine.loop, [](const Error&) {});
  Result<> sent;
  const auto send = [](Call* to, Fd from, Result<>* outcome) -> ring::Task<> {
    *outcome = co_await as_result(pipe_into_answer(to, std::move(from), "application/x-tar"));
  };
  sending.start(send(call, std::move(pipe.read_end), &sent));
  saved = co_await as_result(save(call, std::move(names), output.get()));
  output = nullptr;  // the end of the file
  if (!saved) sending.cancel();
  co_await sending.join();
  co_await std::move(saved);
  co_await std::move(sent);
}

}  // namespace

ring::Task<> load_images(Call& call) {
  ProgressLines lines;
  Quiet observer;
  observer.lines = &lines;
  Pipe pipe = co_await open_pipe();
  const Fd input = std::move(pipe.read_end);
  co_await lines.tell(
      call, with_body(&call, std::move(pipe.write_end), load(&call, &input, &observer, &lines)));
}

ring::Task<> save_images(Call& call) {
  std::vector<std::string> names = call.variables;
  if (names.empty()) names = parameters(call, "names");
  if (names.empty()) co_await fail(Kind::Invalid, "no image names were given");
  // Those that are not there are an error before anything is sent.
  for (const std::string& each : names) {
    const image::Details details = co_await call.engine.images->inspect(each);
    tell_image(call, "save", details.id().text(), details.id().text());
  }
  co_await while_client_stays(call, save_through_pipe(&call, std::move(names)));
  co_await call.http.end();
}

// Commit -----------------------------------------------------------------------------------------

namespace {

oci::HealthCheck health_of(const engine::HealthConfig& config) {
  oci::HealthCheck check;
  check.test = config.test;
  check.interval_ns = config.interval;
  check.timeout_ns = config.timeout;
  check.start_period_ns = config.start_period;
  check.start_interval_ns = config.start_interval;
  check.retries = config.retries;
  return check;
}

std::vector<std::string> names_of(const engine::Keys& keys) {
  std::vector<std::string> names;
  for (const auto& [name, present] : keys) names.push_back(name);
  return names;
}

oci::RunConfig run_config(const engine::ContainerConfig& config) {
  oci::RunConfig run;
  run.user = config.user;
  run.working_directory = config.working_dir;
  run.stop_signal = config.stop_signal;
  run.env = config.env;
  run.entrypoint = config.entrypoint.words;
  run.command = config.cmd.words;
  run.shell = config.shell;
  run.on_build = config.on_build;
  run.exposed_ports = names_of(config.exposed_ports);
  run.volumes = names_of(config.volumes);
  run.labels.assign(config.labels.begin(), config.labels.end());
  if (config.healthcheck) run.health_check = health_of(*config.healthcheck);
  return run;
}

// What the request says, and the container's own where it says nothing.
void merge(oci::RunConfig& run, oci::RunConfig over) {
  const auto take = [](auto& ours, auto& theirs) {
    if (!theirs.empty()) ours = std::move(theirs);
  };
  take(run.user, over.user);
  take(run.working_directory, over.working_directory);
  take(run.stop_signal, over.stop_signal);
  take(run.entrypoint, over.entrypoint);
  take(run.command, over.command);
  take(run.shell, over.shell);
  take(run.on_build, over.on_build);
  for (std::string& each : over.env) {
    const std::string name = each.substr(0, each.find('=') + 1);
    std::erase_if(run.env, [&](const std::string& ours) { return ours.starts_with(name); });
    run.env.push_back(std::move(each));
  }
  for (std::string& each : over.exposed_ports) {
    if (!contains(run.exposed_ports, each)) run.exposed_ports.push_back(std::move(each));
  }
  for (std::string& each : over.volumes) {
    if (!contains(run.volumes, each)) run.volumes.push_back(std::move(each));
  }
  for (auto& [key, value] : over.labels) {
    std::erase_if(run.labels, [&](const auto& ours) { return ours.first == key; });
    run.labels.emplace_back(std::move(key), std::move(value));
  }
  std::ranges::sort(run.exposed_ports);
  std::ranges::sort(run.volumes);
  std::ranges::sort(run.labels);
  if (over.health_check) run.health_check = std::move(over.health_check);
}

ring::Task<image::Image> commit(Call* call, std::string container, image::CommitOptions options,
                                bool pause) {
  const engine::Container* found = co_await call->engine.containers->find(container);
  const std::string id = found->id;
  const std::string upper = found->directory + "/upper";
  const bool paused = pause && found->state.phase == engine::Phase::Running;
  if (paused) co_await call->engine.containers->pause(id);
  Result<Fd> directory =
      sys::open_at(sys::working_directory, upper.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  Result<image::Image> made = fail(Kind::Internal, "");
  if (directory) {
    made = co_await as_result(call->engine.images->commit(*directory, std::move(options)));
  } else {
    made = std::unexpected(std::move(directory).error());
  }
  if (paused) (void)co_await as_result(call->engine.containers->unpause(id));
  co_return std::move(made);
}

}  // namespace

ring::Task<> commit_container(Call& call) {
  const std::string body = co_await read_json_body(call, true);
  engine::ContainerConfig config;
  if (!body.empty()) {
    const auto document = co_await parse_body(body);
    co_await codec::json::read_fields(document.root(), config);
  }
  const std::string repository(call.http.query("repo")), tag(call.http.query("tag"));
  image::CommitOptions options;
  if (!repository.empty()) options.name = co_await new_reference(repository, tag);
  options.author = call.http.query("author");
  options.message = call.http.query("comment");
  options.changes = parameters(call, "changes");
  const std::string text(call.http.query("container"));
  const engine::Container* container = co_await call.engine.containers->find(text);
  const std::string id = container->id, image_name = container->config.image;
  options.base = co_await codec::Digest::parse(container->image_manifest);
  options.run = run_config(container->config);
  for (const std::string& each : container->config.cmd.words) {
    options.created_by += cat(options.created_by.empty() ? "" : " ", each);
  }
  merge(*options.run, run_config(config));
  engine::Labels attributes = container->config.labels;
  attributes["name"] = container->name;
  attributes["image"] = image_name;
  attributes["comment"] = options.message;
  const std::string reference = options.name ? options.name->familiar() : std::string();
  // Paused unless it is said not to be.
  const image::Image made =
      co_await commit(&call, id, std::move(options), call.flag("pause", true));
  const image::Details details = co_await call.engine.images->inspect(made.manifest.digest);
  attributes["imageID"] = details.id().text();
  attributes["imageRef"] = reference;
  call.engine.events->publish("container", "commit", id, std::move(attributes));
  Writer json;
  json.begin_object().member("Id", details.id().text()).end_object();
  co_await reply_json(call, 201, std::move(json).take());
}

}  // namespace nacelle::api
