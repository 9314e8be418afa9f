#include "api/build_options.h"

#include <string_view>
#include <utility>

#include "base/text.h"
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
  } else if (name == "context" || name.starts_with(context_prefix)) {
    return fail(Kind::Unsupported,
                cat(key, "=", value, ": a build's context is taken from its client only"));
  } else if (name == "requestid") {
    return fail(Kind::Unsupported, cat("the builder does not answer ", in_quotes(value)));
  }
  return {};
}

}  // namespace

Result<BuildRequest> read_frontend_options(const FrontendOptions& options) {
  BuildRequest request;
  for (const auto& [key, value] : options) TRY(read_option(key, value, request));
  return request;
}

}  // namespace nacelle::api
