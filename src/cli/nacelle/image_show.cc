// ls, inspect, history.
#include <algorithm>
#include <cstdio>
#include <tuple>
#include <utility>

#include "base/text.h"
#include "cli/nacelle/options.h"
#include "cli/nacelle/progress.h"
#include "cli/nacelle/session.h"
#include "cli/nacelle/text.h"
#include "codec/json_writer.h"
#include "oci/reference.h"

namespace nacelle::cli {

using codec::json::Writer;
using image::Details;

namespace {

// One line of `image ls`: an image has one for each of its names.
struct Row {
  std::string repository = "<none>";
  std::string tag = "<none>";
  std::string digest = "<none>";
  std::string id;
  std::string created;
  uint64_t size = 0;
};

struct ListOptions {
  bool all = false, quiet = false, no_trunc = false, digests = false;
  std::string format;
  std::vector<std::string> filters;
};

std::string shown_id(const Details& details, bool whole) {
  const codec::Digest& id = details.id();
  return whole ? id.text() : std::string(id.hex().substr(0, 12));
}

std::string digest_for(const Details& details, std::string_view repository) {
  for (const std::string& each : details.image.repo_digests) {
    std::string_view digest = each;
    if (take_until(digest, '@') == repository) return std::string(digest);
  }
  return "<none>";
}

// `reference=PATTERN`, `dangling=true`, `label=KEY[=VALUE]`.
struct Filter {
  std::string key;
  std::string value;
};

Result<std::vector<Filter>> parse_filters(const std::vector<std::string>& texts) {
  std::vector<Filter> filters;
  for (const std::string& text : texts) {
    std::string_view value = text;
    const std::string_view key = take_until(value, '=');
    if (key != "dangling" && key != "label" && key != "reference") {
      return fail(Kind::Invalid,
                  cat("--filter: '", key, "' is none of dangling, label, reference"));
    }
    if (key == "dangling" && value != "true" && value != "false") {
      return fail(Kind::Invalid, cat("--filter: dangling=", value, ": must be true or false"));
    }
    filters.push_back({std::string(key), std::string(value)});
  }
  return filters;
}

// `*` stands for any characters but '/', `?` for one of them.
bool matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    for (size_t taken = 0;; ++taken) {
      if (matches(pattern.substr(1), text.substr(taken))) return true;
      if (taken == text.size() || text[taken] == '/') return false;
    }
  }
  if (text.empty() || (pattern[0] == '?' ? text[0] == '/' : pattern[0] != text[0])) return false;
  return matches(pattern.substr(1), text.substr(1));
}

bool name_passes(const std::string& name, const std::vector<Filter>& filters) {
  const Result<oci::Reference> reference = oci::parse_reference(name);
  return std::ranges::all_of(filters, [&](const Filter& filter) {
    return filter.key != "reference" ||
           (reference && (matches(filter.value, reference->familiar()) ||
                          matches(filter.value, reference->familiar_name())));
  });
}

std::vector<Row> rows_of(const Details& details, uint64_t size, const ListOptions& options,
                         const std::vector<Filter>& filters) {
  Row row;
  row.id = shown_id(details, options.no_trunc);
  row.created = details.record.config.created;
  row.size = size;
  std::vector<Row> rows;
  for (const std::string& name : details.image.names) {
    if (!name_passes(name, filters)) continue;
    const Result<oci::Reference> reference = oci::parse_reference(name);
    row.repository = reference ? reference->familiar_name() : name;
    row.tag = reference ? reference->tag : "<none>";
    row.digest = reference ? digest_for(details, reference->name()) : "<none>";
    rows.push_back(row);
  }
  if (!rows.empty()) return rows;
  // Pulled by digest: it has a repository and no tag.
  for (const std::string& each : details.image.repo_digests) {
    const Result<oci::Reference> reference = oci::parse_reference(each);
    if (!reference) continue;
    row.repository = reference->familiar_name();
    row.digest = reference->digest;
    return {row};
  }
  return {row};
}

bool passes(const Details& details, const Filter& filter) {
  if (filter.key == "dangling") return details.image.names.empty() == (filter.value == "true");
  if (filter.key == "label") {
    std::string_view value = filter.value;
    const bool any_value = !value.contains('=');
    const std::string_view name = take_until(value, '=');
    return std::ranges::any_of(details.record.config.run.labels, [&](const auto& label) {
      return label.first == name && (any_value || label.second == value);
    });
  }
  return std::ranges::any_of(details.image.names,
                             [&](const std::string& name) { return name_passes(name, {filter}); });
}

