// inspect, of whatever kind a name is.
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/containers.h"
#include "cli/nacelle/format.h"

namespace nacelle::cli {

namespace {

struct KindOfThing {
  std::string_view type, before, after;
};
// In the order in which a name is looked for.
constexpr KindOfThing kinds[] = {{"container", "/containers/", "/json"},
                                 {"image", "/images/", "/json"},
                                 {"network", "/networks/", ""},
                                 {"volume", "/volumes/", ""}};

struct InspectOptions {
  std::string type, format;
  bool size = false;
};

Result<Datum> find(Api& api, const std::string& name, const InspectOptions& chosen) {
  for (const KindOfThing& kind : kinds) {
    if (!chosen.type.empty() && chosen.type != kind.type) continue;
    Target target(kind.before, name, kind.after);
    if (kind.type == "container") target.flag("size", chosen.size);
    Result<Datum> found = api.get(target);
    if (found || found.error().kind() != Kind::NotFound || !chosen.type.empty()) return found;
  }
  return fail(Kind::NotFound, cat("no such object: ", name));
}

Result<int> inspect(Session& session, const std::vector<std::string>& names,
                    const InspectOptions& chosen) {
  Api* api = TRY(session.api());
  Datum all = Datum::array();
  int code = 0;
  for (const std::string& name : names) {
    const Result<Datum> found = find(*api, name, chosen);
    if (!found) {
      std::fflush(stdout);
      std::fprintf(stderr, "nacelle: %s\n", found.error().message().c_str());
      code = 1;
      continue;
    }
    if (chosen.format.empty() || chosen.format == "json") {
      all.push(*found);
    } else {
      std::fputs(TRY(format_one(chosen.format, *found)).c_str(), stdout);
    }
  }
  if (chosen.format.empty()) std::printf("%s\n", all.json("    ").c_str());
  if (chosen.format == "json") std::printf("%s\n", all.json().c_str());
  return code;
}

Result<int> inspect_verb(Session& session, const Arguments& arguments, std::string_view type,
                         std::string_view usage, std::string_view summary) {
  InspectOptions chosen;
  chosen.type = type;
  Options options(usage, summary);
  options.value("format", 'f', chosen.format, "FORMAT", "json, or a template")
      .operands(1, any_number);
  if (type.empty()) {
    options.value("type", 0, chosen.type, "KIND", "container, image, network or volume");
  }
  if (type.empty() || type == "container") {
    options.flag("size", 's', chosen.size, "Show a container's sizes");
  }
  bool verbose = false;
  if (type == "network") options.flag("verbose", 'v', verbose, "Accepted for Docker's sake");
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!chosen.type.empty() && !contains(kinds, chosen.type, &KindOfThing::type)) {
    return fail(Kind::Invalid, cat("\"", chosen.type, "\" is not a valid value for --type"));
  }
  return inspect(session, parsed.operands, chosen);
}

}  // namespace

Result<int> run_inspect(Session& session, const Arguments& arguments) {
  return inspect_verb(session, arguments, "", "inspect [OPTIONS] NAME [NAME...]",
                      "Shows all that is known of containers, images, networks and volumes.");
}
Result<int> run_container_inspect(Session& session, const Arguments& arguments) {
  return inspect_verb(session, arguments, "container",
                      "container inspect [OPTIONS] CONTAINER [CONTAINER...]",
                      "Shows all that is known of containers.");
}
Result<int> run_engine_image_inspect(Session& session, const Arguments& arguments) {
  return inspect_verb(session, arguments, "image", "image inspect [OPTIONS] IMAGE [IMAGE...]",
                      "Shows all that is known of images.");
}
Result<int> run_network_inspect(Session& session, const Arguments& arguments) {
  return inspect_verb(session, arguments, "network",
                      "network inspect [OPTIONS] NETWORK [NETWORK...]",
                      "Shows all that is known of networks.");
}
Result<int> run_volume_inspect(Session& session, const Arguments& arguments) {
  return inspect_verb(session, arguments, "volume", "volume inspect [OPTIONS] VOLUME [VOLUME...]",
                      "Shows all that is known of volumes.");
}

}  // namespace nacelle::cli
