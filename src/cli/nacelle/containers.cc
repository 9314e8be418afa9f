// Verbs on containers that are a request each: stop restart kill rm pause unpause wait rename
// update port top diff prune commit export.
#include "cli/nacelle/containers.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/text.h"
#include "cli/nacelle/format.h"
#include "cli/nacelle/lifecycle.h"
#include "cli/nacelle/output_file.h"
#include "cli/nacelle/run_values.h"
#include "cli/nacelle/streams.h"
#include "cli/nacelle/units.h"

namespace nacelle::cli {

Result<int> for_each(Session& session, const std::vector<std::string>& names,
                     const std::function<Result<>(Api&, const std::string&)>& act) {
  Api* api = TRY(session.api());
  int code = 0;
  for (const std::string& name : names) {
    const Result<> done = act(*api, name);
    if (!done) code = complain(done.error());
  }
  return code;
}

Result<std::string> filters_json(const std::vector<std::string>& filters) {
  std::map<std::string, std::vector<std::string>> by_key;
  for (const std::string& filter : filters) {
    if (!filter.contains('=')) {
      return fail(Kind::Invalid,
                  cat("invalid argument \"", filter,
                      "\" for \"-f, --filter\" flag: invalid filter '", filter, "'"));
    }
    std::string_view value = filter;
    std::string key(take_until(value, '='));
    for (char& c : key) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    while (key.ends_with(' ')) key.pop_back();
    by_key[key].emplace_back(value);
  }
  if (by_key.empty()) return std::string();
  Datum json = Datum::object();
  for (const auto& [key, values] : by_key) {
    Datum set = Datum::object();
    for (const std::string& value : values) set.set(value, Datum(true));
    json.set(key, std::move(set));
  }
  return json.json();
}

bool confirmed(const char* question) {
  std::printf("%s\nAre you sure you want to continue? [y/N] ", question);
  std::fflush(stdout);
  char answer[64];
  if (std::fgets(answer, sizeof answer, stdin) == nullptr) return false;
  return (answer[0] == 'y' || answer[0] == 'Y') && (answer[1] == '\n' || answer[1] == 0);
}

namespace {

// POST /containers/NAME/WHAT for each, and the name as it was typed.
Result<int> post_each(Session& session, const std::vector<std::string>& names,
                      const std::function<Target(const std::string&)>& target_of) {
  return for_each(session, names, [&](Api& api, const std::string& name) -> Result<> {
    TRY(api.send({.method = "POST", .target = target_of(name)}));
    std::printf("%s\n", name.c_str());
    std::fflush(stdout);
    return {};
  });
}

Result<int> stop_or_restart(Session& session, const Arguments& arguments, std::string_view verb,
                            std::string_view usage, std::string_view summary) {
  std::string signal;
  std::optional<int64_t> timeout;
  Options options(usage, summary);
  options.value("signal", 's', signal, "SIGNAL", "What asks them to stop")
      .value("timeout", 't', timeout, "SECONDS", "How long they have before they are killed")
      .alias("time")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  return post_each(session, parsed.operands, [&](const std::string& name) {
    Target target("/containers/", name, cat('/', verb));
    target.maybe("signal", signal);
    if (timeout) target.with("t", cat(*timeout));
    return target;
  });
}

// Verbs without options of their own.
Result<int> plain(Session& session, const Arguments& arguments, std::string_view verb,
                  std::string_view usage, std::string_view summary) {
  Options options(usage, summary);
  options.operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  return post_each(session, parsed.operands, [&](const std::string& name) {
    return Target("/containers/", name, cat('/', verb));
  });
}

}  // namespace

Result<int> run_stop(Session& session, const Arguments& arguments) {
  return stop_or_restart(session, arguments, "stop", "stop [OPTIONS] CONTAINER [CONTAINER...]",
                         "Stops running containers.");
}
Result<int> run_restart(Session& session, const Arguments& arguments) {
  return stop_or_restart(session, arguments, "restart",
                         "restart [OPTIONS] CONTAINER [CONTAINER...]", "Restarts containers.");
}
Result<int> run_pause(Session& session, const Arguments& arguments) {
  return plain(session, arguments, "pause", "pause CONTAINER [CONTAINER...]",
               "Stops all processes of containers where they are.");
}
Result<int> run_unpause(Session& session, const Arguments& arguments) {
  return plain(session, arguments, "unpause", "unpause CONTAINER [CONTAINER...]",
               "Lets the processes of paused containers go on.");
}

Result<int> run_kill(Session& session, const Arguments& arguments) {
  std::string signal;
  Options options("kill [OPTIONS] CONTAINER [CONTAINER...]", "Kills running containers.");
  options.value("signal", 's', signal, "SIGNAL", "Send this signal (default KILL)")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  return post_each(session, parsed.operands, [&](const std::string& name) {
    return Target("/containers/", name, "/kill").maybe("signal", signal);
  });
}

Result<int> run_remove(Session& session, const Arguments& arguments) {
  bool force = false, volumes = false, link = false;
  Options options("rm [OPTIONS] CONTAINER [CONTAINER...]", "Removes containers.");
  options.flag("force", 'f', force, "Kill them first if they run")
      .flag("volumes", 'v', volumes, "Remove their anonymous volumes too")
      .flag("link", 'l', link, "Remove a link")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  return for_each(session, parsed.operands, [&](Api& api, const std::string& typed) -> Result<> {
    const std::string name = typed.starts_with('/') ? typed.substr(1) : typed;
    if (name.empty()) return fail(Kind::Invalid, "container name cannot be empty");
    Target target("/containers/", name);
    target.flag("v", volumes).flag("link", link).flag("force", force);
    TRY(api.send({.method = "DELETE", .target = target}));
    std::printf("%s\n", typed.c_str());
    return {};
  });
}

Result<int> run_wait(Session& session, const Arguments& arguments) {
  Options options("wait CONTAINER [CONTAINER...]",
                  "Waits until containers have ended, and prints their exit codes.");
  options.operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  return for_each(session, parsed.operands, [](Api& api, const std::string& name) -> Result<> {
    const Datum answer = TRY(api.post(Target("/containers/", name, "/wait")));
    if (const std::string& message = answer["Error"]["Message"].text(); !message.empty()) {
      return fail(Kind::Internal, message);
    }
    std::printf("%lld\n", static_cast<long long>(answer["StatusCode"].integer()));
    return {};
  });
}

Result<int> run_rename(Session& session, const Arguments& arguments) {
  Options options("rename CONTAINER NEW_NAME", "Gives a container another name.");
  options.operands(2, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  TRY(api->send({.method = "POST",
                 .target = Target("/containers/", parsed.operands[0], "/rename")
                               .with("name", parsed.operands[1])}));
  return 0;
}

Result<int> run_update(Session& session, const Arguments& arguments) {
  Datum body = Datum::object();
  const auto number = [&body](std::string_view key) -> Options::Taker {
    return [&body, key](std::string_view text) -> Result<> {
      const auto value = parse_number<int64_t>(text);
      if (!value) return fail(Kind::Invalid, cat("'", text, "' is not a number"));
      body.set(key, Datum(*value));
      return {};
    };
  };
  const auto size = [&body](std::string_view key, bool unlimited) -> Options::Taker {
    return [&body, key, unlimited](std::string_view text) -> Result<> {
      body.set(key, Datum(unlimited && text == "-1" ? int64_t{-1} : TRY(parse_binary_size(text))));
      return {};
    };
  };
  const auto words = [&body](std::string_view key) -> Options::Taker {
    return [&body, key](std::string_view text) -> Result<> {
      body.set(key, Datum(text));
      return {};
    };
  };
  Options options("update [OPTIONS] CONTAINER [CONTAINER...]", "Changes the limits of containers.");
  options.taken("blkio-weight", 0, number("BlkioWeight"), "WEIGHT", "Block IO weight, 10 to 1000")
      .taken("cpu-period", 0, number("CpuPeriod"), "MICROSECONDS", "Period of the quota")
      .taken("cpu-quota", 0, number("CpuQuota"), "MICROSECONDS", "Quota in a period")
      .taken("cpu-rt-period", 0, number("CpuRealtimePeriod"), "MICROSECONDS", "Real-time period")
      .taken("cpu-rt-runtime", 0, number("CpuRealtimeRuntime"), "MICROSECONDS", "Real-time runtime")
      .taken("cpu-shares", 'c', number("CpuShares"), "WEIGHT", "Relative weight")
      .taken(
          "cpus", 0,
          [&body](std::string_view text) -> Result<> {
            body.set("NanoCpus", Datum(TRY(parse_cpus(text))));
            return {};
          },
          "NUMBER", "Number of processors")
      .taken("cpuset-cpus", 0, words("CpusetCpus"), "LIST", "Processors they may use")
      .taken("cpuset-mems", 0, words("CpusetMems"), "LIST", "Memory nodes they may use")
      .taken("memory", 'm', size("Memory", false), "BYTES", "Limit of memory")
      .taken("memory-reservation", 0, size("MemoryReservation", false), "BYTES", "Soft limit")
      .taken("memory-swap", 0, size("MemorySwap", true), "BYTES",
             "Limit of memory and swap together; -1: no limit of swap")
      .taken("pids-limit", 0, number("PidsLimit"), "NUMBER", "Limit of processes; -1: none")
      .taken(
          "restart", 0,
          [&body](std::string_view text) -> Result<> {
            const engine::RestartPolicy policy = TRY(parse_restart(text));
            Datum value = Datum::object();
            value.set("Name", policy.name)
                .set("MaximumRetryCount", Datum(policy.maximum_retry_count));
            body.set("RestartPolicy", std::move(value));
            return {};
          },
          "POLICY", "no, always, unless-stopped or on-failure[:NUMBER]")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (body.members().empty()) {
    return fail(Kind::Invalid, "you must provide one or more flags when using this command");
  }
  return for_each(session, parsed.operands, [&](Api& api, const std::string& name) -> Result<> {
    const Datum answer = TRY(api.post(Target("/containers/", name, "/update"), body.json()));
    std::printf("%s\n", name.c_str());
    for (const Datum& warning : answer["Warnings"].items()) {
      std::fprintf(stderr, "%s\n", warning.text().c_str());
    }
    return {};
  });
}

Result<int> run_port(Session& session, const Arguments& arguments) {
  Options options("port CONTAINER [PORT[/PROTOCOL]]", "Shows which ports are published where.");
  options.operands(1, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  const Datum container = TRY(api->get(Target("/containers/", parsed.operands[0], "/json")));
  const Datum& ports = container["NetworkSettings"]["Ports"];
  const auto address = [](const Datum& binding) {
    const std::string& ip = binding["HostIp"].text();
    return ip.contains(':') ? cat('[', ip, "]:", binding["HostPort"].text())
                            : cat(ip, ':', binding["HostPort"].text());
  };
  if (parsed.operands.size() == 2) {
    std::string port = parsed.operands[1];
    if (!port.contains('/')) port += "/tcp";
    const std::vector<Datum>& bindings = ports[port].items();
    if (bindings.empty()) {
      return fail(Kind::NotFound, cat("no public port '", parsed.operands[1], "' published for ",
                                      parsed.operands[0]));
    }
    for (const Datum& binding : bindings) std::printf("%s\n", address(binding).c_str());
    return 0;
  }
  std::vector<std::pair<int, std::string>> lines;
  for (const auto& [port, bindings] : ports.members()) {
    std::string_view digits = port;
    const int order = parse_number<int>(take_until(digits, '/')).value_or(0);
    for (const Datum& binding : bindings.items()) {
      lines.emplace_back(order, cat(port, " -> ", address(binding)));
    }
  }
  std::ranges::sort(lines);
  for (const auto& line : lines) std::printf("%s\n", line.second.c_str());
  return 0;
}

Result<int> run_top(Session& session, const Arguments& arguments) {
  Options options("top CONTAINER [PS-OPTIONS]", "Shows the processes of a container.");
  options.operands(1, any_number).stop_at_operand();
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  std::string ps_arguments;
  for (size_t each = 1; each < parsed.operands.size(); ++each) {
    ps_arguments += cat(each > 1 ? " " : "", parsed.operands[each]);
  }
  Api* api = TRY(session.api());
  const Datum answer = TRY(
      api->get(Target("/containers/", parsed.operands[0], "/top").maybe("ps_args", ps_arguments)));
  std::string lines;
  const auto add = [&lines](const Datum& cells) {
    for (const Datum& cell : cells.items()) {
      if (&cell != &cells.items().front()) lines += '\t';
      lines += cell.text();
    }
    lines += '\n';
  };
  add(answer["Titles"]);
  for (const Datum& process : answer["Processes"].items()) add(process);
  std::fputs(align_columns(lines).c_str(), stdout);
  return 0;
}

Result<int> run_diff(Session& session, const Arguments& arguments) {
  Options options("diff CONTAINER", "Shows which files of a container have changed.");
  options.operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  const Datum changes = TRY(api->get(Target("/containers/", parsed.operands[0], "/changes")));
  for (const Datum& change : changes.items()) {
    const int64_t kind = change["Kind"].integer();
    std::printf("%c %s\n", kind == 0 ? 'C' : kind == 1 ? 'A' : 'D', change["Path"].text().c_str());
  }
  return 0;
}

Result<int> run_container_prune(Session& session, const Arguments& arguments) {
  bool force = false;
  std::vector<std::string> filters;
  Options options("container prune [OPTIONS]", "Removes all stopped containers.");
  options.flag("force", 'f', force, "Do not ask")
      .list("filter", 0, filters, "KEY=VALUE", "until=TIME, label=KEY[=VALUE]")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!force && !confirmed("WARNING! This will remove all stopped containers.")) return 0;
  Api* api = TRY(session.api());
  const Datum answer =
      TRY(api->post(Target("/containers/prune").maybe("filters", TRY(filters_json(filters)))));
  const std::vector<Datum>& removed = answer["ContainersDeleted"].items();
  if (!removed.empty()) std::printf("Deleted Containers:\n");
  for (const Datum& id : removed) std::printf("%s\n", id.text().c_str());
  if (!removed.empty()) std::printf("\n");
  std::printf("Total reclaimed space: %s\n",
              decimal_size(answer["SpaceReclaimed"].number()).c_str());
  return 0;
}

Result<int> run_commit(Session& session, const Arguments& arguments) {
  std::string author, message;
  std::vector<std::string> changes;
  bool pause = true;
  Options options("commit [OPTIONS] CONTAINER [NAME[:TAG]]", "Makes an image of a container.");
  options.value("author", 'a', author, "TEXT", "Who made it")
      .list("change", 'c', changes, "INSTRUCTION", "Apply a Dockerfile instruction")
      .value("message", 'm', message, "TEXT", "Say what it is")
      .flag("pause", 'p', pause, "Pause the container meanwhile (default true)")
      .operands(1, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Target target("/commit");
  target.with("container", parsed.operands[0]);
  if (parsed.operands.size() == 2) {
    const oci::Reference name = TRY(parse_new_name(parsed.operands[1]));
    target.with("repo", name.name()).with("tag", name.tag);
  }
  target.maybe("comment", message).maybe("author", author);
  for (const std::string& change : changes) target.with("changes", change);
  if (!pause) target.with("pause", "0");
  Api* api = TRY(session.api());
  const Datum answer = TRY(api->post(target, "{}"));
  std::printf("%s\n", answer["Id"].text().c_str());
  return 0;
}

Result<int> run_export(Session& session, const Arguments& arguments) {
  std::string path;
  Options options("export [OPTIONS] CONTAINER", "Writes a container's files to a tar archive.");
  options.value("output", 'o', path, "FILE", "Write to a file, not to standard output")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  OutputFile output = TRY(OutputFile::open(path));
  TRY(api->each_piece({.target = Target("/containers/", parsed.operands[0], "/export")},
                      [&](std::string_view piece) -> Result<bool> {
                        TRY(write_out(output.file().get(), piece));
                        return true;
                      }));
  TRY(output.finish());
  return 0;
}

}  // namespace nacelle::cli
