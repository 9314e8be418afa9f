// Image verbs over the engine, and the choice between them and those on the store itself (image_*).
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "cli/nacelle/containers.h"
#include "cli/nacelle/engine_verbs.h"
#include "cli/nacelle/format.h"
#include "cli/nacelle/output_file.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/streams.h"
#include "cli/nacelle/text.h"
#include "cli/nacelle/transfer.h"
#include "cli/nacelle/units.h"

namespace nacelle::cli {

namespace {

std::function<Result<size_t>(std::span<char>)> source_of(const Fd& file) {
  return [&file](std::span<char> into) -> Result<size_t> {
    for (;;) {
      const ssize_t length = ::read(file.get(), into.data(), into.size());
      if (length >= 0) return static_cast<size_t>(length);
      if (errno != EINTR) return fail_errno(errno, "read");
    }
  };
}

Result<int> engine_pull(Session& session, const Arguments& arguments) {
  bool quiet = false, all_tags = false, trust = false;
  std::string platform;
  Options options("pull [OPTIONS] NAME[:TAG|@DIGEST]", "Downloads an image from a registry.");
  options.flag("all-tags", 'a', all_tags, "Download every tag of the name")
      .flag("quiet", 'q', quiet, "Print the image's name only")
      .value("platform", 0, platform, "OS/ARCH", "Pull what runs there, not here")
      .flag("disable-content-trust", 0, trust, "Accepted for Docker's sake")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const std::string& typed = parsed.operands[0];
  const oci::Reference name = TRY(oci::parse_reference(typed));
  Api* api = TRY(session.api());
  if (all_tags) {
    const oci::Reference bare = TRY(oci::parse_reference_name(typed));
    if (!bare.tag.empty() || !bare.digest.empty()) {
      return fail(Kind::Invalid, "tag can't be used with --all-tags/-a");
    }
    TRY(show_transfer(*api,
                      {.method = "POST",
                       .target = Target("/images/create").with("fromImage", name.familiar_name()),
                       .body = {},
                       .headers = {{"X-Registry-Auth", registry_auth(name, false)}}},
                      quiet ? Shown::Nowhere : Shown::Output));
    return 0;
  }
  if (!quiet && name.tag == "latest" && !typed.ends_with(":latest")) {
    std::printf("Using default tag: latest\n");
    std::fflush(stdout);
  }
  TRY(pull_by_engine(*api, typed, platform, quiet ? Shown::Nowhere : Shown::Output));
  std::printf("%s\n", name.text().c_str());
  return 0;
}

Result<int> engine_push(Session& session, const Arguments& arguments) {
  bool quiet = false, trust = false;
  std::string platform;
  Options options("push [OPTIONS] NAME[:TAG]", "Uploads an image to a registry.");
  options.flag("quiet", 'q', quiet, "Print the image's name only")
      .value("platform", 0, platform, "OS/ARCH", "Push this platform's image only")
      .flag("disable-content-trust", 0, trust, "Accepted for Docker's sake")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const oci::Reference name = TRY(parse_new_name(parsed.operands[0]));
  Api* api = TRY(session.api());
  if (!quiet && name.tag == "latest" && !parsed.operands[0].ends_with(":latest")) {
    std::printf("Using default tag: latest\n");
    std::fflush(stdout);
  }
  TRY(show_transfer(
      *api,
      {.method = "POST",
       .target = Target("/images/", name.familiar_name(), "/push").with("tag", name.tag),
       .body = {},
       .headers = {{"X-Registry-Auth", registry_auth(name, true)}}},
      quiet ? Shown::Nowhere : Shown::Output));
  if (quiet) std::printf("%s\n", name.text().c_str());
  return 0;
}

const Headings image_headings = {{"Repository", "REPOSITORY"},
                                 {"Tag", "TAG"},
                                 {"Digest", "DIGEST"},
                                 {"ID", "IMAGE ID"},
                                 {"CreatedSince", "CREATED"},
                                 {"CreatedAt", "CREATED AT"},
                                 {"Size", "SIZE"},
                                 {"Containers", "CONTAINERS"},
                                 {"SharedSize", "SHARED SIZE"},
                                 {"UniqueSize", "UNIQUE SIZE"},
                                 {"VirtualSize", "SIZE"}};

// A row for each name; one without any for an image that has none.
void add_image_rows(const Datum& image, bool whole, bool digests, std::vector<Datum>& rows) {
  Datum row = Datum::object();
  std::string_view id = image["Id"].text();
  std::string_view hex = id;
  if (!whole) {
    if (hex.starts_with("sha256:")) hex.remove_prefix(7);
    id = hex.substr(0, 12);
  }
  const int64_t created = image["Created"].integer();
  const auto bytes = static_cast<uint64_t>(image["Size"].integer());
  row.set("ID", id)
      .set("CreatedSince", created <= 0 ? std::string("N/A")
                                        : cat(human_duration(::time(nullptr) - created), " ago"))
      .set("CreatedAt", local_time(created))
      .set("Size", human_size(bytes))
      .set("VirtualSize", human_size(bytes))
      .set("Containers", image["Containers"].integer() < 0 ? std::string("N/A")
                                                           : cat(image["Containers"].integer()))
      .set("SharedSize", "N/A")
      .set("UniqueSize", "N/A");
  const auto digest_of = [&image](const std::string& repository) -> std::string {
    for (const Datum& each : image["RepoDigests"].items()) {
      std::string_view digest = each.text();
      if (take_until(digest, '@') == repository) return std::string(digest);
    }
    return "<none>";
  };
  bool any = false;
  for (const Datum& tag : image["RepoTags"].items()) {
    const std::string& name = tag.text();
    const size_t colon = name.rfind(':');
    if (colon == std::string::npos || name == "<none>:<none>") continue;
    const std::string repository = name.substr(0, colon);
    row.set("Repository", repository)
        .set("Tag", name.substr(colon + 1))
        .set("Digest", digest_of(repository));
    rows.push_back(row);
    any = true;
  }
  if (any) return;
  row.set("Repository", "<none>").set("Tag", "<none>").set("Digest", "<none>");
  for (const Datum& each : image["RepoDigests"].items()) {
    std::string_view digest = each.text();
    const std::string_view repository = take_until(digest, '@');
    row.set("Repository", repository).set("Digest", digest);
    if (digests) break;
  }
  rows.push_back(row);
}

Result<int> engine_images(Session& session, const Arguments& arguments) {
  bool all = false, digests = false, no_trunc = false, quiet = false, tree = false;
  std::string format;
  std::vector<std::string> filters;
  Options options("images [OPTIONS] [NAME[:TAG]]", "Lists images.");
  options.flag("all", 'a', all, "Show intermediate images too")
      .flag("digests", 0, digests, "Show digests")
      .list("filter", 'f', filters, "KEY=VALUE", "Which: dangling, label, reference, before, since")
      .value("format", 0, format, "FORMAT", "table, table TEMPLATE, json, or a template")
      .flag("no-trunc", 0, no_trunc, "Show ids in full")
      .flag("quiet", 'q', quiet, "Show ids only")
      .flag("tree", 0, tree, "Accepted for Docker's sake")
      .operands(0, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!parsed.operands.empty()) filters.push_back(cat("reference=", parsed.operands[0]));
  Target target("/images/json");
  target.flag("all", all).maybe("filters", TRY(filters_json(filters)));
  Api* api = TRY(session.api());
  const Datum images = TRY(api->get(target));
  std::vector<Datum> rows;
  for (const Datum& image : images.items()) add_image_rows(image, no_trunc, digests, rows);
  if (quiet) {
    for (const Datum& row : rows) std::printf("%s\n", row["ID"].text().c_str());
    return 0;
  }
  TRY(print_list(format,
                 digests
                     ? "{{.Repository}}\\t{{.Tag}}\\t{{.Digest}}\\t{{.ID}}\\t{{.CreatedSince}}\\t"
                       "{{.Size}}"
                     : "{{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}",
                 image_headings, rows));
  return 0;
}

Result<int> engine_image_remove(Session& session, const Arguments& arguments) {
  bool force = false, no_prune = false;
  std::vector<std::string> platforms;
  Options options("rmi [OPTIONS] IMAGE [IMAGE...]", "Removes images, or names of images.");
  options.flag("force", 'f', force, "Even where a stopped container uses it")
      .flag("no-prune", 0, no_prune, "Keep parents without a name")
      .list("platform", 0, platforms, "OS/ARCH", "Remove this platform's variant only")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  return for_each(session, parsed.operands, [&](Api& api, const std::string& name) -> Result<> {
    Target target("/images/", name);
    target.flag("force", force).flag("noprune", no_prune);
    const Datum answer = TRY(api.json({.method = "DELETE", .target = target}));
    for (const Datum& each : answer.items()) {
      for (const char* what : {"Untagged", "Deleted"}) {
        if (const std::string& text = each[what].text(); !text.empty()) {
          std::printf("%s: %s\n", what, text.c_str());
        }
      }
    }
    return {};
  });
}

Result<int> engine_tag(Session& session, const Arguments& arguments) {
  Options options("tag IMAGE NAME[:TAG]", "Gives an image another name.");
  options.operands(2, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const oci::Reference name = TRY(parse_new_name(parsed.operands[1]));
  Api* api = TRY(session.api());
  TRY(api->send({.method = "POST",
                 .target = Target("/images/", parsed.operands[0], "/tag")
                               .with("repo", name.name())
                               .with("tag", name.tag)}));
  return 0;
}

Result<int> engine_history(Session& session, const Arguments& arguments) {
  bool human = true, no_trunc = false, quiet = false;
  std::string format, platform;
  Options options("history [OPTIONS] IMAGE", "Shows what an image was made by.");
  options.value("format", 0, format, "FORMAT", "table, table TEMPLATE, json, or a template")
      .flag("human", 'H', human, "Sizes and ages for people (default true)")
      .flag("no-trunc", 0, no_trunc, "Show instructions in full")
      .value("platform", 0, platform, "OS/ARCH", "Of this platform's image")
      .flag("quiet", 'q', quiet, "Show ids only")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Api* api = TRY(session.api());
  const Datum history = TRY(api->get(Target("/images/", parsed.operands[0], "/history")));
  std::vector<Datum> rows;
  for (const Datum& step : history.items()) {
    std::string id = step["Id"].text();
    if (!no_trunc && id.starts_with("sha256:")) id = id.substr(7, 12);
    std::string made_by = step["CreatedBy"].text();
    std::ranges::replace(made_by, '\t', ' ');
    constexpr size_t shown_max = 45;
    if (!no_trunc && made_by.size() > shown_max) made_by = made_by.substr(0, shown_max - 1) + "…";
    const int64_t created = step["Created"].integer();
    const std::string at = local_time(created);
    const int64_t size = step["Size"].integer();
    Datum row = Datum::object();
    row.set("ID", id)
        .set("CreatedAt", at)
        .set("CreatedSince", !human ? at
                             : created <= 0
                                 ? "N/A"
                                 : cat(human_duration(::time(nullptr) - created), " ago"))
        .set("CreatedBy", made_by)
        .set("Size", human ? human_size(static_cast<uint64_t>(size)) : cat(size))
        .set("Comment", step["Comment"].text());
    rows.push_back(std::move(row));
  }
  if (quiet && format.empty()) format = "{{.ID}}";
  TRY(print_list(format, "{{.ID}}\\t{{.CreatedSince}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}",
                 {{"ID", "IMAGE"},
                  {"CreatedSince", "CREATED"},
                  {"CreatedAt", "CREATED AT"},
                  {"CreatedBy", "CREATED BY"},
                  {"Size", "SIZE"},
                  {"Comment", "COMMENT"}},
                 rows));
  return 0;
}

Result<int> engine_save(Session& session, const Arguments& arguments) {
  std::string path;
  std::vector<std::string> platforms;
  Options options("save [OPTIONS] IMAGE [IMAGE...]", "Saves images to a tar archive.");
  options.value("output", 'o', path, "FILE", "Write to a file, not to standard output")
      .list("platform", 0, platforms, "OS/ARCH", "This platform's variant only")
      .operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Target target("/images/get");
  for (const std::string& name : parsed.operands) target.with("names", name);
  Api* api = TRY(session.api());
  OutputFile output = TRY(OutputFile::open(path));
  TRY(api->each_piece({.target = target}, [&](std::string_view piece) -> Result<bool> {
    TRY(write_out(output.file().get(), piece));
    return true;
  }));
  TRY(output.finish());
  return 0;
}

Result<int> engine_load(Session& session, const Arguments& arguments) {
  std::string path;
  bool quiet = false;
  std::vector<std::string> platforms;
  Options options("load [OPTIONS]", "Loads images from a tar archive, compressed or not.");
  options.value("input", 'i', path, "FILE", "Read a file, not standard input")
      .flag("quiet", 'q', quiet, "Show no progress")
      .list("platform", 0, platforms, "OS/ARCH", "This platform's variant only")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const Fd input = TRY(open_input(path));
  Api* api = TRY(session.api());
  TRY(show_transfer(*api,
                    {.method = "POST",
                     .target = Target("/images/load").with("quiet", quiet ? "1" : "0"),
                     .body = {},
                     .headers = {},
                     .body_source = source_of(input)},
                    Shown::Output));
  return 0;
}

Result<int> engine_import(Session& session, const Arguments& arguments) {
  std::vector<std::string> changes;
  std::string message, platform;
  Options options("import [OPTIONS] FILE|URL|- [NAME[:TAG]]",
                  "Makes an image of a root file system in a tar archive.");
  options.list("change", 'c', changes, "INSTRUCTION", "Apply a Dockerfile instruction")
      .value("message", 'm', message, "TEXT", "Say where it comes from")
      .value("platform", 0, platform, "OS/ARCH", "What the files are for")
      .operands(1, 2);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  const std::string& from = parsed.operands[0];
  const bool is_url = from.starts_with("http://") || from.starts_with("https://");
  Fd input;
  if (!is_url) input = TRY(open_input(from));
  Target target("/images/create");
  target.with("fromSrc", is_url ? from : "-").maybe("message", message).maybe("platform", platform);
  if (parsed.operands.size() == 2) {
    const oci::Reference name = TRY(parse_new_name(parsed.operands[1]));
    target.with("repo", name.name()).with("tag", name.tag);
  }
  for (const std::string& change : changes) target.with("changes", change);
  Api::Request request{.method = "POST", .target = target};
  if (!is_url) request.body_source = source_of(input);
  Api* api = TRY(session.api());
  TRY(show_transfer(*api, request, Shown::Output));
  return 0;
}

Result<int> engine_image_prune(Session& session, const Arguments& arguments) {
  bool all = false, force = false;
  std::vector<std::string> filters;
  Options options("image prune [OPTIONS]", "Removes images nobody uses.");
  options.flag("all", 'a', all, "Those with a name too, where no container has them")
      .list("filter", 0, filters, "KEY=VALUE", "until=TIME, label=KEY[=VALUE]")
      .flag("force", 'f', force, "Do not ask")
      .operands(0, 0);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!force && !confirmed(all ? "WARNING! This will remove all images without at least one "
                                 "container associated to them."
                               : "WARNING! This will remove all dangling images.")) {
    return 0;
  }
  filters.push_back(cat("dangling=", all ? "false" : "true"));
  Api* api = TRY(session.api());
  const Datum answer =
      TRY(api->post(Target("/images/prune").maybe("filters", TRY(filters_json(filters)))));
  const std::vector<Datum>& removed = answer["ImagesDeleted"].items();
  if (!removed.empty()) std::printf("Deleted Images:\n");
  for (const Datum& each : removed) {
    for (const char* what : {"Untagged", "Deleted"}) {
      if (const std::string& text = each[what].text(); !text.empty()) {
        std::printf("%c%s: %s\n", what[0] + 32, what + 1, text.c_str());
      }
    }
  }
  if (!removed.empty()) std::printf("\n");
  std::printf("Total reclaimed space: %s\n",
              decimal_size(answer["SpaceReclaimed"].number()).c_str());
  return 0;
}

}  // namespace

Result<int> run_search(Session& session, const Arguments& arguments) {
  bool no_trunc = false;
  std::optional<int64_t> limit;
  std::string format;
  std::vector<std::string> filters;
  Options options("search [OPTIONS] TERM", "Searches a registry for images.");
  options.list("filter", 'f', filters, "KEY=VALUE", "Which: stars, is-official")
      .value("format", 0, format, "FORMAT", "table TEMPLATE, json, or a template")
      .value("limit", 0, limit, "NUMBER", "Show so many")
      .flag("no-trunc", 0, no_trunc, "Show descriptions in full")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  Target target("/images/search");
  target.with("term", parsed.operands[0]);
  if (limit) target.with("limit", cat(*limit));
  target.maybe("filters", TRY(filters_json(filters)));
  Api* api = TRY(session.api());
  const Datum found = TRY(api->get(target));
  std::vector<Datum> rows;
  for (const Datum& each : found.items()) {
    std::string description = each["description"].text();
    std::ranges::replace(description, '\n', ' ');
    constexpr size_t shown_max = 45;
    if (!no_trunc && description.size() > shown_max) {
      description = description.substr(0, shown_max - 1) + "…";
    }
    Datum row = Datum::object();
    row.set("Name", each["name"].text())
        .set("Description", description)
        .set("StarCount", cat(each["star_count"].integer()))
        .set("IsOfficial", each["is_official"].boolean() ? "[OK]" : "");
    rows.push_back(std::move(row));
  }
  TRY(print_list(format, "{{.Name}}\\t{{.Description}}\\t{{.StarCount}}\\t{{.IsOfficial}}",
                 {{"Name", "NAME"},
                  {"Description", "DESCRIPTION"},
                  {"StarCount", "STARS"},
                  {"IsOfficial", "OFFICIAL"}},
                 rows));
  return 0;
}

// `nacelle VERB`: the engine, unless a store was named. `nacelle image VERB`: the engine where one
// runs, else the store.
#define NACELLE_CHOICE(top, grouped, engine, store)                                           \
  Result<int> top(Session& session, const Arguments& arguments) {                             \
    return session.direct() ? store(session, arguments) : engine(session, arguments);         \
  }                                                                                           \
  Result<int> grouped(Session& session, const Arguments& arguments) {                         \
    return session.engine_answers() ? engine(session, arguments) : store(session, arguments); \
  }
NACELLE_CHOICE(run_any_pull, run_image_pull, engine_pull, run_pull)
NACELLE_CHOICE(run_any_push, run_image_push, engine_push, run_push)
NACELLE_CHOICE(run_any_images, run_image_images, engine_images, run_image_list)
NACELLE_CHOICE(run_any_image_remove, run_image_remove_any, engine_image_remove, run_image_remove)
NACELLE_CHOICE(run_any_tag, run_image_tag, engine_tag, run_tag)
NACELLE_CHOICE(run_any_history, run_image_history, engine_history, run_history)
NACELLE_CHOICE(run_any_save, run_image_save, engine_save, run_save)
NACELLE_CHOICE(run_any_load, run_image_load, engine_load, run_load)
NACELLE_CHOICE(run_any_import, run_image_import, engine_import, run_import)
#undef NACELLE_CHOICE

Result<int> run_image_inspect_any(Session& session, const Arguments& arguments) {
  return session.engine_answers() ? run_engine_image_inspect(session, arguments)
                                  : run_image_inspect(session, arguments);
}
Result<int> run_image_prune_any(Session& session, const Arguments& arguments) {
  return session.engine_answers() ? engine_image_prune(session, arguments)
                                  : run_image_prune(session, arguments);
}

}  // namespace nacelle::cli
