// run, create, start, attach.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/containers.h"
#include "cli/nacelle/lifecycle.h"
#include "cli/nacelle/run_options.h"
#include "cli/nacelle/terminal.h"
#include "cli/nacelle/transfer.h"
#include "sys/file.h"

namespace nacelle::cli {

namespace {

// The file for the id is there before the container is: one that exists is somebody else's.
Result<Fd> make_cid_file(const std::string& path) {
  if (path.empty()) return Fd();
  Result<Fd> file =
      sys::open_at(sys::working_directory, path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (!file && file.error().error_number() == EEXIST) {
    return fail(Kind::Conflict, cat("container ID file found, make sure the other container isn't "
                                    "running or delete ",
                                    path));
  }
  return file;
}

Result<std::string> create_container(Api& api, RunPlan& plan) {
  const Fd cid_file = TRY(make_cid_file(plan.cid_file));
  // Nothing is left of a file for a container that was not made.
  struct Cleanup {
    const std::string& path;
    bool needed;
    ~Cleanup() {
      if (needed) ::unlink(path.c_str());
    }
  } cleanup{plan.cid_file, static_cast<bool>(cid_file)};

  const Shown progress = plan.quiet ? Shown::Nowhere : Shown::Errors;
  if (plan.pull == "always") {
    TRY(pull_by_engine(api, plan.config.image, plan.platform, progress));
  }
  Target target("/containers/create");
  target.maybe("name", plan.name).maybe("platform", plan.platform);
  const std::string body = plan.body();
  Result<Datum> created = api.post(target, body);
  const bool lacks_image = !created && created.error().kind() == Kind::NotFound &&
                           created.error().message().starts_with("No such image");
  if (lacks_image && plan.pull == "missing") {
    if (!plan.quiet) {
      const Result<oci::Reference> name = oci::parse_reference(plan.config.image);
      std::fprintf(stderr, "Unable to find image '%s' locally\n",
                   name ? name->familiar().c_str() : plan.config.image.c_str());
    }
    TRY(pull_by_engine(api, plan.config.image, plan.platform, progress));
    created = api.post(target, body);
  }
  if (!created) return std::unexpected(std::move(created).error());
  for (const Datum& warning : (*created)["Warnings"].items()) {
    std::fprintf(stderr, "WARNING: %s\n", warning.text().c_str());
  }
  const std::string id = (*created)["Id"].text();
  if (cid_file) TRY(sys::write_all(cid_file, id, plan.cid_file));
  cleanup.needed = false;
  return id;
}

Result<> start_container(Api& api, const RunPlan& plan, const std::string& id) {
  Api::Request request{.method = "POST", .target = Target("/containers/", id, "/start")};
  if (plan.trace) request.headers.emplace_back("X-Nacelle-Trace", "1");
  const http::ResponseHead head = TRY(api.call(request));
  TRY(api.rest_as_json());
  if (!plan.trace) return {};
  const std::string* phases = http::find_header(head.headers, "x-nacelle-phases");
  // The container runs, whatever is known of how it came to that.
  const Result<> printed = print_phases(phases != nullptr ? *phases : std::string());
  if (!printed) std::fprintf(stderr, "nacelle: %s\n", printed.error().message().c_str());
  return {};
}

Result<int> run_detached(Api& api, const RunPlan& plan, const std::string& id) {
  TRY(start_container(api, plan, id));
  std::printf("%s\n", id.c_str());
  return 0;
}

// As Docker's client: attach and wait before the start, so that nothing is missed.
Result<int> run_foreground(Api& api, const RunPlan& plan, const std::string& id) {
  const engine::ContainerConfig& config = plan.config;
  const AttachedStreams streams{.input = config.attach_stdin,
                                .output = config.attach_stdout,
                                .errors = config.attach_stderr,
                                .tty = config.tty,
                                .signal_proxy = plan.signal_proxy,
                                .logs = false,
                                .detach_keys = plan.detach_keys};
  if (config.tty && config.attach_stdin && !is_terminal(STDIN_FILENO)) {
    return fail(Kind::Invalid, "the input device is not a TTY");
  }
  // With a terminal the keys that make signals go to the container as bytes.
  const Signals signals = TRY(Signals::open(plan.signal_proxy && !config.tty));
  http::StreamClient::Taken connection = TRY(attach_streams(api, id, streams));
  Waiting waiting = TRY(Waiting::begin(api, id, plan.host.auto_remove ? "removed" : "next-exit"));
  Result<> started = start_container(api, plan, id);
  if (!started) {
    // With --rm it goes as if it had ended; the engine does that, or has none to remove.
    if (plan.host.auto_remove) {
      (void)api.send({.method = "DELETE",
                      .target = Target("/containers/", id).with("v", "1").with("force", "1")});
    }
    return std::unexpected(std::move(started).error());
  }
  if (config.tty) send_size(api, id);
  const StreamEnd end = TRY(run_attached(api, id, std::move(connection), streams, signals));
  if (end == StreamEnd::Detached) return 0;
  return waiting.exit_code();
}

}  // namespace

Result<int> run_run(Session& session, const Arguments& arguments) {
  Result<ParsedRun> parsed = parse_run(RunVerb::Run, arguments, session.describe_into);
  if (!parsed) return complain(parsed.error(), exit_usage);
  if (parsed->exit_code) return *parsed->exit_code;
  RunPlan& plan = parsed->plan;
  const auto whole = [&]() -> Result<int> {
    Api* api = TRY(session.api());
    const std::string id = TRY(create_container(*api, plan));
    const engine::ContainerConfig& config = plan.config;
    const bool attached = config.attach_stdin || config.attach_stdout || config.attach_stderr;
    return plan.detach || !attached ? run_detached(*api, plan, id) : run_foreground(*api, plan, id);
  };
  const Result<int> code = whole();
  return code ? *code : complain(code.error(), exit_code_of_start(code.error()));
}

Result<int> run_create(Session& session, const Arguments& arguments) {
  Result<ParsedRun> parsed = parse_run(RunVerb::Create, arguments, session.describe_into);
  if (!parsed) return complain(parsed.error(), exit_usage);
  if (parsed->exit_code) return *parsed->exit_code;
  Api* api = TRY(session.api());
  const std::string id = TRY(create_container(*api, parsed->plan));
  std::printf("%s\n", id.c_str());
  return 0;
}

namespace {

// `start -a`: attach, wait, start, as run does with what is there.
Result<int> start_attached(Api& api, const std::string& name, bool interactive,
                           const std::string& detach_keys) {
  const Datum container = TRY(api.get(Target("/containers/", name, "/json")));
  const std::string id = container["Id"].text();
  const Datum& config = container["Config"];
  const AttachedStreams streams{.input = interactive && config["OpenStdin"].boolean(),
                                .output = true,
                                .errors = true,
                                .tty = config["Tty"].boolean(),
                                .signal_proxy = true,
                                .logs = false,
                                .detach_keys = detach_keys};
  const Signals signals = TRY(Signals::open(!streams.tty));
  http::StreamClient::Taken connection = TRY(attach_streams(api, id, streams));
  const bool removed = container["HostConfig"]["AutoRemove"].boolean();
  Waiting waiting = TRY(Waiting::begin(api, id, removed ? "removed" : "next-exit"));
  TRY(api.send({.method = "POST", .target = Target("/containers/", id, "/start")}));
  if (streams.tty) send_size(api, id);
  const StreamEnd end = TRY(run_attached(api, id, std::move(connection), streams, signals));
  if (end == StreamEnd::Detached) return 0;
  return waiting.exit_code();
}

}  // namespace

Result<int> run_start(Session& session, const Arguments& arguments) {
  bool attach = false, interactive = false;
  std::string detach_keys, checkpoint;
  Options options("start [OPTIONS] CONTAINER [CONTAINER...]", "Starts containers that have ended.");
  options.flag("attach", 'a', attach, "Attach to its output and pass signals on")
      .flag("interactive", 'i', interactive, "Attach our standard input too")
      .value("detach-keys", 0, detach_keys, "KEYS", "What detaches from it (ctrl-p,ctrl-q)")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (attach || interactive) {
    if (parsed.operands.size() > 1) {
      return fail(Kind::Invalid, "you cannot start and attach multiple containers at once");
    }
    return start_attached(*TRY(session.api()), parsed.operands[0], interactive, detach_keys);
  }
  return for_each(session, parsed.operands, [](Api& api, const std::string& name) -> Result<> {
    TRY(api.send({.method = "POST", .target = Target("/containers/", name, "/start")}));
    std::printf("%s\n", name.c_str());
    return {};
  });
}

Result<int> run_attach(Session& session, const Arguments& arguments) {
  bool no_stdin = false, signal_proxy = true;
  std::string detach_keys;
  Options options("attach [OPTIONS] CONTAINER",
                  "Attaches our standard streams to a running container.");
  options.flag("no-stdin", 0, no_stdin, "Do not attach our standard input")
      .flag("sig-proxy", 0, signal_proxy, "Pass our signals on (default true)")
      .value("detach-keys", 0, detach_keys, "KEYS", "What detaches from it (ctrl-p,ctrl-q)")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  const Datum container = TRY(api->get(Target("/containers/", parsed.operands[0], "/json")));
  const Datum& state = container["State"];
  if (!state["Running"].boolean()) {
    return fail(Kind::Conflict, "cannot attach to a stopped container, start it first");
  }
  if (state["Paused"].boolean()) {
    return fail(Kind::Conflict, "cannot attach to a paused container, unpause it first");
  }
  if (state["Restarting"].boolean()) {
    return fail(Kind::Conflict,
                "cannot attach to a restarting container, wait until it is running");
  }
  const std::string id = container["Id"].text();
  const Datum& config = container["Config"];
  const AttachedStreams streams{.input = !no_stdin && config["OpenStdin"].boolean(),
                                .output = true,
                                .errors = true,
                                .tty = config["Tty"].boolean(),
                                .signal_proxy = signal_proxy,
                                .logs = false,
                                .detach_keys = detach_keys};
  const Signals signals = TRY(Signals::open(signal_proxy && !streams.tty));
  Waiting waiting = TRY(Waiting::begin(*api, id, "not-running"));
  http::StreamClient::Taken connection = TRY(attach_streams(*api, id, streams));
  if (streams.tty) send_size(*api, id);
  const StreamEnd end = TRY(run_attached(*api, id, std::move(connection), streams, signals));
  if (end == StreamEnd::Detached) return 0;
  return waiting.exit_code();
}

}  // namespace nacelle::cli
