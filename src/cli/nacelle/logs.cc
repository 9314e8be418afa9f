// logs, events.
#include <unistd.h>

#include <cstdio>
#include <map>

#include "base/text.h"
#include "cli/nacelle/containers.h"
#include "cli/nacelle/format.h"
#include "cli/nacelle/streams.h"
#include "cli/nacelle/units.h"

#include <time.h>

namespace nacelle::cli {

Result<int> run_logs(Session& session, const Arguments& arguments) {
  bool details = false, follow = false, timestamps = false;
  std::string since, until, tail = "all";
  Options options("logs [OPTIONS] CONTAINER", "Shows what a container has written.");
  options.flag("details", 0, details, "Show labels and variables that the log keeps")
      .flag("follow", 'f', follow, "Go on with what it writes")
      .value("since", 0, since, "TIME", "From then on (2013-01-02T13:23:37Z, or 42m)")
      .value("tail", 'n', tail, "NUMBER", "Last lines only (default all)")
      .flag("timestamps", 't', timestamps, "Show when each line was written")
      .value("until", 0, until, "TIME", "Up to then")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!since.empty()) since = TRY(parse_since(since).context("invalid value for \"since\""));
  if (!until.empty()) until = TRY(parse_since(until).context("invalid value for \"until\""));
  Api* api = TRY(session.api());
  const Datum container = TRY(api->get(Target("/containers/", parsed.operands[0], "/json")));
  Target target("/containers/", container["Id"].text(), "/logs");
  target.with("stdout", "1").with("stderr", "1");
  target.maybe("since", since).maybe("until", until);
  target.flag("timestamps", timestamps).flag("details", details).flag("follow", follow);
  target.with("tail", tail);
  const bool tty = container["Config"]["Tty"].boolean();
  Demultiplexer streams([](int stream, std::string_view bytes) {
    return write_out(stream == 2 ? STDERR_FILENO : STDOUT_FILENO, bytes);
  });
  TRY(api->each_piece({.target = target}, [&](std::string_view piece) -> Result<bool> {
    if (tty) {
      TRY(write_out(STDOUT_FILENO, piece));
    } else {
      TRY(streams.feed(piece));
    }
    return true;
  }));
  return 0;
}

namespace {

// As Docker's client: the zone's time with nine digits.
std::string event_time(int64_t nanoseconds) {
  const time_t seconds = nanoseconds / 1'000'000'000;
  tm broken{};
  ::localtime_r(&seconds, &broken);
  char day[40], zone[16], text[80];
  ::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &broken);
  ::strftime(zone, sizeof zone, "%z", &broken);
  std::snprintf(text, sizeof text, "%s.%09lld%.3s:%s", day,
                static_cast<long long>(nanoseconds % 1'000'000'000), zone, zone + 3);
  return text;
}

std::string event_line(const Datum& event) {
  std::map<std::string, std::string> attributes;
  for (const auto& [key, value] : event["Actor"]["Attributes"].members()) {
    attributes[key] = value.text();
  }
  int64_t when = event["timeNano"].integer();
  if (when == 0) when = event["time"].integer() * 1'000'000'000;
  std::string line = cat(event_time(when), ' ', event["Type"].text(), ' ', event["Action"].text(),
                         ' ', event["Actor"]["ID"].text());
  if (!attributes.empty()) {
    std::string list;
    for (const auto& [key, value] : attributes) {
      list += cat(list.empty() ? "" : ", ", key, '=', value);
    }
    line += cat(" (", list, ')');
  }
  return line + '\n';
}

// Templates know the fields by Go's names, which differ from JSON's in case.
Datum with_go_names(const Datum& event) {
  Datum named = event;
  named.set("ID", event["id"]);
  named.set("Status", event["status"]);
  named.set("From", event["from"]);
  named.set("Scope", event["scope"]);
  named.set("Time", event["time"]);
  named.set("TimeNano", event["timeNano"]);
  return named;
}

}  // namespace

Result<int> run_events(Session& session, const Arguments& arguments) {
  std::string since, until, format;
  std::vector<std::string> filters;
  Options options("events [OPTIONS]", "Shows what happens, as it happens.");
  options.list("filter", 'f', filters, "KEY=VALUE", "Which: type, event, container, label, ...")
      .value("format", 0, format, "FORMAT", "json, or a template")
      .value("since", 0, since, "TIME", "With what has happened since then")
      .value("until", 0, until, "TIME", "Up to then, and no longer")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Target target("/events");
  if (!since.empty()) target.with("since", TRY(parse_since(since)));
  if (!until.empty()) target.with("until", TRY(parse_since(until)));
  target.maybe("filters", TRY(filters_json(filters)));
  Api* api = TRY(session.api());
  TRY(api->each_line({.target = target}, [&](const Datum& event) -> Result<bool> {
    const std::string line = format.empty()     ? event_line(event)
                             : format == "json" ? cat(event.json(), '\n')
                                                : TRY(format_one(format, with_go_names(event)));
    TRY(write_out(STDOUT_FILENO, line));
    return true;
  }));
  return 0;
}

}  // namespace nacelle::cli