void print_json(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    Writer json;
    json.begin_object()
        .member("Repository", row.repository)
        .member("Tag", row.tag)
        .member("Digest", row.digest)
        .member("ID", row.id)
        .member("CreatedAt", row.created)
        .member("CreatedSince", age_of(row.created))
        .member("Size", human_size(row.size))
        .end_object();
    std::printf("%s\n", std::move(json).take().c_str());
  }
}

void print_table(const std::vector<Row>& rows, const ListOptions& options) {
  std::vector<std::string> headings{"REPOSITORY", "TAG"};
  if (options.digests) headings.push_back("DIGEST");
  headings.insert(headings.end(), {"IMAGE ID", "CREATED", "SIZE"});
  std::vector<std::vector<std::string>> cells;
  for (const Row& row : rows) {
    std::vector<std::string>& line = cells.emplace_back();
    line = {row.repository, row.tag};
    if (options.digests) line.push_back(row.digest);
    line.insert(line.end(), {row.id, age_of(row.created), human_size(row.size)});
  }
  std::fputs(table(headings, cells).c_str(), stdout);
}

void write_strings(Writer& json, std::string_view key, const std::vector<std::string>& values) {
  json.key(key);
  if (values.empty()) {
    json.null();
  } else {
    json.values(values);
  }
}

void write_set(Writer& json, std::string_view key, const std::vector<std::string>& names) {
  if (names.empty()) return;
  json.key(key).begin_object();
  for (const std::string& name : names) json.key(name).begin_object().end_object();
  json.end_object();
}

void write_run_config(Writer& json, const oci::RunConfig& run) {
  json.begin_object().member("User", run.user);
  write_set(json, "ExposedPorts", run.exposed_ports);
  write_strings(json, "Env", run.env);
  write_strings(json, "Cmd", run.command);
  if (run.health_check) {
    const oci::HealthCheck& check = *run.health_check;
    json.key("Healthcheck").begin_object();
    write_strings(json, "Test", check.test);
    json.member("Interval", check.interval_ns)
        .member("Timeout", check.timeout_ns)
        .member("StartPeriod", check.start_period_ns)
        .member("Retries", check.retries)
        .end_object();
  }
  write_set(json, "Volumes", run.volumes);
  json.member("WorkingDir", run.working_directory);
  write_strings(json, "Entrypoint", run.entrypoint);
  write_strings(json, "OnBuild", run.on_build);
  json.key("Labels");
  if (run.labels.empty()) {
    json.null();
  } else {
    json.begin_object();
    for (const auto& [name, value] : run.labels) json.member(name, value);
    json.end_object();
  }
  if (!run.stop_signal.empty()) json.member("StopSignal", run.stop_signal);
  if (!run.shell.empty()) write_strings(json, "Shell", run.shell);
  json.end_object();
}

void write_details(Writer& json, const Details& details, uint64_t size) {
  const oci::ImageConfig& config = details.record.config;
  std::vector<std::string> tags, digests;
  for (const std::string& name : details.image.names) {
    tags.push_back(oci::familiar_name(name));
  }
  for (const std::string& name : details.image.repo_digests) {
    digests.push_back(oci::familiar_name(name));
  }
  json.begin_object().member("Id", details.id().text());
  json.key("RepoTags").values(tags).key("RepoDigests").values(digests);
  json.member("Parent", "")
      .member("Comment", config.history.empty() ? "" : config.history.back().comment)
      .member("Created", config.created)
      .member("Author", config.author)
      .key("Config");
  write_run_config(json, config.run);
  json.member("Architecture", config.platform.architecture);
  if (!config.platform.variant.empty()) json.member("Variant", config.platform.variant);
  json.member("Os", config.platform.os).member("Size", size);
  json.key("RootFS").begin_object().member("Type", "layers").key("Layers").begin_array();
  for (const codec::Digest& layer : config.diff_ids) json.value(layer.text());
  json.end_array().end_object();
  json.key("Descriptor")
      .begin_object()
      .member("mediaType", details.record.descriptor.media_type)
      .member("digest", details.record.descriptor.digest.text())
      .member("size", details.record.descriptor.size)
      .end_object();
  json.end_object();
}

}  // namespace

