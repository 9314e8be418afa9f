#include "api/json_requests.h"

#include <limits>

#include "api/route.h"
#include "base/text.h"
#include "codec/json_fields.h"

namespace nacelle::api {
namespace {

using codec::json::Object;
using codec::json::Type;
using codec::json::Value;

template <class T>
Result<> maybe(const Object& object, std::string_view name, T& out) {
  const auto value = object.find(name);
  return value ? codec::json::detail::read_one(*value, out) : Result<>();
}

// Names of the members that `update` may change, in the order of describe_resources().
struct ResourceNames {
  const Object& object;
  std::vector<std::string>& present;
  template <class T>
  void operator()(const char* name, T&) {
    if (object.find(name)) present.emplace_back(name);
  }
};

struct ExecStartFields {
  ExecStart start;
  std::vector<uint32_t> console_size;
  template <class V>
  void describe(V& v) {
    v("Detach", start.detach);
    v("Tty", start.tty);
    v("ConsoleSize", console_size);
  }
};

std::string_view main_network(const engine::HostConfig& host) {
  const std::string_view mode = host.network_mode;
  return mode.empty() || mode == "default" ? "bridge" : mode;
}

// A body that is one value of a described type; "" and `null` are an empty one.
template <class T>
Result<T> read_body(std::string_view body) {
  T out;
  if (body.empty()) return out;
  const auto document = TRY(parse_body(body));
  if (document.root().type() == Type::Null) return out;
  TRY(codec::json::read_fields(document.root(), out).context("invalid JSON"));
  return out;
}

Result<> read_create(const Value& root, engine::CreateRequest& request) {
  // Docker's body is a ContainerConfig with two members more.
  const Object object = TRY(root.object());
  TRY(codec::json::read_fields(root, request.config));
  TRY(maybe(object, "HostConfig", request.host));
  TRY(maybe(object, "NetworkingConfig", request.networking));
  return {};
}

Result<> read_update(const Object& object, engine::UpdateRequest& request) {
  codec::json::detail::FieldReader fields{object, {}};
  request.resources.describe_resources(fields);
  TRY(std::move(fields.outcome));
  ResourceNames names{object, request.present};
  request.resources.describe_resources(names);
  return maybe(object, "RestartPolicy", request.restart_policy);
}

}  // namespace

Result<engine::CreateRequest> read_create_request(std::string_view body) {
  const auto document = TRY(parse_body(body));
  const Value root = document.root();
  const bool empty =
      root.type() == Type::Null ||
      (root.type() == Type::Object && !(TRY(root.object()).begin() != TRY(root.object()).end()));
  if (empty) {
    return fail(Kind::Invalid, "config cannot be empty in order to create a container");
  }
  engine::CreateRequest request;
  TRY(read_create(root, request).context("invalid JSON"));
  return request;
}

Result<engine::UpdateRequest> read_update_request(std::string_view body) {
  engine::UpdateRequest request;
  if (body.empty()) return request;
  const auto document = TRY(parse_body(body));
  if (document.root().type() == Type::Null) return request;
  const Object object = TRY(document.root().object().context("invalid JSON"));
  TRY(read_update(object, request).context("invalid JSON"));
  return request;
}

Result<engine::ExecConfig> read_exec_config(std::string_view body) {
  auto config = TRY(read_body<engine::ExecConfig>(body));
  if (config.cmd.empty()) return fail(Kind::Invalid, "No exec command specified");
  return config;
}

Result<ExecStart> read_exec_start(std::string_view body) {
  const auto fields = TRY(read_body<ExecStartFields>(body));
  ExecStart start = fields.start;
  if (fields.console_size.size() == 2) {
    start.console.emplace(fields.console_size[0], fields.console_size[1]);
  } else if (!fields.console_size.empty()) {
    return fail(Kind::Invalid, "invalid JSON: ConsoleSize: expected two numbers");
  }
  return start;
}

Result<bool> move_mac_address(engine::CreateRequest& request) {
  std::string& mac = request.config.mac_address;
  if (mac.empty()) return false;
  const std::string_view network = main_network(request.host);
  if (network == "host" || network == "none" || network.starts_with("container:")) {
    return fail(Kind::Invalid, "conflicting options: mac-address and the network mode");
  }
  engine::Endpoint& endpoint = request.networking.endpoints[std::string(network)];
  if (!endpoint.mac_address.empty() && endpoint.mac_address != mac) {
    return fail(Kind::Invalid,
                "the container-wide MAC address must match the endpoint-specific MAC address for "
                "the main network, or be left empty");
  }
  endpoint.mac_address = std::move(mac);
  mac.clear();
  return true;
}

Result<unsigned> read_console_size(std::string_view text, std::string_view name) {
  const auto number = parse_number<int64_t>(text);
  const auto wrong = [&](std::string_view why) {
    return fail(Kind::Invalid, cat("invalid resize ", name, ' ', quoted(text), ": ", why));
  };
  if (!number) return wrong("invalid syntax");
  // What a terminal keeps is 16 bits wide.
  if (*number < 0 || *number > std::numeric_limits<uint16_t>::max()) {
    return wrong("value out of range");
  }
  return static_cast<unsigned>(*number);
}

Result<int> read_number(std::string_view text) {
  const std::string_view digits = text.starts_with('+') ? text.substr(1) : text;
  const auto number = parse_number<int>(digits);
  if (!number || digits.starts_with('-') != text.starts_with('-')) {
    return fail(Kind::Invalid, cat("strconv.Atoi: parsing ", quoted(text), ": invalid syntax"));
  }
  return *number;
}

}  // namespace nacelle::api
