#include "api/build_options.h"

#include <string_view>
#include <utility>

#include "base/text.h"
#include "build/git_source.h"
#include "codec/json.h"
#include "oci/image.h"

namespace nacelle::api {
namespace {

using codec::json::in_quotes;
using engine::BuildRequest;

constexpr std::string_view argument_prefix = "build-arg:", label_prefix = "label:",
                           context_prefix = "context:";
// "name=soft:hard,other=number"
Result<> read_ulimits(std::string_view text, engine::HostConfig& host) {
  while (!text.empty()) {
    std::string_view each = take_until(text, ',');
    engine::Ulimit& limit = host.ulimits.emplace_back();
    limit.name = take_until(each, '=');
    const auto soft = parse_number<int64_t>(take_until(each, ':'));
    const auto hard = each.empty() ? soft : parse_number<int64_t>(each);
    if (!soft || !hard) return fail(Kind::Invalid, cat("ulimit ", limit.name, ": not a number"));
    limit.soft = *soft;
    limit.hard = *hard;
  }
  return {};
}

Result<> read_network(std::string_view mode, BuildRequest& request) {
  if (mode == "host" || mode == "none") {
    request.host.network_mode = mode;
  } else if (!mode.empty() && mode != "sandbox" && mode != "default") {
    return fail(Kind::Invalid,
                cat("network mode ", in_quotes(mode), " is not supported for builds"));
  }
  return {};
}

// "docker-image://NAME", "local:DIRECTORY", "https://..."
Result<engine::BuildSource> read_source(const std::string& key, const std::string& value) {
  engine::BuildSource source;
  constexpr std::string_view image = "docker-image://", local = "local:";
  if (value.starts_with(image)) {
    source.image = value.substr(image.size());
  } else if (value.starts_with(local)) {
    source.directory = value.substr(local.size());
  } else if (value.starts_with("http://") || value.starts_with("https://") ||
             TRY(build::parse_git_source(value))) {
    source.url = value;
  } else {
    return fail(Kind::Unsupported, cat(key, "=", value,
                                       ": files come from a directory of the client's, from "
                                       "docker-image://, http(s):// and repositories"));
  }
  return source;
}

// [{"Type": "registry", "Attrs": {"ref": "NAME"}}]
Result<> read_cache_imports(const std::string& text, BuildRequest& request) {
  const auto document = TRY(codec::json::Document::parse(text));
  for (const codec::json::Value each : TRY(document.root().array())) {
    std::string type;
    std::map<std::string, std::string> attributes;
    const codec::json::Object fields = TRY(each.object());
    TRY(fields.need("Type", type));
    TRY(fields.maybe("Attrs", attributes));
    if (type != "registry") return fail(Kind::Unsupported, cat("unknown cache importer: ", type));
    request.cache_from.push_back(std::move(attributes["ref"]));
  }
  return {};
}

Result<> read_option(const std::string& key, const std::string& value, BuildRequest& request) {
  const std::string_view name = key;
  if (name.starts_with(argument_prefix)) {
    request.arguments.insert_or_assign(key.substr(argument_prefix.size()), value);
  } else if (name.starts_with(label_prefix)) {
    request.labels.insert_or_assign(key.substr(label_prefix.size()), value);
  } else if (name == "filename") {
    request.dockerfile = value;
  } else if (name == "target") {
    request.target = value;
  } else if (name == "platform") {
    if (value.contains(',')) {
      return fail(Kind::Unsupported, cat("platform ", value, ": one at a time is built"));
    }
    if (!value.empty()) request.platform = TRY(oci::parse_platform(value));
  } else if (name == "no-cache") {
    request.no_cache = true;  // of some stages: of all
  } else if (name == "image-resolve-mode") {
    request.pull = value == "pull";
  } else if (name == "add-hosts") {
    // "name=address,...": engine's words have a colon.
    std::string_view rest = value;
    while (!rest.empty()) {
      std::string_view each = take_until(rest, ',');
      const std::string_view host = take_until(each, '=');
      request.host.extra_hosts.push_back(cat(host, ':', each));
    }
  } else if (name == "shm-size") {
    const auto bytes = parse_number<int64_t>(value);
    if (!bytes) return fail(Kind::Invalid, cat("shm-size ", in_quotes(value), " is not a number"));
    request.host.shm_size = *bytes;
  } else if (name == "ulimit") {
    return read_ulimits(value, request.host);
  } else if (name == "cgroup-parent") {
    request.host.cgroup_parent = value;
  } else if (name == "force-network-mode") {
    return read_network(value, request);
  } else if (name == "cache-imports") {
    return read_cache_imports(value, request);
  } else if (name == "context") {
    if (!value.empty()) request.context = TRY(read_source(key, value));
  } else if (name.starts_with(context_prefix)) {
    const std::string named = key.substr(context_prefix.size());
    request.contexts.insert_or_assign(named, TRY(read_source(key, value)));
  } else if (name == "requestid") {
    return fail(Kind::Unsupported, cat("the builder does not answer ", in_quotes(value)));
  }
  return {};
}

}  // namespace

Result<BuildRequest> read_frontend_options(const FrontendOptions& options) {
  BuildRequest request;
  request.platform_counts = true;
  request.pulls_cache_from = true;
  for (const auto& [key, value] : options) TRY(read_option(key, value, request));
  return request;
}

}  // namespace nacelle::api