Result<int> run_image_list(Session& session, const Arguments& arguments) {
  ListOptions chosen;
  Options options("image ls [OPTIONS] [NAME[:TAG]]", "Lists images.");
  options.flag("all", 'a', chosen.all, "Accepted for Docker's sake: there are no hidden images")
      .flag("digests", 0, chosen.digests, "Show digests")
      .flag("no-trunc", 0, chosen.no_trunc, "Show ids in full")
      .flag("quiet", 'q', chosen.quiet, "Show ids only")
      .value("format", 0, chosen.format, "FORMAT", "table or json")
      .list("filter", 'f', chosen.filters, "KEY=VALUE", "dangling, label or reference")
      .operands(0, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  if (!chosen.format.empty() && chosen.format != "table" && chosen.format != "json") {
    return fail(Kind::Invalid, cat("--format: '", chosen.format, "': must be table or json"));
  }
  if (!parsed.operands.empty()) chosen.filters.push_back(cat("reference=", parsed.operands[0]));
  const std::vector<Filter> filters = TRY(parse_filters(chosen.filters));

  image::Images* images = TRY(session.images());
  std::vector<Details> all = TRY(session.loop().run(images->list()));
  // The newest first: times of one form compare as texts.
  std::ranges::sort(all, [](const Details& one, const Details& other) {
    return std::tie(one.record.config.created, one.image.manifest.digest) >
           std::tie(other.record.config.created, other.image.manifest.digest);
  });
  std::vector<Row> rows;
  for (const Details& details : all) {
    if (!std::ranges::all_of(filters, [&](const Filter& each) { return passes(details, each); })) {
      continue;
    }
    std::vector<Row> lines = rows_of(details, images->size(details), chosen, filters);
    rows.insert(rows.end(), lines.begin(), lines.end());
  }
  if (chosen.quiet) {
    std::vector<std::string> shown;
    for (const Row& row : rows) {
      if (contains(shown, row.id)) continue;
      std::printf("%s\n", row.id.c_str());
      shown.push_back(row.id);
    }
  } else if (chosen.format == "json") {
    print_json(rows);
  } else {
    print_table(rows, chosen);
  }
  return 0;
}

Result<int> run_image_inspect(Session& session, const Arguments& arguments) {
  Options options("image inspect IMAGE [IMAGE...]", "Shows all that is known of images, as JSON.");
  options.operands(1, any_number);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  Writer json("    ");
  json.begin_array();
  int code = 0;
  for (const std::string& name : parsed.operands) {
    const Result<Details> details = session.loop().run(images->inspect(name));
    if (details) {
      write_details(json, *details, images->size(*details));
      continue;
    }
    std::fprintf(stderr, "nacelle: %s\n", details.error().message().c_str());
    code = 1;
  }
  std::printf("%s\n", std::move(json.end_array()).take().c_str());
  return code;
}

Result<int> run_history(Session& session, const Arguments& arguments) {
  bool no_trunc = false, quiet = false;
  Options options("image history [OPTIONS] IMAGE", "Shows what an image was made by.");
  options.flag("no-trunc", 0, no_trunc, "Show instructions in full")
      .flag("quiet", 'q', quiet, "Show ids only")
      .operands(1, 1);
  const Options::Parsed parsed = options.parse_or_explain(arguments, session.describe_into);
  if (parsed.exit_code) return *parsed.exit_code;
  image::Images* images = TRY(session.images());
  const Details details = TRY(session.loop().run(images->inspect(parsed.operands[0])));
  const std::vector<uint64_t> sizes = images->layer_sizes(details);

  std::vector<std::vector<std::string>> rows;
  size_t layer = 0;
  for (const oci::History& step : details.record.config.history) {
    const uint64_t size = step.empty_layer || layer >= sizes.size() ? 0 : sizes[layer++];
    std::string made_by = step.created_by;
    constexpr size_t shown_max = 45;
    if (!no_trunc && made_by.size() > shown_max) made_by = made_by.substr(0, shown_max - 1) + "…";
    rows.push_back(
        {"<missing>", age_of(step.created), std::move(made_by), human_size(size), step.comment});
  }
  std::ranges::reverse(rows);
  if (!rows.empty()) rows[0][0] = shown_id(details, no_trunc);
  if (quiet) {
    for (const auto& row : rows) std::printf("%s\n", row[0].c_str());
    return 0;
  }
  std::fputs(table({"IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"}, rows).c_str(), stdout);
  return 0;
}

}  // namespace nacelle::cli
